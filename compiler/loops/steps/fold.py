"""Temporaries of which only the last few elements along an axis are live: these take turns in a few places."""

from __future__ import annotations

from dataclasses import replace

from ...graph.types import Size
from ..dependences import Dependence, Reason
from ..lifetimes import TRIED, Lifetimes, Touch
from ..nest import Access, Statement, exits, map_accesses
from ..scheduled import Scheduled, once
from .contract import sites


@once
def can_fold(scheduled: Scheduled, array: str, axis: int, places: int = 0) -> str | None:
    """Why the indices of a temporary along an axis cannot be taken modulo a number, or None.

    Exact, by isl: in the present order no element is overwritten before the last read of it, and none is touched by one iteration of a
    parallel or vector loop in the place of another's.
    """
    info = scheduled.nest.array_table.get(array)
    if info is None or not info.temporary:
        return f"{array} is not a temporary array"
    if info.scope.startswith("local"):
        return f"{array} is contracted"
    if not 0 <= axis < len(info.shape):
        return f"{array} has no axis {axis}; axes are counted from 0"
    extent = info.shape[axis].constant
    if places < 0:
        return "a number of places is positive"
    if extent is not None and (extent < 2 or places >= extent):
        return f"{array} has {extent} element{'' if extent == 1 else 's'} along axis {axis}: nothing would be saved"
    found = sites(scheduled, array)
    if not found:
        return f"nothing uses {array}"
    if any(scheduled.nest.statement_table[s].routine for s, _, _ in found):
        return f"a routine takes {array}"
    ended = exits(scheduled.nest.order)
    if any(s in dict(loop.values) for loop in ended.values() for s, _, _ in found):
        return f"data tells which iterations of {min(ended)} run, and so what is written last"
    fault = scheduled.unproved()
    if fault:
        return fault
    lives = _lifetimes(scheduled, array)
    reader = lives.unwritten()
    if reader is not None:
        return f"{reader} reads elements of {array} that nothing has written before"
    least = 0 if places else _least(scheduled, array, axis)
    if not places and (least is None or (extent is not None and least >= extent)):
        return _lost(lives, array, axis, extent - 1 if extent else TRIED) or f"all of {array} is in use at once along axis {axis}"
    return _lost(lives, array, axis, places) if places else None


def fold(scheduled: Scheduled, array: str, axis: int, places: int = 0) -> Scheduled:
    """Elements of a temporary along an axis take turns in a few places, as many as are live at once: by default the fewest.

    t[K, n]                                     t[2, n]
    for k:                                      for k:
        for i: t[k, i] = A(t[k - 1, i])   -->       for i: t[k % 2, i] = A(t[(k - 1) % 2, i])

    Later steps see the places: the dependences are found anew. Source: storage folding of Ragan-Kelley et al., PLDI 2013; the modulo
    mappings of Lefebvre and Feautrier, Parallel Computing 24, 1998.
    """
    reason = can_fold(scheduled, array, axis, places)
    count = places or (None if reason else _least(scheduled, array, axis))
    if reason or count is None:
        raise ValueError(f"cannot fold {array} {axis}: {reason}")
    changed = {s for s, _, _ in sites(scheduled, array)}

    def folded(a: Access) -> Access:
        if a.array != array:
            return a
        return replace(a, index=tuple(i % count if n == axis else i for n, i in enumerate(a.index)))

    def one(s: Statement) -> Statement:
        return map_accesses(s, folded) if s.name in changed else s

    nest = scheduled.nest
    info = nest.array(array)
    short = replace(info, shape=tuple(Size.of(count) if n == axis else extent for n, extent in enumerate(info.shape)))
    arrays = tuple(short if a.name == array else a for a in nest.arrays)
    return scheduled.rewrite(replace(nest, statements=tuple(map(one, nest.statements)), arrays=arrays), changed)


def _lifetimes(scheduled: Scheduled, array: str) -> Lifetimes:
    table = scheduled.nest.statement_table
    found = [Touch(s, index, writes) for s, index, writes in sites(scheduled, array)]
    found += [replace(t, writes=False) for t in found if t.writes and table[t.statement].reduce]
    beside = {loop.name for loop in scheduled.loops.values() if loop.at_once}
    return Lifetimes(scheduled.nest, tuple(dict.fromkeys(found)), frozenset(beside))


@once
def _least(scheduled: Scheduled, array: str, axis: int) -> int | None:
    return _lifetimes(scheduled, array).places(axis)


def _lost(lives: Lifetimes, array: str, axis: int, places: int) -> Reason | None:
    """Which iterations would be in each other's way."""
    found = lives.overwritten(axis, places)
    if found is None:
        return None
    first, second, at_once, pairs = found
    text = f"with {places} place{'s' if places > 1 else ''} along axis {axis}, "
    if at_once:
        text += f"{first} and {second} use one place of {array} in iterations that run at once"
    else:
        text += f"{first} overwrites what {second} is yet to read of {array}"
    return Reason.of(text, Dependence(first, second, array, "output" if at_once else "anti", False, pairs), pairs)
