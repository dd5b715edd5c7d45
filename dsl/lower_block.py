"""Lowering of blocks, and of the statements that bind nothing."""

from __future__ import annotations

from collections.abc import Sequence

from ..compiler.graph.graph import Value
from . import syntax as s
from .context import HOOKS, Binding, Context, LowerError, Poisoned, describe, lowers
from .lower_expr import boolean
from .operand import Operand, TupleOperand
from .shape_help import explained
from .walk import assigned_names

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
                ctx.unit.report(explained(ctx, error, statement, Context.statement))
            if ctx.unit.observer is not None:
                ctx.unit.observer.failed(ctx, statement)
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


def test_of(ctx: Context, node: s.Expr) -> Value | None:
    """A condition, or None if it is wrong, which is reported; in a function the error goes up."""
    try:
        return condition(ctx, node)
    except (LowerError, Poisoned) as error:
        if ctx.function:
            raise
        if isinstance(error, LowerError):
            ctx.unit.report(explained(ctx, error))
        return None


def condition(ctx: Context, node: s.Expr) -> Value:
    """A single bool."""
    value = boolean(ctx, ctx.expr(node), node)
    if value.type.rank:
        raise ctx.fault("US0306", f"a condition is one bool, not {describe(value.type)}", node.span, "all(...) or any(...)")
    return value


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
    if isinstance(node.value, s.Compare) and node.value.ops == ("==",) and isinstance(node.value.operands[0], (s.Name, s.Index)):
        raise ctx.fault("US0512", "the value of this comparison is not used", node.span, "an assignment is written with one `=`")
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
