"""Which values an adjoint differentiates: those that depend on what is wanted and on which the results depend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .adjoint_solve import SOLVE, mark_useful, mark_varied
from .graph import Node, free_names
from .ops.table import lookup
from .types import Type, is_complex, is_floating


def differentiable(type: Type) -> bool:
    """Whether values of a type carry cotangents."""
    return is_floating(type.dtype) or is_complex(type.dtype)


def varied(nodes: Sequence[Node], start: Iterable[str]) -> set[str]:
    """Names of differentiable values that depend differentiably on ``start``."""
    found = set(start)

    def visit(nodes: Sequence[Node]) -> None:
        for node in nodes:
            if node.op == "for":
                _visit_loop(node)
            elif node.op == "if":
                for region in node.regions:
                    visit(region.nodes)
                    mark(v.name for v, r in zip(node.outputs, region.results, strict=True) if r in found)
            elif node.op == SOLVE:
                mark_varied(node, found, visit)
            elif lookup(node.op).adjoint is not None and found & free_names(node):
                mark(v.name for v in node.outputs if differentiable(v.type))

    def _visit_loop(node: Node) -> None:
        region = node.regions[0]
        mark(a.name for a, i in zip(region.args, node.inputs, strict=True) if i in found and differentiable(a.type))
        while True:
            visit(region.nodes)
            again = [a.name for a, r in zip(region.args, region.results, strict=False) if r in found and a.name not in found]
            if not again:
                break
            mark(again)
        mark(o.name for o, a in zip(node.outputs, region.args, strict=False) if a.name in found)
        mark(v.name for v, r in zip(node.outputs, region.results, strict=False) if r in found)

    def mark(names: Iterable[str]) -> None:
        found.update(names)

    visit(nodes)
    return found


def useful(nodes: Sequence[Node], wanted: Iterable[str]) -> set[str]:
    """Names of values on which ``wanted`` depend differentiably, themselves among them."""
    found = set(wanted)

    def visit(nodes: Sequence[Node]) -> None:
        for node in reversed(nodes):
            if node.op == "for":
                _visit_loop(node)
            elif node.op == "if":
                for region in node.regions:
                    found.update(r for v, r in zip(node.outputs, region.results, strict=True) if v.name in found)
                    visit(region.nodes)
            elif node.op == SOLVE:
                mark_useful(node, found, visit)
            elif lookup(node.op).adjoint is not None and any(v.name in found for v in node.outputs):
                found.update(node.inputs)

    def _visit_loop(node: Node) -> None:
        region = node.regions[0]
        found.update(r for v, r in zip(node.outputs, region.results, strict=False) if v.name in found)
        found.update(a.name for v, a in zip(node.outputs, region.args, strict=False) if v.name in found)
        while True:
            visit(region.nodes)
            again = [r for a, r in zip(region.args, region.results, strict=False) if a.name in found and r not in found]
            if not again:
                break
            found.update(again)
        found.update(i for i, a in zip(node.inputs, region.args, strict=True) if a.name in found)

    visit(nodes)
    return found
