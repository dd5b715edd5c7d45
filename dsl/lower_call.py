"""Lowering of calls: builtins, functions (inlined), modules, derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..compiler.diagnostics import Span
from ..compiler.graph.graph import Builder, Graph, Value
from ..compiler.graph.types import size_fn
from ..compiler.nearest import nearest
from . import syntax as s
from .builtins.all import builtin_named
from .context import HOOKS, MAX_CALLS, Binding, Context, LowerError, describe, lowers, noun
from .dtypes import can_store
from .lower_expr import one_instance, unknown_name
from .lower_sum import REDUCTIONS, index_sum
from .operand import (
    Array,
    Builtin,
    BuiltinError,
    CallableOperand,
    FunctionOperand,
    ModuleOperand,
    NameOperand,
    Operand,
    SizeOperand,
    TupleOperand,
    Weak,
)
from .syntax_text import expression_text
from .walk import descend


@lowers(s.Call)
def _call(ctx: Context, node: s.Call) -> Operand:
    target = _target(ctx, node.function)
    generator = next((a.value for a in node.arguments if isinstance(a.value, s.Comprehension) and not a.value.brackets), None)
    if generator is not None:
        return _generator(ctx, node, target, generator)
    if isinstance(target, Builtin):
        return _builtin(ctx, node, target)
    if isinstance(target, s.AlgorithmDecl):
        result: Operand = HOOKS["algorithm"](ctx, node, target)
        return result
    args, kwargs = _arguments(ctx, node, ())
    if isinstance(target, FunctionOperand):
        return inline(ctx, target.fn, _bound(ctx, node, target, args, kwargs), node.span)
    if isinstance(target, ModuleOperand):
        odd = next((key for key in kwargs if key != "weights"), None)
        if odd is not None:
            raise ctx.fault("US0413", f"the module {target.name} takes no argument {odd}", _place(node, odd), "by name it takes weights=")
        weights = (kwargs["weights"], _place(node, "weights")) if kwargs else None
        return _module(ctx, target, args, [a.span for a in node.arguments], weights)
    if isinstance(target, CallableOperand):
        return _applied(ctx, node, lambda: target.call(ctx, tuple(args), kwargs))
    hint = "multiply with `*`, index with `[ ]`"
    if isinstance(node.function, s.Attribute) and node.function.name.text in ("T", "H"):
        hint = f"{expression_text(node.function)}, without parentheses"
    raise ctx.fault("US0417", f"{noun(target)} cannot be called", node.function.span, hint)


def _target(ctx: Context, node: s.Expr) -> Operand | Builtin | s.AlgorithmDecl:
    """What is called: a user's name shadows a builtin."""
    if isinstance(node, s.Name) and node.text not in ctx.names:
        definition = ctx.scope.definitions.get(node.text)
        if isinstance(definition, s.AlgorithmDecl):
            return definition
        builtin = builtin_named(node.text) if definition is None else None
        if builtin is not None:
            return builtin
        if definition is None and node.text not in s.TYPE_NAMES:
            raise unknown_name(ctx, node)
        if definition is None:
            raise ctx.fault("US0417", f"the type {node.text} cannot be called", node.span, f"cast(x, {node.text})")
    if isinstance(node, s.Attribute) and isinstance(node.value, s.Name) and node.value.text not in ctx.names:
        used = ctx.scope.files.get(node.value.text)
        found = next((d for d in used.own if d.name.text == node.name.text), None) if used else None
        if isinstance(found, s.AlgorithmDecl):
            return found
    return ctx.expr(node)


def _generator(ctx: Context, node: s.Call, target: Operand | Builtin | s.AlgorithmDecl, generator: s.Comprehension) -> Operand:
    if len(node.arguments) > 1:
        raise ctx.fault(
            "US0416", "a generator is its call's only argument", node.arguments[1].span, "put it in brackets: [... for ...]"
        )
    if not isinstance(target, Builtin):
        raise ctx.fault(
            "US0416", "only sum, prod, max, min, any and all take a generator", node.span, "an array needs brackets: [...]"
        )
    return index_sum(ctx, target.name, generator)


