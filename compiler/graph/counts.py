"""Counts of selections that are inputs: known when a call comes, so that its kernel can be made for them.

    topk_mask(%x, %top)         -->         %known = const() {value=6}
                                            topk_mask(%x, %known)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .graph import Builder, Graph, Node, Value, make_attrs, walk


def counts(graph: Graph, most: int) -> dict[int, int]:
    """Positions of the scalar inputs that say how many elements a selection takes, and the largest count each may be known to be:
    at most ``most``, and no more than there are elements."""
    place = {v.name: n for n, v in enumerate(graph.inputs) if not v.type.rank}
    types, found = graph.types, dict[int, int]()
    for node in walk(graph.nodes):
        if node.op == "topk_mask" and node.inputs[1] in place:
            size = types[node.inputs[0]].shape[node.attr("axis")].constant
            if size is not None:
                n = place[node.inputs[1]]
                found[n] = min(found.get(n, most), size)
    return found


def with_counts(graph: Graph, values: Mapping[int, int]) -> Graph:
    """The graph for known counts, by position of their inputs. It has the same inputs."""
    builder = Builder(graph.name, [Value(n, t) for n, t in graph.types.items()])
    known: dict[str, str] = {}
    made: list[Node] = []
    for n, value in values.items():
        given = graph.inputs[n]
        known[given.name] = builder.fresh(given.name)
        attrs = make_attrs({"value": value, "dtype": given.type.dtype})
        made.append(Node("const", (), (Value(known[given.name], given.type),), attrs))

    def changed(nodes: Sequence[Node]) -> tuple[Node, ...]:
        out = []
        for node in nodes:
            if node.op == "topk_mask":
                node = replace(node, inputs=(node.inputs[0], known.get(node.inputs[1], node.inputs[1])))
            out.append(replace(node, regions=tuple(replace(r, nodes=changed(r.nodes)) for r in node.regions)))
        return tuple(out)

    return replace(graph, nodes=(*made, *changed(graph.nodes)))
