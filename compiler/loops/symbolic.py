"""A nest with names for its large literals: what is solved over it has small numbers only, and holds for all sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..graph.types import Atom, Monomial, Size, SizeFn, size_fn
from .nest import LoopOrder, Nest, Order, Statement, map_accesses
from .nest import Sequence as SequenceOrder

#: Literals from here on are sizes; those that differ by no more than this are one size and a bit.
LEAST = 16


@dataclass(frozen=True)
class Symbolic:
    """``nest`` has the names of ``values`` in place of literals."""

    nest: Nest
    values: dict[str, int]

    @staticmethod
    def of(nest: Nest) -> Symbolic:
        """Names for the constants of domains, indices and loops: ``i < 2499`` becomes ``i < us_n2500 - 1``."""
        found: set[int] = set()

        def note(size: Size) -> Size:
            found.update(abs(c) for monomial, c in size.terms if not monomial)
            return size

        _each(nest, note)
        names: dict[int, tuple[str, int]] = {}
        values: dict[str, int] = {}
        last = 0
        for literal in sorted((c for c in found if c >= LEAST), reverse=True):
            last = last if last and last - literal < LEAST else literal
            values[f"us_n{last}"] = last
            names[literal] = (f"us_n{last}", literal - last)
        made = _each(nest, lambda size: _named(size, names))
        return Symbolic(replace(made, params=(*nest.params, *values)), values)

    def literal(self, size: Size) -> Size:
        """A size with the literals back in place."""
        return size.substitute(self.values)


def _named(size: Size, names: dict[int, tuple[str, int]]) -> Size:
    total = Size.of(0)
    for monomial, c in size.terms:
        if not monomial and abs(c) in names:
            name, rest = names[abs(c)]
            total = total + (Size.of(name) + rest) * (1 if c > 0 else -1)
        else:
            total = total + _product(monomial, names) * c
    return total


def _product(monomial: Monomial, names: dict[int, tuple[str, int]]) -> Size:
    product = Size.of(1)
    for atom in monomial:
        product = product * _atom(atom, names)
    return product


def _atom(atom: Atom, names: dict[int, tuple[str, int]]) -> Size:
    if isinstance(atom, SizeFn) and atom.op in ("min", "max"):
        return size_fn(atom.op, *(_named(a, names) for a in atom.args))
    return Size((((atom,), 1),))  # what is divided stays as it is


def _each(nest: Nest, change: Callable[[Size], Size]) -> Nest:
    """The nest with its sizes replaced, those of arrays and routines excepted."""

    def statement(s: Statement) -> Statement:
        dims = tuple(replace(d, lower=change(d.lower), upper=change(d.upper)) for d in s.dims)
        guards = tuple(replace(g, size=change(g.size)) for g in s.guards)
        return replace(map_accesses(s, lambda a: replace(a, index=tuple(map(change, a.index)))), dims=dims, guards=guards)

    def order(o: Order) -> Order:
        if isinstance(o, SequenceOrder):
            return SequenceOrder(tuple(map(order, o.children)))
        if isinstance(o, LoopOrder):
            return replace(o, values=tuple((s, change(v)) for s, v in o.values), body=order(o.body))
        return o

    return replace(nest, statements=tuple(map(statement, nest.statements)), order=order(nest.order))
