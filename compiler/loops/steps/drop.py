"""Loops of one iteration that go away."""

from __future__ import annotations

from ..nest import LoopOrder
from ..scheduled import Scheduled, change_loop, ends_by_data, extent, once


@once
def can_drop(scheduled: Scheduled, name: str) -> str | None:
    """Why a loop has more than one iteration in each of those around it, as far as these tell, or None."""
    if name not in scheduled.loops:
        return "no such loop"
    if any(owner == name for _, owner in scheduled.private):
        return f"an array lives in one iteration of {name}"
    loop = scheduled.loop(name)
    if loop.at_once:
        return f"{name} is marked {loop.kind}"
    span = extent(scheduled, loop)
    if span is not None and span[0] == span[1]:
        return ends_by_data(scheduled, name)
    if not any(_same(loop, outer) for outer in scheduled.outer(name)):
        return f"{name} has no loop around it whose iterations have one of its iterations each"
    return None


def _same(loop: LoopOrder, outer: LoopOrder) -> bool:
    apart = {(value - outer.value(s)).constant for s, value in loop.values}
    return len(apart) == 1 and None not in apart


def drop(scheduled: Scheduled, name: str) -> Scheduled:
    """A loop that has one iteration each time goes away: in all, or as it counts as one around it does, but for a constant.

    for i:                          for i: S(i)
        for j in i..i+1: S(j)  -->
    """
    reason = can_drop(scheduled, name)
    if reason:
        raise ValueError(f"cannot drop {name}: {reason}")
    return scheduled.with_order(change_loop(scheduled.nest.order, name, lambda loop: loop.body))
