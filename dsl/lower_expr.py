"""Lowering of expressions: names, literals, operators, comparisons, attributes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from ..compiler.graph.graph import Value
from ..compiler.graph.types import Size, is_complex, is_integer
from ..compiler.nearest import nearest
from . import other_words
from . import syntax as s
from .builtins.all import builtin_named
from .builtins.compose import permute, reshape
from .context import Context, LowerError, Poisoned, describe, lowers, noun, weak_kind
from .dtypes import kind_of
from .operand import (
    Array,
    BuiltinError,
    DTypeOperand,
    FunctionOperand,
    ModuleOperand,
    NoneOperand,
    Operand,
    SizeOperand,
    StringOperand,
    StructOperand,
    TupleOperand,
    Weak,
    WeakExpression,
)
from .syntax_text import expression_text

_OPS = {"+": "add", "-": "sub", "*": "mul", "/": "div", "//": "floordiv", "%": "mod", "**": "pow",
        "==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "and": "and", "or": "or"}  # fmt: skip
_FOLD: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv,
    "%": operator.mod, "**": operator.pow, "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_MAX_TERMS = 60


@lowers(s.Number)
def _number(ctx: Context, node: s.Number) -> Operand:
    return Weak(node.value)


@lowers(s.String)
def _string(ctx: Context, node: s.String) -> Operand:
    return StringOperand(node.text)


@lowers(s.NoneLiteral)
def _none(ctx: Context, node: s.NoneLiteral) -> Operand:
    return NoneOperand()


@lowers(s.TupleExpr)
def _tuple(ctx: Context, node: s.TupleExpr) -> Operand:
    return TupleOperand(tuple(ctx.expr(item) for item in node.items))


@lowers(s.ListExpr)
def _list(ctx: Context, node: s.ListExpr) -> Operand:
    raise ctx.fault("US0416", "brackets alone make no array", node.span, "stack(a, b, axis=0), or [e for i in 0..n]")


@lowers(s.Name)
def _name(ctx: Context, node: s.Name) -> Operand:
    binding = ctx.names.get(node.text)
    if binding is not None:
        if binding.operand is None:
            raise Poisoned
        return binding.operand
    definition = ctx.scope.definitions.get(node.text)
    if isinstance(definition, s.Fn):
        return FunctionOperand(definition)
    if node.text in s.TYPE_NAMES and node.text != "weights":
        return DTypeOperand(node.text)
    raise unknown_name(ctx, node)


def unknown_name(ctx: Context, node: s.Name) -> LowerError:
    """The error for a name that means nothing here."""
    name = node.text
    if isinstance(ctx.scope.definitions.get(name), s.AlgorithmDecl):
        return ctx.fault("US0417", f"the algorithm {name} is used as a value", node.span, f"call it: {name}(...)")
    builtin = builtin_named(name)
    if builtin is not None:
        return ctx.fault("US0417", f"the builtin {name} is used as a value", node.span, f"call it: {builtin.signature}")
    if name in ctx.scope.files:
        return ctx.fault("US0417", f"the file {name} is used as a value", node.span, f"take a name from it: {name}.f")
    ended = ctx.unit.ended.get(name)
    if ended is not None:
        return ctx.fault(
            "US0202", f"{name} is not bound here: it was first bound inside a block that has ended", node.span,
            f"bind {name} before the block", (f"bound at {ended}",),
        )  # fmt: skip
    hint = other_words.hint(name, [*ctx.names, *ctx.scope.definitions, *ctx.scope.files])
    if hint is None and not ctx.scope.python:
        above = f"`{name} = ...` above binds it, `{name}: real` in the signature makes it an input"
        hint = f"a fn sees its parameters only; pass {name} to {ctx.function}" if ctx.function else above
    return ctx.fault("US0201", f"unknown name {name}", node.span, hint)


@lowers(s.Attribute)
def _attribute(ctx: Context, node: s.Attribute) -> Operand:
    name = node.name.text
    if isinstance(node.value, s.Name) and node.value.text not in ctx.names and node.value.text in ctx.scope.files:
        offered = {d.name.text: d for d in ctx.scope.files[node.value.text].own}
        found = offered.get(name)
        if isinstance(found, s.Fn):
            return FunctionOperand(found)
        if found is not None:
            raise ctx.fault("US0417", f"the algorithm {name} is used as a value", node.span, f"call it: {name}(...)")
        near = nearest(name, offered)
        hint = near if near is not None else f"it defines {', '.join(offered) or 'nothing'}"
        raise ctx.fault("US0602", f"{node.value.text} defines no {name}", node.name.span, hint)
    if isinstance(node.value, s.Name) and node.value.text in other_words.MODULES and node.value.text not in ctx.names:
        module = node.value.text
        raise ctx.fault("US0201", f"unknown name {module}", node.value.span, other_words.without_module(module, name))
    value = ctx.expr(node.value)
    if isinstance(value, StructOperand):
        field = value.fields.get(name)
        if field is None:
            fields = ", ".join("." + f for f in value.fields)
            near = nearest(name, value.fields)
            hint = f".{near}" if near is not None else f"it has {fields}"
            raise ctx.fault("US0210", f"the result of {value.name} has no .{name}", node.name.span, hint)
        if isinstance(field, BuiltinError):
            raise ctx.fault(field.code, field.message, node.span, field.suggestion)
        return field
    if name in ("T", "H") and not isinstance(value, ModuleOperand):
        return Array(transpose(ctx, ctx.as_value(value), conjugate=name == "H"))
    if isinstance(value, ModuleOperand):
        if name != "weights":
            raise ctx.fault("US0210", f"{noun(value)} has no .{name}", node.name.span, "a module has .weights")
        one_instance(ctx, value, f"{value.name}[k].weights")
        return Array(ctx.builder.op("weights", name=value.name, index=value.index, types=(value.weights,)))
    raise ctx.fault("US0210", f"{noun(value)} has no .{name}", node.name.span, _as_function(ctx, node, name))


def _as_function(ctx: Context, node: s.Attribute, name: str) -> str:
    """What to try for ``x.sum``."""
    shown = expression_text(node.value)
    if builtin_named(name) is not None:
        return f"{'us.' if ctx.scope.python else ''}{name}({shown})"
    if name in ("t", "transpose"):
        return f"{shown}.T"
    found = other_words.attribute(name)
    return found if found is not None else "arrays have .T and .H; all else is a function: sum(x)"


def one_instance(ctx: Context, module: ModuleOperand, hint: str) -> None:
    """Raises US0413 for a module of several instances, of which none was chosen."""
    if module.count is not None and module.index is None:
        raise ctx.fault("US0413", f"the module {module.name} has {module.count} instances", None, f"take one: {hint}")


def transpose(ctx: Context, x: Value, conjugate: bool) -> Value:
    """``.T`` or ``.H``: the last two axes exchanged; a vector stays."""
    if conjugate and is_complex(x.type.dtype):
        x = ctx.builder.op("conj", x)
    if x.type.rank < 2:
        return x
    return permute(ctx.builder, x, [*range(-x.type.rank, -2), -1, -2])


# -- operators -----------------------------------------------------------------------------------------------------


@lowers(s.Unary)
def _unary(ctx: Context, node: s.Unary) -> Operand:
    operand = ctx.expr(node.operand)
    if node.op == "not":
        return negation(ctx, operand, node.operand)
    if isinstance(operand, Array):
        if kind_of(operand.type.dtype) in ("bool", "key"):
            raise ctx.fault("US0303", f"{node.op} of {describe(operand.type)}", node.span, "cast it first: cast(x, real)")
        return Array(ctx.builder.op("neg", operand.value)) if node.op == "-" else operand
    if weak_kind(operand) == "bool":
        raise ctx.fault("US0303", f"{node.op} of True or False", node.span, "numbers are 1 and 0")
    if node.op == "+":
        return operand
    if isinstance(operand, Weak):
        return Weak(-operand.number)
    return SizeOperand(-operand.size) if isinstance(operand, SizeOperand) else WeakExpression("neg", (operand,))


def negation(ctx: Context, operand: Operand, node: s.Expr) -> Operand:
    """``not x``."""
    if isinstance(operand, Weak) and isinstance(operand.number, bool):
        return Weak(not operand.number)
    return Array(ctx.builder.op("not", boolean(ctx, operand, node)))


def boolean(ctx: Context, operand: Operand, node: s.Expr) -> Value:
    """An operand that must be bool."""
    value = ctx.as_value(operand)
    if value.type.dtype != "bool":
        raise ctx.fault("US0306", f"a bool is needed here, not {noun(operand)}", node.span, "compare it, as in x != 0")
    return value


@lowers(s.Binary)
def _binary(ctx: Context, node: s.Binary) -> Operand:
    if node.op in ("and", "or"):
        left, right = ctx.expr(node.left), ctx.expr(node.right)
        if isinstance(left, Weak) and isinstance(right, Weak) and type(left.number) is type(right.number) is bool:
            return Weak(left.number and right.number if node.op == "and" else left.number or right.number)
        a, b = boolean(ctx, left, node.left), boolean(ctx, right, node.right)
        return Array(ctx.builder.op(_OPS[node.op], *_fitted(ctx, node.op, a, b)))
    return arithmetic(ctx, node.op, ctx.expr(node.left), ctx.expr(node.right))


def arithmetic(ctx: Context, op: str, left: Operand, right: Operand) -> Operand:
    """``left op right`` for ``+ - * / // % ** @``."""
    if op == "@":
        return _matmul(ctx, left, right)
    if not isinstance(left, Array) and not isinstance(right, Array):
        return _weak(ctx, op, left, right)
    for operand in (left, right):
        if isinstance(operand, Array) and operand.type.dtype in ("bool", "key"):
            hint = "cast it first: cast(x, real)" if operand.type.dtype == "bool" else "draw from it: normal(rng, n)"
            raise ctx.fault("US0303", f"arithmetic on {describe(operand.type)}", None, hint)
    if op == "**":
        return _power(ctx, left, right)
    (a, b), dtype = ctx.promote(left, right, real=op == "/")
    if dtype == "key" or (op in ("//", "%") and is_complex(dtype)):
        raise ctx.fault("US0303", f"{op} of {dtype} values")
    return Array(ctx.builder.op(_OPS[op], *_fitted(ctx, op, a, b)))


