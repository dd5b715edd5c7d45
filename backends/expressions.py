"""Scalar expressions of the loop tree as C text: literals, integer expressions, and one rule per op."""

from __future__ import annotations

import builtins
import re
from math import isinf, isnan
from struct import pack, unpack

from ..compiler.diagnostics import CompileError
from ..compiler.graph.types import HALF
from ..compiler.loops.tree import Call, Expr, FromInt, Literal, Load
from .affine import offset
from .c_runtime import C_TYPES
from .printer import COMPARE, COMPLEXES, INFIX, INTEGERS, RANDOM, REALS, strip
from .printer import Printer as BasePrinter

#: Words that no variable may have: of C, of its library and compilers, of the code around a kernel.
_WORDS = """
    auto bool break case char complex const continue default do double else enum extern false float for goto if
    imaginary inline int long main register restrict return short signed sizeof static struct switch true typedef union
    unsigned void volatile while
    asm typeof linux unix errno assert memcpy exp log log1p expm1 sin cos tan tanh erf pow sqrt floor ceil rint fabs
    fmod copysign hypot atan2
    batch teams team_size pointers batch_strides team_strides integers workspace member team problem first last failed I
""".split()
_RESERVED = frozenset(_WORDS) | {word + "f" for word in _WORDS}

#: Real ops that are functions of the C library of the same or another name.
_LIBRARY = {
    "sqrt": "sqrt", "root": "sqrt", "exp": "exp", "log": "log", "log1p": "log1p", "expm1": "expm1", "sin": "sin", "cos": "cos", "tan": "tan",
    "tanh": "tanh", "erf": "erf", "floor": "floor", "ceil": "ceil", "round": "rint", "abs": "fabs", "pow": "pow",
}  # fmt: skip
_REAL_HELPERS = {
    "fma",
    "sign",
    "relu",
    "maximum",
    "minimum",
    "sigmoid",
    "softplus",
    "angle",
    "floordiv",
    "mod",
    "lgamma",
    "digamma",
    "polygamma1",
}
_INTEGER_HELPERS = {"add", "sub", "mul", "neg", "abs", "sign", "relu", "maximum", "minimum", "pow"}
_COMPLEX_HELPERS = {
    "add", "sub", "mul", "div", "neg", "conj", "abs", "angle", "sqrt", "exp", "log", "log1p", "expm1", "sin", "cos", "tan", "tanh", "pow", "sigmoid",
}  # fmt: skip


def literal(value: complex, dtype: str) -> str:
    """A constant of a dtype."""
    if dtype in COMPLEXES:
        z, part = complex(value), "f32" if dtype == "c64" else "f64"
        return f"us_make_{dtype}({literal(z.real, part)}, {literal(z.imag, part)})"
    if isinstance(value, complex):
        value = value.real
    if dtype in REALS:
        return _real(float(value), dtype)
    if dtype in HALF:
        return f"us_narrow_{dtype}({_real(float(value), 'f32')})"
    if dtype == "bool":
        return "1" if value else "0"
    whole = int(value.real)
    bits = 64 if dtype == "key" else int(dtype[1:])
    if whole == -(2**63):
        return "INT64_MIN"
    text = f"INT64_C({whole})" if bits == 64 and abs(whole) >= 2**31 else str(whole)
    return f"({text})" if whole < 0 else text


def _real(value: float, dtype: str) -> str:
    if isnan(value):
        return "NAN"
    if dtype == "f32" and not isinf(value):
        try:
            value = unpack("f", pack("f", value))[0]
        except OverflowError:
            value = float("inf") if value > 0 else -float("inf")
    if isinf(value):
        return "INFINITY" if value > 0 else "(-INFINITY)"
    text = repr(value)
    if dtype == "f32":
        text = next(t for t in (f"{value:.{n}g}" for n in range(6, 10)) if unpack("f", pack("f", float(t)))[0] == value)
        text = text if re.search(r"[.e]", text) else text + ".0"
        text += "f"
    return f"({text})" if text.startswith("-") else text


