"""Arrays that a loop fills row by row: what it reads of rows already done stands in the result, and needs no tape.

    for i in 0..n: x[i] = (b[i] - sum(L[i, j] * x[j] for j in 0..i)) / L[i, i]

At iteration i the rows below i are those of the final x; so is what the iteration writes. A triangular solve has an adjoint that keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .graph import Node
from .types import At, Item, Range, Size, Type


@dataclass(frozen=True)
class Finished:
    """A carried array (``name``) whose rows are each written once, by the iteration of that row: the place in the loop's outputs,
    the value written and where, and the nodes of the body itself that read rows which are not done."""

    name: str
    place: int
    value: str
    items: tuple[Item, ...]
    early: frozenset[str]  # names of what these nodes give


def finished(node: Node, types: Mapping[str, Type]) -> list[Finished]:
    """The arrays of a ``for`` node that the rule holds for."""
    if node.attr("until"):
        return []
    found = [_finished(node, n, types) for n in range(len(node.regions[0].args))]
    return [f for f in found if f is not None]


def _finished(node: Node, place: int, types: Mapping[str, Type]) -> Finished | None:
    region, index = node.regions[0], Size.of(node.attr("index"))
    name = region.args[place].name
    update = next((n for n in region.nodes if n.outputs[0].name == region.results[place]), None) if region.nodes else None
    if update is None or update.op != "update" or update.attr("mode") != "set" or len(update.inputs) != 2:
        return None
    base, value = update.inputs
    items: tuple[Item, ...] = update.attr("items")
    axes = [a for a, item in enumerate(items) if isinstance(item, At) and item.index == index]
    others = [item for a, item in enumerate(items) if a not in axes]
    if base != name or value == name or len(axes) != 1 or any(_names(item) & {str(index)} for item in others):
        return None
    if types[value].shape != tuple(item.size for item in items if isinstance(item, Range)):
        return None
    if any(name == r for n, r in enumerate(region.results) if n != place):
        return None
    early = set()
    for reader, around in _readers(region.nodes, name, ()):
        if reader is update:
            continue
        if reader is None or reader.op != "slice" or reader.inputs != (name,):
            return None
        if not _done(reader.attr("items")[axes[0]], index, around, up=node.attr("step") > 0):
            if around:
                return None
            early.add(reader.output.name)
    return Finished(name, place, value, items, frozenset(early))


def _readers(nodes: Sequence[Node], name: str, around: tuple[Node, ...]) -> Iterator[tuple[Node | None, tuple[Node, ...]]]:
    """The nodes that read a value, with the loops they stand in; None for a region that gives it on."""
    for node in nodes:
        if name in node.inputs:
            yield node, around
        for region in node.regions:
            if name in region.results:
                yield None, around
            yield from _readers(region.nodes, name, (*around, node))


def _done(item: Item, index: Size, around: Sequence[Node], *, up: bool) -> bool:
    """Whether all that an item picks lies before ``index``, in the direction of the loop."""
    if isinstance(item, At):
        first = last = item.index
    elif isinstance(item, Range) and item.step > 0:
        first, last = item.start, item.start + (item.size - 1) * item.step
    else:
        return False
    end = _extreme(last if up else first, around, largest=up)
    distance = (index - 1 - end if up else end - index - 1).constant if end is not None else None
    return distance is not None and distance >= 0


def _extreme(size: Size, around: Sequence[Node], *, largest: bool) -> Size | None:
    """A bound of a size over the indices of loops around; None if it is not found easily."""
    for loop in reversed(around):
        if loop.op != "for":
            continue
        j = loop.attr("index")
        rest = size - Size.of(j)
        if j not in size.names():
            continue
        if j in rest.names():
            return None
        lower, upper = loop.attr("lower"), loop.attr("upper")
        ends = (lower, upper - 1) if loop.attr("step") > 0 else (upper + 1, lower)
        size = rest + ends[1 if largest else 0]
    return size


def _names(item: Item) -> frozenset[str]:
    sizes = (item.index,) if isinstance(item, At) else (item.start, item.size) if isinstance(item, Range) else ()
    return frozenset[str]().union(*(s.names() for s in sizes))
