"""Elementwise ops as expressions of Triton. Division and roots are rounded correctly, elementary functions are those of libdevice (or, in
Triton's interpreter, NumPy's), as in PyTorch; Triton's own are faster and lose digits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...compiler.diagnostics import CompileError
from ...compiler.graph.types import is_floating
from .values import TYPES

#: ``rule(dtype of the first operand, operands)``.
Rule = Callable[..., str]


def _libdevice(name: str) -> Rule:
    return lambda dtype, *xs: f"libdevice.{name}({', '.join(xs)})"


def _infix(sign: str) -> Rule:
    return lambda dtype, a, b: f"({a} {sign} {b})"


def _extremum(name: str) -> Rule:
    def rule(dtype: str, a: str, b: str) -> str:
        more = ", propagate_nan=tl.PropagateNan.ALL" if is_floating(dtype) else ""
        return f"tl.{name}({a}, {b}{more})"

    return rule


def _divide(dtype: str, a: str, b: str) -> str:
    return f"tl.div_rn({a}, {b})" if dtype == "f32" else f"({a} / {b})"


def _root(dtype: str, x: str) -> str:
    return f"tl.sqrt_rn({x})" if dtype == "f32" else f"tl.sqrt({x})"


def _sign(dtype: str, x: str) -> str:
    kind = TYPES[dtype]
    found = f"(({x} > 0).to({kind}) - ({x} < 0).to({kind}))"
    return f"tl.where({x} != {x}, {x}, {found})" if is_floating(dtype) else found


def _number(value: Any, dtype: str) -> str:
    return f"tl.full((), {value}, {TYPES[dtype]})"


def _sigmoid(dtype: str, x: str) -> str:
    one = _number(1.0, dtype)
    return _divide(dtype, one, f"({one} + libdevice.exp(-{x}))")


def _softplus(dtype: str, x: str) -> str:
    positive = _extremum("maximum")(dtype, x, _number(0.0, dtype))
    return f"({positive} + libdevice.log1p(libdevice.exp(-tl.abs({x}))))"


def _power(dtype: str, a: str, b: str) -> str:
    if not is_floating(dtype):
        raise CompileError("integer powers")
    return f"libdevice.pow({a}, {b})"


RULES: dict[str, Rule] = {
    "add": _infix("+"), "sub": _infix("-"), "mul": _infix("*"), "div": _divide, "pow": _power,
    "maximum": _extremum("maximum"), "minimum": _extremum("minimum"),
    "eq": _infix("=="), "ne": _infix("!="), "lt": _infix("<"), "le": _infix("<="), "gt": _infix(">"), "ge": _infix(">="),
    "and": _infix("&"), "or": _infix("|"), "not": lambda dtype, x: f"({x} == 0)",
    "where": lambda dtype, c, a, b: f"tl.where({c}, {a}, {b})",
    "neg": lambda dtype, x: f"(-{x})", "abs": lambda dtype, x: f"tl.abs({x})", "sign": _sign,
    "sqrt": _root, "root": _root, "sigmoid": _sigmoid, "softplus": _softplus,
    "relu": lambda dtype, x: _extremum("maximum")(dtype, x, _number(0.0 if is_floating(dtype) else 0, dtype)),
    "floor": lambda dtype, x: f"tl.floor({x})", "ceil": lambda dtype, x: f"tl.ceil({x})", "round": _libdevice("rint"),
    "isfinite": lambda dtype, x: f"(tl.abs({x}) < float('inf'))" if is_floating(dtype) else f"({x} == {x})",
    "stop_gradient": lambda dtype, x: x, "conj": lambda dtype, x: x, "re": lambda dtype, x: x,
    "im": lambda dtype, x: f"({x} - {x})",
    **{name: _libdevice(name) for name in ("exp", "log", "log1p", "expm1", "sin", "cos", "tan", "tanh", "erf", "lgamma")},
}  # fmt: skip


def expression(op: str, dtype: str, operands: Sequence[str]) -> str:
    """The expression of an elementwise op. Raises CompileError if it has none here."""
    if op not in RULES:
        raise CompileError(f"Triton has no {op}")
    return RULES[op](dtype, *operands)


def cast(text: str, source: str, target: str) -> str:
    """A value in another dtype."""
    if source == target:
        return text
    return f"({text} != 0)" if target == "bool" else f"tl.cast({text}, {TYPES[target]})"
