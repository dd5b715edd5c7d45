"""Short functions of numbers and integers that are a few LLVM instructions, with the meanings of ``c_base.h``: one table.

NaN wins in maxima; integers wrap around. Anything longer is written in Python (:mod:`.real`, :mod:`.integer`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .bits import enter, instruction, llvm_function, multiply_add

REALS, INTEGERS = "f32 f64", "i8 i16 i32 i64"
Code = Callable[..., Any]  # (context, builder, signature, operands) -> value

_TYPES: dict[str, Any] = {
    "f32": types.float32, "f64": types.float64, "i8": types.int8, "i16": types.int16, "i32": types.int32, "i64": types.int64,
    "bool": types.boolean,
}  # fmt: skip


def us_where(_context: Any, condition: Any, yes: Any, no: Any) -> Any:
    """``yes if condition else no``, both computed."""
    kind = types.unliteral(yes)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(args[0], args[1], args[2])

    return kind(types.boolean, kind, kind), code


enter("us_where", intrinsic(us_where))


# -- real numbers ----------------------------------------------------------------------------------------------------------


def _fma(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """One rounding where the machine has it, two where it would be a library call."""
    return multiply_add(context, builder, *args)


def _extreme(comparison: str) -> Code:
    """The larger or smaller; NaN if one of them is."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, b = args
        best = builder.select(builder.fcmp_ordered(comparison, a, b), a, b)
        return builder.select(builder.fcmp_unordered("uno", a, a), a, best)

    return code


def _relu(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    zero = ir.Constant(args[0].type, 0.0)
    return builder.select(builder.fcmp_ordered("<=", args[0], zero), zero, args[0])


def _sign(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    a, zero, one = args[0], ir.Constant(args[0].type, 0.0), ir.Constant(args[0].type, 1.0)
    negative = builder.select(builder.fcmp_ordered("<", a, zero), ir.Constant(a.type, -1.0), zero)
    return builder.select(
        builder.fcmp_unordered("uno", a, a), a, builder.select(builder.fcmp_ordered(">", a, zero), one, negative)
    )


def _square(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.fmul(args[0], args[0])


def _cube(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.fmul(builder.fmul(args[0], args[0]), args[0])


def _llvm(name: str) -> Code:
    """One of LLVM's own functions."""
    return lambda context, builder, signature, args: builder.call(llvm_function(builder, name, args[0].type, len(args)), args)


# -- integers --------------------------------------------------------------------------------------------------------------


def _wrapping(name: str) -> Code:
    return lambda context, builder, signature, args: getattr(builder, name)(*args)


def _negate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.sub(ir.Constant(args[0].type, 0), args[0])


def _choose(comparison: str) -> Code:
    return lambda context, builder, signature, args: builder.select(builder.icmp_signed(comparison, *args), *args)


def _magnitude(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    zero = ir.Constant(args[0].type, 0)
    return builder.select(builder.icmp_signed("<", args[0], zero), builder.sub(zero, args[0]), args[0])


def _positive(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    zero = ir.Constant(args[0].type, 0)
    return builder.select(builder.icmp_signed(">", args[0], zero), args[0], zero)


def _whole_sign(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    less, zero, one = (ir.Constant(args[0].type, n) for n in (-1, 0, 1))
    negative = builder.select(builder.icmp_signed("<", args[0], zero), less, zero)
    return builder.select(builder.icmp_signed(">", args[0], zero), one, negative)


# -- the table -------------------------------------------------------------------------------------------------------------

_TABLE: tuple[tuple[str, int, str, Code], ...] = (
    ("fma", 3, REALS, _fma), ("maximum", 2, REALS, _extreme(">")), ("minimum", 2, REALS, _extreme("<")), ("relu", 1, REALS, _relu),
    ("sign", 1, REALS, _sign), ("square", 1, REALS, _square), ("cube", 1, REALS, _cube), ("sqrt", 1, REALS, _llvm("llvm.sqrt")),
    ("abs", 1, REALS, _llvm("llvm.fabs")), ("floor", 1, REALS, _llvm("llvm.floor")), ("ceil", 1, REALS, _llvm("llvm.ceil")),
    ("rint", 1, REALS, _llvm("llvm.rint")),
    ("add", 2, INTEGERS, _wrapping("add")), ("sub", 2, INTEGERS, _wrapping("sub")), ("mul", 2, INTEGERS, _wrapping("mul")),
    ("neg", 1, INTEGERS, _negate), ("abs", 1, INTEGERS, _magnitude), ("sign", 1, INTEGERS, _whole_sign), ("relu", 1, INTEGERS, _positive),
    ("maximum", 2, INTEGERS, _choose(">")), ("minimum", 2, INTEGERS, _choose("<")),
    ("maximum", 2, "bool", _wrapping("or_")), ("minimum", 2, "bool", _wrapping("and_")),
)  # fmt: skip

for _op, _arity, _dtypes, _code in _TABLE:
    for _name in _dtypes.split():
        enter(f"us_{_op}_{_name}", instruction(_arity, _TYPES[_name], _code))


# -- reductions ------------------------------------------------------------------------------------------------------------


def _reduction(name: str, code: Code) -> None:
    """Enter one step of the reduction of a vector loop: it may be taken in another order, the schedule says so, not LLVM."""

    def us_reduce(_context: Any, held: Any, value: Any) -> Any:
        return held(held, held), code

    enter(f"us_reduce_{name}", intrinsic(us_reduce))


_reduction("add", lambda context, builder, signature, args: builder.fadd(*args, flags=("reassoc",)))
_reduction("mul", lambda context, builder, signature, args: builder.fmul(*args, flags=("reassoc",)))
_reduction("max", _llvm("llvm.maximum"))
_reduction("min", _llvm("llvm.minimum"))
