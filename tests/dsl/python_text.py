"""Programs printed as Python: the embedded spelling of a syntax tree, and what Python makes of such a text."""

from __future__ import annotations

import builtins
import keyword
import linecache
import random
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any

import unspool as us
from unspool.compiler.diagnostics import Source
from unspool.dsl import syntax as s
from unspool.dsl.api import stdlib_names
from unspool.dsl.builtins.all import BUILTINS
from unspool.dsl.parse import parse
from unspool.dsl.walk import assigned_names, descend

_NUMBER = count()


class NotPython(Exception):
    """A program that has no embedded spelling: files beside it, Python's keywords as names, recursion, several indices with until."""


def execute(text: str, name: str = "", /, **names: Any) -> dict[str, Any]:
    """The namespace that a Python text leaves, as if it stood in a file of this name."""
    name = name or f"<program {next(_NUMBER)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {"__name__": "embedded", "us": us, **names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # 2(x), x is 1, ...: the diagnostics say it
        exec(compile(text, name, "exec"), namespace)
    return namespace


def forget() -> None:
    """Drop the texts that :func:`execute` has kept."""
    for name in [n for n in linecache.cache if n.startswith("<program ")]:
        del linecache.cache[name]


def to_python(text: str, rng: random.Random) -> str:
    """A ``.us`` text in Python, choosing among spellings at random. Raises NotPython."""
    return _Printer(rng).program(parse(Source("<string>", text)))


