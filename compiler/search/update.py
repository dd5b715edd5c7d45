"""The updates of a factorization, most of its work: products of a block of columns (or rows) with all that is below it (or beside it).

    for b:                                                      for b:
        for j in the block: for i below: for k before: S   -->      pack what follows j
                                                                    parallel for chunks of i: t = 0; for k: for panels of j: for i: t += ..; A += t

What a block reads is finished, and apart from what it writes: so the sums add up in a chunk of their own, from packed panels, in register tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..graph.types import Size
from ..loops.dependences import IllegalSchedule
from ..loops.nest import LoopOrder, leaves, loop_path, loops_of
from ..loops.steps.accumulate import temporary
from ..loops.steps.pack import buffer_name
from ..loops.steps.split import other
from .draft import Draft
from .isolation import own_loops, uses

#: Rows of a chunk and summands of a block.
ROWS, SUMMANDS = 96, 512


@dataclass(frozen=True)
class Update:
    """A sum over ``summed`` of the elements at ``blocked`` (the index that a loop over blocks follows) and ``free``, by indices."""

    name: str
    blocked: str
    free: str
    summed: str


def reindexed(draft: Draft, name: str, inner: str) -> Update | None:
    """Have a sum count by its loops, that over what blocks are made of first; None if it has other than three indices or does not fit."""
    s = draft.scheduled.nest.statement_table[name]
    if s.reduce != "add" or len(s.dims) != 3 or s.guards or len(s.write.index) != 2:
        return None
    loops: dict[str, str] = {}
    for loop in loop_path(draft.scheduled.nest.order, name):
        value = loop.value(name)
        moved = value.names() - loops.keys()
        if len(moved) == 1 and (value.affine() or ({}, 0))[0].get(*moved) == 1:
            loops[next(iter(moved))] = loop.name
    blocked = str(draft.scheduled.loop(inner).value(name))
    free = [d.name for d in s.dims if uses(s.write, d.name) and d.name != blocked]
    summed = [d.name for d in s.dims if not uses(s.write, d.name)]
    if blocked not in loops or len(free) != 1 or len(summed) != 1 or {blocked, free[0], summed[0]} - loops.keys():
        return None
    trial = draft.copy()
    for index in s.write.index:
        apart = index - draft.scheduled.loop(loops[free[0]]).value(name)
        if free[0] in index.names() and blocked in apart.names():
            c = (apart.affine() or ({}, 0))[0].get(blocked, 0)
            if (apart - Size.of(blocked) * c).constant is None or not trial.attempt("skew", loops[free[0]], loops[blocked], c):
                return None
    if not trial.attempt("reindex", name, loops[blocked], loops[free[0]], loops[summed[0]]):
        return None
    draft.adopt(trial)
    return Update(name, blocked, free[0], summed[0])


def apart(draft: Draft, update: Update, first: Sequence[str], blocks: str, size: int) -> bool:
    """Take the part of an update that is beyond the block, a full box, out into register tiles; ``first`` are statements in its loops that
    run before. False, and nothing is done, where that does not fit."""
    return draft.trying(_make, update, first, blocks, size)


def _make(draft: Draft, update: Update, first: Sequence[str], blocks: str, size: int) -> None:
    name, far = update.name, other(update.name, draft.scheduled)
    draft.take("split", name, f"{update.free}<{size}*{blocks}+{size}")
    for part in ([*first], [name]) if first else ([name],):
        draft.take("fission", _inside(draft, far, blocks), *part)
    for before in first:
        draft.attempt("parallel", _inside(draft, before, blocks))
    for loop in own_loops(draft, far):
        draft.attempt("drop", loop.name)
    s = draft.scheduled.nest.statement_table[far]
    loops = {str(loop.value(far)): loop.name for loop in own_loops(draft, far)}
    e, d, k = (loops[x] for x in (update.free, update.blocked, update.summed))
    if list(loops.values()) != [e, d, k]:
        draft.take("permute", e, d, k)
    last = s.write.index[-1].names()
    column = update.free if update.free in last else update.blocked
    operands = [r for r in s.reads() if uses(r, column)]
    if column not in last or any(uses(r, update.free) and uses(r, update.blocked) for r in operands):
        raise IllegalSchedule(f"{far} is no product of rows and columns")
    draft.take("accumulate", far, k)
    panel = 2 * draft.task.machine.lanes(s.write.dtype)
    draft.take("tile", e, ROWS if column == update.blocked else 2 * panel)
    draft.take("fission", f"{e}_i", f"{far}_zero")
    draft.take("fission", _inside(draft, far, f"{e}_o"), far)
    draft.take("contract", temporary(far), f"{e}_o")
    draft.take("parallel", f"{e}_o")
    loops = {str(loop.value(far)): loop.name for loop in own_loops(draft, far)}
    rows, columns, k = loops[update.blocked if column == update.free else update.free], loops[column], loops[update.summed]
    for access in operands:
        buffer = buffer_name(draft.scheduled, access.array, far, column)
        draft.take("pack", access.array, far, column, panel, blocks)
        draft.take("parallel", f"{buffer}_o")
    draft.take("tile", columns, panel)
    draft.take("tile", k, SUMMANDS)
    draft.take("permute", f"{k}_o", f"{columns}_o", rows, f"{k}_i", f"{columns}_i")
    if column == update.free:  # what fills and uses the sums, in unit strides
        for use in (f"{far}_zero", f"{far}_add"):
            outer, inner = own_loops(draft, use)[-2:]
            if str(inner.value(use)) != column:
                draft.take("interchange", outer.name, inner.name)


def beside(draft: Draft, names: Sequence[str], head: str) -> None:
    """Statements in a loop over the rows of a block, one loop inside over what is beside it: elements there do not wait for each other.
    Raises IllegalSchedule where that is not so."""
    for loop in list(loops_of(draft.scheduled.loop(head))):
        draft.attempt("drop", loop.name)
    columns = draft.scheduled.loop(head).body
    if not isinstance(columns, LoopOrder):
        raise IllegalSchedule(f"{head} has more than one loop inside")
    e = columns.name
    lanes = draft.task.machine.lanes(draft.scheduled.nest.statement_table[names[0]].write.dtype)
    draft.take("interchange", head, e)
    draft.take("tile", e, 4 * lanes)
    draft.take("interchange", f"{e}_i", head)
    draft.take("parallel", f"{e}_o")
    for name in names:
        column = loop_path(draft.scheduled.nest.order, name)
        at = next(n for n, loop in enumerate(column) if loop.name.startswith(f"{e}_i"))
        inside = column[at].body
        if len(list(leaves(column[at]))) > 1:
            draft.take("fission", column[at].name, name)
            inside = draft.scheduled.loop(column[at].name).body
        if isinstance(inside, LoopOrder):
            draft.take("interchange", column[at].name, inside.name)


def turned(draft: Draft, update: Update, far: str, blocks: str) -> None:
    """What of a block the rest of an update reads is read from a copy in which the summands are side by side."""
    s = draft.scheduled.nest.statement_table[far]
    for access in s.reads():
        if uses(access, update.summed) and access.index[-1].names() == {update.blocked}:
            draft.attempt("pack", access.array, far, update.blocked, 1, blocks)


def _inside(draft: Draft, statement: str, around: str) -> str:
    """The loop directly inside another one, around a statement."""
    path = loop_path(draft.scheduled.nest.order, statement)
    names = [loop.name for loop in path]
    return names[names.index(around) + 1]

