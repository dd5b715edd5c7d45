"""Target ``numba``: loop trees become Python, compiled by numba and LLVM. Needs packages of pip alone, and no C compiler.

The interface of a kernel is that of target ``c`` (:mod:`..cpu`); its threads are those of the OpenMP runtime that torch has loaded.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...compiler.diagnostics import DataError
from ...compiler.loops.tree import Function
from .. import openmp
from ..arguments import Arguments
from ..base_target import operands
from ..cpu_target import CpuTarget
from ..rooms import Rooms
from ..workspace import workspace
from .build import Loaded, assembly, build
from .emit import CALL, MEETING, NumbaSource, emit
from .expressions import DTYPES


class NumbaKernel:
    """A kernel ready to be called; operands as in :class:`~..compiler.target.Kernel`, already checked by the caller."""

    def __init__(self, loaded: Loaded, source: NumbaSource, operands: int) -> None:
        self.path = loaded.path
        self.checks = source.checks
        self._loaded = loaded
        self._alone = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(loaded.address)
        self.source = source
        self._operands = operands
        self._arguments = Arguments(operands, len(source.integers))
        self._rooms = Rooms(source)

    def scratch(self, batch: int, teams: int, team_size: int, integers: Sequence[int]) -> int:
        """Bytes of scratch memory of a call."""
        problem, thread = self._rooms.of(batch, integers)
        return 64 + (teams * MEETING if self.source.meets else 0) + teams * problem + teams * team_size * thread

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
        self._arguments.fill((*inputs, *outputs), batch_strides, team_strides, integers)
        threads = teams * team_size
        pool = openmp.runtime() if threads > 1 else None
        if pool is None:
            teams = team_size = threads = 1
        problem, thread = self._rooms.of(batch, integers)
        meeting = teams * MEETING if self.source.meets else 0
        scratch = workspace.get(self.scratch(batch, teams, team_size, integers))
        place = (scratch.data_ptr() + 63) // 64 * 64
        if meeting:
            ctypes.memset(place, 0, meeting)
        call = (ctypes.c_int64 * (len(CALL) + MEETING // 8))(batch, teams, team_size, *self._arguments.at, place, problem, thread)
        call[13] = ctypes.addressof(call) + 8 * len(CALL)
        if pool is None:
            self._alone(ctypes.addressof(call))
        else:
            call[10], call[11] = pool.get_num_threads, pool.get_thread_num
            pool.parallel(self._loaded.address, ctypes.addressof(call), threads, 0)
        if call[12]:
            raise DataError(self.checks[call[12] - 1])


class NumbaTarget(CpuTarget[NumbaSource]):
    """Numba on the processor. Every dtype but the half precisions."""

    name = "numba"
    suffix = "py"
    dtypes = DTYPES

    def source(self, function: Function) -> NumbaSource:
        """The Python source, with its run-time checks."""
        return emit(function, self.machine, strict=self.strict)

    def assembly(self, function: Function, source: str) -> str:
        """The assembly of a source. Raises CompileError if it does not compile."""
        return assembly(self._made(function, source))

    def build(self, function: Function, source: str) -> NumbaKernel:
        """The callable kernel."""
        made = self._made(function, source)
        return NumbaKernel(build(made), made, operands(function))

    def _made(self, function: Function, text: str) -> NumbaSource:
        return replace(self.printed(function), text=text)
