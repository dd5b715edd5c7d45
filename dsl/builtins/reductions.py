"""Builtins that reduce over axes, and their relatives that keep the shape."""

from __future__ import annotations

from ...compiler.graph.graph import Value
from ...compiler.graph.types import is_integer
from ..operand import SizeOperand, Weak
from . import compose
from .call import BOOL, COUNT, NUMBERS, ORDERED, Call
from .elementwise import extreme, truth
from .table import Result, builtin

FAMILY = "reductions"


def _wide(call: Call) -> Value:
    """``x`` with small integers as i64, as NumPy adds them."""
    x = call.array("x")
    return compose.cast(call.b, x, "i64") if is_integer(x.type.dtype) else x


def _reduced(call: Call, name: str, x: Value) -> Value:
    return compose.reduce(call.b, name, x, call.axes(x), call.flag("keepdims"))


@builtin(FAMILY, "sum(x, *, axis=None, keepdims=False)", example="sum(A, axis=0)")
def sum_(call: Call) -> Result:
    """Sum over an axis, several (a tuple), or all. Integers add up as i64. Also `sum(e for i in 0..n)`."""
    return _reduced(call, "sum", _wide(call))


@builtin(FAMILY, "prod(x, *, axis=None, keepdims=False)", example="prod(x)")
def prod(call: Call) -> Result:
    """Product over axes. Integers multiply as i64. Also `prod(e for i in 0..n)`."""
    return _reduced(call, "prod", _wide(call))


@builtin(FAMILY, "mean(x, *, axis=None, keepdims=False)", example="mean(A, axis=0)")
def mean(call: Call) -> Result:
    """Arithmetic mean over axes."""
    x = call.array("x", real=True)
    return compose.mean(call.b, x, call.axes(x), call.flag("keepdims"))


@builtin(FAMILY, "var(x, *, axis=None, keepdims=False)", example="sqrt(var(x))")
def var(call: Call) -> Result:
    """Variance over axes: the mean squared distance from the mean (divides by n)."""
    x = call.array("x", real=True)
    return compose.var(call.b, x, call.axes(x), call.flag("keepdims"))


def _extreme(call: Call, which: str) -> Result:
    if call.rest:
        for name in ("axis", "keepdims"):
            if call.given(name):
                raise call.error(
                    f"{which} of several arguments is elementwise and takes no {name}=", name, f"{which}(a, {name}=...)", COUNT
                )
        return extreme(call, which)
    if isinstance(call.operand("x"), (Weak, SizeOperand)) and not call.given("axis"):
        return call.operand("x")
    return _reduced(call, which, call.array("x", ORDERED))


@builtin(FAMILY, "max(x, *others, axis=None, keepdims=False)", example="max(abs(v) - t, 0)")
def max_(call: Call) -> Result:
    """Of several arguments the elementwise maximum, of one the largest element over axes. NaN is passed on; equal
    elements share the derivative. Also `max(e for i in 0..n)`."""
    return _extreme(call, "max")


@builtin(FAMILY, "min(x, *others, axis=None, keepdims=False)", example="min(x, axis=0)")
def min_(call: Call) -> Result:
    """Of several arguments the elementwise minimum, of one the smallest element over axes; otherwise as max."""
    return _extreme(call, "min")


def _position(call: Call, name: str) -> Value:
    x = call.array("x", (*ORDERED, BOOL))
    keepdims = call.flag("keepdims")
    if call.given("axis"):
        axis = call.axis(x)
        out = compose.op(call.b, name, x, axis=axis)
        return compose.unsqueeze(call.b, out, axis) if keepdims else out
    out = compose.op(call.b, name, compose.reshape(call.b, x, [x.type.numel]), axis=-1)
    return compose.reshape(call.b, out, [1] * x.type.rank) if keepdims else out


@builtin(FAMILY, "argmax(x, *, axis=None, keepdims=False)", example="argmax(x, axis=1)")
def argmax(call: Call) -> Result:
    """Position (i64) of the largest element along an axis, the first if there are several; without axis= in the array
    read as one row."""
    return _position(call, "argmax")


@builtin(FAMILY, "argmin(x, *, axis=None, keepdims=False)", example="argmin(x)")
def argmin(call: Call) -> Result:
    """Position of the smallest element; otherwise as argmax."""
    return _position(call, "argmin")


@builtin(FAMILY, "any(x, *, axis=None, keepdims=False)", example="any(x > 0)")
def any_(call: Call) -> Result:
    """True where one element over the axes is true (of numbers: not 0)."""
    return _reduced(call, "any", truth(call, call.array("x", (*NUMBERS, BOOL))))


@builtin(FAMILY, "all(x, *, axis=None, keepdims=False)", example="all(t > 0)")
def all_(call: Call) -> Result:
    """True where every element over the axes is true (of numbers: not 0)."""
    return _reduced(call, "all", truth(call, call.array("x", (*NUMBERS, BOOL))))


@builtin(FAMILY, "norm(x, *, axis=None, keepdims=False)", example="norm(x - z)")
def norm(call: Call) -> Result:
    """Euclidean norm over axes (of a matrix the Frobenius norm; norm2 is the largest singular value). Its derivative
    at 0 is 0."""
    x = call.array("x", real=True)
    return compose.norm(call.b, x, call.axes(x), call.flag("keepdims"))


@builtin(FAMILY, "logsumexp(x, *, axis=None, keepdims=False)", example="logsumexp(x, axis=1)")
def logsumexp(call: Call) -> Result:
    """log(sum(exp(x))) over axes without overflow."""
    x = call.array("x", ORDERED, real=True)
    axes = call.axes(x)
    return compose.logsumexp(call.b, x, axes, call.flag("keepdims")) if axes else x


@builtin(FAMILY, "softmax(x, *, axis, keepdims=False)", example="softmax(x, axis=1)")
def softmax(call: Call) -> Result:
    """exp(x) divided by its sum along an axis, without overflow."""
    x = call.array("x", ORDERED, real=True)
    return compose.softmax(call.b, x, call.axes(x))


@builtin(FAMILY, "log_softmax(x, *, axis, keepdims=False)", example="log_softmax(x, axis=1)")
def log_softmax(call: Call) -> Result:
    """log(softmax(x)) without loss of digits."""
    x = call.array("x", ORDERED, real=True)
    return compose.log_softmax(call.b, x, call.axes(x))


@builtin(FAMILY, "cumsum(x, *, axis, keepdims=False)", example="cumsum(x, axis=0)")
def cumsum(call: Call) -> Result:
    """Running sum along an axis: y[i] = x[0] + ... + x[i]. Integers add up as i64."""
    x = _wide(call)
    return compose.op(call.b, "cumsum", x, axis=call.axis(x))
