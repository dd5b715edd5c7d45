"""What the compiler asks of a back end. It gets a target by injection and never imports one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

#: Problems in a batch tile of a processor; of a GPU, whose many blocks of threads each want one.
TILE, GPU_TILE = 16, 8


@dataclass(frozen=True)
class Machine:
    """What schedules and tiles are cut for: bytes and number of vector registers, cores, and bytes of the data caches
    (``l1`` and ``l2`` of one core, ``l3`` shared by all); how many
    problems of a batch run side by side."""

    vector_bytes: int
    registers: int
    cores: int = 2
    l1: int = 32 << 10
    l2: int = 1 << 20
    l3: int = 32 << 20
    problems: int = TILE

    def lanes(self, dtype: str) -> int:
        """Elements of a vector."""
        return max(1, self.vector_bytes // (8 if dtype == "f64" else 4))

    @property
    def accumulators(self) -> int:
        """Vector registers that may hold sums."""
        return 24 if self.registers >= 32 else 12


@dataclass(frozen=True)
class Gpu(Machine):
    """A GPU. ``cores`` are its multiprocessors; ``threads`` of a block at most; bytes of shared memory that a block may have and that a
    multiprocessor has for all of its blocks; 4-byte registers of a thread at most; whether products of f32 may be rounded to ``tf32`` first."""

    threads: int = 256
    shared_bytes: int = 99 << 10
    shared_total: int = 164 << 10
    thread_registers: int = 255
    problems: int = GPU_TILE
    tf32: bool = False


@dataclass(frozen=True)
class Capabilities:
    """``machine``: what it generates code for; ``dtypes``: element types that kernels may hold; ``debug``: whether kernels check what they
    read and compute, for which they keep the program's order and places."""

    machine: Machine
    dtypes: frozenset[str]
    debug: bool = False


class Kernel(Protocol):
    """A built kernel. Operands are torch tensors; element ``e`` of problem ``p`` for team ``t`` lies at
    ``pointer + p * batch_stride + t * team_stride`` (strides in elements, one per operand, inputs then outputs)."""

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


class Target(Protocol):
    """A back end: prints a kernel (a ``Function`` of ``loops/tree.py``) as source and builds it."""

    @property
    def name(self) -> str:
        """The name users select it by."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can express."""

    @property
    def suffix(self) -> str:
        """What files of its source end in, without a dot: ``c``, ``py``."""

    def supports(self, dtype: str) -> bool:
        """Whether kernels may hold elements of ``dtype``."""

    def emit(self, function: Any) -> str:
        """The source of a kernel. Raises CompileError with a reason for what it cannot express."""

    def build(self, function: Any, source: str) -> Kernel:
        """The callable kernel of a function, from its source: what :meth:`emit` gave, or that edited by hand."""

    def assembly(self, function: Any, source: str) -> str:
        """What such a source becomes. Raises CompileError if it does not compile."""


@runtime_checkable
class GraphTarget(Protocol):
    """A target whose kernels are made of the simplified graph (a ``Problem`` of ``graph/problem.py``), not of the loop tree, which is only
    shown."""

    def emit_graph(self, problem: Any) -> str:
        """The source of a kernel. Raises CompileError with a reason for what it cannot express."""

    def build_graph(self, problem: Any, source: str) -> Kernel:
        """The callable kernel, from its source."""

    def assembly_of_graph(self, problem: Any, source: str) -> str:
        """What such a source becomes. Raises CompileError if it does not compile."""


@runtime_checkable
class ChoosingTarget(Protocol):
    """A target that has its own way to a schedule: what was measured on its machine, for instance."""

    def choose(self, task: Any) -> Any:
        """The draft to take for a task (both of ``search/draft.py``), proved. Raises IllegalSchedule if there is none."""
