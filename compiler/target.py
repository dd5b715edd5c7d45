"""What the compiler asks of a back end. It gets a target by injection and never imports one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Capabilities:
    """``vector_bytes``: width of a vector register (0: none); ``dtypes``: element types that kernels may hold."""

    vector_bytes: int
    dtypes: frozenset[str]


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
