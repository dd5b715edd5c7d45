"""Linear forms of integer expressions: how an index moves with a loop variable, and short readable text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from ..compiler.loops.tree import Int

#: Atom (a name or an expression that is not linear) to coefficient; the constant stands under ``ONE``.
Linear = dict[Int, int]
ONE = Int("const", value=1)


def const(value: int) -> Int:
    """A literal."""
    return Int("const", value=value)


def name(text: str) -> Int:
    """A variable."""
    return Int("name", name=text)


def plus(a: Int, b: Int | int) -> Int:
    """``a + b``."""
    return Int("+", (a, b if isinstance(b, Int) else const(b)))


@lru_cache(maxsize=65536)
def _linear(e: Int) -> tuple[tuple[Int, int], ...]:
    if e.op == "const":
        return ((ONE, e.value),) if e.value else ()
    if e.op in ("+", "-"):
        total = dict(_linear(e.args[0]))
        sign = 1 if e.op == "+" else -1
        for atom, c in _linear(e.args[1]):
            total[atom] = total.get(atom, 0) + sign * c
        return tuple((a, c) for a, c in total.items() if c)
    if e.op == "*":
        left, right = _linear(e.args[0]), _linear(e.args[1])
        for one, other in ((left, right), (right, left)):
            if all(atom == ONE for atom, _ in one):
                factor = one[0][1] if one else 0
                return tuple((a, c * factor) for a, c in other) if factor else ()
    if e.op in ("//", "%", "min", "max"):
        e = Int(e.op, tuple(simple(a) for a in e.args))
        values = [constant(a) for a in e.args]
        known = [v for v in values if v is not None]
        if len(values) == len(known) == 2:
            x, y = known
            if e.op in ("min", "max"):
                return _linear(const(min(x, y) if e.op == "min" else max(x, y)))
            if y:
                return _linear(const(x // y if e.op == "//" else x % y))
        if e.op == "//" and values[1] == 1:
            return _linear(e.args[0])
    return ((e, 1),)


def linear(e: Int) -> Linear:
    """The linear form of an expression; parts that are not linear are atoms."""
    return dict(_linear(e))


def constant(e: Int) -> int | None:
    """The value of an expression that is a literal in the end, else None."""
    form = _linear(e)
    return 0 if not form else form[0][1] if len(form) == 1 and form[0][0] == ONE else None


def names(e: Int) -> frozenset[str]:
    """Every variable in an expression."""
    return frozenset([e.name]) if e.op == "name" else frozenset().union(*(names(a) for a in e.args))


def coefficient(e: Int, variable: str) -> int | None:
    """How much an expression grows when a variable grows by one; None if that is not a constant."""
    total = 0
    for atom, c in _linear(e):
        if atom.op == "name" and atom.name == variable:
            total += c
        elif variable in names(atom):
            return None
    return total


def simple(e: Int) -> Int:
    """The same value in canonical form."""
    form = _linear(e)
    out: Int | None = None
    for atom, c in form:
        if atom == ONE:
            continue
        term = atom if abs(c) == 1 else Int("*", (const(abs(c)), atom))
        out = term if out is None and c > 0 else Int("+" if c > 0 else "-", (out or const(0), term))
    last = dict(form).get(ONE, 0)
    if out is None:
        return const(last)
    return out if not last else Int("+" if last > 0 else "-", (out, const(abs(last))))


def offset(index: Sequence[Int], shape: Sequence[Int]) -> Int:
    """The row-major position of an index; trailing axes that are not indexed are taken from their start."""
    total = const(0)
    for n, extent in enumerate(shape):
        total = Int("*", (total, extent))
        if n < len(index):
            total = Int("+", (total, index[n]))
    return simple(total)


def substitute(e: Int, env: Mapping[str, Int]) -> Int:
    """Variables replaced."""
    if e.op == "name":
        return env.get(e.name, e)
    return Int(e.op, tuple(substitute(a, env) for a in e.args), e.value, e.name) if e.args else e


def evaluate(e: Int, values: Mapping[str, int]) -> int:
    """The value of an expression in ``+ - * // % min max`` for given variables."""
    if e.op == "const":
        return e.value
    if e.op == "name":
        return values[e.name]
    x, y = (evaluate(a, values) for a in e.args)
    made = {"+": x + y, "-": x - y, "*": x * y, "min": min(x, y), "max": max(x, y)}.get(e.op)
    return made if made is not None else x // y if e.op == "//" else x % y
