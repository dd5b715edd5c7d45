"""Lowering of algorithms: their sizes, inputs and declarations; then the body; then the objective."""

from __future__ import annotations

from ..compiler.diagnostics import Diagnostic, Span
from ..compiler.graph.algorithm import Algorithm
from ..compiler.graph.graph import Builder, Graph, Value
from ..compiler.graph.types import Type
from . import syntax as s
from .builtins.compose import reshape
from .context import Binding, Context, LowerError, Observer, Poisoned, Unit, describe
from .dtypes import can_store, kind_of
from .facts import Facts
from .lower_assign import converted
from .lower_block import block, body_of
from .lower_declarations import Interface, declare, declare_inputs, input_binding
from .lower_sizes import canonical, conditions, declare_sizes
from .operand import Array, Operand, TupleOperand
from .shape_help import explained
from .types import resolve_type
from .uses import FileScope


def lower_algorithm(
    scope: FileScope, decl: s.AlgorithmDecl, observer: Observer | None = None
) -> tuple[Algorithm | None, list[Diagnostic]]:
    """The algorithm, or None with what is wrong with it; ``observer`` is told what its parts are."""
    unit = Unit(observer=observer)
    builder = Builder(decl.name.text)
    builder.span = decl.span
    ctx = Context(builder, scope, unit, {}, Facts())
    interface = unit.interface = Interface(decl)
    try:
        algorithm = _lower(ctx, interface)
    except (LowerError, Poisoned) as error:
        if isinstance(error, LowerError):
            unit.report(explained(ctx, error))
        if observer is not None and decl.body:
            observer.failed(ctx, decl.body[-1])  # the result
    except RecursionError:
        unit.report(Diagnostic("US0108", "this algorithm is nested too deep", decl.span, (), "name parts of it first"))
    if unit.diagnostics:
        return None, unit.diagnostics
    return algorithm, []


def _lower(ctx: Context, interface: Interface) -> Algorithm:
    decl, unit = interface.decl, ctx.unit
    with ctx.at(decl.span):
        declare_sizes(ctx, decl)
        declare_inputs(ctx, interface)
        for written in decl.where:
            with ctx.reporting(), ctx.at(written.span):
                for condition in conditions(ctx, written):
                    interface.where.append(condition)
                    ctx.facts = ctx.facts.with_condition(condition.left, condition.op, condition.right)
                    if condition.op == "==":
                        ctx.facts = ctx.facts.with_equal(condition.left, condition.right)
        for item in interface.inputs:
            if ctx.names[item.name].operand is not None:
                ctx.names[item.name] = input_binding(ctx, item, canonical(ctx, item.type))
        interface.given = {n: b for n, b in ctx.names.items() if b.kind in ("size", "iterations")}
        for node in decl.body:
            if isinstance(node, s.DECLARATIONS) and not isinstance(node, s.Objective):
                with ctx.reporting(), ctx.at(node.span):
                    declare(ctx, interface, node)
        start = dict(ctx.names)
        if unit.observer is not None:
            unit.observer.names(ctx)
        body: list[s.Statement] = [n for n in decl.body if not isinstance(n, s.DECLARATIONS)]
        results = _results(ctx, decl, body)
        objective = _objective(ctx, interface, start, results)
    graph = ctx.builder.finish(results) if not unit.diagnostics else Graph(decl.name.text, (), (), ())
    goal = next((n for n in decl.body if isinstance(n, s.Objective)), None)
    return Algorithm(
        decl.name.text, tuple(interface.inputs), tuple(interface.params), tuple(interface.iterations.items()),
        tuple(interface.modules.values()), tuple(interface.where), graph, tuple(v.type for v in results), objective,
        goal.name.text if goal else "", tuple(p.text for p in goal.parameters) if goal else (), decl.name.span,
    )  # fmt: skip


