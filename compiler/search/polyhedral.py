"""Proposer: isl's scheduler makes all loops anew from the dependences; what it finds gets vectors, blocks and fronts.

    for i:                              parallel for blocks of b0:
        for j: S(i, j)                      for blocks of b1:
    for k:                  -->                 for b0 in the block:
        for l: T(l, k)                              for b1 in the block (vector): S(b0, b1); T(b0, b1)

It is asked where the best order of others leaves something to be wished for: much of the work has no independent loop around it, or
jumps through memory in the innermost one. Nothing of it is aimed at a class of programs, and the estimate that chooses is rough: what it
makes is taken only where it is estimated to be much faster than everything else (:data:`MARGIN`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

from ..loops.dependences import Dependence, IllegalSchedule, carried, goes_back
from ..loops.nest import LoopOrder, children, leaves, loop_path, loops_of, outermost
from ..loops.scheduled import Scheduled, conflicts
from ..loops.steps.contract import can_contract
from ..loops.storing import nominal
from .cost import BARRIER, estimate
from .draft import Draft
from .space import Space, stride
from .sweeps import finish

#: How many times shorter than any other its estimate must be.
MARGIN = 1.3
#: Most statements and dependences of a program that isl is asked about, and the least time, as estimated, that is worth asking.
STATEMENTS, DEPENDENCES, LEAST = 16, 80, 2e-4
#: Sizes of blocks that are tried, along all loops but an innermost one and along that: short runs through memory cost more than they save.
BLOCKS: tuple[tuple[int, int], ...] = ((64, 512), (32, 256), (16, 64), (128, 128))
#: What part of all instances of statements must leave something to be wished for: less cannot make that much of a difference.
MUCH = 1 - 1 / MARGIN
#: What part of the estimate blocks must leave.
SHORTER = 0.9
#: Least time of the work in a front, as estimated: threads that meet more often wait more than they work.
FRONT = 1e-4
#: So many elements scalars of an iteration may become in any case.
ELEMENTS = 1 << 20


def polyhedral(draft: Draft, best: Scheduled | None = None) -> bool:
    """Put the program in an order of isl's; whether it was asked, and has one. ``best`` is what others made of it.

    It orders every strongly connected part by itself: what can be joined is left to the sweeps, which take less time about it.
    """
    scheduled, machine = draft.scheduled, draft.task.machine
    if draft.task.tile or draft.steps or not _small(scheduled):
        return False
    least = estimate(best or scheduled, machine).seconds
    if least < LEAST or not _wanting(best or scheduled):
        return False
    for expanding in (True, False):
        trial = draft.copy()
        arrays = _expand(trial) if expanding else []
        if (expanding and not arrays) or not _ordered(trial) or _large(trial, arrays):
            continue
        if estimate(trial.scheduled, machine).compute * MARGIN > machine.cores * least:
            continue  # blocks and fronts save waiting for memory and bring threads, no more
        draft.adopt(_blocks(trial))
        draft.closed.update(loop.name for loop in outermost(draft.scheduled.nest.order))
        draft.margin = MARGIN
        return True
    return False


def _ordered(draft: Draft) -> bool:
    """Take isl's order, loops of bands in the best sequence, marked and contracted; False where there is none."""
    if not draft.attempt("isl", "min"):
        return False
    try:
        for name in [loop.name for loop in outermost(draft.scheduled.nest.order)]:
            _arrange(draft, name)
        finish(draft)
    except IllegalSchedule:
        return False
    return True


def _small(scheduled: Scheduled) -> bool:
    statements = scheduled.nest.statements
    return 0 < len(statements) <= STATEMENTS and len(scheduled.found) <= DEPENDENCES and not any(s.routine for s in statements)


def _wanting(scheduled: Scheduled) -> bool:
    """Whether many instances, in two loops or more, have no independent loop around them, or jump in the innermost one."""
    points = {s.name: Space.of(s).points for s in scheduled.nest.statements}
    left, least = sum(points.values()), MUCH * sum(points.values())
    found = 0.0
    for s in sorted(points, key=points.__getitem__, reverse=True):
        if found + left < least:
            return False
        path = loop_path(scheduled.nest.order, s)
        if len(path) > 1 and (_jumps(scheduled, _inner(path), s, path) or all(_ordered_by(scheduled, o) for o in path)):
            found += points[s]
        left -= points[s]
        if found >= least:
            return True
    return False


def _inner(path: Sequence[LoopOrder]) -> LoopOrder:
    """The loop that data is read along: the vector, if there is one."""
    return next((o for o in path if "vector" in o.kind), path[-1])


def _ordered_by(scheduled: Scheduled, loop: LoopOrder) -> bool:
    """Whether iterations of a loop depend on each other by more than what each of them could have for itself."""
    if "parallel" in loop.kind:
        return False
    return any(can_contract(scheduled, d.array, loop.name) for d in conflicts(scheduled, loop.name, reductions=False))


def _jumps(scheduled: Scheduled, loop: LoopOrder, name: str, around: Iterable[LoopOrder]) -> int:
    """How many accesses of a statement are not one element further, or where they were, in the next iteration of a loop while others stand."""
    s, arrays = scheduled.nest.statement_table[name], scheduled.nest.array_table
    space = Space.of(s)
    for other in around:
        if other.name != loop.name:
            space = space.enter(other.value(name))[1]
    moved = space.moves(loop.value(name))
    return sum(stride(a, arrays[a.array], moved) not in (0, 1, -1) for a in dict.fromkeys((s.write, *s.reads())))


