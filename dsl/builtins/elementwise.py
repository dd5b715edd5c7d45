"""Elementwise builtins: one op each, or a short composite."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce as fold

from ...compiler.graph.graph import Value
from ...compiler.graph.ops.common import complex_twin, real_twin, zeros
from ...compiler.graph.types import Size, is_complex, is_floating, is_integer, size_fn
from ..context import weak_kind
from ..operand import Array, Operand, SizeOperand, TupleOperand, Weak, WeakExpression, noun
from . import compose
from .call import BOOL, NUMBERS, ORDERED, Call
from .table import Result, builtin, declare_builtin, parse_signature

FAMILY = "elementwise"
Fold = Callable[[float], float]


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


#: name, kinds accepted, may the result stay an integer, what it does, the function on a literal (None: not folded)
_UNARY: tuple[tuple[str, Sequence[str], bool, str, Fold | None], ...] = (
    ("sqrt", NUMBERS, False, "Square root; its derivative at 0 is infinite.", math.sqrt),
    ("exp", NUMBERS, False, "e to the power x.", math.exp),
    ("log", NUMBERS, False, "Natural logarithm.", math.log),
    ("log1p", NUMBERS, False, "log(1 + x), accurate for small x.", math.log1p),
    ("expm1", NUMBERS, False, "exp(x) - 1, accurate for small x.", math.expm1),
    ("sin", NUMBERS, False, "Sine of x in radians.", math.sin),
    ("cos", NUMBERS, False, "Cosine of x in radians.", math.cos),
    ("tan", NUMBERS, False, "Tangent of x in radians.", math.tan),
    ("tanh", NUMBERS, False, "Hyperbolic tangent.", math.tanh),
    ("sigmoid", NUMBERS, False, "1 / (1 + exp(-x)).", _sigmoid),
    ("softplus", ORDERED, False, "log(1 + exp(x)), without overflow.", None),
    ("relu", ORDERED, True, "max(x, 0); its derivative at 0 is 0.", lambda x: max(x, 0)),
    ("erf", ORDERED, False, "The error function.", math.erf),
    ("lgamma", ORDERED, False, "Logarithm of the absolute value of the gamma function.", math.lgamma),
    ("digamma", ORDERED, False, "Derivative of lgamma.", None),
    ("sign", ORDERED, True, "-1, 0 or 1; its derivative is 0.", lambda x: (x > 0) - (x < 0)),
)
_ROUNDING: tuple[tuple[str, str, Fold], ...] = (
    ("floor", "The largest integer not above x (in the type of x); derivative 0.", math.floor),
    ("ceil", "The smallest integer not below x (in the type of x); derivative 0.", math.ceil),
    ("round", "The nearest integer, halves to even (in the type of x); derivative 0.", round),
)


def folded(x: Operand, name: str, function: Fold | None, integer: bool) -> Operand | None:
    """The function on a weak operand, still weak; None for an array or a value outside the function's domain."""
    match x:
        case Weak(number=number):
            if function is None or isinstance(number, (bool, complex)):
                return None
            try:
                result = function(number)
            except (ValueError, OverflowError):
                return None
            return Weak(result if integer and isinstance(number, int) else float(result))
        case SizeOperand() | WeakExpression():
            # a quotient is real, so the function is computed on real numbers
            return WeakExpression(name, (x if integer else WeakExpression("div", (x, Weak(1))),))
    return None


def _declare_unary(name: str, kinds: Sequence[str], integer: bool, doc: str, function: Fold | None) -> None:
    def body(call: Call) -> Result:
        call.check_kind("x", kinds)
        weak = folded(call.operand("x"), name, function, integer)
        return weak if weak is not None else compose.op(call.b, name, call.array("x", kinds, real=not integer))

    signature = f"{name}(x)"
    declare_builtin(FAMILY, parse_signature(signature), signature, body, doc, f"{name}(x)")


def _declare_rounding(name: str, doc: str, function: Fold) -> None:
    def body(call: Call) -> Result:
        call.check_kind("x", ORDERED)
        x = call.operand("x")
        if isinstance(x, SizeOperand) or (isinstance(x, Array) and not is_floating(x.type.dtype)):
            return x
        weak = folded(x, name, function, True)
        return weak if weak is not None else compose.op(call.b, name, call.array("x", ORDERED))

    signature = f"{name}(x)"
    declare_builtin(FAMILY, parse_signature(signature), signature, body, doc, f"{name}(x)")


for _row in _UNARY:
    _declare_unary(*_row)
for _name, _doc, _function in _ROUNDING:
    _declare_rounding(_name, _doc, _function)


@builtin(FAMILY, "abs(x)", example="abs(x)")
def abs_(call: Call) -> Result:
    """Absolute value, of complex numbers the magnitude; its derivative at 0 is 0."""
    call.check_kind("x", NUMBERS)
    x = call.operand("x")
    if isinstance(x, SizeOperand):
        return SizeOperand(size_fn("max", x.size, -x.size))
    weak = folded(x, "abs", abs, True)
    return weak if weak is not None else compose.op(call.b, "abs", call.array("x"))


@builtin(FAMILY, "isfinite(x)", example="all(isfinite(x))")
def isfinite(call: Call) -> Result:
    """True where x is neither infinite nor NaN."""
    return compose.op(call.b, "isfinite", call.array("x"))


@builtin(FAMILY, "conj(x)", example="conj(z)")
def conj(call: Call) -> Result:
    """Complex conjugate; real numbers stay."""
    x = call.array("x")
    return compose.op(call.b, "conj", x) if is_complex(x.type.dtype) else x


