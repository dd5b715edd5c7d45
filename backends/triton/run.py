"""Building and launching Triton kernels: compiled by Triton for a GPU, or run by Triton's interpreter on the processor.

The two kinds of functions live side by side in one process: the text is loaded into a module once for each, whatever ``TRITON_INTERPRET``
says. In the interpreter the functions of libdevice are those of torch.
"""

from __future__ import annotations

import hashlib
import linecache
import re
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from ...compiler.diagnostics import CompileError
from ..cuda import launch as cuda_launch
from .source import TritonSource
from .values import POINTERS

#: Bytes of shared memory that a program may have, by architecture.
SHARED = {80: 163 << 10, 87: 163 << 10, 90: 227 << 10, 100: 227 << 10, 103: 227 << 10}
SHARED_OF_OTHERS = 99 << 10
#: Bytes a thread spills from which on other ways to compile the same tiles are not tried.
MANY = 128
_LOCK = threading.Lock()


def _module(text: str, name: str) -> ModuleType:
    """The text as a module. Triton asks Python for the source of its functions, which ``linecache`` knows."""
    file = f"<unspool triton {name} {hashlib.sha256(text.encode()).hexdigest()[:16]}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    module = ModuleType(f"unspool_triton_{name}")
    try:
        exec(compile(text, file, "exec"), module.__dict__)
    except (SyntaxError, NameError, AttributeError) as error:
        raise CompileError(f"the Triton source of {name} does not load: {error}") from error
    return module


@lru_cache(maxsize=256)
def _function(text: str, name: str) -> Any:
    """The function that Triton compiles."""
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction

    found = getattr(_module(text, name), name, None)
    if isinstance(found, InterpretedFunction):  # TRITON_INTERPRET was set when triton was imported
        found = JITFunction(found.fn)
    if found is None:
        raise CompileError(f"the Triton source has no function {name}")
    return found


@lru_cache(maxsize=256)
def _interpreted(text: str, name: str) -> Any:
    """The function that Triton's interpreter runs."""
    from triton.runtime.interpreter import InterpretedFunction

    module = _module(text, name)
    module.__dict__["libdevice"] = _Libdevice()
    return InterpretedFunction(getattr(module, name).fn)


class _Libdevice:
    """The functions of libdevice that kernels use, for the interpreter."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name in ("pow",):
            return lambda a, b: _applied(np.power, a, b)
        if name == "rint":
            return lambda x: _applied(np.rint, x)
        return lambda x: _applied(lambda data: getattr(torch, name)(torch.from_numpy(np.ascontiguousarray(data))).numpy(), x)


def _applied(function: Callable[..., Any], *tensors: Any) -> Any:
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    data = np.asarray(function(*[t.handle.data for t in tensors]))
    first = tensors[0]
    shaped = next((t for t in tensors if t.type.is_block()), None)
    kind = first.dtype if shaped is None else tl.block_type(first.dtype, list(data.shape))
    return tl.core.tensor(TensorHandle(data.astype(first.handle.data.dtype), first.dtype.scalar), kind)


@contextmanager
def _dots_of_numbers() -> Iterator[None]:
    """Triton's interpreter keeps bf16 as integers of 16 bits, and its ``dot`` multiplies these: here it gets their values."""
    import triton.language as tl
    from triton.runtime.interpreter import interpreter_builder as builder

    given = builder.create_dot

    def dot(a: Any, b: Any, *rest: Any) -> Any:
        a, b = (builder.create_fp_ext(x, tl.float32) if x.dtype.scalar == tl.bfloat16 else x for x in (a, b))
        return given(a, b, *rest)

    builder.create_dot = dot
    try:
        yield
    finally:
        builder.create_dot = given


def interpret(source: TritonSource, grid: int, arguments: Sequence[Any]) -> None:
    """Run on tensors of the processor, one program after another. Raises CompileError for what the interpreter cannot run."""
    from triton.runtime.errors import InterpreterError

    function = _interpreted(source.text, source.name)
    with _LOCK, _dots_of_numbers(), np.errstate(all="ignore"):  # it patches triton.language while it runs; padding may hold anything
        try:
            function[(grid,)](*arguments)
        except InterpreterError as error:
            raise CompileError(f"Triton's interpreter cannot run {source.name}: {error}") from error


