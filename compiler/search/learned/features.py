"""What the model sees of a scheduled nest: its loop tree with numbers for every loop, statement and access, for the program and the machine.

Sizes, times and counts come as logarithms to base 2. What the analytic estimate knows of each part is among the numbers, so that the
model is a correction of it. Sizes known only at run time count as a nominal number.

::

    for i parallel            loop: trip, kind, block, working set, seconds it computes and moves, ...
      for j vector            loop
        S                     statement: operations, vectorised or not, sums, ...
                              accesses of S: strides of the loops around, lines, array, ...
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import log2
from typing import Any

import numpy as np

from ...graph.types import BYTES, Size, SizeFn
from ...loops.lazy import COSTS
from ...loops.nest import Access, Apply, ArrayInfo, Dim, Expr, Leaf, LoopOrder, Nest, Order, Statement, accesses, children
from ...loops.scheduled import Scheduled
from ...loops.storing import nominal
from ...target import Machine
from ..cost import Estimate, LoopCost, Profile, operations, profile
from ..space import LINE, Space, form, stride

#: Of the layout below: weights of another version are refused.
FEATURES = 1

_CACHES = ("l1", "l2", "l3")
#: Names of the numbers, by what they belong to. The word before the colon is the group that ablations leave out.
LOOP = (
    *("extent:trip", "extent:outer", "extent:instances", "extent:share", "extent:remainder", "extent:vectors"),
    *("tree:depth", "tree:statements", "tree:children", "tree:innermost", "tree:exit"),
    *("kind:serial", "kind:parallel", "kind:vector", "kind:unroll", "kind:nested", "kind:starts"),
    *("block:number", "block:inside", "block:size", "shape:triangular", "shape:skewed", "shape:reversed", "shape:sum"),
    *("cache:working", "cache:whole", *(f"cache:working_{c}" for c in _CACHES), *(f"cache:whole_{c}" for c in _CACHES)),
    *(
        "analytic:compute",
        "analytic:flops",
        *(f"analytic:missed_{c}" for c in _CACHES),
        *(f"analytic:moving_{c}" for c in _CACHES),
    ),
    *("analytic:barriers", "analytic:part", "analytic:rows", "analytic:kept"),
)
_OPS = ("add", "mul", "div", "special", "extreme", "select", "cast", "other")
_INNER = (1, 2, 3)
STATEMENT = (
    *(f"work:{op}" for op in _OPS),
    *("work:operations", "work:bytes", "work:lanes", "work:routine", "work:constants"),
    *("reduce:any", "reduce:add", "reduce:carried", "reduce:own"),
    *("extent:points", "extent:share", "extent:runs", "tree:depth", "tree:guards", "kind:vector", "kind:parallel"),
    *("stride:unit", "stride:still", "stride:apart", "stride:accesses"),
)
ACCESS = (
    *("work:write", "work:reads", "work:bytes"),
    *(
        "place:input",
        "place:output",
        "place:shared",
        "place:own",
        "place:register",
        "place:size",
        *(f"place:{c}" for c in _CACHES),
    ),
    *("stride:packed", "stride:offset"),
    *(f"stride:{what}_{n}" for n in _INNER for what in ("still", "unit", "bytes")),
    *(f"cache:lines_{n}" for n in _INNER),
    *(f"cache:reuse_{n}" for n in _INNER),
)
PROGRAM = (
    *("tree:loops", "tree:statements", "tree:roots", "kind:parallel", "kind:vector", "kind:unroll"),
    *("place:input", "place:output", "place:shared", "place:own", "place:registers"),
    *(
        "analytic:seconds",
        "analytic:compute",
        "analytic:moving",
        "analytic:waiting",
        "analytic:flops",
        *(f"analytic:bytes_{c}" for c in _CACHES),
    ),
    *("analytic:alone", "analytic:alone_compute", "analytic:alone_moving", "analytic:team"),
    *("machine:cores", "machine:vector", "machine:registers", *(f"machine:{c}" for c in _CACHES)),
)
TABLES: Mapping[str, tuple[str, ...]] = {"loop": LOOP, "statement": STATEMENT, "access": ACCESS, "program": PROGRAM}
#: Groups of numbers, by the word before the colon.
GROUPS = tuple(sorted({name.split(":")[0] for table in TABLES.values() for name in table}))

_CATEGORY = {
    **dict.fromkeys(("add", "sub", "neg", "abs"), "add"), **dict.fromkeys(("mul", "square"), "mul"), **dict.fromkeys(("div", "sqrt", "root"), "div"),
    **dict.fromkeys(("min", "max", "minimum", "maximum", "clamp", "relu", "sign"), "extreme"),
    **dict.fromkeys(("where", "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not"), "select"), "cast": "cast",
}  # fmt: skip
_SPECIAL = 8  # additions, from which on an op is a function


@dataclass(frozen=True)
class Tree:
    """A scheduled nest as numbers. ``numbers``: float32, a row for each loop, statement, access (and one for the program) with the
    columns of :data:`TABLES`. ``owner``: the statement of each access. Nodes are the statements, then the loops; ``below``: nodes in each
    loop, in order; ``roots``: those in none. ``seconds`` is the analytic estimate."""

    numbers: Mapping[str, np.ndarray[Any, Any]]
    owner: np.ndarray[Any, Any]
    below: tuple[tuple[int, ...], ...]
    roots: tuple[int, ...]
    seconds: float


def represent(scheduled: Scheduled, machine: Machine) -> Tree:
    """The tree of a program on a machine."""
    return _Writer(scheduled.nest, machine, profile(scheduled, machine)).tree()


def represent_nest(nest: Nest, machine: Machine) -> Tree:
    """The tree of a nest on its own, as it was read from text."""
    return represent(Scheduled(nest, ()), machine)


class _Writer:
    def __init__(self, nest: Nest, machine: Machine, found: Profile) -> None:
        self.nest, self.machine, self.found = nest, machine, found
        self.arrays = nest.array_table
        self.caches = (machine.l1, machine.l2, machine.l3)
        self.place = {s.name: n for n, s in enumerate(nest.statements)}
        self.loops: list[list[float]] = []
        self.below: list[tuple[int, ...]] = []
        self.statements: list[list[float]] = [[] for _ in nest.statements]
        self.accesses: list[list[float]] = []
        self.owner: list[int] = []
        self.kinds: list[str] = []

    def tree(self) -> Tree:
        """Everything."""
        roots = self._row(self.nest.order, (), 1.0)
        rows = {"loop": self.loops, "statement": self.statements, "access": self.accesses, "program": [self._program(len(roots))]}
        numbers = {k: np.array(v, np.float32).reshape(len(v), len(TABLES[k])) for k, v in rows.items()}
        seconds = max(self.found.estimate.seconds, 1e-12)
        return Tree(numbers, np.array(self.owner, np.int64), tuple(self.below), roots, seconds)

    def _row(self, order: Order, path: tuple[LoopOrder, ...], outer: float) -> tuple[int, ...]:
        return tuple(self._node(child, path, outer) for child in _flat(order))

    def _node(self, order: Leaf | LoopOrder, path: tuple[LoopOrder, ...], outer: float) -> int:
        if isinstance(order, Leaf):
            place = self.place[order.statement]
            self.statements[place] = self._statement(self.nest.statements[place], path, outer)
            return place
        cost = self.found.loops[order.name]
        inside = self._row(order.body, (*path, order), outer * cost.trip)
        self.loops.append(self._loop(order, cost, path, outer, len(inside)))
        self.below.append(inside)
        return len(self.statements) + len(self.loops) - 1

    # -- loops -------------------------------------------------------------------------------------------------------

    def _loop(self, loop: LoopOrder, cost: LoopCost, path: tuple[LoopOrder, ...], outer: float, inside: int) -> list[float]:
        self.kinds.append(loop.kind)
        names = [s for s, _ in loop.values]
        table = self.nest.statement_table
        lanes = self.machine.lanes(table[names[0]].value.dtype)
        shapes = [self._shape(table[s], v, path) for s, v in loop.values]
        blocks, insides, skewed, turned, triangular = (max(column) for column in zip(*shapes))
        kind = loop.kind.split()
        sums = all(table[s].reduce and not v.names() & table[s].write.names() for s, v in loop.values)
        working, whole = cost.working * LINE, cost.whole * LINE
        moved = [outer * m for m in cost.moving]
        total = max(self.found.estimate.seconds, 1e-12)
        remainder = (cost.trip / lanes) % 1.0
        parallel = any("parallel" in p.kind for p in path)
        return [
            *(
                lg(cost.trip),
                lg(outer),
                lg(outer * cost.trip),
                max(cost.spaces[s].share for s in names),
                remainder,
                lg(cost.trip / lanes),
            ),
            *(len(path), lg(len(names)), lg(inside), float(loop.innermost), float(loop.exit is not None)),
            *(float(k in kind) for k in ("serial", "parallel", "vector", "unroll")),
            *(float(parallel), lg(outer) if "parallel" in kind else 0.0),
            *(float(blocks > 0), float(insides > 0), lg(max(blocks, insides)), triangular, skewed, turned, float(sums)),
            *(lg(working), lg(whole), *(_ratio(working, c) for c in self.caches), *(_ratio(whole, c) for c in self.caches)),
            *(_time(outer * cost.compute), lg(outer * cost.flops), *(lg(outer * m) for m in cost.missed), *map(_time, moved)),
            *(lg(outer * cost.barriers), min(4.0, max(outer * cost.compute, *moved) / total), lg(cost.rows), float(cost.kept)),
        ]

    def _shape(self, s: Statement, value: Size, path: tuple[LoopOrder, ...]) -> tuple[float, float, float, float, float]:
        """Of a loop for a statement: the size of blocks it counts, that of the block it is in, whether it is skewed, turned round, and
        bounded by other dims."""
        dims = {d.name: d for d in s.dims}
        moved = value.names() & dims.keys()
        size = _divisor(value)
        around = [_divisor(p.value(s.name)) for p in path if p.value(s.name).names() & moved]
        bounds = frozenset[str]().union(*(dims[n].lower.names() | dims[n].upper.names() for n in moved))
        return (
            size,
            0.0 if size else max(around, default=0.0),
            float(len(moved) > 1),
            float(any(c < 0 for n, c in form(value)[0] if n in moved)),
            float(bool(bounds & dims.keys())),
        )

    # -- statements --------------------------------------------------------------------------------------------------

    def _statement(self, s: Statement, path: tuple[LoopOrder, ...], outer: float) -> list[float]:
        lanes = self.machine.lanes(s.value.dtype)
        costs = [self.found.loops[p.name] for p in path]
        moved = [_moved(c.spaces[s.name], p.value(s.name), s.dims) for p, c in zip(path, costs)]
        share = costs[-1].spaces[s.name].share if costs else 1.0
        refs = () if s.routine else tuple(dict.fromkeys((s.write, *s.reads())))
        inner = moved[-1] if moved else ""
        strides = [stride(a, self.arrays[a.array], inner) for a in refs]
        reads = list(accesses(s.value))
        for a in refs:
            self._access(s, a, reads.count(a), path, costs, moved)
        own = strides[0] if strides else 0.0
        carried = own == 0 and bool(s.reduce or s.write in reads)
        found = dict.fromkeys(_OPS, 0)
        constants = _count(s.value, found)
        return [
            *(lg(found[op]) for op in _OPS),
            *(lg(operations(s)), lg(BYTES[s.write.dtype]), lg(lanes), float(bool(s.routine)), lg(constants)),
            *(
                float(bool(s.reduce)),
                float(s.reduce == "add"),
                float(carried),
                float(any(a.array == s.write.array for a in reads)),
            ),
            *(lg(Space.of(s).points), share, lg(outer), len(path), lg(len(s.guards))),
            *(float(bool(path) and "vector" in path[-1].kind), float(any("parallel" in p.kind for p in path))),
            *(
                lg(sum(x in (1, -1) for x in strides)),
                lg(sum(x == 0 for x in strides)),
                lg(sum(x not in (-1, 0, 1) for x in strides)),
            ),
            lg(len(refs)),
        ]

    def _access(
        self, s: Statement, a: Access, reads: int, path: tuple[LoopOrder, ...], costs: list[LoopCost], moved: list[str]
    ) -> None:
        info = self.arrays[a.array]
        width, size = BYTES[info.dtype], _bytes(info)
        around: list[float] = []
        lines: list[float] = []
        reuse: list[float] = []
        key = self.found.keys[s.name].get(a)
        for n in _INNER:
            if n > len(path):
                around += [1.0, 0.0, 0.0]
                lines.append(0.0)
                reuse.append(0.0)
                continue
            step, cost = stride(a, info, moved[-n]), costs[-n]
            around += [float(step == 0), float(step in (1, -1)), lg(abs(step) * width)]
            count = cost.touched[key].count if key is not None and key in cost.touched else 0.0
            lines.append(lg(count * LINE))
            reuse.append(lg(cost.spaces[s.name].points / max(count, 1.0)))
        offset = any((a.index[axis] - s.write.index[axis]).constant for axis in range(min(len(a.index), len(s.write.index))))
        packed = any(isinstance(m[0], SizeFn) for i in a.index for m, _ in i.terms if m)
        self.owner.append(self.place[s.name])
        self.accesses.append([
            *(float(a == s.write), lg(reads), lg(width)),
            *_scope(info),
            *(lg(size), *(_ratio(size, c) for c in self.caches)),
            *(float(packed), float(offset)),
            *around,
            *lines,
            *reuse,
        ])  # fmt: skip

    # -- the program -------------------------------------------------------------------------------------------------

    def _program(self, roots: int) -> list[float]:
        bytes_in = [0.0] * 5
        for info in self.nest.arrays:
            bytes_in[_scope(info).index(1.0)] += _bytes(info)
        e, alone, m = self.found.estimate, self.found.alone, self.machine
        counts = [sum(k in kind for kind in self.kinds) for k in ("parallel", "vector", "unroll")]
        return [
            *map(lg, (len(self.loops), len(self.statements), roots, *counts)),
            *map(lg, bytes_in),
            *(_time(e.seconds), _time(e.compute), _time(e.moving), _time(e.waiting), lg(e.flops), *map(lg, e.bytes)),
            *(_time(alone.seconds), *_parts(alone), lg(self.found.team)),
            *map(lg, (m.cores, m.vector_bytes, m.registers, *self.caches)),
        ]


def lg(x: float) -> float:
    """The logarithm of ``1 + x`` to base 2."""
    return log2(1.0 + x)


def _time(seconds: float) -> float:
    """The logarithm of a time in nanoseconds."""
    return lg(1e9 * seconds)


def _parts(e: Estimate) -> tuple[float, float]:
    return _time(e.compute), _time(e.moving)


def _ratio(size: float, cache: float) -> float:
    """How many times a cache holds something, as a logarithm between -8 and 8."""
    return max(-8.0, min(8.0, log2(max(size, 1.0) / cache)))


def _bytes(info: ArrayInfo) -> float:
    size = float(BYTES[info.dtype])
    for extent in info.shape:
        size *= max(1, nominal(extent))
    return size


def _scope(info: ArrayInfo) -> tuple[float, float, float, float, float]:
    """Where an array lives: input, output, shared by threads, a thread's own, a register."""
    word = info.scope.split()[0]
    place = (
        ("input", "output").index(word)
        if word in ("input", "output")
        else 2
        if word in ("problem", "kept", "shared")
        else 3
        if info.shape
        else 4
    )
    return (float(place == 0), float(place == 1), float(place == 2), float(place == 3), float(place == 4))


def _divisor(value: Size) -> float:
    """The size of the blocks that a value counts; 0 if it counts none."""
    found = [m[0] for m, _ in value.terms if m and isinstance(m[0], SizeFn) and m[0].op == "//"]
    return float(max((nominal(f.args[1]) for f in found), default=0))


def _moved(space: Space, value: Size, dims: tuple[Dim, ...]) -> str:
    """The dim that a loop moves, also where it has one iteration only."""
    return space.moves(value) or next((d.name for d in reversed(dims) if d.name in value.names()), "")


def _count(value: Expr, found: dict[str, int]) -> int:
    """Count ops by category; the number of constants."""
    if not isinstance(value, Apply):
        return 0 if isinstance(value, Access) else 1
    category = _CATEGORY.get(value.op, "special" if COSTS.get(value.op, 1) >= _SPECIAL else "other")
    found[category] += 1
    return sum(_count(a, found) for a in value.args)


def _flat(order: Order) -> Iterator[Leaf | LoopOrder]:
    for child in children(order):
        if isinstance(child, (Leaf, LoopOrder)):
            yield child
        else:
            yield from _flat(child)
