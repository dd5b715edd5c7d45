"""Scalar expressions of the loop tree as Python text for numba: what is its own about :mod:`..operations`.

Numba widens what is not of one type, so every literal is of its dtype, and integers narrower than an index go through functions.
In memory a truth value is a byte; in expressions it is a bool.
"""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Iterable

from ...compiler.graph.types import HALF
from ...compiler.loops.tree import Int, Load
from ..c_runtime import BITS
from ..operations import Operations, decimal
from ..printer import COMPLEXES, REALS, mask_of, strip

#: Real ops that are functions of the run-time library, and those with another name there.
_REAL = {
    "sqrt", "root", "exp", "log", "log1p", "expm1", "sin", "cos", "tan", "tanh", "erf", "floor", "ceil", "round", "abs", "pow", "fma",
    "sign", "relu", "maximum", "minimum", "sigmoid", "softplus", "angle", "floordiv", "mod", "lgamma", "digamma", "polygamma1", "isfinite", "key",
}  # fmt: skip
_NAMES = {"root": "sqrt", "round": "rint"}

#: Names that generated source uses for itself.
_RESERVED = {
    "batch", "teams", "team_size", "team_number", "pointers", "batch_strides", "team_strides", "integers", "workspace", "member", "team",
    "problem", "first", "last", "failed", "meeting", "shared", "own", "call", "kernel", "status", "count", "size", "thread", "came",
    "compiled", "tiled", "lanes", "inf", "nan", "u8", *BITS,
}  # fmt: skip


def literal(value: complex, dtype: str) -> str:
    """A constant of a dtype."""
    if dtype in COMPLEXES:
        z, part = complex(value), "f32" if dtype == "c64" else "f64"
        return f"us_make_{dtype}({literal(z.real, part)}, {literal(z.imag, part)})"
    if isinstance(value, complex):
        value = value.real
    if dtype in REALS:
        text = decimal(float(value), dtype)
        return f"f32({text})" if dtype == "f32" else f"({text})" if text.startswith("-") else text
    if dtype == "bool":
        return "True" if value else "False"
    whole = int(value.real)
    if dtype in ("i64", "key"):
        return f"({whole})" if whole < 0 else str(whole)
    return f"{dtype}({whole})"


#: Half precision is converted outside of kernels.
DTYPES = frozenset(BITS) - frozenset(HALF)


class NumbaPrinter(Operations):
    """Prints expressions as Python that numba compiles."""

    target = "numba"
    reserved = frozenset(_RESERVED) | frozenset(keyword.kwlist) | frozenset(dir(builtins))
    dtypes = DTYPES
    negation = "(not {})"
    unequal = "(not {})"
    parts = ("real", "imag")

    # -- integers ------------------------------------------------------------------------------------------------

    def integer_literal(self, value: builtins.int) -> str:
        """An index constant."""
        return str(value) if value >= 0 else f"({value})"

    def integer_op(self, op: str, args: list[str]) -> str:
        """An operation on indices other than ``+ - *``, on the texts of its operands."""
        if op in ("min", "max"):
            return f"{op}({', '.join(args)})"
        if op == "not":
            return f"(not {args[0]})"
        if op == "select":
            return f"({args[1]} if {args[0]} else {args[2]})"
        bracketed = [f"({a})" if any(c in a for c in " -") else a for a in args]
        if op == "%" and (mask := mask_of(args[1])):
            return f"({bracketed[0]} & {mask})"
        return "(" + f" {op} ".join(bracketed if op in ("//", "%") else args) + ")"

    # -- types and places ----------------------------------------------------------------------------------------

    def value_type(self, dtype: str, lanes: builtins.int = 1) -> str:
        """Empty: numba infers types."""
        return ""

    def storage_type(self, dtype: str) -> str:
        """Empty: numba infers types."""
        return ""

    def literal(self, value: complex, dtype: str) -> str:
        """A constant of a dtype."""
        return literal(value, self.check_dtype(dtype))

    def _in_memory(self, array: str) -> bool:
        info = self.arrays[array]
        return bool(info.shape) or info.scope != "local"

    def element(self, array: str, index: Iterable[Int]) -> str:
        """One element as an lvalue. An array that is a variable here and a block there has two names: a name has one type."""
        return super().element(array, index) if self._in_memory(array) else self.names.get("scalar", array)

    def read(self, array: str, index: Iterable[Int]) -> str:
        """The value of one element."""
        text = self.element(array, index)
        return f"({text} != 0)" if self.arrays[array].dtype == "bool" and self._in_memory(array) else text

    def stored(self, array: str, text: str) -> str:
        """A value as it is kept in an array."""
        return f"u8({text})" if self.arrays[array].dtype == "bool" and self._in_memory(array) else text

    def place(self, load: Load) -> str:
        """An array in memory, and a position in it, as two arguments."""
        return ", ".join(self.position(load))

    def vector_load(self, load: Load, dtype: str, lanes: builtins.int) -> str:
        """``lanes`` elements from a place on."""
        return f"us_load_{dtype}x{lanes}({self.place(load)})"

    def vector_store(self, place: Load, dtype: str, lanes: builtins.int, value: str) -> str:
        """A call that puts ``lanes`` elements from a place on."""
        return f"us_store_{dtype}x{lanes}({self.place(place)}, {value})"

    def zero(self, dtype: str, lanes: builtins.int) -> str:
        """A sum at its start."""
        return f"us_splat_{dtype}x{lanes}({literal(0, dtype)})" if lanes > 1 else literal(0, dtype)

    # -- values --------------------------------------------------------------------------------------------------

    def from_int(self, text: str, dtype: str) -> str:
        """An integer expression as a value."""
        return self.cast(f"({text})", "i64", dtype)

    def where(self, args: list[str], dtype: str) -> str:
        """``args[1] if args[0] else args[2]``."""
        return f"us_where({', '.join(map(strip, args))})"

    def real_function(self, op: str, dtype: str) -> str | None:
        """The name of the function that computes an op of real numbers; None if there is none."""
        return f"us_{_NAMES.get(op, op)}_{dtype}" if op in _REAL else None

    def cast(self, text: str, source: str, dtype: str) -> str:
        """A value in another dtype."""
        source, dtype = ("i64" if t == "key" else t for t in (source, dtype))
        if source == dtype:
            return text
        bare = strip(text)
        if dtype in COMPLEXES:
            real = "f32" if dtype == "c64" else "f64"
            parts = (
                (f"{real}({text}.real)", f"{real}({text}.imag)") if source in COMPLEXES else (f"{real}({bare})", literal(0, real))
            )
            return f"us_make_{dtype}({parts[0]}, {parts[1]})"
        if source in COMPLEXES:
            none = literal(0, "f32" if source == "c64" else "f64")
            return f"(({text}.real != {none}) | ({text}.imag != {none}))" if dtype == "bool" else f"{dtype}({text}.real)"
        return f"({text} != {literal(0, source)})" if dtype == "bool" else f"{dtype}({bare})"
