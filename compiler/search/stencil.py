"""Stencils: iterations of neighbouring sweeps in one pass over the data.

    for t:                      trapezoids of rows, a block of iterations deep, one for every core and two barriers a block;
        for i: for j: ...  -->  inside, rows in fronts: row i of iteration t, then row i - k of iteration t + 1, ...
        for i: for j: ...       so that a row is loaded once for a whole block. The innermost loops stay as they are.

Where rows (planes) are so large that no cache holds a front of several of them, trapezoids cut the second axis instead. It pays
where the state of an iteration is beyond the caches of the cores. Where a sweep is sequential in space (Gauss-Seidel), fronts are
the only threads' work there is: row i of iteration t beside row i - k of iteration t + 1. What must be shifted and skewed by how
much is solved from the dependences (:mod:`~..loops.distances`).
"""

from __future__ import annotations

from math import prod

from ..loops.account import array_bytes
from ..loops.nest import Leaf, LoopOrder, children, leaves, loops_of, outermost
from ..loops.scheduled import conflicts, extent
from ..loops.steps.trapezoid import Cone, cone_of
from .draft import Draft
from .stencil_form import in_step, level
from .sweeps import contract_temporaries, fuse_sweeps

#: Fewest and most iterations in a block, and fewest iterations that a loop must have where their number is known.
_BLOCKS = (2, 32)
#: Fewest iterations in a block for which the second axis is left alone; fewest elements of a part of it.
_ENOUGH, _WIDTH = 4, 16
#: Fewest elements of a sweep whose rows are worth a meeting of the threads.
_POINTS = 4096
#: Fewest elements of sweeps along one axis only that are worth a team.
_ROW = 512
#: Most rows in a front: more have no use for so few threads, and each is a row of the cache.
_FRONT = 128
#: Rows of a front that run side by side, each waiting for its own last element.
_JAMMED = 4


def stencils(draft: Draft) -> bool:
    """Put the iterations of every loop around stencil sweeps into blocks; whether there was one."""
    fired = False
    for name in [loop.name for loop in outermost(draft.scheduled.nest.order)]:
        for fits, make in ((keeps_much, _time_blocks), (_sequential, _wavefronts)):
            if (
                name not in draft.scheduled.loops
                or not draft.is_open(name)
                or not iterates(draft, name)
                or not fits(draft, name)
            ):
                continue  # fused into another one meanwhile, finished, or no stencil's
            fired |= draft.trying(make, name)
    return fired


def iterates(draft: Draft, name: str) -> bool:
    """A first look that costs nothing: a loop of several iterations around loops over space."""
    loop = draft.scheduled.loop(name)
    known = extent(draft.scheduled, loop)
    if draft.task.tile or (known is not None and known[1] - known[0] < _BLOCKS[0]):
        return False
    return any(isinstance(c, LoopOrder) for c in children(loop.body))


def keeps_much(draft: Draft, name: str) -> bool:
    """Whether the arrays that an iteration keeps are more than the cores' caches hold, and it needs no other ones: fields that every
    iteration has of its own (what a gradient keeps) come from memory once, in blocks of iterations or not."""
    machine, loop = draft.task.machine, draft.scheduled.loop(name)
    for s, value in loop.values:
        statement = draft.scheduled.nest.statement_table[s]
        for access in (statement.write, *statement.reads()):
            if len(access.index) > 1 and value.names() & access.names():
                return False
    return state_bytes(draft, loop) > machine.cores * machine.l2 or _meets_often(draft, loop)


def _meets_often(draft: Draft, loop: LoopOrder) -> bool:
    """Whether an iteration's sweeps are single rows: a team would meet after each, a few times as long as it takes to compute one."""
    rows = [c for c in children(loop.body) if isinstance(c, LoopOrder)]
    return draft.task.machine.cores > 1 and all(c.innermost for c in rows) and longest(draft, rows) >= _ROW


def _sequential(draft: Draft, name: str) -> bool:
    """Whether there is one sweep, of two loops or more and enough elements, none of whose loops has independent iterations."""
    space = draft.scheduled.loop(name).body
    if not isinstance(space, LoopOrder) or not isinstance(space.body, LoopOrder) or not in_step(draft, name):
        return False
    ranges = [extent(draft.scheduled, loop) for loop in loops_of(space)]
    points = prod(r[1] - r[0] + 1 if r else 0 for r in ranges)
    return points >= _POINTS and not any(draft.can("parallel", loop.name) for loop in loops_of(space))


def state_bytes(draft: Draft, loop: LoopOrder) -> float:
    """Bytes of the arrays that the statements below a loop touch and that an iteration keeps; run-time extents are taken as 1."""
    table = draft.scheduled.nest.array_table
    touched = {a for s in leaves(loop) for a in draft.scheduled.nest.statement_table[s].arrays()}
    return float(sum(array_bytes(table[a], {}) for a in touched if not table[a].scope.startswith("local")))


