"""Elementwise ops of one operand, and casts. Ops of several operands: ``binary.py``."""

from __future__ import annotations

from collections.abc import Callable
from math import factorial, pi, sqrt
from typing import TYPE_CHECKING, Any

from ..types import Type, is_complex
from .common import E, batch_elementwise, is_differentiable, need, need_count, real_twin, torch_dtype, unary_adjoint
from .table import Adjoint, Attrs, Numerics, Op, OpTypeError, register

if TYPE_CHECKING:
    from ..graph import Builder, Node, Value


def _infer(name: str, kind: str, result: Callable[[str], str]) -> Callable[[tuple[Type, ...], Attrs], tuple[Type, ...]]:
    def infer(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
        need_count(name, types, 1)
        need(name, kind, types[0])
        return (types[0].with_dtype(result(types[0].dtype)),)

    return infer


def _torch(name: str) -> Numerics:
    return lambda torch, attrs, x: getattr(torch, name)(x)


def _unary(
    name: str,
    kind: str,
    doc: str,
    adjoint: Adjoint | None = None,
    numerics: Numerics | None = None,
    result: Callable[[str], str] = lambda d: d,
    linear: bool = False,
) -> None:
    row = Op(name, "elementwise", _infer(name, kind, result), numerics or _torch(name), adjoint, batch_elementwise,
             ((0,),) if linear else (), doc=doc)  # fmt: skip
    register(row)


def _abs_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    if cotangents[0] is None:
        return [None]
    x, g = E(b, operand(0)), E(b, cotangents[0])
    if not is_complex(x.dtype):
        return [(g * x.op("sign")).value]
    y = E(b, result(0))
    zero = y.op("eq", 0.0)
    direction = x / zero.where(1.0, y).cast(x.dtype)
    return [(g.cast(x.dtype) * direction).value]


def _root_adjoint(g: E, x: Callable[[], E], y: Callable[[], E]) -> E:
    zero = y().op("eq", 0.0)
    return zero.where(0.0, g * 0.5 / zero.where(1.0, y()))


def _root(torch: Any, attrs: Attrs, x: Any) -> Any:
    zero = x == 0
    return torch.where(zero, 0.0, torch.sqrt(torch.where(zero, 1.0, x)))


def _sign(torch: Any, attrs: Attrs, x: Any) -> Any:
    x = x.detach()
    return torch.where(x != x, x, torch.sign(x)) if x.is_floating_point() else torch.sign(x)


def _digamma_adjoint(g: E, x: Callable[[], E], y: Callable[[], E]) -> E:
    return g * x().op("polygamma1")


def _polygamma1_adjoint(g: E, x: Callable[[], E], y: Callable[[], E]) -> E:
    return g * x().op("polygamma", order=2)


def _polygamma_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    if cotangents[0] is None:
        return [None]
    slope = E(b, operand(0)).op("polygamma", order=node.attr("order") + 1)
    return [(E(b, cotangents[0]) * slope).value]


def _re_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    return [None if cotangents[0] is None else E(b, cotangents[0]).cast(operand(0).type.dtype).value]


def _im_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    dtype = operand(0).type.dtype
    if cotangents[0] is None or not is_complex(dtype):
        return [None]
    return [(E(b, cotangents[0]).cast(dtype) * 1j).value]


def _angle_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    if cotangents[0] is None or not is_complex(operand(0).type.dtype):
        return [None]
    x, g = E(b, operand(0)), E(b, cotangents[0])
    square = (x * x.conj()).op("re")
    zero = square.op("eq", 0.0)
    factor = zero.where(0.0, g / zero.where(1.0, square))
    return [(x * 1j * factor.cast(x.dtype)).value]


def _polygamma(torch: Any, attrs: Attrs, x: Any) -> Any:
    order = attrs["order"]
    return torch.special.zeta(order + 1.0, x) * (-1.0) ** (order + 1) * factorial(order)


def _angle(torch: Any, attrs: Attrs, x: Any) -> Any:
    if x.is_complex():
        return torch.angle(x)
    return torch.atan2(torch.zeros_like(x), x.detach())


def _im(torch: Any, attrs: Attrs, x: Any) -> Any:
    return torch.imag(x) if x.is_complex() else torch.zeros_like(x)


_F, _FC = "floating", "floating or complex"

_unary("neg", "numeric", "Minus x: -x.", unary_adjoint(lambda g, x, y: -g), linear=True)
_unary("abs", "numeric", "Absolute value, of a complex x its modulus: |x|.", _abs_adjoint, result=real_twin)
_unary("sign", "real", "Sign: -1, 0 or 1; NaN stays NaN. Derivative zero.", numerics=_sign)
_unary("sqrt", _FC, "Square root: x^(1/2).", unary_adjoint(lambda g, x, y: g * 0.5 / y().conj()))
_unary("root", _F, "Square root with derivative 0 at 0, as the norm needs: x^(1/2).", unary_adjoint(_root_adjoint), _root)
_unary("exp", _FC, "Exponential: e^x.", unary_adjoint(lambda g, x, y: g * y().conj()))
_unary("log", _FC, "Natural logarithm: ln x.", unary_adjoint(lambda g, x, y: g / x().conj()))
_unary("log1p", _FC, "Logarithm near one: ln(1 + x).", unary_adjoint(lambda g, x, y: g / (x() + 1.0).conj()))
_unary("expm1", _FC, "Exponential minus one: e^x - 1.", unary_adjoint(lambda g, x, y: g * (y() + 1.0).conj()))
_unary("sin", _FC, "Sine: sin x.", unary_adjoint(lambda g, x, y: g * x().op("cos").conj()))
_unary("cos", _FC, "Cosine: cos x.", unary_adjoint(lambda g, x, y: -(g * x().op("sin").conj())))
_unary("tan", _FC, "Tangent: tan x.", unary_adjoint(lambda g, x, y: g * (y() * y() + 1.0).conj()))
_unary("tanh", _FC, "Hyperbolic tangent: tanh x.", unary_adjoint(lambda g, x, y: g * (1.0 - y() * y()).conj()))
_unary("sigmoid", _FC, "Logistic function: 1 / (1 + e^-x).", unary_adjoint(lambda g, x, y: g * (y() * (1.0 - y())).conj()))
_unary("softplus", _F, "Smooth positive part: ln(1 + e^x), as max(x, 0) + ln(1 + e^-|x|).",
       unary_adjoint(lambda g, x, y: g * x().op("sigmoid")),
       lambda torch, attrs, x: torch.logaddexp(x, x.new_zeros(())))  # fmt: skip
_unary("relu", "real", "Positive part: max(x, 0), derivative 0 at 0.",
       unary_adjoint(lambda g, x, y: y().op("gt", 0).where(g, 0.0)))  # fmt: skip
_unary("erf", _F, "Error function: 2/sqrt(pi) * integral of e^(-t^2) from 0 to x.",
       unary_adjoint(lambda g, x, y: g * (2 / sqrt(pi)) * (-(x() * x())).op("exp")))  # fmt: skip
_unary("floor", _F, "Largest integer not above x. Derivative zero.")
_unary("ceil", _F, "Smallest integer not below x. Derivative zero.")
_unary("round", _F, "Nearest integer, halves to the even one. Derivative zero.")
_unary("isfinite", "numeric", "True where x is neither infinite nor NaN.", result=lambda d: "bool")
_unary("lgamma", _F, "Logarithm of the absolute gamma function: ln |Gamma(x)|.",
       unary_adjoint(lambda g, x, y: g * x().op("digamma")))  # fmt: skip
_unary("digamma", _F, "Derivative of lgamma: Gamma'(x) / Gamma(x).", unary_adjoint(_digamma_adjoint))
_unary("polygamma1", _F, "Derivative of digamma (trigamma): sum over k >= 0 of 1 / (x + k)^2.",
       unary_adjoint(_polygamma1_adjoint), lambda torch, attrs, x: torch.special.zeta(2.0, x))  # fmt: skip
_unary("conj", "numeric", "Complex conjugate; a real x stays.", unary_adjoint(lambda g, x, y: g.conj()),
       lambda torch, attrs, x: torch.conj(x).resolve_conj(), linear=True)  # fmt: skip
_unary("re", "numeric", "Real part.", _re_adjoint, lambda torch, attrs, x: torch.real(x), real_twin, True)
_unary("im", "numeric", "Imaginary part; zero of a real x.", _im_adjoint, _im, real_twin, True)
_unary("angle", _FC, "Phase of a complex number, in -pi..pi.", _angle_adjoint, _angle, real_twin)
_unary("not", "bool", "Logical negation.", numerics=_torch("logical_not"))
_unary("stop_gradient", "comparable", "x itself, with derivative zero.", numerics=lambda torch, attrs, x: x.detach())

register(Op("polygamma", "elementwise", _infer("polygamma", _F, lambda d: d),
            _polygamma, _polygamma_adjoint, batch_elementwise, library=True,
            doc="Derivative of digamma of a given order: attribute order >= 2."))  # fmt: skip


def _infer_cast(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    need_count("cast", types, 1)
    if "key" in (types[0].dtype, attrs["dtype"]):
        raise OpTypeError(f"cast cannot turn {types[0]} into {attrs['dtype']}: a random key is no number")
    return (types[0].with_dtype(attrs["dtype"]),)


def _cast(torch: Any, attrs: Attrs, x: Any) -> Any:
    dtype = torch_dtype(torch, attrs["dtype"])
    if x.is_complex() and not dtype.is_complex:
        x = x != 0 if dtype == torch.bool else torch.real(x)
    return x.to(dtype)


def _cast_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    source, target = operand(0).type.dtype, node.attr("dtype")
    if cotangents[0] is None or not is_differentiable(source) or not is_differentiable(target):
        return [None]
    g = E(b, cotangents[0])
    if is_complex(target) and not is_complex(source):
        g = g.op("re")
    return [g.cast(source).value]


register(Op("cast", "elementwise", _infer_cast, _cast, _cast_adjoint, batch_elementwise, ((0,),),
            doc="x in another dtype: real to integer truncates, complex to real takes the real part,"
            " anything to bool tests x != 0."))  # fmt: skip
