"""The choice for a GPU: which loops are dealt to blocks, threads and lanes, and what lies in shared memory.

    for i:                              thread i:  thread j:
        for j: r[i, j] = 0        -->       s = 0
        for k: for j: ...                   for k: s += ...
                                            r[i, j] = s

Sums move inside of what they are sums for, sweeps at equal positions are fused, and as many loops as can be are dealt to threads, the
innermost to neighbouring ones. A sum that is all there is to deal out is dealt to lanes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import prod

from ..graph.types import BYTES, Size
from ..loops.nest import LoopOrder, Nest, Order, accesses, children, leaves, loop_path, loops_of
from ..loops.nest import Sequence as SequenceOrder
from ..loops.scheduled import extent
from ..loops.steps.contract import can_contract, contract
from ..loops.steps.deal import can_lane, can_thread
from ..loops.storing import nominal
from ..target import Gpu
from .draft import Draft
from .sweeps import fuse_sweeps

#: Lanes of a warp.
WARP = 32
#: Loops that are dealt out and have fewer iterations leave lanes to sums inside of them.
FEW = 1024
#: Sums of fewer terms are not worth lanes.
SHORT = 8


def finish_gpu(draft: Draft) -> None:
    """Fuse, contract, deal out and place what is not closed."""
    for outer, inner in list(_inward(draft)):
        draft.attempt("interchange", outer, inner)
    fuse_sweeps(draft)
    _contract(draft)
    deal(draft)
    share(draft)


def _inward(draft: Draft) -> Iterator[tuple[str, str]]:
    """Pairs (outer, inner) of perfectly nested loops to be interchanged, in order, so that the loops of a sum stand inside those over what it
    is a sum for."""
    nest = draft.scheduled.nest
    for s in nest.statements:
        if not s.reduce or s.routine:
            continue
        kept = set[str]().union(*(i.names() for i in s.write.index))
        names = [o.name for o in _alone(nest.order, s.name) if draft.is_open(o.name)]
        values = {o.name: o.value(s.name).names() for o in _alone(nest.order, s.name)}
        for _ in names:
            for n, (a, b) in enumerate(pairwise(names)):
                if not values[a] & kept and values[b] & kept:
                    yield a, b
                    names[n], names[n + 1] = b, a
                    break


def _alone(order: Order, statement: str) -> list[LoopOrder]:
    """The loops, directly inside of each other, that hold one statement alone."""
    return [o for o in loop_path(order, statement) if list(leaves(o)) == [statement]]


def _contract(draft: Draft) -> None:
    """Let temporaries live in one iteration of a loop where that leaves single elements of them: these are registers. Rows of them would be
    memory of each thread, which is slower than that of a block."""
    for info in draft.scheduled.nest.arrays:
        if not info.temporary or info.scope != "problem":
            continue
        scheduled = draft.scheduled
        users = {s.name for s in scheduled.nest.statements if info.name in s.arrays()}
        common = [o for o in loops_of(scheduled.nest.order) if users <= {s for s, _ in o.values} and draft.is_open(o.name)]
        for loop in reversed(common):
            if can_contract(scheduled, info.name, loop.name) is None:
                made = contract(scheduled, info.name, loop.name).nest.array(info.name)
                if not made.shape:
                    draft.take("contract", info.name, loop.name)
                    break


def deal(draft: Draft) -> None:
    """Deal loops to threads, from the outside in, and sums inside of them to lanes."""
    _deal(draft, draft.scheduled.nest.order)
    for loop in list(draft.scheduled.loops.values()):
        if loop.innermost and not loop.dealt and draft.is_open(loop.name):
            lanes = _lanes(draft, loop)
            if lanes > 1 and can_lane(draft.scheduled, loop.name, lanes) is None:
                draft.take("lane", loop.name, lanes)


def _deal(draft: Draft, order: Order) -> None:
    for part in children(order):
        if isinstance(part, SequenceOrder):
            _deal(draft, part)
        elif isinstance(part, LoopOrder) and draft.is_open(part.name):
            if can_thread(draft.scheduled, part.name) is not None:
                _deal(draft, part.body)
                continue
            inner: Order = part
            while isinstance(inner, LoopOrder) and draft.attempt("thread", inner.name):
                inner = inner.body


def _iterations(draft: Draft, loop: LoopOrder) -> int:
    span = extent(draft.scheduled, loop)
    return nominal(Size.of("K")) if span is None else span[1] - span[0] + 1


def _lanes(draft: Draft, loop: LoopOrder) -> int:
    """How many threads should add up together what a loop adds up; 1: each for itself. Loops in one that is dealt to threads have the same."""
    scheduled = draft.scheduled
    statements = scheduled.nest.statement_table
    sums = [s for s, _ in loop.values if statements[s].reduce]
    if not sums:
        return 1
    around = [o for o in scheduled.outer(loop.name) if "thread" in o.kind]
    if not around:
        return WARP if _iterations(draft, loop) >= SHORT else 1
    taken = [o for o in loops_of(around[0].body) if o.kind.startswith("lane")]
    if taken:
        return int(taken[0].kind[4:])
    apart = prod(_iterations(draft, o) for o in around)
    terms = _iterations(draft, loop)
    near = any(_near(draft, s, loop, around[-1]) for s in sums)
    if terms < SHORT or (apart >= FEW and not near) or apart >= 64 * FEW:
        return 1
    lanes = WARP
    while lanes > 2 and (lanes > terms or (not near and apart * lanes > 4 * FEW)):
        lanes //= 2
    return lanes


def _near(draft: Draft, statement: str, loop: LoopOrder, around: LoopOrder) -> bool:
    """Whether a sum reads along rows: terms are neighbours in memory, and what neighbouring threads read is not."""
    s = draft.scheduled.nest.statement_table[statement]
    moving, apart = loop.value(statement).names(), around.value(statement).names()
    rows = [a for a in accesses(s.value) if len(a.index) > 1]
    return any(a.index[-1].names() & moving and not a.index[-1].names() & apart and any(i.names() & apart for i in a.index) for a in rows)


def share(draft: Draft) -> None:
    """Put temporaries into shared memory, the smallest first, as long as there is room."""
    machine, nest = draft.task.machine, draft.scheduled.nest
    assert isinstance(machine, Gpu)
    room = machine.shared_bytes
    sized = sorted((size, a.name) for a in nest.arrays if a.scope == "problem" and (size := _bytes(nest, a.name)) is not None)
    for size, name in sized:
        if size + 16 > room:
            return
        if draft.attempt("shared", name):
            room -= size + 16


def _bytes(nest: Nest, array: str) -> int | None:
    info = nest.array(array)
    sizes = [s.constant for s in info.shape]
    return None if None in sizes else prod(s or 0 for s in sizes) * BYTES[info.dtype]


