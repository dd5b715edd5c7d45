"""Lowering of assignments: binding names, and updating elements and slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..compiler.diagnostics import Span
from ..compiler.graph.graph import Value
from ..compiler.graph.types import Pick, Size, Type
from . import syntax as s
from .builtins.compose import broadcast, permute, reshape
from .context import WEAK, Binding, Context, Retype, describe, lowers, noun, weak_kind
from .dtypes import WEAK_DTYPES, can_store, common, join, kind_of
from .lower_expr import arithmetic
from .lower_index import Selection, read, select
from .operand import Array, DTypeOperand, NoneOperand, Operand, StringOperand, TupleOperand
from .types import resolve_type
from .walk import base_name

# -- binding -------------------------------------------------------------------------------------------------------


@lowers(s.Assign)
def _assign(ctx: Context, node: s.Assign) -> None:
    if node.type is not None:
        _typed(ctx, node, node.type)
        return
    operand = ctx.expr(node.value)
    if len(node.targets) == 1:
        assign_to(ctx, node.targets[0], operand, node.value.span)
        return
    items = operand.items if isinstance(operand, TupleOperand) else (operand,)
    if len(items) != len(node.targets):
        raise ctx.fault("US0311", f"{len(node.targets)} names for {len(items)} value{'s' if len(items) > 1 else ''}", node.span)
    for target, item in zip(node.targets, items, strict=True):
        assign_to(ctx, target, item, node.value.span)


def assign_to(ctx: Context, target: s.Expr, operand: Operand, span: Span) -> None:
    """Bind a name or update part of an array."""
    if isinstance(target, s.Name):
        bind(ctx, target, operand, span)
    elif isinstance(target, s.Index):
        x, selection = _selected(ctx, target)
        _update(ctx, target, x, selection, operand, span, "set")
    else:
        raise ctx.fault("US0207", "only names, elements and slices can be assigned to", target.span)


def _typed(ctx: Context, node: s.Assign, written: s.TypeExpr) -> None:
    (target,) = node.targets
    if not isinstance(target, s.Name):
        raise ctx.fault("US0207", "only a name can be given a type", target.span)
    type = resolve_type(ctx, written)
    old = ctx.names.get(target.text)
    if old is not None and isinstance(old.operand, Array) and not old.owner and old.operand.type != type:
        message = f"{target.text} is {describe(old.operand.type)}, not {describe(type)}; the type of a name stays"
        raise ctx.fault("US0304", message, written.span, "choose another name", (f"{target.text} is bound at {old.span}",))
    operand = ctx.expr(node.value)
    value = _spread(ctx, converted(ctx, operand, type.dtype, node.value.span), type, node.value.span)
    bind(ctx, target, Array(value), node.value.span)


def check_target(ctx: Context, name: s.Name) -> None:
    """Refuse to bind names that are no values."""
    binding = ctx.names.get(name.text)
    if name.text in s.TYPE_NAMES:
        raise ctx.fault("US0209", f"{name.text} is the name of a type", name.span, f"for example {name.text}_")
    if binding is not None and binding.kind in ("size", "iterations", "index", "module"):
        what = {"size": "a size", "iterations": "an iteration count", "index": "a loop index", "module": "a module"}[binding.kind]
        raise ctx.fault(
            "US0207",
            f"{name.text} is {what} and cannot be bound to a value",
            name.span,
            "choose another name",
            (f"{name.text} is declared at {binding.span}",),
        )


def bind(ctx: Context, name: s.Name, operand: Operand, span: Span) -> None:
    """Bind or rebind a name; the type of a rebound name stays."""
    check_target(ctx, name)
    if isinstance(operand, TupleOperand):
        raise ctx.fault("US0311", f"{len(operand.items)} values for one name", span, "give each a name: a, b = ...")
    if isinstance(operand, (StringOperand, DTypeOperand, NoneOperand)):
        raise ctx.fault("US0311", f"{noun(operand)} is no value that a name can have", span)
    old = ctx.names.get(name.text)
    if old is None or old.operand is None:
        weak = weak_kind(operand) if isinstance(operand, WEAK) else ""
        ctx.names[name.text] = Binding(operand, name.span, "value", weak)
        return
    if isinstance(old.operand, Array):
        ctx.names[name.text] = replace(old, operand=Array(_kept(ctx, name, old, old.operand.type, operand, span)))
        return
    if isinstance(old.operand, WEAK):
        if isinstance(operand, Array) and operand.type.rank:
            raise ctx.fault(
                "US0304",
                f"{name.text} is a number and is now bound to {describe(operand.type)}; the type of a name stays",
                span,
                f"give it its type first: {name.text}: {describe(operand.type)} = ...",
                (f"{name.text} is bound at {old.span}",),
            )
        if not isinstance(operand, (*WEAK, Array)):
            raise ctx.fault("US0304", f"{name.text} is a number and is now bound to {noun(operand)}", span)
        weak = weak_kind(operand) if isinstance(operand, WEAK) else ""
        ctx.names[name.text] = Binding(operand, old.span, "value", weak)
        return
    if type(old.operand) is not type(operand):
        raise ctx.fault("US0304", f"{name.text} is {noun(old.operand)} and is now bound to {noun(operand)}", span)
    ctx.names[name.text] = replace(old, operand=operand)


def _kept(ctx: Context, name: s.Name, old: Binding, type: Type, operand: Operand, span: Span) -> Value:
    """A new value of a name, in the type it has."""
    if isinstance(operand, Array) and (
        operand.type.rank != type.rank or not all(map(ctx.same_size, operand.type.shape, type.shape))
    ):
        hint = (
            f"{name.text}: {describe(operand.type)} = ..."
            if old.weak
            else f"write to a part, {name.text}[...] = ..., or use another name"
        )
        raise ctx.fault(
            "US0304",
            f"{name.text} is {describe(type)} and is now bound to {describe(operand.type)}; the type of a name stays",
            span,
            hint,
            (f"{name.text} is bound at {old.span}",),
        )
    if not isinstance(operand, Array) and type.rank:
        raise ctx.fault(
            "US0304",
            f"{name.text} is {describe(type)} and is now bound to {noun(operand)}; the type of a name stays",
            span,
            f"{name.text}[...] = {noun(operand).split()[-1]}",
            (f"{name.text} is bound at {old.span}",),
        )
    if old.owner and not can_hold(operand, type.dtype, old):
        dtype = common([operand.type.dtype], [old.weak]) if isinstance(operand, Array) else WEAK_DTYPES[weak_kind(operand)]
        dtype = join(dtype, type.dtype) if old.forced else dtype
        if dtype != type.dtype:
            raise Retype(old.owner, name.text, dtype)
    value = converted(ctx, operand, type.dtype, span, name.text)
    return reshape(ctx.builder, value, type.shape)


def can_hold(operand: Operand, dtype: str, old: Binding) -> bool:
    """May a name that began as a literal keep the dtype it was given?"""
    if isinstance(operand, Array):
        return operand.type.dtype == dtype
    return isinstance(operand, WEAK) and can_store(WEAK_DTYPES[weak_kind(operand)], dtype)


def converted(ctx: Context, operand: Operand, dtype: str, span: Span, name: str = "") -> Value:
    """An operand stored as ``dtype``: no real in integer, no complex in real, nothing in or out of bool."""
    with ctx.at(span):
        source = operand.type.dtype if isinstance(operand, Array) else WEAK_DTYPES[weak_kind(operand)]
        if not can_store(source, dtype):
            code = "US0305" if kind_of(dtype) == "integer" and kind_of(source) == "real" else "US0303"
            where = f" in {name}, which is {dtype}" if name else f" as {dtype}"
            hint = f"cast(..., {dtype})" if kind_of(source) != "complex" else "re(...) or abs(...)"
            raise ctx.fault(code, f"a {source} value cannot be stored{where}", span, hint)
        return ctx.as_value(operand, dtype)


def _spread(ctx: Context, value: Value, type: Type, span: Span) -> Value:
    """A value broadcast to a type's shape."""
    shape = value.type.shape
    tail = type.shape[len(type.shape) - len(shape) :]
    if len(shape) > len(type.shape) or not all(a.constant == 1 or ctx.same_size(a, b) for a, b in zip(shape, tail, strict=True)):
        raise ctx.fault("US0301", f"{describe(value.type)} does not broadcast to {describe(type)}", span)
    return broadcast(ctx.builder, reshape(ctx.builder, value, _spelled(shape, tail)), type.shape)


