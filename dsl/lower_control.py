"""Lowering of loops and branches to nodes with regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..compiler.diagnostics import Span
from ..compiler.graph.graph import LoopBody, Node, Region, Value, make_attrs
from ..compiler.graph.types import Size, Type
from . import syntax as s
from .builtins.compose import reshape
from .context import WEAK, Binding, Context, LowerError, Poisoned, Retype, lowers, noun, weak_kind
from .lower_assign import check_target
from .lower_block import block, test_of
from .lower_sum import Span1D, check_distinct, enter_range
from .operand import Array, Operand, SizeOperand, Weak
from .walk import assigned_names

# -- loops ---------------------------------------------------------------------------------------------------------


@lowers(s.For)
def _for(ctx: Context, node: s.For) -> None:
    if node.until is not None and len(node.generators) > 1:
        raise ctx.fault("US0211", "`until` goes with one index", node.until.span, "put the other loops inside")
    check_distinct(ctx, node.generators)
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
        if isinstance(operand, WEAK):
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
                until = test_of(inner, node.until)
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


# -- branches ------------------------------------------------------------------------------------------------------


@lowers(s.If)
def _if(ctx: Context, node: s.If) -> None:
    _branches(ctx, node, list(node.branches))


def _branches(ctx: Context, node: s.If, branches: list[s.Branch]) -> None:
    first = branches[0]
    test = test_of(ctx, first.condition)
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


def _branch(
    ctx: Context, facts: list[tuple[Size, str, Size]], lower: Callable[[Context], None]
) -> tuple[Context, tuple[Node, ...]]:
    inner = ctx.inside()
    for left, op, right in facts:
        inner.facts = inner.facts.with_condition(left, op, right)

    def body() -> Sequence[Value]:
        lower(inner)
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
        if not isinstance(operand, (Array, *WEAK)):
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