@builtin(FAMILY, "re(x)", example="re(z)")
def re(call: Call) -> Result:
    """Real part."""
    x = call.array("x")
    return compose.op(call.b, "re", x) if is_complex(x.type.dtype) else x


@builtin(FAMILY, "im(x)", example="im(z)")
def im(call: Call) -> Result:
    """Imaginary part; of real numbers 0."""
    x = call.array("x")
    return compose.op(call.b, "im", x) if is_complex(x.type.dtype) else zeros(call.b, x.type)


@builtin(FAMILY, "angle(x)", example="angle(z)")
def angle(call: Call) -> Result:
    """Phase in radians, in (-pi, pi]; of real numbers 0 or pi."""
    return compose.angle(call.b, call.array("x", real=True))


@builtin(FAMILY, "where(condition, x, y)", example="where(abs(v) > t, v, 0)")
def where(call: Call) -> Result:
    """x where the condition holds, else y; all three broadcast together."""
    condition = call.array("condition", (BOOL,))
    x, y = call.arrays(["x", "y"], (*NUMBERS, BOOL))
    return compose.op(call.b, "where", *call.aligned([condition, x, y]))


@builtin(FAMILY, "clip(x, min=None, max=None)", example="clip(x, 0, 1)")
def clip(call: Call) -> Result:
    """x held between min and max (either may be left out); where it is not held back its derivative is 1, bounds included."""
    bounds = [name for name in ("min", "max") if call.given(name)]
    if not bounds:
        raise call.error("clip needs a bound: min, max or both")
    x, *found = call.aligned(call.arrays(["x", *bounds], ORDERED))
    limits = dict(zip(bounds, found, strict=True))
    literal = {name for name in bounds if isinstance(call.operand(name), (Weak, SizeOperand))}
    return compose.clip(call.b, x, limits.get("min"), limits.get("max"), "min" in literal, "max" in literal)


@builtin(FAMILY, "cast(x, dtype)", example="cast(mask, real)")
def cast(call: Call) -> Result:
    """x in another type: reals to integers by dropping the fraction, numbers to bool by `x != 0`."""
    x, dtype = call.array("x", (*NUMBERS, BOOL)), call.dtype()
    if dtype == "key":
        raise call.error("nothing can be cast to a key: keys are inputs, and fold derives one from another", "dtype")
    weak = call.operand("x")
    if isinstance(weak, (Weak, SizeOperand, WeakExpression)) and dtype != "bool" and not (is_integer(dtype) and weak_kind(weak) == "real"):
        return call.ctx.as_value(weak, dtype)
    if is_complex(x.type.dtype) and not is_complex(dtype) and dtype != "bool":
        raise call.error(
            f"a complex array cannot be cast to {dtype}: its imaginary part would be lost", "x", f"cast(re(x), {dtype})"
        )
    if dtype == "bool":
        return truth(call, x)
    return compose.cast(call.b, x, dtype)


def truth(call: Call, x: Value) -> Value:
    """``x`` as a condition: ``x != 0`` of numbers."""
    return x if x.type.dtype == BOOL else compose.op(call.b, "ne", x, compose.like(call.b, 0, x))


@builtin("differentiation", "stop_gradient(x)", example="stop_gradient(x)")
def stop_gradient(call: Call) -> Result:
    """x, as a constant for every derivative."""
    x = call.operand("x")
    if isinstance(x, (Weak, SizeOperand)):
        return x
    if isinstance(x, TupleOperand):
        raise call.error("stop_gradient takes one array at a time", "x")
    return compose.op(call.b, "stop_gradient", call.array("x", (*NUMBERS, BOOL)))


def extreme(call: Call, which: str) -> Result:
    """``max`` or ``min`` of two or more operands, elementwise; weak ones stay weak."""
    operands = [call.operand("x"), *call.rest]
    op_name, pick = ("maximum", max) if which == "max" else ("minimum", min)
    if all(isinstance(o, Weak) and isinstance(o.number, (int, float)) for o in operands):
        return Weak(pick(o.number for o in operands if isinstance(o, Weak)))  # type: ignore[type-var]
    sizes = [_integer_size(o) for o in operands]
    if all(s is not None for s in sizes):
        return SizeOperand(size_fn(which, *(s for s in sizes if s is not None)))
    names: list[str | int] = ["x", *range(len(call.rest))]
    if all(isinstance(o, (Weak, SizeOperand, WeakExpression)) for o in operands):
        return fold(lambda a, c: WeakExpression(op_name, (a, c)), operands)
    values = call.aligned(call.arrays(names, ORDERED))
    return fold(lambda a, c: compose.op(call.b, op_name, a, c), values)


def _integer_size(operand: Operand) -> Size | None:
    if isinstance(operand, SizeOperand):
        return operand.size
    if isinstance(operand, Weak) and isinstance(operand.number, int) and not isinstance(operand.number, bool):
        return Size.of(operand.number)
    return None


def as_complex(call: Call, x: Value) -> Value:
    """``x`` as complex numbers of its precision. Raises BuiltinError for precisions that have none."""
    twin = complex_twin(x.type.dtype)
    if twin is None:
        raise call.error(
            f"there is no complex type of precision {real_twin(x.type.dtype)}: not for {noun(Array(x))}", "x", "cast(x, f32)"
        )
    return compose.cast(call.b, x, twin)
