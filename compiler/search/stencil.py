"""Stencils: iterations of neighbouring sweeps in one pass over the data.

    for t:                      trapezoids of rows, a block of iterations deep, one for every core and two barriers a block;
        for i: for j: ...  -->  inside, rows in fronts: row i of iteration t, then row i - k of iteration t + 1, ...
        for i: for j: ...       so that a row is loaded once for a whole block. The innermost loops stay as they are.

It pays where the state of an iteration is beyond the caches of the cores. Where a sweep is sequential in space (Gauss-Seidel), fronts
are the only threads' work there is: row i of iteration t beside row i - k of iteration t + 1. What must be shifted and skewed by how
much is solved from the dependences (:mod:`~..loops.distances`).
"""

from __future__ import annotations

from math import prod

from ..loops.dependences import IllegalSchedule
from ..loops.nest import Leaf, LoopOrder, children, leaves, loops_of, outermost
from ..loops.scheduled import extent
from ..loops.steps.trapezoid import cone_of
from .draft import Draft
from .sweeps import prepare

#: Fewest and most iterations in a block, and fewest iterations that a loop must have where their number is known.
_BLOCKS = (2, 32)
#: Fewest elements of a sweep whose rows are worth a meeting of the threads.
_POINTS = 4096
#: Most rows in a front: more have no use for so few threads, and each is a row of the cache.
_FRONT = 128
#: Rows of a front that run side by side, each waiting for its own last element.
_JAMMED = 4


def stencils(draft: Draft) -> bool:
    """Put the iterations of every loop around stencil sweeps into blocks; whether there was one."""
    fired = False
    for name in [loop.name for loop in outermost(draft.scheduled.nest.order)]:
        for fits, make in ((_independent, _time_blocks), (_sequential, _wavefronts)):
            if (
                name not in draft.scheduled.loops
                or not draft.is_open(name)
                or not _iterates(draft, name)
                or not fits(draft, name)
            ):
                continue  # fused into another one meanwhile, finished, or no stencil's
            trial = draft.copy()
            try:
                made = make(trial, name)
            except IllegalSchedule:
                continue
            if made:
                draft.adopt(trial)
                fired = True
    return fired


def _iterates(draft: Draft, name: str) -> bool:
    """A first look that costs nothing: a loop of several iterations around loops over space, every statement at a place of its own."""
    loop = draft.scheduled.loop(name)
    known = extent(draft.scheduled, loop)
    if draft.task.tile or (known is not None and known[1] - known[0] < _BLOCKS[0]):
        return False
    sweeps = children(loop.body)
    spaces = [c for c in sweeps if isinstance(c, LoopOrder)]
    return len(spaces) == len(sweeps) and _uniform(draft, spaces)


def _uniform(draft: Draft, spaces: list[LoopOrder]) -> bool:
    """Whether every access to what the sweeps write moves along with the loops ``spaces``: some axis of an array is, wherever it is used,
    the loop's value and a constant."""
    table = draft.scheduled.nest.statement_table
    statements = [(table[s], value) for space in spaces for s, value in space.values]
    if any(s.routine for s, _ in statements):
        return False
    axes: dict[str, set[int]] = {}
    written = {s.write.array for s, _ in statements if s.write.index}
    for s, value in statements:
        for access in (s.write, *s.reads()):
            if access.array in written:
                fitting = {axis for axis, i in enumerate(access.index) if (i - value).constant is not None}
                axes[access.array] = axes.get(access.array, fitting) & fitting
    return bool(axes) and all(axes.values())


def _independent(draft: Draft, name: str) -> bool:
    """Whether the arrays that an iteration keeps are more than the cores' caches hold, in sweeps of equal depth."""
    loop, machine = draft.scheduled.loop(name), draft.task.machine
    depth = {o.innermost for o in outermost(loop.body)}
    return len(depth) == 1 and state_bytes(draft, loop) > machine.cores * machine.l2


def _sequential(draft: Draft, name: str) -> bool:
    """Whether there is one sweep, of two loops or more and enough elements, none of whose loops has independent iterations."""
    space = draft.scheduled.loop(name).body
    if not isinstance(space, LoopOrder) or not isinstance(space.body, LoopOrder):
        return False
    ranges = [extent(draft.scheduled, loop) for loop in loops_of(space)]
    points = prod(r[1] - r[0] + 1 if r else 0 for r in ranges)
    return points >= _POINTS and not any(draft.can("parallel", loop.name) for loop in loops_of(space))


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
    sweeps = children(draft.scheduled.loop(name).body)
    loops = [c for c in sweeps if isinstance(c, LoopOrder)]
    if len(loops) < len(sweeps) or any(extent(draft.scheduled, loop) is None for loop in loops):
        return False
    names = tuple(c.name for c in loops)
    cone = cone_of(draft.scheduled, name, names)
    if isinstance(cone, str):
        return False
    block, chunks = _shape(draft, name, loops, max(cone.rise, cone.fall))
    if block < _BLOCKS[0]:
        return False
    draft.take("trapezoid", name, block, chunks, *names)
    if not any(c.innermost for c in loops):
        _fronts(draft, f"{name}_i", names)
    draft.take("parallel", f"{name}_chunk")
    draft.vectorise(f"{name}_o")
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
    draft.attempt("skew", first, around)
    draft.take("interchange", around, first)


def _shape(draft: Draft, name: str, loops: list[LoopOrder], reach: int) -> tuple[int, int]:
    """Iterations in a block and chunks of rows: the rows of a front stay in a core's cache, and little is left between chunks."""
    machine = draft.task.machine
    rows = max((e[1] - e[0] + 1 for loop in loops if (e := extent(draft.scheduled, loop))), default=0)
    if not rows or not reach:
        return 0, 0
    state = state_bytes(draft, draft.scheduled.loop(name))
    if not any(True for loop in loops for _ in loops_of(loop.body)):  # along one axis, chunks are what the caches hold
        chunks = max(machine.cores, int(state / (0.7 * machine.l2)))
        return min(_BLOCKS[1], rows // (4 * chunks * reach)), chunks
    near, far = (int(size * rows / (state * reach)) for size in (0.7 * machine.l2, machine.l3 / (2 * machine.cores)))
    cached = near if near >= 4 else min(far, 8)
    return min(_BLOCKS[1], cached, rows // (4 * machine.cores * reach)), machine.cores


def _wavefronts(draft: Draft, name: str) -> bool:
    """Fronts of rows, one of every iteration; in a row, what need not wait for the element before is added beforehand."""
    space = draft.scheduled.loop(name).body
    assert isinstance(space, LoopOrder)
    inner = list(loops_of(space.body))[-1]
    statement = inner.body.statement if isinstance(inner.body, Leaf) else ""
    if statement and not draft.task.strict and draft.attempt("presum", statement, inner.name):
        draft.take("distribute", inner.name, statement)
    block = _FRONT
    draft.take("tile", name, block)
    draft.take("wavefront", f"{name}_i", space.name)
    front = f"{name}_i"
    if draft.attempt("unroll_jam", front, _JAMMED):
        front = f"{front}_o"
    draft.take("parallel", front)
    draft.vectorise(f"{name}_o")
    draft.closed.add(f"{name}_o")
    return True
