"""Scalar ops as text: one rule per op, the same for every target language; what languages say differently are hooks and names.

Targets call functions of their run-time libraries ``us_OP_DTYPE``, in C and in Python alike.
"""

from __future__ import annotations

from abc import abstractmethod
from math import isinf, isnan
from struct import pack, unpack
from typing import ClassVar

from ..compiler.diagnostics import CompileError
from ..compiler.graph.types import HALF
from ..compiler.loops.tree import Call, Expr, FromInt, Literal, Load
from .printer import COMPARE, COMPLEXES, INFIX, INTEGERS, RANDOM, REALS, Printer, strip

#: Ops of integers, and of complex numbers, that are functions of the run-time library; what is real differs by target.
_INTEGER = {"add", "sub", "mul", "neg", "abs", "sign", "relu", "maximum", "minimum", "pow"}
_COMPLEX = {
    "add", "sub", "mul", "div", "neg", "conj", "abs", "angle", "sqrt", "exp", "log", "log1p", "expm1", "sin", "cos", "tan", "tanh", "pow",
    "sigmoid", "isfinite",
}  # fmt: skip


class Operations(Printer):
    """Prints ops. Literals, casts and selections are the language's own."""

    #: ``not x``; two complex numbers that differ, from the text that says they are equal; the parts of a complex number.
    negation: ClassVar[str]
    unequal: ClassVar[str]
    parts: ClassVar[tuple[str, str]]

    @abstractmethod
    def cast(self, text: str, source: str, dtype: str) -> str:
        """A value in another dtype."""

    @abstractmethod
    def from_int(self, text: str, dtype: str) -> str:
        """An integer expression as a value."""

    @abstractmethod
    def where(self, args: list[str], dtype: str) -> str:
        """``args[1] if args[0] else args[2]``."""

    @abstractmethod
    def real_function(self, op: str, dtype: str) -> str | None:
        """The name of the function that computes an op of real numbers; None if there is none."""

    def value(self, e: Expr) -> str:
        """An expression in one piece."""
        if isinstance(e, Load):
            return self.read(e.array, e.index)
        if isinstance(e, Literal):
            return self.literal(e.value, e.dtype)
        if isinstance(e, FromInt):
            return self.from_int(self.int(e.value), self.check_dtype(e.dtype))
        return self.call(e, [self.value(a) for a in e.args])

    def call(self, e: Call, args: list[str]) -> str:
        """One op on the texts of its operands. Raises CompileError for one that the target has not."""
        op, dtype = e.op, self.check_dtype(e.dtype)
        source = self.check_dtype(e.args[0].dtype) if e.args else dtype
        listed = ", ".join(map(strip, args))
        if op == "cast":
            return self.cast(args[0], source, dtype)
        if (dtype in HALF or source in HALF) and op not in ("where", "stop_gradient"):
            raise CompileError(f"target {self.target} has no {op} of {source} values: f16 and bf16 are storage, cast them to f32")
        if op == "stop_gradient" or (op in ("conj", "re") and source not in COMPLEXES):
            return args[0]
        if op == "where":
            return self.where(args, dtype)
        if op in ("and", "or"):
            return f"({args[0]} {'&' if op == 'and' else '|'} {args[1]})"
        if op == "not":
            return self.negation.format(args[0])
        if op == "check_index":
            return f"us_check_index({listed}, failed, {self.check('an index is out of range')})"
        if op == "fold":
            out = args[0]
            for arg in args[1:]:
                out = f"us_fold({strip(out)}, {strip(arg)})"
            return out
        if op in RANDOM:
            return f"us_{op}_{dtype}({listed})"
        if op in COMPARE and source in COMPLEXES:
            equal = f"us_eq_{source}({listed})"
            return self.unequal.format(equal) if op == "ne" else equal
        if op in COMPARE:
            return f"({args[0]} {COMPARE[op]} {args[1]})"
        rule = self._complex if source in COMPLEXES else self._real if source in REALS else self._integer
        made = rule(e, args, source) if source in (*COMPLEXES, *REALS, *INTEGERS, "bool") else None
        if made is None:
            raise CompileError(f"target {self.target} has no {op} of {source} values")
        return made

    def _real(self, e: Call, args: list[str], dtype: str) -> str | None:
        op = e.op
        if op in INFIX:
            return f"({args[0]} {INFIX[op]} {args[1]})"
        if op == "neg":
            return f"(-{args[0]})"
        if op == "im":
            return self.literal(0, dtype)
        if op == "pow" and isinstance(e.args[1], Literal):
            special = self._power(args[0], e.args[1].value, dtype)
            if special:
                return special
        function = self.real_function(op, dtype)
        return function and f"{function}({', '.join(map(strip, args))})"

    def _power(self, base: str, exponent: complex, dtype: str) -> str | None:
        """Powers that PyTorch computes without ``pow``."""
        bare, one, root = strip(base), self.literal(1, dtype), self.real_function("sqrt", dtype)
        table = {
            2: f"us_square_{dtype}({bare})", 3: f"us_cube_{dtype}({bare})", 1: base, 0.5: f"{root}({bare})",
            -0.5: f"({one} / {root}({bare}))", -1: f"({one} / {base})", -2: f"({one} / us_square_{dtype}({bare}))",
        }  # fmt: skip
        return table.get(exponent.real)

    def _integer(self, e: Call, args: list[str], dtype: str) -> str | None:
        op = e.op
        if op == "im":
            return self.literal(0, dtype)
        if op == "isfinite":
            return self.literal(True, "bool")
        if dtype == "bool" and op not in ("maximum", "minimum"):
            return None
        dtype = "i64" if dtype == "key" else dtype
        if op in ("floordiv", "mod"):
            divisor, text = e.args[1], strip(args[1])
            if not (isinstance(divisor, Literal) and divisor.value):
                text = f"us_check_divisor_{dtype}({text}, failed, {self.check('integer division by zero')})"
            return f"us_{op}_{dtype}({strip(args[0])}, {text})"
        return f"us_{op}_{dtype}({', '.join(map(strip, args))})" if op in _INTEGER else None

    def _complex(self, e: Call, args: list[str], dtype: str) -> str | None:
        op = e.op
        if op in ("re", "im"):
            return f"{args[0]}.{self.parts[op == 'im']}"
        if op == "pow" and isinstance(e.args[1], Literal) and e.args[1].value == 2:
            return f"us_square_{dtype}({strip(args[0])})"
        return f"us_{op}_{dtype}({', '.join(map(strip, args))})" if op in _COMPLEX else None


def decimal(value: float, dtype: str) -> str:
    """The shortest decimal text of a number of dtype f32 or f64, with a point or an exponent; ``nan``, ``inf`` or ``-inf``."""
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
