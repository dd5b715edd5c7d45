"""Postpone: sums over iterations of outer products become products of stacks, made outside of the graph.

    d = 0; for k: d = d + outer(w[k], x[k]);  return d     -->      for k: stack w[k], x[k];  return both;      d = einsum("kx,ky->xy", w, x)

The gradient of a matrix that a loop multiplies by is such a sum, over problems of a batch too, if they share it. One product of a library then takes
the place of an update of the matrix in every iteration of every problem.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from string import ascii_letters

from .graph import Graph, Node, Region, Value, free_names
from .live import live
from .ops.contract import split_spec
from .segments import unused
from .tape import stack_length

#: Sums of fewer elements stay where they are.
LEAST = 1 << 12


@dataclass(frozen=True)
class Product:
    """One term of a sum: the results of the graph that are its factors, and its subscripts, to which the axis of iterations is added."""

    left: int
    right: int
    spec: str

    def subscripts(self, batched: bool, own: bool) -> str:
        """Those of stacks with an axis over problems in front, if ``batched``, which the result has too if every problem has its ``own``."""
        (left, right), out = split_spec(self.spec)
        step, problem = [x for x in ascii_letters if x not in self.spec][:2]
        lead = problem * batched
        return f"{lead}{step}{left},{lead}{step}{right}->{lead if own else ''}{out}"


@dataclass(frozen=True)
class Postponed:
    """What is left of a graph. ``stay``: which results of the whole graph those of this one are, in order; behind them it has stacks of factors.
    ``sums``: the terms of the other results of the whole graph."""

    graph: Graph
    stay: tuple[int, ...]
    sums: dict[int, tuple[Product, ...]]


def postpone(graph: Graph, places: Set[int]) -> Postponed | None:
    """The simplified graph without those of its results at ``places`` that are such sums; None if there are none."""
    found = {n: terms for n in sorted(places) if (terms := _terms(graph, graph.results[n])) is not None}
    if not found:
        return None
    stay = tuple(n for n in range(len(graph.results)) if n not in found)
    nodes, taken = list(graph.nodes), set(graph.types)
    stacks: dict[str, str] = {}  # a factor, and the output that has its rows
    for position, node in enumerate(nodes):
        factors = [f for n, terms in found.items() if graph.results[n] in {v.name for v in node.outputs} for t in terms for f in t.inputs]
        if factors:
            nodes[position] = _stacking(node, list(dict.fromkeys(factors)), graph, stacks, taken)
    results = (*(graph.results[n] for n in stay), *stacks.values())
    place = {f: len(stay) + n for n, f in enumerate(stacks)}
    sums = {n: tuple(Product(place[t.inputs[0]], place[t.inputs[1]], t.attr("spec")) for t in terms) for n, terms in found.items()}
    return Postponed(replace(graph, nodes=tuple(live(nodes, set(results))), results=results), stay, sums)


def _terms(graph: Graph, result: str) -> list[Node] | None:
    """The outer products of values of an iteration whose sum over all of them a result is."""
    makers = {v.name: n for n in graph.nodes for v in n.outputs}
    loop = makers.get(result)
    type = graph.types[result]
    if loop is None or loop.op != "for" or loop.attr("until") or loop.attr("stacked") or type.dtype not in ("f32", "f64"):
        return None
    if (type.numel.constant or 0) < LEAST or graph.results.count(result) != 1 or any(result in free_names(n) for n in graph.nodes):
        return None
    place = [v.name for v in loop.outputs].index(result)
    return _products(loop.regions[0], place) if _is_zero(loop.inputs[place], makers) else None


def _is_zero(name: str, makers: dict[str, Node]) -> bool:
    node = makers.get(name)
    while node is not None and node.op == "broadcast":
        node = makers.get(node.inputs[0])
    return node is not None and node.op == "const" and node.attr("value") == 0


def _products(region: Region, place: int) -> list[Node] | None:
    """What an iteration adds to the value carried at a place, if that is all that becomes of it and these are outer products."""
    makers = {v.name: n for n in region.nodes for v in n.outputs}
    inside = {*makers, *(a.name for a in region.args)}
    name, end, terms = region.args[place].name, region.results[place], list[Node]()
    if name == end or region.results.count(end) != 1 or any(end in free_names(n) for n in region.nodes):
        return None
    while name != end:
        readers = [n for n in region.nodes if name in free_names(n)]
        if len(readers) != 1 or name in region.results or readers[0].op != "add" or readers[0].inputs.count(name) != 1:
            return None
        (other,) = (n for n in readers[0].inputs if n != name)
        term = makers.get(other)
        if term is None or term.op != "einsum" or len(term.inputs) != 2 or not set(term.inputs) <= inside or not _is_outer(term.attr("spec")):
            return None
        terms.append(term)
        name = readers[0].output.name
    return terms


def _is_outer(spec: str) -> bool:
    (left, right), out = split_spec(spec)
    return set(left) | set(right) == set(out) and not set(left) & set(right)


def _stacking(loop: Node, factors: Sequence[str], graph: Graph, stacks: dict[str, str], taken: set[str]) -> Node:
    """A loop that stacks factors, too."""
    length = stack_length(loop, ())
    outputs = list(loop.outputs)
    for factor in factors:
        stacks[factor] = unused(f"{factor}_rows", taken)
        taken.add(stacks[factor])
        type = graph.types[factor]
        outputs.append(Value(stacks[factor], type.with_shape(length, *type.shape)))
    (region,) = loop.regions
    wider = Region(region.args, region.nodes, (*region.results, *factors))
    return replace(loop.with_attrs(stacked=len(factors), stack_size=length), outputs=tuple(outputs), regions=(wider,))
