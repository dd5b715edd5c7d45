"""How many iterations loops have and how much of an array they touch, by boxes instead of by counting.

Extents are averages: in a triangle the inner loop has half of the outer one's iterations. Sizes known only at run time count
as a nominal number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from math import ceil, prod
from typing import Any

import numpy as np

from ..graph.types import Size, SizeFn
from ..loops.nest import Access, ArrayInfo, Dim, Guard, Statement
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
    share: float = 1.0  # of the iterations of the loops entered that have an instance

    @staticmethod
    def of(statement: Statement) -> Space:
        """All instances."""
        space = _instances(statement.dims, statement.guards)
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
        span = sum(abs(c) * (self.extents[n] - 1) for n, c in free)
        for names, loose in self.fixed:
            ratio = _ratio(terms, names)
            span = min(span, ratio * loose) if ratio else span
        span += 1 - min(slack, 1)
        if len(free) == 1 and abs(free[0][1]) < 1:  # blocks of one dim
            span = ceil(span - 1e-9)
        trip = max(1.0, min(span, prod(self.extents[n] for n, _ in free), self.points))
        extents, fixed = dict(self.extents), (*self.fixed, (terms, slack))
        for _ in range(2 if len(fixed) > 1 else 1):
            for names, loose in fixed:
                _narrow(extents, names, loose)
        return trip, Space(extents, self.points / trip, fixed, self.share)

    def moves(self, value: Size) -> str:
        """The dim that a loop moves."""
        free = [n for n, _ in form(value)[0] if self.extents.get(n, 1) > 1]
        return free[-1] if free else ""


@lru_cache(maxsize=1 << 12)
def _instances(dims: tuple[Dim, ...], guards: tuple[Guard, ...]) -> Space:
    """The points of a domain: counted by sampling where it is no box. What two of its conditions say of one form is kept."""
    names = {d.name for d in dims}
    if not guards and not any((d.lower.names() | d.upper.names()) & names for d in dims):
        sizes = {d.name: max(1.0, float(nominal(d.upper) - nominal(d.lower))) for d in dims}
        return Space(sizes, prod(sizes.values()))
    drawn: dict[str, Any] = {}
    weight, extents = np.ones(_SAMPLES), {}
    for n, d in enumerate(dims):
        lower, upper = _at(d.lower, drawn), _at(d.upper, drawn)
        count = np.maximum(0.0, upper - lower) * np.ones(_SAMPLES)
        extents[d.name] = max(1.0, float(count.mean()))
        weight = weight * count
        drawn[d.name] = lower + np.floor(np.modf(np.arange(1, _SAMPLES + 1) * _GOLDEN[n % len(_GOLDEN)])[0] * count)
    for guard in guards:
        if guard.op == ">=":
            weight = weight * (_at(guard.size, drawn) >= 0)
    return Space(extents, max(1.0, float(weight.mean())), _bands(dims, guards))


#: Samples of a domain, and irrational steps that spread them: one for each dim.
_SAMPLES = 2048
_GOLDEN = tuple(p**0.5 for p in (2, 3, 5, 7, 11, 13, 17, 19))


def _bands(dims: tuple[Dim, ...], guards: tuple[Guard, ...]) -> tuple[Form, ...]:
    """Forms over several dims that conditions bound from both sides, with the width between."""
    conditions = [c for d in dims for c in (*_parts(d.upper, "min", -1, d.name), *_parts(d.lower, "max", 1, d.name))]
    conditions += [g.size for g in guards if g.op == ">="]
    least: dict[tuple[tuple[str, float], ...], float] = {}
    for size in conditions:  # size >= 0
        terms, slack = form(size)
        names = {d.name for d in dims}
        if terms and {n for n, _ in terms} <= names:
            bound = slack + _constant(size)
            key = tuple(sorted(terms))
            least[key] = min(least.get(key, bound), bound)
    found = []
    for key, bound in least.items():
        contrary = tuple((n, -c) for n, c in key)
        if len(key) > 1 and contrary in least and key[0][1] > 0:
            found.append((key, max(0.0, bound + least[contrary])))
    return tuple(found)


def _parts(bound: Size, op: str, sign: int, name: str) -> list[Size]:
    """Conditions ``>= 0`` that a bound of a dim stands for."""
    atom = bound.terms[0][0][0] if len(bound.terms) == 1 and bound.terms[0][1] == 1 and bound.terms[0][0] else ""
    sizes = atom.args if isinstance(atom, SizeFn) and atom.op == op else (bound,)
    return [Size.of(name) - s if sign > 0 else s - 1 - Size.of(name) for s in sizes]


def _constant(size: Size) -> float:
    return float(sum(c for monomial, c in size.terms if not monomial))


def _ratio(terms: tuple[tuple[str, float], ...], names: tuple[tuple[str, float], ...]) -> float:
    """How many times one linear form is another; 0 if it is none."""
    if len(terms) != len(names):
        return 0.0
    first, second = dict(terms), dict(names)
    if first.keys() != second.keys():
        return 0.0
    ratios = {round(first[n] / second[n], 9) for n in first}
    return abs(ratios.pop()) if len(ratios) == 1 else 0.0


def _at(size: Size, values: Mapping[str, Any]) -> Any:
    """A size where names have values (arrays of samples); other names are nominal."""
    total: Any = 0.0
    for monomial, c in size.terms:
        product: Any = float(c)
        for atom in monomial:
            if isinstance(atom, str):
                product = product * (values[atom] if atom in values else nominal(Size.of(atom)))
                continue
            args = [_at(a, values) for a in atom.args]
            if atom.op in ("min", "max"):
                extreme = np.minimum if atom.op == "min" else np.maximum
                product = product * reduce(extreme, args)
            else:
                product = product * (np.floor_divide if atom.op == "//" else np.mod)(args[0], np.maximum(1, args[1]))
        total = total + product
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
