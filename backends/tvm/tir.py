"""The one place that touches the package ``tvm``: a small vocabulary of values and statements, TVMScript text to kernels.

TVM renames its modules and nodes every few versions, so everything else speaks in the words of this file, and the version is pinned
(``unspool[tvm]``). What it does not do as one would think is dealt with here, too:

- Its simplifier takes ``x != x`` for false and ``0 * x`` for 0, of real numbers also. So it is not among the passes that a kernel goes through
  (:func:`_passes`), and values are made by the constructors of nodes, which leave an expression as it is.
- Its ``!=`` is false where a number is NaN (LLVM's ordered comparison), and truth values cannot be compared: :func:`differ`.
- It lets LLVM fuse products and sums. :func:`apart` keeps them apart.
- Its passes put the value of a named expression (``T.let``) where the name stands, over and over: values used twice go through variables, :func:`bind`.
- Its pass ``CanonicalizeLoop`` gets nested loops wrong whose start follows another loop that does not start at 0. Its code
  generators take starts and steps as they are, so the pass is left out.
- Its CUDA has 15 digits behind the point of an f64: :func:`exact`.
- It puts arrays local to a loop on the heap; :func:`local` marks them as the stack's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from math import isfinite
from struct import pack, unpack
from typing import Any

import tvm
from tvm import tirx
from tvm.script import tirx as script
from tvm.script.parser.core.entry import _default_globals
from tvm.tirx import transform
from tvm.tirx.compilation_pipeline import finalize_host_passes, register_tir_pipeline

from ...compiler.diagnostics import CompileError
from .text import KINDS

#: A scalar expression or an array of TVM.
Value = Any

#: Keeps an array where it is.
_ON_STACK = {"disable_lower_builtin": True}

# -- values ------------------------------------------------------------------------------------------------------------------


def const(value: complex, dtype: str) -> Value:
    """A literal."""
    return tirx.const(value, KINDS[dtype])


def exact(value: float) -> Value:
    """A literal f64 in CUDA C++: TVM writes 15 digits behind the point, and 1e-20 as 0. Others go by their bits."""
    if float(f"{value:.15f}") == value or not isfinite(value):
        return const(value, "f64")
    (bits,) = unpack("q", pack("d", value))
    return extern("f64", "__longlong_as_double", tirx.IntImm("int64", bits))


def cast(value: Value, dtype: str) -> Value:
    """A value in another dtype, as C converts it."""
    if isinstance(value, (bool, int, float)):
        return tirx.const(value, KINDS[dtype])
    return value if kind(value) == KINDS[dtype] else tirx.Cast(KINDS[dtype], value)


def kind(value: Value) -> str:
    """TVM's name of a value's dtype."""
    return str(value.ty.dtype)


def reinterpret(value: Value, dtype: str) -> Value:
    """The same bits as another dtype of the same width."""
    return script.reinterpret(KINDS[dtype], value)


#: Arithmetic without folding. Division of integers is C's.
add, sub, mul, div, remainder = tirx.Add, tirx.Sub, tirx.Mul, tirx.Div, tirx.Mod
less, at_most, equal = tirx.LT, tirx.LE, tirx.EQ
both, either, negation = tirx.And, tirx.Or, tirx.Not


def differ(a: Value, b: Value) -> Value:
    """``a != b``, true where one is NaN; also of truth values."""
    if kind(a) == "bool":
        a, b = cast(a, "u8"), cast(b, "u8")
    return tirx.Not(tirx.EQ(a, b))


def select(condition: Value, a: Value, b: Value) -> Value:
    """``a`` where the condition holds, else ``b``; both are computed."""
    return tirx.Select(condition, a, b)


def intrinsic(name: str, *args: Value) -> Value:
    """A function that TVM has: ``sqrt``, ``floor``, ``ceil``, ``nearbyint``, ``fabs``, ``isnan``, ``shift_left``, ``bitwise_and``, ..."""
    return getattr(script, name)(*args)


def extern(dtype: str, name: str, *args: Value) -> Value:
    """A function of the C library, or of CUDA."""
    return script.call_pure_extern(KINDS[dtype], name, *args)


def apart(value: Value, dtype: str, device: str) -> Value:
    """A product that is rounded before anything is added to it."""
    if device == "cuda":
        factors = (value.a, value.b) if isinstance(value, tirx.Mul) else (value, const(1, dtype))
        return extern(dtype, "__fmul_rn" if dtype == "f32" else "__dmul_rn", *factors)
    return script.call_llvm_pure_intrin(KINDS[dtype], "llvm.arithmetic.fence", value)


# -- statements, put where the parser is -------------------------------------------------------------------------------------


def bind(value: Value) -> Value:
    """A value computed here, kept in a variable."""
    if isinstance(value, (tvm.ir.Var, tirx.IntImm, tirx.FloatImm)):
        return value
    truth = kind(value) == "bool"
    held = script.alloc_buffer((1,), "uint8" if truth else kind(value), scope="local", annotations=_ON_STACK)
    script.buffer_store(held, cast(value, "u8") if truth else value, [0])
    return differ(held[0], const(0, "u8")) if truth else held[0]


def meta(value: object) -> object:
    """What the parser is to put under a name as it is."""
    return script.meta_var(value)


@contextmanager
def when(condition: Value) -> Iterator[None]:
    """Statements under a condition."""
    with script.If(condition), script.Then():
        yield


def loop(lower: Value, upper: Value, step: int = 1) -> Any:
    """A serial loop with a 64-bit counter."""
    return script.serial(_index(lower), _index(upper), step=step if step > 1 else None)


def parallel(lower: Value, upper: Value) -> Any:
    """A loop over the threads of TVM's pool."""
    return script.parallel(_index(lower), _index(upper))