def _expand(draft: Draft) -> list[str]:
    """Scalars of an iteration get an element for each, so that they order nothing; :func:`~.sweeps.finish` takes back what it can."""
    made = []
    for info in draft.scheduled.nest.arrays:
        nest = draft.scheduled.nest
        users = {s.name for s in nest.statements if info.name in s.arrays()}
        around = [loop.name for loop in loops_of(nest.order) if users <= {s for s, _ in loop.values}]
        if info.temporary and not info.shape and around and draft.attempt("expand", info.name, *around):
            made.append(info.name)
    return made


def _large(draft: Draft, arrays: Sequence[str]) -> bool:
    """Whether one of some arrays has become larger than all others of the program."""
    sizes = {a.name: prod(map(nominal, a.shape)) for a in draft.scheduled.nest.arrays}
    most = max(ELEMENTS, *(size for name, size in sizes.items() if name not in arrays))
    return any(sizes[a] > most for a in arrays)


# -- the loops of a band ---------------------------------------------------------------------------------------------------


def _band(scheduled: Scheduled, loop: LoopOrder) -> list[LoopOrder]:
    """Loops, each directly inside the one before, that may run in any sequence and in blocks: none takes a dependence back."""
    below, outer = set(leaves(loop)), scheduled.outer(loop.name)
    within = [d for d in scheduled.found if d.source in below and d.sink in below and (scheduled.strict or not d.reduction)]
    band = [loop]
    while isinstance(band[-1].body, LoopOrder):
        inner = band[-1].body
        if any(goes_back(scheduled.nest, inner, d, outer) for d in within):
            break
        band.append(inner)
    return band


def _free(scheduled: Scheduled, loop: LoopOrder, outer: Sequence[LoopOrder], within: Iterable[Dependence]) -> bool:
    """Whether nothing joins iterations of a loop where those of loops around it are equal."""
    return not any(carried(scheduled.nest, scheduled.nest.order, loop, d, outer) for d in within)


def _arrange(draft: Draft, name: str) -> None:
    """In every outermost band, independent loops go outside, and the one that makes the best vectors inside."""
    scheduled = draft.scheduled
    band = _band(scheduled, scheduled.loop(name))
    inside = band[-1].body
    if len(band) > 1:
        outer, below = scheduled.outer(name), set(leaves(band[0]))
        within = [d for d in scheduled.found if d.source in below and d.sink in below]
        last = _vector(scheduled, band, [d for d in within if not d.reduction])
        rest = [o for o in band if o not in last]
        free = [o for o in rest if _free(scheduled, o, outer, within)]
        wanted = [*free, *(o for o in rest if o not in free), *last]
        if wanted != band:
            draft.take("permute", *(o.name for o in wanted))
    for child in outermost(inside):
        _arrange(draft, child.name)


def _vector(scheduled: Scheduled, band: list[LoopOrder], within: Sequence[Dependence]) -> list[LoopOrder]:
    """The loop of a band that is to be the innermost one, if none is inside: one whose iterations can run side by side, with few jumps."""
    if not band[-1].innermost:
        return []
    around = (*scheduled.outer(band[0].name), *band)
    able = [o for o in band if _free(scheduled, o, [x for x in around if x is not o], within)]

    def cost(o: LoopOrder) -> tuple[int, int]:
        return sum(_jumps(scheduled, o, s, around) for s, _ in o.values), -band.index(o)

    return [min(able or band[-1:], key=cost)]


# -- blocks ----------------------------------------------------------------------------------------------------------------


def _blocks(draft: Draft) -> Draft:
    """The outermost bands in blocks, and in fronts of blocks where none of their loops is independent, as far as that is shorter."""
    for name in list(_heads(draft.scheduled)):
        seconds, best = estimate(draft.scheduled, draft.task.machine).seconds, draft
        band = [o.name for o in _band(draft.scheduled, draft.scheduled.loop(name))][:3]
        if len(band) < 2:
            continue
        for size, long in BLOCKS:
            trial = draft.copy()
            loops = [trial.scheduled.loop(o) for o in band]
            sequential = not any("parallel" in o.kind for o in (*trial.scheduled.outer(name), *loops))
            sizes = [*(size for _ in loops[1:]), long if loops[-1].innermost else size]
            if not trial.attempt("tile", *band, *sizes):
                break
            if sequential and not _front(trial, band):
                continue
            found = estimate(trial.scheduled, draft.task.machine)
            if sequential and found.seconds * BARRIER < FRONT * found.waiting:
                continue
            if found.seconds < SHORTER * seconds:
                seconds, best = found.seconds, trial
        draft = best
    return draft


def _heads(scheduled: Scheduled) -> Iterable[str]:
    """The first loops of the outermost bands of two loops or more."""

    def visit(loop: LoopOrder) -> Iterable[str]:
        if len(_band(scheduled, loop)) > 1:
            yield loop.name
            return
        for part in children(loop.body):
            if isinstance(part, LoopOrder):
                yield from visit(part)

    for loop in outermost(scheduled.nest.order):
        yield from visit(loop)


def _front(draft: Draft, band: Sequence[str]) -> bool:
    """Fronts of blocks: the first two loops over blocks, the second one outside."""
    first, second = f"{band[0]}_o", f"{band[1]}_o"
    return draft.attempt("wavefront", first, second) and draft.attempt("parallel", first)
