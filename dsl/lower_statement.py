"""Lowering of statements: bindings, updates, loops, branches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..compiler.diagnostics import Span
from ..compiler.graph.graph import LoopBody, Node, Region, Value, make_attrs
from ..compiler.graph.types import Pick, Size, Type
from . import syntax as s
from .builtins.compose import broadcast, permute, reshape
from .context import HOOKS, Binding, Context, LowerError, Poisoned, Retype, describe, lowers, noun, weak_kind
from .dtypes import WEAK_DTYPES, can_store, common, join, kind_of
from .lower_expr import arithmetic, boolean
from .lower_index import Selection, read, select
from .lower_sum import Span1D, enter_range
from .operand import (
    Array,
    DTypeOperand,
    NoneOperand,
    Operand,
    SizeOperand,
    StringOperand,
    TupleOperand,
    Weak,
    WeakExpression,
)
from .types import resolve_type

_WEAK = (Weak, SizeOperand, WeakExpression)


# -- blocks --------------------------------------------------------------------------------------------------------


def block(ctx: Context, statements: Sequence[s.Statement]) -> None:
    """Lower statements in order. In an algorithm's own text each statement reports its own error."""
    for statement in statements:
        if ctx.function:
            ctx.statement(statement)
            continue
        try:
            ctx.statement(statement)
        except (LowerError, Poisoned) as error:
            if isinstance(error, LowerError):
                ctx.unit.report(error.diagnostic)
            for name in assigned_names([statement]):
                ctx.names.setdefault(name, Binding(None, statement.span))


def body_of(ctx: Context, statements: Sequence[s.Statement]) -> Operand:
    """The result of the body of a function: a block that ends in ``return``."""
    block(ctx, statements[:-1])
    last = statements[-1]
    if not isinstance(last, s.Return):
        raise ctx.fault("US0506", "the body does not end in `return`", last.span)
    values = tuple(ctx.expr(v) for v in last.values)
    return values[0] if len(values) == 1 else TupleOperand(values)


HOOKS["body"] = body_of


def assigned_names(statements: Iterable[s.Statement]) -> dict[str, Span]:
    """Names that statements bind or update, those in inner blocks too, with the place where they first do."""
    found: dict[str, Span] = {}
    for statement in statements:
        match statement:
            case s.Assign(targets=targets):
                for target in targets:
                    name = base_name(target)
                    if name is not None:
                        found.setdefault(name.text, name.span)
            case s.Augment(target=target):
                name = base_name(target)
                if name is not None:
                    found.setdefault(name.text, name.span)
            case s.For(body=body):
                for text, span in assigned_names(body).items():
                    found.setdefault(text, span)
            case s.If(branches=branches, orelse=orelse):
                for inner in (*(b.body for b in branches), orelse):
                    for text, span in assigned_names(inner).items():
                        found.setdefault(text, span)
    return found


def base_name(target: s.Expr) -> s.Name | None:
    """The name that an assignment changes: ``A`` of ``A[i, j]``."""
    while isinstance(target, s.Index):
        target = target.value
    return target if isinstance(target, s.Name) else None


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
        weak = weak_kind(operand) if isinstance(operand, _WEAK) else ""
        ctx.names[name.text] = Binding(operand, name.span, "value", weak)
        return
    if isinstance(old.operand, Array):
        ctx.names[name.text] = replace(old, operand=Array(_kept(ctx, name, old, old.operand.type, operand, span)))
        return
    if isinstance(old.operand, _WEAK):
        if isinstance(operand, Array) and operand.type.rank:
            raise ctx.fault(
                "US0304",
                f"{name.text} is a number and is now bound to {describe(operand.type)}; the type of a name stays",
                span,
                f"give it its type first: {name.text}: {describe(operand.type)} = ...",
                (f"{name.text} is bound at {old.span}",),
            )
        if not isinstance(operand, (*_WEAK, Array)):
            raise ctx.fault("US0304", f"{name.text} is a number and is now bound to {noun(operand)}", span)
        weak = weak_kind(operand) if isinstance(operand, _WEAK) else ""
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
    return isinstance(operand, _WEAK) and can_store(WEAK_DTYPES[weak_kind(operand)], dtype)


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


# -- loops ---------------------------------------------------------------------------------------------------------


@lowers(s.For)
def _for(ctx: Context, node: s.For) -> None:
    if node.until is not None and len(node.generators) > 1:
        raise ctx.fault("US0211", "`until` goes with one index", node.until.span, "put the other loops inside")
    names = [g.index.text for g in node.generators]
    for generator in node.generators:
        if names.count(generator.index.text) > 1:
            raise ctx.fault("US0208", f"the index {generator.index.text} is used twice", generator.index.span)
    for name, span in assigned_names(node.body).items():
        with ctx.reporting():
            check_target(ctx, s.Name(span, name))
    _loop(ctx, node, list(node.generators))


