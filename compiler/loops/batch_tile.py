"""A tile of problems as the innermost dimension: one nest for up to ``size`` problems side by side.

    r[i] += A[i, j] * x[j]        -->        for p in 0..size: r[i, p] += A[i, j] * x[j, p]

What differs between problems gets a trailing axis over the tile, so that a vector holds one element of several
problems and an operand that the problems share is loaded once for all of them. Batched operands are packed into
that layout when the tile starts, and results unpacked; the rest of the compiler sees a nest like any other.
A tile that is not full computes copies of its last problem, and never writes them.

    until ended[t]                -->        until all_ended[t];   all_ended[t+1] = and over p of ended[t+1, p]

A loop that data end goes on until its last problem is through; what the others have must stay as it is (:mod:`~..graph.masked`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, pairwise
from math import prod

from ..graph.types import BYTES, Size, size_fn
from .nest import (
    Access,
    Apply,
    ArrayInfo,
    Dim,
    Exit,
    Expr,
    Leaf,
    LoopOrder,
    Nest,
    Order,
    Statement,
    accesses,
    exits,
    leaves,
    map_expr,
    sequence,
)
from .nest import Sequence as SequenceOrder
from .storing import nominal
from .tree import Literal

#: A tile's own arrays may take this much memory; beyond, problems run one at a time.
STATE_BYTES = 16 << 20
#: The share of the work that must be contractions with a shared operand.
SHARE = 0.5


@dataclass(frozen=True)
class BatchTile:
    """The nest of a tile. ``lanes`` is the integer that holds the number of problems in it; ``strides`` those that hold the
    distance, in elements, between problems of each operand (inputs, then outputs; empty: the problems share it)."""

    nest: Nest
    size: int
    lanes: str
    strides: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Values of its integers in a full tile whose problems lie one behind the other."""
        lengths = (prod(max(1, nominal(extent)) for extent in a.shape) for a in _operands(self.nest))
        return {self.lanes: self.size, **{name: length for name, length in zip(self.strides, lengths, strict=True) if name}}


def can_tile_batch(nest: Nest, per_problem: Sequence[bool], own: Sequence[bool], *, stay: bool = False) -> str | None:
    """Why problems cannot share a tile, or None. ``per_problem`` tells of each input, ``own`` of each output, whether every
    problem has one; an output that is shared must be accumulated. With ``stay`` problems that have left a loop with ``until`` keep what
    they have in iterations that others go through."""
    wide = _wide(nest, per_problem, own)
    outputs = {a.name for a in nest.arrays if a.scope == "output"}
    for name, loop in sorted(exits(nest.order).items()):
        assert loop.exit is not None
        if {a.array for a in accesses(loop.exit.test)} & wide and not (stay and loop.exit.leaves and isinstance(loop.exit.test, Access)):
            return f"data tells which iterations of {name} run, for each problem"
    for s in nest.statements:
        touched = {a.array for a in s.reads()} & wide
        if outputs & {a.array for a in s.reads()}:
            return f"{s.name} reads an output"
        if s.routine and s.arrays() & wide:
            return f"{s.routine} takes whole rows of one problem"
        shared = s.write.array not in wide and (touched or s.write.array in outputs)
        if shared and s.reduce != "add":
            return f"{s.name} writes {s.write.array}, which the problems share"
    for a in _operands(nest):
        if a.name in wide and any(s.constant is None for s in a.shape[1:]):
            return f"an axis of {a.name} has a length known only at run time"
    return None


def pays(nest: Nest, per_problem: Sequence[bool], own: Sequence[bool], size: int) -> bool:
    """Whether most of the work is contractions of what differs between problems with what they share, and the state of a
    tile stays in a near cache."""
    wide = _wide(nest, per_problem, own)
    state = sum(_bytes(a) for a in nest.arrays if a.name in wide and a.temporary) * size
    total = shared = 0.0
    for s in nest.statements:
        touched = {a.array for a in s.reads()}
        if not (touched & wide):
            continue
        points = float(_points(s))
        total += points
        inner = {d.name for d in s.dims} - s.write.names()
        matrix = any(a.array not in wide and len(a.names()) > 1 and a.names() & inner for a in s.reads())
        shared += points if s.reduce and matrix else 0.0
    return state <= STATE_BYTES and shared > SHARE * total


def tile_batch(nest: Nest, per_problem: Sequence[bool], own: Sequence[bool], size: int, *, stay: bool = False) -> BatchTile:
    """The nest of a tile of ``size`` problems. Raises ValueError with the reason of :func:`can_tile_batch`."""
    reason = can_tile_batch(nest, per_problem, own, stay=stay)
    if reason:
        raise ValueError(f"cannot tile the batch: {reason}")
    return _Tiler(nest, _wide(nest, per_problem, own), size).tile()


