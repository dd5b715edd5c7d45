"""Vectors of fixed width for generated Python, which numba does not have: a type, its arithmetic, loads, stores and sums.

Names end in a dtype and the number of lanes, as those of generated C do (``us_load_f32x16``).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model

from .bits import enter, multiply_add
from .memory import ELEMENTS

LANES = (2, 4, 8, 16)

_I32 = ir.IntType(32)


class Vector(types.Type):  # type: ignore[misc]
    """``lanes`` numbers of a dtype in one register."""

    def __init__(self, dtype: str, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"us_{dtype}x{lanes}")

    @property
    def llvm(self) -> Any:
        """LLVM's type."""
        return ir.VectorType(ir.FloatType() if self.dtype == "f32" else ir.DoubleType(), self.lanes)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, kind.llvm)


def _operator(symbols: Sequence[Any], code: Callable[..., Any]) -> None:
    """Arithmetic of two vectors."""
    for symbol in symbols:

        class _Typing(AbstractTemplate):  # type: ignore[misc]
            key = symbol

            def generic(self, args: Any, kws: Any) -> Any:
                if len(args) == 2 and isinstance(args[0], Vector) and args[0] == args[1]:
                    return args[0](*args)
                return None

        infer_global(symbol)(_Typing)
        lower_builtin(symbol, Vector, Vector)(code)


_operator([operator.add, operator.iadd], lambda context, builder, signature, args: builder.fadd(*args))
_operator([operator.sub, operator.isub], lambda context, builder, signature, args: builder.fsub(*args))
_operator([operator.mul, operator.imul], lambda context, builder, signature, args: builder.fmul(*args))
_operator([operator.truediv, operator.itruediv], lambda context, builder, signature, args: builder.fdiv(*args))


class _Negative(AbstractTemplate):  # type: ignore[misc]
    key = operator.neg

    def generic(self, args: Any, kws: Any) -> Any:
        return args[0](args[0]) if len(args) == 1 and isinstance(args[0], Vector) else None


infer_global(operator.neg)(_Negative)


def _negative(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.fneg(args[0])


lower_builtin(operator.neg, Vector)(_negative)


def _vector_functions(dtype: str, lanes: int) -> None:
    vector, element = Vector(dtype, lanes), ELEMENTS[dtype]
    pointer, align = types.CPointer(element), 4 if dtype == "f32" else 8

    def at(builder: Any, args: Any) -> Any:
        return builder.bitcast(builder.gep(args[0], [args[1]]), vector.llvm.as_pointer())

    def us_load(_context: Any, array: Any, index: Any) -> Any:
        """``lanes`` elements from a position on."""

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = builder.load(at(builder, args))
            value.align = align
            return value

        return vector(pointer, types.int64), code

    def us_store(_context: Any, array: Any, index: Any, value: Any) -> Any:
        """Put ``lanes`` elements from a position on."""

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.store(args[2], at(builder, args)).align = align
            return context.get_dummy_value()

        return types.void(pointer, types.int64, vector), code

    def us_splat(_context: Any, value: Any) -> Any:
        """One number in all lanes."""

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            none = ir.Constant(vector.llvm, ir.Undefined)
            first = builder.insert_element(none, args[0], ir.Constant(_I32, 0))
            return builder.shuffle_vector(first, none, ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes))

        return vector(element), code

    def us_sum(_context: Any, value: Any) -> Any:
        """The sum of all lanes, by halves: the order is fixed."""

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            total, count = args[0], lanes
            while count > 1:
                count //= 2
                low, high = (
                    builder.shuffle_vector(
                        total, ir.Constant(total.type, ir.Undefined), ir.Constant(ir.VectorType(_I32, count), list(part))
                    )
                    for part in (range(count), range(count, 2 * count))
                )
                total = builder.fadd(low, high)
            return builder.extract_element(total, ir.Constant(_I32, 0))

        return element(vector), code

    def us_fma(_context: Any, a: Any, b: Any, c: Any) -> Any:
        """``a * b + c``, rounded once where the machine can."""
        return vector(vector, vector, vector), lambda context, builder, signature, args: multiply_add(context, builder, *args)

    for name, typer in (("load", us_load), ("store", us_store), ("splat", us_splat), ("sum", us_sum), ("fma", us_fma)):
        enter(f"us_{name}_{dtype}x{lanes}", intrinsic(typer))


for _name in ("f32", "f64"):
    for _count in LANES:
        _vector_functions(_name, _count)
