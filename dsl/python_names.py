"""What a Python name means inside a decorated function: looked up where the function stands, never run.

Order: the function's closure, its globals, the scope around the decorator (a class body), the words of the language, Python's
builtins. ``sum``, ``max``, ``bool``, ... of Python are those of the language.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

from ..compiler.diagnostics import Diagnostic, Span
from ..compiler.nearest import nearest
from . import syntax as s
from . import words
from .api import AlgorithmHandle, Program
from .builtins.all import BUILTINS
from .functions import FunctionHandle
from .uses import FileScope

MISSING = object()
#: Python's own names that are words of the language, too.
_SHARED = ("abs", "all", "any", "bool", "complex", "max", "min", "round", "sum")


@dataclass(frozen=True)
class Definition:
    """A ``fn`` or algorithm that a program can apply; ``scope`` is None for the function being read itself."""

    node: s.Fn | s.AlgorithmDecl
    scope: FileScope | None


class Names:
    """The names that a function sees."""

    def __init__(self, function: FunctionType, around: Mapping[str, Any]) -> None:
        closure = {}
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                closure[name] = cell.cell_contents
            except ValueError:  # bound later
                continue
        self._scopes: tuple[Mapping[str, Any], ...] = (closure, function.__globals__, around)

    def find(self, name: str) -> Any:
        """The Python object (a word for what the language has, too), or MISSING."""
        for scope in self._scopes:
            if name in scope:
                return _shared(scope[name])
        word = words.find(name)
        return _shared(getattr(builtins, name, MISSING)) if word is None else word


def _shared(value: Any) -> Any:
    for name in _SHARED:
        if value is getattr(builtins, name):
            return words.find(name)
    return value


def is_namespace(value: Any) -> bool:
    """Does ``value.name`` mean a Python object, rather than a part of an array?"""
    return isinstance(value, (ModuleType, Program, type))


def member(value: Any, name: str) -> Any:
    """``value.name`` of a namespace, or MISSING. A class is only looked at: none of its descriptors runs."""
    if isinstance(value, type):
        found = inspect.getattr_static(value, name, MISSING)
        return found.__func__ if isinstance(found, staticmethod) else found
    return _shared(getattr(value, name, MISSING))


def definition(value: Any) -> Definition | None:
    """What a handle was made of."""
    if isinstance(value, FunctionHandle):
        return Definition(value.fn, value.scope)
    if isinstance(value, AlgorithmHandle) and value.written is not None:
        return Definition(*value.written)
    return None


def literal(value: Any, span: Span) -> s.Expr | None:
    """A Python number as a literal; None for what is no finite real number."""
    if isinstance(value, bool):
        return s.Number(span, value)
    number: int | float
    if isinstance(value, numbers.Integral):
        number = int(value)
        if not -(2**63) < number < 2**63:
            return None
    elif isinstance(value, numbers.Real):
        number = float(value)
        if math.isnan(number):
            return None
    else:
        return None
    if number < 0:
        return s.Unary(span, "-", s.Number(span, -number))
    return s.Number(span, number)


_HINTS: dict[Any, str] = {
    len: "an axis has a size with a name: x: us.real[n]",
    print: "results are what an algorithm returns; use trace= to see iterates",
    pow: "a power is x ** y",
    range: "a range stands in `for k in range(K)` only",
    int: "us.cast(x, us.i64)",
    float: "us.cast(x, us.real)",
}


def foreign(path: str, value: Any, span: Span) -> Diagnostic:
    """The error for a Python object that a program cannot use."""
    kind = type(value)
    what, hint = f"a {kind.__name__} of Python", None
    last = path.split(".")[-1]
    if isinstance(value, numbers.Number):
        what = f"the Python number {value!r}, which is no finite real number of 64 bits"
    elif kind.__module__.split(".")[0] in ("numpy", "torch") and hasattr(value, "shape"):
        hint = "make it an input: with us.given(...) it is fixed when the algorithm is built"
    elif any(c.__module__ == "torch.nn.modules.module" for c in kind.__mro__):
        hint = "declare it with us.module(...), and pass it to build"
    elif isinstance(value, ModuleType):
        what, hint = f"the Python module {value.__name__}", "take a function from it"
    elif isinstance(value, Program):
        what, hint = f"the program {path}", f"take a function from it: {path}.f"
    elif callable(value):
        what = f"a Python {'class' if isinstance(value, type) else 'function'}"
        hint = _hint(value, last)
    else:
        hint = "numbers, decorated functions and the functions of programs can be used"
    return Diagnostic("US0701", f"{path} is {what}, which a program cannot use", span, (), hint)


def _hint(value: Callable[..., Any], last: str) -> str:
    known = next((hint for key, hint in _HINTS.items() if key is value), None)
    if known is not None:
        return known
    if last in BUILTINS:
        return f"the language has us.{last}"
    close = nearest(last, BUILTINS, 0.7)
    if isinstance(value, FunctionType):
        return "decorate it with @us.fn"
    return f"us.{close}" if close else "write it with @us.fn, or compute it before and pass it as an input"


def path_of(node: ast.expr) -> str:
    """``np.linalg.norm`` as text."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id if isinstance(node, ast.Name) else "this", *reversed(parts)])
