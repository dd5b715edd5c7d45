"""Values that only the branches of ``where`` see: where another branch is chosen, what they are does not matter."""

from __future__ import annotations

from .graph import Graph, walk
from .ops.table import lookup

#: Families of ops that give one element for one element.
_ELEMENT_BY_ELEMENT = ("elementwise", "view")


def chosen_only(graph: Graph) -> frozenset[str]:
    """The names of values that only branches of ``where`` use, directly or through operations element by element."""
    nodes = list(walk(graph.nodes))
    kept = set(graph.results).union(*(r.results for n in nodes for r in n.regions))
    uses: dict[str, list[tuple[str, int, tuple[str, ...]]]] = {}
    for node in nodes:
        for place, name in enumerate(node.inputs):
            uses.setdefault(name, []).append((node.op, place, tuple(v.name for v in node.outputs)))
    found: set[str] = set()

    def harmless(op: str, place: int, outputs: tuple[str, ...]) -> bool:
        if op == "where":
            return place > 0
        return lookup(op).family in _ELEMENT_BY_ELEMENT and set(outputs) <= found

    for node in reversed(nodes):
        for value in node.outputs:
            mine = uses.get(value.name, [])
            if mine and value.name not in kept and all(harmless(*use) for use in mine):
                found.add(value.name)
    return frozenset(found)
