"""An analytic estimate of how long a scheduled nest takes on one problem.

Per statement: operations (weights in :data:`..loops.lazy.COSTS`), vectors or not, strides of the innermost loop. Per loop: cache
lines it touches, against what each cache holds (a loop whose single iterations fit touches every line once; else every
iteration starts anew). Parallel loops divide by the team and cost a barrier each time. The figures of a core are typical ones:
candidates are compared with each other, nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..graph.types import BYTES, Size
from ..loops.lazy import COSTS
from ..loops.nest import Access, Apply, ArrayInfo, Expr, Leaf, LoopOrder, Nest, Order, Statement, children, loops_of
from ..loops.nest import Sequence as SequenceOrder
from ..loops.scheduled import Scheduled, once
from ..loops.storing import nominal
from ..target import Machine
from .space import LINE, Lines, Space, lines, stride, together

#: Seconds of a cycle, of a barrier, and bytes per second that reach a core from l2, l3 and memory.
CYCLE, BARRIER = 0.3e-9, 0.5e-6
BANDWIDTH = (90e9, 45e9, 20e9)
#: Memory serves two cores 1.6 times as fast as one.
MEMORY_SHARE = 0.8
#: Bytes from which on rows are too far apart to be fetched ahead, and how much longer data takes that is read from each a few lines at a time.
APART, _JUMP = 1024, 2.5
#: Part of a cache that a working set can count on.
USABLE = 0.8
#: Cycles to start a loop, of an addition that waits for the one before, of a vector load or store, of an element loaded alone.
_START, _LATENCY, _MOVE, _ALONE = 5.0, 4.0, 0.6, 1.0


#: Cache lines by array and index: how many, and along every axis.
Touched = Mapping[tuple[str, tuple[Size, ...]], Lines]


@dataclass(frozen=True)
class Estimate:
    """``seconds`` in all; ``compute``, ``moving`` and ``waiting`` are its parts, which overlap; ``flops`` are weighted operations, and
    ``bytes`` what comes into l1, l2 and l3."""

    seconds: float
    compute: float
    moving: float
    waiting: float
    flops: float
    bytes: tuple[float, float, float]


@dataclass(frozen=True)
class _Part:
    """A part of the order, per execution: seconds of a core, lines missed per cache, seconds that moving them takes, barriers,
    and the lines it touches by array and access."""

    compute: float = 0.0
    flops: float = 0.0
    missed: tuple[float, float, float] = (0.0, 0.0, 0.0)
    moving: tuple[float, float, float] = (0.0, 0.0, 0.0)
    barriers: float = 0.0
    touched: Touched | None = None


@dataclass(frozen=True)
class LoopCost:
    """A loop, per execution: ``trip`` iterations; cache lines of one iteration (``working``) and of all (``whole``); weighted operations and
    seconds of ``compute``; lines ``missed`` in l1, l2 and l3, and seconds of ``moving`` them; barriers; lines by array and index; rows
    that the writer takes at once, and whether it keeps sums in registers. ``spaces`` of the statements below are those outside of it."""

    trip: float
    working: float
    whole: float
    flops: float
    compute: float
    missed: tuple[float, float, float]
    moving: tuple[float, float, float]
    barriers: float
    touched: Touched
    rows: int
    kept: bool
    spaces: Mapping[str, Space]


@dataclass(frozen=True)
class Profile:
    """An estimate and what it is made of: the ``team`` that it is for, what one thread takes, the loops by name, and the keys of
    ``touched`` by statement and access."""

    estimate: Estimate
    team: int
    alone: Estimate
    loops: Mapping[str, LoopCost]
    keys: Mapping[str, Mapping[Access, tuple[str, tuple[Size, ...]]]]


@once
def profile(scheduled: Scheduled, machine: Machine) -> Profile:
    """How long one problem takes, by one thread or by a team, whichever is shorter (small problems run on one thread)."""
    nest = replace(scheduled.nest, order=_vectors_inside(scheduled.nest.order))
    model = _Model(nest, machine, 1)
    best = alone = _total(model.whole())
    if machine.cores > 1 and any("parallel" in loop.kind for loop in loops_of(nest.order)):
        team = _Model(nest, machine, machine.cores)
        together = _total(team.whole())
        if together.seconds < alone.seconds:
            best, model = together, team
    return Profile(best, model.team, alone, model.seen, model.keys)


def estimate(scheduled: Scheduled, machine: Machine) -> Estimate:
    """The estimate of :func:`profile`."""
    return profile(scheduled, machine).estimate


def team_saves(nest: Nest, machine: Machine) -> float:
    """Seconds that a team of all cores saves on one problem, compared with one thread, at nominal counts; negative where it loses time.
    What starting a team takes is not in it."""
    nest = replace(nest, order=_vectors_inside(nest.order))
    if machine.cores < 2 or not any("parallel" in loop.kind for loop in loops_of(nest.order)):
        return 0.0
    alone, together = (_total(_Model(nest, machine, team).whole()).seconds for team in (1, machine.cores))
    return alone - together


def by_part(scheduled: Scheduled, machine: Machine, team: int) -> list[float]:
    """Seconds of each part of the program, the children of its order, for a team of so many threads."""
    nest = replace(scheduled.nest, order=_vectors_inside(scheduled.nest.order))
    return [_seconds(part) for part in _Model(nest, machine, team).whole()]


def _vectors_inside(order: Order) -> Order:
    """The order with loops that are written out in a vector loop around it: they share what it loads and stores, as a contraction does."""
    if isinstance(order, SequenceOrder):
        return SequenceOrder(tuple(_vectors_inside(c) for c in order.children))
    if not isinstance(order, LoopOrder):
        return order
    inner = order.body
    if "vector" in order.kind and isinstance(inner, LoopOrder) and "unroll" in inner.kind:
        return replace(inner, body=_vectors_inside(replace(order, body=inner.body)), kind="serial")
    return replace(order, body=_vectors_inside(inner))


def _total(parts: list[_Part]) -> Estimate:
    """Parts in a row; within one, moving data and computing overlap."""
    seconds = sum(map(_seconds, parts))
    bytes_in = tuple(LINE * sum(p.missed[c] for p in parts) for c in range(3))
    moving = sum(sum(p.moving) for p in parts)
    waiting = sum(p.barriers for p in parts) * BARRIER
    assert len(bytes_in) == 3
    return Estimate(seconds, sum(p.compute for p in parts), moving, waiting, sum(p.flops for p in parts), bytes_in)


def _seconds(part: _Part) -> float:
    times = sorted((part.compute, *part.moving), reverse=True)
    return times[0] + 0.25 * sum(times[1:]) + part.barriers * BARRIER


@dataclass
class _Model:
    nest: Nest
    machine: Machine
    team: int

    def __post_init__(self) -> None:
        self.caches = tuple(USABLE * c / LINE for c in (self.machine.l1, self.machine.l2, self.machine.l3))
        self.arrays = self.nest.array_table
        self.refs = {s.name: _refs(s, self.arrays) for s in self.nest.statements}
        self.keys = {s.name: {a: _key(s, a) for a, _ in self.refs[s.name]} for s in self.nest.statements}
        self.seen: dict[str, LoopCost] = {}

    def whole(self) -> list[_Part]:
        """The parts of the program."""
        spaces = {s.name: Space.of(s) for s in self.nest.statements}
        return self._row([self.visit(c, spaces, ()) for c in children(self.nest.order)])

    def visit(self, order: Order, spaces: Mapping[str, Space], path: tuple[LoopOrder, ...]) -> _Part:
        """One execution of a part."""
        if isinstance(order, Leaf):
            return self._leaf(order.statement, spaces[order.statement])
        if isinstance(order, SequenceOrder):
            return self._join(self._row([self.visit(c, spaces, path) for c in order.children]))
        return self._loop(order, spaces, path)

    # -- sequences ---------------------------------------------------------------------------------------------------

    def _row(self, parts: list[_Part]) -> list[_Part]:
        """Parts one after the other: beside parallel loops, what is not parallel is one thread's, and the others wait."""
        if self.team > 1 and any(p.barriers for p in parts) and len(parts) > 1:
            return [p if p.barriers else replace(p, barriers=1.0) for p in parts]
        return parts

    def _join(self, parts: list[_Part]) -> _Part:
        touched: dict[tuple[str, tuple[Size, ...]], Lines] = {}
        for p in parts:
            for key, count in (p.touched or {}).items():
                touched[key] = max(touched[key], count, key=lambda x: x.count) if key in touched else count
        size = self._union(touched)
        joined = _Part(
            sum(p.compute for p in parts),
            sum(p.flops for p in parts),
            _sums([p.missed for p in parts]),
            _sums([p.moving for p in parts]),
            sum(p.barriers for p in parts),
            touched,
        )
        return self._once(joined, size, size)

    def _once(self, part: _Part, working: float, whole: float) -> _Part:
        """Where a cache holds the working set, lines come into it once."""
        missed, moving = list(part.missed), list(part.moving)
        for c, capacity in enumerate(self.caches):
            if working <= capacity and missed[c] > whole:
                moving[c] *= whole / missed[c]
                missed[c] = whole
        return replace(part, missed=_three(missed), moving=_three(moving))

    def _union(self, touched: Touched) -> float:
        """Lines of several accesses together: those that differ by constants overlap, others of one array as far as it is small."""
        total: dict[str, float] = {}
        for (array, _), count in together(touched).items():
            total[array] = total.get(array, 0.0) + count
        return sum(min(count, self._lines_of(a)) for a, count in total.items())

    def _lines_of(self, array: str) -> float:
        info, count = self.arrays[array], 1
        for extent in info.shape:
            count *= max(1, nominal(extent))
        return max(1.0, count * BYTES[info.dtype] / LINE)

    # -- loops -------------------------------------------------------------------------------------------------------

    def _loop(self, loop: LoopOrder, spaces: Mapping[str, Space], path: tuple[LoopOrder, ...]) -> _Part:
        inside = dict(spaces)
        trips: dict[str, float] = {}
        for s, value in loop.values:
            trips[s], inside[s] = spaces[s].enter(value)
        trip = max(trips.values())
        for s, count in trips.items():
            inside[s] = replace(inside[s], share=inside[s].share * count / trip)
        if _innermost(loop.body):
            body = self._body(loop, spaces, inside, trips, (*path, loop))
        else:
            body = self.visit(loop.body, inside, (*path, loop))
        touched = {
            self.keys[s][a]: lines(a, self.arrays[a.array], spaces[s], width) for s, _ in loop.values for a, width in self.refs[s]
        }
        working, whole = self._union(body.touched or {}), self._union(touched)
        rows, share = self._rows(loop, inside), max(spaces[s].share for s in trips)
        all_of = _Part(
            body.compute * trip + (0.0 if self._kept(loop, path) else _START * CYCLE * share),
            body.flops * trip,
            _three([max(m * trip / rows, min(m * trip, whole)) for m in body.missed]),
            _three([v * trip * max(1 / rows, min(1.0, whole / (m * trip or 1))) for v, m in zip(body.moving, body.missed)]),
            body.barriers * trip,
            touched,
        )
        if trip > 64 and self._jumps(loop, spaces):
            all_of = replace(all_of, moving=_three([_JUMP * v for v in all_of.moving]))
        made = self._once(all_of, working, whole)
        self.seen[loop.name] = LoopCost(
            trip, working, whole, made.flops, made.compute, made.missed, made.moving, made.barriers, touched, rows,
            self._kept(loop, path), spaces,
        )  # fmt: skip
        if "parallel" not in loop.kind or self.team == 1:
            return made
        threads = max(1.0, min(self.team, trip))
        memory = max(1.0, threads * MEMORY_SHARE)
        moving = (made.moving[0] / threads, made.moving[1] / threads, made.moving[2] / memory)
        return replace(made, compute=made.compute / threads, moving=moving, barriers=share)

    def _rows(self, loop: LoopOrder, inside: Mapping[str, Space]) -> int:
        """How many iterations of a loop the writer takes at once through a contraction inside, so that they share what they load."""
        for child in children(loop.body):
            inner: Order = child
            chain: list[LoopOrder] = []
            while isinstance(inner, LoopOrder):
                chain.append(inner)
                inner = inner.body
            if not chain or not isinstance(inner, Leaf) or "vector" not in chain[-1].kind:
                continue
            s = self.nest.statement_table[inner.statement]
            mine = loop.value(s.name).names()
            bounds = [d for d in s.dims for p in chain if d.name in p.value(s.name).names()]
            if s.reduce != "add" or self._sums(loop, s) or any(mine & (_varying(d.lower) | _varying(d.upper)) for d in bounds):
                continue
            moved = next((d.name for d in reversed(s.dims) if d.name in chain[-1].value(s.name).names()), "")
            if any(stride(a, self.arrays[a.array], moved) not in (0, 1) for a, _ in self.refs[s.name]):
                continue
            made = {self.nest.statement_table[name].write.array for name, _ in loop.values} - {s.write.array}
            if any(a.array in made and not mine & a.names() for a, _ in self.refs[s.name]):
                continue  # what one iteration makes the next one overwrites: they cannot be taken at once
            sums = [p for p in chain if self._sums(p, s)]
            if sums and (sums[-1] is chain[-1] or sums == chain[:-1]):
                trip, space = 1.0, inside[s.name]
                for p in chain:
                    trip, space = space.enter(p.value(s.name))
                narrow = trip <= 2 * self.machine.lanes(s.value.dtype)
                return 4 if sums[-1] is chain[-1] else self.machine.accumulators // 2 if narrow else 6
        return 1

    def _jumps(self, loop: LoopOrder, spaces: Mapping[str, Space]) -> bool:
        """Whether a sum that is kept in registers reads a few lines of a page in each iteration of a loop, then goes to another page."""
        inner = loop.body
        if not isinstance(inner, LoopOrder) or "vector" not in inner.kind or not isinstance(inner.body, Leaf):
            return False
        s = self.nest.statement_table[inner.body.statement]
        if s.reduce != "add" or not self._sums(loop, s):
            return False
        moved = spaces[s.name].moves(loop.value(s.name))
        return any(abs(stride(a, self.arrays[a.array], moved)) * width >= APART for a, width in self.refs[s.name])

    def _kept(self, loop: LoopOrder, path: tuple[LoopOrder, ...]) -> bool:
        """Whether a vector loop adds up into elements that the loop around it leaves in registers."""
        if not path or path[-1].body is not loop or not isinstance(loop.body, Leaf) or "vector" not in loop.kind:
            return False
        s = self.nest.statement_table[loop.body.statement]
        return s.reduce == "add" and self._sums(path[-1], s)

    def _sums(self, loop: LoopOrder, s: Statement) -> bool:
        """Whether all iterations of a loop go into the same elements."""
        scope = self.arrays[s.write.array].scope.split()
        return not loop.value(s.name).names() & s.write.names() and scope != ["local", loop.name]

    def _body(self, loop: LoopOrder, outside: Mapping[str, Space], inside: Mapping[str, Space], trips: Mapping[str, float],
              path: tuple[LoopOrder, ...]) -> _Part:  # fmt: skip
        """One iteration of an innermost loop, on average."""
        parts = []
        for s, value in loop.values:
            part = self._leaf(s, inside[s])
            cycles = self._cycles(self.nest.statement_table[s], outside[s].moves(value), path, trips[s])
            parts.append(replace(part, compute=cycles * CYCLE * inside[s].share))
        return self._join(parts)

    def _leaf(self, name: str, space: Space) -> _Part:
        """A statement on its own, once."""
        statement = self.nest.statement_table[name]
        touched = {self.keys[name][a]: Lines.one(len(a.index)) for a, _ in self.refs[name] if self.arrays[a.array].shape}
        work = operations(statement)
        seconds = CYCLE * (work + 0.5 * len(self.refs[name]))
        if statement.routine:
            blocks = (*statement.outputs, *statement.inputs)
            touched = {(w.array, w.index): Lines(self._lines_of(w.array), (1.0,) * len(w.index)) for w in blocks}
            seconds = 20 * CYCLE * sum(t.count for t in touched.values())
        missed = sum(t.count for t in touched.values())
        missed += 1.0 if self.arrays[statement.write.array].shape and not statement.routine else 0.0
        missed *= space.share
        moving = _three([missed * LINE / b for b in BANDWIDTH])
        return _Part(seconds * space.share, work * space.share, (missed, missed, missed), moving, 0.0, touched)

    def _cycles(self, s: Statement, moved: str, path: tuple[LoopOrder, ...], trip: float) -> float:
        """Cycles of an instance of a statement in an innermost loop, the start of the loop included."""
        loop = path[-1]
        lanes = self.machine.lanes(s.value.dtype)
        strides = [stride(a, self.arrays[a.array], moved) for a, _ in self.refs[s.name]]
        own = stride(s.write, self.arrays[s.write.array], moved)
        work = operations(s)
        if "vector" not in loop.kind:
            carried = own == 0 and (s.reduce or any(a.array == s.write.array for a, _ in self.refs[s.name][1:]))
            reads_own = any(a.array == s.write.array and a.index != s.write.index for a, _ in self.refs[s.name][1:])
            chain = _LATENCY if carried else _LATENCY * work if reads_own else 0.0
            return max(0.5 * work + 0.5 * sum(1 for x in strides if x), chain) + _START / trip
        start = (_START + lanes / 4) / trip
        if s.reduce == "add" and moved and all(x in (0, 1) for x in (*strides, own)):
            kept = self._kept(loop, path[:-1])
            if own == 0 or kept:  # sums stay in registers
                return max(work, _MOVE * sum(1 for x in strides if x)) / lanes + start / (64 if kept else 1)
        unit = sum(1 for x in strides if x in (1, -1)) + (1 if s.reduce and own else 0)
        apart = sum(1 for x in strides if x not in (0, 1, -1)) + (1 if own not in (0, 1, -1) else 0)
        return max(work, _MOVE * unit) / lanes + _ALONE * apart + start


