"""The choice for a GPU: which loops are dealt to blocks, threads and lanes, and what lies in shared memory.

    for i:                              thread i:  thread j:
        for j: r[i, j] = 0        -->       s = 0
        for k: for j: ...                   for k: s += ...
                                            r[i, j] = s

Sums move inside of what they are sums for, sweeps at equal positions are fused, and as many loops as can be are dealt to threads, the
innermost to neighbouring ones. A sum that is all there is to deal out is dealt to lanes.
"""

from __future__ import annotations

from math import prod

from ..loops.nest import LoopOrder, Order, accesses, children, loop_path, loops_of
from ..loops.nest import Sequence as SequenceOrder
from ..loops.steps.deal import can_lane, can_thread
from ..target import Gpu
from .draft import Draft
from .gpu_apart import apart, bytes_of
from .gpu_inward import move_inward
from .gpu_stencil import contract_to_scalars
from .gpu_width import BUSY, SHORT, WARP, iterations
from .sweeps import fuse_sweeps

#: Loops that are dealt out and have fewer iterations leave lanes to sums inside of them.
FEW = 1024
#: Rows that a thread computes together, the most first; terms that it takes at a time.
ROWS, TERMS = (8, 6, 5, 4, 3, 2), 4
#: Elements that one load brings.
VECTOR = 4


def finish_gpu(draft: Draft) -> None:
    """Fuse, contract, deal out and place what is not closed."""
    move_inward(draft)
    fuse_sweeps(draft)
    for name in [loop.name for loop in draft.scheduled.loops.values()]:
        if name in draft.scheduled.loops and draft.is_open(name):
            draft.trying(_rows, name)
    contract_to_scalars(draft)
    _block(draft)
    _deal(draft, draft.scheduled.nest.order)
    _hold(draft)
    _lane(draft)
    share(draft)


