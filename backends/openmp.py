"""The OpenMP runtime that torch has loaded: kernels that numba compiles run in the threads of torch's own pool.

``GOMP_parallel(function, data, threads, flags)`` is what gcc compiles a parallel region to; LLVM's and Intel's runtimes have it, too. It calls
``function(data)`` in as many threads as it can give.
"""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class OpenMP:
    """``parallel(function, data, threads, 0)``, and the addresses of ``omp_get_num_threads`` and ``omp_get_thread_num``."""

    parallel: Any
    get_num_threads: int
    get_thread_num: int


class _Process:
    """Whether this process was forked: the threads of OpenMP's pool do not exist in a child, which would wait for them for ever."""

    forked = False

    @classmethod
    def note_fork(cls) -> None:
        """Called in a child."""
        cls.forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Process.note_fork)


def _libraries() -> Iterator[ctypes.CDLL]:
    """Torch's libraries, whose symbols include those of the runtime they are linked with, then the whole process."""
    for path in sorted((Path(torch.__file__).parent / "lib").glob("*torch_cpu.*")):
        try:
            yield ctypes.CDLL(str(path))
        except OSError:
            continue  # not a library of this system
    if os.name == "posix":
        yield ctypes.CDLL(None)


@lru_cache(maxsize=1)
def _find() -> OpenMP | None:
    for library in _libraries():
        try:
            parallel, count, number = library["GOMP_parallel"], library["omp_get_num_threads"], library["omp_get_thread_num"]
        except AttributeError:
            continue
        parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        parallel.restype = None
        return OpenMP(parallel, *(ctypes.cast(f, ctypes.c_void_p).value or 0 for f in (count, number)))
    warnings.warn("no OpenMP runtime found in this process: kernels of target numba run in one thread", stacklevel=2)
    return None


def runtime() -> OpenMP | None:
    """The runtime; None (said once) where there is none, and in a forked child, where its threads are gone."""
    return None if _Process.forked else _find()