def _arguments(ctx: Context, node: s.Call, names: Sequence[int]) -> tuple[list[Operand], dict[str, Operand]]:
    args: list[Operand] = []
    kwargs: dict[str, Operand] = {}
    for argument in node.arguments:
        if argument.name is None:
            if kwargs:
                raise ctx.fault("US0403", "a positional argument after a named one", argument.span)
            if len(args) in names and isinstance(argument.value, s.Name):
                args.append(NameOperand(argument.value.text))
            else:
                args.append(ctx.expr(argument.value))
        elif argument.name.text in kwargs:
            raise ctx.fault("US0403", f"the argument {argument.name.text} comes twice", argument.span)
        else:
            kwargs[argument.name.text] = ctx.expr(argument.value)
    return args, kwargs


def _applied(ctx: Context, node: s.Call, apply: Callable[[], Operand | tuple[Operand, ...]]) -> Operand:
    """The result of a builtin; its errors at the argument they name."""
    try:
        result = apply()
    except BuiltinError as error:
        raise ctx.fault(error.code, error.message, _place(node, error.argument), error.suggestion) from None
    return TupleOperand(result) if isinstance(result, tuple) else result


def _place(node: s.Call, argument: int | str | None) -> Span:
    positional = [a for a in node.arguments if a.name is None]
    if isinstance(argument, int) and 0 <= argument < len(positional):
        return positional[argument].span
    for a in node.arguments:
        if a.name is not None and a.name.text == argument:
            return a.span
    return node.span


def _builtin(ctx: Context, node: s.Call, builtin: Builtin) -> Operand:
    if builtin.name in REDUCTIONS:
        _loose_index(ctx, node, builtin.name)
    args, kwargs = _arguments(ctx, node, builtin.names)
    if builtin.name in ("min", "max") and len(args) > 1 and not kwargs and _are_sizes(args):
        return SizeOperand(size_fn(builtin.name, *(ctx.size_of(a) for a in args)))
    try:
        return _applied(ctx, node, lambda: builtin.lower(ctx, tuple(args), kwargs))
    except LowerError as error:
        if error.diagnostic.code == "US0402" and error.diagnostic.suggestion is None and builtin.signature:
            error.diagnostic = replace(error.diagnostic, suggestion=builtin.signature)
        raise


def _loose_index(ctx: Context, node: s.Call, name: str) -> None:
    """Refuse ``sum(x[i], i)``, whose index means nothing, with what was meant."""
    last = node.arguments[-1].value if len(node.arguments) > 1 else None
    if isinstance(last, s.Name) and last.text not in ctx.names and last.text not in ctx.scope.definitions:
        inside = any(isinstance(n, s.Name) and n.text == last.text for a in node.arguments[:-1] for n in descend(a))
        if inside and builtin_named(last.text) is None:
            body = expression_text(node.arguments[0].value)
            raise ctx.fault("US0201", f"unknown name {last.text}", last.span, _indexed(ctx, name, body, last.text))


def _indexed(ctx: Context, name: str, body: str, index: str) -> str:
    """A reduction over an index, as it is written in a file or in Python."""
    return f"us.{name}({body} for {index} in range(n))" if ctx.scope.python else f"{name}({body} for {index} in 0..n)"


def _are_sizes(args: Sequence[Operand]) -> bool:
    """Sizes and integers, at least one size."""
    integers = all(isinstance(a, SizeOperand) or (isinstance(a, Weak) and type(a.number) is int) for a in args)
    return integers and any(isinstance(a, SizeOperand) for a in args)


# -- functions -----------------------------------------------------------------------------------------------------


def _bound(ctx: Context, node: s.Call, fn: FunctionOperand, args: Sequence[Operand], kwargs: dict[str, Operand]) -> list[Operand]:
    names = fn.parameters
    shown = f"{fn.name}({', '.join(names)})"
    if len(args) > len(names):
        raise ctx.fault("US0411", f"{shown} takes {_count(len(names))}, not {len(args)}", node.arguments[len(names)].span)
    bound = dict(zip(names, args))
    for key, operand in kwargs.items():
        if key not in names:
            near = nearest(key, names)
            raise ctx.fault("US0411", f"{shown} has no parameter {key}", _place(node, key), f"{near}=" if near else None)
        if key in bound:
            raise ctx.fault("US0411", f"{shown} got {key} twice", _place(node, key))
        bound[key] = operand
    missing = [n for n in names if n not in bound]
    if missing:
        raise ctx.fault("US0411", f"{shown} is called without {', '.join(missing)}", node.span)
    return [bound[n] for n in names]


def _count(n: int) -> str:
    return "no arguments" if n == 0 else f"{n} argument{'s' if n > 1 else ''}"


