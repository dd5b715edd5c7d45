"""Instances of a statement in a plane: two of its dims vary, the others are held.

What depends on what follows from the elements that instances touch, in program order: an instance that reads or overwrites what another one has
written, or overwrites what another one has read, with nothing between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...compiler.graph.types import Size
from ...compiler.loops.nest import Guard, LoopOrder, Nest, Statement, loop_path

Point = tuple[int, int]


@dataclass(frozen=True)
class Arrow:
    """A dependence between two points."""

    source: Point
    sink: Point
    array: str
    kind: str


@dataclass(frozen=True)
class Plane:
    """Two dims of a statement that vary, the outer one first; ``held`` are values of the others and of the parameters."""

    statement: Statement
    outer: str
    inner: str
    held: Mapping[str, int]

    def env(self, point: Point) -> dict[str, int]:
        """The values of all names at a point."""
        return {**self.held, self.outer: point[0], self.inner: point[1]}

    def points(self, outer: range, inner: range) -> Iterator[Point]:
        """The instances of the statement in a window, in program order."""
        dims = {d.name: d for d in self.statement.dims}
        for x in outer:
            for y in inner:
                env = self.env((x, y))
                inside = all(dims[n].lower.evaluate(env) <= env[n] < dims[n].upper.evaluate(env) for n in dims)
                if inside and all(_holds(g, env) for g in self.statement.guards):
                    yield x, y

    def extent(self, name: str) -> range:
        """The values of one of the two dims, where the other one is in the middle of its own."""
        dims = {d.name: d for d in self.statement.dims}
        env = dict(self.held)
        for d in self.statement.dims:
            low, high = d.lower.evaluate(env), d.upper.evaluate(env)
            if d.name == name:
                return range(low, max(low, high))
            env.setdefault(d.name, (low + high) // 2)
        raise KeyError(f"{self.statement.name} has no dim {name}; it has {', '.join(dims)}")

    def arrows(self, outer: range, inner: range) -> list[Arrow]:
        """The dependences between the points of a window."""
        touched: dict[tuple[str, tuple[int, ...]], _Cell] = {}
        found: dict[Arrow, None] = {}
        s = self.statement
        reads = [*s.reads(), *([s.write] if s.reduce else [])]
        for point in self.points(outer, inner):
            env = self.env(point)
            for access in reads:
                cell = touched.setdefault((access.array, tuple(i.evaluate(env) for i in access.index)), _Cell())
                if cell.written is not None and cell.written != point:
                    found[Arrow(cell.written, point, access.array, "flow")] = None
                cell.read.append(point)
            cell = touched.setdefault((s.write.array, tuple(i.evaluate(env) for i in s.write.index)), _Cell())
            before = [p for p in cell.read if p != point]
            for p in () if s.reduce else before:
                found[Arrow(p, point, s.write.array, "anti")] = None
            if not before and cell.written is not None and cell.written != point:
                found[Arrow(cell.written, point, s.write.array, "output")] = None
            cell.written, cell.read = point, []
        return list(found)


class _Cell:
    """The last instance that wrote an element, and those that have read it since."""

    def __init__(self) -> None:
        self.written: Point | None = None
        self.read: list[Point] = []


def _holds(guard: Guard, env: Mapping[str, int]) -> bool:
    value = guard.size.evaluate(env)
    return value >= 0 if guard.op == ">=" else value == 0 if guard.op == "==" else value != 0


def plane(statement: Statement, outer: str, inner: str, sizes: Mapping[str, int]) -> Plane:
    """A plane of a statement whose other dims are held in the middle of their ranges."""
    env = dict(sizes)
    for d in statement.dims:
        low, high = d.lower.evaluate(env), d.upper.evaluate(env)
        env[d.name] = (low + high - 1) // 2 if high > low else low
    held = {n: v for n, v in env.items() if n not in (outer, inner)}
    return Plane(statement, outer, inner, held)


def loops_in(nest: Nest, statement: str, dims: Sequence[str]) -> list[tuple[LoopOrder, Size]]:
    """The loops around a statement whose values change in a plane, with these values."""
    found = [(loop, loop.value(statement)) for loop in loop_path(nest.order, statement)]
    return [(loop, value) for loop, value in found if set(dims) & value.names()]