def _operands(nest: Nest) -> list[ArrayInfo]:
    return [a for scope in ("input", "output") for a in nest.arrays if a.scope == scope]


def _wide(nest: Nest, per_problem: Sequence[bool], own: Sequence[bool]) -> frozenset[str]:
    """Arrays that differ between problems: what the caller says, and all that is computed from it."""
    flags = [*per_problem, *own]
    wide = {a.name for a, flag in zip(_operands(nest), flags, strict=True) if flag}
    shared = {a.name for a, flag in zip(_operands(nest), flags, strict=True) if not flag}
    while True:
        found = {s.write.array for s in nest.statements if s.write.array not in shared and {a.array for a in s.reads()} & wide}
        found |= {o.array for s in nest.statements for o in s.outputs if {i.array for i in s.inputs} & wide}
        if found <= wide:
            return frozenset(wide)
        wide |= found


def _points(s: Statement) -> int:
    """Instances of a statement, with run-time counts at a nominal value and the largest extent of dependent dims."""
    total, box = 1, dict[str, Size]()
    for d in s.dims:
        upper = d.upper.substitute({n: v - 1 for n, v in box.items()})
        box[d.name] = upper
        total *= max(1, nominal(upper))
    return total


def _bytes(a: ArrayInfo) -> int:
    total = BYTES[a.dtype]
    for s in a.shape:
        total *= max(1, nominal(s))
    return total


