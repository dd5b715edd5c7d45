"""Proposer for loops whose iterations only share where their temporaries lie: each gets its own, and they run side by side.

    for i:                                      parallel for i:
        parallel for j: t[j] = f(i, j)              for j: t[j] = f(i, j)
        parallel for j: u[j] = g(t, j)    -->       for j: u[j] = g(t, j)
        s[i] = h(u)                                 s[i] = h(u)

Threads meet once for the loop, in place of several times in every iteration: members of a population, samples with large intermediate results.
"""

from __future__ import annotations

from ..loops.account import array_bytes
from ..loops.nest import LoopOrder, leaves, loops_of
from ..loops.scheduled import conflicts, extent
from ..loops.steps.mark import can_parallel
from .draft import Draft
from .sweeps import prepare

#: Fewest iterations for each thread: all of them are to have something to do until the end.
LEAST = 4
#: What an iteration keeps for itself fits this part of a core's own cache.
SHARE = 0.6


def side_by_side(draft: Draft) -> bool:
    """Whether the draft has such loops; their temporaries become local."""
    if draft.task.tile or draft.task.machine.cores < 2:
        return False
    made: list[str] = []
    for name in list(draft.scheduled.loops):
        if name in draft.scheduled.loops and not {o.name for o in draft.scheduled.outer(name)} & set(made) and draft.trying(_make, name):
            made.append(name)
    return bool(made)


def _make(draft: Draft, name: str) -> bool:
    if not draft.is_open(name) or not _own(draft, draft.scheduled.loop(name)):
        return False
    prepare(draft)  # what needs less than an iteration for itself gets less
    arrays = _own(draft, draft.scheduled.loop(name)) if name in draft.scheduled.loops else None
    for array in arrays or ():
        draft.take("contract", array, name)
    local = [a for a in draft.scheduled.nest.arrays if a.scope == f"local {name}"]
    if sum(array_bytes(a, {}) for a in local) > SHARE * draft.task.machine.l2:
        return False
    return can_parallel(draft.scheduled, name) is None


def _own(draft: Draft, loop: LoopOrder) -> list[str] | None:
    """Temporaries that iterations of a loop cannot share, if there is nothing else that keeps them in order, and threads would meet inside; or None."""
    scheduled, table = draft.scheduled, draft.scheduled.nest.statement_table
    inside = [o for o in loops_of(loop.body) if _occupies(draft, o)]
    if loop.kind != "serial" or not inside or not _occupies(draft, loop):
        return None
    below = set(leaves(loop))
    elsewhere = set[str]().union(*(s.arrays() for s in scheduled.nest.statements if s.name not in below))
    for s, value in loop.values:
        write = table[s].write
        if table[s].routine or (not value.names() & write.names() and (write.array in elsewhere or not scheduled.nest.array(write.array).temporary)):
            return None
    if any(can_parallel(scheduled, o.name) is None for o in (loop, *scheduled.outer(loop.name))):
        return None
    arrays = sorted({d.array for d in conflicts(scheduled, loop.name, reductions=False)})
    return arrays if arrays and any(can_parallel(scheduled, o.name) is None for o in inside) else None


def _occupies(draft: Draft, loop: LoopOrder) -> bool:
    """Whether a loop has iterations enough for all threads."""
    span = extent(draft.scheduled, loop)
    return span is not None and span[1] - span[0] + 1 >= LEAST * draft.task.machine.cores
