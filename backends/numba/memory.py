"""Memory for generated Python: pointers, storage on the stack, views of rows. Each function is LLVM instructions put where it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from .bits import enter

#: The type of an element in memory. A truth value is a byte.
ELEMENTS = {
    "f32": types.float32, "f64": types.float64, "c64": types.complex64, "c128": types.complex128, "i8": types.int8, "i16": types.int16,
    "i32": types.int32, "i64": types.int64, "key": types.int64, "bool": types.uint8,
}  # fmt: skip


def _pointer(element: Any) -> Callable[..., Any]:
    def us_pointer(_context: Any, address: Any) -> Any:
        """The pointer to an address."""

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(element)(types.int64), code

    return us_pointer


def _local(element: Any) -> Callable[..., Any]:
    def us_local(_context: Any, count: Any) -> Any:
        """``count`` elements on the stack, a literal."""
        number = count.literal_value

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = context.get_data_type(element)
            with builder.goto_entry_block():
                place = builder.alloca(ir.ArrayType(kind, number))
                place.align = 64
            return builder.bitcast(place, kind.as_pointer())

        return types.CPointer(element)(count), code

    return us_local


#: Functions of the elements of each dtype: the pointer to an address, and storage on the stack.
POINTER = {name: enter(f"us_pointer_{name}", intrinsic(_pointer(element))) for name, element in ELEMENTS.items()}
LOCAL = {name: enter(f"us_local_{name}", intrinsic(prefer_literal=True)(_local(element))) for name, element in ELEMENTS.items()}


def us_offset(_context: Any, pointer: Any, index: Any) -> Any:
    """The pointer moved by a number of elements."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.int64), code


def us_publish(_context: Any, pointer: Any) -> Any:
    """Let the compiler know that other threads may change what a pointer points at whenever they are waited for."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [args[0].type])
        builder.call(ir.InlineAsm(kind, "", "r,~{memory}", side_effect=True), [args[0]])
        return context.get_dummy_value()

    return types.void(pointer), code


def us_view(_context: Any, pointer: Any, rows: Any, columns: Any) -> Any:
    """A contiguous array of ``rows`` times ``columns`` elements; of one dimension where ``columns`` is None."""
    extents = 1 if isinstance(columns, types.NoneType) else 2
    kind = types.Array(pointer.dtype, extents, "C")

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
        shape = list(args[1 : 1 + extents])
        strides = [size] if extents == 1 else [builder.mul(size, shape[1]), size]
        made = make_array(kind)(context, builder)
        populate_array(made, data=args[0], shape=shape, strides=strides, itemsize=size, meminfo=None)
        return made._getvalue()

    return kind(pointer, types.intp, columns if extents == 1 else types.intp), code


enter("us_offset", intrinsic(us_offset))
enter("us_publish", intrinsic(us_publish))
VIEW = enter("us_view", intrinsic(us_view))
