"""What the parts of a program are: told by the lowering, kept by their places."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ...compiler.diagnostics import Span
from ...compiler.graph.graph import Value
from .. import syntax as s
from ..context import Context, LowerError, Poisoned, describe
from ..operand import (
    Array,
    BuiltinError,
    CallableOperand,
    DTypeOperand,
    FunctionOperand,
    ModuleOperand,
    NameOperand,
    NoneOperand,
    Operand,
    SizeOperand,
    StringOperand,
    StructOperand,
    TupleOperand,
    Weak,
    WeakExpression,
    noun,
)
from ..walk import base_name, children


class Superseded(Exception):
    """Nobody waits for this any more: the text has changed."""


#: A span without its text, which has changed elsewhere when this is asked for.
Place = tuple[str, int, int, int, int]


def place(span: Span) -> Place:
    """The place of a span."""
    return (span.source.name, span.line, span.column, span.end_line, span.end_column)


class Seen:
    """What the parts of one algorithm are. Implements :class:`dsl.context.Observer`; ``superseded`` is asked at every statement."""

    def __init__(self, superseded: Callable[[], bool]) -> None:
        self._superseded = superseded
        self.found: dict[Place, dict[object, Operand]] = {}

    def expression(self, ctx: Context, node: s.Expr, operand: Operand) -> None:
        """See :class:`dsl.context.Observer`."""
        self._add(ctx, node.span, operand)

    def statement(self, ctx: Context, node: s.Statement) -> None:
        """See :class:`dsl.context.Observer`."""
        if self._superseded():
            raise Superseded
        if isinstance(node, s.Assign):
            for target in node.targets:
                name = base_name(target)
                bound = ctx.names.get(name.text) if name is not None else None
                if name is not None and bound is not None and bound.operand is not None:
                    self._add(ctx, name.span, bound.operand)

    def failed(self, ctx: Context, node: s.Statement) -> None:
        """See :class:`dsl.context.Observer`. What can be lowered of the parts is, into nothing."""
        todo = [child for child in children(node) if isinstance(child, s.Expr)]
        while todo and not self._superseded():
            part = todo.pop()
            if place(part.span) in self.found or (isinstance(part, s.Name) and part.text not in ctx.names):
                continue

            def lower(part: s.Expr = part) -> list[Value]:
                ctx.expr(part)
                return []

            try:
                with ctx.at(part.span):
                    ctx.builder.region([], lower)
            except (LowerError, Poisoned):
                inner = [c.value if isinstance(c, s.Argument) else c for c in children(part)]
                todo += [c for c in inner if isinstance(c, s.Expr)]

    def names(self, ctx: Context) -> None:
        """See :class:`dsl.context.Observer`."""
        spans: dict[str, Span] = {}
        if not ctx.function:
            decl: s.AlgorithmDecl = ctx.unit.interface.decl
            spans = {n.name.text: n.name.span for n in (*decl.inputs, *decl.body) if isinstance(n, (s.InputDecl, *s.DECLARATIONS))}
        for name, bound in ctx.names.items():
            if bound.operand is not None:
                self._add(ctx, spans.get(name, bound.span), bound.operand)

    def _add(self, ctx: Context, span: Span, operand: Operand) -> None:
        self.found.setdefault(place(span), {})[tuple((name, place(where)) for name, where in ctx.trail)] = operand


class Types:
    """What the parts of a program are, by its algorithms."""

    def __init__(self, seen: Iterable[Seen]) -> None:
        self._seen = list(seen)

    def at(self, span: Span) -> list[Operand]:
        """What stands at a span: once for an algorithm, once for each use of a function."""
        key = place(span)
        found = {trail: operand for seen in self._seen for trail, operand in seen.found.get(key, {}).items()}
        return [found[()]] if () in found else list(found.values())

    def text(self, span: Span) -> str:
        """What stands at a span, in words; several where uses differ, none where nothing is known."""
        return " | ".join(dict.fromkeys(map(type_text, self.at(span))))


def type_text(operand: Operand) -> str:
    """What an operand is, as a program would write its type where it can."""
    match operand:
        case Array(type=type):
            return describe(type)
        case Weak(number=number):
            return "bool, known now" if isinstance(number, bool) else f"the number {number}, of the type it is used with"
        case SizeOperand(size=size):
            return f"the size {size}" if size.constant is None else f"the number {size}, of the type it is used with"
        case WeakExpression():
            return "a number made of sizes, of the type it is used with"
        case TupleOperand(items=items):
            return f"({', '.join(map(type_text, items))})"
        case StructOperand(fields=fields):
            return ", ".join(f".{name}: {type_text(field)}" for name, field in fields.items() if not isinstance(field, BuiltinError))
        case ModuleOperand(arguments=arguments, results=results, count=count, index=index):
            shown = f"({', '.join(map(describe, arguments))}) -> {', '.join(map(describe, results))}"
            return shown if count is None or index is not None else f"{count} of {shown}"
        case FunctionOperand(name=name, parameters=parameters):
            return f"fn {name}({', '.join(parameters)})"
        case CallableOperand(description=description):
            return f"fn {description}"
        case StringOperand():
            return "a text"
        case DTypeOperand() | NameOperand() | NoneOperand():
            return noun(operand)
