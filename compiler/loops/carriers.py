"""Dependences summed up for a reader: which way they go, how far, and which loop carries them.

flow A: S6 -> S6    (t3, t4, t5) = (0, 0, 1), (0, 1, 0), (1, -1, 0)    carried by t5, t4, t3
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import isl
from .dependences import Dependence
from .distances import distances
from .nest import LoopOrder, loop_path
from .scheduled import Scheduled


@dataclass(frozen=True)
class Summary:
    """Dependences of one kind on one array between two statements: differences of the values of the loops both are in (sink minus
    source; an entry is a number, a range such as ``1..``, or ``*``), and the loops of which they join different iterations."""

    kind: str
    array: str
    source: str
    sink: str
    loops: tuple[str, ...]
    distances: tuple[tuple[str, ...], ...]
    carried: tuple[str, ...]
    reduction: bool

    def __str__(self) -> str:
        text = f"{self.kind} {self.array}: {self.source} -> {self.sink}"
        if self.loops:
            vectors = ", ".join(f"({', '.join(d)})" for d in self.distances)
            text += f"    ({', '.join(self.loops)}) = {vectors}"
        text += f"    carried by {', '.join(self.carried)}" if self.carried else "    within one iteration" if self.loops else ""
        return text + ("    a reduction: may be reordered" if self.reduction else "")


def summaries(scheduled: Scheduled) -> list[Summary]:
    """The dependences of a nest, in the order it has."""
    found: dict[tuple[str, str, str, str, bool], list[Dependence]] = {}
    for d in scheduled.found:
        found.setdefault((d.kind, d.array, d.source, d.sink, d.reduction), []).append(d)
    return [_summary(scheduled, group) for group in found.values()]


def _summary(scheduled: Scheduled, group: Sequence[Dependence]) -> Summary:
    first = group[0]
    loops = _common(scheduled, first)
    vectors: dict[tuple[str, ...], None] = {}
    carried: set[str] = set()
    for d in group:
        found = distances(scheduled, d, [dict(loop.values) for loop in loops], ())
        if loops:
            vectors[isl.entries(found)] = None
        carried |= {loops[n].name for n in isl.first_nonzero(found)}
    names = tuple(loop.name for loop in loops)
    kept = tuple(n for n in names if n in carried)
    return Summary(first.kind, first.array, first.source, first.sink, names, tuple(vectors), kept, first.reduction)


def _common(scheduled: Scheduled, d: Dependence) -> tuple[LoopOrder, ...]:
    """The loops around both ends."""
    order = scheduled.nest.order
    inside = {loop.name for loop in loop_path(order, d.sink)}
    return tuple(loop for loop in loop_path(order, d.source) if loop.name in inside)
