"""Floating-point operations of a graph, counted before there are loops: for decisions between two graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from math import prod

from .graph import Node
from .ops.contract import letter_sizes
from .ops.table import lookup
from .tape import NOMINAL, trip_count
from .types import Size, Type

#: Families of ops that compute nothing.
_FREE = frozenset({"view", "constructor", "control", "effect"})


def extent(size: Size, sizes: Mapping[str, int]) -> int:
    """A size by value; names that are not known count as ``NOMINAL``."""
    return size.evaluate({**dict.fromkeys(size.names(), NOMINAL), **sizes})


def operations(nodes: Sequence[Node], types: Mapping[str, Type], sizes: Mapping[str, int], skip: Set[str] = frozenset()) -> float:
    """Operations of nodes and all inside them, without those whose first output is in ``skip``. A loop index counts as the middle of its range."""
    total = 0.0
    for node in nodes:
        if node.op == "for":
            middle = (extent(node.attr("lower"), sizes) + extent(node.attr("upper"), sizes)) // 2
            inner = {**sizes, node.attr("index"): middle}
            trips = max(0, extent(trip_count(node), sizes))
            total += trips * operations(node.regions[0].nodes, types, inner, skip)
        elif node.regions:
            total += sum(operations(r.nodes, types, sizes, skip) for r in node.regions)
        elif node.outputs and node.outputs[0].name not in skip:
            total += _own(node, types, sizes)
    return total


def _own(node: Node, types: Mapping[str, Type], sizes: Mapping[str, int]) -> float:
    if lookup(node.op).family in _FREE:
        return 0.0
    if node.op == "einsum":
        found = letter_sizes(node.attr("spec"), [types[n] for n in node.inputs])
        summed = len(found) > node.output.type.rank
        return (2.0 if summed else 1.0) * prod(extent(s, sizes) for s in found.values())
    return float(max(extent(types[n].numel, sizes) for n in (*node.inputs, *(v.name for v in node.outputs))))