def _results(ctx: Context, decl: s.AlgorithmDecl, body: list[s.Statement]) -> list[Value]:
    """The returned values in their declared types."""
    types = [canonical(ctx, resolve_type(ctx, t)) for t in decl.results]
    if not body or not isinstance(body[-1], s.Return):
        block(ctx, body)
        raise ctx.fault(
            "US0506",
            f"the body of {decl.name.text} does not end in `return`",
            body[-1].span if body else decl.name.span,
            "return the result",
        )
    block(ctx, body[:-1])
    last = body[-1]
    assert isinstance(last, s.Return)
    try:
        return _returned(ctx, decl, types, last)
    except LowerError as error:
        error.diagnostic = explained(ctx, error, last, lambda trial, node: _returned(trial, decl, types, node))
        raise


def _returned(ctx: Context, decl: s.AlgorithmDecl, types: list[Type], last: s.Return) -> list[Value]:
    """The values of ``return`` in the declared types."""
    with ctx.at(last.span):
        operands: list[tuple[Operand, Span]] = []
        for expr in last.values:
            operand = ctx.expr(expr)
            items = operand.items if isinstance(operand, TupleOperand) else (operand,)
            operands += [(item, expr.span) for item in items]
        if len(operands) != len(types):
            raise ctx.fault(
                "US0308",
                f"{decl.name.text} returns {len(operands)} value{'s' if len(operands) != 1 else ''}, and declares {len(types)}",
                last.span,
            )
        return [_result(ctx, operand, type, span) for (operand, span), type in zip(operands, types, strict=True)]


def _result(ctx: Context, operand: Operand, type: Type, span: Span) -> Value:
    with ctx.at(span):
        value = ctx.as_value(operand, None if isinstance(operand, Array) else type.dtype)
    came = value.type
    same = came.rank == type.rank and all(map(ctx.same_size, came.shape, type.shape))
    if not same or not can_store(came.dtype, type.dtype):
        hint = f"cast(..., {type.dtype})" if same and kind_of(came.dtype) != "complex" else None
        raise ctx.fault("US0308", f"the result is {describe(came)}, and {describe(type)} is declared", span, hint)
    return reshape(ctx.builder, ctx.as_value(Array(value), type.dtype), type.shape)


def _objective(ctx: Context, interface: Interface, start: dict[str, Binding], results: list[Value]) -> Graph | None:
    """The objective as a graph of its arguments (typed by the results, in order), the inputs and the params."""
    goal = next((n for n in interface.decl.body if isinstance(n, s.Objective)), None)
    if goal is None:
        return None
    if len(goal.parameters) > len(results):
        raise ctx.fault(
            "US0510",
            f"the objective takes {len(goal.parameters)} arguments, and the algorithm has {len(results)} results",
            goal.span,
            "its arguments are results, in order",
        )
    builder = Builder(f"{interface.decl.name.text}_{goal.name.text}")
    builder.span = goal.span
    inner = ctx.inside(builder=builder, names=dict(start), function=goal.name.text, active=(*ctx.active, goal))
    values = [builder.input(p.text, v.type) for p, v in zip(goal.parameters, results, strict=False)]
    for item in interface.inputs:
        old = start[item.name]
        assert isinstance(old.operand, Array)
        inner.names[item.name] = Binding(Array(builder.input(item.name, old.operand.type)), old.span, "input")
    for param in interface.params:
        value = builder.input(param.name, interface.param_values[param.name].type)
        if param.name in start:
            inner.names[param.name] = Binding(Array(value), start[param.name].span, "param")
    for name, value in zip(goal.parameters, values, strict=False):
        inner.names[name.text] = Binding(Array(value), name.span)
    if ctx.unit.observer is not None:
        ctx.unit.observer.names(inner)
    with inner.at(goal.span):
        operand = body_of(inner, goal.body)
        last = goal.body[-1].span
        value = converted(inner, operand, "real", last) if not isinstance(operand, Array) else operand.value
        if value.type.rank or kind_of(value.type.dtype) != "real":
            raise inner.fault(
                "US0510", f"an objective is one real number, not {describe(value.type)}", last, "sum(...) or mean(...)"
            )
        return builder.finish([value])
