"""What is known about sizes and loop indices, and small proofs from it.

Every size is at least 1; ``where`` and the loops and branches around a statement say more. A proof is a
search with a budget, so "not provable" may also mean "not found".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ..compiler.graph.types import Atom, Monomial, Size, SizeFn

_BUDGET = 400


@dataclass(frozen=True)
class Facts:
    """``nonneg``: polynomials that are at least 0. ``equal``: names replaced by what they equal.
    ``zero``: polynomials that are 0. ``bounds``: loop indices, innermost last, with inclusive bounds."""

    nonneg: tuple[Size, ...] = ()
    equal: tuple[tuple[str, Size], ...] = ()
    zero: tuple[Size, ...] = ()
    bounds: tuple[tuple[str, Size, Size], ...] = ()
    _memo: dict[Size, bool] = field(default_factory=dict, compare=False, repr=False)

    @property
    def indices(self) -> frozenset[str]:
        """Names of the loop indices in scope."""
        return frozenset(name for name, _, _ in self.bounds)

    def canonical(self, size: Size) -> Size:
        """The size as ``where`` lets it be written: with ``m == n`` one of the names, with ``2 * n == 3 * m`` one of the two."""
        for name, value in self.equal:
            size = size.substitute({name: value})
        for zero in self.zero:
            monomial, c = zero.terms[0]
            factor = dict(size.terms).get(monomial, 0)
            if factor and factor % c == 0:
                size = size - zero * (factor // c)
        return size

    def with_nonneg(self, *sizes: Size) -> Facts:
        """The facts and that these sizes are at least 0."""
        fresh = tuple(c for c in map(self.canonical, sizes) if c.constant is None and c not in self.nonneg)
        return replace(self, nonneg=self.nonneg + fresh, _memo={}) if fresh else self

    def with_equal(self, left: Size, right: Size) -> Facts:
        """The facts and ``left == right``."""
        difference = self.canonical(left) - self.canonical(right)
        for monomial, c in difference.terms:
            name = monomial[0] if len(monomial) == 1 else None
            if not isinstance(name, str) or abs(c) != 1:
                continue
            rest = Size.of(name) - difference * c  # c * name + r = 0, so name = -c * r
            if name in rest.names():
                continue
            rule = {name: rest}
            equal = (*tuple((n, v.substitute(rule)) for n, v in self.equal), (name, rest))
            nonneg = tuple(q for q in (*(p.substitute(rule) for p in self.nonneg), rest - 1) if q.constant is None)
            bounds = tuple((n, low.substitute(rule), high.substitute(rule)) for n, low, high in self.bounds)
            zero = tuple(z for z in (p.substitute(rule) for p in self.zero) if z.terms and z.terms[0][0])
            return replace(self, equal=equal, nonneg=nonneg, zero=zero, bounds=bounds, _memo={})
        if not difference.terms or not difference.terms[0][0]:
            return self
        return replace(self, zero=(*self.zero, difference), _memo={})

    def with_condition(self, left: Size, op: str, right: Size) -> Facts:
        """The facts and one comparison (``!=`` tells nothing)."""
        match op:
            case "<":
                return self.with_nonneg(right - left - 1)
            case "<=":
                return self.with_nonneg(right - left)
            case ">":
                return self.with_nonneg(left - right - 1)
            case ">=":
                return self.with_nonneg(left - right)
            case "==":
                return self.with_nonneg(left - right, right - left)
        return self

    def with_index(self, name: str, low: Size, high: Size) -> Facts:
        """The facts inside a loop whose index runs within ``low..high``, both included."""
        low, high = self.canonical(low), self.canonical(high)
        return replace(self, bounds=(*self.bounds, (name, low, high)), _memo={}).with_nonneg(high - low)

    def same(self, left: Size, right: Size) -> bool:
        """Are the two sizes equal by form or by an equality of ``where``?"""
        return not self.canonical(left - right).terms

    def is_nonneg(self, size: Size) -> bool:
        """Is the size provably at least 0?"""
        size = self.canonical(size)
        known = self._memo.get(size)
        if known is None:
            known = self._memo[size] = _Proof(self).holds(size, 3)
        return known

    def at_most(self, left: Size, right: Size) -> bool:
        """Is ``left <= right`` provable?"""
        return self.is_nonneg(right - left)

    def less(self, left: Size, right: Size) -> bool:
        """Is ``left < right`` provable?"""
        return self.is_nonneg(right - left - 1)

    def holds(self, left: Size, op: str, right: Size) -> bool:
        """Is the comparison provable?"""
        match op:
            case "<":
                return self.less(left, right)
            case "<=":
                return self.at_most(left, right)
            case ">":
                return self.less(right, left)
            case ">=":
                return self.at_most(right, left)
            case "==":
                return self.same(left, right) or (self.at_most(left, right) and self.at_most(right, left))
        return self.less(left, right) or self.less(right, left)


def min_size(facts: Facts, left: Size, right: Size) -> Size:
    """The smaller of two sizes, without ``min`` where it is provable."""
    if facts.at_most(left, right):
        return left
    if facts.at_most(right, left):
        return right
    from_fn = SizeFn("min", tuple(sorted((left, right))))
    return Size((((from_fn,), 1),))


def max_size(facts: Facts, left: Size, right: Size) -> Size:
    """The larger of two sizes, without ``max`` where it is provable."""
    if facts.at_most(left, right):
        return right
    if facts.at_most(right, left):
        return left
    return Size((((SizeFn("max", tuple(sorted((left, right)))),), 1),))


class _Proof:
    """One search. ``holds(p, depth)``: is ``p >= 0``; ``depth`` facts may still be subtracted."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.steps = _BUDGET
        self.seen: dict[tuple[Size, int], bool] = {}

    def holds(self, p: Size, depth: int) -> bool:
        if p.constant is not None:
            return p.constant >= 0
        key = (p, depth)
        if key not in self.seen:
            self.steps -= 1
            self.seen[key] = False  # while it is being proved it is no fact
            self.seen[key] = self.steps >= 0 and len(p.terms) <= 40 and self._search(p, depth)
        return self.seen[key]

    def _search(self, p: Size, depth: int) -> bool:
        atom = _choice(p)
        if atom is not None:
            return self._split(p, atom, depth)
        if self._by_signs(p):
            return True
        if depth and any(self.holds(p - fact, depth - 1) for fact in self.facts.nonneg if _helps(p, fact)):
            return True
        return any(self.holds(q, depth) for q in self._eliminated(p))

    def _split(self, p: Size, atom: SizeFn, depth: int) -> bool:
        """``min`` or ``max`` is one of its arguments; every case must hold."""
        for chosen in atom.args:
            more = [(a - chosen if atom.op == "min" else chosen - a) for a in atom.args if a != chosen]
            inner = _Proof(self.facts.with_nonneg(*more))
            inner.steps = self.steps // 2
            if not inner.holds(_replace_atom(p, atom, chosen), depth):
                return False
        return True

    def _lower_bound(self, name: str) -> int | None:
        """A literal that a name is at least."""
        for index, low, _ in self.facts.bounds:
            if index == name:
                return low.constant
        best = 1
        for fact in self.facts.nonneg:  # name - c >= 0
            if fact.terms and len(fact.terms) <= 2 and fact.terms[0][0] == (name,) and fact.terms[0][1] == 1:
                rest = (fact - name).constant
                if rest is not None:
                    best = max(best, -rest)
        return best

    def _by_signs(self, p: Size) -> bool:
        """Counted from their lower bounds, all names are nonnegative: so is a sum of nonnegative terms."""
        if all(c >= 0 for m, c in p.terms) and all(self._nonneg_atom(a) for m, _ in p.terms for a in m):
            return True
        shift = {}
        for name in p.names():
            low = self._lower_bound(name)
            if low is None:
                return False
            shift[name] = Size.of(name) + low
        if any(isinstance(a, SizeFn) for m, _ in p.terms for a in m):
            return False
        return all(c >= 0 for _, c in p.substitute(shift).terms)

    def _nonneg_atom(self, atom: Atom) -> bool:
        if isinstance(atom, str):
            low = self._lower_bound(atom)
            return low is not None and low >= 0
        if atom.op == "%":
            return self.holds(atom.args[1] - 1, 0)
        return atom.op == "//" and self.holds(atom.args[0], 1) and self.holds(atom.args[1] - 1, 0)

    def _eliminated(self, p: Size) -> Iterator[Size]:
        """Polynomials that are at least 0 only if ``p`` is: an index or ``//`` or ``%`` replaced by a bound."""
        for name, low, high in reversed(self.facts.bounds):
            if name in p.names():
                bounded = _bounded(p, name, low, high)
                if bounded is not None:
                    yield bounded
                    return
        for monomial, c in p.terms:
            for atom in monomial:
                if isinstance(atom, str) or len(monomial) > 1:
                    continue
                x, d = atom.args
                if not self.holds(d - 1, 0):
                    continue
                rest = p - Size(((monomial, c),))
                if atom.op == "%":
                    yield rest + (Size.of(0) if c > 0 else (d - 1) * c)
                elif abs(c) == 1:  # exact: x // d >= -r means x >= -r * d, and x // d <= r means x < (r + 1) * d
                    yield rest * d + x if c > 0 else rest * d + d - 1 - x
                else:
                    yield rest * d + (x - d + 1 if c > 0 else x) * c


