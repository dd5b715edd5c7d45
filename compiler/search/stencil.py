"""Stencils: iterations of neighbouring sweeps in one pass over the data.

    for t:                      trapezoids of rows, a block of iterations deep, one for every core and two barriers a block;
        for i: for j: ...  -->  inside, rows in fronts: row i of iteration t, then row i - k of iteration t + 1, ...
        for i: for j: ...       so that a row is loaded once for a whole block. The innermost loops stay as they are.

It pays where the state of an iteration is beyond the caches of the cores. What must be shifted and skewed by how much is
solved from the dependences (:mod:`~..loops.distances`); where a sweep is sequential in space it is not for this proposer.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from ..loops.dependences import IllegalSchedule
from ..loops.nest import LoopOrder, Order, leaves, loops_of
from ..loops.nest import Sequence as SequenceOrder
from ..loops.scheduled import extent
from ..loops.steps.trapezoid import cone_of
from .draft import Draft
from .sweeps import prepare

#: Fewest and most iterations in a block, and fewest iterations that a loop must have where their number is known.
_BLOCKS = (2, 32)


def stencils(draft: Draft) -> bool:
    """Put the iterations of every loop around stencil sweeps into blocks; whether there was one."""
    fired = False
    for name in [loop.name for loop in _outermost(draft.scheduled.nest.order)]:
        if name not in draft.scheduled.loops or not draft.is_open(name) or not _candidate(draft, name):
            continue  # fused into another one meanwhile, finished, or no stencil's
        trial = draft.copy()
        try:
            made = _time_blocks(trial, name)
        except IllegalSchedule:
            continue
        if made:
            draft.scheduled, draft.steps, draft.closed = trial.scheduled, trial.steps, trial.closed
            fired = True
    return fired


def _outermost(order: Order) -> Iterator[LoopOrder]:
    if isinstance(order, LoopOrder):
        yield order
    elif isinstance(order, SequenceOrder):
        for child in order.children:
            yield from _outermost(child)


def _candidate(draft: Draft, name: str) -> bool:
    """A first look that costs nothing: a loop of several iterations around sweeps over more than the cores' caches hold."""
    loop, machine = draft.scheduled.loop(name), draft.task.machine
    if draft.task.tile or not any(isinstance(c, LoopOrder) for o in loops_of(loop.body) for c in loops_of(o.body)):
        return False
    known = extent(draft.scheduled, loop)
    if known is not None and known[1] - known[0] < _BLOCKS[0]:
        return False
    statements = [draft.scheduled.nest.statement_table[s] for s in leaves(loop)]
    if any(s.routine or s.reduce not in ("", "add") for s in statements):
        return False
    return state_bytes(draft, loop) > machine.cores * machine.l2


def state_bytes(draft: Draft, loop: LoopOrder) -> float:
    """Bytes of the arrays that the statements below a loop touch and that an iteration keeps; run-time extents are taken as 1."""
    table = draft.scheduled.nest.array_table
    touched = {a for s in leaves(loop) for a in draft.scheduled.nest.statement_table[s].arrays()}
    return float(sum(_bytes(draft, a) for a in touched if not table[a].scope.startswith("local")))


def _bytes(draft: Draft, array: str) -> int:
    info = draft.scheduled.nest.array(array)
    return prod(n.constant or 1 for n in info.shape) * (4 if info.dtype in ("f32", "i32") else 8)


def _time_blocks(draft: Draft, name: str) -> bool:
    """The steps; False where they do not fit. Raises IllegalSchedule where one does not apply."""
    prepare(draft)
    if name not in draft.scheduled.loops:
        return False
    body = draft.scheduled.loop(name).body
    sweeps = list(body.children) if isinstance(body, SequenceOrder) else [body]
    loops = [c for c in sweeps if isinstance(c, LoopOrder)]
    if len(loops) < len(sweeps) or any(extent(draft.scheduled, loop) is None for loop in loops):
        return False
    if not all(any(True for _ in loops_of(c.body)) for c in loops):
        return False
    names = tuple(c.name for c in loops)
    cone = cone_of(draft.scheduled, name, names)
    if isinstance(cone, str):
        return False
    block, chunks = _shape(draft, name, loops, max(cone.rise, cone.fall))
    if block < _BLOCKS[0]:
        return False
    draft.take("trapezoid", name, block, chunks, *names)
    _fronts(draft, f"{name}_i", names)
    draft.take("parallel", f"{name}_chunk")
    for loop in list(loops_of(draft.scheduled.loop(f"{name}_o").body)):
        if not any(True for _ in loops_of(loop.body)) and draft.can("vector", loop.name):
            draft.take("vector", loop.name)
    draft.closed.add(f"{name}_o")
    return True


def _fronts(draft: Draft, around: str, names: tuple[str, ...]) -> None:
    """One loop over rows outside, the iterations of a block inside."""
    first, *rest = names
    for other in rest:
        before = draft.scheduled
        draft.take("shift", other, first)
        if draft.scheduled == before:
            draft.steps.pop()
        draft.take("fuse", first, other)
    if draft.can("skew", first, around):
        draft.take("skew", first, around)
    draft.take("interchange", around, first)


def _shape(draft: Draft, name: str, loops: list[LoopOrder], reach: int) -> tuple[int, int]:
    """Iterations in a block and chunks of rows: the rows of a front stay in a core's cache, and little is left between chunks."""
    machine = draft.task.machine
    rows = max((e[1] - e[0] + 1 for loop in loops if (e := extent(draft.scheduled, loop))), default=0)
    if not rows or not reach:
        return 0, 0
    row = state_bytes(draft, draft.scheduled.loop(name)) / rows
    near, far = (int(size / (row * reach)) for size in (0.7 * machine.l2, machine.l3 / (2 * machine.cores)))
    cached = near if near >= 4 else min(far, 8)
    return min(_BLOCKS[1], cached, rows // (4 * machine.cores * reach)), machine.cores
