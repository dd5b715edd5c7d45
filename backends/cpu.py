"""Target ``c``: loop trees become C, compiled by the system's compiler, called through ctypes.

The C function of a kernel is::

    int NAME(int64_t batch, int64_t teams, int64_t team_size, void *const *pointers, const int64_t *batch_strides,
             const int64_t *team_strides, const int64_t *integers, void *workspace);
    int64_t NAME_workspace(int64_t batch, int64_t teams, int64_t team_size, const int64_t *integers);

It returns 0 or the number of a failed run-time check. The interpreter lock is free while it runs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from ..compiler.diagnostics import DataError
from ..compiler.loops.tree import Function
from .bound import Prepared
from .build import Built, assembly, build
from .c_runtime import C_TYPES
from .cpu_target import CpuTarget
from .emit import emit
from .statements import Source
from .workspace import workspace


class BuiltKernel:
    """A kernel ready to be called; operands as in :class:`~..compiler.target.Kernel`, already checked by the caller."""

    def __init__(self, built: Built, checks: Sequence[str]) -> None:
        self.path = built.path
        self.checks = tuple(checks)
        self._kernel = built.kernel
        self._workspace = built.workspace

    def scratch(self, batch: int, teams: int, team_size: int, integers: Sequence[int]) -> int:
        """Bytes of scratch memory of a call."""
        numbers = (ctypes.c_int64 * max(1, len(integers)))(*integers)
        return int(self._workspace(batch, teams, team_size, ctypes.addressof(numbers)))

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
        self.prepared(batch, batch_strides, team_strides, integers, teams, team_size)((*inputs, *outputs), ())

    def prepared(
        self, batch: int, batch_strides: Sequence[int], team_strides: Sequence[int], integers: Sequence[int], teams: int, team_size: int
    ) -> Prepared:
        """A call whose numbers stay as they are, but for integers by place that it is given: a function of inputs and outputs and of these, for one
        thread, which raises DataError when a run-time check fails."""
        run = self.with_numbers(batch_strides, team_strides, integers, batch, teams, team_size)

        def call(operands: Sequence[Any], changed: Sequence[tuple[int, int]]) -> None:
            failed = run(operands, changed)
            if failed:
                raise DataError(self.checks[failed - 1])

        return call

    def with_numbers(
        self,
        batch_strides: Sequence[int],
        team_strides: Sequence[int],
        integers: Sequence[int],
        batch: int = 1,
        teams: int = 1,
        team_size: int = 1,
    ) -> Callable[..., int]:
        """A call as a function of inputs and outputs, and of integers that are not as before, by place: the number of the first run-time check that
        failed, or 0."""
        strides, steps, numbers = [(ctypes.c_int64 * max(1, len(found)))(*found) for found in (batch_strides, team_strides, integers)]
        at = ctypes.addressof(numbers)
        size = self._workspace(batch, teams, team_size, at)
        kernel, room = self._kernel, ctypes.c_void_p * max(1, len(batch_strides))

        def run(operands: Sequence[Any], changed: Sequence[tuple[int, int]] = ()) -> int:
            nonlocal size
            if changed:
                for n, value in changed:
                    numbers[n] = value
                size = self._workspace(batch, teams, team_size, at)
            scratch = workspace.get(size) if size else None
            place = None if scratch is None else scratch.data_ptr()
            return int(kernel(batch, teams, team_size, room(*[t.data_ptr() for t in operands]), strides, steps, numbers, place))

        return run


class CTarget(CpuTarget[Source]):
    """C on the processor, compiled by the system's compiler. Every dtype; the half precisions as storage."""

    name = "c"
    suffix = "c"
    dtypes = frozenset(C_TYPES)

    def source(self, function: Function) -> Source:
        """The C source, with its run-time checks."""
        return emit(function, self.machine, strict=self.strict)

    def assembly(self, function: Function, source: str) -> str:
        """The assembly that the C compiler makes of a source. Raises CompileError if it fails."""
        return assembly(source)

    def build(self, function: Function, source: str) -> BuiltKernel:
        """The callable kernel."""
        built = build(source, function.name)
        return BuiltKernel(built, self.printed(function).checks)
