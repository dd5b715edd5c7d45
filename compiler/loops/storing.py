"""Which values become statements of their own, and how large things are when counts are known only at run time."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from ..graph.graph import Node, free_names
from ..graph.ops.table import lookup
from ..graph.types import Size, Type
from .lazy import Lazy

if TYPE_CHECKING:
    from .lower import Lowering

_NOMINAL = 64  # iterations assumed when a count is a run-time argument


def elements(type: Type) -> float:
    """Number of elements, with run-time counts taken as a nominal value."""
    return nominal(type.numel)


def nominal(size: Size) -> int:
    """A size with run-time counts taken as a nominal value."""
    return size.evaluate(dict.fromkeys(size.names(), _NOMINAL))


def note_uses(low: Lowering, nodes: Sequence[Node], results: Sequence[str], loop: bool) -> None:
    """Record for every value of a region how often it is used and by how wide an operation."""
    types = low.graph.types
    for node in nodes:
        width = _width(low, node, types)
        for name in node.inputs:
            low.uses[name] = low.uses.get(name, 0) + 1
            low.wide[name] = max(low.wide.get(name, 0), width)
        for name in free_names(node) - set(node.inputs):
            low.uses[name] = low.uses.get(name, 0) + 2
            low.wide[name] = inf
    for name in results:
        low.uses[name] = low.uses.get(name, 0) + 1


def _width(low: Lowering, node: Node, types: dict[str, Type]) -> float:
    if node.op in ("for", "if"):
        return 0
    if node.op == "einsum":
        extents = letter_sizes(node, [low.type(types[n]) for n in node.inputs])
        return elements(Type("i64", tuple(extents.values())))
    shapes = [elements(low.type(v.type)) for v in node.outputs] + [0.0]
    if lookup(node.op).family in ("reduction", "scan") or node.op in ("update", "slice"):
        shapes = [elements(low.type(types[n])) for n in node.inputs[:1]]
    if node.op == "update":
        shapes = [elements(low.type(types[node.inputs[1]]))]
    return max(shapes)


def worth_storing(low: Lowering, name: str, value: Lazy) -> bool:
    """Whether a value should be a statement of its own rather than part of its users."""
    if value.cost == 0 and name not in low.targets:
        return False
    if name in low.targets:
        return True
    if low.uses.get(name, 0) == 0:
        return False
    own = elements(value.type)
    expanding = low.wide.get(name, 0) > own
    if expanding:
        return value.cost > (3 if own == 1 else 0)
    return low.uses[name] > 1 or value.cost > 150


def letter_sizes(node: Node, types: Sequence[Type]) -> dict[str, Size]:
    inputs, output = node.attr("spec").replace(" ", "").split("->")
    found: dict[str, Size] = {}
    for letters, type in zip(inputs.split(","), types, strict=True):
        for letter, size in zip(letters, type.shape, strict=True):
            if letter not in found or found[letter].constant == 1:
                found[letter] = size
    return {letter: found[letter] for letter in dict.fromkeys(output + "".join(inputs.split(",")))}
