"""What every name of a program stands for, and where it can be used: read from the tree, before and beside any types.

A :class:`Symbol` is what a name means; a :class:`Scope` a block of lines with the symbols that are bound in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from ...compiler.diagnostics import Span
from .. import syntax as s
from ..builtins.all import builtin_named
from ..uses import FileScope
from ..walk import assigned_names, children


@dataclass(frozen=True)
class Symbol:
    """``kind`` is file, fn, algorithm, parameter, input, size, iterations, param, module, objective, index or value; ``span`` the name where it is
    bound first; ``node`` what binds it (of a file: its program)."""

    name: str
    kind: str
    span: Span
    node: s.Node = field(compare=False, repr=False)


@dataclass
class Scope:
    """Lines ``first`` to ``last``, as far as they begin at ``column`` or behind it."""

    first: int
    last: int
    column: int
    symbols: dict[str, Symbol] = field(default_factory=dict)
    inner: list[Scope] = field(default_factory=list)

    def around(self, line: int, column: int) -> Iterator[Scope]:
        """This scope and those in it that a place is in, outer ones first."""
        yield self
        for scope in self.inner:
            if scope.first <= line <= scope.last and (line == scope.first or column >= scope.column):
                yield from scope.around(line, column)


class Names:
    """The names of a file. ``uses`` are all places where a name stands for a symbol, where it is bound among them."""

    def __init__(self, scope: FileScope) -> None:
        self.file = scope
        self.uses: list[tuple[Span, Symbol]] = []
        last = scope.source.text.count("\n") + 1
        self.root = Scope(1, last, 1)
        self.external: dict[str, dict[str, Symbol]] = {}
        self._top()
        starts = [item.span.line for item in scope.program.items] + [last + 1]
        for item, end in zip(scope.program.items, starts[1:], strict=True):
            if not isinstance(item, s.Use):
                _Definition(self, Scope(item.span.line, max(end - 1, item.span.line), 1)).read(item)

    # -- what editors ask

    def at(self, line: int, column: int, behind: bool = False) -> tuple[Span, Symbol] | None:
        """The use that a place is in; also the one that it is just ``behind``, where a cursor may stand."""
        for shift in (0, 1) if behind else (0,):
            for span, symbol in self.uses:
                if span.line == line and span.column <= column - shift < span.end_column:
                    return span, symbol
        return None

    def visible(self, line: int, column: int) -> dict[str, Symbol]:
        """The symbols that can be used at a place, by name."""
        found: dict[str, Symbol] = {}
        text = self.file.source.line(line)
        indented = min(len(text) - len(text.lstrip()) + 1, column)
        for scope in self.root.around(line, indented):
            for name, symbol in scope.symbols.items():
                if scope is self.root or (symbol.span.line, symbol.span.column) < (line, column):
                    found[name] = symbol
        return found

    def occurrences(self, symbol: Symbol) -> list[Span]:
        """Every use of a symbol in the file, in order."""
        found = {span for span, used in self.uses if used == symbol and span.source == self.file.source}
        return sorted(found, key=lambda span: (span.line, span.column))

    def definition(self, name: str) -> Symbol | None:
        """A function or algorithm of the file, own or used, or a file in use."""
        return self.root.symbols.get(name)

    def inside(self, file: FileScope) -> dict[str, Symbol]:
        """What another file offers."""
        known = self.external.setdefault(file.source.name, {})
        if not known:
            known.update({item.name.text: symbol_of(item) for item in file.own})
        return known

    # -- the top level

    def _top(self) -> None:
        symbols = self.root.symbols
        for item in self.file.program.items:
            if not isinstance(item, s.Use):
                symbol = symbol_of(item)
                symbols.setdefault(item.name.text, symbol)
                self.uses.append((item.name.span, symbol))
        for item in self.file.program.items:
            if isinstance(item, s.Use):
                self._use(item)

    def _use(self, use: s.Use) -> None:
        for wanted in use.names:
            found = self.file.definitions.get(wanted.text)
            if found is not None:
                symbol = symbol_of(found)
                self.root.symbols.setdefault(wanted.text, symbol)
                self.uses.append((wanted.span, symbol))
        file = self.file.files.get(Path(use.path).stem) or self._home(use)
        if file is not None:
            symbol = Symbol(Path(use.path).stem, "file", Span(file.source, 1, 1, 1, 1), file.program)
            if not use.names:
                self.root.symbols.setdefault(symbol.name, symbol)
            place = path_span(use)
            if place is not None:
                self.uses.append((place, symbol))

    def _home(self, use: s.Use) -> FileScope | None:
        """The file that names are taken from."""
        found = [self.file.definitions[name.text] for name in use.names if name.text in self.file.definitions]
        return self.file.home(found[0]) if found else None


def symbol_of(item: s.Fn | s.AlgorithmDecl) -> Symbol:
    """The symbol of a definition."""
    return Symbol(item.name.text, "fn" if isinstance(item, s.Fn) else "algorithm", item.name.span, item)


def path_span(use: s.Use) -> Span | None:
    """Where the name or path of a ``use`` stands; None if it is on a line of its own."""
    line = use.span.source.line(use.span.line)
    found = re.compile(r"""use\s+("[^"]*"|'[^']*'|\w+)""").match(line, use.span.column - 1)
    return Span(use.span.source, use.span.line, found.start(1) + 1, use.span.line, found.end(1) + 1) if found else None


