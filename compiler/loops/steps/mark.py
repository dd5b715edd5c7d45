"""Marks on loops: how their iterations run."""

from __future__ import annotations

from dataclasses import replace

from ..nest import LoopOrder, Order, leaves, loops_of
from ..scheduled import Scheduled, change_loop, conflict, ends_by_data, once


@once
def can_parallel(scheduled: Scheduled, name: str) -> str | None:
    """Why iterations of a loop are not independent, or None."""
    if name not in scheduled.loops:
        return "no such loop"
    return ends_by_data(scheduled, name) or conflict(scheduled, name, reductions=False)


def parallel(scheduled: Scheduled, name: str) -> Scheduled:
    """Iterations of a loop are split over the threads.

    for i: S(i)         -->     parallel i: S(i)
    """
    reason = can_parallel(scheduled, name)
    if reason:
        raise ValueError(f"cannot run {name} in parallel: {reason}")
    return mark(scheduled, name, "parallel")


@once
def can_vector(scheduled: Scheduled, name: str) -> str | None:
    """Why iterations of an innermost loop cannot run side by side, or None. Reductions are re-associated, unless numerics are strict."""
    if name not in scheduled.loops:
        return "no such loop"
    if any("unroll" not in inner.kind for inner in loops_of(scheduled.loop(name).body)):
        return "there are loops inside"
    if any(scheduled.nest.statement_table[s].routine for s in leaves(scheduled.loop(name))):
        return "it calls a routine"
    return ends_by_data(scheduled, name) or conflict(scheduled, name, reductions=not scheduled.strict)


def vector(scheduled: Scheduled, name: str) -> Scheduled:
    """Iterations of an innermost loop run side by side in vector registers.

    for i: S(i)         -->     vector i: S(i)
    """
    reason = can_vector(scheduled, name)
    if reason:
        raise ValueError(f"cannot vectorise {name}: {reason}")
    return mark(scheduled, name, "vector")


def mark(scheduled: Scheduled, name: str, kind: str) -> Scheduled:
    """One more kind on a loop; no question asked."""

    def change(loop: LoopOrder) -> Order:
        kinds = [k for k in loop.kind.split() if k != "serial"] + [kind]
        return replace(loop, kind=" ".join(dict.fromkeys(kinds)))

    return scheduled.with_order(change_loop(scheduled.nest.order, name, change))
