"""Python expressions and annotations to the syntax tree: one method for each form. Nothing is executed."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

from ..compiler.diagnostics import Diagnostic, Span
from ..compiler.nearest import nearest
from . import syntax as s
from . import words
from .api import Program
from .builtins.all import BUILTINS
from .parse import MAX_DEPTH
from .python_names import MISSING, Names, definition, foreign, is_namespace, literal, member, path_of
from .python_source import PythonSource
from .syntax_errors import keyword_as_name

Node = TypeVar("Node")

BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**", ast.MatMult: "@",
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip
_OTHER_OPERATORS = {
    ast.BitAnd: ("&", "write `and`"), ast.BitOr: ("|", "write `or`"), ast.BitXor: ("^", "a power is `**`"),
    ast.LShift: ("<<", None), ast.RShift: (">>", None), ast.Invert: ("~", "write `not`"), ast.Is: ("is", "compare with `==`"),
    ast.IsNot: ("is not", "compare with `!=`"), ast.In: ("in", "us.any(x == a)"), ast.NotIn: ("not in", "us.all(x != a)"),
}  # fmt: skip
_OTHER_EXPRESSIONS = {
    ast.Lambda: ("`lambda`", "write a function with @us.fn and pass its name"),
    ast.Dict: ("a dictionary", None), ast.Set: ("a set", None), ast.DictComp: ("a dictionary", None), ast.SetComp: ("a set", None),
    ast.JoinedStr: ("an f-string", None), ast.Await: ("`await`", None), ast.Yield: ("`yield`", None),
    ast.YieldFrom: ("`yield`", None), ast.NamedExpr: ("`:=`", "bind the name in a statement of its own"),
    ast.Starred: ("`*`", "write the items out"),
}  # fmt: skip
#: The arguments that are strings, not sizes: positions and names by builtin.
_TEXTS: dict[str, tuple[Any, ...]] = {"einsum": (0, "spec"), "pad": ("mode",)}


class Fault(Exception):
    """A form that cannot be read; reported by the statement around it."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