class Printer(BasePrinter):
    """Prints expressions as C."""

    target = "c"
    reserved = _RESERVED
    dtypes = frozenset(C_TYPES)

    # -- integers ------------------------------------------------------------------------------------------------

    def integer_literal(self, value: builtins.int) -> str:
        """An index constant."""
        return str(value) if abs(value) < 2**31 else f"INT64_C({value})"

    def integer_op(self, op: str, args: list[str]) -> str:
        """An operation on indices other than ``+ - *``, on the texts of its operands."""
        if op in ("//", "%", "min", "max"):
            helper = {"//": "us_fdiv", "%": "us_fmod", "min": "us_imin", "max": "us_imax"}[op]
            out = args[0]
            for arg in args[1:]:
                out = f"{helper}({out}, {arg})"
            return out
        if op == "not":
            return f"!({args[0]})"
        if op == "select":
            return f"({args[0]} ? {args[1]} : {args[2]})"
        symbol = {"and": "&&", "or": "||"}.get(op, op)
        return "(" + f" {symbol} ".join(args) + ")"

    # -- types and places ----------------------------------------------------------------------------------------

    def value_type(self, dtype: str, lanes: builtins.int = 1) -> str:
        """The type of a named value, or of a vector."""
        if lanes > 1:
            return f"us_{dtype}x{lanes}"
        return "_Bool" if dtype == "bool" else self.storage_type(dtype)

    def storage_type(self, dtype: str) -> str:
        """The type of an element in memory."""
        return C_TYPES[self.check_dtype(dtype)]

    def literal(self, value: complex, dtype: str) -> str:
        """A constant of a dtype."""
        return literal(value, self.check_dtype(dtype))

    def address(self, load: Load) -> str:
        """The address of the first element of a block."""
        info = self.arrays[load.array]
        name = self.names.get("array", load.array)
        if not info.shape:
            return f"&{name}" if info.scope == "local" else name
        text = self.int(offset(load.index, info.shape))
        return name if text == "0" else f"&{name}[{text}]"

    def vector_load(self, load: Load, dtype: str, lanes: builtins.int) -> str:
        """``lanes`` elements from a place on."""
        return f"us_load_{dtype}x{lanes}(&{self.element(load.array, load.index)})"

    def vector_store(self, place: Load, dtype: str, lanes: builtins.int, value: str) -> str:
        """A call that puts ``lanes`` elements from a place on."""
        return f"us_store_{dtype}x{lanes}(&{self.element(place.array, place.index)}, {value})"

    def zero(self, dtype: str, lanes: builtins.int) -> str:
        """A sum at its start."""
        return "{0}" if lanes > 1 else "0"

    # -- values --------------------------------------------------------------------------------------------------

    def value(self, e: Expr) -> str:
        """An expression in one piece."""
        if isinstance(e, Load):
            return self.element(e.array, e.index)
        if isinstance(e, Literal):
            return self.literal(e.value, e.dtype)
        if isinstance(e, FromInt):
            text = self.int(e.value)
            if e.dtype in HALF:
                return f"us_narrow_{e.dtype}({text})"
            if e.dtype in COMPLEXES:
                return f"us_make_{e.dtype}({text}, 0)"
            return f"({C_TYPES[self.check_dtype(e.dtype)]})({text})" if e.dtype != "bool" else f"({text} != 0)"
        return self.call(e, [self.value(a) for a in e.args])

    def call(self, e: Call, args: list[str]) -> str:
        """One op on the texts of its operands."""
        op, dtype = e.op, self.check_dtype(e.dtype)
        source = self.check_dtype(e.args[0].dtype) if e.args else dtype
        listed = ", ".join(strip(a) for a in args)
        if op == "cast":
            return self._cast(args[0], source, dtype)
        if (dtype in HALF or source in HALF) and op not in ("where", "stop_gradient"):
            raise CompileError(f"target {self.target} has no {op} of {source} values: f16 and bf16 are storage, cast them to f32")
        if op == "stop_gradient" or (op in ("conj", "re") and source not in COMPLEXES):
            return args[0]
        if op == "where":
            return f"us_where_{dtype}({listed})" if dtype in COMPLEXES else f"({args[0]} ? {args[1]} : {args[2]})"
        if op in ("and", "or"):
            return f"({args[0]} {'&' if op == 'and' else '|'} {args[1]})"
        if op == "not":
            return f"(!{args[0]})"
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
                return ("!" if op == "ne" else "") + f"us_eq_{source}({listed})"
            return f"({args[0]} {COMPARE[op]} {args[1]})"
        made = self._complex(e, args, source) if source in COMPLEXES else None
        made = made or (self._real(e, args, source) if source in REALS else None)
        made = made or (self._integer(e, args, source) if source in INTEGERS or source == "bool" else None)
        if made is None:
            raise CompileError(f"target {self.target} has no {op} of {source} values")
        return made

    def _real(self, e: Call, args: list[str], dtype: str) -> str | None:
        op, listed, suffix = e.op, ", ".join(strip(a) for a in args), "f" if dtype == "f32" else ""
        if op in INFIX:
            return f"({args[0]} {INFIX[op]} {args[1]})"
        if op == "neg":
            return f"(-{args[0]})"
        if op == "im":
            return literal(0, dtype)
        if op == "isfinite":
            return f"__builtin_isfinite({listed})"
        if op == "pow" and isinstance(e.args[1], Literal):
            special = self._power(args[0], e.args[1].value, dtype, suffix)
            if special:
                return special
        if op in _REAL_HELPERS:
            return f"us_{op}_{dtype}({listed})"
        return f"{_LIBRARY[op]}{suffix}({listed})" if op in _LIBRARY else None

    @staticmethod
    def _power(base: str, exponent: complex, dtype: str, suffix: str) -> str | None:
        """Powers that PyTorch computes without ``pow``."""
        bare = strip(base)
        table = {
            2: f"us_square_{dtype}({bare})", 3: f"us_cube_{dtype}({bare})", 1: base, 0.5: f"sqrt{suffix}({bare})",
            -0.5: f"({literal(1, dtype)} / sqrt{suffix}({bare}))", -1: f"({literal(1, dtype)} / {base})",
            -2: f"({literal(1, dtype)} / us_square_{dtype}({bare}))",
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
            return "0"
        if op == "isfinite":
            return "1"
        if op in ("maximum", "minimum") or (op in _INTEGER_HELPERS and dtype != "bool"):
            return f"us_{op}_{dtype}({listed})"
        return None

    def _complex(self, e: Call, args: list[str], dtype: str) -> str | None:
        op, listed = e.op, ", ".join(strip(a) for a in args)
        if op in ("re", "im"):
            return f"{args[0]}.{op}"
        if op == "isfinite":
            return f"us_isfinite_{dtype}({listed})"
        if op == "pow" and isinstance(e.args[1], Literal) and e.args[1].value == 2:
            return f"us_square_{dtype}({strip(args[0])})"
        return f"us_{op}_{dtype}({listed})" if op in _COMPLEX_HELPERS else None

    @staticmethod
    def _cast(text: str, source: str, dtype: str) -> str:
        if source == dtype:
            return text
        if source in HALF:
            return Printer._cast(f"us_widen_{source}({strip(text)})", "f32", dtype)
        if dtype in HALF:
            return f"us_narrow_{dtype}({strip(Printer._cast(text, source, 'f32'))})"
        if dtype in COMPLEXES:
            real = C_TYPES["f32" if dtype == "c64" else "f64"]
            parts = (f"({real}){text}.re", f"({real}){text}.im") if source in COMPLEXES else (f"({real}){text}", "0")
            return f"us_make_{dtype}({parts[0]}, {parts[1]})"
        if source in COMPLEXES:
            return f"({text}.re != 0 || {text}.im != 0)" if dtype == "bool" else f"(({C_TYPES[dtype]}){text}.re)"
        return f"({text} != 0)" if dtype == "bool" else f"(({C_TYPES[dtype]}){text})"
