"""Loops swapped, moved, turned round and skewed: other values at which statements run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...graph.types import Size
from ..nest import LoopOrder, Order, loops_of
from ..scheduled import Scheduled, change_loop, conflict


def can_interchange(scheduled: Scheduled, outer: str, inner: str) -> str | None:
    """Why two perfectly nested loops cannot be swapped, or None (the final check proves legality)."""
    if outer not in scheduled.loops or inner not in scheduled.loops:
        return "no such loop"
    body = scheduled.loop(outer).body
    return None if isinstance(body, LoopOrder) and body.name == inner else f"{inner} is not directly inside {outer}"


def interchange(scheduled: Scheduled, outer: str, inner: str) -> Scheduled:
    """Swap two perfectly nested loops.

    for i:                          for j:
        for j: S(i, j)      -->         for i: S(i, j)
    """
    reason = can_interchange(scheduled, outer, inner)
    if reason:
        raise ValueError(f"cannot interchange {outer} {inner}: {reason}")

    def change(loop: LoopOrder) -> Order:
        assert isinstance(loop.body, LoopOrder)
        return replace(loop.body, body=replace(loop, body=loop.body.body))

    return scheduled.with_order(change_loop(scheduled.nest.order, outer, change))


def can_shift(scheduled: Scheduled, name: str, by: int) -> str | None:
    """Why a loop cannot be counted from elsewhere, or None."""
    return None if name in scheduled.loops else "no such loop"


def shift(scheduled: Scheduled, name: str, by: int) -> Scheduled:
    """Every statement of a loop runs ``by`` later, so that it can share a loop with what it has to wait for.

    for i in 0..n: S(i)         -->         for i in by..n+by: S(i - by)
    """
    reason = can_shift(scheduled, name, by)
    if reason:
        raise ValueError(f"cannot shift {name}: {reason}")
    return _revalue(scheduled, name, lambda loop: tuple((s, v + by) for s, v in loop.values))


def can_reverse(scheduled: Scheduled, name: str) -> str | None:
    """Why a loop cannot run the other way round, or None."""
    if name not in scheduled.loops:
        return "no such loop"
    return conflict(scheduled, name, reductions=True)


def reverse(scheduled: Scheduled, name: str) -> Scheduled:
    """A loop runs the other way round.

    for i in 0..n: S(i)         -->         for i in -n+1..1: S(-i)
    """
    reason = can_reverse(scheduled, name)
    if reason:
        raise ValueError(f"cannot reverse {name}: {reason}")
    return _revalue(scheduled, name, lambda loop: tuple((s, -v) for s, v in loop.values))


def can_skew(scheduled: Scheduled, inner: str, outer: str, factor: int) -> str | None:
    """Why a loop cannot be skewed against one around it, or None."""
    if inner not in scheduled.loops or outer not in scheduled.loops:
        return "no such loop"
    if not any(loop.name == inner for loop in loops_of(scheduled.loop(outer).body)):
        return f"{inner} is not inside {outer}"
    return None if factor else "a factor of 0 changes nothing"


def skew(scheduled: Scheduled, inner: str, outer: str, factor: int) -> Scheduled:
    """A loop starts ``factor`` further on in every iteration of one around it; then the two may be tiled or swapped.

    for t:                                  for t:
        for i in 0..n: S(t, i)      -->         for i in factor*t..n+factor*t: S(t, i - factor*t)
    """
    reason = can_skew(scheduled, inner, outer, factor)
    if reason:
        raise ValueError(f"cannot skew {inner} {outer}: {reason}")
    around = scheduled.loop(outer)
    return _revalue(scheduled, inner, lambda loop: tuple((s, v + factor * around.value(s)) for s, v in loop.values))


def _revalue(scheduled: Scheduled, name: str, values: Callable[[LoopOrder], tuple[tuple[str, Size], ...]]) -> Scheduled:
    return scheduled.with_order(change_loop(scheduled.nest.order, name, lambda loop: replace(loop, values=values(loop))))
