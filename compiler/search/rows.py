"""Proposer for sums down a column of results that are still being made: row by row instead.

    for i:                                      for i:
        for j:                                      v[:] = 0
            v = 0                                   for k:
            for k before j:             -->             t[i, k] = f(v[k])
                v += t[i, k] * t[k + 1, j]              vector for j behind k: v[j] += t[i, k] * t[k + 1, j]
            t[i, j] = f(v)

The sum in the middle goes down a column, a line of the cache for each element; outside of the loop over the columns it goes along rows.
Each result is complete when its turn comes, and is then added to all behind it: dynamic programs over intervals, triangular solves.
"""

from __future__ import annotations

from ..graph.types import Size
from ..loops.dependences import IllegalSchedule
from ..loops.nest import Leaf, LoopOrder, Statement, children, leaves, loop_path
from ..loops.scheduled import extent
from .draft import Draft
from .space import stride

#: Fewest columns.
LEAST = 32


def by_rows(draft: Draft) -> bool:
    """Whether the draft has such sums; the loops around them change places."""
    if draft.task.tile:
        return False
    fired = False
    for s in draft.task.nest.statements:
        found = _loops(draft, s.name)
        if found is None:
            continue
        for apart in (False,) if draft.task.strict else (False, True):
            if draft.trying(_make, s.name, *found, apart):
                fired = True
                break
    return fired


def _make(draft: Draft, name: str, columns: str, summed: str, apart: bool) -> bool:
    if apart:
        columns, summed = _apart(draft, name, columns, summed)
    return _turn(draft, name, columns, summed)


def _loops(draft: Draft, name: str) -> tuple[str, str] | None:
    """The loop over columns and the sum directly inside it, if the sum is better outside and more than the two stand there."""
    scheduled = draft.scheduled
    s, path = scheduled.nest.statement_table[name], loop_path(scheduled.nest.order, name)
    if not s.reduce or s.routine or len(path) < 2 or not isinstance(path[-1].body, Leaf) or not draft.is_open(path[-1].name):
        return None
    columns, summed = path[-2:]
    span = extent(scheduled, columns)
    written = s.write.names()
    if span is None or span[1] - span[0] < LEAST or isinstance(columns.body, LoopOrder) or {columns.kind, summed.kind} != {"serial"}:
        return None
    if not columns.value(name).is_name or not summed.value(name).is_name or summed.value(name).names() & written:
        return None
    down, along = (_strides(draft, s, str(loop.value(name))) for loop in (summed, columns))
    if not any(abs(x) > 1 for x in down) or not all(x in (0, 1) for x in along):
        return None
    return columns.name, summed.name


def _strides(draft: Draft, s: Statement, dim: str) -> set[float]:
    """Of what a statement reads."""
    arrays = draft.scheduled.nest.array_table
    return {stride(r, arrays[r.array], dim) for r in s.reads()}


def _turn(draft: Draft, name: str, columns: str, summed: str) -> bool:
    """The steps; False if the order they lead to is not proved. Raises IllegalSchedule where one does not apply."""
    nest = draft.scheduled.nest
    below = set(leaves(draft.scheduled.loop(columns)))
    for info in nest.arrays:
        users = {s.name for s in nest.statements if info.name in s.arrays()}
        if info.temporary and users <= below:
            draft.attempt("expand", info.name, columns)
    before, after = _beside(draft, columns, summed)
    if before and draft.attempt("distribute", columns, name):
        columns = f"{columns}_b"
        before, after = _beside(draft, columns, summed)
    ends = _ends(draft, name, summed)
    if ends is None:
        return False
    first, last = ends
    filled = draft.scheduled.nest.statement_table[name].write.array
    for part in before[::-1]:
        fills = any(draft.scheduled.nest.statement_table[s].write.array == filled for s in part)
        draft.take("sink", part[0], summed, first - 1 if fills else last)
    for part in after:
        draft.take("sink", part[0], summed, last)
    draft.take("interchange", columns, summed)
    for part in (*before, *after):
        around = loop_path(draft.scheduled.nest.order, name)[-1].name
        draft.attempt("fission", around, *part)
    draft.closed.add(summed)
    return draft.scheduled.unproved() is None and draft.attempt("vector", loop_path(draft.scheduled.nest.order, name)[-1].name)


def _apart(draft: Draft, name: str, columns: str, summed: str) -> tuple[str, str]:
    """A sum that begins with a result (``v = t[i, j - 1]``) becomes one of its own, which is joined with that when it is complete. The loops
    are what they were. Raises IllegalSchedule where a step does not apply."""
    span = extent(draft.scheduled, draft.scheduled.loop(summed))
    if span is None or span[0] < 0:
        raise IllegalSchedule(f"the values of {summed} are not known")
    array = draft.scheduled.nest.statement_table[name].write.array
    draft.take("tile", summed, span[1] + 1)  # one block
    draft.take("privatise", array, f"{summed}_o")
    for part in (p for parts in _beside(draft, columns, f"{summed}_o") for p in parts):
        draft.take("sink", part[0], f"{summed}_o", 0)
    draft.take("interchange", columns, f"{summed}_o")
    return columns, f"{summed}_i"


def _beside(draft: Draft, columns: str, summed: str) -> tuple[list[list[str]], list[list[str]]]:
    """Statements of the parts of a loop before and after the one with the sum."""
    parts = children(draft.scheduled.loop(columns).body)
    place = next(n for n, c in enumerate(parts) if isinstance(c, LoopOrder) and c.name == summed)
    found = [list(leaves(c)) for c in parts]
    return found[:place], found[place + 1 :]


def _ends(draft: Draft, name: str, summed: str) -> tuple[Size, Size] | None:
    """First value and end of the loop of a sum, over the loops around it."""
    s, path = draft.scheduled.nest.statement_table[name], loop_path(draft.scheduled.nest.order, name)
    dim = next((d for d in s.dims if Size.of(d.name) == path[-1].value(name)), None)
    known = {str(p.value(name)): Size.of(p.name) for p in path[:-1] if p.value(name).is_name}
    if dim is None or (dim.lower.names() | dim.upper.names()) - known.keys() - set(draft.scheduled.nest.params):
        return None
    return dim.lower.substitute(known), dim.upper.substitute(known)
