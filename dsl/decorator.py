"""``@us.algorithm`` and ``@us.fn``: the language embedded in Python. The source of the function is read, never run, and goes
the way of a ``.us`` program from its syntax tree on."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import FunctionType
from typing import Any, TypeVar, overload

from ..compiler.diagnostics import DataError, Diagnostic, ProgramError
from . import syntax as s
from .api import AlgorithmHandle
from .check import check_file
from .functions import FunctionHandle
from .lower_algorithm import lower_algorithm
from .parse import too_deep
from .program import in_order
from .python_block import BlockReader
from .python_names import Names
from .python_source import PythonSource, read_function
from .uses import FileScope

Handle = TypeVar("Handle", AlgorithmHandle, FunctionHandle)


@overload
def algorithm(function: Callable[..., Any], /) -> AlgorithmHandle: ...
@overload
def algorithm(*, where: str = "") -> Callable[[Callable[..., Any]], AlgorithmHandle]: ...
def algorithm(
    function: Callable[..., Any] | None = None, /, *, where: str = ""
) -> AlgorithmHandle | Callable[[Callable[..., Any]], AlgorithmHandle]:
    """Make an algorithm of a Python function, by its source: ``@us.algorithm``, or ``@us.algorithm(where="n >= 3, m <= n")``.

    ``where`` are conditions on sizes. What comes out is called, built and compiled as an algorithm of a ``.us`` program.
    Names are looked up when the decorator runs, so what the function uses stands above it.
    Raises ProgramError with every error found, at its place in the Python file; DataError for what is no function.
    """
    if not isinstance(where, str):
        raise DataError(f'where is a string of conditions such as "n >= 3, m <= n", not {where!r}')
    if function is not None:
        return _algorithm(function, where, sys._getframe(1).f_locals)

    def decorate(function: Callable[..., Any]) -> AlgorithmHandle:
        return _algorithm(function, where, sys._getframe(1).f_locals)

    return decorate


def fn(function: Callable[..., Any], /) -> FunctionHandle:
    """Make a ``fn`` of a Python function, by its source: algorithms and other functions can use it, and Python can call it.

    Raises ProgramError with every error found, at its place in the Python file; DataError for what is no function.
    """
    plain, python = _read(function, "fn")
    reader = BlockReader(python, Names(plain, dict(sys._getframe(1).f_locals)))
    read = reader.fn()
    scope = _scope(python, reader, read)
    return _dressed(FunctionHandle(read, scope), plain)


def _algorithm(function: Callable[..., Any], where: str, around: Mapping[str, Any]) -> AlgorithmHandle:
    plain, python = _read(function, "algorithm")
    reader = BlockReader(python, Names(plain, dict(around)))
    read = reader.algorithm(where)
    scope = _scope(python, reader, read)
    lowered, found = lower_algorithm(scope, read)
    if found or lowered is None:
        raise ProgramError(in_order(python.source, [_hinted(d, reader) for d in found]))
    return _dressed(AlgorithmHandle(lowered, (read, scope)), plain)


def _read(function: Any, word: str) -> tuple[FunctionType, PythonSource]:
    plain = function.__func__ if isinstance(function, staticmethod) else function
    if not isinstance(plain, FunctionType) or plain.__name__ == "<lambda>":
        raise DataError(f"us.{word} decorates a function made with `def`, not {plain!r}")
    if hasattr(plain, "__wrapped__"):
        raise DataError(f"us.{word} reads the source of {plain.__name__}, so no other decorator stands between the two")
    return plain, read_function(plain)


def _scope(python: PythonSource, reader: BlockReader, read: s.Fn | s.AlgorithmDecl) -> FileScope:
    """The scope of a function, checked. Raises ProgramError."""
    program = s.Program(read.span, (read,))
    if reader.found:
        raise ProgramError(in_order(python.source, reader.found))
    deep = too_deep(program)
    if deep is not None:
        raise ProgramError([deep])
    scope = FileScope(python.source, program, [], {**reader.definitions, read.name.text: read}, python=True)
    reached = [scope, *(other for used in reader.scopes for other in used.project)]
    scope.project.extend({id(one): one for one in reached}.values())
    found = check_file(scope)
    if found:
        raise ProgramError(in_order(python.source, found))
    return scope


def _hinted(diagnostic: Diagnostic, reader: BlockReader) -> Diagnostic:
    """A name that the function does not bind may stand further down in its file."""
    span = diagnostic.span
    known = diagnostic.suggestion and not diagnostic.suggestion.startswith("`")  # a line of a .us file
    if diagnostic.code != "US0201" or known or span is None or span.source != reader.python.source:
        return diagnostic
    if span.source.line(span.line)[span.column - 1 : span.end_column - 1] in reader.bound:
        return diagnostic
    return replace(diagnostic, suggestion="what a function uses stands above it, a fn with @us.fn")


def _dressed(handle: Handle, function: FunctionType) -> Handle:
    """A handle that tells what the function told: its place, its text, and what it was made of."""
    described = handle.__doc__
    handle.__doc__ = f"{inspect.cleandoc(function.__doc__)}\n\n{described}" if function.__doc__ else described
    told = {"__module__": function.__module__, "__qualname__": function.__qualname__, "__wrapped__": function}
    handle.__dict__.update(told)
    return handle