def _fitted(ctx: Context, op: str, a: Value, b: Value) -> tuple[Value, Value]:
    """The operands, which must broadcast; sizes that only ``where`` makes equal are written alike."""
    try:
        shape = ctx.broadcast_shapes(a.type.shape, b.type.shape)
    except BuiltinError as error:
        message = f"{op} of {describe(a.type)} and {describe(b.type)}: " + error.message.split(", in shapes")[0]
        raise ctx.fault("US0301", message, None, error.suggestion) from None
    return _spelled(ctx, a, shape), _spelled(ctx, b, shape)


def _spelled(ctx: Context, x: Value, shape: tuple[Size, ...]) -> Value:
    sizes = [s if s.constant == 1 else t for s, t in zip(x.type.shape, shape[len(shape) - x.type.rank :], strict=True)]
    return reshape(ctx.builder, x, sizes)


def _power(ctx: Context, left: Operand, right: Operand) -> Operand:
    exponent = right.number if isinstance(right, Weak) else None
    if isinstance(left, Array):
        if exponent == 2 and not isinstance(exponent, complex):
            return Array(ctx.builder.op("mul", left.value, left.value))
        if exponent == 1 and isinstance(exponent, int):
            return left
        if isinstance(exponent, int) and exponent < 0 and is_integer(left.type.dtype):
            left = Array(ctx.as_value(left, "real"))
    (a, b), _ = ctx.promote(left, right)
    return Array(ctx.builder.op("pow", *_fitted(ctx, "**", a, b)))


