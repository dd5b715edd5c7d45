"""What the threads of a team need from LLVM: OpenMP's functions by address, and the atomics of a barrier."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

_I32, _I64 = ir.IntType(32), ir.IntType(64)


def _call_integer(_context: Any, address: Any) -> Any:
    """What the C function at an address, ``int f(void)``, returns."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function = builder.inttoptr(args[0], ir.FunctionType(_I32, []).as_pointer())
        return builder.sext(builder.call(function, []), _I64)

    return types.int64(types.int64), code


def _atomic_add(_context: Any, pointer: Any, index: Any, value: Any) -> Any:
    """Add to an int32; its value before."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", builder.gep(args[0], [args[1]]), args[2], "acq_rel")

    return types.int32(types.CPointer(types.int32), types.int64, types.int32), code


def _atomic_load(_context: Any, pointer: Any, index: Any) -> Any:
    """An int32 that another thread may have stored, and all that it stored before."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(builder.gep(args[0], [args[1]]), "acquire", 4)

    return types.int32(types.CPointer(types.int32), types.int64), code


def _atomic_store(_context: Any, pointer: Any, index: Any, value: Any) -> Any:
    """Store an int32 so that who loads it sees all that was stored before."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[2], builder.gep(args[0], [args[1]]), "release", 4)
        return context.get_dummy_value()

    return types.void(types.CPointer(types.int32), types.int64, types.int32), code


def _pause(_context: Any) -> Any:
    """Tell the processor that a loop only waits."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        hint = {"x86_64": "pause", "aarch64": "yield", "arm64": "yield"}.get(builder.module.triple.split("-")[0])
        if hint:
            builder.call(ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), hint, "~{memory}", side_effect=True), [])
        return context.get_dummy_value()

    return types.void(), code


def _give_way(_context: Any) -> Any:
    """Let another thread run."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(_I32, []), "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), code


call_integer: Any = intrinsic(_call_integer)
atomic_add: Any = intrinsic(_atomic_add)
atomic_load: Any = intrinsic(_atomic_load)
atomic_store: Any = intrinsic(_atomic_store)
pause: Any = intrinsic(_pause)
give_way: Any = intrinsic(_give_way)
