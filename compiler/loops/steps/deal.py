"""Marks of a GPU: which loops are dealt to blocks of threads, to threads, to the lanes of a warp; which arrays lie in shared memory or in
registers.

    block i: thread j: S(i, j)      iterations of i to the blocks that work on a problem, those of j to the threads of a block
    thread i: thread j: S(i, j)     the pairs (i, j) to all threads that work on a problem
    thread i: lane32 k: s[i] += x   32 threads have one i in common, add up every 32nd x each, and then their sums
"""

from __future__ import annotations

from dataclasses import replace

from ..nest import LoopOrder, leaves, loop_path, loops_of
from ..scheduled import Scheduled, once
from .contract import can_contract, contract
from .mark import can_parallel, can_vector, mark

#: Numbers of threads that may have an iteration in common: parts of a warp.
LANES = (2, 4, 8, 16, 32)
#: Elements of an array that registers may hold.
REGISTERS = 64


@once
def can_block(scheduled: Scheduled, name: str) -> str | None:
    """Why iterations of a loop cannot be dealt to blocks of threads, or None."""
    reason = can_parallel(scheduled, name)
    if reason is None:
        around = next((o for o in scheduled.outer(name) if o.dealt), None)
        return None if around is None else f"the loop {around.name} around it is dealt out already"
    return reason


def block(scheduled: Scheduled, name: str) -> Scheduled:
    """Iterations of a loop are dealt to the blocks of threads that work on a problem.

    for i: S(i)         -->     block i: S(i)
    """
    reason = can_block(scheduled, name)
    if reason:
        raise ValueError(f"cannot deal {name} to blocks: {reason}")
    return mark(scheduled, name, "block")


@once
def can_thread(scheduled: Scheduled, name: str) -> str | None:
    """Why iterations of a loop cannot be dealt to threads, or None."""
    reason = can_parallel(scheduled, name)
    if reason:
        return reason
    outer = scheduled.outer(name)
    if "lane" in scheduled.loop(name).kind:
        return f"{name} is dealt to lanes"
    for n, around in enumerate(outer):
        inside = outer[n + 1] if n + 1 < len(outer) else scheduled.loop(name)
        if "thread" in around.kind and (around.body != inside or "thread" not in (*inside.kind.split(), *_at(inside, name))):
            return f"there is more between {name} and the loop {around.name}, which is dealt to threads"
    return None


def _at(loop: LoopOrder, name: str) -> tuple[str, ...]:
    """What a loop will be."""
    return ("thread",) if loop.name == name else ()


def thread(scheduled: Scheduled, name: str) -> Scheduled:
    """Iterations of a loop are dealt to threads: of a block inside of a ``block`` loop, else of all blocks that work on a problem. Those of
    loops directly inside of each other are dealt out in one go, the innermost to neighbouring threads.

    for i: for j: S(i, j)       -->     thread i: thread j: S(i, j)
    """
    reason = can_thread(scheduled, name)
    if reason:
        raise ValueError(f"cannot deal {name} to threads: {reason}")
    return mark(scheduled, name, "thread")


@once
def can_lane(scheduled: Scheduled, name: str, lanes: int) -> str | None:
    """Why iterations of an innermost loop cannot be dealt to neighbouring threads, or None. Sums are re-associated, unless numerics are
    strict."""
    if lanes not in LANES:
        return f"threads that have an iteration in common are {', '.join(map(str, LANES[:-1]))} or {LANES[-1]}, not {lanes}"
    reason = can_vector(scheduled, name)
    if reason:
        return reason
    loop = scheduled.loop(name)
    if loop.dealt:
        return f"{name} is dealt to threads"
    around = next((o for o in reversed(scheduled.outer(name)) if "thread" in o.kind), None)
    table, path = scheduled.nest.statement_table, (*scheduled.outer(name), loop)
    owners = {o.name for o in (path if around is None else path[path.index(around) :])}
    for array in sorted(set().union(*(table[s].arrays() for s in leaves(loop)))):
        info = scheduled.nest.array(array)
        if around is not None and info.shape and info.scope.startswith("local") and info.scope.split()[1] in owners:
            return f"each thread has {array} for itself"
    if around is not None and any(o.lanes not in (1, lanes) for o in _lanes(around)):
        return f"another loop in {around.name} is dealt to more or fewer threads"
    return None


