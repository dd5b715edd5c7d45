"""Proposer for recurrences along one axis, independent along the other: the independent iterations run side by side.

    for i:                                  parallel for blocks of i:
        p[i, 0] = ..                            p of the block, lanes innermost
        for j: p[i, j] = f(p[i, j-1])   -->     for i in the block: p[0, i] = ..
        for j: x[i, j] = g(p[i, j])             for j: for i in the block (vector): p[j, i] = f(p[j-1, i])
                                                for j: for i in the block (vector): x[i, j] = g(p[j, i])

A recurrence waits for itself; vectors of independent ones do not wait for each other. Tridiagonal solves, filters, running sums.
"""

from __future__ import annotations

from ..graph.types import BYTES
from ..loops.account import array_bytes
from ..loops.dependences import IllegalSchedule
from ..loops.nest import Leaf, LoopOrder, children, leaves, loop_path
from ..loops.nest import Sequence as SequenceOrder
from ..loops.scheduled import conflicts, extent
from ..loops.steps.contract import Site, sites
from ..loops.steps.mark import can_vector
from .draft import Draft

#: Vectors side by side, as long as what a block keeps for itself fits this part of a core's own cache.
VECTORS, SHARE = (4, 2, 1), 0.6
_DTYPES = ("f64", "f32", "i64", "i32", "i16", "i8", "bool")


def lanes(draft: Draft) -> bool:
    """Whether the draft has such loops; they are transformed."""
    if draft.task.tile:
        return False
    done = False
    for name in list(draft.scheduled.loops):
        if name not in draft.scheduled.loops or not draft.is_open(name) or not _fits(draft, name):
            continue
        for count in VECTORS:
            tried = draft.copy()
            try:
                made = _transform(tried, name, count)
            except IllegalSchedule:
                break
            if made:
                draft.adopt(tried)
                done = True
                break
    return done


def _fits(draft: Draft, name: str) -> bool:
    """Whether a loop holds recurrences, of one length in all its iterations, and nothing deeper."""
    scheduled = draft.scheduled
    loop, table = scheduled.loop(name), scheduled.nest.statement_table
    inner = [c for c in children(loop.body) if isinstance(c, LoopOrder)]
    if loop.kind != "serial" or not inner or not all(c.innermost for c in inner):
        return False
    span = extent(scheduled, loop)
    if span is None or span[1] - span[0] + 1 < 8 * draft.task.machine.cores:
        return False
    for c in inner:
        for s, value in c.values:
            own, dims = loop.value(s).names(), [d for d in table[s].dims if d.name in value.names()]
            if table[s].guards or any(own & (d.lower.names() | d.upper.names()) for d in dims) or table[s].routine:
                return False
            if extent(scheduled, c) is None:
                return False
    if not all(table[s].write.dtype in _DTYPES for s, _ in loop.values):
        return False
    return any(can_vector(scheduled, c.name) for c in inner) and not any(
        not draft.can("contract", d.array, name) for d in conflicts(scheduled, name, reductions=False)
    )


def _transform(draft: Draft, name: str, count: int) -> bool:
    """Blocks of iterations side by side, ``count`` vectors each; False if what a block keeps is too large."""
    scheduled, machine = draft.scheduled, draft.task.machine
    loop, table = scheduled.loop(name), scheduled.nest.statement_table
    block = count * machine.vector_bytes // max(BYTES[t] for s, _ in loop.values if (t := table[s].write.dtype) != "bool")
    below = set(leaves(loop))
    span = extent(scheduled, loop)
    assert span is not None
    if block * machine.cores > span[1] - span[0] + 1:
        return False
    for array in sorted(set().union(*(table[s].arrays() for s in below))):
        elsewhere = any(s not in below for s, _, _ in sites(draft.scheduled, array))
        if elsewhere and draft.scheduled.nest.array(array).temporary and draft.can("rename", array, name):
            draft.take("rename", array, name)
    for info in list(draft.scheduled.nest.arrays):  # what an iteration keeps: one for each lane
        found = sites(draft.scheduled, info.name)
        if info.temporary and found and all(s in below for s, _, _ in found):
            if not any(_follows(draft, found, n, name) for n in range(len(info.shape))):
                draft.attempt("expand", info.name, name)
    _turn(draft, below, name)
    _gather(draft, below, name, block)
    draft.take("tile", name, block)
    size = 0
    for info in list(draft.scheduled.nest.arrays):
        found = sites(draft.scheduled, info.name)
        if not info.temporary or not found or any(s not in below for s, _, _ in found):
            continue
        axes = [n for n in range(len(info.shape)) if _follows(draft, found, n, f"{name}_i")]
        if axes and axes != [len(info.shape) - 1] and draft.can("contract", info.name, f"{name}_o"):
            draft.take("layout", info.name, *(n for n in range(len(info.shape)) if n not in axes), *axes)
        if draft.attempt("contract", info.name, f"{name}_o"):
            size += array_bytes(draft.scheduled.nest.array(info.name), {})
    if size > SHARE * machine.l2:
        return False
    _side_by_side(draft, f"{name}_i")
    draft.take("parallel", f"{name}_o")
    draft.closed.add(f"{name}_o")
    return True


