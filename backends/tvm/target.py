"""Target ``tvm``: loop trees become TVMScript, compiled by TVM and LLVM. A second generator beside :mod:`.writer`'s, for comparison.

Every dtype, the half precisions as storage. The problems of a batch are split over TVM's threads, a problem runs in one. Kernels are kept in
memory, not on disk.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ...compiler.diagnostics import DataError
from ...compiler.loops.tree import Function
from ..c_runtime import C_TYPES
from ..cpu_target import CpuTarget
from ..rooms import Rooms
from ..workspace import workspace
from .emit import TvmSource, emit

if TYPE_CHECKING:
    from . import tir as tvm_tir

_WORD = re.compile(r"(?<!def )(?<!\.)\bus_\w+(?=\()")
_lock = threading.RLock()


class _Process:
    """Whether this process was forked: the threads of TVM's pool do not exist in a child, which would wait for them for ever."""

    forked = False

    @classmethod
    def note_fork(cls) -> None:
        """Called in a child."""
        global _lock
        cls.forked, _lock = True, threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Process.note_fork)


class TvmKernel:
    """A kernel ready to be called; operands as in :class:`~..compiler.target.Kernel`, already checked by the caller."""

    def __init__(self, built: tvm_tir.Built, source: TvmSource) -> None:
        self.checks = source.checks
        self.source = source
        self._built = built
        self._entry: Callable[..., Any] = built.function(source.name)
        self._rooms = Rooms(source)

    def scratch(self, batch: int, teams: int, team_size: int, integers: Sequence[int]) -> int:
        """Bytes of scratch memory of a call. A team is one thread."""
        return 64 + teams * sum(self._rooms.of(batch, integers))

    def __call__(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        batch: int,
        batch_strides: Sequence[int],
        team_strides: Sequence[int],
        integers: Sequence[int],
        teams: int,
        team_size: int,
    ) -> None:
        """Run. Raises DataError when a run-time check fails."""
        teams = 1 if _Process.forked else teams
        problem, thread = self._rooms.of(batch, integers)
        scratch = workspace.get(self.scratch(batch, teams, 1, integers))
        failed = ctypes.c_int32(0)
        args: list[Any] = [batch, teams, int(self.source.tiled(batch, tuple(batch_strides)))]
        for tensor, stride, step in zip((*inputs, *outputs), batch_strides, team_strides, strict=True):
            args += [ctypes.c_void_p(tensor.data_ptr()), stride, step]
        place = ctypes.c_void_p((scratch.data_ptr() + 63) // 64 * 64)
        self._entry(*args, *integers, place, problem, thread, ctypes.c_void_p(ctypes.addressof(failed)))
        if failed.value:
            raise DataError(self.checks[failed.value - 1])


@lru_cache(maxsize=256)
def _build(text: str, strict: bool) -> tvm_tir.Built:
    from . import library as tvm_library
    from . import tir as tvm_tir

    words = tvm_library.words(set(_WORD.findall(text)), "llvm", strict)
    return tvm_tir.Built(tvm_tir.parse(text, words), tvm_tir.host())


def translated(text: str, strict: bool) -> str:
    """The CUDA C++ that TVM makes of a script for a GPU (:mod:`.gpu`). Raises CompileError."""
    from . import library as tvm_library
    from . import tir as tvm_tir

    with _lock:
        words = tvm_library.words(set(_WORD.findall(text)), "cuda", strict)
        return tvm_tir.Built(tvm_tir.parse(text, words), tvm_tir.cuda()).device_text()


class TvmTarget(CpuTarget[TvmSource]):
    """TVM on the processor. Every dtype; the half precisions as storage."""

    name = "tvm"
    suffix = "py"
    dtypes = frozenset(C_TYPES)

    def source(self, function: Function) -> TvmSource:
        """The TVMScript, with its run-time checks."""
        return emit(function, strict=self.strict)

    def assembly(self, function: Function, source: str) -> str:
        """The assembly of a source. Raises CompileError if it does not compile."""
        with _lock:
            return _build(source, self.strict).assembly()

    def build(self, function: Function, source: str) -> TvmKernel:
        """The callable kernel."""
        with _lock:
            built = _build(source, self.strict)
        return TvmKernel(built, replace(self.printed(function), text=source))
