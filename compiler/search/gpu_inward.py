"""What loops are like before they are dealt out: sums are inside of what they are sums for, and those of one iteration may go away.

    for k: for i: for j in 0..1: s[i] += x[i, k]        -->     for i: for k: s[i] += x[i, k]
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from ..loops.nest import LoopOrder, Order, leaves, loop_path
from ..loops.scheduled import extent
from .draft import Draft


def one_iteration(draft: Draft) -> bool:
    """Drop loops of one iteration; whether there were any. What is beside them may then be dealt out with them, or be in the way."""
    before = len(draft.steps)
    for loop in list(draft.scheduled.loops.values()):
        if loop.name in draft.scheduled.loops and draft.is_open(loop.name) and extent(draft.scheduled, loop) == (0, 0):
            draft.attempt("drop", loop.name)
    return len(draft.steps) > before


def move_inward(draft: Draft) -> None:
    """Interchange loops until those of sums are innermost."""
    for outer, inner in list(_inward(draft)):
        draft.attempt("interchange", outer, inner)


def _inward(draft: Draft) -> Iterator[tuple[str, str]]:
    """Pairs (outer, inner) of perfectly nested loops to be interchanged, in order, so that the loops of a sum stand inside those over what it
    is a sum for."""
    nest = draft.scheduled.nest
    for s in nest.statements:
        if not s.reduce or s.routine:
            continue
        kept = set[str]().union(*(i.names() for i in s.write.index))
        names = [o.name for o in _alone(nest.order, s.name) if draft.is_open(o.name)]
        values = {o.name: o.value(s.name).names() for o in _alone(nest.order, s.name)}
        for _ in names:
            for n, (a, b) in enumerate(pairwise(names)):
                if not values[a] & kept and values[b] & kept:
                    yield a, b
                    names[n], names[n + 1] = b, a
                    break


def _alone(order: Order, statement: str) -> list[LoopOrder]:
    """The loops, directly inside of each other, that hold one statement alone."""
    return [o for o in loop_path(order, statement) if list(leaves(o)) == [statement]]