def inline(ctx: Context, fn: s.Fn, args: Sequence[Operand], span: Span, builder: Builder | None = None) -> Operand:
    """The result of a function applied to operands, its body lowered here (or into another builder)."""
    if any(fn is f for f in ctx.active):
        raise ctx.fault("US0412", f"{fn.name.text} calls itself", span, "write a loop")
    count_call(ctx, span)
    inner = Context(
        builder or ctx.builder, ctx.scope.home(fn), ctx.unit, {}, ctx.facts, fn.name.text,
        (*ctx.trail, (fn.name.text, span)), (*ctx.active, fn),
    )  # fmt: skip
    inner.builder.span = span
    for name, operand in zip(fn.parameters, args, strict=True):
        inner.names[name.text] = Binding(operand, name.span)
    if ctx.unit.observer is not None:
        ctx.unit.observer.names(inner)
    result: Operand = HOOKS["body"](inner, fn.body)
    return result


def count_call(ctx: Context, span: Span) -> None:
    """Bound the work: calls are inlined, and calls of calls multiply."""
    ctx.unit.calls += 1
    if ctx.unit.calls > MAX_CALLS:
        raise ctx.fault(
            "US0415", f"the program expands to more than {MAX_CALLS} calls", span, "call it in a loop or a comprehension"
        )


def _call_operand(ctx: Context, fn: Operand, args: Sequence[Operand]) -> Operand:
    if isinstance(fn, FunctionOperand):
        if len(args) != len(fn.parameters):
            raise BuiltinError(f"{fn.name} takes {_count(len(fn.parameters))}, not {len(args)}", code="US0411")
        return inline(ctx, fn.fn, args, ctx.span)
    if isinstance(fn, ModuleOperand):
        return _module(ctx, fn, args, [])
    if isinstance(fn, CallableOperand):
        result: Operand | tuple[Operand, ...] = fn.call(ctx, tuple(args), {})
        return TupleOperand(result) if isinstance(result, tuple) else result
    raise BuiltinError(f"{noun(fn)} is no function", code="US0417")


def _fn_graph(ctx: Context, fn: FunctionOperand, args: Sequence[Operand]) -> Graph:
    builder = Builder(fn.name)
    inside: list[Operand] = []
    for name, operand in zip(fn.parameters, args, strict=True):
        inside.append(Array(builder.input(name, operand.type)) if isinstance(operand, Array) else operand)
    span = ctx.span
    result = inline(ctx, fn.fn, inside, span, builder)
    items = result.items if isinstance(result, TupleOperand) else (result,)
    inner = ctx.inside(builder=builder)
    builder.span = span
    return builder.finish(
        [inner.as_value(item, None if isinstance(item, Array) else inner.common_dtype(item, real=True)) for item in items]
    )


# -- modules -------------------------------------------------------------------------------------------------------


def _module(
    ctx: Context, module: ModuleOperand, args: Sequence[Operand], spans: Sequence[Span], weights: tuple[Operand, Span] | None = None
) -> Operand:
    one_instance(ctx, module, f"{module.name}[k](x)")
    if len(args) != len(module.arguments):
        raise ctx.fault("US0413", f"the module {module.name} takes {_count(len(module.arguments))}, not {len(args)}")
    values: list[Value] = []
    for n, (operand, wanted) in enumerate(zip(args, module.arguments, strict=True)):
        value = ctx.as_value(operand, None if isinstance(operand, Array) else wanted.dtype)
        fits = value.type.rank == wanted.rank and all(map(ctx.same_size, value.type.shape, wanted.shape))
        if not fits or not can_store(value.type.dtype, wanted.dtype):
            raise ctx.fault(
                "US0413",
                f"the module {module.name} takes {describe(wanted)}, not {describe(value.type)}",
                spans[n] if spans else None,
            )
        values.append(ctx.as_value(Array(value), wanted.dtype))
    changes: dict[str, Any] = {}
    if weights is not None:
        operand, span = weights
        if not isinstance(operand, Array) or operand.type != module.weights:
            raise ctx.fault(
                "US0413", f"weights= of the module {module.name} takes weights({module.name}), not {noun(operand)}", span,
                f"begin with {module.name}.weights",
            )  # fmt: skip
        values.append(operand.value)
        changes["own"] = 0
    out = ctx.builder.op("module", *values, name=module.name, index=module.index, types=module.results, **changes)
    return TupleOperand(tuple(map(Array, out))) if isinstance(out, tuple) else Array(out)


HOOKS["call"] = _call_operand
HOOKS["graph"] = _fn_graph