def threads(count: int) -> Any:
    """The threads of a block."""
    return script.launch_thread("threadIdx.x", _index(count))


def _index(value: Value) -> Value:
    return cast(value, "i64")


def local(shape: Sequence[int], dtype: str) -> Value:
    """An array on the stack."""
    return script.alloc_buffer(shape, KINDS[dtype], scope="local", annotations=_ON_STACK)


def array(data: Value, shape: Sequence[Value], dtype: str, offset: Value = 0) -> Value:
    """The array that begins ``offset`` elements behind a pointer."""
    return script.decl_buffer(shape, KINDS[dtype], data=data, elem_offset=_index(offset))


def flat(array: Value, size: Value) -> Value:
    """An array with one axis."""
    return script.decl_buffer((size,), array.ty.dtype, data=array.data)


def store(array: Value, value: Value, index: Sequence[Value]) -> None:
    """``array[index] = value``."""
    script.buffer_store(array, value, list(index))


# -- text to kernels ---------------------------------------------------------------------------------------------------------


def version() -> str:
    """The version of TVM."""
    return str(tvm.__version__)


def parse(text: str, words: Mapping[str, Callable[..., Any]]) -> Any:
    """The module in a text of TVMScript, whose functions may use ``words``. Raises CompileError."""
    try:
        return tvm.script.from_source(text, extra_vars={**_default_globals(), **words})
    except (tvm.error.DiagnosticError, SyntaxError, ValueError, TypeError) as error:
        raise CompileError(f"TVM does not take the source: {error}") from error


class Built:
    """A compiled module."""

    def __init__(self, module: Any, target: Any) -> None:
        try:
            self._made = tirx.build(module, target=target, pipeline=_pipeline())
        except tvm.error.InternalError as error:
            raise CompileError(f"TVM cannot compile the source: {error}") from error

    def function(self, name: str) -> Callable[..., Any]:
        """An entry; pointers are passed as ``ctypes.c_void_p``."""
        found: Callable[..., Any] = self._made[name]
        return found

    def assembly(self) -> str:
        """The assembly."""
        return str(self._made.inspect_source("asm"))

    def device_text(self) -> str:
        """The source for the device."""
        return str(self._made.imports[0].inspect_source())


@cache
def host() -> Any:
    """This processor."""
    return tvm.target.Target({"kind": "llvm", "mcpu": tvm.get_global_func("target.llvm_get_system_cpu")()})


@cache
def cuda() -> Any:
    """A GPU, of any kind since 2020. Raises CompileError if TVM was built without its generator of CUDA."""
    if tvm.get_global_func("target.build.cuda", allow_missing=True) is None:
        raise CompileError(f"this build of TVM ({version()}) has no generator of CUDA: pip install 'unspool[tvm]'")
    kinds = {
        "kind": "cuda",
        "arch": "sm_80",
        "max_threads_per_block": 1024,
        "thread_warp_size": 32,
        "max_shared_memory_per_block": 49152,
    }
    return tvm.target.Target(kinds)


@cache
def _pipeline() -> str:
    """The name of the passes that kernels go through, entered into TVM's table."""
    register_tir_pipeline("unspool", lambda: (_passes(), finalize_host_passes, _device_passes))
    return "unspool"


def _device_passes() -> Any:
    """The end of the way of what runs on a GPU."""
    return tvm.transform.Sequential([transform.LowerWarpMemory(), transform.LowerIntrin()])


def _passes() -> Any:
    """What turns loops over arrays into code, and nothing that rewrites expressions."""
    return tvm.transform.Sequential(
        [
            transform.FlattenBuffer(),
            transform.VectorizeLoop(True),
            transform.UnrollLoop(),
            transform.VerifyMemory(),
            transform.AnnotateEntryFunc(),
            transform.SplitHostDevice(),
            transform.MakePackedAPI(),
        ]
    )
