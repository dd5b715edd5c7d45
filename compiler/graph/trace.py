"""Trace: return what named carried values are after every iteration.

x = for k carry x {...}; return x      -->      x, xs = for k carry x {...; stack x}; return x, xs
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..diagnostics import DataError
from .graph import Graph, Node, Region, Value, make_attrs
from .tape import stack_length


def traceable(graph: Graph) -> dict[str, tuple[int, int]]:
    """Names of carried values of top-level loops -> (node position, carried position); a later loop wins."""
    found = {}
    for position, node in enumerate(graph.nodes):
        if node.op == "for":
            for n, name in enumerate(node.attr("names", ())):
                if name:
                    found[name] = (position, n)
    return found


def trace(graph: Graph, names: Sequence[str]) -> Graph:
    """The graph with one more result per name: the value after each iteration, stacked along a new first axis.

    Raises DataError for a name that no top-level loop carries.
    """
    known = traceable(graph)
    nodes = list(graph.nodes)
    results = list(graph.results)
    used = set(graph.types)
    for name in names:
        if name not in known:
            raise DataError(
                f"{graph.name} carries no {name!r} through a loop; trace takes {', '.join(sorted(known)) or 'nothing here'}"
            )
        position, n = known[name]
        label = f"{name}_trace"
        while label in used:
            label += "_"
        used.add(label)
        nodes[position] = _stack(nodes[position], n, label)
        results.append(label)
    return replace(graph, nodes=tuple(nodes), results=tuple(results))


def _stack(node: Node, n: int, label: str) -> Node:
    region = node.regions[0]
    count, stacked = len(region.args), node.attr("stacked", 0)
    length = stack_length(node, ())
    type = region.args[n].type
    out = Value(label, type.with_shape(length, *type.shape))
    at = count + stacked
    results = (*region.results[:at], region.results[n], *region.results[at:])
    attrs = make_attrs(dict(node.attrs) | {"stacked": stacked + 1, "stack_size": length})
    return replace(node, outputs=(*node.outputs, out), attrs=attrs, regions=(Region(region.args, region.nodes, results),))