def _turn(draft: Draft, below: set[str], name: str) -> None:
    """What other loops use, too, lies in memory so that lanes are beside each other, if it is along them that the others go."""
    for info in list(draft.scheduled.nest.arrays):
        found = sites(draft.scheduled, info.name)
        mine = [site for site in found if site[0] in below]
        if not info.temporary or not mine or len(mine) == len(found):
            continue
        axes = [n for n in range(len(info.shape)) if _follows(draft, mine, n, name)]
        if len(axes) == 1 and axes != [len(info.shape) - 1]:
            order = (*(n for n in range(len(info.shape)) if n not in axes), *axes)
            draft.trying(_turned, info.name, order, sorted({s for s, _, _ in found} - below))


def _turned(draft: Draft, array: str, order: tuple[int, ...], others: list[str]) -> bool:
    draft.take("layout", array, *order)
    return all(_along(draft, s, array) for s in others)


def _along(draft: Draft, name: str, array: str) -> bool:
    """Whether the innermost loop of a statement goes along an array, or now does."""
    scheduled = draft.scheduled
    path, s = loop_path(scheduled.nest.order, name), scheduled.nest.statement_table[name]
    last = {a.index[-1] for a in (s.write, *s.reads()) if a.array == array}
    if path and path[-1].value(name) in last:
        return True
    if len(path) < 2 or path[-2].body != path[-1] or not isinstance(path[-1].body, Leaf) or path[-2].value(name) not in last:
        return False
    return draft.attempt("interchange", path[-2].name, path[-1].name)


def _gather(draft: Draft, below: set[str], name: str, block: int) -> None:
    """What a loop around reads again and again with lanes far apart is copied once, blocks of lanes side by side."""
    scheduled = draft.scheduled
    loop, table = scheduled.loop(name), scheduled.nest.statement_table
    if not scheduled.outer(name):
        return
    for s in sorted(below):
        for read in table[s].reads():
            lanes = [n for n, i in enumerate(read.index) if (i - loop.value(s)).constant is not None]
            if len(lanes) == 1 and lanes != [len(read.index) - 1] and not scheduled.nest.array(read.array).temporary:
                draft.attempt("pack", read.array, s, str(loop.value(s)), block)


def _follows(draft: Draft, found: list[Site], axis: int, name: str) -> bool:
    loop = draft.scheduled.loop(name)
    return all((index[axis] - loop.value(s)).constant is not None for s, index, _ in found)


def _side_by_side(draft: Draft, name: str) -> None:
    """The loop over a block taken apart, innermost in each part, and a vector loop there."""
    while True:
        parts = children(draft.scheduled.loop(name).body)
        cut = next((n for n in range(1, len(parts)) if isinstance(parts[n], LoopOrder) or isinstance(parts[n - 1], LoopOrder)), 0)
        if cut:
            draft.take("distribute", name, next(leaves(parts[cut])))
        inner = draft.scheduled.loop(name).body
        if isinstance(inner, LoopOrder):
            draft.take("interchange", name, inner.name)
        assert isinstance(draft.scheduled.loop(name).body, (Leaf, SequenceOrder))
        draft.take("vector", name)
        if not cut:
            return
        name = f"{name}_b"
