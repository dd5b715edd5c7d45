"""New arrays."""

from __future__ import annotations

import math

from ...compiler.graph.graph import Value
from ...compiler.graph.ops.common import zeros as zeros_of
from ...compiler.graph.types import Size, size_fn
from ..operand import Array, Operand, TupleOperand, Weak, noun
from . import compose
from .call import BOOL, COUNT, NUMBERS, SHAPE, Call
from .table import Result, builtin

FAMILY = "constructors"


@builtin(FAMILY, "zeros(*sizes, dtype=real)", example="zeros(h, w)")
def zeros(call: Call) -> Result:
    """Zeros; the sizes are separate arguments, none makes a scalar."""
    return compose.filled(call.b, 0, call.sizes(), _number_type(call))


@builtin(FAMILY, "ones(*sizes, dtype=real)", example="ones(n)")
def ones(call: Call) -> Result:
    """Ones."""
    return compose.filled(call.b, 1, call.sizes(), _number_type(call))


def _number_type(call: Call) -> str:
    dtype = call.dtype()
    if dtype == "key":
        raise call.error("keys are inputs; no array of them can be made", "dtype")
    return dtype


@builtin(FAMILY, "full(value, *sizes, dtype=None)", example="full(1 / n, n)")
def full(call: Call) -> Result:
    """An array of one value, in its type unless dtype= says otherwise; the value may be an array that broadcasts."""
    dtype = _number_type(call) if call.given("dtype") else None
    value = call.array("value", (*NUMBERS, BOOL), dtype=dtype)
    return compose.broadcast(call.b, value, call.sizes())


@builtin(FAMILY, "zeros_like(x)", example="zeros_like(x)")
def zeros_like(call: Call) -> Result:
    """Zeros of the type and shape of x."""
    return zeros_of(call.b, call.array("x", (*NUMBERS, BOOL)).type)


@builtin(FAMILY, "eye(rows, columns=None, k=0, *, dtype=real)", example="eye(n)")
def eye(call: Call) -> Result:
    """Ones on the diagonal (number k: positive above, negative below), zeros elsewhere; square unless columns is given."""
    rows = call.size("rows")
    columns = call.size("columns") if call.given("columns") else rows
    return compose.eye(call.b, rows, columns, call.size("k"), _number_type(call))


@builtin(FAMILY, "arange(start, stop=None, step=1, *, dtype=None)", example="arange(n)")
def arange(call: Call) -> Result:
    """start, start + step, ... below stop; `arange(n)` is 0 to n - 1. Integers (i64) unless a literal has a point."""
    names = ["start", "stop"] if call.given("stop") else ["start"]
    if any(_is_fraction(call.operand(name)) for name in [*names, *(["step"] if call.given("step") else [])]):
        return _arange_literal(call)
    step = call.integer("step")
    if step == 0:
        raise call.error("the step of arange must not be 0", "step")
    low, high = (call.size("start"), call.size("stop")) if len(names) == 2 else (Size.of(0), call.size("start"))
    span = high - low
    count = (span + (step - 1)) // step if step > 0 else (-span + (-step - 1)) // -step
    _need_some(call, count)
    dtype = call.dtype() if call.given("dtype") else "i64"
    out = compose.iota(call.b, count, dtype)
    if step != 1:
        out = compose.op(call.b, "mul", out, compose.like(call.b, step, out))
    return out if low.constant == 0 else compose.op(call.b, "add", out, compose.size_scalar(call.b, low, dtype))


def _is_fraction(operand: Operand) -> bool:
    return isinstance(operand, Weak) and isinstance(operand.number, float)


def _arange_literal(call: Call) -> Value:
    start, stop, step = (call.number(n) for n in ("start", "start" if not call.given("stop") else "stop", "step"))
    if not call.given("stop"):
        start = 0.0
    if step == 0:
        raise call.error("the step of arange must not be 0", "step")
    count = Size.of(max(0, math.ceil((stop - start) / step)))
    _need_some(call, count)
    dtype = call.dtype() if call.given("dtype") else "real"
    out = compose.iota(call.b, count, "real")
    out = compose.op(call.b, "mul", out, compose.like(call.b, float(step), out))
    return compose.cast(call.b, compose.op(call.b, "add", out, compose.like(call.b, float(start), out)), dtype)


