"""Scalar expressions of the loop tree as TVMScript: what is its own about :mod:`.operations`.

Infix arithmetic of TVMScript folds ``0 * x`` and ``x + 0``, of real numbers also; where a literal 0 stands, a word of the library is printed.
"""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Iterable
from math import isfinite, isinf, isnan

from ...compiler.graph.types import HALF
from ...compiler.loops.tree import Array, Call, Int, Literal, Load
from ..affine import simple
from ..c_runtime import BITS
from ..operations import Operations, decimal
from ..printer import COMPARE, COMPLEXES, INFIX, REALS, strip
from .text import PAIR

#: Real ops with another name in the library, or that the tree does not name.
_REAL = {
    "sqrt", "root", "exp", "log", "log1p", "expm1", "sin", "cos", "tan", "tanh", "erf", "floor", "ceil", "round", "abs", "pow", "sign", "relu",
    "maximum", "minimum", "sigmoid", "softplus", "angle", "floordiv", "mod", "lgamma", "digamma", "polygamma1", "isfinite", "key",
}  # fmt: skip

#: Names that generated source uses for itself.
_RESERVED = {
    "T", "I", "R", "Tx", "Module", "Axis", "TypeVar", "tvm", "ir", "tir", "relax", "tirx", "batch", "teams", "team", "tiled", "integers", "first",
    "last", "problem", "lanes", "failed", "failed_data", "scratch", "scratch_data", "problem_bytes", "thread_bytes", "member", "block",
    "thread", "threads", *BITS,
}  # fmt: skip


def literal(value: complex, dtype: str, device: str) -> str:
    """A constant of a dtype for the processor (``llvm``) or a GPU (``cuda``)."""
    if dtype in COMPLEXES:
        z, part = complex(value), "f32" if dtype == "c64" else "f64"
        return f"us_make_{dtype}({literal(z.real, part, device)}, {literal(z.imag, part, device)})"
    if isinstance(value, complex):
        value = value.real
    if dtype in REALS:
        text = decimal(float(value), dtype)
        if device == "cuda" and dtype == "f64":
            return f"us_number_f64({text if isfinite(float(text)) else repr(text)})"
        special = isnan(float(text)) or isinf(float(text))
        return f"T.float{BITS[dtype]}({text if not special else repr(text)})"
    if dtype in HALF:
        return f"us_to_{dtype}({literal(value, 'f32', device)})"
    if dtype == "bool":
        return f"T.bool({bool(value)})"
    return f"T.int{64 if dtype == 'key' else dtype[1:]}({int(value.real)})"


