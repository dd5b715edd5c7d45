"""Random numbers: counter-based draws from a key (``docs`` of the graph ops give the exact definition)."""

from __future__ import annotations

from ...compiler.graph.graph import Value
from ...compiler.graph.ops.common import is_differentiable
from ..operand import Array, BuiltinError, noun
from . import compose
from .call import BOOL, COUNT, INTEGER, NUMBERS, ORDERED, SHAPE, Call
from .table import Result, builtin

FAMILY = "random numbers"


def key(call: Call) -> Value:
    """The ``rng`` argument. Raises BuiltinError if it is no key."""
    operand = call.operand("rng")
    if not isinstance(operand, Array) or operand.type.dtype != "key":
        raise call.error(f"{call.name} takes a key first, not {noun(operand)}", "rng", "rng: key as an input")
    if operand.type.rank:
        raise call.error(f"{call.name} takes one key, not {operand.type}", "rng", "fold(rng, k)", SHAPE)
    return operand.value


def _draw(call: Call, op: str) -> Value:
    rng, dtype = key(call), call.dtype()
    if not is_differentiable(dtype) or dtype in ("complex", "c64", "c128"):
        raise call.error(f"{call.name} makes real numbers, not {dtype}", "dtype")
    return compose.op(call.b, op, rng, shape=tuple(call.sizes()), dtype=dtype)


@builtin(FAMILY, "normal(rng, *sizes, dtype=real)", example="normal(fold(rng, k), n, r)")
def normal(call: Call) -> Result:
    """Normal numbers of mean 0 and variance 1."""
    return _draw(call, "random_normal")


@builtin(FAMILY, "uniform(rng, *sizes, dtype=real)", example="uniform(rng, n)")
def uniform(call: Call) -> Result:
    """Uniform numbers: 0 <= u < 1."""
    return _draw(call, "random_uniform")


@builtin(FAMILY, "rademacher(rng, *sizes, dtype=real)", example="rademacher(rng, n)")
def rademacher(call: Call) -> Result:
    """-1 or 1, each with probability 1/2."""
    return _draw(call, "random_rademacher")


@builtin(FAMILY, "bernoulli(rng, p, *sizes)", example="bernoulli(rng, 0.5, n)")
def bernoulli(call: Call) -> Result:
    """1 with probability p, else 0, in the type of p as in PyTorch (`uniform(rng, ...) < p`). Without sizes in the shape
    of p, else p broadcasts to them."""
    rng = key(call)
    p = call.array("p", ORDERED, real=True)
    shape = tuple(call.sizes()) if call.rest else p.type.shape
    drawn = compose.op(call.b, "random_uniform", rng, shape=shape, dtype=p.type.dtype)
    try:
        drawn, p = call.aligned([drawn, p])
    except BuiltinError as error:
        raise call.error(f"p does not broadcast to the sizes: {error.message}", "p", None, SHAPE) from None
    hit = compose.op(call.b, "lt", drawn, p)
    if hit.type.shape != drawn.type.shape:
        raise call.error(f"p is {noun(Array(p))}, which does not broadcast to the sizes given", "p", None, SHAPE)
    return compose.cast(call.b, hit, p.type.dtype)


@builtin(FAMILY, "randint(rng, low, high, *sizes, dtype=i64)", example="randint(rng, 0, 10, n)")
def randint(call: Call) -> Result:
    """Uniform integers: low <= r < high."""
    rng, dtype = key(call), call.dtype()
    low, high = (call.array(name, (INTEGER,), dtype="i64") for name in ("low", "high"))
    for name, bound in (("low", low), ("high", high)):
        if bound.type.rank:
            raise call.error(f"{name} of randint is one integer, not {noun(Array(bound))}", name, None, SHAPE)
    ends = []
    for name in ("low", "high"):
        try:
            ends.append(call.ctx.size_of(call.operand(name)).constant)
        except BuiltinError:
            ends.append(None)
    if ends[0] is not None and ends[1] is not None and ends[1] <= ends[0]:
        raise call.error(f"there is no integer r with {ends[0]} <= r < {ends[1]}", "high")
    return compose.op(call.b, "random_randint", rng, low, high, shape=tuple(call.sizes()), dtype=dtype)


@builtin(FAMILY, "permutation(rng, x)", example="permutation(rng, n)")
def permutation(call: Call) -> Result:
    """Of a size n the numbers 0 to n - 1 (i64) in random order, of an array its rows in random order."""
    rng, operand = key(call), call.operand("x")
    if not isinstance(operand, Array):
        return compose.op(call.b, "random_permutation", rng, size=call.size("x"))
    x = call.vector_or_more("x", (*NUMBERS, BOOL))
    order = compose.op(call.b, "random_permutation", rng, size=x.type.shape[0])
    return compose.pick(call.b, x, -x.type.rank, order)


@builtin(FAMILY, "fold(rng, *integers)", example="fold(rng, k, i)")
def fold(call: Call) -> Result:
    """A key derived from a key and integers: different integers give unrelated numbers."""
    rng = key(call)
    if not call.rest:
        raise call.error("fold needs an integer after the key", None, "fold(rng, k)", COUNT)
    words = []
    for i, operand in enumerate(call.rest):
        call.check_kind(i, (INTEGER,))
        if not isinstance(operand, Array):
            call.size(i)  # a literal or a size: must be an integer
        word = call.array(i, (INTEGER,), dtype="i64")
        if word.type.rank:
            raise call.error(f"fold takes integers one by one, not {noun(operand)}", i, None, SHAPE)
        words.append(word)
    return compose.op(call.b, "fold", rng, *words)