class _Tiler:
    def __init__(self, nest: Nest, wide: frozenset[str], size: int) -> None:
        self.nest = nest
        self.wide = wide
        self.size = Size.of(size)
        taken = {*nest.params, *(a.name for a in nest.arrays)}
        self.numbers = (f"w{n}" for n in count())
        self.lanes = _free("lanes", taken)
        self.strides = {a.name: _free(f"{a.name}_stride", taken) for a in _operands(nest) if a.name in wide}
        tests = [loop.exit.test for loop in exits(nest.order).values() if loop.exit is not None]
        self.flags = {t.array: _free(f"all_{t.array}", taken) for t in tests if isinstance(t, Access) and t.array in wide}
        self.packed = {a.name: _free(f"{a.name}_tile", taken) for a in _operands(nest) if a.name in wide and a.scope == "input"}

    def tile(self) -> BatchTile:
        """All of it."""
        used = {r.array for s in self.nest.statements for r in s.reads()}
        packs = [self._pack(a) for a in self.nest.arrays if a.name in self.packed and a.name in used]
        changed = dict(self._statement(s) for s in self.nest.statements)
        self.joins = {s.name: self._join(s) for s in self.nest.statements if s.write.array in self.flags}
        order = sequence([*(o for _, o in packs), self._order(self.nest.order, changed)])
        arrays = [*map(self._array, self.nest.arrays)]
        arrays += [
            ArrayInfo(self.packed[a.name], a.dtype, (*a.shape, self.size))
            for a in self.nest.arrays
            if a.name in self.packed and a.name in used
        ]
        arrays += [replace(a, name=self.flags[a.name]) for a in self.nest.arrays if a.name in self.flags]
        statements = (*(s for s, _ in packs), *(s for s, _ in changed.values()), *(s for made in self.joins.values() for s, _ in made))
        params = tuple(sorted({*self.nest.params, self.lanes, *self.strides.values()}))
        nest = Nest(f"{self.nest.name}_tile", params, tuple(arrays), statements, order)
        strides = tuple(self.strides.get(a.name, "") for a in _operands(self.nest))
        return BatchTile(nest, self.size.constant or 0, self.lanes, strides)

    def _array(self, a: ArrayInfo) -> ArrayInfo:
        if a.name in self.strides:
            return replace(a, shape=(Size.of(self.lanes), Size.of(self.strides[a.name])))
        return replace(a, shape=(*a.shape, self.size)) if a.name in self.wide else a

    def _flat(self, array: str, index: Sequence[Size]) -> Size:
        """The position of an element within its problem."""
        total = Size.of(0)
        for i, extent in zip(index, self.nest.array(array).shape, strict=True):
            total = total * extent + i
        return total

    def _pack(self, a: ArrayInfo) -> tuple[Statement, Order]:
        dims = [Dim(next(self.numbers), s) for s in a.shape]
        lane = Dim(next(self.numbers), self.size)
        index = tuple(Size.of(d.name) for d in dims)
        problem = size_fn("min", Size.of(lane.name), Size.of(self.lanes) - 1)
        value = Access(a.name, (problem, self._flat(a.name, index)), a.dtype)
        write = Access(self.packed[a.name], (*index, Size.of(lane.name)), a.dtype)
        statement = Statement(f"pack_{a.name}", (*dims, lane), write, value)
        return statement, _loops(statement, [*dims, lane], Leaf(statement.name))

    def _statement(self, s: Statement) -> tuple[str, tuple[Statement, Dim | None]]:
        """A statement, with its dimension over the tile if it has one."""
        output = self.nest.array(s.write.array).scope == "output"
        if not output and s.write.array not in self.wide:
            return s.name, (s, None)
        result = output or s.write.array not in self.wide  # written, or added to, by every problem there is
        lane = Dim(next(self.numbers), Size.of(self.lanes) if result else self.size)
        at = Size.of(lane.name)

        def change(e: Expr) -> Expr:
            if isinstance(e, Access) and e.array in self.wide:
                return Access(self.packed.get(e.array, e.array), (*e.index, at), e.dtype)
            return e

        write = s.write
        if write.array in self.strides:
            write = replace(write, index=(at, self._flat(write.array, write.index)))
        elif write.array in self.wide:
            write = replace(write, index=(*write.index, at))
        value = map_expr(s.value, change) if isinstance(s.value, (Access, Apply)) else s.value
        return s.name, (replace(s, dims=(*s.dims, lane), write=write, value=value), lane)

    def _order(self, order: Order, changed: Mapping[str, tuple[Statement, Dim | None]]) -> Order:
        if isinstance(order, Leaf):
            statement, lane = changed[order.statement]
            made = order if lane is None else _loops(statement, [lane], order)
            return sequence([made, *(o for _, o in self.joins.get(order.statement, ()))])
        if isinstance(order, SequenceOrder):
            return SequenceOrder(tuple(self._order(c, changed) for c in order.children))
        more = [(s.name, value) for name, value in order.values for s, _ in self.joins.get(name, ())]
        exit = order.exit
        if exit is not None and isinstance(exit.test, Access) and exit.test.array in self.flags:
            exit = Exit(replace(exit.test, array=self.flags[exit.test.array]), exit.leaves)
        return replace(order, values=(*order.values, *more), body=self._order(order.body, changed), exit=exit)

    def _join(self, s: Statement) -> list[tuple[Statement, Order]]:
        """What makes the flag of the tile from those of the problems that a statement has written."""
        write = Access(self.flags[s.write.array], s.write.index, "bool")
        first = replace(s, name=f"{s.name}_all", write=write, value=s.value if isinstance(s.value, Literal) else Literal(True, "bool"))
        if isinstance(s.value, Literal):
            return [(first, Leaf(first.name))]
        lane = Dim(next(self.numbers), self.size)
        value = Access(s.write.array, (*s.write.index, Size.of(lane.name)), "bool")
        every = replace(s, name=f"{s.name}_and", dims=(*s.dims, lane), write=write, value=value, reduce="and")
        return [(first, Leaf(first.name)), (every, _loops(every, [lane], Leaf(every.name)))]


def _loops(statement: Statement, dims: Sequence[Dim], inner: Order) -> Order:
    for d in reversed(dims):
        inner = LoopOrder(d.name, ((statement.name, Size.of(d.name)),), inner)
    return inner


def _free(name: str, taken: set[str]) -> str:
    found = next(n for n in (name + "_" * k for k in count()) if n not in taken)
    taken.add(found)
    return found


def reductions_inward(nest: Nest) -> Iterator[tuple[str, str]]:
    """Pairs (outer, inner) of perfectly nested loops to be interchanged, in order, so that the loops over what an
    accumulation of a tile sums stand inside those over its results, next to the loop over the tile."""
    for s in nest.statements:
        if not s.reduce or not s.dims or not s.dims[-1].name.startswith("w"):
            continue
        kept = s.write.names()
        loops = _chain(nest.order, s.name)[:-1]
        for _ in loops:
            for n, (a, b) in enumerate(pairwise(loops)):
                if a not in kept and b in kept:
                    yield a, b
                    loops[n], loops[n + 1] = b, a
                    break


def _chain(order: Order, statement: str) -> list[str]:
    """Names of the loops that hold one statement alone."""
    if isinstance(order, Leaf):
        return []
    if isinstance(order, SequenceOrder):
        return next((_chain(c, statement) for c in order.children if statement in leaves(c)), [])
    below = _chain(order.body, statement)
    return [order.name, *below] if list(leaves(order)) == [statement] else below
