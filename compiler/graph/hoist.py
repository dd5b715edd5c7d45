"""Hoist: move what a loop computes the same in every iteration to before the loop.

    for k: g = A.T @ y; x = x - g      -->      g = A.T @ y; for k: x = x - g

A loop may run no iteration, so what can fail (an index, a division of integers, a library call) moves only if it is
proved not to fail, or the loop to run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .graph import Graph, Node, Region, free_names
from .ops.common import attr_names
from .ops.table import lookup
from .types import At, Item, Pick, Size, Type, is_integer


def hoisted(graph: Graph) -> Graph:
    """The graph with what its loops compute the same in every iteration before them; kernels stay where they are."""

    def outside(nodes: Sequence[Node], loops: tuple[Node, ...]) -> list[Node]:
        found: list[Node] = []
        for node in nodes:
            if node.op in ("for", "if"):
                around = (*loops, node) if node.op == "for" else loops
                regions = [replace(r, nodes=tuple(outside(r.nodes, around))) for r in node.regions]
                if node.op == "for":
                    moved, kept = invariant(regions[0], regions[0].nodes, graph.types, around)
                    found += moved
                    regions = [replace(regions[0], nodes=tuple(kept))]
                node = replace(node, regions=tuple(regions))
            found.append(node)
        return found

    return replace(graph, nodes=tuple(outside(graph.nodes, ())))


def invariant(
    region: Region, nodes: Sequence[Node], types: Mapping[str, Type], loops: Sequence[Node]
) -> tuple[list[Node], list[Node]]:
    """Split the body of the last of ``loops`` (outermost first) into what moves out and what stays."""
    loop = loops[-1]
    inside = {a.name for a in region.args} | {v.name for n in nodes for v in n.outputs}
    moved: list[Node] = []
    kept: list[Node] = []
    for node in nodes:
        pure = not node.regions and lookup(node.op).family not in ("effect", "control")
        fixed = pure and not (free_names(node) & inside) and loop.attr("index") not in _sizes(node)
        if fixed and (_runs(loop, loops[:-1]) or _is_total(node, types, loops[:-1])):
            moved.append(node)
            inside -= {v.name for v in node.outputs}
        else:
            kept.append(node)
    return moved, kept


def _sizes(node: Node) -> frozenset[str]:
    return attr_names(tuple(v for _, v in node.attrs)) | attr_names(tuple(v.type for v in node.outputs))


def _runs(loop: Node, around: Sequence[Node]) -> bool:
    """Whether a loop surely has an iteration."""
    distance = loop.attr("upper") - loop.attr("lower")
    return never_negative((distance if loop.attr("step") > 0 else -distance) - 1, around)


def _is_total(node: Node, types: Mapping[str, Type], around: Sequence[Node]) -> bool:
    """Whether a node gives a value whatever its operands are."""
    if node.op in ("slice", "update"):
        return all(_is_within(i, s, around) for i, s in zip(node.attr("items"), types[node.inputs[0]].shape, strict=True))
    if node.op in ("floordiv", "mod"):
        return not is_integer(node.output.type.dtype)
    return not lookup(node.op).library


def _is_within(item: Item, size: Size, around: Sequence[Node]) -> bool:
    if isinstance(item, Pick):
        return False
    ends = [item.index] if isinstance(item, At) else [item.start, item.start + (item.size - 1) * item.step]
    return all(never_negative(e, around) and never_negative(size - 1 - e, around) for e in ends)


def never_negative(size: Size, around: Sequence[Node]) -> bool:
    """Whether a size is proved to be at least 0 inside the loops ``around``, all names being at least 1."""
    for loop in reversed(around):
        index = loop.attr("index")
        if index in size.names():
            affine = size.affine()
            if affine is None or index not in affine[0] or any(not isinstance(a, str) and index in a.names() for a in affine[0]):
                return False
            up = loop.attr("step") > 0
            first, last = loop.attr("lower"), loop.attr("upper") - (1 if up else -1)
            lowest, highest = (first, last) if up else (last, first)
            size = size.substitute({index: lowest if affine[0][index] > 0 else highest})
    size = size.substitute({name: Size.of(name) + 1 for name in size.names()})
    return all(c > 0 and all(isinstance(atom, str) for atom in monomial) for monomial, c in size.terms)