def _weak(ctx: Context, op: str, left: Operand, right: Operand) -> Operand:
    kinds = {weak_kind(left), weak_kind(right)}
    if "bool" in kinds:
        raise ctx.fault("US0303", "arithmetic on True and False", None, "numbers are 1 and 0")
    if isinstance(left, Weak) and isinstance(right, Weak):
        return Weak(_fold(ctx, op, left.number, right.number))
    if kinds == {"integer"} and op != "/":
        sizes = _sizes(ctx, op, left, right)
        if sizes is not None:
            return SizeOperand(sizes)
    return WeakExpression(_OPS[op], (left, right))


def _fold(ctx: Context, op: str, a: Any, b: Any) -> int | float | complex:
    try:
        if op == "**" and isinstance(a, int) and isinstance(b, int) and abs(b) * max(a.bit_length(), 1) > 128:
            a = float(a)
        result = _FOLD[op](a, b)
    except ZeroDivisionError:
        raise ctx.fault("US0310", f"{a} {op} {b} divides by zero") from None
    except (OverflowError, TypeError):
        raise ctx.fault("US0310", f"{a} {op} {b} is no finite number") from None
    if isinstance(result, int) and not -(2**63) <= result < 2**63:
        raise ctx.fault("US0310", f"{a} {op} {b} does not fit in 64 bits", None, "write a float: 1e20")
    if isinstance(result, complex) and not (isinstance(a, complex) or isinstance(b, complex)):
        raise ctx.fault("US0310", f"{a} {op} {b} is no real number")
    if isinstance(result, float) and not math.isfinite(result) and math.isfinite(a) and math.isfinite(b):
        raise ctx.fault("US0310", f"{a} {op} {b} is no finite number")
    return result  # type: ignore[no-any-return]


def _sizes(ctx: Context, op: str, left: Operand, right: Operand) -> Size | None:
    a, b = ctx.size_of(left), ctx.size_of(right)
    result: Size | None = None
    match op:
        case "+":
            result = a + b
        case "-":
            result = a - b
        case "*":
            result = a * b
        case "//" | "%":
            if b.constant == 0:
                raise ctx.fault("US0310", f"{a} {op} 0 divides by zero")
            if not ctx.facts.less(Size.of(0), b) and not ctx.facts.less(b, Size.of(0)):
                raise ctx.fault("US0310", f"{a} {op} ({b}) may divide by zero", None, f"add `where {b} >= 1`")
            result = a // b if op == "//" else a % b
        case "**" if b.constant is not None and 0 <= b.constant <= 8:
            result = Size.of(1)
            for _ in range(b.constant):
                result = result * a
    if result is not None and (len(result.terms) > _MAX_TERMS or any(abs(c) >= 2**62 for _, c in result.terms)):
        raise ctx.fault("US0310", "this size expression is too large")
    return result


