"""Stencils whose rows are beyond the caches: overlapping tiles along the second axis, the rows of a tile in fronts.

    for t:                              for t_o:                        # blocks of iterations
        for i: for j: ...      -->          for t_tile:                 # parts of every row, of the size of a cache; independent
        for i: for j: ...                       for i:                  # row i of iteration t, then row i - k of iteration t + 1, ...
                                                    for t_i in the block: for j in the tile and what is left of the halo: ...

Trapezoids need an axis that is many times as long as dependences reach in a block of iterations. Where there is none, or where fronts of theirs
are beyond the caches, tiles that overlap are an alternative, at the price of computing twice what lies between tiles.
Source: A. Nguyen et al., 3.5-D blocking optimization for stencil computations on modern CPUs and GPUs, SC 2010.
"""

from __future__ import annotations

from ..loops.nest import LoopOrder, children, outermost
from ..loops.steps.trapezoid import Cone, cone_of
from .draft import Draft
from .stencil import by_second_axis, fronts, in_form, iterates, keeps_much, longest, shape, state_bytes, sweeps_of
from .sweeps import contract_temporaries, fuse_sweeps

#: Iterations in a block, in the order in which they are tried, and fewest for which trapezoids are left alone.
_BLOCKS, _ENOUGH = (8, 6, 4, 3, 2), 4
#: Part of a tile that its neighbours compute, too, at most; least width of a tile.
_TWICE, _WIDTH = 0.3, 16


def overlapping(draft: Draft) -> bool:
    """Cut loops over iterations around stencil sweeps with long rows into blocks on overlapping tiles; whether there was one."""
    fired = False
    for name in [loop.name for loop in outermost(draft.scheduled.nest.order)]:
        if name in draft.scheduled.loops and draft.is_open(name) and iterates(draft, name) and keeps_much(draft, name):
            fired |= draft.trying(_tiles, name)
    return fired


def _tiles(draft: Draft, name: str) -> bool:
    """The steps; False where they do not fit. Raises IllegalSchedule where one does not apply."""
    name = in_form(draft, name)
    if not name:
        return False
    fuse_sweeps(draft)
    loops = sweeps_of(draft, name)
    first = cone_of(draft.scheduled, name, tuple(o.name for o in loops)) if loops else ""
    if isinstance(first, str) or shape(draft, name, loops, max(first.rise, first.fall))[0] >= _ENOUGH:
        return False
    inner, (block, _) = by_second_axis(draft, name, loops, first)
    if not inner or block >= _ENOUGH:
        return False
    second = cone_of(draft.scheduled, name, tuple(o.name for o in inner))
    if isinstance(second, str):
        return False
    block, width = _size(draft, name, loops, inner, (first, second))
    if not block:
        return False
    draft.take("overlap", name, block, width, *(o.name for o in inner))
    fronts(draft, f"{name}_i", [c for c in children(draft.scheduled.loop(f"{name}_i").body) if isinstance(c, LoopOrder)], first)
    draft.take("parallel", f"{name}_tile")
    contract_temporaries(draft)
    draft.vectorise(f"{name}_o")
    draft.closed.add(f"{name}_o")
    return True


def _size(
    draft: Draft, name: str, loops: list[LoopOrder], inner: list[LoopOrder], cones: tuple[Cone, Cone]
) -> tuple[int, int]:
    """Iterations in a block and width of a tile, so that a front of a tile's rows stays in a core's cache and little is computed twice."""
    machine = draft.task.machine
    rows, columns = longest(draft, loops), longest(draft, inner)
    column = state_bytes(draft, draft.scheduled.loop(name)) / (rows * columns)  # bytes of a row, by its columns
    for cache in (0.7 * machine.l2, machine.l3 / (2 * machine.cores)):
        for block in _BLOCKS:
            halo = (cones[1].rise + cones[1].fall) * block
            front = max(cones[0].rise, cones[0].fall) * block + 2
            most = int(cache / (column * front)) - halo
            if most < _WIDTH or most < halo / (2 * _TWICE) or most > columns:
                continue
            tiles = -(-columns // most)
            tiles = -(-tiles // machine.cores) * machine.cores
            return block, -(-columns // tiles)
    return 0, 0
