"""Scalar expressions of the loop tree as C text: what is C's own about :mod:`.operations`."""

from __future__ import annotations

import builtins

from ..compiler.graph.types import HALF
from ..compiler.loops.tree import Load
from .affine import offset
from .c_runtime import C_TYPES
from .operations import Operations, decimal
from .printer import COMPLEXES, REALS, mask_of, strip

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

#: Real ops that are functions of the C library of the same or another name, and those of our own.
_LIBRARY = {
    "sqrt": "sqrt", "root": "sqrt", "exp": "exp", "log": "log", "log1p": "log1p", "expm1": "expm1", "sin": "sin", "cos": "cos", "tan": "tan",
    "tanh": "tanh", "erf": "erf", "floor": "floor", "ceil": "ceil", "round": "rint", "abs": "fabs", "pow": "pow",
}  # fmt: skip
_HELPERS = {
    "fma", "sign", "relu", "maximum", "minimum", "sigmoid", "softplus", "angle", "floordiv", "mod", "lgamma", "digamma", "polygamma1", "key",
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
    text = decimal(value, dtype)
    if text.endswith(("nan", "inf")):
        return {"nan": "NAN", "inf": "INFINITY", "-inf": "(-INFINITY)"}[text]
    text += "f" if dtype == "f32" else ""
    return f"({text})" if text.startswith("-") else text


class Printer(Operations):
    """Prints expressions as C."""

    target = "c"
    reserved = _RESERVED
    dtypes = frozenset(C_TYPES)
    negation = "(!{})"
    unequal = "!{}"
    parts = ("re", "im")

    # -- integers ------------------------------------------------------------------------------------------------

    def integer_literal(self, value: builtins.int) -> str:
        """An index constant."""
        return str(value) if abs(value) < 2**31 else f"INT64_C({value})"

    def integer_op(self, op: str, args: list[str]) -> str:
        """An operation on indices other than ``+ - *``, on the texts of its operands."""
        if op == "%" and (mask := mask_of(args[1])):
            return f"(({args[0]}) & {mask})"
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

    def from_int(self, text: str, dtype: str) -> str:
        """An integer expression as a value."""
        if dtype in HALF:
            return f"us_narrow_{dtype}({text})"
        if dtype in COMPLEXES:
            return f"us_make_{dtype}({text}, 0)"
        return f"({C_TYPES[dtype]})({text})" if dtype != "bool" else f"({text} != 0)"

    def where(self, args: list[str], dtype: str) -> str:
        """``args[1] if args[0] else args[2]``."""
        if dtype in COMPLEXES:
            return f"us_where_{dtype}({', '.join(map(strip, args))})"
        return f"({args[0]} ? {args[1]} : {args[2]})"

    def real_function(self, op: str, dtype: str) -> str | None:
        """The name of the function that computes an op of real numbers; None if there is none."""
        if op == "isfinite":
            return "__builtin_isfinite"
        if op in _HELPERS:
            return f"us_{op}_{dtype}"
        return _LIBRARY[op] + ("f" if dtype == "f32" else "") if op in _LIBRARY else None

    def cast(self, text: str, source: str, dtype: str) -> str:
        """A value in another dtype."""
        if source == dtype:
            return text
        if source in HALF:
            return self.cast(f"us_widen_{source}({strip(text)})", "f32", dtype)
        if dtype in HALF:
            return f"us_narrow_{dtype}({strip(self.cast(text, source, 'f32'))})"
        if dtype in COMPLEXES:
            real = C_TYPES["f32" if dtype == "c64" else "f64"]
            parts = (f"({real}){text}.re", f"({real}){text}.im") if source in COMPLEXES else (f"({real}){text}", "0")
            return f"us_make_{dtype}({parts[0]}, {parts[1]})"
        if source in COMPLEXES:
            return f"({text}.re != 0 || {text}.im != 0)" if dtype == "bool" else f"(({C_TYPES[dtype]}){text}.re)"
        return f"({text} != 0)" if dtype == "bool" else f"(({C_TYPES[dtype]}){text})"