def _loop(ctx: Context, node: s.For, generators: list[s.Generator]) -> None:
    unit = ctx.unit
    unit.loops += 1
    owner = unit.loops
    changed = assigned_names(node.body)
    carried = [
        n for n, b in ctx.names.items() if n in changed and b.kind in ("value", "input", "param") and b.operand is not None
    ]
    forced: dict[str, str] = {}
    while True:
        before = len(unit.diagnostics)
        try:
            _attempt(ctx, node, generators, carried, forced, owner)
        except Retype as retype:
            if retype.owner != owner:
                raise
            forced[retype.name] = retype.dtype
            del unit.diagnostics[before:]
            continue
        break
    for name, span in changed.items():
        if name not in ctx.names:
            unit.ended[name] = span


def _attempt(
    ctx: Context, node: s.For, generators: list[s.Generator], carried: list[str], forced: dict[str, str], owner: int
) -> None:
    values, bindings = [], []
    for name in carried:
        binding = ctx.names[name]
        operand = binding.operand
        assert operand is not None
        if isinstance(operand, _WEAK):
            value = ctx.as_value(operand, forced.get(name))
            binding = replace(binding, weak=weak_kind(operand), owner=owner, forced=name in forced)
        elif isinstance(operand, Array):
            value = operand.value
        else:
            raise ctx.fault("US0304", f"{name} is {noun(operand)}, which a loop cannot carry", node.span)
        values.append(value)
        bindings.append(binding)
    inner = ctx.inside()
    with ctx.at(generators[0].span):
        span: Span1D = enter_range(inner, generators[0])

    def body(*state: Value) -> LoopBody:
        for name, value, binding in zip(carried, state, bindings, strict=True):
            inner.names[name] = replace(binding, operand=Array(value))
        inner.builder.span = node.span
        until = None
        if len(generators) > 1:
            _loop(inner, node, generators[1:])
        else:
            block(inner, node.body)
            if node.until is not None:
                until = _test(inner, node.until)
        finals = []
        for name in carried:
            operand = inner.names[name].operand
            assert isinstance(operand, Array)
            finals.append(operand.value)
        return LoopBody(tuple(finals), until=until)

    outs = ctx.builder.loop(span.name, span.lower, span.upper, values, body, step=span.step, names=carried)
    for name, out in zip(carried, outs, strict=True):
        kept = ctx.names[name]
        ctx.names[name] = replace(kept, operand=Array(out), weak="" if kept.owner == 0 else kept.weak)


def _test(ctx: Context, node: s.Expr) -> Value | None:
    """A condition, or None if it is wrong, which is reported; in a function the error goes up."""
    try:
        return condition(ctx, node)
    except (LowerError, Poisoned) as error:
        if ctx.function:
            raise
        if isinstance(error, LowerError):
            ctx.unit.report(error.diagnostic)
        return None


def condition(ctx: Context, node: s.Expr) -> Value:
    """A single bool."""
    value = boolean(ctx, ctx.expr(node), node)
    if value.type.rank:
        raise ctx.fault("US0306", f"a condition is one bool, not {describe(value.type)}", node.span, "all(...) or any(...)")
    return value


# -- branches ------------------------------------------------------------------------------------------------------


@lowers(s.If)
def _if(ctx: Context, node: s.If) -> None:
    _branches(ctx, node, list(node.branches))


def _branches(ctx: Context, node: s.If, branches: list[s.Branch]) -> None:
    first = branches[0]
    test = _test(ctx, first.condition)
    facts = known_from(ctx, first.condition)
    then, then_nodes = _branch(ctx, facts[True], lambda inner: block(inner, first.body))
    if len(branches) > 1:
        other, other_nodes = _branch(ctx, facts[False], lambda inner: _branches(inner, node, branches[1:]))
    else:
        other, other_nodes = _branch(ctx, facts[False], lambda inner: block(inner, node.orelse))
    rest = [b.body for b in branches[1:]] + [node.orelse]
    here = assigned_names(first.body)
    there = assigned_names([st for body in rest for st in body])
    merged = _merged(ctx, node, then, other, {**there, **here})
    for name, span in {**there, **here}.items():
        if name not in ctx.names and name not in merged:
            ctx.unit.ended[name] = span
    if test is None:
        raise Poisoned
    types = tuple(t for t in merged.values())
    regions = tuple(_closed(inner, nodes, merged) for inner, nodes in ((then, then_nodes), (other, other_nodes)))
    outputs = tuple(Value(ctx.builder.fresh(), t) for t in types)
    attrs = make_attrs({"types": types})
    ctx.builder.append(Node("if", (test.name,), outputs, attrs, regions, node.span))
    for (name, _), out in zip(merged.items(), outputs, strict=True):
        old = ctx.names.get(name)
        span = then.names[name].span
        ctx.names[name] = replace(old, operand=Array(out)) if old is not None else Binding(Array(out), span)


def _branch(ctx: Context, facts: list[tuple[Size, str, Size]], lower: object) -> tuple[Context, tuple[Node, ...]]:
    inner = ctx.inside()
    for left, op, right in facts:
        inner.facts = inner.facts.with_condition(left, op, right)

    def body() -> Sequence[Value]:
        lower(inner)  # type: ignore[operator]
        return []

    return inner, ctx.builder.region([], body).nodes


