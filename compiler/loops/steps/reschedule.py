"""The order that isl's scheduler finds: a start for other steps, where the text of a program has the wrong loops outside."""

from __future__ import annotations

from ..isl import NotAffine
from ..isl_scheduler import FUSIONS, rescheduled
from ..nest import Order
from ..scheduled import Scheduled


def can_isl(scheduled: Scheduled, fusion: str = "smart") -> str | None:
    """Why isl's scheduler cannot order the program, or None."""
    if fusion not in FUSIONS:
        return f"fusion is {', '.join(FUSIONS[:-1])} or {FUSIONS[-1]}, not {fusion}"
    if scheduled.private:
        array, loop = min(scheduled.private)
        return f"{array} lives in one iteration of {loop}, which would go away: contract afterwards"
    if not scheduled.nest.statements:
        return "there is nothing to order"
    try:
        _order(scheduled, fusion)
    except NotAffine as error:
        return str(error)
    return None


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
    if reason:
        raise ValueError(f"cannot order by isl: {reason}")
    return scheduled.with_order(_order(scheduled, fusion))


def _order(scheduled: Scheduled, fusion: str) -> Order:
    kept = [d.relation for d in scheduled.found if scheduled.strict or not d.reduction]
    near = [d.relation for d in scheduled.found]
    nest = scheduled.nest
    return rescheduled(nest.statements, kept, near, nest.params, fusion)
