"""Index-set splitting: the instances of a statement cut in two."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ...graph.types import Size, parse_size, size_fn
from .. import isl
from ..isl import NotAffine
from ..nest import Apply, Expr, Guard, Leaf, Order, SizeValue, Statement, loop_path, map_expr, sequence
from ..nest import Sequence as SequenceOrder
from ..scheduled import Scheduled, once
from ..tree import Literal

_COMPARISON = re.compile(r"(<=|>=|==|<|>)")


@once
def can_split(scheduled: Scheduled, statement: str, condition: str) -> str | None:
    """Why the instances of a statement cannot be cut in two by a condition, or None."""
    s = scheduled.nest.statement_table.get(statement)
    if s is None:
        return f"no such statement: {statement}"
    guards = _guards(scheduled, s, condition)
    if isinstance(guards, str):
        return guards
    inside, outside = (isl.domain(with_guard(s, g, scheduled.nest.params), scheduled.nest.params) for g in guards)
    if inside.is_empty() or outside.is_empty():
        return f"every instance of {statement} is on one side of `{condition}`"
    return scheduled.unproved()


def split(scheduled: Scheduled, statement: str, condition: str) -> Scheduled:
    """Instances that fulfil a condition keep the statement's name, the others are a statement of their own: ``split S j<8``.

    The condition, written without blanks, compares (``< <= > >= ==``) two expressions over dims of the statement, loops
    around it and counts. Where it decides what a ``where`` of the statement takes, that is taken.

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
    first, second = (_decided(with_guard(s, g, scheduled.nest.params), scheduled.nest.params) for g in guards)
    name = other(statement, scheduled)
    second = replace(second, name=name)
    statements = tuple(p for x in scheduled.nest.statements for p in ((first, second) if x.name == statement else (x,)))
    order = _doubled(scheduled.nest.order, statement, name)
    return scheduled.rewrite(replace(scheduled.nest, statements=statements, order=order), {statement, name})


def other(statement: str, scheduled: Scheduled | None = None) -> str:
    """The name of the statement that the first split of a statement makes of the rest; of the next one, in a program as it is now."""
    name = f"{statement}_b"
    while scheduled is not None and name in scheduled.nest.statement_table:
        name += "b"
    return name


def _doubled(order: Order, name: str, new: str) -> Order:
    if isinstance(order, Leaf):
        return sequence([order, Leaf(new)]) if order.statement == name else order
    if isinstance(order, SequenceOrder):
        return sequence([_doubled(c, name, new) for c in order.children])
    values = tuple(p for s, v in order.values for p in (((s, v), (new, v)) if s == name else ((s, v),)))
    return replace(order, values=values, body=_doubled(order.body, name, new))


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


def with_guard(s: Statement, guard: Guard, params: Sequence[str]) -> Statement:
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
        bound = -rest if c > 0 else rest + 1
        only, both = (
            (replace(d, lower=bound), replace(d, lower=size_fn("max", d.lower, bound)))
            if c > 0
            else (replace(d, upper=bound), replace(d, upper=size_fn("min", d.upper, bound)))
        )
        alone, tight = (replace(s, dims=tuple(t if x is d else x for x in s.dims)) for t in (only, both))
        implied = isl.domain(alone, params).is_subset(isl.domain(s, params))
        return alone if implied else tight
    return replace(s, guards=(*s.guards, guard))


_CONTRARY = {"lt": ">=", "le": ">", "gt": "<=", "ge": "<", "eq": "!=", "ne": "="}


def _decided(s: Statement, params: Sequence[str]) -> Statement:
    """A statement whose value takes one side of every ``where`` that takes the same in all instances."""
    found = isl.domain(s, params)

    def change(e: Expr) -> Expr:
        if not isinstance(e, Apply) or e.op != "where":
            return e
        condition = comparison(e.args[0])
        if condition is None or any(_checks(a) for a in e.args[1:]):
            return e
        op, left, right = condition
        try:
            if isl.where(s, f"{isl.affine_text(left)} {_CONTRARY[op]} {isl.affine_text(right)}", params).is_empty():
                return e.args[1]
            if isl.where(s, f"not ({isl.affine_text(left)} {_CONTRARY[op]} {isl.affine_text(right)})", params).is_empty():
                return e.args[2]
        except NotAffine:
            pass  # nothing is known of it
        return e

    return s if found.is_empty() else replace(s, value=map_expr(s.value, change))


def comparison(e: Expr) -> tuple[str, Size, Size] | None:
    """The name of a comparison of integer expressions, and its sides; None if an expression is none."""
    if not isinstance(e, Apply) or e.op not in _CONTRARY:
        return None
    sides = [a.size if isinstance(a, SizeValue) else Size.of(a.value) if isinstance(a, Literal) and type(a.value) is int else None
             for a in e.args]  # fmt: skip
    return None if sides[0] is None or sides[1] is None else (e.op, sides[0], sides[1])


def _checks(e: Expr) -> bool:
    """Whether an expression reports what is wrong with its operands."""
    return isinstance(e, Apply) and (e.op == "check_index" or any(map(_checks, e.args)))
