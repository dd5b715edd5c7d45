"""Target ``c``: loop trees become C, compiled by the system's compiler, called through ctypes.

The C function of a kernel is::

    int NAME(int64_t batch, int64_t teams, int64_t team_size, void *const *pointers, const int64_t *batch_strides,
             const int64_t *team_strides, const int64_t *integers, void *workspace);
    int64_t NAME_workspace(int64_t teams, int64_t team_size, const int64_t *integers);

It returns 0 or the number of a failed run-time check. The interpreter lock is free while it runs.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ..compiler.diagnostics import DataError
from ..compiler.loops.tree import Function
from ..compiler.target import Capabilities, Machine
from .build import Built, assembly, build, machine
from .c_runtime import C_TYPES
from .emit import emit
from .workspace import workspace
from .writer import Source


class Arguments(threading.local):
    """The argument arrays of one kernel in one thread: filled anew by each call, never allocated again."""

    def __init__(self, operands: int, integers: int) -> None:
        self.pointers = (ctypes.c_void_p * max(1, operands))()
        self.batch_strides = (ctypes.c_int64 * max(1, operands))()
        self.team_strides = (ctypes.c_int64 * max(1, operands))()
        self.integers = (ctypes.c_int64 * max(1, integers))()
        self.at = tuple(ctypes.addressof(a) for a in (self.pointers, self.batch_strides, self.team_strides, self.integers))

    def fill(
        self, operands: Sequence[Any], batch_strides: Sequence[int], team_strides: Sequence[int], integers: Sequence[int]
    ) -> None:
        """Set them for a call."""
        count = len(operands)
        self.pointers[:count] = [t.data_ptr() for t in operands]
        self.batch_strides[:count] = list(batch_strides)
        self.team_strides[:count] = list(team_strides)
        if integers:
            self.integers[: len(integers)] = list(integers)


class BuiltKernel:
    """A kernel ready to be called; operands as in :class:`~..compiler.target.Kernel`, already checked by the caller."""

    def __init__(self, built: Built, operands: int, integers: int, checks: Sequence[str]) -> None:
        self.path = built.path
        self.checks = tuple(checks)
        self._kernel = built.kernel
        self._workspace = built.workspace
        self._arguments = Arguments(operands, integers)

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
        pointers, strides, steps, numbers = self._arguments.at
        scratch = workspace.get(self._workspace(teams, team_size, numbers))
        failed = self._kernel(batch, teams, team_size, pointers, strides, steps, numbers, scratch.data_ptr())
        if failed:
            raise DataError(self.checks[failed - 1])


@lru_cache(maxsize=256)
def _emit(function: Function, machine: Machine, strict: bool) -> Source:
    return emit(function, machine, strict=strict)


@dataclass(frozen=True)
class CTarget:
    """C on the processor. ``strict`` keeps products and sums apart (no fused multiply-add); ``machine`` sets the tiles."""

    strict: bool = False
    machine: Machine = field(default_factory=machine)
    name: str = "c"
    suffix: str = "c"

    @property
    def capabilities(self) -> Capabilities:
        """Every dtype; the half precisions as storage."""
        return Capabilities(self.machine, frozenset(C_TYPES))

    def supports(self, dtype: str) -> bool:
        """Whether kernels may hold elements of a dtype."""
        return dtype in C_TYPES

    def emit(self, function: Function) -> str:
        """The C source of a kernel. Raises CompileError with a reason for what it cannot express."""
        return _emit(function, self.machine, self.strict).text

    def assembly(self, function: Function, source: str) -> str:
        """The assembly that the C compiler makes of a source. Raises CompileError if it fails."""
        return assembly(source)

    def build(self, function: Function, source: str) -> BuiltKernel:
        """The callable kernel."""
        operands = sum(a.scope in ("input", "output") for a in function.arrays)
        checks = _emit(function, self.machine, self.strict).checks
        return BuiltKernel(build(source, function.name), operands, len(function.integers), checks)