class ScriptPrinter(Operations):
    """Prints expressions as TVMScript. ``strict`` keeps products and sums apart."""

    target = "tvm"
    reserved = frozenset(_RESERVED) | frozenset(keyword.kwlist) | frozenset(dir(builtins))
    dtypes = frozenset(BITS)
    negation = "us_not({})"
    unequal = "us_not({})"
    parts = ("re", "im")
    strict = False
    device = "llvm"

    # -- integers ------------------------------------------------------------------------------------------------

    def integer_literal(self, value: builtins.int) -> str:
        """An index constant."""
        return str(value) if 0 <= value < 2**31 else f"T.int64({value})"

    def integer_op(self, op: str, args: list[str]) -> str:
        """An operation on indices other than ``+ - *``, on the texts of its operands."""
        if op in ("min", "max"):
            out = args[0]
            for arg in args[1:]:
                out = f"us_{'least' if op == 'min' else 'most'}({out}, {arg})"
            return out
        if op == "not":
            return f"us_not({args[0]})"
        if op == "select":
            return f"us_choose({', '.join(args)})"
        if op in ("and", "or"):
            out = args[0]
            for arg in args[1:]:
                out = f"us_{op}({out}, {arg})"
            return out
        return "(" + f" {op} ".join(f"({a})" if " " in a else a for a in args) + ")"

    # -- types and places ----------------------------------------------------------------------------------------

    def value_type(self, dtype: str, lanes: builtins.int = 1) -> str:
        """Whether it is a pair; TVM infers other types."""
        return PAIR if dtype in COMPLEXES else ""

    def storage_type(self, dtype: str) -> str:
        """Empty: arrays are declared with their dtype."""
        return ""

    def literal(self, value: complex, dtype: str) -> str:
        """A constant of a dtype."""
        return literal(value, self.check_dtype(dtype), self.device)

    def indices(self, array: Array, index: Iterable[Int]) -> list[str]:
        """The texts of an index; that of a scalar in memory is 0."""
        return [self.int(simple(i)) for i in index] if array.shape else ["0"]

    def element(self, array: str, index: Iterable[Int]) -> str:
        """One element as an lvalue, if it is stored as it is."""
        return f"{self.names.get('array', array)}[{', '.join(self.indices(self.arrays[array], index))}]"

    def read(self, array: str, index: Iterable[Int]) -> str:
        """The value of one element."""
        dtype = self.arrays[array].dtype
        if dtype == "bool" or dtype in COMPLEXES:
            listed = ", ".join([self.names.get("array", array), *self.indices(self.arrays[array], index)])
            return f"us_read_{dtype}({listed})"
        return self.element(array, index)

    def block(self, load: Load) -> str:
        """An array, and the index at which a block of it begins."""
        array = self.arrays[load.array]
        at = [self.int(simple(i)) for i in load.index]
        return (
            f"{self.names.get('array', load.array)}, ({''.join(f'{i}, ' for i in at)})"
            if array.shape
            else f"{self.names.get('array', load.array)}, ()"
        )

    def vector_load(self, load: Load, dtype: str, lanes: builtins.int) -> str:
        """Not used: there are no register tiles."""
        raise NotImplementedError

    def vector_store(self, place: Load, dtype: str, lanes: builtins.int, value: str) -> str:
        """Not used: there are no register tiles."""
        raise NotImplementedError

    def zero(self, dtype: str, lanes: builtins.int) -> str:
        """A sum at its start."""
        return self.literal(0, dtype)

    # -- values --------------------------------------------------------------------------------------------------

    def from_int(self, text: str, dtype: str) -> str:
        """An integer expression as a value."""
        return f"us_to_{dtype}({text})" if dtype != "key" else f"us_to_i64({text})"

    def where(self, args: list[str], dtype: str) -> str:
        """``args[1] if args[0] else args[2]``."""
        listed = ", ".join(map(strip, args))
        return f"us_where_{dtype}({listed})" if dtype in COMPLEXES else f"us_where({listed})"

    def call(self, e: Call, args: list[str]) -> str:
        """One op on the texts of its operands."""
        if e.op in ("and", "or"):
            return f"us_{e.op}({', '.join(map(strip, args))})"
        source = e.args[0].dtype if e.args else e.dtype
        if e.op in COMPARE and source == "bool":
            args = [f"us_to_i8({strip(a)})" for a in args]
        if e.op == "ne" and source not in COMPLEXES:
            return f"us_not({args[0]} == {args[1]})"  # TVM's != is false where a number is NaN
        return super().call(e, args)

    def real_function(self, op: str, dtype: str) -> str | None:
        """The name of the function that computes an op of real numbers; None if there is none."""
        return f"us_{op}_{dtype}" if op in _REAL else None

    def _real(self, e: Call, args: list[str], dtype: str) -> str | None:
        zero = any(isinstance(a, Literal) and a.value == 0 for a in e.args)
        if e.op in INFIX and (zero or (self.strict and e.op == "mul")):
            return f"us_{e.op}_{dtype}({', '.join(map(strip, args))})"
        return super()._real(e, args, dtype)

    def cast(self, text: str, source: str, dtype: str) -> str:
        """A value in another dtype."""
        source, dtype = ("i64" if t == "key" else t for t in (source, dtype))
        if source == dtype:
            return text
        if source in HALF:
            return self.cast(f"us_widen_{source}({strip(text)})", "f32", dtype)
        return f"us_to_{dtype}({strip(text)})"
