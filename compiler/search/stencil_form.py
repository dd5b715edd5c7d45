"""Loops over iterations brought into the form of stencils: nothing but sweeps of loops over space in them.

    for t:                                      for t: c[t] = a[t] / 2
        c = a[t] / 2                            for t_b:
        for j: A[0, j] = c              -->         for i in 0..1: for j: A[0, j] = c[t]
        for i in 1..n: for j in 0..m:               for i in 1..n: for j in 0..m:
            v = 2 * B[i, j]                             v[i, j] = 2 * B[i, j]
            A[i, j] = v + c                             A[i, j] = v[i, j] + c[t]

A temporary of a point, which every point would have to wait for, gets elements of its own (``expand``; it is contracted again later);
what an iteration computes from nothing that sweeps compute goes before the loop (``expand``, ``fission``); boundaries and point sources
become sweeps of one row (``enclose``).
"""

from __future__ import annotations

from ..graph.types import Size
from ..loops.isl import NotAffine, bound_values
from ..loops.nest import Leaf, LoopOrder, Order, Statement, children, leaves, loop_path, outermost
from ..loops.steps.contract import Site, sites
from .draft import Draft

#: Furthest that an access of a stencil is from the point it is for.
_FAR = 64

#: For every array that sweeps write the axes that move along with them, and by how much a written index is ahead of the loop.
Axes = dict[str, tuple[frozenset[int], dict[int, int]]]


def level(draft: Draft, name: str) -> str | None:
    """Bring a loop over iterations into form; its name afterwards, or None where that is not possible."""
    if not _may_be(draft, name):
        return None
    _expand_points(draft, name)
    found = _take_out(draft, name)
    if not in_step(draft, found):
        _enclose_rest(draft, found)
    return found if in_step(draft, found) else None


def in_step(draft: Draft, name: str) -> bool:
    """Whether every part is a sweep, and every access to what sweeps write moves along with them."""
    sweeps = [c for c in _parts(draft, name) if isinstance(c, LoopOrder)]
    return len(sweeps) == len(_parts(draft, name)) and _axes(draft, sweeps, frozenset()) is not None


def _may_be(draft: Draft, name: str) -> bool:
    """A look that costs little: whether the deepest sweeps are in step, temporaries of an iteration aside."""
    sweeps = _deepest(draft, name)
    below = set(leaves(draft.scheduled.loop(name)))
    outside = set().union(*(s.arrays() for s in draft.scheduled.nest.statements if s.name not in below))
    inner = frozenset(a.name for a in draft.scheduled.nest.arrays if a.name not in outside and a.temporary)
    return bool(sweeps) and _axes(draft, sweeps, inner) is not None


def _parts(draft: Draft, name: str) -> tuple[Order, ...]:
    return children(draft.scheduled.loop(name).body)


def _deepest(draft: Draft, name: str) -> list[LoopOrder]:
    most = max(map(_depth, _parts(draft, name)))
    return [c for c in _parts(draft, name) if isinstance(c, LoopOrder) and _depth(c) == most]


def _depth(order: Order) -> int:
    return max((1 + _depth(o.body) for o in outermost(order)), default=0)


# -- temporaries of a point ----------------------------------------------------------------------------------------------


def _expand_points(draft: Draft, name: str) -> None:
    """Temporaries of which several points of a sweep share an element get one for each."""
    for info in [a for a in draft.scheduled.nest.arrays if a.scope == "problem"]:
        users = {s.name for s in draft.scheduled.nest.statements if info.name in s.arrays()}
        if not users or not users <= set(leaves(draft.scheduled.loop(name))):
            continue
        path = loop_path(draft.scheduled.nest.order, sorted(users)[0])
        common = [o for o in path if users <= {s for s, _ in o.values}]
        inside = common[[o.name for o in common].index(name) + 1 :]
        places = sites(draft.scheduled, info.name)
        shared = [o for o in inside if not _followed(places, o, len(info.shape))]
        if shared:
            draft.attempt("expand", info.name, *(o.name for o in shared))


def _followed(places: list[Site], loop: LoopOrder, rank: int) -> bool:
    """Whether an axis is the value of a loop plus one constant wherever an array is touched."""
    for axis in range(rank):
        apart = {(index[axis] - loop.value(s)).constant if axis < len(index) else None for s, index, _ in places}
        if len(apart) == 1 and None not in apart:
            return True
    return False


