"""Target ``triton``: programs of dense tiles as Triton kernels, for NVIDIA GPUs; and ``triton_interpreted``, the same kernels run by Triton's
interpreter on the processor, slowly, for tests and for looking into them.

Triton is a tensor language, so this target takes the graph and not the loop tree (:class:`~..compiler.target.GraphTarget`). What has
no form in Triton is refused with the reason, and the interpreter of the library takes over.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from operator import or_
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


class _Variant:
    """A source, and what its calls need of their numbers: ``places`` of its last arguments among (batch, integers, batch strides, team strides)."""

    def __init__(self, source: TritonSource, integers: Sequence[str]) -> None:
        self.source = source
        self._integers = [integer(n) for n in integers]
        pointers = source.arguments[: len(source.inputs) + len(source.results)]
        names = ["batch", *self._integers, *(f"s_{p}" for p in pointers), *(f"t_{p}" for p in pointers)]
        self.places = [names.index(n) for n in source.arguments[len(pointers) + 1 :]]
        self._known: dict[tuple[int, ...], int] = {}

    def scratch(self, teams: int, integers: Sequence[int]) -> int:
        """Bytes of scratch memory of a call."""
        key = tuple(integers)
        if key not in self._known:
            self._known[key] = self.source.scratch.evaluate(dict(zip(self._integers, integers, strict=True)))
        return max(16, teams * self._known[key])


class TritonKernel:
    """A kernel ready to be called; operands as in :class:`~..compiler.target.Kernel`.

    Which operands the problems of a batch share decides how the text looks: there is one for each way that comes, made when it comes.
    """

    def __init__(self, problem: Problem, first: TritonSource, *, interpreted: bool) -> None:
        self.problem, self.source, self.interpreted = problem, first, interpreted
        self.checks: tuple[str, ...] = ()
        self._first = _Variant(first, problem.integers)
        self._variants = {(*problem.per_problem, *problem.own): self._first}

    def variant(self, batch: int, batch_strides: Sequence[int]) -> _Variant:
        """The text for a call: operands that problems have for themselves have a stride."""
        if batch <= 1:
            return self._first
        count = len(self.problem.per_problem)
        own = *map(or_, self.problem.per_problem, map(bool, batch_strides)), *map(bool, batch_strides[count:])
        found = self._variants.get(own)
        if found is None:
            made = source(replace(self.problem, per_problem=own[:count], own=own[count:]))
            found = self._variants[own] = _Variant(made, self.problem.integers)
        return found

    def scratch(self, batch: int, teams: int, team_size: int, integers: Sequence[int]) -> int:
        """Bytes of scratch memory of a call whose operands are shared as is usual."""
        return self._first.scratch(teams, integers)

    def shares(self, problems: int, summed: int, index: int | None, *, tiles: Any = None) -> tuple[int, int]:
        """(programs, 1) for so many problems: as many as there are tiles, but no more than run at once, as each has its scratch memory;
        ``summed`` bytes are results that programs sum up, each in memory of its own."""
        count = -(-problems // self.source.rows)
        most = INTERPRETED if self.interpreted else devices.multiprocessors() * max(1, WARPS[-1] // self.source.warps)
        return devices.summing(min(count, most), summed), 1

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
        operands = [*inputs, *outputs]
        device = operands[0].device
        if self.interpreted != (device.type == "cpu"):
            wanted = "the cpu" if self.interpreted else "an NVIDIA GPU"
            raise DataError(f"the kernel of {self.problem.graph.name} runs on {wanted}, and its tensors are on device {device}")
        scratch = devices.allocate((chosen.scratch(teams, integers),), torch.uint8, device, f"the kernel of {self.problem.graph.name}")
        numbers = batch, *integers, *batch_strides, *team_strides
        arguments = [*operands, scratch, *[numbers[n] for n in chosen.places]]
        run = interpret if self.interpreted else launch
        if "torch._dynamo" in sys.modules:  # inside of a compiled model it would look into Triton
            run = torch.compiler.disable(run)  # type: ignore[no-untyped-call]
        run(chosen.source, teams, arguments)


@dataclass(frozen=True)
class TritonTarget(BaseTarget):
    """Triton for NVIDIA GPUs. ``strict`` keeps products and sums apart, and products in single precision exact; ``tf32`` lets their factors be
    rounded. The loops that are shown are cut for the processor."""

    strict: bool = False
    machine: Machine = field(default_factory=machine)
    tf32: bool = False

    name: ClassVar[str] = "triton"
    suffix: ClassVar[str] = "py"
    dtypes: ClassVar[frozenset[str]] = frozenset(TYPES)
    interpreted: ClassVar[bool] = False

    def with_tf32(self) -> TritonTarget:
        """The target that may round factors of f32 products to TF32."""
        return replace(self, tf32=True)

    def emit(self, function: Any) -> str:
        """Raises CompileError: loops are not what this target takes."""
        raise CompileError(f"target {self.name} takes whole graphs, not loops")

    def build(self, function: Any, source: str) -> Any:
        """Raises CompileError, like :meth:`emit`."""
        raise CompileError(f"target {self.name} takes whole graphs, not loops")

    def emit_graph(self, problem: Problem) -> str:
        """The source of a kernel. Raises CompileError with a reason for what has no form in Triton."""
        return source(self._allowed(problem)).text

    def build_graph(self, problem: Problem, text: str) -> TritonKernel:
        """The callable kernel."""
        problem = self._allowed(problem)
        return TritonKernel(problem, replace(source(problem), text=text), interpreted=self.interpreted)

    def assembly(self, function: Any, source: str) -> str:
        """Raises CompileError: see :meth:`assembly_of_graph`."""
        raise CompileError(f"target {self.name} takes whole graphs, not loops")

    def assembly_of_graph(self, problem: Problem, text: str, arch: int = 90) -> str:
        """The PTX of a source. Raises CompileError if it does not compile."""
        return str(compiled(replace(source(self._allowed(problem)), text=text), arch).kernel.asm["ptx"])

    def _allowed(self, problem: Problem) -> Problem:
        return replace(problem, tf32=self.tf32)


class InterpretedTritonTarget(TritonTarget):
    """The kernels of target ``triton``, run by Triton's interpreter on tensors of the processor."""

    name = "triton_interpreted"
    interpreted = True
