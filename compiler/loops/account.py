"""What a nest does and touches, counted: instances of statements, floating-point operations, bytes of arrays.

Run-time counts are given by value, so that the figures are those of one call. An addition, a multiplication, a division, a square
root and an exponential count as one operation each (a multiplication with an addition as two); comparisons, choices and
conversions as none. A complex addition is 2, a complex multiplication 6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import comb, prod

from ..graph.types import BYTES, Size, is_complex, is_floating
from .nest import Apply, ArrayInfo, Expr, Guard, LoopOrder, Nest, Order, Statement, Whole
from .nest import Sequence as SequenceOrder

_FREE = frozenset(
    "cast stop_gradient re im conj eq ne lt le gt ge and or not where isfinite neg abs sign floor ceil round floordiv mod".split()
)
_COMPLEX = {"mul": 6, "div": 11}
#: A loop of at most so many iterations is summed one by one, a longer one by the polynomial that a few of them show.
_EXACT = 24


@dataclass(frozen=True)
class Work:
    """Of one problem: floating-point operations, and the bytes of what must come in and go out at least once."""

    flops: int
    read: int
    written: int

    @property
    def bytes(self) -> int:
        """The least traffic with memory."""
        return self.read + self.written

    @property
    def intensity(self) -> float:
        """Operations per byte of :attr:`bytes`."""
        return self.flops / max(1, self.bytes)


def work_of_nest(nest: Nest, sizes: Mapping[str, int]) -> Work:
    """The work of one problem, with values for the parameters of the nest."""
    flops = sum(instances(s, sizes) * flops_of(s) for s in nest.statements)
    touched = {array for s in nest.statements for array in s.arrays()}
    accumulated = {s.write.array for s in nest.statements if s.reduce}
    read = written = 0
    for a in nest.arrays:
        if a.name in touched and a.scope == "output":
            written += array_bytes(a, sizes)
        if a.name in touched and (a.scope == "input" or (a.scope == "output" and a.name in accumulated)):
            read += array_bytes(a, sizes)
    return Work(flops, read, written)


def instances_of_nest(nest: Nest, sizes: Mapping[str, int]) -> int:
    """How many instances the statements of a nest have together; that of a routine counts as one for every element of its inputs."""
    table = nest.array_table
    total = 0
    for s in nest.statements:
        blocks = [table[w.array].shape[len(w.index) :] for w in s.inputs]
        each = sum(prod(n.evaluate({**dict.fromkeys(n.names(), 1), **sizes}) for n in block) for block in blocks)
        total += instances(s, sizes) * (each if s.routine else 1)
    return total


def array_bytes(array: ArrayInfo, sizes: Mapping[str, int]) -> int:
    """Bytes of an array; sizes that are not given count as 1."""
    total = BYTES[array.dtype]
    for extent in array.shape:
        total *= max(0, extent.evaluate({**dict.fromkeys(extent.names(), 1), **sizes}))
    return total


def flops_of(statement: Statement) -> int:
    """Floating-point operations of one instance; a routine counts none."""
    if statement.routine:
        return 0
    dtype = statement.write.dtype
    own = (2 if is_complex(dtype) else 1) if statement.reduce in ("add", "mul", "max", "min") and _counts(dtype) else 0
    return own + _flops(statement.value)


def _flops(value: Expr) -> int:
    if not isinstance(value, Apply):
        return 0
    inner = sum(map(_flops, value.args))
    if value.op in _FREE or not _counts(value.dtype):
        return inner
    return inner + (_COMPLEX.get(value.op, 2) if is_complex(value.dtype) else 1)


def _counts(dtype: str) -> bool:
    return is_floating(dtype) or is_complex(dtype)


# -- counting points ------------------------------------------------------------------------------------------------------


def instances(statement: Statement, sizes: Mapping[str, int]) -> int:
    """How many instances a statement has. Exact where extents are polynomials of outer indices, as in boxes, triangles and bands;
    near it where they are not (several maxima, divisions)."""
    missing = statement.params() - sizes.keys()
    return _count(statement, 0, {**dict.fromkeys(missing, 1), **sizes})


def _count(statement: Statement, place: int, env: dict[str, int]) -> int:
    if place == len(statement.dims):
        return int(all(_holds(g, env) for g in statement.guards if not g.size.names() & {d.name for d in statement.dims}))
    dim = statement.dims[place]
    later = [*statement.dims[place + 1 :]]
    mine = [g for g in statement.guards if _last_dim(g, statement) == dim.name]
    low, high = dim.lower.evaluate(env), dim.upper.evaluate(env)
    used = {n for d in later for n in d.lower.names() | d.upper.names()}
    used |= {n for g in statement.guards if g not in mine for n in g.size.names()}

    def at(value: int) -> int:
        env[dim.name] = value
        return _count(statement, place + 1, env)

    left_out: set[int] = set()
    for guard in mine:
        low, high = _narrowed(guard, dim.name, env, low, high, left_out)
    if high <= low:
        return 0
    gone = [v for v in left_out if low <= v < high]
    if dim.name not in used:
        return (high - low - len(gone)) * at(low)
    return _sum(at, low, high, len(later) + 1) - sum(map(at, gone))


def _narrowed(guard: Guard, dim: str, env: dict[str, int], low: int, high: int, left_out: set[int]) -> tuple[int, int]:
    """The range of a dim where a guard holds, outer dims fixed; single values that it takes away go to ``left_out``."""
    at_zero, at_one = (guard.size.evaluate({**env, dim: v}) for v in (0, 1))
    slope = at_one - at_zero
    if guard.op == ">=":
        if slope > 0:
            return max(low, -(at_zero // slope)), high
        if slope < 0:
            return low, min(high, at_zero // -slope + 1)
        return (low, high) if at_zero >= 0 else (low, low)
    if slope == 0:
        return (low, high) if (at_zero == 0) == (guard.op == "==") else (low, low)
    root, rest = divmod(-at_zero, slope)
    if guard.op == "!=":
        left_out |= {root} if not rest else set()
        return low, high
    return (max(low, root), min(high, root + 1)) if not rest else (low, low)


def _sum(at: Callable[[int], int], low: int, high: int, degree: int) -> int:
    """The sum of a function over a range: exact if short, or if the function is a polynomial of that degree."""
    if high - low <= _EXACT:
        return sum(at(v) for v in range(low, high))
    for start, end in ((low, high), (low + 1, high), (low, high - 1)):  # the ends may differ
        found = _polynomial(at, start, end, degree)
        if found is not None:
            return found + sum(at(v) for v in (*range(low, start), *range(end, high)))
    step = (high - low) / 64
    return round(step * sum(at(int(low + step * (k + 0.5))) for k in range(64)))


def _polynomial(at: Callable[[int], int], low: int, high: int, degree: int) -> int | None:
    """The sum by Newton's forward differences if the function is a polynomial; three other values must agree with it."""
    row = [at(low + k) for k in range(degree + 1)]
    differences = []
    while row:
        differences.append(row[0])
        row = [b - a for a, b in pairwise(row)]
    count = high - low
    for k in (degree + 1, count // 2, count - 1):
        if at(low + k) != sum(comb(k, order) * d for order, d in enumerate(differences)):
            return None
    return sum(comb(count, order + 1) * d for order, d in enumerate(differences))


def _last_dim(guard: Guard, statement: Statement) -> str:
    names = guard.size.names()
    return next((d.name for d in reversed(statement.dims) if d.name in names), "")


def _holds(guard: Guard, env: Mapping[str, int]) -> bool:
    value = guard.size.evaluate(env)
    return value >= 0 if guard.op == ">=" else value == 0 if guard.op == "==" else value != 0


# -- with counts fixed ----------------------------------------------------------------------------------------------------


def fix(nest: Nest, sizes: Mapping[str, int]) -> Nest:
    """The nest with its parameters replaced by values, as far as they are given: for estimates, not for code."""
    env = {n: Size.of(v) for n, v in sizes.items() if n in nest.params}

    def blocks(found: Sequence[Whole]) -> tuple[Whole, ...]:
        return tuple(replace(w, index=tuple(i.substitute(env) for i in w.index)) for w in found)

    def one(s: Statement) -> Statement:
        dims = tuple(replace(d, lower=d.lower.substitute(env), upper=d.upper.substitute(env)) for d in s.dims)
        guards = tuple(replace(g, size=g.size.substitute(env)) for g in s.guards)
        write = replace(s.write, index=tuple(i.substitute(env) for i in s.write.index))
        return replace(s, dims=dims, guards=guards, write=write, outputs=blocks(s.outputs), inputs=blocks(s.inputs))

    def placed(order: Order) -> Order:
        if isinstance(order, SequenceOrder):
            return SequenceOrder(tuple(map(placed, order.children)))
        if isinstance(order, LoopOrder):
            values = tuple((s, v.substitute(env)) for s, v in order.values)
            return replace(order, values=values, body=placed(order.body))
        return order

    arrays = tuple(replace(a, shape=tuple(e.substitute(env) for e in a.shape)) for a in nest.arrays)
    params = tuple(n for n in nest.params if n not in env)
    return Nest(nest.name, params, arrays, tuple(map(one, nest.statements)), placed(nest.order))
