"""Python statements, declarations and signatures to the syntax tree. Nothing is executed."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from ..compiler.diagnostics import Diagnostic, Span
from . import syntax as s
from . import words
from .parse import MAX_DEPTH
from .python_expr import BINARY, ExpressionReader, Fault
from .python_names import Names
from .python_source import PythonSource
from .walk import descend

_UNTIL = "end the body of a `for` with `if condition: break`"
_OTHER_STATEMENTS = {
    "While": ("`while`", f"for k in range(K): ...; {_UNTIL}"), "Break": ("`break` here", _UNTIL),
    "Continue": ("`continue`", "put the rest of the body under an `if`"), "Pass": ("`pass`", None),
    "Try": ("`try`", None), "TryStar": ("`try`", None), "With": ("`with`", None), "Raise": ("`raise`", 'assert condition, "message"'),
    "Import": ("`import`", "import above the function"), "ImportFrom": ("`import`", "import above the function"),
    "Global": ("`global`", "return the value"), "Nonlocal": ("`nonlocal`", "return the value"), "Delete": ("`del`", None),
    "ClassDef": ("`class`", None), "Match": ("`match`", "if ... elif ..."), "AsyncFor": ("`async`", None),
    "AsyncWith": ("`async`", None), "AsyncFunctionDef": ("`async`", None),
}  # fmt: skip


class BlockReader(ExpressionReader):
    """Reads a whole function; ``found`` collects what is wrong, statement by statement."""

    def __init__(self, python: PythonSource, names: Names) -> None:
        super().__init__(python, names)
        self.found: list[Diagnostic] = []

    # -- functions

    def fn(self) -> s.Fn:
        """The function as a ``fn``."""
        node = self.python.node
        parameters = self._parameters(node)
        for arg in node.args.args:
            if arg.annotation is not None and not _is_any(arg.annotation):
                self._report(
                    "US0703", f"{arg.arg} has a type, and a fn is typed at each use", arg.annotation, "leave it out, or Any"
                )
        if node.returns is not None and not _is_any(node.returns):
            self._report(
                "US0703", f"{node.name} has a result type, and a fn is typed at each use", node.returns, "leave it out, or Any"
            )
        self.bound |= {*_assigned(node.body), *(p.text for p in parameters)}
        return s.Fn(self._head(node), self._own_name(node), parameters, self._body(node))

    def algorithm(self, where: str) -> s.AlgorithmDecl:
        """The function as an algorithm; ``where`` are its conditions."""
        node = self.python.node
        names = [p.text for p in self._parameters(node)]
        self.bound |= {*_assigned(node.body), *names}
        inputs = [found for arg in node.args.args for found in self._input(arg)]
        results = self._results(node)
        types = (*(i.type for i in inputs), *results)
        self.bound |= {n.text for t in types for size in t.sizes for n in descend(size) if isinstance(n, s.Name)}
        conditions = self._where(node, where) if where else ()
        return s.AlgorithmDecl(self._head(node), self._own_name(node), tuple(inputs), results, conditions, self._body(node))

    def _head(self, node: ast.FunctionDef) -> Span:
        name = self.python.name_span(node)
        return self.span(node).to(name) if name.line == node.lineno else name

    def _own_name(self, node: ast.FunctionDef) -> s.Name:
        span = self.python.name_span(node)
        try:
            return self.name(node.name, span)
        except Fault as fault:
            self.found.append(fault.diagnostic)
            return s.Name(span, node.name)

    def _report(self, code: str, message: str, node: ast.AST | Span, hint: str | None = None) -> None:
        span = node if isinstance(node, Span) else self.span(node)
        self.found.append(Diagnostic(code, message, span, (), hint))

    def _parameters(self, node: ast.FunctionDef) -> tuple[s.Name, ...]:
        a = node.args
        for extra in (*a.posonlyargs, *a.kwonlyargs, *(x for x in (a.vararg, a.kwarg) if x is not None)):
            self._report("US0703", f"{extra.arg} is no plain parameter", extra, "parameters are plain: def f(a, b)")
        for default in (*a.defaults, *(d for d in a.kw_defaults if d is not None)):
            self._report(
                "US0703", "a parameter has no default", default, "a value that callers may change is a parameter they pass"
            )
        names = []
        for arg in a.args:
            span = self.span(arg)
            try:
                names.append(self.name(arg.arg, Span(span.source, span.line, span.column, span.line, span.column + len(arg.arg))))
            except Fault as fault:
                self.found.append(fault.diagnostic)
        return tuple(names)

    def _input(self, arg: ast.arg) -> Iterator[s.InputDecl]:
        span = self.span(arg)
        name = s.Name(Span(span.source, span.line, span.column, span.line, span.column + len(arg.arg)), arg.arg)
        written = arg.annotation
        if written is None:
            hint = "an algorithm sees no object; drop it" if arg.arg == "self" else f'{arg.arg}: us.real["n"]'
            self._report("US0703", f"the input {arg.arg} needs a type", arg, hint)
            return
        try:
            given = False
            if isinstance(written, ast.Constant) and isinstance(written.value, str):
                yield s.InputDecl(span, name, *self.text(written, self._given_type))
                return
            type, given = self._given_type(written)
            yield s.InputDecl(span, name, type, given)
        except Fault as fault:
            self.found.append(fault.diagnostic)

    def _given_type(self, node: ast.expr) -> tuple[s.TypeExpr, bool]:
        """A type, and whether it is ``us.given``."""
        if isinstance(node, ast.Call) and self._is_given(node.func):
            if len(node.args) != 1 or node.keywords:
                self.fault("US0402", "us.given takes one type", node, 'us.given(us.real["m", "n"])')
            return self.type(node.args[0]), True
        value = self.resolve(node)
        return self.type(node), isinstance(value, words.TypeNote) and value.given

    def _is_given(self, node: ast.expr) -> bool:
        if self.resolve(node) is words.given:
            return True
        last = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        return self.resolve(node) is None and last == "given"  # in a string

    def _results(self, node: ast.FunctionDef) -> tuple[s.TypeExpr, ...]:
        written = node.returns
        if written is None:
            self._report("US0703", f"{node.name} needs a result type", self.python.name_span(node), '-> us.real["n"]')
            return ()
        try:
            if isinstance(written, ast.Constant) and isinstance(written.value, str):
                return self.text(written, self._types)
            return self._types(written)
        except Fault as fault:
            self.found.append(fault.diagnostic)
            return ()

    def _types(self, node: ast.expr) -> tuple[s.TypeExpr, ...]:
        """One type, ``(T, U)`` or ``tuple[T, U]``."""
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "tuple":
            node = node.slice
        items = node.elts if isinstance(node, ast.Tuple) else [node]
        if not items:
            self.fault("US0703", "an algorithm has a result", node)
        return tuple(map(self.type, items))

    def _where(self, node: ast.FunctionDef, where: str) -> tuple[s.Expr, ...]:
        calls = (d for d in node.decorator_list if isinstance(d, ast.Call))
        written = next((k.value for d in calls for k in d.keywords if k.arg == "where"), None)

        def conditions(found: ast.expr) -> tuple[s.Expr, ...]:
            return tuple(map(self.expr, found.elts if isinstance(found, ast.Tuple) else [found]))

        try:
            if isinstance(written, ast.Constant) and written.value == where:
                return self.text(written, conditions)
            span = self.span(written) if written is not None else self.python.name_span(node)
            return self.foreign_text(where, lambda _: span, span, conditions)
        except Fault as fault:
            self.found.append(fault.diagnostic)
            return ()

    # -- blocks

    def _body(self, node: ast.FunctionDef) -> tuple[s.Statement, ...]:
        statements = node.body
        if ast.get_docstring(node, clean=False) is not None:
            statements = statements[1:]
        if not statements:
            self._report(
                "US0506", f"the body of {node.name} does not end in `return`", self.python.name_span(node), "return the result"
            )
        return self.block(statements)

    def block(self, statements: Sequence[ast.stmt]) -> tuple[s.Statement, ...]:
        """Statements in order; each reports its own error."""
        read: list[s.Statement] = []
        for statement in statements:
            self._depth += 1
            try:
                if self._depth > MAX_DEPTH // 2:
                    self.fault("US0108", f"blocks are nested more than {MAX_DEPTH // 2} deep", statement, "name parts first")
                read.append(self._statement(statement))
            except Fault as fault:
                self.found.append(fault.diagnostic)
            finally:
                self._depth -= 1
        return tuple(read)

    def _statement(self, node: ast.stmt) -> s.Statement:
        span = self.span(node)
        match node:
            case ast.Assign(targets=[ast.Name() as target], value=ast.Call() as call) if self._declares(call):
                return self._declaration(node, target, call)
            case ast.Assign(targets=[target], value=value):
                targets = target.elts if isinstance(target, ast.Tuple) else [target]
                return s.Assign(span, tuple(map(self.expr, targets)), self.expr(value))
            case ast.Assign(targets=targets):
                self.other("`a = b = ...`", targets[1], "one statement for each name")
            case ast.AnnAssign(target=target, annotation=written, value=None):
                self.fault("US0101", "expected `=` and a value after the type", written)
            case ast.AnnAssign(target=target, annotation=written, value=value):
                assert value is not None
                return s.Assign(span, (self.expr(target),), self.expr(value), self.type(written))
            case ast.AugAssign(target=target, op=op, value=value):
                text = BINARY.get(type(op), "?")
                if text not in ("+", "-", "*", "/"):
                    hint = f"x = x {text} ..." if text != "?" else None
                    self.other(f"`{text}=`" if text != "?" else "this operator", node, hint)
                return s.Augment(span, self.expr(target), text, self.expr(value))
            case ast.For():
                return self._for(node)
            case ast.If():
                return self._if(node)
            case ast.Return(value=None):
                self.fault("US0101", "expected an expression after `return`, but the line ends", node)
            case ast.Return(value=value):
                assert value is not None
                return s.Return(span, tuple(map(self.expr, value.elts)) if isinstance(value, ast.Tuple) and value.elts
                                else (self.expr(value),))  # fmt: skip
            case ast.Assert(test=test, msg=message):
                if message is not None and not (isinstance(message, ast.Constant) and isinstance(message.value, str)):
                    self.fault("US0101", "the message of an assert is a string", message)
                text_node = s.String(self.span(message), str(message.value)) if isinstance(message, ast.Constant) else None
                return s.Assert(span, self.expr(test), text_node)
            case ast.Expr(value=value):
                return s.ExprStatement(span, self.expr(value))
            case ast.FunctionDef():
                return self._objective(node)
        what, hint_ = _OTHER_STATEMENTS.get(type(node).__name__, (f"`{type(node).__name__.lower()}`", None))
        at = Span(span.source, span.line, span.column, span.line, span.end_column) if span.line == span.end_line else span
        self.other(what, at, hint_)

    def _for(self, node: ast.For) -> s.For:
        if node.orelse:
            self.other("`else` of a loop", node.orelse[0])
        head = self.span(node).to(self.span(node.iter))
        generator = self.generator(node.target, node.iter)
        body, until = list(node.body), None
        match body[-1]:
            case ast.If(test=test, body=[ast.Break()], orelse=[]):
                until = self.expr(test)
                body.pop()
        if not body:
            self.fault("US0101", "expected statements before the `break` of a loop", node.body[0])
        return s.For(head, (generator,), until, self.block(body))

    def _if(self, node: ast.If) -> s.If:
        branches: list[s.Branch] = []
        head = self.span(node).to(self.span(node.test))
        rest: list[ast.stmt] = [node]
        while len(rest) == 1 and isinstance(rest[0], ast.If) and (not branches or self._is_elif(rest[0])):
            branch = rest[0]
            span = self.span(branch).to(self.span(branch.test))
            branches.append(s.Branch(span, self.expr(branch.test), self.block(branch.body)))
            rest = branch.orelse
        return s.If(head, tuple(branches), self.block(rest))

    def _is_elif(self, node: ast.If) -> bool:
        span = self.span(node)
        return span.source.line(span.line)[span.column - 1 :].startswith("elif")

    # -- declarations

    def _declares(self, call: ast.Call) -> bool:
        value = self.resolve(call.func)
        return any(value is word for word in (words.iterations, words.param, words.module))

    def _declaration(self, node: ast.Assign, target: ast.Name, call: ast.Call) -> s.Statement:
        span, name = self.span(node), self.name(target.id, self.span(target))
        word = self.resolve(call.func)
        allowed = {words.iterations: ("default",), words.param: ("constraint", "init"), words.module: ("types", "count")}[word]
        named: dict[str, ast.expr] = {}
        for keyword in call.keywords:
            if keyword.arg not in allowed:
                self.fault("US0403", f"us.{word.__name__} has no argument {keyword.arg or '**'}", keyword,
                           f"it has {', '.join(allowed)}")  # fmt: skip
            named[keyword.arg] = keyword.value
        if word is words.param:
            constraint = self._constraint(named["constraint"]) if "constraint" in named else None
            sizes = tuple(map(self.argument, call.args))
            self.bound |= {n.text for size in sizes for n in descend(size) if isinstance(n, s.Name)}
            return s.ParamDecl(span, name, sizes, constraint, self.expr(named["init"]) if "init" in named else None)
        first = [*call.args, *(named[n] for n in allowed[:1] if n in named)]
        if len(first) != 1:
            self.fault("US0402", f"us.{word.__name__} takes one argument, and {len(first)} came", call)
        if word is words.iterations:
            return s.Iterations(span, name, self.expr(first[0]))
        arguments, results = self._signature(first[0])
        count = self.argument(named["count"]) if "count" in named else None
        sized = [size for t in (*arguments, *results) for size in t.sizes] + ([count] if count is not None else [])
        self.bound |= {n.text for size in sized for n in descend(size) if isinstance(n, s.Name)}
        return s.ModuleDecl(span, name, count, arguments, results)

    def _constraint(self, node: ast.expr) -> s.ConstraintExpr:
        def read(written: ast.expr) -> s.ConstraintExpr:
            span = self.span(written)
            match written:
                case ast.Name(id=text):
                    return s.ConstraintExpr(span, s.Name(span, text), ())
                case ast.Call(func=ast.Name(id=text) as function, args=args, keywords=[]):
                    return s.ConstraintExpr(span, s.Name(self.span(function), text), tuple(map(self.expr, args)))
            self.fault("US0503", f"{self.shown(written)} is no constraint", written, '"interval(0, 1)"')

        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            self.fault("US0404", "a constraint is a string", node, 'constraint="positive"')
        return self.text(node, read)

    def _signature(self, node: ast.expr) -> tuple[tuple[s.TypeExpr, ...], tuple[s.TypeExpr, ...]]:
        """``"(real[n]) -> real[n]"``."""
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            self.fault("US0404", "the types of a module are a string", node, 'us.module("(real[n]) -> real[n]")')
        arrow = node.value.find("->")
        if arrow < 0:
            self.fault("US0101", "expected `->` between the types of a module", node, '"(real[n]) -> real[n]"')

        def types(written: ast.expr) -> tuple[s.TypeExpr, ...]:
            return tuple(map(self.type, written.elts if isinstance(written, ast.Tuple) else [written]))

        return self.text(node, types, 0, arrow), self.text(node, types, arrow + 2)

    def _objective(self, node: ast.FunctionDef) -> s.Objective:
        if len(node.decorator_list) != 1 or self.resolve(node.decorator_list[0]) is not words.objective:
            self.other("a function inside a function", self.python.name_span(node),
                       "define it outside with @us.fn; an objective is decorated with @us.objective")  # fmt: skip
        parameters = self._parameters(node)
        with self.binding([*_assigned(node.body), *(p.text for p in parameters)]):
            body = self._body(node)
        return s.Objective(self._head(node), self.name(node.name, self.python.name_span(node)), parameters, body)


def _assigned(body: Sequence[ast.stmt]) -> set[str]:
    """Names that a function binds: Python's rule for what is local."""
    found: set[str] = set()
    stack: list[ast.AST] = list(body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif not isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)):
            stack.extend(ast.iter_child_nodes(node))
    return found


def _is_any(node: ast.expr) -> bool:
    return (node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else "") == "Any"
