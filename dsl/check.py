"""Checks that need no types: names declared twice or reserved, misplaced statements, functions that call themselves.

Functions are typed at each use; here their names are looked up once, so that an unused one is checked too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..compiler.diagnostics import Diagnostic, Span
from . import other_words
from . import syntax as s
from .builtins.all import BUILTINS, builtin_named
from .uses import FileScope
from .walk import assigned_names, children, descend

#: What a body without its last line has.
NO_RETURN = "US0506"


def check_file(scope: FileScope) -> list[Diagnostic]:
    """Everything that is wrong with the definitions of one file, types aside."""
    checker = _Checker(scope)
    for definition in scope.own:
        checker.reserved(definition.name)
        if isinstance(definition, s.Fn):
            checker.function(definition)
        else:
            checker.algorithm(definition)
    checker.recursion()
    return checker.found


class _Checker:
    def __init__(self, scope: FileScope) -> None:
        self.scope = scope
        self.found: list[Diagnostic] = []

    def fault(self, code: str, message: str, span: Span, suggestion: str | None = None, *notes: str) -> None:
        self.found.append(Diagnostic(code, message, span, notes, suggestion))

    def reserved(self, name: s.Name) -> None:
        if name.text in s.TYPE_NAMES:
            self.fault("US0209", f"{name.text} is the name of a type", name.span, f"for example {name.text}_")

    def _distinct(self, names: Iterable[s.Name], what: str) -> None:
        seen: dict[str, s.Name] = {}
        for name in names:
            self.reserved(name)
            if name.text in seen:
                self.fault(
                    "US0208",
                    f"{what} {name.text} is declared twice",
                    name.span,
                    "choose another name",
                    f"{name.text} is declared at {seen[name.text].span}",
                )
            seen.setdefault(name.text, name)

    # -- functions

    def function(self, fn: s.Fn) -> None:
        self._distinct(fn.parameters, "the parameter")
        self._body(fn.body, fn.name)
        for name in self._unknown(fn):
            hint = other_words.hint(name.text, [*(p.text for p in fn.parameters), *self.scope.definitions, *self.scope.files])
            if hint is None and name.text in other_words.MODULES:
                hint = f"builtins stand alone, without {name.text}."
            elif hint is None:
                hint = f"a fn sees its parameters only; pass {name.text} to {fn.name.text}"
            self.fault("US0201", f"unknown name {name.text}", name.span, hint)

    def _unknown(self, fn: s.Fn) -> Iterator[s.Name]:
        bound = {p.text for p in fn.parameters} | set(assigned_names(fn.body)) | set(self.scope.definitions)
        bound |= set(self.scope.files) | s.TYPE_NAMES | set(BUILTINS)
        reported: set[str] = set()
        for name in _used_names(fn.body, frozenset(bound)):
            if name.text not in reported:
                reported.add(name.text)
                yield name

    # -- algorithms

    def algorithm(self, decl: s.AlgorithmDecl) -> None:
        declared = [n.name for n in decl.body if isinstance(n, s.DECLARATIONS)]
        self._distinct([*(i.name for i in decl.inputs), *declared], "the name")
        sizes = {size.text: size for i in decl.inputs for size in i.type.sizes if isinstance(size, s.Name)}
        values = [i.name for i in decl.inputs] + [n.name for n in decl.body if isinstance(n, (s.ParamDecl, s.ModuleDecl))]
        for name in values:
            if name.text in sizes:
                self.fault(
                    "US0208",
                    f"{name.text} is both a size and a value",
                    name.span,
                    "choose another name",
                    f"it is a size at {sizes[name.text].span}",
                )
        goals = [n for n in decl.body if isinstance(n, s.Objective)]
        for goal in goals[1:]:
            self.fault("US0510", "an algorithm has one objective", goal.span)
        for goal in goals:
            self._distinct(goal.parameters, "the argument")
            taken = {n.text for n in values} | set(sizes)
            for name in goal.parameters:
                if name.text in taken:
                    self.fault(
                        "US0208",
                        f"the argument {name.text} of the objective is also an input, a param or a size",
                        name.span,
                        "choose another name",
                    )
            self._body(goal.body, goal.name)
        first = next((n for n, st in enumerate(decl.body) if not isinstance(st, s.DECLARATIONS)), len(decl.body))
        for statement in decl.body[first:]:
            if isinstance(statement, s.DECLARATIONS):
                self.fault(
                    "US0501",
                    "declarations stand at the head of an algorithm's body",
                    statement.span,
                    "move it before the first statement",
                )
        self._body([st for st in decl.body if not isinstance(st, s.DECLARATIONS)], decl.name)
        counts = {n.name.text for n in decl.body if isinstance(n, s.Iterations)}
        for node in descend(decl):
            if isinstance(node, s.Generator):
                self.reserved(node.index)
                if node.index.text in sizes or node.index.text in counts:
                    self.fault("US0208", f"the index {node.index.text} is also a size", node.index.span, "choose another name")

    # -- blocks

    def _body(self, body: Iterable[s.Statement], owner: s.Name) -> None:
        """``return`` stands last and nowhere else; no declarations inside blocks."""
        statements = list(body)
        if not statements:
            return
        if not isinstance(statements[-1], s.Return):
            self.fault("US0506", f"the body of {owner.text} does not end in `return`", statements[-1].span, "return the result")
        for n, statement in enumerate(statements):
            for inner in descend(statement):
                if isinstance(inner, s.Return) and (inner is not statement or n + 1 < len(statements)):
                    self.fault(
                        "US0506",
                        "`return` is the last statement of the body",
                        inner.span,
                        "bind the result to a name, and return it at the end",
                    )
                elif isinstance(inner, s.DECLARATIONS):
                    self.fault("US0501", "declarations stand at the head of an algorithm's body", inner.span)

    # -- recursion

    def recursion(self) -> None:
        """Report one call in each circle of functions."""
        done: set[int] = set()
        for start in self.scope.own:
            if not isinstance(start, s.Fn):
                continue
            trail: list[tuple[s.Fn, Iterator[tuple[s.Fn, Span]]]] = [(start, self._calls(start))]
            while trail:
                fn, calls = trail[-1]
                step = next(calls, None)
                if step is None:
                    done.add(id(fn))
                    trail.pop()
                    continue
                called, span = step
                names = [f.name.text for f, _ in trail]
                if any(called is f for f, _ in trail):
                    circle = " -> ".join([*names[names.index(called.name.text) :], called.name.text])
                    self.fault(
                        "US0412", f"{called.name.text} calls itself ({circle}); functions do not recurse", span, "write a loop"
                    )
                elif id(called) not in done:
                    trail.append((called, self._calls(called)))

    def _calls(self, fn: s.Fn) -> Iterator[tuple[s.Fn, Span]]:
        local = {p.text for p in fn.parameters} | set(assigned_names(fn.body))
        for statement in fn.body:
            for node in descend(statement):
                if isinstance(node, s.Name) and node.text not in local:
                    definition = self.scope.definitions.get(node.text)
                    if isinstance(definition, s.Fn) and any(definition is item for item in self.scope.own):
                        yield definition, node.span


def _used_names(body: Iterable[s.Node], bound: frozenset[str]) -> Iterator[s.Name]:
    """Names that are looked up and not bound; indices are bound in what they range over."""
    for node in body:
        yield from _used(node, bound)


def _used(node: s.Node, bound: frozenset[str]) -> Iterator[s.Name]:
    match node:
        case s.Name(text=text):
            if text not in bound and builtin_named(text) is None:
                yield node
        case s.Attribute(value=value):
            yield from _used(value, bound)
        case s.Argument(value=value):
            yield from _used(value, bound)
        case s.TypeExpr(sizes=sizes):
            yield from _used_names(sizes, bound)
        case s.Call(function=function, arguments=arguments):
            yield from _used(function, bound)
            builtin = builtin_named(function.text) if isinstance(function, s.Name) else None
            for place, argument in enumerate(arguments):
                if builtin is None or place not in builtin.names:
                    yield from _used(argument, bound)
        case s.Comprehension(body=inner, generators=generators):
            yield from _generators(generators, bound)
            yield from _used(inner, bound | {g.index.text for g in generators})
        case s.For(generators=generators, until=until, body=block):
            yield from _generators(generators, bound)
            bound |= {g.index.text for g in generators}
            yield from _used_names([*block, *([until] if until is not None else [])], bound)
        case _:
            yield from _used_names(children(node), bound)


def _generators(generators: Iterable[s.Generator], bound: frozenset[str]) -> Iterator[s.Name]:
    for generator in generators:
        yield from _used(generator.range, bound)
        bound |= {generator.index.text}
