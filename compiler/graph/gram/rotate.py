"""Rotate a loop: carry what is made of a carried value at the start of an iteration, in place of the value.

    for k carry mu:                              p = q @ mu
        p = q @ mu                               for k carry p:
        u = f(p)                      -->            u = f(p)
        mu = s @ u                                   p = q @ (s @ u)

So the two products of one iteration stand side by side, and their matrices can be multiplied before the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..graph import Builder, Graph, Node, Region, Value, free_names
from ..ops.common import attr_names
from ..types import is_floating
from .multilinear import LINEAR


def can_rotate(graph: Graph, loop: Node, place: int, used: frozenset[str]) -> str | None:
    """Why a loop cannot carry what is made of its carried value ``place`` instead; ``used``: names that are read outside of it."""
    region = loop.regions[0]
    name = region.args[place].name
    if loop.attr("until"):
        return "the loop ends by data"
    if not is_floating(region.args[place].type.dtype):
        return f"%{name} holds no real numbers"
    if loop.outputs[place].name in used:
        return f"%{name} is a result of the loop"
    if name in region.results:
        return f"%{name} is carried on as it is"
    made, frontier = _made_of(loop, place)
    if not any(n.op == "einsum" for n in made):
        return f"nothing multiplies %{name}"
    if any(name in free_names(n) for n in region.nodes if n not in made):
        return f"%{name} is read by more than products"
    return None if frontier else f"nothing is made of %{name}"


def rotate(graph: Graph, loop: Node, place: int) -> tuple[list[Node], Node, set[str]]:
    """The nodes that make the first of the new carried values, to stand before the loop, the loop, and the names of the nodes that make
    the next ones."""
    region = loop.regions[0]
    made, frontier = _made_of(loop, place)
    b = Builder(graph.name, [Value(n, t) for n, t in graph.types.items()])
    start, names = _copies(b, made, {region.args[place].name: loop.inputs[place]})
    first = [names[v.name] for v in frontier]
    end, names = _copies(b, made, {region.args[place].name: region.results[place]})
    last = [names[v.name] for v in frontier]
    gone = {id(n) for n in made}
    count = len(region.args)
    kept = [n for n in range(count) if n != place]
    args = (*(region.args[n] for n in kept), *frontier)
    results = (*(region.results[n] for n in kept), *last, *region.results[count:])
    body = (*(n for n in region.nodes if id(n) not in gone), *end)
    outputs = (*(loop.outputs[n] for n in kept), *(Value(b.fresh("rotated"), v.type) for v in frontier), *loop.outputs[count:])
    carried = loop.attr("names")
    known = None if not carried else tuple(c for n, c in enumerate(carried) if n != place)
    rotated = replace(
        loop.with_attrs(names=known or None),
        inputs=(*(loop.inputs[n] for n in kept), *first),
        outputs=outputs,
        regions=(Region(args, body, results),),
    )
    return start, rotated, {v.name for n in end for v in n.outputs}


def _made_of(loop: Node, place: int) -> tuple[list[Node], list[Value]]:
    """The nodes that make something of one carried value, and of nothing else that the loop changes, by sums and products; those of
    their values that others read."""
    region = loop.regions[0]
    inside = {a.name for a in region.args} | {v.name for n in region.nodes for v in n.outputs}
    mine = {region.args[place].name}
    made: list[Node] = []
    for node in region.nodes:
        read = free_names(node)
        divisor = node.op == "div" and node.inputs[1] in mine
        if node.op in LINEAR and read & mine and (read & inside) <= mine and not divisor and not _indexed(node, loop):
            made.append(node)
            mine |= {v.name for v in node.outputs}
    others = [n for n in region.nodes if n not in made]
    read = frozenset(region.results).union(*(free_names(n) for n in others))
    return made, [n.output for n in made if n.output.name in read]


def _indexed(node: Node, loop: Node) -> bool:
    return loop.attr("index") in attr_names(tuple(v for _, v in node.attrs))


def _copies(b: Builder, nodes: Sequence[Node], names: dict[str, str]) -> tuple[list[Node], dict[str, str]]:
    """Copies under fresh names, of other values."""
    names = dict(names)
    return [b.copy(n, names) for n in nodes], names
