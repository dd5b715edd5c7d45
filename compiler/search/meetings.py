"""Parts of a program where a team of threads would wait for each other longer than it saves: there one thread works alone.

    for k:                                  for k:
        parallel for i < k: A(k, i)   -->       for i < k: A(k, i)
        parallel for i < k: B(k, i)             for i < k: B(k, i)

A team meets after each parallel loop. Where short ones stand in a long sequential loop (recursions, sweeps over short rows) that
costs more than all of the work.
"""

from __future__ import annotations

from dataclasses import replace

from ..loops.nest import LoopOrder, Order, children, loops_of, sequence
from ..loops.nest import Sequence as SequenceOrder
from .cost import BARRIER, by_part
from .draft import Draft

#: What one thread needs, over what a team would, from which on a team is worth it: estimates are rough, and threads rarely lose much.
MARGIN = 0.8
#: Seconds of one thread below which nothing is taken back: programs that short run on one thread anyway.
LEAST = 50e-6


def spare(draft: Draft) -> None:
    """Take marks of parallel loops back in parts of the program where one thread alone is faster."""
    machine, order = draft.task.machine, draft.scheduled.nest.order
    parts = children(order)
    doubtful = [n for n, c in enumerate(parts) if _inside(draft, c)]
    if machine.cores < 2 or not doubtful:
        return
    together, alone = (by_part(draft.scheduled, machine, team) for team in (machine.cores, 1))
    lone = {n for n in doubtful if alone[n] > LEAST and alone[n] + BARRIER < MARGIN * together[n]}
    if not lone:
        return
    gone = {loop.name for n in lone for loop in loops_of(parts[n]) if "parallel" in loop.kind}
    draft.steps = [s for s in draft.steps if s.name != "parallel" or s.args[0] not in gone]
    draft.scheduled = draft.scheduled.with_order(sequence([_serial(c) if n in lone else c for n, c in enumerate(parts)]))


def _inside(draft: Draft, order: Order) -> bool:
    """Whether there are parallel loops inside a loop that is none, and no proposer has finished one of them."""
    if not isinstance(order, LoopOrder) or "parallel" in order.kind:
        return False
    marked = [o.name for o in loops_of(order) if "parallel" in o.kind]
    return bool(marked) and all(map(draft.is_open, marked))


def _serial(order: Order) -> Order:
    """An order without parallel loops."""
    if isinstance(order, SequenceOrder):
        return sequence([_serial(c) for c in order.children])
    if not isinstance(order, LoopOrder):
        return order
    kinds = [k for k in order.kind.split() if k != "parallel"]
    return replace(order, body=_serial(order.body), kind=" ".join(kinds) or "serial")
