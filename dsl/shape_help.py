"""What is added to an error of shapes: the shapes along the expression, and a rewritten expression whose shapes fit.

``A @ y`` with ``A: [m, n]`` and ``y: [m]``  ->  labels below ``A`` and ``y``, and "try: `A.T @ y` fits".

A rewriting is offered only if the statement it stands in can be lowered with it; in a function, whose statement depends on the
call, if the expression itself can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

from ..compiler.diagnostics import Diagnostic, Label
from ..compiler.graph.types import Type
from . import syntax as s
from .builtins.all import BUILTINS
from .context import Context, LowerError, Poisoned, Retype, Unit
from .operand import Array
from .shape_rewrites import Shapes, of_expression, of_value
from .syntax_text import expression_text
from .walk import descend, exchanged

#: Errors about the shapes of values.
CODES = frozenset({"US0301", "US0302", "US0304", "US0308", "US0405", "US0413"})
#: Labels of one error, and rewritings tried for one error and for one algorithm.
_LABELS, _TRIALS, _ALL_TRIALS = 8, 60, 300
#: A longer rewriting is no suggestion but a riddle.
_LONGEST = 72


def explained(
    ctx: Context, error: LowerError, statement: s.Node | None = None, lower: Callable[[Context, Any], object] | None = None
) -> Diagnostic:
    """The diagnostic of an error, with labels and a suggestion if it is one of shapes. ``lower`` lowers ``statement``."""
    found = error.diagnostic
    if found.code not in CODES or found.labels or ctx.unit.trials is None:
        return found
    inner, node, whole = ctx, _at(statement, found), True
    if error.origin is not None:
        inner, node = error.origin
        whole = False
    if node is None:
        return found
    labels = tuple(_labels(node, ctx.unit))
    shapes = Shapes({i: o.type for i, (_, o) in ctx.unit.seen.items() if isinstance(o, Array)}, _indices(inner))
    candidates = of_value(node, shapes) if whole else of_expression(node, shapes)
    inside = statement is not None and any(n is node for n in descend(statement))
    fitting = _fitting(ctx, inner, node, candidates, statement if inside else None, lower)
    suggestion = found.suggestion
    if fitting:
        suggestion = ", and so does ".join(f"`{text}` fits" if not n else f"`{text}`" for n, text in enumerate(fitting))
        if node.span != found.span:  # the error is at a part of what is rewritten
            suggestion = f"as a whole, {suggestion}"
    elif found.code == "US0302" and labels:
        suggestion = None if suggestion and ".T" in suggestion else suggestion
    return replace(found, labels=labels, suggestion=suggestion)


def _at(statement: s.Node | None, found: Diagnostic) -> Any:
    """The expression of a statement that an error is reported at."""
    if statement is None or found.span is None:
        return None
    expressions = [n for n in descend(statement) if isinstance(n, s.Expr)]
    value = getattr(statement, "value", None)
    return next((n for n in expressions if n.span == found.span), value)


def _indices(ctx: Context) -> list[str]:
    """The loop indices in scope, inner ones first."""
    return [name for name, binding in reversed(ctx.names.items()) if binding.kind == "index"]


# -- labels --------------------------------------------------------------------------------------------------------


def _labels(node: s.Expr, unit: Unit) -> Iterator[Label]:
    """The shapes of the parts of an expression, of each name once, outer parts first."""
    told: set[tuple[str, Type]] = set()
    level, count = list(_parts(node)), 0
    while level:
        for part in level:
            known = unit.seen.get(id(part))
            if known is None or not isinstance(known[1], Array) or not known[1].type.rank:
                continue
            type, name = known[1].type, part.text if isinstance(part, s.Name) else ""
            if name and (name, type) in told:
                continue
            told.add((name, type))
            count += 1
            if count > _LABELS:
                return
            yield Label(part.span, f"{name}: {shape_text(type)}" if name else shape_text(type))
        level = [inner for part in level for inner in _parts(part)]


def _parts(node: s.Node) -> Iterator[s.Expr]:
    """The expressions that a node is made of."""
    match node:
        case s.Binary(left=left, right=right):
            yield from (left, right)
        case s.Compare(operands=operands):
            yield from operands
        case s.Unary(operand=operand):
            yield operand
        case s.Call(function=function, arguments=arguments):
            if isinstance(function, s.Attribute):  # x.sum(): not a file's
                yield from _parts(function)
            yield from (a.value for a in arguments)
        case s.Index(value=value) | s.Attribute(value=value):
            yield value
        case s.TupleExpr(items=items) | s.ListExpr(items=items):
            yield from items
        case s.Comprehension(body=body):
            yield body


def shape_text(type: Type) -> str:
    """``[m, n]``, or ``i64[n]`` where the values are not simply real."""
    text = str(type)
    return text.removeprefix("real") if type.rank else text


# -- suggestions ---------------------------------------------------------------------------------------------------


def _fitting(
    ctx: Context,
    inner: Context,
    node: s.Expr,
    candidates: Iterator[tuple[int, s.Expr]],
    statement: s.Node | None,
    lower: Callable[[Context, Any], object] | None,
) -> list[str]:
    """The rewritings that fit, at most two, from the first tier that has any."""
    unit = ctx.unit
    fits: list[str] = []
    best, tried = 0, 0
    for tier, made in sorted(candidates, key=lambda c: c[0]):
        if (fits and tier > best) or len(fits) == 2 or tried == _TRIALS or (unit.trials or 0) >= _ALL_TRIALS:
            break
        text = _spelled(inner, made)
        if len(text) > _LONGEST or text in fits or text == _spelled(inner, node):
            continue
        tried += 1
        unit.trials = (unit.trials or 0) + 1
        if not _works(inner, Context.expr, made):
            continue
        if statement is not None and lower is not None and not _works(ctx, lower, exchanged(statement, node, made)):
            continue
        fits.append(text)
        best = tier
    return fits


def _spelled(ctx: Context, node: s.Expr) -> str:
    """An expression as the program has it: in Python, builtins are those of ``us``."""
    if ctx.scope.python:
        for call in [n for n in descend(node) if isinstance(n, s.Call)]:
            name = call.function
            if isinstance(name, s.Name) and name.text not in ctx.names and name.text not in ctx.scope.definitions and name.text in BUILTINS:
                node = exchanged(node, name, s.Name(name.span, f"us.{name.text}"))
    return expression_text(node)


def _works(ctx: Context, run: Callable[[Context, Any], object], node: s.Node) -> bool:
    """Whether something can be lowered, tried with copies of what it changes."""
    interface = ctx.unit.interface
    if interface is not None:  # calls of algorithms add to it
        copies = {f.name: value.copy() for f in fields(interface) if isinstance(value := getattr(interface, f.name), (list, dict))}
        interface = replace(interface, **copies)
    unit = replace(
        ctx.unit, diagnostics=[], ended=dict(ctx.unit.ended), sizes=set(ctx.unit.sizes), seen={}, trials=None, interface=interface, observer=None
    )
    trial = ctx.inside(unit=unit)
    try:
        run(trial, node)
    except (LowerError, Poisoned):
        return False
    except Retype:  # only its dtype is another one
        return True
    return not unit.diagnostics
