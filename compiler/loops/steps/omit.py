"""Statements that go away: all that they write is written again before anything reads it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .. import isl
from ..dependences import Dependence, Reason
from ..nest import Apply, Expr, Leaf, Nest, Order, exits, sequence
from ..nest import Sequence as SequenceOrder
from ..scheduled import Scheduled, once


@once
def can_omit(scheduled: Scheduled, statement: str) -> str | None:
    """Why a statement is needed, or None. Exact: isl looks at all that may come between a write and a read of the element."""
    nest = scheduled.nest
    s = nest.statement_table.get(statement)
    if s is None or s.routine:
        return f"no such statement: {statement}" if s is None else f"{statement} is a routine"
    if len(nest.statements) == 1:
        return f"{statement} is the whole program"
    if exits(nest.order):
        return "data tells which iterations run"
    if _reports(s.value):
        return f"{statement} reports what is wrong with its operands"
    info = nest.array(s.write.array)
    if info.scope.startswith("local") or any(array == info.name for array, _ in scheduled.private) or scheduled.asked(statement) != s:
        return f"{statement} is padded, or its array contracted"
    after = [d for d in scheduled.found if d.source == statement and d.array == info.name and d.kind != "anti"]
    plain = {x.name for x in nest.statements if not x.reduce and not x.routine}
    over = [d for d in after if d.kind == "output" and d.sink in plain]
    for d in after:
        if d.kind == "output" and d.sink in plain:
            continue
        left = _uncovered(scheduled, d, over)
        if left is not None:
            return Reason.of(f"{d.sink} reads of {info.name} what {statement} writes", d, left)
    if not info.temporary:
        lasting = isl.domain(s, nest.params)
        for d in over:
            lasting = lasting.subtract(d.relation.domain())
        if not lasting.is_empty():
            return f"{statement} writes results that stay in {info.name}"
    return scheduled.unproved()


def _uncovered(scheduled: Scheduled, use: Dependence, over: list[Dependence]) -> Any:
    """The pairs of a use between which nothing writes the element again; None if there are none."""
    left = use.relation
    for first in over:
        for second in scheduled.found:
            between = second.source == first.sink and second.sink == use.sink and second.array == use.array
            if between and second.kind == use.kind:
                left = left.subtract(first.relation.apply_range(second.relation))
                if left.is_empty():
                    return None
    return left


def _reports(e: Expr) -> bool:
    """Whether an expression reports what is wrong with its operands."""
    return isinstance(e, Apply) and (e.op == "check_index" or any(map(_reports, e.args)))


def omit(scheduled: Scheduled, statement: str) -> Scheduled:
    """A statement goes away: all that it writes is written again before anything reads it, or never read.

    for i: A[i] = 0                         for j: A[j] = B[j]
    for j: A[j] = B[j]          -->
    """
    reason = can_omit(scheduled, statement)
    if reason:
        raise ValueError(f"cannot omit {statement}: {reason}")
    nest = scheduled.nest
    statements = tuple(s for s in nest.statements if s.name != statement)
    order = without(nest.order, statement)
    assert order is not None, "there is another statement"
    used = set().union(*(s.arrays() for s in statements))
    arrays = tuple(a for a in nest.arrays if a.name in used or not a.temporary)
    new: Nest = replace(nest, statements=statements, arrays=arrays, order=order)
    left = {a.name for a in arrays}
    return replace(
        scheduled,
        nest=new,
        found=tuple(d for d in scheduled.found if statement not in (d.source, d.sink)),
        private=frozenset((a, owner) for a, owner in scheduled.private if a in left),
        dropped=frozenset((a, tuple(p for p in axis if p[0] != statement)) for a, axis in scheduled.dropped if a in left),
    ).proved_as(None)


def without(order: Order, statement: str) -> Order | None:
    """An order without a statement; None if nothing is left."""
    if isinstance(order, Leaf):
        return None if order.statement == statement else order
    if isinstance(order, SequenceOrder):
        kept = [c for c in (without(c, statement) for c in order.children) if c is not None]
        return sequence(kept) if kept else None
    body = without(order.body, statement)
    return None if body is None else replace(order, body=body, values=tuple(v for v in order.values if v[0] != statement))

