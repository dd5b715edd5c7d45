"""Temporaries of their own for a loop, and in another layout."""

from __future__ import annotations

from dataclasses import replace

from ..nest import Access, leaves, map_accesses
from ..scheduled import Scheduled, once
from .contract import Site, sites, uncovered_read


@once
def can_rename(scheduled: Scheduled, array: str, loop: str) -> str | None:
    """Why a loop cannot have a temporary for itself in place of one that others use, too, or None.

    Every element read in one of its iterations must have been written earlier in the same iteration, and so, for reads outside, in
    one iteration of a loop around them (exact, by isl).
    """
    if loop not in scheduled.loops:
        return "no such loop"
    info = scheduled.nest.array_table.get(array)
    if info is None or not info.temporary:
        return f"{array} is not a temporary array"
    if info.scope.startswith("local"):
        return f"{array} is contracted"
    below, found = set(leaves(scheduled.loop(loop))), sites(scheduled, array)
    inside = [site for site in found if site[0] in below]
    if not inside:
        return f"{array} is not used in {loop}"
    if f"{array}_{loop}" in scheduled.nest.array_table:
        return f"the name {array}_{loop} is taken"
    table = scheduled.nest.statement_table
    if any(table[s].routine for s, _, _ in inside):
        return f"a routine takes {array}"
    return (
        uncovered_read(scheduled, array, scheduled.loop(loop), inside)
        or _read_later(scheduled, array, below, found)
        or scheduled.unproved()
    )


def _read_later(scheduled: Scheduled, array: str, below: set[str], found: list[Site]) -> str | None:
    """A read outside that may see what the loop has written."""
    table = scheduled.nest.statement_table
    outside = [s for s, _, writes in found if s not in below and (not writes or table[s].reduce)]
    for reader in dict.fromkeys(outside):
        around = [o for o in scheduled.loops.values() if reader in dict(o.values) and not below & set(leaves(o))]
        owned = ([site for site in found if site[0] in dict(o.values)] for o in around)
        if all(uncovered_read(scheduled, array, o, mine) for o, mine in zip(around, owned)):
            return f"{reader} may read what the loop writes to {array}"
    return None


def rename(scheduled: Scheduled, array: str, loop: str) -> Scheduled:
    """A loop gets a temporary of its own, ``ARRAY_LOOP``, so that it no longer waits for others that use the same.

    for i: t = A(i); B(i, t)                    for i: t_i = A(i); B(i, t_i)
    for j: t = C(j); D(j, t)        -->         for j: t = C(j); D(j, t)
    """
    reason = can_rename(scheduled, array, loop)
    if reason:
        raise ValueError(f"cannot rename {array} {loop}: {reason}")
    new, below = f"{array}_{loop}", set(leaves(scheduled.loop(loop)))
    changed = {s for s, _, _ in sites(scheduled, array)}
    statements = tuple(
        map_accesses(s, lambda a: replace(a, array=new) if a.array == array else a) if s.name in below & changed else s
        for s in scheduled.nest.statements
    )
    arrays = (*scheduled.nest.arrays, replace(scheduled.nest.array(array), name=new))
    return scheduled.rewrite(replace(scheduled.nest, statements=statements, arrays=arrays), changed)


@once
def can_layout(scheduled: Scheduled, array: str, *axes: int) -> str | None:
    """Why the axes of an array cannot lie in memory in another order, or None."""
    info = scheduled.nest.array_table.get(array)
    if info is None or not info.temporary:
        return f"{array} is not a temporary array"
    if len(info.shape) < 2:
        return f"{array} has fewer than two axes"
    if len(axes) != len(info.shape) or set(axes) != set(range(len(axes))):
        return f"name each of the {len(info.shape)} axes of {array} once, from 0 on"
    if any(scheduled.nest.statement_table[s].routine for s, _, _ in sites(scheduled, array)):
        return f"a routine takes {array}"
    return None


def layout(scheduled: Scheduled, array: str, *axes: int) -> Scheduled:
    """A temporary lies in memory with its axes in another order: ``layout t 1 0`` by columns.

    t[i, j]         -->         t[j, i]
    """
    reason = can_layout(scheduled, array, *axes)
    if reason:
        raise ValueError(f"cannot lay out {array}: {reason}")
    changed = {s for s, _, _ in sites(scheduled, array)}

    def turned(a: Access) -> Access:
        return Access(array, tuple(a.index[n] for n in axes), a.dtype) if a.array == array else a

    statements = tuple(map_accesses(s, turned) if s.name in changed else s for s in scheduled.nest.statements)
    info = scheduled.nest.array(array)
    wide = replace(info, shape=tuple(info.shape[n] for n in axes))
    nest = replace(
        scheduled.nest, statements=statements, arrays=tuple(wide if a.name == array else a for a in scheduled.nest.arrays)
    )
    found = tuple(
        replace(d, same=tuple(d.same[n] for n in axes)) if d.array == array and len(d.same) == len(axes) else d
        for d in scheduled.found
    )
    return replace(scheduled, nest=nest, found=found)
