"""The source of a Python function: its text, its syntax tree, and spans that point into its file."""

from __future__ import annotations

import ast
import inspect
import linecache
import re
import sys
import warnings
from dataclasses import dataclass
from types import FunctionType

from ..compiler.diagnostics import Diagnostic, ProgramError, Source, Span


@dataclass(frozen=True)
class PythonSource:
    """A function's file, and its definition as Python parsed it."""

    source: Source
    node: ast.FunctionDef

    def span(self, node: ast.AST) -> Span:
        """Where a node stands, in characters."""
        line, end_line = getattr(node, "lineno", self.node.lineno), getattr(node, "end_lineno", None) or self.node.lineno
        column, end = getattr(node, "col_offset", 0), getattr(node, "end_col_offset", None) or 0
        return Span(self.source, line, self._column(line, column), end_line, self._column(end_line, end))

    def _column(self, line: int, offset: int) -> int:
        text = self.source.line(line)
        return (min(offset, len(text)) if text.isascii() else len(text.encode()[:offset].decode("utf-8", "ignore"))) + 1

    def name_span(self, node: ast.FunctionDef) -> Span:
        """Where the name of a function stands."""
        whole = self.span(node)
        found = re.compile(r"def\s+(\w+)").match(self.source.line(whole.line), whole.column - 1)
        if found is None:
            return Span(self.source, whole.line, whole.column, whole.line, whole.column + 3)
        return Span(self.source, whole.line, found.start(1) + 1, whole.line, found.end(1) + 1)

    def part(self, node: ast.AST, start: int, length: int) -> Span | None:
        """A piece of the value of a string literal; None if it cannot be pointed at (escapes, several lines or parts)."""
        assert isinstance(node, ast.Constant)
        span = self.span(node)
        written = self.source.line(span.line)[span.column - 1 : span.end_column - 1]
        if span.line != span.end_line or written[:1] not in ("'", '"') or written[1:-1] != node.value:
            return None
        column = span.column + 1 + start
        return Span(self.source, span.line, column, span.line, column + max(length, 1))


def read_function(function: FunctionType) -> PythonSource:
    """The source of a function, from its file or from where a notebook keeps it. Raises ProgramError if there is none."""
    code = function.__code__
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename, function.__globals__)
    if not lines:
        try:
            lines, _ = inspect.findsource(function)  # where Python itself keeps it, as for the text of `python -c`
        except (OSError, TypeError):
            lines = []
    source = Source(code.co_filename, sys.intern("".join(lines)))  # one text for all functions of a file, pickled once
    node = _definition(lines, code.co_firstlineno) if lines else None
    if isinstance(node, ast.AsyncFunctionDef):
        at = Span(source, node.lineno, node.col_offset + 1, node.lineno, node.col_offset + 6)
        raise ProgramError([Diagnostic("US0109", "`async` is not part of the language", at, (), "write a plain `def`")])
    if not isinstance(node, ast.FunctionDef) or node.name != code.co_name or not _same_arguments(node, function):
        missing = "there is no source" if not lines else f"the source at line {code.co_firstlineno} is not that of the function"
        line = max(code.co_firstlineno, 1)
        raise ProgramError(
            [
                Diagnostic(
                    "US0702",
                    f"{function.__name__} cannot be read: {missing}",
                    Span(source, line, 1, line, 2),
                    (),
                    "define it in a file or a notebook cell; for text made by a program use us.loads",
                )
            ]
        )
    return PythonSource(source, node)


def _same_arguments(node: ast.FunctionDef, function: FunctionType) -> bool:
    code = function.__code__
    names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return names == list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])


def _definition(lines: list[str], first: int) -> ast.stmt | None:
    """The function whose first line (of its decorators, if it has some) is ``first``, with line numbers of the file.

    Only as many lines are parsed as belong to it, so that the file need not be Python as a whole.
    """
    if first > len(lines):
        return None
    depth = _indentation(lines[first - 1])
    for end in range(first, len(lines) + 1):
        if end < len(lines) and (_indentation(lines[end]) > depth or lines[end].strip()[:1] in ("", "#")):
            continue
        tree = _parsed(("if 1:\n" if depth else "\n") + "".join(lines[first - 1 : end]))
        if tree is not None:
            ast.increment_lineno(tree, first - 2)
            block = tree.body[0]
            return block.body[0] if depth and isinstance(block, ast.If) else block
    return None


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip())


def _parsed(text: str) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
    return tree if tree.body else None