def operations(s: Statement) -> float:
    """Additions of an instance of a statement; a multiplication that is added at once costs nothing of its own."""

    def count(value: Expr) -> float:
        return COSTS.get(value.op, 1) + sum(map(count, value.args)) if isinstance(value, Apply) else 0.0

    fused = s.reduce == "add" and isinstance(s.value, Apply) and s.value.op == "mul"
    return count(s.value) + (1.0 if s.reduce else 0.0) - (1.0 if fused else 0.0)


def _varying(bound: Size) -> frozenset[str]:
    """Names that a bound follows step by step, not block by block."""
    atoms = [monomial[0] for monomial, _ in bound.terms if monomial]
    inside = [a if isinstance(a, str) else "" if a.op == "//" else a for a in atoms]
    return frozenset().union(*(a.names() if not isinstance(a, str) else {a} - {""} for a in inside))


def _refs(s: Statement, arrays: Mapping[str, ArrayInfo]) -> list[tuple[Access, int]]:
    """The write, then the reads, with bytes of an element."""
    if s.routine:
        return []
    return [(a, BYTES[arrays[a.array].dtype]) for a in dict.fromkeys((s.write, *s.reads()))]


def _key(s: Statement, access: Access) -> tuple[str, tuple[Size, ...]]:
    """An array and an index over the places of dims: in what statements with dims of their own share, these walk together."""
    places = {d.name: Size.of(f"d{n}") for n, d in enumerate(s.dims)}
    return access.array, tuple(i.substitute(places) for i in access.index)


def _innermost(body: Order) -> bool:
    return isinstance(body, Leaf) or (isinstance(body, SequenceOrder) and all(isinstance(c, Leaf) for c in body.children))


def _three(values: list[float]) -> tuple[float, float, float]:
    return values[0], values[1], values[2]


def _sums(values: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    return _three([sum(v[c] for v in values) for c in range(3)])
