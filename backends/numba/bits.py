"""What the run-time functions for numba are written with: dtypes, the table of functions, and operations that LLVM has but numba
does not give exactly: selection without a branch, bits of numbers, integers that stay as wide as they are, fused multiply-add.

A function of the library is made by a *maker* the first time it is asked for, and compiled by numba where it is first called. All
of it is inlined into its caller, raises nothing and, where possible, has no branch, so that loops over it become vector loops.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


@dataclass(frozen=True)
class Real:
    """A floating point dtype: its NumPy type, the integer of the same width, bits of the fraction, bias of the exponent."""

    name: str
    real: Any
    whole: Any
    fraction: int
    bias: int


@dataclass(frozen=True)
class Integer:
    """An integer dtype."""

    name: str
    whole: Any
    bits: int


@dataclass(frozen=True)
class Complex:
    """A complex dtype: its NumPy type and the dtype of its parts."""

    name: str
    number: Any
    part: Real


REALS = {"f32": Real("f32", np.float32, np.int32, 23, 127), "f64": Real("f64", np.float64, np.int64, 52, 1023)}
INTEGERS = {f"i{b}": Integer(f"i{b}", t, b) for b, t in ((8, np.int8), (16, np.int16), (32, np.int32), (64, np.int64))}
BOOL = Integer("bool", np.bool_, 8)
COMPLEXES = {"c64": Complex("c64", np.complex64, REALS["f32"]), "c128": Complex("c128", np.complex128, REALS["f64"])}
KINDS: dict[str, Real | Integer | Complex] = {**REALS, **INTEGERS, **COMPLEXES, "bool": BOOL}

_plain: Any = types.unliteral

#: Every function of the run-time library by the name it has in generated code.
FUNCTIONS: dict[str, Callable[[], Any]] = {}

_OPTIONS: Any = {"error_model": "numpy", "fastmath": False, "boundscheck": False, "nogil": True}


def inline(function: Callable[..., Any]) -> Any:
    """A function that numba compiles where it is first called, and LLVM inlines into every caller."""
    return numba.njit(forceinline=True, **_OPTIONS)(function)


def routine(function: Callable[..., Any]) -> Any:
    """A function that is called."""
    return numba.njit(**_OPTIONS)(function)


def helper(name: str, dtypes: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter the maker of ``us_name``, or of ``us_name_dtype`` for each of the dtypes, into the table."""

    def enter(maker: Callable[..., Any]) -> Callable[..., Any]:
        cached = lru_cache(maxsize=None)(maker)
        for dtype in dtypes.split():
            FUNCTIONS[f"us_{name}_{dtype}"] = lambda dtype=dtype: cached(KINDS[dtype])  # type: ignore[misc]
        if not dtypes:
            FUNCTIONS[f"us_{name}"] = cached
        return cached

    return enter


def enter(name: str, function: Any) -> Any:
    """Put a finished function into the table; itself."""
    FUNCTIONS[name] = lambda: function
    return function


def operation(typer: Callable[..., Any]) -> Any:
    """An operation on values for numba, from a function that types it and gives what writes its LLVM code."""
    return intrinsic(typer)


# -- operations ------------------------------------------------------------------------------------------------------------


@operation
def select(_context: Any, condition: Any, yes: Any, no: Any) -> Any:
    """``yes if condition else no``, both computed."""
    kind = _plain(yes)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(args[0], args[1], args[2])

    return kind(types.boolean, kind, kind), generate


def _recast(table: dict[Any, Any]) -> Any:
    @operation
    def recast(_context: Any, x: Any) -> Any:
        source = _plain(x)
        target = table[source]

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], context.get_value_type(target))

        return target(source), generate

    return recast


#: The bits of a number as an integer, and the number with these bits.
bits = _recast({types.float32: types.int32, types.float64: types.int64})
from_bits = _recast({types.int32: types.float32, types.int64: types.float64})


def llvm_function(builder: Any, name: str, kind: Any, arity: int) -> Any:
    """One of LLVM's own functions of floating point numbers, or of vectors of them: ``arity`` of one type to that type."""
    element, suffix = (kind.element, f"v{kind.count}") if isinstance(kind, ir.VectorType) else (kind, "")
    suffix += "f32" if isinstance(element, ir.FloatType) else "f64"
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * arity), f"{name}.{suffix}")


def instruction(arity: int, kind: Any, code: Callable[..., Any]) -> Any:
    """An operation on ``arity`` operands, with a result of their type: ``kind``, or that of the first operand if it is None."""

    def typed(first: Any) -> Any:
        own = first if kind is None else kind
        return own(*[own] * arity), code

    if arity == 1:
        return operation(lambda _context, x: typed(x))
    if arity == 2:
        return operation(lambda _context, x, y: typed(x))
    return operation(lambda _context, x, y, z: typed(x))


def _math(name: str, arity: int) -> Any:
    """One of LLVM's own functions of floating point numbers."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.call(llvm_function(builder, name, args[0].type, arity), args)

    return instruction(arity, None, code)


absolute = _math("llvm.fabs", 1)
square_root = _math("llvm.sqrt", 1)
round_down = _math("llvm.floor", 1)
round_up = _math("llvm.ceil", 1)
round_even = _math("llvm.rint", 1)
with_sign = _math("llvm.copysign", 2)
exact_fma = _math("llvm.fma", 3)  # rounded once on every machine, if by a slow call


def multiply_add(context: Any, builder: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` of numbers or vectors. Fused where the machine compiled for has the instruction; the C library's function would be a slow call."""
    triple, _, features = context.codegen().magic_tuple()
    if "+fma" not in features.split(",") and not triple.startswith(("aarch64", "arm64")):
        return builder.fadd(builder.fmul(a, b), c)
    return builder.call(llvm_function(builder, "llvm.fma", a.type, 3), [a, b, c])


@operation
def fma(_context: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c``, rounded once where the machine can."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return multiply_add(context, builder, *args)

    return a(a, a, a), generate


def polynomial(coefficients: tuple[float, ...]) -> Any:
    """A function: the polynomial with these coefficients of rising powers, by Horner's rule in the dtype of its argument."""

    @operation
    def horner(_context: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            *rest, last = (ir.Constant(args[0].type, c) for c in coefficients)
            value = last
            for c in reversed(rest):
                value = multiply_add(context, builder, value, args[0], c)
            return value

        return x(x), generate

    return horner


def _instruction(name: str) -> Any:
    """An instruction on numbers as wide as the first, to which the second is converted; integers wrap around."""

    @operation
    def binary(_context: Any, a: Any, b: Any) -> Any:
        kind, other = _plain(a), _plain(b)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            right = context.cast(builder, args[1], other, kind)
            return getattr(builder, name)(args[0], right)

        return kind(kind, other), generate

    return binary


add, sub, mul = _instruction("add"), _instruction("sub"), _instruction("mul")
both, either, differ = _instruction("and_"), _instruction("or_"), _instruction("xor")
shift_left, shift_right, shift_right_unsigned = _instruction("shl"), _instruction("ashr"), _instruction("lshr")
quotient, remainder = _instruction("sdiv"), _instruction("srem")  # the second must not be 0, nor -1 below the least integer
remainder_real = _instruction("frem")  # with the sign of the first
