"""Loops swapped, moved, turned round and skewed: other values at which statements run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf

from ...graph.types import Size
from .. import isl
from ..distances import distances, skew_factor
from ..nest import LoopOrder, Order, leaves, loops_of
from ..scheduled import Scheduled, change_loop, conflict, once, siblings


@once
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


@once
def can_permute(scheduled: Scheduled, *names: str) -> str | None:
    """Why a band of loops, one directly inside the other, cannot be put in another order, or None (the final check proves legality)."""
    if len(names) < 2 or len(set(names)) != len(names):
        return "name the loops of a band in their new order"
    for name in names:
        if name not in scheduled.loops:
            return f"no such loop: {name}"
    band = _band(scheduled, names)
    return None if {loop.name for loop in band} == set(names) else f"{', '.join(names)} are not directly inside each other"


def permute(scheduled: Scheduled, *names: str) -> Scheduled:
    """The loops of a band in another order: ``permute k j i``.

    for i:                          for k:
        for j:                          for j:
            for k: S        -->             for i: S
    """
    reason = can_permute(scheduled, *names)
    if reason:
        raise ValueError(f"cannot permute {' '.join(names)}: {reason}")
    band = _band(scheduled, names)

    def change(_: LoopOrder) -> Order:
        body = band[-1].body
        for name in reversed(names):
            body = replace(scheduled.loop(name), body=body)
        return body

    return scheduled.with_order(change_loop(scheduled.nest.order, band[0].name, change))


def _band(scheduled: Scheduled, names: tuple[str, ...]) -> list[LoopOrder]:
    """As many loops, each directly inside the one before, from the outermost of those named on."""
    band = [min((scheduled.loop(n) for n in names), key=lambda loop: len(scheduled.outer(loop.name)))]
    while len(band) < len(names) and isinstance(band[-1].body, LoopOrder):
        band.append(band[-1].body)
    return band


@once
def can_shift(scheduled: Scheduled, name: str, by: int | str) -> str | None:
    """Why a loop cannot be counted from elsewhere, or from where another loop can be fused with it, or None."""
    if name not in scheduled.loops or (isinstance(by, str) and by not in scheduled.loops):
        return "no such loop"
    found = _shift(scheduled, name, by)
    return found if isinstance(found, str) else None


def _shift(scheduled: Scheduled, name: str, by: int | str) -> int | str:
    if isinstance(by, int):
        return by
    children = siblings(scheduled.nest.order, name)
    names = [c.name if isinstance(c, LoopOrder) else "" for c in children]
    if by not in names or names.index(by) >= names.index(name):
        return f"{by} is not an earlier sibling of {name}"
    first, second = scheduled.loop(by), scheduled.loop(name)
    before, after = set(leaves(first)), set(leaves(second))
    where, outer = dict(first.values) | dict(second.values), scheduled.outer(name)
    sets = [(d, distances(scheduled, d, (where,), outer)) for d in scheduled.found if d.source in before and d.sink in after]
    least = min((isl.least_where(found, "1 = 1", ("x",)) or 0 for _, found in sets if not found.is_empty()), default=0)
    if least == -inf:
        return f"dependences from {by} to {name} reach back without limit"
    return max(0, -int(least))


def shift(scheduled: Scheduled, name: str, by: int | str) -> Scheduled:
    """Every statement of a loop runs ``by`` later, so that it can share a loop with what it has to wait for.

    for i in 0..n: S(i)         -->         for i in by..n+by: S(i - by)

    ``shift j i`` shifts ``j`` by as little as lets it be fused with its earlier sibling ``i``.
    """
    reason = can_shift(scheduled, name, by)
    amount = _shift(scheduled, name, by)
    if reason or isinstance(amount, str):
        raise ValueError(f"cannot shift {name}: {reason}")
    return _revalue(scheduled, name, lambda loop: tuple((s, v + amount) for s, v in loop.values))


@once
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


@once
def can_skew(scheduled: Scheduled, inner: str, outer: str, factor: int | None = None) -> str | None:
    """Why a loop cannot be skewed against one around it, or None."""
    if inner not in scheduled.loops or outer not in scheduled.loops:
        return "no such loop"
    if not any(loop.name == inner for loop in loops_of(scheduled.loop(outer).body)):
        return f"{inner} is not inside {outer}"
    found = skew_factor(scheduled, inner, outer) if factor is None else factor
    if isinstance(found, str):
        return found
    return None if found else "a factor of 0 changes nothing"


def skew(scheduled: Scheduled, inner: str, outer: str, factor: int | None = None) -> Scheduled:
    """A loop starts ``factor`` further on in every iteration of one around it; then the two may be tiled or swapped.

    for t:                                  for t:
        for i in 0..n: S(t, i)      -->         for i in factor*t..n+factor*t: S(t, i - factor*t)

    Without a factor: the least one that keeps every dependence that ``outer`` carries from going backward in ``inner``.
    """
    reason = can_skew(scheduled, inner, outer, factor)
    by = skew_factor(scheduled, inner, outer) if factor is None else factor
    if reason or isinstance(by, str):
        raise ValueError(f"cannot skew {inner} {outer}: {reason}")
    around = scheduled.loop(outer)
    return _revalue(scheduled, inner, lambda loop: tuple((s, v + by * around.value(s)) for s, v in loop.values))


@once
def can_wavefront(scheduled: Scheduled, outer: str, inner: str) -> str | None:
    """Why two loops, one directly inside the other, cannot become fronts, or None."""
    reason = can_interchange(scheduled, outer, inner)
    if reason:
        return reason
    factor = skew_factor(scheduled, inner, outer, apart=1)
    return factor if isinstance(factor, str) else None


def wavefront(scheduled: Scheduled, outer: str, inner: str) -> Scheduled:
    """Two loops become fronts, and iterations of the outer one in a front are independent: a skew by the least factor for that, and
    an interchange.

    for t:                              for i:                          # fronts
        for i: S(t, i)      -->             for t: S(t, i - factor*t)   # independent

    Source: L. Lamport, The parallel execution of DO loops, 1974 (the hyperplane method).
    """
    reason = can_wavefront(scheduled, outer, inner)
    factor = 0 if reason else skew_factor(scheduled, inner, outer, apart=1)
    if reason or isinstance(factor, str):
        raise ValueError(f"cannot make fronts of {outer} {inner}: {reason}")
    return interchange(skew(scheduled, inner, outer, factor) if factor else scheduled, outer, inner)


def _revalue(scheduled: Scheduled, name: str, values: Callable[[LoopOrder], tuple[tuple[str, Size], ...]]) -> Scheduled:
    return scheduled.with_order(change_loop(scheduled.nest.order, name, lambda loop: replace(loop, values=values(loop))))