class _Definition:
    """One function or algorithm. ``env`` are the names in scope at the place that is read."""

    def __init__(self, names: Names, scope: Scope) -> None:
        self.names, self.scope = names, scope
        names.root.inner.append(scope)
        self.env: dict[str, Symbol] = {}

    def read(self, item: s.Fn | s.AlgorithmDecl) -> None:
        if isinstance(item, s.Fn):
            for name in item.parameters:
                self._bind(name, "parameter", item)
            self._block(item.body, self.scope.last)
            return
        self._sizes(item)
        for declared in item.inputs:
            self._bind(declared.name, "input", declared)
        for part in (*(i.type for i in item.inputs), *item.results, *item.where):
            self._expression(part)
        self._block(item.body, self.scope.last)

    def _sizes(self, decl: s.AlgorithmDecl) -> None:
        """Sizes are bound where inputs name them; those that params and modules need, there."""
        for node in decl.body:
            if isinstance(node, s.Iterations):
                self._bind(node.name, "iterations", node)
        for item in decl.inputs:
            for size in item.type.sizes:
                if isinstance(size, s.Name):
                    self._size(size, item)
        for node in decl.body:
            parts: list[s.Expr] = []
            if isinstance(node, s.ParamDecl):
                parts = list(node.sizes)
            elif isinstance(node, s.ModuleDecl):
                parts = [size for t in (*node.arguments, *node.results) for size in t.sizes] + ([node.count] if node.count else [])
            for part in parts:
                if isinstance(part, s.Name):
                    self._size(part, node)

    def _size(self, name: s.Name, node: s.Node) -> None:
        if name.text not in self.env and name.text not in s.TYPE_NAMES:
            self._bind(name, "size", node)

    # -- binding

    def _bind(self, name: s.Name, kind: str, node: s.Node) -> None:
        symbol = Symbol(name.text, kind, name.span, node)
        self.env[name.text] = symbol
        self.scope.symbols.setdefault(name.text, symbol)
        self.names.uses.append((name.span, symbol))

    def _enter(self, first: int, last: int, column: int) -> tuple[Scope, dict[str, Symbol]]:
        """Begin a scope; what to go back to."""
        before = self.scope, self.env
        self.scope, self.env = Scope(first, max(first, last), column), dict(self.env)
        before[0].inner.append(self.scope)
        return before

    # -- statements

    def _block(self, statements: Sequence[s.Statement], last: int) -> None:
        ends = [max(st.span.line, after.span.line - 1) for st, after in pairwise(statements)] + [last]
        for statement, end in zip(statements, ends, strict=True):
            self._statement(statement, end)

    def _statement(self, node: s.Statement, last: int) -> None:
        match node:
            case s.Assign(targets=targets, value=value, type=type):
                self._expression(value)
                if type is not None:
                    self._expression(type)
                for target in targets:
                    if isinstance(target, s.Name) and target.text not in self.env:
                        self._bind(target, "value", node)
                    else:
                        self._expression(target)
            case s.For(generators=generators, until=until, body=body):
                before = self._enter(node.span.line, last, body[0].span.column)
                self._generators(generators)
                self._block(body, last)
                if until is not None:
                    self._expression(until)
                self.scope, self.env = before
            case s.If():
                self._if(node, last)
            case s.Iterations():
                self._expression(node.value)
            case s.ParamDecl() | s.ModuleDecl():
                for child in children(node):
                    if child is not node.name:
                        self._expression(child)
                self._bind(node.name, "param" if isinstance(node, s.ParamDecl) else "module", node)
            case s.Objective(name=name, parameters=parameters, body=body):
                self._bind(name, "objective", node)
                before = self._enter(node.span.line, last, body[0].span.column)
                for parameter in parameters:
                    self._bind(parameter, "parameter", node)
                self._block(body, last)
                self.scope, self.env = before
            case _:
                for child in children(node):
                    self._expression(child)

    def _if(self, node: s.If, last: int) -> None:
        """What every branch binds stays: the symbol is that of the first branch."""
        blocks = [(b.condition, b.body) for b in node.branches] + ([(None, node.orelse)] if node.orelse else [])
        starts = [node.span.line] + [(c or body[0]).span.line for c, body in blocks[1:]]
        bound: list[set[str]] = []
        first: dict[str, Symbol] = {}
        for (condition, body), start, after in zip(blocks, starts, [*starts[1:], last + 1], strict=True):
            if condition is not None:
                self._expression(condition)
            before = self._enter(start, after - 1, body[0].span.column)
            self.env.update({name: symbol for name, symbol in first.items() if bound and name not in self.env})
            self._block(body, after - 1)
            new = {name: symbol for name, symbol in self.env.items() if name not in before[1]}
            self.scope, self.env = before
            first = {**new, **first}
            bound.append(set(assigned_names(body)) & new.keys())
        if node.orelse:
            for name in set.intersection(*bound):
                self.env[name] = first[name]
                self.scope.symbols.setdefault(name, first[name])

    # -- expressions

    def _generators(self, generators: Iterable[s.Generator]) -> None:
        for generator in generators:
            self._expression(generator.range)
            self._bind(generator.index, "index", generator)

    def _expression(self, node: s.Node) -> None:
        match node:
            case s.Name(text=text):
                symbol = self.env.get(text) or self.names.definition(text)
                if symbol is not None:
                    self.names.uses.append((node.span, symbol))
            case s.TypeExpr(sizes=sizes, of=of):
                for part in (*sizes, *([of] if of is not None else [])):
                    self._expression(part)
            case s.Attribute(value=s.Name(text=text) as file, name=name) if text not in self.env and text in self.names.file.files:
                self._expression(file)
                found = self.names.inside(self.names.file.files[text]).get(name.text)
                if found is not None:
                    self.names.uses.append((name.span, found))
            case s.Attribute(value=value):
                self._expression(value)
            case s.Call():
                self._call(node)
            case s.Comprehension(body=body, generators=generators):
                before = self.env
                self.env = dict(before)
                symbols, self.scope.symbols = self.scope.symbols, {}  # its indices are no names of the block
                self._generators(generators)
                self.scope.symbols = symbols
                self._expression(body)
                self.env = before
            case _:
                for child in children(node):
                    self._expression(child)

    def _call(self, node: s.Call) -> None:
        uses, before = self.names.uses, len(self.names.uses)
        self._expression(node.function)
        called = uses[-1][1].node if len(uses) > before and isinstance(node.function, (s.Name, s.Attribute)) else None
        builtin = builtin_named(node.function.text) if isinstance(node.function, s.Name) else None
        for place, argument in enumerate(node.arguments):
            if builtin is not None and place in builtin.names and isinstance(argument.value, s.Name):
                continue  # the name of a parameter: grad(f, x)
            if argument.name is not None and called is not None:
                parameter = _parameter(called, argument.name.text)
                if parameter is not None:
                    uses.append((argument.name.span, parameter))
            self._expression(argument.value)


def _parameter(node: s.Node, name: str) -> Symbol | None:
    """A parameter or input by name."""
    if isinstance(node, s.Fn):
        return next((Symbol(name, "parameter", p.span, node) for p in node.parameters if p.text == name), None)
    if isinstance(node, s.AlgorithmDecl):
        return next((Symbol(name, "input", i.name.span, i) for i in node.inputs if i.name.text == name), None)
    return None
