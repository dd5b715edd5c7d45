"""Copies that are begun ahead: what a later iteration of a loop reads comes while this one computes."""

from __future__ import annotations

from ..nest import Access, children, leaves
from ..scheduled import Scheduled, once
from .mark import mark

#: Places that a copy may take turns in.
PLACES = (2, 3, 4)


@once
def can_stage(scheduled: Scheduled, name: str, places: int = 2) -> str | None:
    """Why what a loop copies at the start of an iteration cannot be copied iterations ahead, or None.

    What is copied must not be written in the loop, and the copies must live in one iteration of it, so that each may have a place of its own.
    """
    if places not in PLACES:
        return f"copies take turns in 2, 3 or 4 places, not {places}"
    if name not in scheduled.loops:
        return "no such loop"
    loop, table = scheduled.loop(name), scheduled.nest.statement_table
    if loop.kind.split()[0] not in ("serial", f"staged{places}"):
        return f"{name} is {loop.kind}"
    if loop.exit is not None:
        return f"data tells which iterations of {name} run"
    written = set[str]().union(*({table[s].write.array, *(w.array for w in table[s].outputs)} for s in leaves(loop)))
    begun = staged_copies(scheduled, name)
    if not begun:
        return f"no iteration of {name} begins with a copy, by threads, into an array that lives in one iteration of it"
    own = {table[s].write.array for s in begun}
    for s in leaves(loop):
        if s not in begun and table[s].write.array in own:
            return f"{s} changes what is copied"
    for s in begun:
        for read in table[s].reads():
            if read.array in written:
                return f"{name} writes {read.array}, which {s} copies"
    return None


def staged_copies(scheduled: Scheduled, name: str) -> list[str]:
    """The copies that an iteration of a loop begins with: loops dealt to threads, into arrays of the iteration's own."""
    table, found = scheduled.nest.statement_table, list[str]()
    for child in children(scheduled.loop(name).body):
        inside = [table[s] for s in leaves(child)]
        if "thread" not in getattr(child, "kind", "") or not all(
            isinstance(s.value, Access) and not s.reduce and not s.routine and scheduled.nest.array(s.write.array).scope == f"local {name}"
            for s in inside
        ):
            break
        found += [s.name for s in inside]
    return found


def stage(scheduled: Scheduled, name: str, places: int = 2) -> Scheduled:
    """What iterations of a loop copy first is copied ahead, so that it comes while earlier ones compute: each copy has two places, or more,
    that iterations take turns in.

    for k:                                  a[0] = A(0)
        thread: a = A(k)                    for k:
        thread: .. a ..         -->             wait for a[k % 2];  begin a[(k + 1) % 2] = A(k + 1)
                                                thread: .. a[k % 2] ..
    """
    reason = can_stage(scheduled, name, places)
    if reason:
        raise ValueError(f"cannot stage what {name} copies: {reason}")
    return mark(scheduled, name, f"staged{places}")