def _rows(draft: Draft, name: str) -> bool:
    """Let a thread compute several rows of a product, so that what it reads of the other factor serves all of them; whether that pays.

    thread i: thread p: for k: s += A[i, k] * x[k, p]   -->   thread i_o: thread p: for k: s[0] += A[4 i_o, k] * x[k, p]; s[1] += ..
    """
    scheduled = draft.scheduled
    loop, table = scheduled.loop(name), scheduled.nest.statement_table
    if can_thread(scheduled, name) is not None or any(can_thread(scheduled, o.name) is None and _inner(o, loop) for o in scheduled.outer(name)):
        return False
    sums = [s for s, _ in loop.values if table[s].reduce == "add" and not table[s].routine]
    factors = [s for s in sums if _serves(draft, s, loop)]
    if not factors:
        return False
    apart = iterations(scheduled, loop)
    inside: Order = loop.body
    while isinstance(inside, LoopOrder) and can_thread(scheduled, inside.name) is None:
        apart *= iterations(scheduled, inside)
        inside = inside.body
    if inside is loop.body:  # a matrix times a vector: there are not too many rows
        return False
    along = any(a.index and a.index[-1].names() & loop.value(s).names() for s in factors for a in accesses(table[s].value))
    wanted = sorted(ROWS, key=lambda r: (along and r % VECTOR != 0, -r))  # neighbours are read at once
    rows = next((r for r in wanted if iterations(scheduled, loop) % r == 0 and apart // r >= BUSY), 0)
    if not rows:
        return False
    draft.take("unroll_jam", name, rows)
    for s in factors:
        terms = loop_path(draft.scheduled.nest.order, s)
        around, scheduled = next(o for o in reversed(terms) if "unroll" not in o.kind), draft.scheduled
        if not around.value(s).names() & set[str]().union(*(i.names() for i in table[s].write.index)) and iterations(scheduled, around) >= 4 * TERMS:
            draft.attempt("unroll", around.name, TERMS)
    return True


def _inner(around: LoopOrder, loop: LoopOrder) -> bool:
    """Whether a loop is directly inside of another."""
    return around.body == loop


def _serves(draft: Draft, statement: str, loop: LoopOrder) -> bool:
    """Whether a product with many terms reads one factor in all iterations of a loop, and another one for each."""
    scheduled = draft.scheduled
    s = scheduled.nest.statement_table[statement]
    path = loop_path(scheduled.nest.order, statement)
    own = loop.value(statement).names()
    kept = set[str]().union(*(i.names() for i in s.write.index))
    terms = [o for o in path[path.index(loop) + 1 :] if not o.value(statement).names() & kept]
    moving = set[str]().union(*(o.value(statement).names() for o in terms))
    if not terms or not own <= kept or prod(iterations(scheduled, o) for o in terms) < 4 * TERMS:
        return False
    read = [set[str]().union(*(i.names() for i in a.index)) for a in accesses(s.value)]
    return any(names & moving and not names & own for names in read) and any(names & moving and names & own for names in read)


def _lane(draft: Draft) -> None:
    """Deal sums to lanes, and what else is in loops around them."""
    loops = list(draft.scheduled.loops.values())
    for loop in (*loops, *loops):
        loop = draft.scheduled.loop(loop.name)
        if loop.innermost and loop.kind == "serial" and draft.is_open(loop.name):
            lanes = _lanes(draft, loop)
            if lanes > 1 and can_lane(draft.scheduled, loop.name, lanes) is None:
                draft.take("lane", loop.name, lanes)


def _hold(draft: Draft) -> None:
    """Let the few elements that one iteration of loops dealt to threads needs live in registers."""
    for info in draft.scheduled.nest.arrays:
        if info.temporary and info.scope == "problem" and info.shape:
            loops = [o for o in draft.scheduled.loops.values() if "thread" in o.kind and draft.is_open(o.name)]
            any(draft.attempt("register", info.name, loop.name) for loop in reversed(loops))


def _block(draft: Draft) -> None:
    """Deal loops to blocks of threads whose iterations are independent once each has its temporaries for itself, and have work for threads."""
    for loop in list(draft.scheduled.loops.values()):
        if loop.name in draft.scheduled.loops and draft.is_open(loop.name) and can_thread(draft.scheduled, loop.name) is not None:
            draft.trying(apart, loop.name)


def _deal(draft: Draft, order: Order) -> None:
    """Deal loops to threads, from the outside in."""
    for part in children(order):
        if isinstance(part, SequenceOrder):
            _deal(draft, part)
        elif isinstance(part, LoopOrder) and draft.is_open(part.name):
            if part.dealt or can_thread(draft.scheduled, part.name) is not None:
                _deal(draft, part.body)
                continue
            inner: Order = part
            while isinstance(inner, LoopOrder) and draft.attempt("thread", inner.name):
                inner = inner.body


def _lanes(draft: Draft, loop: LoopOrder) -> int:
    """How many threads should add up together what a loop adds up; 1: each for itself. Loops in one that is dealt to threads have the same."""
    scheduled = draft.scheduled
    statements = scheduled.nest.statement_table
    sums = [s for s, _ in loop.values if statements[s].reduce]
    around = [o for o in scheduled.outer(loop.name) if "thread" in o.kind]
    taken = [o for o in loops_of(around[0].body) if o.kind.startswith("lane")] if around else []
    if taken:
        return int(taken[0].kind[4:])
    if not sums:
        return 1
    if not around:
        return WARP if iterations(scheduled, loop) >= SHORT else 1
    apart = prod(iterations(scheduled, o) for o in around)
    terms = iterations(scheduled, loop)
    near = any(_near(draft, s, loop, around[-1]) for s in sums)
    if terms < SHORT or apart >= (64 if near else 16) * FEW:
        return 1
    lanes = WARP
    while lanes > 2 and (lanes > terms or (not near and apart * lanes > 16 * FEW)):
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
    sized = sorted((size, a.name) for a in nest.arrays if a.scope == "problem" and (size := bytes_of(nest, a.name)) is not None)
    for size, name in sized:
        if size + 16 > room:
            return
        if draft.attempt("shared", name):
            room -= size + 16
