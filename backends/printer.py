"""What the printers of all target languages share: identifiers, indices, run-time checks, and names for repeated values."""

from __future__ import annotations

import builtins
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

from ..compiler.diagnostics import CompileError
from ..compiler.loops.tree import Array, Call, Expr, Int, Load
from .affine import offset, simple

REALS = ("f32", "f64")
INTEGERS = ("i8", "i16", "i32", "i64", "key")
COMPLEXES = ("c64", "c128")

INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
RANDOM = {"random_uniform", "random_normal", "random_rademacher", "random_randint"}


#: What headers and our run-time functions may define: ``us_...``, ``__x``, ``_X``, macros (``M_PI``), types (``int64_t``).
_FOREIGN = re.compile(r"us_|__|_[A-Z]|[A-Z][A-Z0-9_]+$|\w+_t$")


class Names:
    """Identifiers for names of the tree: unique, ASCII, none of the ``reserved`` words."""

    def __init__(self, reserved: frozenset[str]) -> None:
        self._given: dict[tuple[str, str], str] = {}
        self._used: set[str] = set(reserved)

    def get(self, kind: str, name: str) -> str:
        """The identifier of a name; ``kind`` keeps variables and arrays apart."""
        key = (kind, name)
        if key not in self._given:
            text = "".join(c if c.isascii() and (c.isalnum() or c == "_") else f"u{ord(c):x}" for c in name) or "v"
            text = "_" + text if text[0].isdigit() else text
            while text in self._used or _FOREIGN.match(text):
                text = "v_" + text if text.startswith(("us_", "_")) or text.isupper() else text + "_"
            self._given[key] = text
            self._used.add(text)
        return self._given[key]

    def renew(self, kind: str, name: str, hint: str) -> str:
        """Another identifier for a name, from here on."""
        self._given[kind, name] = self.fresh(hint)
        return self._given[kind, name]

    def fresh(self, hint: str) -> str:
        """An identifier used nowhere else."""
        number = 0
        while f"{hint}{number}" in self._used:
            number += 1
        self._used.add(f"{hint}{number}")
        return f"{hint}{number}"