def _time_blocks(draft: Draft, name: str) -> bool:
    """The steps; False where they do not fit. Raises IllegalSchedule where one does not apply."""
    name = in_form(draft, name)
    if not name:
        return False
    fuse_sweeps(draft)
    loops = sweeps_of(draft, name)
    if not loops:
        return False
    cone = cone_of(draft.scheduled, name, tuple(c.name for c in loops))
    if isinstance(cone, str):
        return False
    lasting = draft.copy()
    contract_temporaries(lasting)  # what is left counts; the temporaries themselves are contracted where they end up
    cut, (block, chunks) = loops, shape(lasting, name, loops, max(cone.rise, cone.fall))
    if block < _ENOUGH:
        inner, (deeper, parts) = by_second_axis(lasting, name, loops, cone)
        if deeper > block:
            cut, block, chunks = inner, deeper, parts
    if block < _BLOCKS[0]:
        return False
    draft.take("trapezoid", name, block, chunks, *(c.name for c in cut))
    if not all(c.innermost for c in loops):
        fronts(draft, f"{name}_i", sweeps_of(draft, f"{name}_i"), cone)
    contract_temporaries(draft)
    draft.take("parallel", f"{name}_chunk")
    draft.vectorise(f"{name}_o")
    draft.closed.add(f"{name}_o")
    return True


def by_second_axis(draft: Draft, name: str, loops: list[LoopOrder], cone: Cone) -> tuple[list[LoopOrder], tuple[int, int]]:
    """The loops along the second axis, if every sweep has one, and the shape of trapezoids that cut it, so that a front holds a part of every row only."""
    inner = second_axis(loops)
    across = cone_of(draft.scheduled, name, tuple(o.name for o in inner)) if inner else ""
    if isinstance(across, str):
        return inner, (0, 0)
    machine = draft.task.machine
    reach, columns = max(across.rise, across.fall), longest(draft, inner)
    column = state_bytes(draft, draft.scheduled.loop(name)) / (longest(draft, loops) * max(1, columns))
    caches = (0.7 * machine.l2, machine.l3 / (2 * machine.cores))
    for cache, block in [(c, b) for blocks in ((8, 6, 4), (3, 2)) for c in caches for b in blocks]:
        width = int(cache / (column * (max(cone.rise, cone.fall) * block + 2)))
        chunks = machine.cores * -(-columns // (max(1, width) * machine.cores))
        if min(width, columns // chunks) >= max(_WIDTH, 4 * reach * block):
            return inner, (block, chunks)
    return inner, (0, 0)


def second_axis(loops: list[LoopOrder]) -> list[LoopOrder]:
    """The loops directly inside sweeps, if there is nothing else in these."""
    inside = [c for loop in loops for c in children(loop.body)]
    found = [c for c in inside if isinstance(c, LoopOrder)]
    return found if len(found) == len(inside) else []


def longest(draft: Draft, loops: list[LoopOrder]) -> int:
    """The most iterations that one of some loops has."""
    return max((e[1] - e[0] + 1 for loop in loops if (e := extent(draft.scheduled, loop))), default=0)


def in_form(draft: Draft, name: str) -> str:
    """Bring a loop into the form of stencils; its name then, or nothing if that cannot be done or its iterations are independent."""
    found = level(draft, name)
    carries = found is not None and any(d.kind == "flow" for d in conflicts(draft.scheduled, found, reductions=True))
    return found if found is not None and carries else ""


def sweeps_of(draft: Draft, name: str) -> list[LoopOrder]:
    """The loops over space in a loop over iterations; none where the range of one is not known."""
    if name not in draft.scheduled.loops:
        return []
    loops = [c for c in children(draft.scheduled.loop(name).body) if isinstance(c, LoopOrder)]
    return loops if all(extent(draft.scheduled, loop) is not None for loop in loops) else []


def fronts(draft: Draft, around: str, loops: list[LoopOrder], cone: Cone) -> None:
    """One loop over rows outside, the iterations of a block inside."""
    first, *rest = loops
    for other in rest:
        by = cone.ahead[next(leaves(other))] - cone.ahead[next(leaves(first))]
        if by:
            draft.take("shift", other.name, by)
        draft.take("fuse", first.name, other.name)
    if cone.rise:
        draft.take("skew", first.name, around, cone.rise)
    draft.take("interchange", around, first.name)


def shape(draft: Draft, name: str, loops: list[LoopOrder], reach: int) -> tuple[int, int]:
    """Iterations in a block and chunks of rows of trapezoids: the rows of a front stay in a core's cache, and little is left between chunks."""
    machine = draft.task.machine
    rows = longest(draft, loops)
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
    added = bool(statement) and not draft.task.strict and draft.attempt("presum", statement, inner.name)
    if added:
        draft.take("distribute", inner.name, statement)
    draft.take("tile", name, _FRONT)
    draft.take("wavefront", f"{name}_i", space.name)
    front = f"{name}_i"
    if added and space.body is inner:  # rows of sums one by one, then recurrences side by side
        draft.take("tile", front, _JAMMED)
        draft.take("distribute", f"{front}_i", statement)
        draft.take("interchange", f"{front}_i_b", f"{inner.name}_b")
        draft.take("unroll", f"{front}_i_b")
        front = f"{front}_o"
    elif draft.attempt("unroll_jam", front, _JAMMED):
        front = f"{front}_o"
    draft.take("parallel", front)
    draft.vectorise(f"{name}_o")
    draft.closed.add(f"{name}_o")
    return True
