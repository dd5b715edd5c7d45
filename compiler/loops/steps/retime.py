"""A part of a loop's body deferred to the next iteration."""

from __future__ import annotations

from dataclasses import replace

from ..nest import LoopOrder, Order, leaves, sequence
from ..nest import Sequence as SequenceOrder
from ..scheduled import Scheduled, change_loop, ends_by_data, once


@once
def can_retime(scheduled: Scheduled, statement: str, name: str, before: str) -> str | None:
    """Why a part of a loop's body cannot wait for the next iteration, or None (the final check proves legality)."""
    if name not in scheduled.loops:
        return "no such loop"
    if by_data := ends_by_data(scheduled, name):
        return by_data
    body = scheduled.loop(name).body
    if not isinstance(body, SequenceOrder):
        return f"the body of {name} has one part"
    moved, place = _part(body, statement), _part(body, before)
    if moved is None or place is None:
        return f"{statement if moved is None else before} is not inside {name}"
    if moved == place:
        return f"{statement} and {before} are in one part of {name}"
    inside = set(leaves(body.children[moved]))
    rest = set(leaves(body)) - inside
    for array, owner in scheduled.private:
        users = {s.name for s in scheduled.nest.statements if array in s.arrays()}
        if owner == name and users & inside and users & rest:
            return f"{array} lives in one iteration of {name} and is used in both"
    return None


def retime(scheduled: Scheduled, statement: str, name: str, before: str) -> Scheduled:
    """The part of a loop's body that holds a statement runs one iteration later, before the part that holds another one.

    for k in 0..K:                      for k in 0..K+1:
        A(k)                                if k < K: A(k)
        B(k)                -->             if k > 0: U(k - 1)
        U(k)                                if k < K: B(k)              retime U k B

    Source: C. Leiserson and J. Saxe, Retiming synchronous circuitry, 1991.
    """
    reason = can_retime(scheduled, statement, name, before)
    if reason:
        raise ValueError(f"cannot retime {statement} {name} {before}: {reason}")

    def change(loop: LoopOrder) -> Order:
        assert isinstance(loop.body, SequenceOrder)
        parts = list(loop.body.children)
        part = next(p for p in parts if statement in leaves(p))
        place = next(p for p in parts if before in leaves(p))
        parts.remove(part)
        parts.insert(parts.index(place), part)
        inside = set(leaves(part))
        values = tuple((s, v + 1 if s in inside else v) for s, v in loop.values)
        return replace(loop, values=values, body=sequence(parts))

    return scheduled.with_order(change_loop(scheduled.nest.order, name, change))


def _part(body: SequenceOrder, statement: str) -> int | None:
    """Which part of a body holds a statement."""
    return next((n for n, part in enumerate(body.children) if statement in leaves(part)), None)
