"""Callbacks of the parser: one method per rule of ``grammar.lark``, children to syntax-tree node.

All tokens are kept as children, so a node spans from its first child to its last.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unicodedata import normalize

from lark import Token, Transformer

from ..compiler.diagnostics import Diagnostic, Source, Span
from . import syntax as s
from .syntax_errors import keyword_as_name


class SyntaxFault(Exception):
    """A syntax error that the grammar alone does not see."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


class _Group(list[Any]):
    """Several nodes read together, with the span of their text."""

    def __init__(self, items: Any, span: Span) -> None:
        super().__init__(items)
        self.span = span


_LAYOUT = ("_NL", "_INDENT", "_DEDENT")


class TreeBuilder(Transformer[Token, Any]):
    """``source`` is the text being parsed; set before each parse."""

    source = Source("<none>", "")

    # -- places

    def token_span(self, token: Token) -> Span:
        """Where a token stands (the parser's lines count from 2, see ``parse.py``)."""
        line, column = max((token.line or 2) - 1, 1), token.column or 1
        return Span(self.source, line, column, max((token.end_line or 2) - 1, 1), token.end_column or column + 1)

    def everything(self) -> Span:
        """The span of the whole text."""
        return Span(self.source, 1, 1, 1, 1)

    def _span_of(self, child: Any) -> Span:
        if isinstance(child, Token):
            return self.token_span(child)
        span: Span = child.span
        return span

    def _span(self, c: list[Any]) -> Span:
        present = [x for x in c if x is not None and not (isinstance(x, Token) and x.type in _LAYOUT)]
        return self._span_of(present[0]).to(self._span_of(present[-1])) if present else self.everything()

    def _nodes(self, c: list[Any]) -> _Group:
        return _Group([x for x in c if isinstance(x, s.Node)], self._span(c))

    def _name(self, token: Token) -> s.Name:
        """A name; the lexer takes a keyword for one where only a name can stand."""
        if token in s.KEYWORDS and token.type == "NAME":
            raise SyntaxFault(keyword_as_name(str(token), self.token_span(token)))
        text = str(token)
        if not text.isascii():  # as Python reads it
            text = normalize("NFKC", text)
            if not text.isidentifier():
                raise SyntaxFault(Diagnostic("US0102", f"{str(token)!r} is no name", self.token_span(token)))
        return s.Name(self.token_span(token), text)

    def _names(self, c: list[Any]) -> _Group:
        return _Group([self._name(x) for x in c if isinstance(x, Token) and x.type == "NAME"], self._span(c))

    # -- top level

    def start(self, c: list[Any]) -> s.Program:
        items = self._nodes(c)
        return s.Program(items.span if items else self.everything(), tuple(items))

    def use(self, c: list[Any]) -> s.Use:
        path, names = c[1], c[3]
        is_file = path.type == "STRING"
        return s.Use(self._span(c), str(path)[1:-1] if is_file else str(path), is_file, tuple(names or ()))

    names = _names
    parameters = _names

    def fn(self, c: list[Any]) -> s.Fn:
        return s.Fn(self._span(c[:5]), self._name(c[1]), tuple(c[3] or ()), tuple(c[5]))

    def fn_expression(self, c: list[Any]) -> _Group:
        return _Group([s.Return(self._span(c[1:2]), self._values(c[1]))], self._span(c))

    def fn_block(self, c: list[Any]) -> _Group:
        return _Group(c[1], self._span(c))

    def algorithm(self, c: list[Any]) -> s.AlgorithmDecl:
        _, name, _, inputs, _, _, result, where, _, body = c
        return s.AlgorithmDecl(
            self._span(c[:2]), self._name(name), tuple(inputs or ()), tuple(result), tuple(where or ()), tuple(body)
        )

    inputs = _nodes
    type_list = _nodes
    where = _nodes

    def input(self, c: list[Any]) -> s.InputDecl:
        return s.InputDecl(self._span(c), self._name(c[1]), c[3], c[0] is not None)

    def result(self, c: list[Any]) -> _Group:
        return _Group([c[0]] if len(c) == 1 else c[1], self._span(c))

    def type_scalar(self, c: list[Any]) -> s.TypeExpr:
        return s.TypeExpr(self._span(c), self._name(c[0]), ())

    def type_array(self, c: list[Any]) -> s.TypeExpr:
        return s.TypeExpr(self._span(c), self._name(c[0]), tuple(c[2]))

    def type_weights(self, c: list[Any]) -> s.TypeExpr:
        return s.TypeExpr(self._span(c), self._name(c[0]), (), self._name(c[2]))

    sizes = _nodes

    # -- statements

    def block_lines(self, c: list[Any]) -> _Group:
        return self._nodes(c)

    def block_inline(self, c: list[Any]) -> _Group:
        return self._nodes(c)

    def line(self, c: list[Any]) -> s.Node:
        node: s.Node = c[0]
        return node

    def _values(self, value: s.Expr) -> tuple[s.Expr, ...]:
        return value.items if isinstance(value, s.TupleExpr) else (value,)

    def assign(self, c: list[Any]) -> s.Assign:
        return s.Assign(self._span(c), self._values(c[0]), c[2])

    def typed_assign(self, c: list[Any]) -> s.Assign:
        return s.Assign(self._span(c), (c[0],), c[4], c[2])

    def augment(self, c: list[Any]) -> s.Augment:
        return s.Augment(self._span(c), c[0], str(c[1])[0], c[2])

    def return_line(self, c: list[Any]) -> s.Return:
        return s.Return(self._span(c), self._values(c[1]))

    def assert_line(self, c: list[Any]) -> s.Assert:
        message = c[3]
        if message is not None and not isinstance(message, s.String):
            raise SyntaxFault(Diagnostic("US0101", "the message of an assert is a string", message.span))
        return s.Assert(self._span(c), c[1], message)

    def expression(self, c: list[Any]) -> s.ExprStatement:
        return s.ExprStatement(self._span(c), c[0])

    def iterations(self, c: list[Any]) -> s.Iterations:
        return s.Iterations(self._span(c), self._name(c[1]), c[3])

    def param(self, c: list[Any]) -> s.ParamDecl:
        _, name, _, sizes, _, _, constraint, _, init = c
        return s.ParamDecl(self._span(c), self._name(name), tuple(sizes or ()), constraint, init)

    def constraint(self, c: list[Any]) -> s.ConstraintExpr:
        return s.ConstraintExpr(self._span(c), self._name(c[0]), tuple(c[2] or ()))

    def module(self, c: list[Any]) -> s.ModuleDecl:
        _, name, _, count, _, _, _, arguments, _, _, results = c
        return s.ModuleDecl(self._span(c), self._name(name), count, tuple(arguments or ()), tuple(results))

    def objective(self, c: list[Any]) -> s.Objective:
        return s.Objective(self._span(c[:5]), self._name(c[1]), tuple(c[3] or ()), tuple(c[5]))

    def for_loop(self, c: list[Any]) -> s.For:
        return s.For(self._span(c[:3]), tuple(c[1]), c[2], tuple(c[4]))

    def until(self, c: list[Any]) -> s.Expr:
        condition: s.Expr = c[1]
        return condition

    generators = _nodes

    def generator(self, c: list[Any]) -> s.Generator:
        return s.Generator(self._span(c), self._name(c[0]), c[2])

    def index_range(self, c: list[Any]) -> s.RangeExpr:
        return s.RangeExpr(self._span(c), c[0], c[2], c[4])

    def if_block(self, c: list[Any]) -> s.If:
        first = s.Branch(self._span(c[:2]), c[1], tuple(c[3]))
        branches = [first] + [x for x in c[4:] if isinstance(x, s.Branch)]
        orelse = c[-1] if isinstance(c[-1], _Group) and len(c) > 4 else ()
        return s.If(self._span(c[:2]), tuple(branches), tuple(orelse))

    def elif_branch(self, c: list[Any]) -> s.Branch:
        return s.Branch(self._span(c[:2]), c[1], tuple(c[3]))

    def else_block(self, c: list[Any]) -> _Group:
        return _Group(c[2], self._span(c))

    # -- expressions

    def several(self, c: list[Any]) -> s.TupleExpr:
        return s.TupleExpr(self._span(c), tuple(self._nodes(c)))

    def binary(self, c: list[Any]) -> s.Binary:
        return s.Binary(self._span(c), str(c[1]), c[0], c[2])

    def unary(self, c: list[Any]) -> s.Unary:
        return s.Unary(self._span(c), str(c[0]), c[1])

    def comparator(self, c: list[Any]) -> Token:
        token: Token = c[0]
        return token

    def compare(self, c: list[Any]) -> s.Compare:
        return s.Compare(self._span(c), tuple(str(x) for x in c[1::2]), tuple(c[0::2]))

    def call(self, c: list[Any]) -> s.Call:
        return s.Call(self._span(c), c[0], tuple(c[2] or ()))

    def index(self, c: list[Any]) -> s.Index:
        return s.Index(self._span(c), c[0], tuple(c[2]))

    def attribute(self, c: list[Any]) -> s.Attribute:
        return s.Attribute(self._span(c), c[0], self._name(c[2]))

    def name(self, c: list[Any]) -> s.Name:
        return self._name(c[0])

    def number(self, c: list[Any]) -> s.Number:
        text = str(c[0])
        value: int | float | complex | bool
        if c[0].type in ("TRUE", "FALSE"):
            value = c[0].type == "TRUE"
        elif c[0].type == "INT":
            digits = text.replace("_", "")
            if len(digits) > 19 or int(digits) >= 2**63:
                raise SyntaxFault(Diagnostic("US0107", "this integer does not fit in 64 bits", self._span(c)))
            value = int(digits)
        else:
            text = text.replace("_", "")
            value = complex(text.lower()) if c[0].type == "IMAG" else float(text)
        return s.Number(self._span(c), value)

    def none(self, c: list[Any]) -> s.NoneLiteral:
        return s.NoneLiteral(self._span(c))

    def string(self, c: list[Any]) -> s.String:
        return s.String(self._span(c), str(c[0])[1:-1])

    def parenthesis(self, c: list[Any]) -> s.Expr:
        inner: s.Expr = replace(c[1], span=self._span(c))
        return inner

    def empty_tuple(self, c: list[Any]) -> s.TupleExpr:
        return s.TupleExpr(self._span(c), ())

    def parenthesis_tuple(self, c: list[Any]) -> s.TupleExpr:
        return s.TupleExpr(self._span(c), tuple(self._nodes(c)))

    def array(self, c: list[Any]) -> s.Comprehension:
        return s.Comprehension(self._span(c), c[1].body, c[1].generators, True)

    def list_display(self, c: list[Any]) -> s.ListExpr:
        return s.ListExpr(self._span(c), tuple(c[1] or ()))

    def comprehension(self, c: list[Any]) -> s.Comprehension:
        return s.Comprehension(self._span(c), c[0], tuple(c[2]))

    arguments = _nodes

    def argument(self, c: list[Any]) -> s.Argument:
        return s.Argument(self._span(c), None, c[0])

    def keyword(self, c: list[Any]) -> s.Argument:
        return s.Argument(self._span(c), self._name(c[0]), c[2])

    def items(self, c: list[Any]) -> _Group:
        return self._nodes(c)

    def slice_item(self, c: list[Any]) -> s.Slice:
        parts: list[Any] = [None, None, None]
        position = 0
        for child in c:
            if isinstance(child, Token):
                position += 1
            elif child is not None:
                parts[position] = child
        return s.Slice(self._span(c), *parts)

    def ellipsis(self, c: list[Any]) -> s.EllipsisItem:
        return s.EllipsisItem(self._span(c))