def _spelled(shape: Sequence[Size], wanted: Sequence[Size]) -> list[Size]:
    return [a if a.constant == 1 else b for a, b in zip(shape, wanted, strict=True)]


# -- updates -------------------------------------------------------------------------------------------------------


@lowers(s.Augment)
def _augment(ctx: Context, node: s.Augment) -> None:
    target = node.target
    if isinstance(target, s.Name):
        old = ctx.expr(target)
        bind(ctx, target, arithmetic(ctx, node.op, old, ctx.expr(node.value)), node.span)
        return
    if not isinstance(target, s.Index):
        raise ctx.fault("US0207", "only names, elements and slices can be updated", target.span)
    x, selection = _selected(ctx, target)
    operand = ctx.expr(node.value)
    repeated = any(isinstance(i, Pick) for i in selection.items) and any(p.type.rank for p in selection.picks)
    if node.op in "+-" and not repeated:
        if kind_of(x.type.dtype) in ("bool", "key"):
            raise ctx.fault("US0303", f"arithmetic on {describe(x.type)}", node.span)
        value = converted(ctx, operand, x.type.dtype, node.value.span, _shown(target))
        if node.op == "-":
            value = ctx.builder.op("neg", value)
        _update(ctx, target, x, selection, Array(value), node.value.span, "add")
        return
    current = Array(read(ctx, x, selection))
    _update(ctx, target, x, selection, arithmetic(ctx, node.op, current, operand), node.span, "set")


