"""What the problems of a call share, for decisions about products that are made before loops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..graph import Graph, free_names, walk


@dataclass(frozen=True)
class Setting:
    """For what a graph is rewritten: ``sizes`` by name, iteration counts included (what is missing counts as 256), the number of
    ``problems`` of a call, and the inputs that they ``shared``."""

    sizes: Mapping[str, int]
    problems: int = 1
    shared: frozenset[str] = frozenset()


def common(graph: Graph, setting: Setting) -> frozenset[str]:
    """Products outside of loops that follow from what the problems share: they are made once for all."""
    if setting.problems == 1:
        return frozenset()
    same = shared_values(graph, setting)
    return frozenset(n.output.name for n in graph.nodes if n.op == "einsum" and n.output.name in same)


def shared_values(graph: Graph, setting: Setting) -> set[str]:
    """Values outside of loops that follow from shared inputs, and from some."""
    same = {v.name for v in graph.inputs if v.name in setting.shared}
    neutral = set[str]()
    for node in graph.nodes:
        read = free_names(node)
        if read <= neutral and not node.regions:
            neutral |= {v.name for v in node.outputs}
        elif read <= same | neutral and not node.regions:
            same |= {v.name for v in node.outputs}
    return same


def loses_sharing(before: Graph, after: Graph, setting: Setting) -> bool:
    """Whether iterations that multiply a matrix of all problems would multiply one that each problem has for itself: that is slower
    where problems are computed side by side, though operations are fewer."""
    matrices = []
    for graph, other in ((before, after), (after, before)):
        same = shared_values(graph, setting)
        inner = [n for loop in graph.nodes if loop.op == "for" for n in walk(loop.regions[0].nodes)]
        outer = {v.name for n in graph.nodes for v in n.outputs} | {v.name for v in graph.inputs}
        read = [n for e in inner if e.op == "einsum" and e.output.name not in other.types for n in e.inputs if n in outer]
        matrices.append([n in same for n in read if graph.types[n].rank > 1])
    return any(matrices[0]) and not all(matrices[1])
