"""What the threads of a team need from LLVM: OpenMP's functions by address, and the atomics of a barrier."""

from __future__ import annotations

import sys
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
        return builder.atomic_rmw("add", builder.gep(args[0], [args[1]]), args[2], "seq_cst")

    return types.int32(types.CPointer(types.int32), types.int64, types.int32), code


def _atomic_exchange(_context: Any, pointer: Any, index: Any, value: Any) -> Any:
    """Store an int32; its value before."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("xchg", builder.gep(args[0], [args[1]]), args[2], "seq_cst")

    return types.int32(types.CPointer(types.int32), types.int64, types.int32), code


def _atomic_load(_context: Any, pointer: Any, index: Any) -> Any:
    """An int32 that another thread may have stored, and all that it stored before."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(builder.gep(args[0], [args[1]]), "seq_cst", 4)

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


def _patience(_context: Any) -> Any:
    """For how many of :func:`ticks` a thread watches before it sleeps: about as long as waking one takes, some 12 us; 0 where none are known."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        machine = builder.module.triple.split("-")[0]
        if machine not in ("aarch64", "arm64"):
            return _I64(32768 if machine == "x86_64" else 0)
        frequency = builder.call(ir.InlineAsm(ir.FunctionType(_I64, []), "mrs $0, cntfrq_el0", "=r", side_effect=True), [])
        return builder.udiv(frequency, _I64(80000))

    return types.int64(), code


def _ticks(_context: Any) -> Any:
    """A clock of small steps."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        machine = builder.module.triple.split("-")[0]
        if machine == "x86_64":
            name = "llvm.readcyclecounter"
            return builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(_I64, []), name), [])
        if machine in ("aarch64", "arm64"):
            return builder.call(ir.InlineAsm(ir.FunctionType(_I64, []), "mrs $0, cntvct_el0", "=r", side_effect=True), [])
        return _I64(0)

    return types.int64(), code


_LINUX = sys.platform.startswith("linux")

#: Bytes of Linux' `cpu_set_t`.
_SET = 128

#: Linux: number of the system call `futex`, by processor; to wait, and to wake, within one process.
_FUTEX = {"x86_64": 202, "aarch64": 98}
_WAIT, _WAKE = 128, 129


def _futex(builder: Any, pointer: Any, what: int, value: Any) -> bool:
    """Call `futex`; False where there is none."""
    number = _FUTEX.get(builder.module.triple.split("-")[0])
    if number is None or not _LINUX:
        return False
    byte, zero = ir.IntType(8).as_pointer(), _I64(0)
    call = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_I64, [_I64], var_arg=True), "syscall")
    builder.call(call, [_I64(number), builder.bitcast(pointer, byte), _I64(what), builder.sext(value, _I64), zero, zero, zero])
    return True


def _sleep(_context: Any, pointer: Any, index: Any, value: Any) -> Any:
    """Sleep until :func:`wake`, unless the int32 has another value; without sleep, let another thread run."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if not _futex(builder, builder.gep(args[0], [args[1]]), _WAIT, args[2]):
            builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(_I32, []), "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(types.CPointer(types.int32), types.int64, types.int32), code


def _wake(_context: Any, pointer: Any, index: Any) -> Any:
    """Wake all who sleep at an int32."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _futex(builder, builder.gep(args[0], [args[1]]), _WAKE, _I32(2**31 - 1))
        return context.get_dummy_value()

    return types.void(types.CPointer(types.int32), types.int64), code


def _system(builder: Any, name: str, *args: Any) -> Any:
    """Call ``int name(...)`` of the system's library."""
    kind = ir.FunctionType(_I32, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def _processor(_context: Any) -> Any:
    """The processor this thread is on, counted from 1; 0: unknown."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.add(_system(builder, "sched_getcpu"), _I32(1)) if _LINUX else _I32(0)

    return types.int32(), code


def _go_elsewhere(_context: Any, processor: Any) -> Any:
    """Put this thread on any processor but one, counted from 1, of those it may be on."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if not _LINUX:
            return context.get_dummy_value()
        kind = ir.ArrayType(_I64, _SET // 8)
        may, size, me = cgutils.alloca_once(builder, kind), _I64(_SET), _I32(0)
        known = builder.icmp_signed("==", _system(builder, "sched_getaffinity", me, size, may), _I32(0))
        with builder.if_then(known):
            other = cgutils.alloca_once_value(builder, builder.load(may))
            here = builder.zext(builder.sub(args[0], _I32(1)), _I64)
            word = builder.gep(other, [_I64(0), builder.lshr(here, _I64(6))])
            bit = builder.shl(_I64(1), builder.and_(here, _I64(63)))
            builder.store(builder.and_(builder.load(word), builder.not_(bit)), word)
            with builder.if_then(builder.icmp_signed("==", _system(builder, "sched_setaffinity", me, size, other), _I32(0))):
                _system(builder, "sched_setaffinity", me, size, may)  # refused where there is no other
        return context.get_dummy_value()

    return types.void(types.int32), code


call_integer: Any = intrinsic(_call_integer)
atomic_add: Any = intrinsic(_atomic_add)
atomic_exchange: Any = intrinsic(_atomic_exchange)
atomic_load: Any = intrinsic(_atomic_load)
atomic_store: Any = intrinsic(_atomic_store)
pause: Any = intrinsic(_pause)
processor: Any = intrinsic(_processor)
go_elsewhere: Any = intrinsic(_go_elsewhere)
patience: Any = intrinsic(_patience)
ticks: Any = intrinsic(_ticks)
sleep: Any = intrinsic(_sleep)
wake: Any = intrinsic(_wake)