def _shown(target: s.Index) -> str:
    name = base_name(target)
    return name.text if name else "this"


def _selected(ctx: Context, target: s.Index) -> tuple[Value, Selection]:
    if not isinstance(target.value, s.Name):
        hint = "write one index: A[i, j]" if isinstance(target.value, s.Index) else None
        raise ctx.fault("US0207", "only parts of a named array can be assigned to", target.span, hint)
    check_target(ctx, target.value)
    operand = ctx.expr(target.value)
    if not isinstance(operand, Array):
        raise ctx.fault("US0207", f"{target.value.text} is {noun(operand)} and has no elements", target.value.span)
    with ctx.at(target.span):
        return operand.value, select(ctx, operand.value, target)


def _update(ctx: Context, target: s.Index, x: Value, selection: Selection, operand: Operand, span: Span, mode: str) -> None:
    name = base_name(target)
    assert name is not None
    if isinstance(operand, TupleOperand):
        raise ctx.fault("US0311", f"{len(operand.items)} values for one element", span)
    value = converted(ctx, operand, x.type.dtype, span, name.text)
    part = Type(x.type.dtype, selection.final_shape)
    b = ctx.builder
    plain = not selection.new_axes and list(selection.order) == list(range(-len(selection.order), 0))
    whole = _spread(ctx, value, part, span) if not plain else _fitting(ctx, value, part, span)
    if not plain:
        shape = [part.shape[n] for n in range(part.rank) if n not in selection.new_axes]
        inverse = sorted(range(len(shape)), key=lambda n: selection.order[n])
        whole = permute(b, reshape(b, whole, shape), [n - len(shape) for n in inverse])
    updated: Value = b.op("update", x, whole, *selection.picks, items=selection.items, mode=mode)
    old = ctx.names[name.text]
    ctx.names[name.text] = replace(old, operand=Array(updated))


def _fitting(ctx: Context, value: Value, part: Type, span: Span) -> Value:
    """A value that broadcasts to a part, left as small as it is."""
    tail = part.shape[part.rank - value.type.rank :] if value.type.rank <= part.rank else ()
    if value.type.rank > part.rank or not all(
        a.constant == 1 or ctx.same_size(a, b) for a, b in zip(value.type.shape, tail, strict=True)
    ):
        raise ctx.fault(
            "US0301", f"{describe(value.type)} does not broadcast to the part it is stored in, {describe(part)}", span
        )
    return reshape(ctx.builder, value, _spelled(value.type.shape, tail))