class _Printer:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.taken: set[str] = set()  # names that hide a builtin
        self.sizes: set[str] = set()
        self.programs: set[str] = set()

    def program(self, program: s.Program) -> str:
        uses = [item for item in program.items if isinstance(item, s.Use)]
        if any(use.is_file for use in uses):
            raise NotPython("use")
        for node in descend(program):
            if isinstance(node, s.Name) and (keyword.iskeyword(node.text) or node.text in ("us", "range", "tuple")):
                raise NotPython(node.text)
        head = ["from __future__ import annotations"]
        for use in uses:
            offered = dir(us.load(use.path)) if use.path in stdlib_names() else []
            if not offered or not {n.text for n in use.names} <= set(offered):
                raise NotPython("what Python says itself")
            head.append(f"{use.path} = us.load({use.path!r})")
            head += [f"{name.text} = {use.path}.{name.text}" for name in use.names]
        items = [item for item in program.items if not isinstance(item, s.Use)]
        self.definitions = {item.name.text for item in items} | {n.text for use in uses for n in use.names}
        if len({item.name.text for item in items}) < len(items):
            raise NotPython("defined twice")
        return "\n".join([*head, *(line for item in _sorted(items) for line in ("", "", *self.item(item)))]) + "\n"

    def item(self, item: s.Fn | s.AlgorithmDecl) -> Iterator[str]:
        self.taken = self.definitions | set(assigned_names(item.body)) | _indices(item)
        if isinstance(item, s.Fn):
            self.taken |= {p.text for p in item.parameters}
            self.sizes = set()
            yield "@us.fn"
            yield f"def {item.name.text}({', '.join(p.text for p in item.parameters)}):"
        else:
            self.taken |= {i.name.text for i in item.inputs} | _declared(item)
            modules = [t for n in item.body if isinstance(n, s.ModuleDecl) for t in (*n.arguments, *n.results)]
            written = [size for t in (*(i.type for i in item.inputs), *item.results, *modules) for size in t.sizes]
            written += [size for n in item.body if isinstance(n, s.ParamDecl) for size in n.sizes]
            self.sizes = {n.text for size in written for n in descend(size) if isinstance(n, s.Name)}
            self.sizes |= {n.name.text for n in item.body if isinstance(n, s.Iterations)}
            where = f"(where={', '.join(map(self.sizes_text, item.where))!r})" if item.where else ""
            yield f"@us.algorithm{where}"
            inputs = ", ".join(
                f"{i.name.text}: " + (f"us.given({self.type(i.type)})" if i.given else self.type(i.type)) for i in item.inputs
            )
            results = list(map(self.type, item.results))
            many = self.rng.choice(["({})", "tuple[{}]"]).format(", ".join(results))
            yield f"def {item.name.text}({inputs}) -> {results[0] if len(results) == 1 else many}:"
        yield from self.block(item.body)

    # -- types and sizes

    def sizes_text(self, size: s.Expr) -> str:
        return _Strings(self).expr(size)

    def size(self, size: s.Expr) -> str:
        """A size as an argument: in a string, a number, or a free name."""
        names = [n.text for n in descend(size) if isinstance(n, s.Name)]
        if self.rng.random() < 0.5 or any(hasattr(builtins, n) or n in self.definitions for n in names):
            return repr(self.sizes_text(size))
        return self.expr(size)

    def type(self, node: s.TypeExpr) -> str:
        if node.of is not None:
            return f"us.weights({node.of.text})"
        name = f"us.{node.name.text}" if node.name.text in s.TYPE_NAMES else node.name.text
        return name + (f"[{', '.join(map(self.size, node.sizes))}]" if node.sizes else "")

    def text_type(self, node: s.TypeExpr) -> str:
        return node.name.text + (f"[{', '.join(map(self.sizes_text, node.sizes))}]" if node.sizes else "")

    # -- statements

    def block(self, statements: Iterable[s.Statement]) -> Iterator[str]:
        for statement in statements:
            yield from ("    " + line for line in self.statement(statement))

    def statement(self, node: s.Statement) -> Iterator[str]:
        match node:
            case s.Assign(targets=targets, value=value, type=type):
                kind = f": {self.type(type)}" if type is not None else ""
                yield f"{self.tuple(targets)}{kind} = {self.expr(value)}"
            case s.Augment(target=target, op=op, value=value):
                yield f"{self.expr(target)} {op}= {self.expr(value)}"
            case s.For(generators=generators, until=until, body=body):
                if until is not None and len(generators) > 1:
                    raise NotPython("until with several indices")
                if len({g.index.text for g in generators}) < len(generators):
                    raise NotPython("an index twice")
                depth = ""
                for g in generators:
                    yield f"{depth}for {g.index.text} in {self.range(g.range)}:"
                    depth += "    "
                yield from (depth[4:] + line for line in self.block(body))
                if until is not None:
                    yield f"    if {self.expr(until)}:"
                    yield "        break"
            case s.If(branches=branches, orelse=orelse):
                for word, branch in zip(["if"] + ["elif"] * len(branches), branches):
                    yield f"{word} {self.expr(branch.condition)}:"
                    yield from self.block(branch.body)
                if orelse:
                    yield "else:"
                    yield from self.block(orelse)
            case s.Return(values=values):
                yield f"return {self.tuple(values)}"
            case s.Assert(condition=condition, message=message):
                yield f"assert {self.expr(condition)}" + (f", {message.text!r}" if message is not None else "")
            case s.ExprStatement(value=value):
                yield self.expr(value)
            case s.Iterations(name=name, value=value):
                yield f"{name.text} = us.iterations({self.expr(value)})"
            case s.ParamDecl(name=name, sizes=sizes, constraint=constraint, init=init):
                arguments = list(map(self.size, sizes))
                if constraint is not None:
                    bounds = f"({', '.join(map(self.sizes_text, constraint.arguments))})" if constraint.arguments else ""
                    arguments.append(f"constraint={constraint.name.text + bounds!r}")
                if init is not None:
                    arguments.append(f"init={self.expr(init)}")
                yield f"{name.text} = us.param({', '.join(arguments)})"
            case s.ModuleDecl(name=name, count=counted, arguments=arguments_, results=results):
                types = f"({', '.join(map(self.text_type, arguments_))}) -> ({', '.join(map(self.text_type, results))})"
                yield f"{name.text} = us.module({types!r}{f', count={self.size(counted)}' if counted is not None else ''})"
            case s.Objective(name=name, parameters=parameters, body=body):
                yield "@us.objective"
                yield f"def {name.text}({', '.join(p.text for p in parameters)}):"
                yield from self.block(body)

    # -- expressions

    def tuple(self, items: Sequence[s.Expr]) -> str:
        return self.expr(items[0]) if len(items) == 1 else ", ".join(map(self.expr, items))

    def name(self, text: str) -> str:
        if text in self.taken or text in self.sizes:
            return text
        if text in BUILTINS or text in s.TYPE_NAMES:
            return text if self.rng.random() < 0.3 else f"us.{text}"
        if hasattr(builtins, text):
            raise NotPython(text)
        return text

    def range(self, node: s.RangeExpr) -> str:
        start, stop = self.expr(node.start), self.expr(node.stop)
        if node.step is not None:
            return f"range({start}, {stop}, {self.expr(node.step)})"
        return f"range({stop})" if start == "0" and self.rng.random() < 0.5 else f"range({start}, {stop})"

    def inner(self, node: s.Expr) -> str:
        text = self.expr(node)
        return f"({text})" if isinstance(node, (s.Unary, s.Binary, s.Compare)) or text[0].isdigit() else text

    def expr(self, node: s.Expr | s.Slice | s.EllipsisItem) -> str:
        match node:
            case s.Name(text=text):
                return self.name(text)
            case s.Number(value=value):
                return repr(value).replace("inf", "1e999")
            case s.String(text=text):
                return repr(text)
            case s.NoneLiteral():
                return "None"
            case s.Unary(op=op, operand=operand):
                return f"{op} {self.inner(operand)}"
            case s.Binary(op=op, left=left, right=right):
                return f"{self.inner(left)} {op} {self.inner(right)}"
            case s.Compare(ops=ops, operands=operands):
                parts = list(map(self.inner, operands))
                return parts[0] + "".join(f" {op} {part}" for op, part in zip(ops, parts[1:]))
            case s.Call(function=function, arguments=arguments):
                return f"{self.inner(function)}({', '.join(map(self.argument, arguments))})"
            case s.Index(value=value, items=items):
                return f"{self.inner(value)}[{', '.join(map(self.expr, items))}]"
            case s.Attribute(value=value, name=name):
                return f"{self.inner(value)}.{name.text}"
            case s.TupleExpr(items=items):
                return f"({', '.join(map(self.expr, items))}{',' if len(items) == 1 else ''})"
            case s.ListExpr(items=items):
                return f"[{', '.join(map(self.expr, items))}]"
            case s.Comprehension(body=body, generators=generators, brackets=brackets):
                before = self.taken
                self.taken = before | {g.index.text for g in generators}
                text = self.inner(body) + "".join(f" for {g.index.text} in {self.range(g.range)}" for g in generators)
                self.taken = before
                return f"[{text}]" if brackets else text
            case s.Slice(start=start, stop=stop, step=step):
                bounds = [self.inner(b) if b is not None else "" for b in (start, stop)]
                return ":".join(bounds) + (f":{self.inner(step)}" if step is not None else "")
            case s.EllipsisItem():
                return "..."

    def argument(self, node: s.Argument) -> str:
        value = node.value
        if isinstance(value, s.String) and not isinstance(value.text, str):
            raise NotPython("string")
        text = self.expr(value)
        if isinstance(value, s.Comprehension) and not value.brackets and node.name is not None:
            text = f"({text})"
        return f"{node.name.text}={text}" if node.name is not None else text


