"""Statements that count by the loops around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...graph.types import Size
from .. import isl
from ..isl import NotAffine
from ..nest import LoopOrder, Order, Statement, loop_path, map_accesses, substitute
from ..nest import Sequence as SequenceOrder
from ..scheduled import Scheduled, once


@once
def can_reindex(scheduled: Scheduled, statement: str, *names: str) -> str | None:
    """Why the indices of a statement cannot become the values of loops around it, in this order, or None.

    There is a loop for each index, from whose values the indices follow, and the bounds of each loop are affine in those of the loops
    named before it (found by isl).
    """
    s = scheduled.nest.statement_table.get(statement)
    if s is None or s.routine:
        return f"no such statement: {statement}" if s is None else f"{statement} is a routine"
    if len(set(names)) != len(names) or len(names) != len(s.dims) or not names:
        return f"name {len(s.dims)} loops around {statement}, one for each of its indices"
    around = {o.name for o in loop_path(scheduled.nest.order, statement)}
    for name in names:
        if name not in around:
            return f"no such loop around {statement}: {name}"
    if any(a in s.arrays() for a, _ in scheduled.private) or statement in dict(scheduled.padded):
        return f"{statement} is padded, or uses an array that is contracted"
    found = _reindexed(scheduled, s, names)
    return found if isinstance(found, str) else scheduled.unproved()


def reindex(scheduled: Scheduled, statement: str, *names: str) -> Scheduled:
    """The indices of a statement become the values of loops around it, in the order in which these are named. Nothing runs at another time;
    what the statement reads and the bounds of its loops are said in other terms, in which other steps may find what they need.

    for i:                                              for i:
        for k in i+1..n: S(i, k - i - 1)    -->             for k in i+1..n: S(i, k)
    """
    reason = can_reindex(scheduled, statement, *names)
    found = _reindexed(scheduled, scheduled.nest.statement_table[statement], names) if reason is None else reason
    if isinstance(found, str):
        raise ValueError(f"cannot reindex {statement} {' '.join(names)}: {found}")
    new, env = found
    statements = tuple(new if s.name == statement else s for s in scheduled.nest.statements)
    nest = replace(scheduled.nest, statements=statements, order=_revalued(scheduled.nest.order, statement, env))
    return scheduled.rewrite(nest, {statement})


def _reindexed(scheduled: Scheduled, s: Statement, names: tuple[str, ...]) -> tuple[Statement, dict[str, Size]] | str:
    """The statement with other indices, and the old ones over them; or why there is none."""
    solved = _solve([scheduled.loop(n).value(s.name) for n in names], {d.name for d in s.dims})
    if solved is None:
        return f"the indices of {s.name} do not follow from the values of {', '.join(names)}"
    order, env = solved
    params = scheduled.nest.params
    made = map_accesses(s, lambda a: replace(a, index=tuple(i.substitute(env) for i in a.index)))
    try:
        instances = isl.renamed_domain(s, order, env, params)
        made = replace(made, value=substitute(s.value, env), dims=isl.bounds(instances, order), guards=())
        made = replace(made, guards=isl.counts(instances, isl.domain(made, params)))
    except NotAffine as error:
        return str(error)
    if not isl.domain(made, params).is_equal(instances):
        return f"the instances of {s.name} are not those of ranges of {', '.join(names)}"
    return made, env


def _solve(values: list[Size], dims: set[str]) -> tuple[list[str], dict[str, Size]] | None:
    """What the index that each value moves is called, and every old index over the new ones, which have the same names; None if one
    does not follow by additions alone."""
    env: dict[str, Size] = {}
    order = [""] * len(values)
    while len(env) < len(dims):
        for n, value in enumerate(values):
            form = value.affine()
            left = (value.names() & dims) - env.keys()
            if order[n] or form is None or len(left) != 1:
                continue
            (d,) = left
            c = form[0].get(d, 0)
            rest = value - Size.of(d) * c
            if abs(c) == 1 and d not in rest.names():
                env[d] = (Size.of(d) - rest.substitute(env)) * c
                order[n] = d
                break
        else:
            return None
    return order, env


def _revalued(order: Order, statement: str, env: Mapping[str, Size]) -> Order:
    if isinstance(order, SequenceOrder):
        return SequenceOrder(tuple(_revalued(c, statement, env) for c in order.children))
    if not isinstance(order, LoopOrder) or statement not in dict(order.values):
        return order
    values = tuple((s, v.substitute(env) if s == statement else v) for s, v in order.values)
    return replace(order, values=values, body=_revalued(order.body, statement, env))
