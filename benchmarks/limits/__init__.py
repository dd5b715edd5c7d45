"""Hand-written limits: C with AVX-512 intrinsics for one computation each, to estimate what a fusing compiler can reach.

They are compiled at run time for the sizes of the contest, by the system's C compiler, and skipped where the processor
has no AVX-512. ``-ffast-math`` is used to compile but not to link: linked, it would change rounding in the whole process.
"""

from __future__ import annotations

import ctypes
import hashlib
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from torch import Tensor

from unspool.backends.build import find_compiler, processor
from unspool.compiler.diagnostics import CompileError

HERE = Path(__file__).parent
FLAGS = ("-O3", "-march=native", "-mprefer-vector-width=512", "-ffast-math", "-fopenmp", "-fPIC", "-w")


@cache
def missing() -> str:
    """Why the limits cannot run here; empty if they can."""
    features = set(processor().replace(":", " ").replace(";", " ").split())
    if not {"avx512f", "avx512dq", "avx512bw", "avx512vl"} <= features:
        return "the C limits need a processor with AVX-512"
    try:
        find_compiler()
    except CompileError as error:
        return f"the C limits need a C compiler: {error}"
    return ""


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="unspool-limits-")


@cache
def library(name: str, **defines: int) -> ctypes.CDLL:
    """``NAME.c`` compiled with these macros. Raises CompileError with what the compiler says."""
    text = repr((name, sorted(defines.items())))
    stem = Path(_folder().name) / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    macros = [f"-D{n}={v}" for n, v in defines.items()]
    compiler = find_compiler().split()
    for command in (
        [*compiler, *FLAGS, *macros, "-c", str(HERE / f"{name}.c"), "-o", f"{stem}.o"],
        [*compiler, "-shared", "-fopenmp", f"{stem}.o", "-o", f"{stem}.so", "-lm"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CompileError(f"{name}.c does not compile: {done.stderr.strip()}")
    return ctypes.CDLL(f"{stem}.so")


def address(tensor: Tensor) -> ctypes.c_void_p:
    """Where a contiguous tensor lies; it lives as long as the pointer."""
    if not tensor.is_contiguous():
        raise ValueError(f"a limit takes contiguous tensors, not one of strides {tensor.stride()}")
    found = ctypes.c_void_p(tensor.data_ptr())
    found.owner = tensor  # type: ignore[attr-defined]
    return found


def rows_per_tile(*sizes: int) -> int:
    """The largest number of rows, at most 28, that divides all sizes: accumulators of a register tile."""
    return max(r for r in range(1, 29) if all(s % r == 0 for s in sizes))