def _need_some(call: Call, count: Size) -> None:
    if count.constant is not None and count.constant < 1:
        raise call.error(f"arange would have {count} elements, and a size is at least 1", None, None, SHAPE)


@builtin(FAMILY, "linspace(start, stop, num=50)", example="linspace(0, 1, n)")
def linspace(call: Call) -> Result:
    """num evenly spaced numbers from start to stop, both included."""
    num = call.size("num")
    low, high = call.arrays(["start", "stop"], ("integer", "real"), real=True)
    if low.type.rank or high.type.rank:
        raise call.error("linspace takes numbers as start and stop, not arrays", "start" if low.type.rank else "stop")
    b, dtype = call.b, low.type.dtype
    if num.constant == 1:
        return compose.reshape(b, low, [1])
    i = compose.iota(b, num)
    gaps = compose.size_scalar(b, size_fn("max", num - 1, 1), dtype)
    step = compose.op(b, "div", compose.op(b, "sub", high, low), gaps)
    points = compose.op(b, "add", low, compose.op(b, "mul", compose.cast(b, i, dtype), step))
    last = compose.op(b, "eq", i, compose.size_scalar(b, size_fn("max", num - 1, 1), "i64"))
    return compose.op(b, "where", last, high, points)


def parts_of(call: Call) -> list[Value]:
    """Arrays to be joined, as separate arguments or as one tuple, at their common dtype."""
    operands = list(call.rest)
    if len(operands) == 1 and isinstance(operands[0], TupleOperand):
        operands = list(operands[0].items)
    if not operands:
        raise call.error(f"{call.name} needs at least one array", None, None, COUNT)
    for i, operand in enumerate(operands):
        if isinstance(operand, Array) and operand.type.dtype == "key":
            raise call.error(f"{call.name} takes arrays, not {noun(operand)}", min(i, len(call.rest) - 1))
    return call.ctx.promote(*operands)[0]


@builtin(FAMILY, "stack(*arrays, axis=0)", example="stack(a, b, axis=0)")
def stack(call: Call) -> Result:
    """Arrays of one shape joined along a new axis; the arrays are separate arguments."""
    parts = parts_of(call)
    first = parts[0]
    axis = call.axis(first, extra=1)
    return compose.stack(call.b, [_fitted(call, i, p, first, None) for i, p in enumerate(parts)], axis)


@builtin(FAMILY, "concat(*arrays, axis=0)", example="concat(a, b, axis=0)")
def concat(call: Call) -> Result:
    """Arrays joined along an axis that they have; the other sizes must be equal."""
    parts = parts_of(call)
    first = parts[0]
    if first.type.rank == 0:
        raise call.error("concat joins arrays along an axis, and a scalar has none", 0, "stack(a, b, axis=0)", SHAPE)
    axis = call.axis(first)
    return compose.concat(call.b, [_fitted(call, i, p, first, axis) for i, p in enumerate(parts)], axis)


def _fitted(call: Call, position: int, part: Value, first: Value, axis: int | None) -> Value:
    """``part`` with the sizes of ``first`` but on ``axis``; a weak scalar among scalars is fine."""
    rank = first.type.rank
    fit: Value | None = part if part.type.rank == rank else None
    for n in range(-rank, 0):
        if fit is not None and n != axis:
            fit = call.fit(fit, n, first.type.shape[n])
    if fit is None:
        where = "" if axis is None else f" (but for axis {axis})"
        raise call.error(
            f"{call.name} needs arrays of one shape{where}, not {first.type} and {part.type}",
            min(position, len(call.rest) - 1),
            None,
            SHAPE,
        )
    return fit
