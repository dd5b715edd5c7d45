"""Cut a graph in two: what is made once for all problems of a batch, and what each problem makes.

    A: shared     G = A.T @ A; x = f(G, A.T @ y)      -->      once: A -> G      rest: A, y, G -> x
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from .graph import Graph, Region, Value, region_captures
from .live import live


def cut(graph: Graph, names: Set[str]) -> tuple[Graph, Graph] | None:
    """The graph that makes values ``names``, which nodes outside of loops make, as far as the rest reads them; the rest, which has them
    behind its inputs. None if it reads none."""
    rest = live([n for n in graph.nodes if not any(v.name in names for v in n.outputs)], set(graph.results))
    read = region_captures(Region((), tuple(rest), graph.results))
    made = [v for n in graph.nodes for v in n.outputs if v.name in names and v.name in read]
    if not made:
        return None
    results = tuple(v.name for v in made)
    nodes = tuple(live(graph.nodes, set(results)))
    needed = region_captures(Region((), nodes, results))
    first = Graph(f"{graph.name}_once", tuple(v for v in graph.inputs if v.name in needed), nodes, results)
    extra = tuple(Value(v.name, v.type) for v in made)
    return first, replace(graph, inputs=(*graph.inputs, *extra), nodes=tuple(rest))
