"""The order that isl's scheduler finds: a start for other steps, where the text of a program has the wrong loops outside."""

from __future__ import annotations

from dataclasses import replace

from ..dependences import dependences
from ..isl import NotAffine
from ..isl_scheduler import FUSIONS, Wishes, rescheduled
from ..nest import LoopOrder, Order, exits
from ..nest import Sequence as SequenceOrder
from ..scheduled import Scheduled, ends_by_data, once
from ..symbolic import Symbolic


def can_isl(scheduled: Scheduled, fusion: str = "smart") -> str | None:
    """Why isl's scheduler cannot order the program, or None."""
    if fusion not in FUSIONS:
        return f"fusion is {', '.join(FUSIONS[:-1])} or {FUSIONS[-1]}, not {fusion}"
    if scheduled.private:
        array, loop = min(scheduled.private)
        return f"{array} lives in one iteration of {loop}, which would go away: contract afterwards"
    if not scheduled.nest.statements:
        return "there is nothing to order"
    if by_data := exits(scheduled.nest.order):
        return ends_by_data(scheduled, min(by_data))
    found = _order(scheduled, fusion)
    return found if isinstance(found, str) else None


def isl(scheduled: Scheduled, fusion: str = "smart") -> Scheduled:
    """All loops are made anew by isl's scheduler (the Pluto algorithm): dependences short, outer loops independent or fit for blocks.

    for i:                              for b0:
        for j: S(i, j)                      for b1:
    for k:                      -->             S(b0, b1)
        for l: T(l, k)                          T(b0, b1)

    The loops are ``b0``, ``b1``, ... in the order of the text. FUSION is ``smart``, ``max`` or ``min``: how much shares a loop.
    Source: Bondhugula et al., PLDI 2008; Verdoolaege & Janssens, "Scheduling for PPCG", 2017.
    """
    reason = can_isl(scheduled, fusion)
    found = reason or _order(scheduled, fusion)
    if isinstance(found, str):
        raise ValueError(f"cannot order by isl: {found}")
    return scheduled.with_order(found)


@once
def _order(scheduled: Scheduled, fusion: str) -> Order | str:
    """The order, or why there is none. Sums may run in another sequence, but not side by side.

    Sizes have names: with large numbers isl can take minutes, and finds orders that hold by chance. The present order, which tells what
    comes before what, is proved or refused with what is made of it.
    """
    strict, symbolic = scheduled.strict, Symbolic.of(scheduled.nest)
    found, nest = dependences(symbolic.nest), symbolic.nest
    wishes = Wishes(
        kept=[d.relation for d in found if strict or not d.reduction],
        apart=[d.relation for d in found],
        near=[d.relation for d in found if d.kind == "flow"],
    )
    try:
        return _literal(rescheduled(nest.statements, wishes, nest.params, fusion), symbolic)
    except NotAffine as error:
        return str(error)


def _literal(order: Order, symbolic: Symbolic) -> Order:
    if isinstance(order, SequenceOrder):
        return SequenceOrder(tuple(_literal(c, symbolic) for c in order.children))
    if not isinstance(order, LoopOrder):
        return order
    values = tuple((s, symbolic.literal(v)) for s, v in order.values)
    return replace(order, values=values, body=_literal(order.body, symbolic))
