"""Scalar expressions of the loop tree as Python text for numba: literals, integer expressions, and one rule per op.

Numba widens what is not of one type, so every literal is of its dtype, and integers narrower than an index go through functions.
In memory a truth value is a byte; in expressions it is a bool.
"""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Iterable
from math import isinf, isnan
from struct import pack, unpack

from ..compiler.diagnostics import CompileError
from ..compiler.graph.types import HALF
from ..compiler.loops.tree import Call, Expr, FromInt, Int, Literal, Load
from .affine import offset
from .c_runtime import BITS
from .printer import COMPARE, COMPLEXES, INFIX, INTEGERS, RANDOM, REALS, Printer, strip

#: Functions of the run-time library by op, where the name differs.
_NAMES = {"root": "sqrt", "round": "rint"}
_REAL = {
    "sqrt", "root", "exp", "log", "log1p", "expm1", "sin", "cos", "tan", "tanh", "erf", "floor", "ceil", "round", "abs", "pow", "fma",
    "sign", "relu", "maximum", "minimum", "sigmoid", "softplus", "angle", "floordiv", "mod", "lgamma", "digamma", "polygamma1", "isfinite",
}  # fmt: skip
_INTEGER = {"add", "sub", "mul", "neg", "abs", "sign", "relu", "maximum", "minimum", "pow"}
_COMPLEX = {
    "add", "sub", "mul", "div", "neg", "conj", "abs", "angle", "sqrt", "exp", "log", "log1p", "expm1", "sin", "cos", "tan", "tanh", "pow",
    "sigmoid", "isfinite",
}  # fmt: skip

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
        text = _real(float(value), dtype)
        return f"f32({text})" if dtype == "f32" else f"({text})" if text.startswith("-") else text
    if dtype == "bool":
        return "True" if value else "False"
    whole = int(value.real)
    if dtype in ("i64", "key"):
        return f"({whole})" if whole < 0 else str(whole)
    return f"{dtype}({whole})"


def _real(value: float, dtype: str) -> str:
    if isnan(value):
        return "nan"
    if dtype == "f32" and not isinf(value):
        try:
            value = unpack("f", pack("f", value))[0]
        except OverflowError:
            value = float("inf") if value > 0 else -float("inf")
    if isinf(value):
        return "inf" if value > 0 else "-inf"
    if dtype == "f64":
        return repr(value)
    text = next(t for t in (f"{value:.{n}g}" for n in range(6, 10)) if unpack("f", pack("f", float(t)))[0] == value)
    return text if "." in text or "e" in text else text + ".0"


#: Half precision is converted outside of kernels.
DTYPES = frozenset(BITS) - frozenset(HALF)