class Printer(ABC):
    """Prints expressions of one kernel. ``checks`` collects what each numbered run-time check is about."""

    #: Name of the target, for messages.
    target = ""
    #: Words that no identifier may be.
    reserved: frozenset[str] = frozenset()
    #: Dtypes that kernels may hold.
    dtypes: frozenset[str] = frozenset()

    def __init__(self, arrays: Mapping[str, Array], checks: list[str] | None = None) -> None:
        self.arrays = dict(arrays)
        self.names = Names(self.reserved)
        self.checks = [] if checks is None else checks

    def check_dtype(self, dtype: str) -> str:
        """The dtype. Raises CompileError for one that the target does not hold."""
        if dtype not in self.dtypes:
            raise CompileError(
                f"target {self.target} holds no {dtype} values: f16 and bf16 need conversions at every load; "
                "use f32 or f64, or the interpreter"
            )
        return dtype

    # -- integers ------------------------------------------------------------------------------------------------

    def int(self, e: Int) -> str:
        """An integer expression, without brackets around a sum."""
        return self._int(simple(e), 0)

    def _int(self, e: Int, tight: builtins.int) -> str:
        if e.op == "const":
            return self.integer_literal(e.value)
        if e.op == "name":
            return self.names.get("variable", e.name)
        if e.op in ("+", "-"):
            if e.op == "-" and e.args[0] == Int("const"):
                return self._wrap(f"-{self._int(e.args[1], 2)}", tight > 0)
            text = f"{self._int(e.args[0], 0)} {e.op} {self._int(e.args[1], 1)}"
            return self._wrap(text, tight > 0)
        if e.op == "*":
            return self._wrap(f"{self._int(e.args[0], 2)} * {self._int(e.args[1], 2)}", tight > 1)
        return self.integer_op(e.op, [self._int(simple(a), 0) for a in e.args])

    @staticmethod
    def _wrap(text: str, brackets: bool) -> str:
        return f"({text})" if brackets else text

    @abstractmethod
    def integer_literal(self, value: builtins.int) -> str:
        """An index constant."""

    @abstractmethod
    def integer_op(self, op: str, args: list[str]) -> str:
        """An operation on indices other than ``+ - *``, on the texts of its operands."""

    @abstractmethod
    def value_type(self, dtype: str, lanes: builtins.int = 1) -> str:
        """The type of a named value, or of a vector; empty where the language infers it."""

    @abstractmethod
    def storage_type(self, dtype: str) -> str:
        """The type of a variable that holds an element; empty where the language infers it."""

    @abstractmethod
    def literal(self, value: complex, dtype: str) -> str:
        """A constant of a dtype."""

    # -- elements ------------------------------------------------------------------------------------------------

    def element(self, array: str, index: Iterable[Int]) -> str:
        """One element as an lvalue."""
        info = self.arrays[array]
        name = self.names.get("array", array)
        return f"{name}[{self.int(offset(tuple(index), info.shape))}]" if info.shape or info.scope != "local" else name

    def read(self, array: str, index: Iterable[Int]) -> str:
        """The value of one element."""
        return self.element(array, index)

    def position(self, load: Load) -> tuple[str, str]:
        """An array in memory, and the position of an element in it."""
        return self.names.get("array", load.array), self.int(offset(load.index, self.arrays[load.array].shape))

    def check(self, what: str) -> builtins.int:
        """The number of a new run-time check."""
        self.checks.append(what)
        return len(self.checks)

    # -- values --------------------------------------------------------------------------------------------------

    def statement_value(self, e: Expr, prefix: str) -> tuple[list[tuple[str, str, str]], str]:
        """(type, name, value) of what occurs several times in an expression, and the text of the expression."""
        ids: dict[int, int] = {}
        keys: dict[object, int] = {}
        uses: dict[int, int] = {}
        keep: list[Expr] = []

        def number(x: Expr) -> int:
            if id(x) in ids:
                found = ids[id(x)]
                uses[found] += 1
                return found
            key: object = (x.op, x.dtype, tuple(number(a) for a in x.args)) if isinstance(x, Call) else x
            if isinstance(x, Call) and x.op in ("check_index", "floordiv", "mod"):
                key = (key, id(x))  # numbered checks are not merged
            found = keys.setdefault(key, len(keys))
            ids[id(x)] = found
            keep.append(x)
            uses[found] = uses.get(found, 0) + 1
            return found

        number(e)
        named: dict[int, str] = {}
        lines: list[tuple[str, str, str]] = []

        def text(x: Expr) -> str:
            if not isinstance(x, Call):
                return self.value(x)
            key = ids[id(x)]
            if key in named:
                return named[key]
            out = self.call(x, [text(a) for a in x.args])
            if uses[key] > 1:
                named[key] = self.names.fresh(prefix)
                lines.append((self.value_type(x.dtype), named[key], strip(out)))
                return named[key]
            return out

        return lines, strip(text(e))

    @abstractmethod
    def value(self, e: Expr) -> str:
        """An expression in one piece."""

    @abstractmethod
    def call(self, e: Call, args: list[str]) -> str:
        """One op on the texts of its operands."""

    def stored(self, array: str, text: str) -> str:
        """A value as it is kept in an array."""
        return text

    # -- vectors of a register tile --------------------------------------------------------------------------------

    @abstractmethod
    def vector_load(self, load: Load, dtype: str, lanes: builtins.int) -> str:
        """``lanes`` elements from a place on."""

    @abstractmethod
    def vector_store(self, place: Load, dtype: str, lanes: builtins.int, value: str) -> str:
        """A call that puts ``lanes`` elements from a place on."""

    @abstractmethod
    def zero(self, dtype: str, lanes: builtins.int) -> str:
        """A sum at its start."""


def mask_of(divisor: str) -> int:
    """The bits that a remainder by a literal power of two keeps; 0 for other divisors."""
    value = int(divisor) if divisor.isdigit() else 0
    return value - 1 if value > 1 and value & (value - 1) == 0 else 0


def strip(text: str) -> str:
    """Text without a pair of brackets that encloses all of it."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for position, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return text[1:-1] if position == len(text) - 1 else text
    return text
