"""Temporaries that get an element of their own for every iteration of loops."""

from __future__ import annotations

from dataclasses import replace

from ...graph.types import Size
from ..nest import Access, LoopOrder, Statement, leaves, map_accesses
from ..scheduled import Scheduled, extent, once
from .contract import sites, uncovered_read


def axis_of(scheduled: Scheduled, loop: LoopOrder) -> tuple[Size, Size] | None:
    """The first value of a loop and the number of its values, or None if they differ between iterations of loops around it."""
    known = extent(scheduled, loop)
    if known is not None:
        return Size.of(known[0]), Size.of(max(0, known[1] - known[0] + 1))
    found = set()
    for name, value in loop.values:
        dim = next((d for d in scheduled.nest.statement_table[name].dims if Size.of(d.name) == value), None)
        if dim is None or not (dim.lower.names() | dim.upper.names()) <= set(scheduled.nest.params):
            return None
        found.add((dim.lower, dim.upper - dim.lower))
    return found.pop() if len(found) == 1 else None


@once
def can_expand(scheduled: Scheduled, array: str, *names: str) -> str | None:
    """Why a temporary cannot have one element for every iteration of loops (outermost first), or None.

    Every element read in an iteration must have been written earlier in the same iteration (exact, by isl).
    """
    info = scheduled.nest.array_table.get(array)
    if info is None or not info.temporary:
        return f"{array} is not a temporary array"
    if info.scope.startswith("local"):
        return f"{array} is contracted"
    if not names or len(set(names)) != len(names):
        return "name the loops, outermost first"
    for name in names:
        if name not in scheduled.loops:
            return f"no such loop: {name}"
        if axis_of(scheduled, scheduled.loop(name)) is None:
            return f"the number of iterations of {name} is not known outside it"
    around = [loop.name for loop in scheduled.outer(names[-1])]
    if [n for n in around if n in names] != list(names[:-1]):
        return "name loops one inside the other, outermost first"
    found = sites(scheduled, array)
    inner = scheduled.loop(names[-1])
    below = set(leaves(inner))
    if any(s not in below for s, _, _ in found):
        return f"{array} is used outside {names[-1]}"
    if any(scheduled.nest.statement_table[s].routine for s, _, _ in found):
        return f"a routine takes {array}"
    return uncovered_read(scheduled, array, inner, found) or scheduled.unproved()


def expand(scheduled: Scheduled, array: str, *names: str) -> Scheduled:
    """A temporary gets leading axes for loops around its uses, so that their iterations no longer wait for each other.

    for i:                          for i:
        t = A(i)        -->             t[i] = A(i)
        B(i, t)                         B(i, t[i])
    """
    reason = can_expand(scheduled, array, *names)
    if reason:
        raise ValueError(f"cannot expand {array} {' '.join(names)}: {reason}")
    loops = [scheduled.loop(n) for n in names]
    axes = [axis_of(scheduled, loop) for loop in loops]
    changed = {s for s, _, _ in sites(scheduled, array)}

    def widened(s: Statement) -> Statement:
        lead = tuple(loop.value(s.name) - axis[0] for loop, axis in zip(loops, axes, strict=True) if axis)
        return map_accesses(s, lambda a: Access(array, (*lead, *a.index), a.dtype) if a.array == array else a)

    statements = tuple(widened(s) if s.name in changed else s for s in scheduled.nest.statements)
    info = scheduled.nest.array(array)
    wide = replace(info, shape=(*(axis[1] for axis in axes if axis), *info.shape))
    arrays = tuple(wide if a.name == array else a for a in scheduled.nest.arrays)
    return scheduled.rewrite(replace(scheduled.nest, statements=statements, arrays=arrays), changed)