def _bounded(p: Size, name: str, low: Size, high: Size) -> Size | None:
    """``p``, linear in ``name`` with a literal factor, at the bound where it is smallest."""
    factor = 0
    for monomial, c in p.terms:
        if monomial == (name,):
            factor = c
        elif any(a == name or (isinstance(a, SizeFn) and name in Size((((a,), 1),)).names()) for a in monomial):
            return None
    return p + ((low if factor > 0 else high) - name) * factor


def _helps(p: Size, fact: Size) -> bool:
    """Does subtracting the fact cancel something: a negative term of ``p``?"""
    negative = {m for m, c in p.terms if c < 0}
    return any(c < 0 and m in negative for m, c in fact.terms) or any(c > 0 and m == () for m, c in fact.terms)


def _choice(p: Size) -> SizeFn | None:
    for monomial, _ in p.terms:
        for atom in monomial:
            if isinstance(atom, SizeFn):
                if atom.op in ("min", "max"):
                    return atom
                for argument in atom.args:
                    inner = _choice(argument)
                    if inner is not None:
                        return inner
    return None


def _replace_atom(p: Size, atom: SizeFn, by: Size) -> Size:
    total = Size.of(0)
    for monomial, c in p.terms:
        product = Size.of(c)
        for a in monomial:
            product = product * (by if a == atom else _inside(a, atom, by))
        total = total + product
    return total


def _inside(a: Atom, atom: SizeFn, by: Size) -> Size:
    kept: Monomial = (a,)
    if isinstance(a, str):
        return Size(((kept, 1),))
    args = [_replace_atom(x, atom, by) for x in a.args]
    if tuple(args) == a.args:
        return Size(((kept, 1),))
    if a.op == "//":
        return args[0] // args[1]
    return args[0] % args[1] if a.op == "%" else Size((((SizeFn(a.op, tuple(sorted(args))),), 1),))
