"""Target ``triton``: programs of dense tiles as Triton kernels, for NVIDIA GPUs; and ``triton_interpreted``, the same kernels run by Triton's
interpreter on the processor, slowly, for tests and for looking into them.

Triton is a tensor language, so this target takes the graph and not the loop tree (:class:`~..compiler.target.GraphTarget`). What has
no form in Triton is refused with the reason, and the interpreter of the library takes over.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch

from ...compiler.diagnostics import CompileError, DataError
from ...compiler.graph.problem import Problem
from ...compiler.target import Machine
from .. import devices
from ..base_target import BaseTarget
from ..build import machine
from .budget import WARPS
from .emit import integer
from .run import compiled, interpret, launch
from .source import TritonSource, source
from .values import TYPES

#: Programs that the interpreter's kernels are shared among.
INTERPRETED = 2


class TritonKernel:
    """A kernel ready to be called; operands as in :class:`~..compiler.target.Kernel`.

    Which operands the problems of a batch share decides how the text looks: there is one for each way that comes, made when it comes.
    """

    def __init__(self, problem: Problem, first: TritonSource, *, interpreted: bool) -> None:
        self.problem, self.source, self.interpreted = problem, first, interpreted
        self.checks: tuple[str, ...] = ()
        self._sources = {(problem.per_problem, problem.own): first}

    def variant(self, batch: int, batch_strides: Sequence[int]) -> TritonSource:
        """The source for a call: operands that problems have for themselves have a stride."""
        problem = self.problem
        if batch > 1:
            count = len(problem.per_problem)
            own = tuple([mine or stride != 0 for mine, stride in zip(problem.per_problem, batch_strides, strict=False)])
            problem = replace(problem, per_problem=own, own=tuple([s != 0 for s in batch_strides[count:]]))
        key = problem.per_problem, problem.own
        if key not in self._sources:
            self._sources[key] = source(problem)
        return self._sources[key]

    def scratch(self, batch: int, teams: int, team_size: int, integers: Sequence[int]) -> int:
        """Bytes of scratch memory of a call whose operands are shared as is usual."""
        return _scratch(self.source, teams, self._integers(integers))

    def shares(self, problems: int, summed: int, index: int | None, *, tiles: Any = None) -> tuple[int, int]:
        """(programs, 1) for so many problems: as many as there are tiles, but no more than run at once, as each has its scratch memory;
        ``summed`` bytes are results that programs sum up, each in memory of its own."""
        count = -(-problems // self.source.rows)
        most = INTERPRETED if self.interpreted else devices.multiprocessors() * max(1, WARPS[-1] // self.source.warps)
        return devices.summing(min(count, most), summed), 1

    def _integers(self, integers: Sequence[int]) -> dict[str, int]:
        return dict(zip(self.problem.integers, integers, strict=True))

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
        """Run. Raises DataError for tensors on another device than the kernel runs on."""
        chosen = self.variant(batch, batch_strides)
        known = self._integers(integers)
        operands = [*inputs, *outputs]
        device = operands[0].device
        if self.interpreted != (device.type == "cpu"):
            wanted = "the cpu" if self.interpreted else "an NVIDIA GPU"
            raise DataError(f"the kernel of {self.problem.graph.name} runs on {wanted}, and its tensors are on device {device}")
        numbers = {"batch": batch, **{integer(n): value for n, value in known.items()}}
        for pointer, stride, step in zip(chosen.arguments, batch_strides, team_strides, strict=False):
            numbers[f"s_{pointer}"], numbers[f"t_{pointer}"] = stride, step
        size, what = _scratch(chosen, teams, known), f"the kernel of {self.problem.graph.name}"
        scratch = devices.allocate((size,), torch.uint8, device, what)
        arguments = [*operands, scratch, *[numbers[n] for n in chosen.arguments[len(operands) + 1 :]]]
        run = interpret if self.interpreted else launch
        if "torch._dynamo" in sys.modules:  # inside of a compiled model it would look into Triton
            run = torch.compiler.disable(run)  # type: ignore[no-untyped-call]
        run(chosen, teams, arguments)


def _scratch(chosen: TritonSource, teams: int, integers: dict[str, int]) -> int:
    return max(16, teams * chosen.scratch.evaluate({integer(n): value for n, value in integers.items()}))


@dataclass(frozen=True)
class TritonTarget(BaseTarget):
    """Triton for NVIDIA GPUs. ``strict`` keeps products and sums apart, and products in single precision exact. The loops
    that are shown are cut for the processor."""

    strict: bool = False
    machine: Machine = field(default_factory=machine)

    name: ClassVar[str] = "triton"
    suffix: ClassVar[str] = "py"
    dtypes: ClassVar[frozenset[str]] = frozenset(TYPES)
    interpreted: ClassVar[bool] = False

    def emit(self, function: Any) -> str:
        """Raises CompileError: loops are not what this target takes."""
        raise CompileError(f"target {self.name} takes whole graphs, not loops")

    def build(self, function: Any, source: str) -> Any:
        """Raises CompileError, like :meth:`emit`."""
        raise CompileError(f"target {self.name} takes whole graphs, not loops")

    def emit_graph(self, problem: Problem) -> str:
        """The source of a kernel. Raises CompileError with a reason for what has no form in Triton."""
        return source(problem).text

    def build_graph(self, problem: Problem, text: str) -> TritonKernel:
        """The callable kernel."""
        return TritonKernel(problem, replace(source(problem), text=text), interpreted=self.interpreted)

    def assembly(self, function: Any, source: str) -> str:
        """Raises CompileError: see :meth:`assembly_of_graph`."""
        raise CompileError(f"target {self.name} takes whole graphs, not loops")

    def assembly_of_graph(self, problem: Problem, text: str, arch: int = 90) -> str:
        """The PTX of a source. Raises CompileError if it does not compile."""
        return str(compiled(replace(source(problem), text=text), arch).kernel.asm["ptx"])


class InterpretedTritonTarget(TritonTarget):
    """The kernels of target ``triton``, run by Triton's interpreter on tensors of the processor."""

    name = "triton_interpreted"
    interpreted = True
