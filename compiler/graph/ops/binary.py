"""Elementwise ops of several operands: arithmetic, comparison, logic and ``where``. They broadcast as in NumPy,
within the language's rule: an axis broadcasts only if its size is literally 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...diagnostics import DataError
from ..types import Type
from .common import E, batch_elementwise, broadcast_shapes, is_differentiable, need, need_count, same_dtype, unbroadcast
from .table import Adjoint, Attrs, Linear, Numerics, Op, register

if TYPE_CHECKING:
    from ..graph import Builder, Node, Value

Fetch = Callable[[], E]
#: The two cotangents, before broadcasting is undone, from (g, a, b, result); None is zero.
Rule = Callable[[E, Fetch, Fetch, Fetch], "tuple[E | None, E | None]"]


def _binary(
    name: str,
    kind: str,
    doc: str,
    numerics: Numerics,
    rule: Rule | None = None,
    result: str | None = None,
    linear: Linear = (),
) -> None:
    def infer(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
        need_count(name, types, 2)
        need(name, kind, *types)
        dtype = same_dtype(name, types)
        return (Type(result or dtype, broadcast_shapes(name, types)),)

    register(Op(name, "elementwise", infer, numerics, _adjoint(rule) if rule else None, batch_elementwise, linear, doc=doc))


def _adjoint(rule: Rule) -> Adjoint:
    def adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
        if cotangents[0] is None or not is_differentiable(node.output.type.dtype):
            return [None, None]
        g = E(b, cotangents[0])
        found = rule(g, lambda: E(b, operand(0)), lambda: E(b, operand(1)), lambda: E(b, result(0)))
        return [None if c is None else unbroadcast(b, c.value, operand(n).type.shape) for n, c in enumerate(found)]

    return adjoint


def _torch(name: str) -> Numerics:
    return lambda torch, attrs, x, y: getattr(torch, name)(x, y)


def _floordiv(torch: Any, attrs: Attrs, x: Any, y: Any) -> Any:
    _check_divisor(y)
    return torch.floor_divide(x.detach(), y.detach())


def _remainder(torch: Any, attrs: Attrs, x: Any, y: Any) -> Any:
    _check_divisor(y)
    return torch.remainder(x, y)


def _check_divisor(y: Any) -> None:
    if not y.is_floating_point() and bool((y == 0).any()):
        raise DataError("integer division by zero")


def _div(g: E, a: Fetch, b: Fetch, y: Fetch) -> tuple[E, E]:
    scaled = g / b().conj()
    return scaled, -(scaled * y().conj())


def _mod(g: E, a: Fetch, b: Fetch, y: Fetch) -> tuple[E, E]:
    return g, -(g * a().op("floordiv", b()))


def _pow(g: E, a: Fetch, b: Fetch, y: Fetch) -> tuple[E, E]:
    base, exponent = a(), b()
    slope = g * (exponent * base.op("pow", exponent - 1.0)).conj()
    zero = base.op("eq", 0.0)
    growth = g * (y() * zero.where(1.0, base).op("log")).conj()
    return exponent.op("eq", 0.0).where(0.0, slope), zero.where(0.0, growth)


def _extremum(loses: str) -> Rule:
    def rule(g: E, a: Fetch, b: Fetch, y: Fetch) -> tuple[E, E]:
        tie = a().op("eq", b())
        half = g * 0.5
        return (
            tie.where(half, a().op(loses, b()).where(0.0, g)),
            tie.where(half, b().op(loses, a()).where(0.0, g)),
        )

    return rule


_binary("add", "numeric", "Sum: a + b.", _torch("add"), lambda g, a, b, y: (g, g), linear=((0, 1),))
_binary("sub", "numeric", "Difference: a - b.", _torch("sub"), lambda g, a, b, y: (g, -g), linear=((0, 1),))
_binary("mul", "numeric", "Product: a * b.", _torch("mul"), lambda g, a, b, y: (g * b().conj(), g * a().conj()), linear=((0,), (1,)))
_binary("div", "floating or complex", "Quotient: a / b.", _torch("div"), _div, linear=((0,),))
_binary("floordiv", "real", "Floor of the quotient, as Python's //: (a - mod(a, b)) / b. Derivative zero.",
        _floordiv)  # fmt: skip
_binary("mod", "real", "Remainder with the sign of b, as Python's %: a - b * floor(a / b).", _remainder, _mod)
_binary("pow", "numeric", "Power: a^b.", _torch("pow"), _pow)
_binary("maximum", "real", "The larger of two; NaN if one is NaN. At a tie each gets half of the derivative.",
        _torch("maximum"), _extremum("lt"))  # fmt: skip
_binary("minimum", "real", "The smaller of two; NaN if one is NaN. At a tie each gets half of the derivative.",
        _torch("minimum"), _extremum("gt"))  # fmt: skip
_binary("eq", "comparable", "True where a = b.", _torch("eq"), result="bool")
_binary("ne", "comparable", "True where a and b differ.", _torch("ne"), result="bool")
_binary("lt", "real or bool", "True where a < b.", _torch("lt"), result="bool")
_binary("le", "real or bool", "True where a <= b.", _torch("le"), result="bool")
_binary("gt", "real or bool", "True where a > b.", _torch("gt"), result="bool")
_binary("ge", "real or bool", "True where a >= b.", _torch("ge"), result="bool")
_binary("and", "bool", "Logical and.", _torch("logical_and"))
_binary("or", "bool", "Logical or.", _torch("logical_or"))


def _infer_where(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    need_count("where", types, 3)
    need("where", "bool", types[0])
    return (Type(same_dtype("where", types[1:]), broadcast_shapes("where", types)),)


def _where_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    if cotangents[0] is None or not is_differentiable(node.output.type.dtype):
        return [None, None, None]
    chosen, g = E(b, operand(0)), E(b, cotangents[0])
    parts = (chosen.where(g, 0.0), chosen.where(0.0, g))
    return [None, *(unbroadcast(b, p.value, operand(n).type.shape) for n, p in enumerate(parts, 1))]


register(Op("where", "elementwise", _infer_where, lambda torch, attrs, c, x, y: torch.where(c, x, y), _where_adjoint,
            batch_elementwise, ((1, 2),), doc="a where the condition holds, else b."))  # fmt: skip