@dataclass(frozen=True)
class Binary:
    """What Triton makes of a source: ``kernel`` (its ``asm`` has the PTX and the binary), the ``options`` chosen, 4-byte ``registers`` of a
    thread, bytes of its registers that are spilled, bytes of shared memory."""

    kernel: Any
    options: dict[str, Any]
    registers: int
    spilled: int
    shared: int


def compiled(source: TritonSource, arch: int, *, shared: int = 0, aligned: bool = True) -> Binary:
    """A source compiled for an architecture (80, 90, ...), in the first way that spills no registers and takes no more than ``shared`` bytes
    of shared memory (default: what the architecture has), if need be with fewer problems in a tile; else in the one that spills least.
    Needs no GPU. ``aligned``: pointers are multiples of 16. Raises CompileError if it does not compile or never fits."""
    limit = shared or SHARED.get(arch, SHARED_OF_OTHERS)
    best: Binary | None = None
    least = 0
    tried: TritonSource | None = source
    while tried is not None:
        for n, options in enumerate(tried.candidates):
            found = _compiled(tried, arch, options, aligned)
            least = min(least or found.shared, found.shared)
            if found.shared <= limit and (best is None or found.spilled < best.spilled):
                best = found
            if best is not None and not best.spilled:
                return best
            if n and found.spilled > MANY:
                break  # other ways will not do: fewer problems at a time
        tried = tried.smaller
    if best is None:
        raise CompileError(f"the Triton kernel {source.name} takes {least} bytes of shared memory, and sm_{arch} has {limit}")
    return best


def _compiled(source: TritonSource, arch: int, options: dict[str, Any], aligned: bool) -> Binary:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.compiler.errors import CompilationError

    operands = (*source.inputs, *source.results)
    kinds = [*[POINTERS[o.type.dtype] for o in operands], "*u8"]
    attrs = {(n,): [["tt.divisibility", 16]] for n in range(len(kinds))} if aligned else {}
    kinds += ["i64"] * (len(source.arguments) - len(kinds))
    signature = dict(zip(source.arguments, kinds, strict=True))
    made = ASTSource(fn=_function(source.text, source.name), signature=signature, constexprs={}, attrs=attrs)
    try:
        kernel = triton.compile(made, target=GPUTarget("cuda", arch, 32), options=options)
    except (CompilationError, RuntimeError) as error:
        raise CompileError(f"Triton does not compile {source.name} for sm_{arch}: {error}") from error
    registers, spilled = _resources(kernel.asm["cubin"])
    return Binary(kernel, options, registers, spilled, int(kernel.metadata.shared))


def _resources(cubin: bytes) -> tuple[int, int]:
    """Registers of a thread and bytes of its stack, where spilled ones go, as the tool that comes with Triton tells."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        told = subprocess.run([tool, "--dump-resource-usage", file], capture_output=True, text=True, check=False).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", told)
    return (int(found[1]), int(found[2])) if found else (0, 0)


@lru_cache(maxsize=256)
def _loaded(source: TritonSource, index: int, aligned: bool) -> Any:
    """The kernel for one device."""
    properties: Any = torch.cuda.get_device_properties(index)
    arch = 10 * properties.major + properties.minor
    return compiled(source, arch, shared=int(properties.shared_memory_per_block_optin), aligned=aligned).kernel


def launch(source: TritonSource, grid: int, arguments: Sequence[Any]) -> None:
    """Launch on the current stream of the tensors' device. The first launch compiles, which takes seconds; Triton keeps what it compiles in
    its own cache on disk. Raises CompileError if the kernel does not fit the device."""
    from triton.runtime.errors import OutOfResources

    index = arguments[0].get_device()
    aligned = all(x.data_ptr() % 16 == 0 for x in arguments if isinstance(x, torch.Tensor))
    with cuda_launch.on_device(index):
        try:
            start = _loaded(source, index, aligned)[(grid, 1, 1)]  # loads it, once
        except OutOfResources as error:
            raise CompileError(f"the Triton kernel {source.name} does not fit cuda:{index}: {error}") from error
        start(*arguments, stream=cuda_launch.stream(index))
