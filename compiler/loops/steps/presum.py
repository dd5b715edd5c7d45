"""Sums that a recurrence waits for, cut in two: what is known beforehand is added beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..dependences import carried
from ..nest import Access, Apply, ArrayInfo, Expr, Leaf, LoopOrder, Order, Sequence, Statement, accesses
from ..scheduled import Scheduled, change_loop, once


@once
def can_presum(scheduled: Scheduled, statement: str, name: str) -> str | None:
    """Why the terms of a sum that do not come from earlier iterations of a loop cannot be added beforehand, or None."""
    if scheduled.strict:
        return "numerics='strict' keeps every sum in its order"
    if name not in scheduled.loops:
        return "no such loop"
    s = scheduled.nest.statement_table.get(statement)
    if s is None or scheduled.loop(name).body != Leaf(statement):
        return f"{statement} is not alone in {name}"
    if s.reduce or s.routine:
        return f"{statement} is no assignment"
    if any(scheduled.nest.array(a).scope.startswith("local") for a in s.arrays()):
        return f"{statement} uses contracted arrays"
    if f"{statement}_sum" in scheduled.nest.statement_table or f"{s.write.array}_sum" in scheduled.nest.array_table:
        return f"a part of {statement} is added beforehand already"
    parts = _parts(s, _waits(scheduled, s, name))
    if isinstance(parts, str):
        return parts
    return scheduled.unproved()


def presum(scheduled: Scheduled, statement: str, name: str) -> Scheduled:
    """The terms of a sum that do not come from earlier iterations of a loop are added beforehand, in a statement of their own. What the
    recurrence waits for gets short, and the loop can be distributed: the new statement has no recurrence. Sums are
    re-associated.

    for j:                                              for j:
        x[j] = (a[j] + x[j-1] + b[j]) / 3      -->          x_sum[j] = a[j] + b[j]
                                                            x[j] = (x_sum[j] + x[j-1]) / 3
    """
    reason = can_presum(scheduled, statement, name)
    if reason:
        raise ValueError(f"cannot presum {statement} {name}: {reason}")
    nest = scheduled.nest
    s = nest.statement_table[statement]
    parts = _parts(s, _waits(scheduled, s, name))
    assert not isinstance(parts, str)
    known, rest = parts
    info = nest.array(s.write.array)
    made = ArrayInfo(f"{info.name}_sum", s.value.dtype, info.shape)
    place = Access(made.name, s.write.index, s.value.dtype)
    before = replace(s, name=f"{statement}_sum", write=place, value=known)
    statements = tuple(x for old in nest.statements for x in ((before, replace(s, value=rest(place))) if old is s else (old,)))

    def beside(order: Order) -> Order:
        if isinstance(order, Sequence):
            return Sequence(tuple(beside(c) for c in order.children))
        if isinstance(order, LoopOrder):
            values = tuple(x for n, v in order.values for x in ([(before.name, v), (n, v)] if n == statement else [(n, v)]))
            return replace(order, values=values, body=beside(order.body))
        return order

    def both(loop: LoopOrder) -> Order:
        return replace(loop, body=Sequence((Leaf(before.name), Leaf(statement))))

    order = change_loop(beside(nest.order), name, both)
    changed = {before.name, statement}
    return scheduled.rewrite(replace(nest, arrays=(*nest.arrays, made), statements=statements, order=order), changed)


def _waits(scheduled: Scheduled, s: Statement, name: str) -> set[Access]:
    """The reads of a statement that other iterations of a loop write, the loops around at one iteration."""
    loop, outer = scheduled.loop(name), scheduled.outer(name)
    found = set()
    for d in scheduled.found:
        if d.source == d.sink == s.name and d.kind == "flow" and carried(scheduled.nest, scheduled.nest.order, loop, d, outer):
            found |= {r for r in s.reads() if r.array == d.array and r.index == tuple(sink for _, sink in d.same)}
    return found


def _parts(s: Statement, waits: set[Access]) -> tuple[Expr, Callable[[Expr], Expr]] | str:
    """The sum of what is known beforehand, and the value of the statement as a function of it; or why there is none."""
    if not waits:
        return f"{s.name} waits for no other iteration"

    def late(value: Expr) -> bool:
        return any(a in waits for a in accesses(value))

    def visit(value: Expr) -> tuple[Expr, Callable[[Expr], Expr]] | str:
        if not isinstance(value, Apply):
            return f"no sum in {s.name} has two terms that are known beforehand"
        if value.op in ("add", "sub"):
            terms = _terms(value)
            first = [t for t in terms if not late(t)]
            if len(first) > 1:
                last = [t for t in terms if late(t)]
                return _sum(first), lambda known: _sum([known, *last])
        inner = [n for n, a in enumerate(value.args) if late(a)]
        found = visit(value.args[inner[0]]) if len(inner) == 1 else "more than one operand waits"
        if isinstance(found, str):
            return found
        known, rest = found
        return known, lambda k: replace(value, args=tuple(rest(k) if n == inner[0] else a for n, a in enumerate(value.args)))

    return visit(s.value)


def _terms(value: Expr) -> list[Expr]:
    if not isinstance(value, Apply) or value.op not in ("add", "sub"):
        return [value]
    first, second = value.args
    right = _terms(second) if value.op == "add" else [Apply("neg", (t,), t.dtype) for t in _terms(second)]
    return [*_terms(first), *right]


def _sum(terms: list[Expr]) -> Expr:
    total = terms[0]
    for term in terms[1:]:
        total = Apply("add", (total, term), total.dtype)
    return total
