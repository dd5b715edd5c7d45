"""Arrays that live in registers.

    thread i: t[i] = ..; .. t[i]                            t of one iteration: a variable of the thread
    for k: thread i by 16: t[i] += x[k, i]                  t[i] stays in a register of the thread that has i, in every run of the loop
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from ...graph.types import Size
from ..nest import LoopOrder, loop_path, map_accesses
from ..scheduled import HELD, Scheduled, once
from .contract import Site, can_contract, contract, division, sites

#: Elements of an array that registers of a thread may hold.
REGISTERS = 128


@once
def can_register(scheduled: Scheduled, array: str, name: str) -> str | None:
    """Why an array cannot live in registers of the thread that runs an iteration of a loop, or of those that run what is dealt to threads by
    number inside of it; or None."""
    reason = can_contract(scheduled, array, name)
    if reason:
        return reason
    if not any("thread" in o.kind for o in (*scheduled.outer(name), scheduled.loop(name))):
        found = _parts(scheduled, array, name)
        return found if isinstance(found, str) else None
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

    If the loop is in none that is dealt to threads, those inside of it must be dealt out by number, so that an element is one thread's:

    t[n];  for b: { thread i by 16: t[i] = 0;               the thread with number i % 16 has t[i] in a register
                    for k: thread i by 16: t[i] += .. }
    """
    reason = can_register(scheduled, array, name)
    if reason:
        raise ValueError(f"cannot hold {array} in registers: {reason}")
    if any("thread" in o.kind for o in (*scheduled.outer(name), scheduled.loop(name))):
        return contract(scheduled, array, name)
    parts = _parts(scheduled, array, name)
    assert not isinstance(parts, str)
    found = sites(scheduled, array)
    table = {(s, index): parts.index(scheduled, s, index) for s, index, _ in found}
    nest = scheduled.nest
    statements = tuple(
        map_accesses(s, lambda a, n=s.name: replace(a, index=table[n, a.index]) if a.array == array else a) for s in nest.statements  # type: ignore[misc]
    )
    info = replace(nest.array(array), shape=tuple(map(Size.of, parts.shape)), scope=f"local {name}{HELD}")
    nest = replace(nest, statements=statements, arrays=tuple(info if a.name == array else a for a in nest.arrays))
    private = frozenset((a, owner) for a, owner in scheduled.private if a != array) | {(array, name)}
    dropped = {(array, tuple((s, index[axis.axis] // Size.of(axis.whole)) for s, index, _ in found)) for axis in parts.axes if axis.whole}
    return replace(scheduled, nest=nest, private=private, dropped=scheduled.dropped | dropped)


@dataclass(frozen=True)
class _Axis:
    """How an axis of an array is dealt to threads: ``level`` of the loops that are dealt out by number counts ``block`` elements (-1: none does);
    in one iteration of the loop around only elements of one block of ``whole`` are there (0: all are). A thread has ``own`` of them."""

    axis: int
    level: int
    block: int
    whole: int
    own: int


@dataclass(frozen=True)
class _Parts:
    """``counts`` of the loops that are dealt out by number, and what becomes of the axes."""

    counts: tuple[int, ...]
    axes: tuple[_Axis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array: numbers of threads first, then what each has."""
        return (*self.counts, *(a.own for a in self.axes))

    def index(self, scheduled: Scheduled, statement: str, index: tuple[Size, ...]) -> tuple[Size, ...]:
        """Where an element is."""
        chain = _chain(scheduled, statement)
        numbers = [o.value(statement) % Size.of(n) for o, n in zip(chain, self.counts, strict=True)]
        return (*numbers, *(_own(index[a.axis], a) for a in self.axes))


def _own(index: Size, axis: _Axis) -> Size:
    if axis.own == 1:
        return Size.of(0)
    if axis.level < 0:
        return index % Size.of(axis.whole) if axis.whole else index
    return index % Size.of(axis.block)


def _chain(scheduled: Scheduled, statement: str) -> list[LoopOrder]:
    """The loops around a statement that are dealt to threads by number."""
    return [o for o in loop_path(scheduled.nest.order, statement) if o.numbered]


def _parts(scheduled: Scheduled, array: str, name: str) -> _Parts | str:
    """How threads share the elements of an array that lives in one iteration of a loop, or why they do not."""
    found, table = sites(scheduled, array), scheduled.nest.statement_table
    if any(table[s].routine for s, _, _ in found):
        return f"a routine takes {array}"
    around = (*scheduled.outer(name), scheduled.loop(name))
    chains = {s: _chain(scheduled, s) for s, _, _ in found}
    counts = {tuple(o.numbered for o in chain) for chain in chains.values()}
    if counts == {()} or any(len(c) == 0 for c in counts):
        return f"{name} is in no loop that is dealt to threads, and not all that touches {array} is in loops dealt out by number (`thread i 16`)"
    if len(counts) > 1:
        return f"what touches {array} is not dealt to the same numbers of threads"
    (numbers,) = counts
    axes, levels = [], set(range(len(numbers)))
    for axis in range(len(scheduled.nest.array(array).shape)):
        one = _axis(scheduled, array, axis, numbers, found, around)
        if isinstance(one, str):
            return one
        levels.discard(one.level)
        axes.append(one)
    if levels:
        return f"elements of {array} do not tell which thread has them: no axis follows {chains[found[0][0]][min(levels)].name}"
    lanes = {max(o.lanes for o in loop_path(scheduled.nest.order, s)) for s, _, _ in found}
    if len(lanes) > 1:
        return f"not all that touches {array} is in tiles for tensor cores"
    if prod(a.own for a in axes) > REGISTERS * max(lanes):
        return f"a thread would have {prod(a.own for a in axes)} elements of {array}, and {REGISTERS} is what registers may hold"
    return _Parts(numbers, tuple(axes))


def _axis(
    scheduled: Scheduled, array: str, axis: int, numbers: tuple[int, ...], found: list[Site], around: tuple[LoopOrder, ...]
) -> _Axis | str:
    extent = scheduled.nest.array(array).shape[axis].constant
    for level, count in enumerate(numbers):
        blocks = {_per(index[axis], _chain(scheduled, s)[level].value(s)) for s, index, _ in found}
        if len(blocks) != 1 or 0 in blocks:
            continue
        (block,) = blocks
        whole = block * count
        told = _told(scheduled, axis, whole, found, around)
        if not told and (extent is None or extent > whole):
            return f"a thread has elements of {array} along axis {axis} in several turns: {name_of(around)} goes over more than {whole} of them"
        reason = _written_out(scheduled, array, axis, found, level)
        return reason or _Axis(axis, level, block, whole if told else 0, block)
    for o in reversed(around):  # what one iteration of a loop around has of the axis
        sizes = {_per(index[axis], o.value(s)) for s, index, _ in found}
        if len(sizes) == 1 and 0 not in sizes:
            (whole,) = sizes
            return _written_out(scheduled, array, axis, found, -1) or _Axis(axis, -1, 0, whole, whole)
    if extent is None:
        return f"the size of {array} along axis {axis} is known only at run time"
    return _written_out(scheduled, array, axis, found, -1) or _Axis(axis, -1, 0, 0, extent)


def name_of(path: tuple[LoopOrder, ...]) -> str:
    """The innermost loop of a path."""
    return path[-1].name


def _per(index: Size, value: Size) -> int:
    """``m`` where a loop's value is ``index // m``; 0 if there is none."""
    if value == index:
        return 1
    divided = division(value)
    return divided[1] if divided is not None and divided[0] == index else 0


def _told(scheduled: Scheduled, axis: int, whole: int, found: list[Site], around: tuple[LoopOrder, ...]) -> bool:
    """Whether one iteration of the loops around has one block of so many elements of an axis."""
    return any(all(_per(index[axis], o.value(s)) == whole for s, index, _ in found) for o in around)


def _written_out(scheduled: Scheduled, array: str, axis: int, found: list[Site], level: int) -> str | None:
    """Why an index is no number for a thread, or None: the loops that move it inside of those that are dealt out must be written out."""
    for s, index, _ in found:
        path = loop_path(scheduled.nest.order, s)
        chain = _chain(scheduled, s)
        names = index[axis].names()
        for o in path[path.index(chain[0]) :]:
            if o in chain or not o.value(s).names() & names:
                continue
            if "unroll" not in o.kind and o.kind != "tensor":
                return f"an index of {array} in {s} is no number: write out the loop {o.name}"
    return None
