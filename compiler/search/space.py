"""How many iterations loops have and how much of an array they touch, by boxes instead of by counting.

Extents are averages: in a triangle the inner loop has half of the outer one's iterations. Sizes known only at run time count
as a nominal number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, prod

from ..graph.types import Size
from ..loops.nest import Access, ArrayInfo, Statement
from ..loops.storing import nominal

LINE = 64

#: Coefficients of a value over names, and by how much the value may stray from that (what divisions drop).
Form = tuple[tuple[tuple[str, float], ...], float]


@lru_cache(maxsize=1 << 14)
def form(size: Size) -> Form:
    """A size as a linear form; quotients count as fractions, remainders and products only as slack."""
    coefficients: dict[str, float] = {}
    slack = 0.0
    for monomial, c in size.terms:
        if not monomial:
            continue
        atom = monomial[0]
        if isinstance(atom, str):
            coefficients[atom] = coefficients.get(atom, 0) + c
            continue
        divisor = max(1, nominal(atom.args[1])) if atom.op in ("//", "%") else 1
        if atom.op == "%":
            slack += abs(c) * (divisor - 1)
            continue
        inner, loose = form(atom.args[0])
        for name, k in inner:
            coefficients[name] = coefficients.get(name, 0) + c * k / divisor
        slack += abs(c) * (loose + divisor - 1) / divisor
    return tuple((n, c) for n, c in coefficients.items() if c), slack


@dataclass(frozen=True)
class Space:
    """The instances of a statement that are left once some loops around it stand at an iteration."""

    extents: dict[str, float]
    points: float
    fixed: tuple[Form, ...] = ()

    @staticmethod
    def of(statement: Statement) -> Space:
        """All instances."""
        middle: dict[str, float] = {}
        extents: dict[str, float] = {}
        for d in statement.dims:
            lower, upper = _at(d.lower, middle), _at(d.upper, middle)
            extents[d.name] = max(1.0, upper - lower)
            middle[d.name] = (lower + max(lower, upper - 1)) / 2
        space = Space(extents, prod(extents.values()))
        for guard in statement.guards:
            if guard.op == "==":
                space = space.enter(guard.size)[1]
        return space

    def enter(self, value: Size) -> tuple[float, Space]:
        """The number of iterations of a loop, and what is left in one of them."""
        terms, slack = form(value)
        free = [(n, c) for n, c in terms if self.extents.get(n, 1) > 1]
        if not free:
            return 1.0, self
        span = sum(abs(c) * (self.extents[n] - 1) for n, c in free) + 1
        if len(free) == 1 and abs(free[0][1]) < 1:  # blocks of one dim
            span = ceil(self.extents[free[0][0]] * abs(free[0][1]))
        trip = max(1.0, min(span, prod(self.extents[n] for n, _ in free), self.points))
        extents, fixed = dict(self.extents), (*self.fixed, (terms, slack))
        for _ in range(2 if len(fixed) > 1 else 1):
            for names, loose in fixed:
                _narrow(extents, names, loose)
        return trip, Space(extents, self.points / trip, fixed)

    def moves(self, value: Size) -> str:
        """The dim that a loop moves."""
        free = [n for n, _ in form(value)[0] if self.extents.get(n, 1) > 1]
        return free[-1] if free else ""


def _at(size: Size, middle: dict[str, float]) -> float:
    total = 0.0
    for monomial, c in size.terms:
        product = float(c)
        for atom in monomial:
            if isinstance(atom, str):
                product *= middle[atom] if atom in middle else nominal(Size.of(atom))
                continue
            args = [_at(a, middle) for a in atom.args]
            if atom.op in ("min", "max"):
                product *= min(args) if atom.op == "min" else max(args)
            else:
                product *= args[0] // max(1, args[1]) if atom.op == "//" else args[0] % max(1, args[1])
        total += product
    return total


def _narrow(extents: dict[str, float], names: tuple[tuple[str, float], ...], loose: float) -> None:
    """What a known value leaves of the ranges of its names."""
    old = {n: extents.get(n, 1.0) for n, _ in names}
    whole = sum(abs(c) * (old[n] - 1) for n, c in names) + loose
    for n, c in names:
        if n in extents:
            extents[n] = max(1.0, min(old[n], (whole - abs(c) * (old[n] - 1)) / abs(c) + 1))


def stride(access: Access, info: ArrayInfo, name: str) -> float:
    """By how many elements an access moves when a dim grows by one, and stays in its block where there are blocks."""
    step, distance = 1, 0.0
    for index, extent in zip(reversed(access.index), reversed(info.shape)):
        distance += step * _growth(index, name)
        step *= max(1, nominal(extent))
    return distance


@lru_cache(maxsize=1 << 14)
def _growth(index: Size, name: str) -> float:
    """By how much an index grows with a name: a quotient stays, a remainder grows as what is divided."""
    total = 0.0
    for monomial, c in index.terms:
        atom = monomial[0] if monomial else ""
        if isinstance(atom, str):
            total += c if atom == name else 0.0
        elif atom.op == "%":
            total += c * _growth(atom.args[0], name)
        elif atom.op != "//":
            total += c * max((_growth(a, name) for a in atom.args), key=abs)
    return total


@dataclass(frozen=True)
class Lines:
    """Cache lines that an access touches: how many, and the extent along every axis (the last one in lines)."""

    count: float
    sides: tuple[float, ...]

    @staticmethod
    def one(rank: int) -> Lines:
        """Those of one element."""
        return Lines(1.0, (1.0,) * rank)


def lines(access: Access, info: ArrayInfo, space: Space, width: int) -> Lines:
    """What an access touches in the instances of a space."""
    if not info.shape:
        return Lines(0.0, ())
    sides = []
    for axis, (index, extent) in enumerate(zip(access.index, info.shape)):
        terms, slack = form(index)
        values = prod(space.extents.get(n, 1.0) for n in index.names())
        count = slack + sum(abs(c) * (space.extents.get(n, 1.0) - 1) for n, c in terms) + 1
        if len(terms) == 1 and abs(terms[0][1]) < 1:  # numbers of blocks
            count = ceil(space.extents.get(terms[0][0], 1.0) * abs(terms[0][1]))
        count = min(count, values, max(1, nominal(extent)))
        if axis == len(info.shape) - 1:
            count = min(values, max(1.0, (count - 1) * width / LINE + 1))
        sides.append(count)
    return Lines(max(1.0, min(prod(sides), space.points)), tuple(sides))


def together(touched: Mapping[tuple[str, tuple[Size, ...]], Lines]) -> dict[tuple[str, tuple[Form, ...]], float]:
    """Lines by array and linear part of the index: of accesses that differ by constants, those of the box around them."""
    groups: dict[tuple[str, tuple[Form, ...]], list[tuple[tuple[Size, ...], Lines]]] = {}
    for (array, index), found in touched.items():
        groups.setdefault((array, tuple(form(i) for i in index)), []).append((index, found))
    return {key: _box(members) for key, members in groups.items()}


def _box(members: Sequence[tuple[tuple[Size, ...], Lines]]) -> float:
    largest = max((found for _, found in members), key=lambda x: x.count)
    grown, first = 1.0, members[0][0]
    for axis, side in enumerate(largest.sides[:-1]):  # along the last axis neighbours share lines
        apart = [(index[axis] - first[axis]).constant or 0 for index, _ in members]
        grown *= (side + max(apart) - min(apart)) / side
    return min(largest.count * grown, sum(found.count for _, found in members))
