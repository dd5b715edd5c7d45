"""Marks of a GPU: which loops are dealt to blocks of threads, to threads, to the lanes of a warp; which arrays lie in shared memory.

    block i: thread j: S(i, j)      iterations of i to the blocks that work on a problem, those of j to the threads of a block
    thread i: thread j: S(i, j)     the pairs (i, j) to all threads that work on a problem
    thread i by 16: S(i)            iteration i to the thread whose number is i % 16, whatever the loop begins with
    thread i: lane32 k: s[i] += x   32 threads have one i in common, add up every 32nd x each, and then their sums
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import prod

from ..nest import LoopOrder, leaves, loops_of
from ..scheduled import Scheduled, once
from .mark import can_parallel, can_vector, mark

#: Numbers of threads that may have an iteration in common: parts of a warp.
LANES = (2, 4, 8, 16, 32)
#: Threads of a block at most.
THREADS = 1024


@once
def can_block(scheduled: Scheduled, name: str) -> str | None:
    """Why iterations of a loop cannot be dealt to blocks of threads, or None."""
    reason = can_parallel(scheduled, name)
    if reason is None:
        outer = scheduled.outer(name)
        around = next((o for o in outer if o.dealt), None)
        first = next((n for n, o in enumerate(outer) if o.dealt), len(outer))
        if all(o.kind == "block" for o in outer[first:]) and all(a.body == b for a, b in pairwise((*outer[first:], scheduled.loop(name)))):
            return None  # all of them are dealt out in one go
        return f"the loop {around.name} around it is dealt out already" if around is not None else None
    return reason


def block(scheduled: Scheduled, name: str) -> Scheduled:
    """Iterations of a loop are dealt to the blocks of threads that work on a problem, those of loops directly inside of each other in one go.

    for i: S(i)         -->     block i: S(i)
    """
    reason = can_block(scheduled, name)
    if reason:
        raise ValueError(f"cannot deal {name} to blocks: {reason}")
    return mark(scheduled, name, "block")


@once
def can_thread(scheduled: Scheduled, name: str, count: int = 0) -> str | None:
    """Why iterations of a loop cannot be dealt to threads, or None."""
    reason = can_parallel(scheduled, name)
    if reason:
        return reason
    outer = scheduled.outer(name)
    if count < 0 or count > THREADS:
        return f"a block has 1 to {THREADS} threads, not {count}"
    beside = [o for o in (*outer[-1:], scheduled.loop(name).body) if isinstance(o, LoopOrder) and "thread" in o.kind]
    if any(bool(o.numbered) != bool(count) for o in beside):
        return f"{beside[0].name} beside it is {'' if beside[0].numbered else 'not '}dealt out by number"
    if count * prod(o.numbered or 1 for o in thread_chain(scheduled, name) if o.name != name) > THREADS:
        return f"a block has {THREADS} threads at most"
    if "lane" in scheduled.loop(name).kind:
        return f"{name} is dealt to lanes"
    for n, around in enumerate(outer):
        inside = outer[n + 1] if n + 1 < len(outer) else scheduled.loop(name)
        if "thread" in around.kind and (around.body != inside or "thread" not in (*inside.kind.split(), *_at(inside, name))):
            return f"there is more between {name} and the loop {around.name}, which is dealt to threads"
    return None


def thread_chain(scheduled: Scheduled, name: str) -> list[LoopOrder]:
    """The loops that are dealt to threads together with one: those directly around it and inside of it."""
    chain = [scheduled.loop(name)]
    for around in reversed(scheduled.outer(name)):
        if "thread" not in around.kind:
            break
        chain.insert(0, around)
    while isinstance(inner := chain[-1].body, LoopOrder) and "thread" in inner.kind:
        chain.append(inner)
    return chain


def _at(loop: LoopOrder, name: str) -> tuple[str, ...]:
    """What a loop will be."""
    return ("thread",) if loop.name == name else ()


def thread(scheduled: Scheduled, name: str, count: int = 0) -> Scheduled:
    """Iterations of a loop are dealt to threads: of a block inside of a ``block`` loop, else of all blocks that work on a problem. Those of
    loops directly inside of each other are dealt out in one go, the innermost to neighbouring threads.

    for i: for j: S(i, j)       -->     thread i: thread j: S(i, j)

    With a number, ``thread i 16``, iteration ``i`` goes to the thread whose number along this loop is ``i % 16``: the same one in every such
    loop, which may then hold elements in its registers (``register``).
    """
    reason = can_thread(scheduled, name, count)
    if reason:
        raise ValueError(f"cannot deal {name} to threads: {reason}")
    made = mark(scheduled, name, "thread")
    return mark(made, name, f"by{count}") if count else made


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