def _merged(ctx: Context, node: s.If, then: Context, other: Context, changed: dict[str, Span]) -> dict[str, Type]:
    """Names that have a value after the branches, with their types."""
    merged: dict[str, Type] = {}
    for name, span in changed.items():
        a, b = then.names.get(name), other.names.get(name)
        if a is None or b is None or a.kind not in ("value", "input", "param"):
            continue
        if a.operand is None or b.operand is None:
            ctx.names.setdefault(name, Binding(None, span))
            continue
        merged_type = _common_type(ctx, name, node, a.operand, b.operand)
        old = ctx.names.get(name)
        if old is not None and old.owner and isinstance(old.operand, Array) and merged_type.dtype != old.operand.type.dtype:
            raise Retype(old.owner, name, merged_type.dtype)
        merged[name] = merged_type
    return merged


def _common_type(ctx: Context, name: str, node: s.If, a: Operand, b: Operand) -> Type:
    for operand in (a, b):
        if not isinstance(operand, (Array, *_WEAK)):
            raise ctx.fault(
                "US0309", f"{name} is {noun(operand)} in a branch, which cannot be chosen when the program runs", node.span
            )
    shapes = [o.type.shape if isinstance(o, Array) else () for o in (a, b)]
    arrays = {o.type.dtype for o in (a, b) if isinstance(o, Array)}
    if len(shapes[0]) != len(shapes[1]) or not all(map(ctx.same_size, *shapes)) or len(arrays) > 1:
        raise ctx.fault(
            "US0309", f"{name} is {noun(a)} in one branch and {noun(b)} in another", node.span, "bind it to the same type in both"
        )
    return Type(ctx.common_dtype(a, b), shapes[0])


def _closed(ctx: Context, nodes: Sequence[Node], merged: dict[str, Type]) -> Region:
    """A branch as a region that gives the merged names."""

    def body() -> Sequence[Value]:
        for node in nodes:
            ctx.builder.append(node)
        out = []
        for name, type in merged.items():
            operand = ctx.names[name].operand
            assert operand is not None
            out.append(reshape(ctx.builder, ctx.as_value(operand, type.dtype), type.shape))
        return out

    return ctx.builder.region([], body)


_OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
Known = dict[bool, list[tuple[Size, str, Size]]]


def known_from(ctx: Context, node: s.Expr) -> Known:
    """What comparisons of sizes and indices hold if a condition is true, and if it is false."""
    nothing: Known = {True: [], False: []}
    if isinstance(node, s.Unary) and node.op == "not":
        inner = known_from(ctx, node.operand)
        return {True: inner[False], False: inner[True]}
    if isinstance(node, s.Binary) and node.op in ("and", "or"):
        parts = [known_from(ctx, node.left), known_from(ctx, node.right)]
        sure = node.op == "and"
        return {sure: parts[0][sure] + parts[1][sure], not sure: []}
    if not isinstance(node, s.Compare):
        return nothing
    sizes: list[Size] = []

    def evaluate() -> Sequence[Value]:
        for operand in node.operands:
            found = ctx.expr(operand)
            if isinstance(found, SizeOperand) or (isinstance(found, Weak) and type(found.number) is int):
                sizes.append(ctx.size_of(found))
        return []

    try:
        ctx.builder.region([], evaluate)
    except (LowerError, Poisoned):
        return nothing
    if len(sizes) != len(node.operands):
        return nothing
    pairs = list(zip(sizes, node.ops, sizes[1:], strict=False))
    return {True: pairs, False: [(a, _OPPOSITE[op], b) for a, op, b in pairs] if len(pairs) == 1 else []}


# -- the rest ------------------------------------------------------------------------------------------------------


@lowers(s.Assert)
def _assert(ctx: Context, node: s.Assert) -> None:
    value = condition(ctx, node.condition)
    span = node.condition.span
    line = span.source.line(span.line)
    text = line[span.column - 1 : span.end_column - 1] if span.line == span.end_line else line[span.column - 1 :] + " ..."
    message = node.message.text if node.message else f"the assertion does not hold: {text}"
    ctx.builder.op("assert", value, message=message)


@lowers(s.ExprStatement)
def _expression(ctx: Context, node: s.ExprStatement) -> None:
    ctx.expr(node.value)
    raise ctx.fault("US0512", "the value of this expression is not used", node.span, "bind it to a name, or return it")


@lowers(s.Return)
def _return(ctx: Context, node: s.Return) -> None:
    raise ctx.fault("US0506", "`return` is the last statement of the body", node.span, "choose with where(...) or `if` before it")


@lowers(s.Iterations, s.ParamDecl, s.ModuleDecl, s.Objective)
def _declaration(ctx: Context, node: s.Declaration) -> None:
    raise ctx.fault(
        "US0501", "declarations stand at the head of an algorithm's body", node.span, "move it before the first statement"
    )