# -- matrix product ------------------------------------------------------------------------------------------------


def _matmul(ctx: Context, left: Operand, right: Operand) -> Operand:
    for operand in (left, right):
        if not isinstance(operand, Array) or not operand.type.rank:
            what = noun(operand) if not isinstance(operand, Array) else f"a scalar ({operand.type.dtype})"
            raise ctx.fault("US0302", f"@ takes vectors and matrices, not {what}", None, "multiply with *")
    (a, b), dtype = ctx.promote(left, right)
    if dtype == "bool":
        raise ctx.fault("US0303", "@ of bool arrays", None, "cast them first: cast(x, real)")
    inner_a, inner_b = a.type.shape[-1], b.type.shape[-2 if b.type.rank > 1 else -1]
    if not ctx.same_size(inner_a, inner_b):
        hint = "a transpose may be missing: .T" if a.type.rank + b.type.rank > 2 else None
        raise ctx.fault(
            "US0302", f"{describe(a.type)} @ {describe(b.type)}: the inner sizes are {inner_a} and {inner_b}, and must be equal",
            None, hint,
        )  # fmt: skip
    return Array(_contract(ctx, a, b))


def _contract(ctx: Context, a: Value, b: Value) -> Value:
    lead_a, lead_b = a.type.shape[:-2], b.type.shape[:-2]
    lead = ctx.broadcast_shapes(lead_a, lead_b)
    letters = "abcdefghijklmnop"[: len(lead)]
    if len(lead) > len(letters):
        raise ctx.fault("US0302", "@ of arrays with too many axes")
    core_a = "xk" if a.type.rank > 1 else "k"
    core_b = "ky" if b.type.rank > 1 else "k"
    operands = []
    subscripts = []
    for value, shape, core in ((a, lead_a, core_a), (b, lead_b, core_b)):
        mine = letters[len(letters) - len(shape) :] if shape else ""
        kept = [n for n, size in enumerate(shape) if not (size.constant == 1 and lead[len(lead) - len(shape) + n].constant != 1)]
        if len(kept) < len(shape):
            value = ctx.builder.op("reshape", value, shape=(*(shape[n] for n in kept), *value.type.shape[len(shape) :]))
            mine = "".join(mine[n] for n in kept)
        operands.append(value)
        subscripts.append(mine + core)
    out = letters + core_a.replace("k", "") + core_b.replace("k", "")
    result: Value = ctx.builder.op("einsum", *operands, spec=f"{','.join(subscripts)}->{out}")
    return result


# -- comparisons ---------------------------------------------------------------------------------------------------


@lowers(s.Compare)
def _compare(ctx: Context, node: s.Compare) -> Operand:
    operands = [ctx.expr(o) for o in node.operands]
    parts = [comparison(ctx, op, a, b) for op, a, b in zip(node.ops, operands, operands[1:])]
    if len(parts) == 1:
        return parts[0]
    if any(isinstance(p, Array) and p.type.rank for p in parts):
        raise ctx.fault("US0307", "a chained comparison of arrays", node.span, "write (a < b) and (b < c)")
    if all(isinstance(p, Weak) for p in parts):
        return Weak(all(p.number for p in parts if isinstance(p, Weak)))
    value = ctx.as_value(parts[0])
    for part in parts[1:]:
        value = ctx.builder.op("and", value, ctx.as_value(part))
    return Array(value)


def comparison(ctx: Context, op: str, left: Operand, right: Operand) -> Operand:
    """One comparison."""
    if isinstance(left, Weak) and isinstance(right, Weak):
        if op not in ("==", "!=") and (isinstance(left.number, complex) or isinstance(right.number, complex)):
            raise ctx.fault("US0303", "complex numbers have no order")
        return Weak(bool(_FOLD[op](left.number, right.number)))
    (a, b), dtype = ctx.promote(left, right)
    if is_complex(dtype) and op not in ("==", "!="):
        raise ctx.fault("US0303", "complex numbers have no order", None, "compare abs(x), re(x) or im(x)")
    if dtype == "key" or (dtype == "bool" and op not in ("==", "!=")):
        raise ctx.fault(
            "US0303", f"{op} of {dtype} values", None, "bool values have and, or, not, ==, !=" if dtype == "bool" else None
        )
    return Array(ctx.builder.op(_OPS[op], *_fitted(ctx, op, a, b)))