def _lanes(around: LoopOrder) -> list[LoopOrder]:
    """The loops inside of one that are dealt to lanes."""
    return [o for o in loops_of(around.body) if o.lanes > 1]


def lane(scheduled: Scheduled, name: str, lanes: int) -> Scheduled:
    """Iterations of an innermost loop are dealt to neighbouring threads, which have an iteration of the ``thread`` loop around in common; what
    the loop adds up they add up together.

    thread i: for k: s[i] += x[i, k]        -->     thread i: lane32 k: s[i] += x[i, k]
    """
    reason = can_lane(scheduled, name, lanes)
    if reason:
        raise ValueError(f"cannot deal {name} to lanes: {reason}")
    return mark(scheduled, name, f"lane{lanes}")


@once
def can_shared(scheduled: Scheduled, array: str) -> str | None:
    """Why an array cannot lie in the memory that the threads of a block share, or None."""
    info = scheduled.nest.array_table.get(array)
    if info is None:
        return f"no such array: {array}"
    if not info.temporary:
        return f"{array} is not a temporary array"
    if info.scope != "problem":
        return f"{array} is {info.scope} already"
    if any(s.constant is None for s in info.shape):
        return f"the size of {array} is known only at run time"
    return None


def shared(scheduled: Scheduled, array: str) -> Scheduled:
    """An array lies in shared memory where one block works on a problem; where several do it stays in scratch memory.

    x[n] in global memory       -->     x[n] in the memory of a block
    """
    reason = can_shared(scheduled, array)
    if reason:
        raise ValueError(f"cannot share {array}: {reason}")
    arrays = tuple(replace(a, scope="shared") if a.name == array else a for a in scheduled.nest.arrays)
    return replace(scheduled, nest=replace(scheduled.nest, arrays=arrays))


@once
def can_register(scheduled: Scheduled, array: str, name: str) -> str | None:
    """Why an array cannot live in registers of the thread that runs an iteration of a loop, or None."""
    reason = can_contract(scheduled, array, name)
    if reason:
        return reason
    if not any("thread" in o.kind for o in (*scheduled.outer(name), scheduled.loop(name))):
        return f"{name} is in no loop that is dealt to threads"
    made = contract(scheduled, array, name)
    count = 1
    for extent in made.nest.array(array).shape:
        if extent.constant is None:
            return f"the size of {array} in one iteration of {name} is known only at run time"
        count *= extent.constant
    if count > REGISTERS:
        return f"{array} has {count} elements in one iteration of {name}, and {REGISTERS} is what registers may hold"
    for s in made.nest.statements:
        written_out = {n for o in loop_path(made.nest.order, s.name) if "unroll" in o.kind for n in o.value(s.name).names()}
        for access in (s.write, *s.reads()):
            moving = access.names() if access.array == array else set()
            if moving - written_out:
                return f"an index of {array} in {s.name} is no number: write out the loop over {sorted(moving - written_out)[0]}"
    return None


def register(scheduled: Scheduled, array: str, name: str) -> Scheduled:
    """An array lives in the registers of the thread that runs an iteration of a loop: as ``contract``, where every index is a number once
    the loops around are written out.

    t[n];  thread i: t[i] = ..; .. t[i]     -->     thread i: t = ..; .. t
    """
    reason = can_register(scheduled, array, name)
    if reason:
        raise ValueError(f"cannot hold {array} in registers: {reason}")
    return contract(scheduled, array, name)

