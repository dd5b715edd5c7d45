"""Blocks of an iteration loop split over threads in space: trapezoids."""

from __future__ import annotations

from dataclasses import dataclass

from ...graph.types import Size
from ..distances import band_distances, shifts, slope
from ..nest import LoopOrder, Order, leaves
from ..scheduled import Scheduled, change_loop, extent, once


@dataclass(frozen=True)
class Cone:
    """``ahead[s] + rise * t`` added to a statement's position never decreases along a dependence, ``behind[s] - fall * t`` never
    increases."""

    ahead: dict[str, int]
    rise: int
    behind: dict[str, int]
    fall: int


@once
def can_trapezoid(scheduled: Scheduled, outer: str, block: int, chunks: int, *loops: str) -> str | None:
    """Why an iteration loop cannot be cut into blocks of trapezoids over the positions that ``loops`` give, or None."""
    if not isinstance(block, int) or not isinstance(chunks, int) or block < 1 or chunks < 1 or not loops:
        return "name the iteration loop, iterations in a block, the number of chunks, then a loop over space for each sweep"
    for name in (outer, *loops):
        if name not in scheduled.loops:
            return f"no such loop: {name}"
    if scheduled.loop(outer).kind != "serial":
        return f"{outer} is {scheduled.loop(outer).kind}"
    taken = [f"{outer}_{part}" for part in ("o", "phase", "chunk", "i") if f"{outer}_{part}" in scheduled.loops]
    if taken:
        return f"there is a loop {taken[0]} already"
    spaces = [scheduled.loop(name) for name in loops]
    covered = [s for space in spaces for s in leaves(space)]
    if sorted(covered) != sorted(leaves(scheduled.loop(outer))):
        return f"{', '.join(loops)} do not hold every statement below {outer} exactly once"
    for space in spaces:
        if extent(scheduled, space) is None:
            return f"the range of {space.name} is not known"
        if outer not in {around.name for around in scheduled.outer(space.name)}:
            return f"{space.name} is not inside {outer}"
    cone = cone_of(scheduled, outer, loops)
    return cone if isinstance(cone, str) else None


def cone_of(scheduled: Scheduled, outer: str, loops: tuple[str, ...]) -> Cone | str:
    """How far dependences reach in the positions that ``loops`` give, as an iteration of ``outer`` passes; or why it has no limit."""
    around, spaces = scheduled.loop(outer), [scheduled.loop(name) for name in loops]
    where = {s: v for space in spaces for s, v in space.values}
    sets = band_distances(scheduled, around, (dict(around.values), where), set(where))
    sides: list[tuple[dict[str, int], int]] = []
    for direction in (1, -1):
        offsets = shifts(scheduled, spaces, sets, direction=direction)
        if isinstance(offsets, str):
            return offsets
        step = slope(sets, offsets, direction=direction)
        if isinstance(step, str):
            return step
        sides.append((offsets, step))
    return Cone(*sides[0], *sides[1])


def trapezoid(scheduled: Scheduled, outer: str, block: int, chunks: int, *loops: str) -> Scheduled:
    """Blocks of ``block`` iterations; in each, space is cut into ``chunks``. First every chunk does, by itself, the part of the
    block that needs nothing from its neighbours (an upright trapezoid), then what is missing between them (inverted ones).

    for t:                                  for t_o:                            # blocks of iterations
        for i: S(t, i)                          for t_phase in 0..2:            # upright, then inverted
                                -->                 for t_chunk:                # independent: t_chunk may be parallel
                                                        for t_i in the block:
                                                            for i in the trapezoid: S(t, i)
    t ^  ______ __ ______
      | |     / 1 \\     |      i goes to the right; chunks 0 and 1 of phase 0 with slanting sides,
      | |  0 /_____\\ 1  |      chunk 1 of phase 1 between them. Slopes are solved from the dependences.

    ``trapezoid t 16 2 i j`` is for two sweeps in ``t``. ``t_phase`` is the difference of the chunks of two positions: one that
    never decreases along a dependence, and one that never increases. So a chunk depends on none of its own phase.
    Source: split tiling, S. Krishnamoorthy et al., Effective automatic parallelization of stencil computations, PLDI 2007.
    """
    reason = can_trapezoid(scheduled, outer, block, chunks, *loops)
    cone = reason or cone_of(scheduled, outer, loops)
    if isinstance(cone, str):
        raise ValueError(f"cannot cut {outer} into trapezoids: {reason}")
    around, spaces = scheduled.loop(outer), [scheduled.loop(name) for name in loops]
    ends = [e for space in spaces if (e := extent(scheduled, space)) is not None]
    last = block - 1  # outermost chunks begin and end where slanting sides would leave the space
    first = min(e[0] for e in ends) - cone.fall * last + min(cone.behind.values())
    end = max(e[1] for e in ends) + cone.rise * last + max(cone.ahead.values()) + 1
    size = Size.of(max(1, -(-(end - first) // chunks)))
    upper: dict[str, Size] = {}
    lower: dict[str, Size] = {}
    for space in spaces:
        for s, position in space.values:
            t = around.value(s) % Size.of(block)
            upper[s] = (position + (cone.ahead[s] - first) + t * cone.rise) // size
            lower[s] = (position + (cone.behind[s] - first) - t * cone.fall) // size

    def change(loop: LoopOrder) -> Order:
        order: Order = LoopOrder(f"{outer}_i", loop.values, loop.body, loop.kind)
        order = LoopOrder(f"{outer}_chunk", tuple((s, upper[s]) for s, _ in loop.values), order)
        order = LoopOrder(f"{outer}_phase", tuple((s, upper[s] - lower[s]) for s, _ in loop.values), order)
        return LoopOrder(f"{outer}_o", tuple((s, v // Size.of(block)) for s, v in loop.values), order)

    return scheduled.with_order(change_loop(scheduled.nest.order, outer, change)).renamed({outer: f"{outer}_i"})