class ExpressionReader:
    """Reads the expressions of one function. ``bound`` are the names that belong to the program, ``definitions`` what it uses
    of others, by the path it is written with."""

    def __init__(self, python: PythonSource, names: Names) -> None:
        self.python, self.names = python, names
        self.own = python.node.name
        self.bound: set[str] = set()
        self.definitions: dict[str, s.Fn | s.AlgorithmDecl] = {}
        self.scopes: list[Any] = []
        self._place: Callable[[ast.AST], Span] | None = None  # inside a string
        self._depth = 0

    def span(self, node: ast.AST) -> Span:
        """Where a node stands in the file."""
        return self._place(node) if self._place is not None else self.python.span(node)

    def fault(self, code: str, message: str, node: ast.AST | Span, hint: str | None = None) -> NoReturn:
        """Give up on the statement. Raises Fault."""
        raise Fault(Diagnostic(code, message, node if isinstance(node, Span) else self.span(node), (), hint))

    def other(self, what: str, node: ast.AST | Span, hint: str | None = None) -> NoReturn:
        """Give up: the language does not have this. Raises Fault."""
        self.fault("US0109", f"{what} is not part of the language", node, hint)

    def name(self, text: str, span: Span) -> s.Name:
        """A name that a program may use."""
        if text in s.KEYWORDS:
            raise Fault(keyword_as_name(text, span))
        return s.Name(span, text)

    @contextmanager
    def binding(self, names: Sequence[str]) -> Iterator[None]:
        """Names that belong to the program within a part."""
        before = self.bound
        self.bound = before | set(names)
        try:
            yield
        finally:
            self.bound = before

    # -- strings that hold a part of the program

    def text(self, node: ast.Constant, read: Callable[[ast.expr], Node], start: int = 0, end: int | None = None) -> Node:
        """What ``read`` makes of the Python expression in a string literal (or a part of it)."""
        whole = self.span(node)
        assert isinstance(node.value, str)
        value = node.value[start:end]
        lead = len(value) - len(value.lstrip())

        def place(inner: ast.AST) -> Span:
            column, last = getattr(inner, "col_offset", 0), getattr(inner, "end_col_offset", None) or 1
            chars = len(value.strip().encode("utf-8")[:column].decode("utf-8", "ignore"))
            return self.python.part(node, start + lead + chars, last - column) or whole

        return self.foreign_text(value, place, whole, read)

    def foreign_text(self, value: str, place: Callable[[ast.AST], Span], whole: Span, read: Callable[[ast.expr], Node]) -> Node:
        """As :meth:`text`, for a string whose parts stand where ``place`` says."""
        try:
            inner = ast.parse(value.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            self.fault("US0101", f"expected an expression in this string, but found {value!r}", whole)
        before, self._place = self._place, place
        try:
            return read(inner)
        finally:
            self._place = before

    # -- names

    def resolve(self, node: ast.expr) -> Any:
        """The Python object that a name or path means, MISSING for a name that is not bound, None for what the program binds."""
        attributes: list[ast.Attribute] = []
        while isinstance(node, ast.Attribute):
            attributes.append(node)
            node = node.value
        if self._place is not None or not isinstance(node, ast.Name) or node.id in self.bound or node.id == self.own:
            return None
        found = self.names.find(node.id)
        for attribute in reversed(attributes):
            if not is_namespace(found):
                return None
            found = self._member(found, attribute)
        return found

    def _member(self, base: Any, node: ast.Attribute) -> Any:
        try:
            found = member(base, node.attr)
        except Exception as error:  # what a module or an import in it raises is told, at its place
            self.fault("US0701", f"{path_of(node)} cannot be had from Python: {type(error).__name__}: {error}", node)
        if found is MISSING:
            close = nearest(node.attr, dir(base))
            code = "US0602" if isinstance(base, Program) else "US0201"
            self.fault(code, f"{path_of(node.value)} has no {node.attr}", self._attribute(node), close)
        return found

    def shown(self, node: ast.AST) -> str:
        """The text of a node, of its first line at most."""
        span = self.span(node)
        line = span.source.line(span.line)
        return line[span.column - 1 : span.end_column - 1] if span.line == span.end_line else line[span.column - 1 :]

    def _attribute(self, node: ast.Attribute) -> Span:
        whole = self.span(node)
        start = max(whole.end_column - len(node.attr), 1)
        return Span(whole.source, whole.end_line, start, whole.end_line, whole.end_column)

    def _meant(self, node: ast.expr, value: Any) -> s.Expr:
        """A Python object as an expression."""
        span, path = self.span(node), path_of(node)
        if isinstance(value, words.BuiltinWord):
            taken = value.name in self.bound or value.name == self.own or definition(self.names.find(value.name)) is not None
            return s.Name(span, f"us.{value.name}" if taken else value.name)
        if isinstance(value, words.TypeWord):
            return s.Name(span, value.name)
        if any(value is word for word in words.DECLARATIONS.values()):
            where = "in the signature" if value is words.given else "in a statement of its own: name = us..."
            self.fault("US0501", f"{path} declares something, which stands {where}", node)
        found = definition(value)
        if found is not None:
            self.definitions[path] = found.node
            self.scopes.append(found.scope)
            return s.Name(span, path)
        number = literal(value, span)
        if number is None:
            raise Fault(foreign(path, value, span))
        return number

    # -- expressions

    def expr(self, node: ast.expr) -> s.Expr:
        """An expression."""
        self._depth += 1
        try:
            if self._depth > MAX_DEPTH:
                self.fault("US0108", f"this is nested more than {MAX_DEPTH} deep", node, "name a part of it first")
            return self._expr(node)
        finally:
            self._depth -= 1

    def _expr(self, node: ast.expr) -> s.Expr:
        span = self.span(node)
        match node:
            case ast.Name() | ast.Attribute():
                return self._path(node)
            case ast.Constant():
                return self._constant(node)
            case ast.BinOp(left=left, op=op, right=right):
                if type(op) in BINARY:
                    return s.Binary(span, BINARY[type(op)], self.expr(left), self.expr(right))
                self._operator(op, node)
            case ast.UnaryOp(op=op, operand=operand):
                signs: dict[type[ast.unaryop], str] = {ast.USub: "-", ast.UAdd: "+", ast.Not: "not"}
                if type(op) in signs:
                    return s.Unary(span, signs[type(op)], self.expr(operand))
                self._operator(op, node)
            case ast.BoolOp(op=op, values=values):
                word = "and" if isinstance(op, ast.And) else "or"
                whole = self.expr(values[0])
                for value in values[1:]:
                    right_side = self.expr(value)
                    whole = s.Binary(whole.span.to(right_side.span), word, whole, right_side)
                return whole
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                for comparison in ops:
                    if type(comparison) not in _COMPARE:
                        self._operator(comparison, node)
                return s.Compare(span, tuple(_COMPARE[type(c)] for c in ops), tuple(map(self.expr, (left, *comparators))))
            case ast.Call():
                return self._call(node)
            case ast.Subscript(value=value, slice=index):
                items = index.elts if isinstance(index, ast.Tuple) else [index]
                if not items:
                    self.fault("US0101", "expected an index between the brackets", node)
                return s.Index(span, self.expr(value), tuple(map(self._item, items)))
            case ast.Tuple(elts=items):
                return s.TupleExpr(span, tuple(map(self.expr, items)))
            case ast.List(elts=items):
                return s.ListExpr(span, tuple(map(self.expr, items)))
            case ast.ListComp(elt=body, generators=generators):
                return self._comprehension(node, body, generators, True)
            case ast.GeneratorExp():
                self.fault("US0416", "a generator is the argument of sum, prod, max, min, any or all", node, "an array: [...]")
            case ast.IfExp():
                self.fault("US0109", "a conditional expression is written us.where(condition, a, b)", node)
        what, hint = _OTHER_EXPRESSIONS.get(type(node), (f"`{type(node).__name__}`", None))
        self.other(what, node, hint)

    def _operator(self, op: ast.AST, node: ast.expr) -> NoReturn:
        text, hint = _OTHER_OPERATORS[type(op)]
        self.other(f"the operator `{text}`", node, hint)

    def _path(self, node: ast.Name | ast.Attribute) -> s.Expr:
        value = self.resolve(node)
        if value is not None and value is not MISSING:
            return self._meant(node, value)
        if isinstance(node, ast.Name):
            return self.name(node.id, self.span(node))
        return s.Attribute(self.span(node), self.expr(node.value), self.name(node.attr, self._attribute(node)))

    def _constant(self, node: ast.Constant) -> s.Expr:
        span, value = self.span(node), node.value
        if isinstance(value, str):
            return s.String(span, value)
        if value is None:
            return s.NoneLiteral(span)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 2**63:
            self.fault("US0107", "this integer does not fit in 64 bits", node)
        if isinstance(value, (int, float, complex)):
            return s.Number(span, value)
        self.other("`...` outside an index" if value is ... else "a bytes literal", node)

    def _item(self, node: ast.expr) -> s.Expr | s.Slice | s.EllipsisItem:
        if isinstance(node, ast.Slice):
            parts = (self.expr(p) if p is not None else None for p in (node.lower, node.upper, node.step))
            return s.Slice(self.span(node), *parts)
        if isinstance(node, ast.Constant) and node.value is ...:
            return s.EllipsisItem(self.span(node))
        return self.expr(node)

    # -- calls

    def argument(self, node: ast.expr) -> s.Expr:
        """An expression where a string is a size: ``us.zeros("n")``."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return self.text(node, self.expr)
        return self.expr(node)

    def _call(self, node: ast.Call) -> s.Call:
        value = self.resolve(node.func)
        builtin = BUILTINS[value.name] if isinstance(value, words.BuiltinWord) else None
        texts = _TEXTS.get(builtin.name, ()) if builtin is not None else ()
        function = self.expr(node.func)
        arguments: list[s.Argument] = []
        for place, arg in enumerate(node.args):
            span = self.span(arg)
            written: s.Expr
            if builtin is not None and place in builtin.names and isinstance(arg, ast.Name):
                written = self.name(arg.id, span)  # a parameter of the function that is derived
            elif isinstance(arg, ast.GeneratorExp):
                written = self._comprehension(arg, arg.elt, arg.generators, False)
            else:
                written = self.expr(arg) if place in texts else self.argument(arg)
            arguments.append(s.Argument(span, None, written))
        for keyword in node.keywords:
            if keyword.arg is None:
                self.other("`**` in a call", keyword, "write the arguments out")
            span = self.span(keyword)
            name = self.name(keyword.arg, Span(span.source, span.line, span.column, span.line, span.column + len(keyword.arg)))
            inner = self.expr(keyword.value) if keyword.arg in texts else self.argument(keyword.value)
            arguments.append(s.Argument(span, name, inner))
        return s.Call(self.span(node), function, tuple(arguments))

    # -- indices

    def _comprehension(
        self, node: ast.expr, body: ast.expr, generators: Sequence[ast.comprehension], brackets: bool
    ) -> s.Comprehension:
        before = self.bound
        found: list[s.Generator] = []
        try:
            for g in generators:
                if g.ifs:
                    self.other("a condition in a comprehension", g.ifs[0], "us.where(condition, value, 0)")
                if g.is_async:
                    self.other("`async`", node)
                found.append(self.generator(g.target, g.iter))
                self.bound = self.bound | {found[-1].index.text}
            return s.Comprehension(self.span(node), self.expr(body), tuple(found), brackets)
        finally:
            self.bound = before

    def generator(self, target: ast.expr, over: ast.expr) -> s.Generator:
        """``i in range(a, b, step)``."""
        if not isinstance(target, ast.Name):
            self.other("a loop over several names", target, "one index for each loop: for i in range(n)")
        index = self.name(target.id, self.span(target))
        if not isinstance(over, ast.Call) or self.resolve(over.func) is not range:
            self.other("a loop over anything but range(...)", over, "for i in range(n): ... x[i] ...")
        if over.keywords or not 1 <= len(over.args) <= 3:
            self.fault("US0101", "expected range(stop), range(start, stop) or range(start, stop, step)", over)
        bounds = list(map(self.argument, over.args))
        start = bounds[0] if len(bounds) > 1 else s.Number(self.span(over), 0)
        stop = bounds[1] if len(bounds) > 1 else bounds[0]
        step = bounds[2] if len(bounds) > 2 else None
        return s.Generator(index.span.to(self.span(over)), index, s.RangeExpr(self.span(over), start, stop, step))

    # -- types

    def type(self, node: ast.expr) -> s.TypeExpr:
        """An annotation: ``us.real["m", "n"]``, a name for one, or either as a string."""
        span = self.span(node)
        match node:
            case ast.Constant(value=str()) if self._place is None:
                return self.text(node, self.type)
            case ast.Subscript(value=base, slice=index):
                name = self._type_name(base)
                items = index.elts if isinstance(index, ast.Tuple) else [index]
                return s.TypeExpr(span, name, tuple(map(self.argument, items)))
            case ast.Call(func=base, args=[module], keywords=[]):
                name = self._type_name(base)
                if name.text == "weights" and isinstance(module, ast.Name):
                    return s.TypeExpr(span, name, (), self.name(module.id, self.span(module)))
                if name.text == "weights" and isinstance(module, ast.Constant) and isinstance(module.value, str):
                    return s.TypeExpr(span, name, (), self.name(module.value, self.span(module)))
                self.fault("US0509", f"the type {name.text} is not called; its sizes stand in brackets", node)
        value = self.resolve(node)
        if isinstance(value, words.TypeNote):
            return self._note(value, span)
        return s.TypeExpr(span, self._type_name(node), ())

    def _type_name(self, node: ast.expr) -> s.Name:
        value = self.resolve(node)
        if isinstance(value, words.TypeWord):
            return s.Name(self.span(node), value.name)
        if isinstance(node, ast.Name) and (self._place is not None or value is MISSING):
            return self.name(node.id, self.span(node))  # an unknown one is reported as in a `.us` program
        if isinstance(node, ast.Attribute) and self._place is not None:  # us.real in a string
            return self.name(node.attr, self._attribute(node))
        hint = {int: "us.i64", float: "us.real"}.get(value) if isinstance(value, type) else None
        self.fault("US0509", f"{self.shown(node)} is no type", node, hint or 'for example us.real["m", "n"]')

    def _note(self, note: words.TypeNote, span: Span) -> s.TypeExpr:
        sizes: list[s.Expr] = []
        for size in note.sizes:
            number = literal(size, span)
            if isinstance(size, str):
                sizes.append(self.foreign_text(size, lambda _: span, span, self.expr))
            elif number is not None:
                sizes.append(number)
            else:
                self.fault("US0504", f"{size!r} is no size", span, "a string or an integer")
        return s.TypeExpr(span, s.Name(span, note.name), tuple(sizes), s.Name(span, note.of) if note.of else None)