class _Strings(_Printer):
    """Sizes and types inside a string: names as they are."""

    def __init__(self, outer: _Printer) -> None:
        super().__init__(outer.rng)
        self.definitions = outer.definitions

    def name(self, text: str) -> str:
        return text


def _indices(item: s.Node) -> set[str]:
    return {node.index.text for node in descend(item) if isinstance(node, s.Generator)}


def _declared(item: s.AlgorithmDecl) -> set[str]:
    return {n.name.text for n in item.body if isinstance(n, (s.Iterations, s.ParamDecl, s.ModuleDecl, s.Objective))}


def _sorted(items: Sequence[s.Fn | s.AlgorithmDecl]) -> list[s.Fn | s.AlgorithmDecl]:
    """Definitions before their uses. Raises NotPython for a circle."""
    by_name = {item.name.text: item for item in items}
    done: list[s.Fn | s.AlgorithmDecl] = []
    open_: list[str] = []

    def visit(item: s.Fn | s.AlgorithmDecl) -> None:
        if any(item is d for d in done):
            return
        if item.name.text in open_:
            raise NotPython("recursion")
        open_.append(item.name.text)
        for node in descend(item):
            if isinstance(node, s.Name) and node is not item.name and node.text in by_name:
                if by_name[node.text] is item:
                    raise NotPython("recursion")
                visit(by_name[node.text])
        open_.pop()
        done.append(item)

    for item in items:
        visit(item)
    return done