# -- what an iteration computes beside its sweeps --------------------------------------------------------------------------


def _take_out(draft: Draft, name: str) -> str:
    """Single statements that need nothing of the sweeps run in a loop of their own before; the name of the loop with the sweeps."""
    alone = [c.statement for c in _parts(draft, name) if isinstance(c, Leaf)]
    swept = next((s for c in _parts(draft, name) if isinstance(c, LoopOrder) for s in leaves(c)), None)
    if not alone or swept is None:
        return name
    trial = draft.copy()
    for array in sorted({trial.scheduled.nest.statement_table[s].write.array for s in alone}):
        places, loop = sites(trial.scheduled, array), trial.scheduled.loop(name)
        inside = {s for s, _, _ in places} <= set(leaves(loop))
        if inside and not _followed(places, loop, len(trial.scheduled.nest.array(array).shape)):
            trial.attempt("expand", array, name)
    if not trial.attempt("fission", name, *alone):
        return name
    draft.adopt(trial)
    return next(o.name for o in loop_path(draft.scheduled.nest.order, swept))


# -- boundaries ------------------------------------------------------------------------------------------------------------


def _enclose_rest(draft: Draft, name: str) -> None:
    """What is not in step with the deepest sweeps becomes a sweep of one row, the one that it writes."""
    sweeps = _deepest(draft, name)
    axes = _axes(draft, sweeps, frozenset())
    if axes is None:
        return
    for part in _parts(draft, name):
        if part in sweeps or _fits(draft, part, axes):
            continue
        row = _row(draft, part, axes)
        if row is None or not draft.attempt("enclose", next(leaves(part)), name, row):
            return


def _row(draft: Draft, part: Order, axes: Axes) -> int | None:
    """The one row that a part writes."""
    rows = set()
    for s in leaves(part):
        write = draft.scheduled.nest.statement_table[s].write
        if write.array in axes:
            fitting, ahead = axes[write.array]
            axis = min(fitting)
            at = write.index[axis].constant
            rows.add(None if at is None else at - ahead.get(axis, 0))
    return rows.pop() if len(rows) == 1 else None


# -- alignment -------------------------------------------------------------------------------------------------------------


def _axes(draft: Draft, sweeps: list[LoopOrder], but: frozenset[str]) -> Axes | None:
    """The axes that move along with sweeps; None where an array that they write, one of ``but`` aside, has none."""
    table = draft.scheduled.nest.statement_table
    placed = [(table[s], value) for sweep in sweeps for s, value in sweep.values]
    if any(s.routine for s, _ in placed):
        return None
    written = {s.write.array for s, _ in placed if s.write.index} - but
    fitting: dict[str, frozenset[int]] = {}
    ahead: dict[str, dict[int, int]] = {}
    for s, value in placed:
        for access in (s.write, *s.reads()):
            if access.array in written:
                found = frozenset(n for n, i in enumerate(access.index) if _near(s, i, value))
                fitting[access.array] = fitting.get(access.array, found) & found
        for n, i in enumerate(s.write.index):
            apart = (i - value).constant
            if apart is not None:
                ahead.setdefault(s.write.array, {}).setdefault(n, apart)
    if not fitting or not all(fitting.values()):
        return None
    return {a: (found, ahead.get(a, {})) for a, found in fitting.items()}


def _near(s: Statement, index: Size, value: Size) -> bool:
    """Whether an index stays within a window around the value of a loop."""
    apart = index - value
    if apart.constant is not None:
        return True
    if not value.names() or apart.names() & value.names():
        return False
    box: dict[str, tuple[int, int]] = {}
    try:
        for d in s.dims:
            if d.upper.names() <= box.keys() and d.lower.names() <= box.keys():
                box[d.name] = (bound_values(d.lower, box)[0], bound_values(d.upper, box)[1] - 1)
        first, last = bound_values(apart, box)
    except (NotAffine, KeyError):
        return False
    return max(abs(first), abs(last)) <= _FAR


def _fits(draft: Draft, part: Order, axes: Axes) -> bool:
    """Whether a part is a sweep that moves along with others."""
    if not isinstance(part, LoopOrder):
        return False
    for s, value in part.values:
        statement = draft.scheduled.nest.statement_table[s]
        for access in (statement.write, *statement.reads()):
            if access.array in axes and not any(_near(statement, access.index[n], value) for n in axes[access.array][0]):
                return False
    return True
