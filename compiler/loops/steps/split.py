"""Index-set splitting: the instances of a statement cut in two."""

from __future__ import annotations

import re
from dataclasses import replace

from ...graph.types import Size, parse_size, size_fn
from .. import isl
from ..isl import NotAffine
from ..nest import Dim, Guard, Leaf, Order, Statement, loop_path, sequence
from ..nest import Sequence as SequenceOrder
from ..scheduled import Scheduled, once

_COMPARISON = re.compile(r"(<=|>=|==|<|>)")


@once
def can_split(scheduled: Scheduled, statement: str, condition: str) -> str | None:
    """Why the instances of a statement cannot be cut in two by a condition, or None."""
    s = scheduled.nest.statement_table.get(statement)
    if s is None:
        return f"no such statement: {statement}"
    if other(statement) in scheduled.nest.statement_table:
        return f"{statement} is split already"
    guards = _guards(scheduled, s, condition)
    if isinstance(guards, str):
        return guards
    inside, outside = (isl.domain(_with(s, g), scheduled.nest.params) for g in guards)
    if inside.is_empty() or outside.is_empty():
        return f"every instance of {statement} is on one side of `{condition}`"
    return scheduled.unproved()


def split(scheduled: Scheduled, statement: str, condition: str) -> Scheduled:
    """Instances that fulfil a condition keep the statement's name, the others are a statement of their own: ``split S j<8``.

    The condition, written without blanks, compares (``< <= > >= ==``) two expressions over dims of the statement, loops
    around it and counts.

    for i:                          for i:
        for j: S(i, j)      -->         for j:
                                            if j < 8: S(i, j)
                                            else: S_b(i, j)
    """
    reason = can_split(scheduled, statement, condition)
    if reason:
        raise ValueError(f"cannot split {statement}: {reason}")
    s = scheduled.nest.statement_table[statement]
    guards = _guards(scheduled, s, condition)
    assert not isinstance(guards, str)
    first, second = _with(s, guards[0]), replace(_with(s, guards[1]), name=other(statement))
    statements = tuple(p for x in scheduled.nest.statements for p in ((first, second) if x.name == statement else (x,)))
    order = _doubled(scheduled.nest.order, statement)
    return scheduled.rewrite(replace(scheduled.nest, statements=statements, order=order), {statement, other(statement)})


def other(statement: str) -> str:
    """The name of the statement that a split makes of the rest."""
    return f"{statement}_b"


def _doubled(order: Order, name: str) -> Order:
    if isinstance(order, Leaf):
        return sequence([order, Leaf(other(name))]) if order.statement == name else order
    if isinstance(order, SequenceOrder):
        return sequence([_doubled(c, name) for c in order.children])
    values = tuple(p for s, v in order.values for p in (((s, v), (other(name), v)) if s == name else ((s, v),)))
    return replace(order, values=values, body=_doubled(order.body, name))


def _guards(scheduled: Scheduled, s: Statement, condition: str) -> tuple[Guard, Guard] | str:
    """The condition and its contrary, or what is wrong with it."""
    parts = _COMPARISON.split(condition)
    if len(parts) != 3:
        return f"`{condition}` is no comparison of two integer expressions"
    try:
        left, op, right = parse_size(parts[0]), parts[1], parse_size(parts[2])
    except ValueError:
        return f"`{condition}` is no comparison of two integer expressions"
    around = {o.name: o.value(s.name) for o in loop_path(scheduled.nest.order, s.name)}
    dims = {d.name for d in s.dims}
    unknown = (left.names() | right.names()) - dims - around.keys() - set(scheduled.nest.params)
    if unknown:
        return f"`{sorted(unknown)[0]}` is no dim of {s.name}, no loop around it and no count"
    size = (left - right).substitute({n: v for n, v in around.items() if n not in dims})
    try:
        isl.affine_text(size)
    except NotAffine as error:
        return str(error)
    if op == "==":
        return Guard(size, "=="), Guard(size, "!=")
    held = {"<": -size - 1, "<=": -size, ">": size - 1, ">=": size}[op]
    return Guard(held), Guard(-held - 1)


def _with(s: Statement, guard: Guard) -> Statement:
    """The instances that a guard holds for: the innermost dim that it bounds gets the bound, if it can."""
    for n in range(len(s.dims) - 1, -1, -1):
        d = s.dims[n]
        if d.name not in guard.size.names():
            continue
        form = guard.size.affine()
        c = form[0].get(d.name, 0) if form else 0
        hidden = form is None or any(not isinstance(a, str) and d.name in a.names() for a in form[0])
        later = {x.name for x in s.dims[n + 1 :]}
        if guard.op != ">=" or abs(c) != 1 or hidden or guard.size.names() & later:
            break
        rest = guard.size - c * Size.of(d.name)  # c * d + rest >= 0
        tight = (
            Dim(d.name, d.upper, size_fn("max", d.lower, -rest))
            if c > 0
            else Dim(d.name, size_fn("min", d.upper, rest + 1), d.lower)
        )
        return replace(s, dims=tuple(tight if x is d else x for x in s.dims))
    return replace(s, guards=(*s.guards, guard))