class NumbaPrinter(Printer):
    """Prints expressions as Python that numba compiles."""

    target = "numba"
    reserved = frozenset(_RESERVED) | frozenset(keyword.kwlist) | frozenset(dir(builtins))
    dtypes = DTYPES

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

    def read(self, array: str, index: Iterable[Int]) -> str:
        """The value of one element."""
        text = self.element(array, index)
        return f"({text} != 0)" if self.arrays[array].dtype == "bool" and self._in_memory(array) else text

    def stored(self, array: str, text: str) -> str:
        """A value as it is kept in an array."""
        return f"u8({text})" if self.arrays[array].dtype == "bool" and self._in_memory(array) else text

    def place(self, load: Load) -> str:
        """An array in memory, and a position in it, as two arguments."""
        return f"{self.names.get('array', load.array)}, {self.int(offset(load.index, self.arrays[load.array].shape))}"

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

    def value(self, e: Expr) -> str:
        """An expression in one piece."""
        if isinstance(e, Load):
            return self.read(e.array, e.index)
        if isinstance(e, Literal):
            return self.literal(e.value, e.dtype)
        if isinstance(e, FromInt):
            return self._cast(f"({self.int(e.value)})", "i64", self.check_dtype(e.dtype))
        return self.call(e, [self.value(a) for a in e.args])

    def call(self, e: Call, args: list[str]) -> str:
        """One op on the texts of its operands."""
        op, dtype = e.op, self.check_dtype(e.dtype)
        source = self.check_dtype(e.args[0].dtype) if e.args else dtype
        listed = ", ".join(strip(a) for a in args)
        if op == "cast":
            return self._cast(args[0], source, dtype)
        if op == "stop_gradient" or (op in ("conj", "re") and source not in COMPLEXES):
            return args[0]
        if op == "where":
            return f"us_where({listed})"
        if op in ("and", "or"):
            return f"({args[0]} {'&' if op == 'and' else '|'} {args[1]})"
        if op == "not":
            return f"(not {args[0]})"
        if op == "check_index":
            return f"us_check_index({listed}, failed, {self.check('an index is out of range')})"
        if op == "fold":
            out = args[0]
            for arg in args[1:]:
                out = f"us_fold({strip(out)}, {strip(arg)})"
            return out
        if op in RANDOM:
            return f"us_{op}_{dtype}({listed})"
        if op in COMPARE:
            if source in COMPLEXES:
                return f"(not us_eq_{source}({listed}))" if op == "ne" else f"us_eq_{source}({listed})"
            return f"({args[0]} {COMPARE[op]} {args[1]})"
        made = self._complex(e, args, source) if source in COMPLEXES else None
        made = made or (self._real(e, args, source) if source in REALS else None)
        made = made or (self._integer(e, args, source) if source in INTEGERS or source == "bool" else None)
        if made is None:
            raise CompileError(f"target {self.target} has no {op} of {source} values")
        return made

    def _real(self, e: Call, args: list[str], dtype: str) -> str | None:
        op, listed = e.op, ", ".join(strip(a) for a in args)
        if op in INFIX:
            return f"({args[0]} {INFIX[op]} {args[1]})"
        if op == "neg":
            return f"(-{args[0]})"
        if op == "im":
            return literal(0, dtype)
        if op == "pow" and isinstance(e.args[1], Literal):
            special = self._power(args[0], e.args[1].value, dtype)
            if special:
                return special
        return f"us_{_NAMES.get(op, op)}_{dtype}({listed})" if op in _REAL else None

    @staticmethod
    def _power(base: str, exponent: complex, dtype: str) -> str | None:
        """Powers that PyTorch computes without ``pow``."""
        bare, one = strip(base), literal(1, dtype)
        table = {
            2: f"us_square_{dtype}({bare})", 3: f"us_cube_{dtype}({bare})", 1: base, 0.5: f"us_sqrt_{dtype}({bare})",
            -0.5: f"({one} / us_sqrt_{dtype}({bare}))", -1: f"({one} / {base})", -2: f"({one} / us_square_{dtype}({bare}))",
        }  # fmt: skip
        return table.get(exponent.real)

    def _integer(self, e: Call, args: list[str], dtype: str) -> str | None:
        op, listed = e.op, ", ".join(strip(a) for a in args)
        dtype = "i64" if dtype == "key" else dtype
        if op in ("floordiv", "mod") and dtype != "bool":
            divisor = e.args[1]
            if not (isinstance(divisor, Literal) and divisor.value):
                args[1] = f"us_check_divisor_{dtype}({strip(args[1])}, failed, {self.check('integer division by zero')})"
            return f"us_{op}_{dtype}({strip(args[0])}, {strip(args[1])})"
        if op == "im":
            return literal(0, dtype)
        if op == "isfinite":
            return "True"
        if dtype == "bool" and op in ("maximum", "minimum"):
            return f"({args[0]} {'|' if op == 'maximum' else '&'} {args[1]})"
        return f"us_{op}_{dtype}({listed})" if op in _INTEGER and dtype != "bool" else None

    def _complex(self, e: Call, args: list[str], dtype: str) -> str | None:
        op, listed = e.op, ", ".join(strip(a) for a in args)
        if op in ("re", "im"):
            return f"{args[0]}.{'real' if op == 're' else 'imag'}"
        if op == "pow" and isinstance(e.args[1], Literal) and e.args[1].value == 2:
            return f"us_square_{dtype}({strip(args[0])})"
        return f"us_{op}_{dtype}({listed})" if op in _COMPLEX else None

    @staticmethod
    def _cast(text: str, source: str, dtype: str) -> str:
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
