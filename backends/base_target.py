"""What targets have in common: what they are cut for and can hold, and the source of a kernel, printed once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache
from typing import Any, ClassVar, Generic, TypeVar

from ..compiler.loops.tree import Function
from ..compiler.target import Capabilities, Kernel, Machine
from .statements import Source

S = TypeVar("S", bound=Source)


class BaseTarget:
    """A frozen dataclass: ``strict`` keeps products and sums apart (no fused multiply-add), loops and tiles are cut for the ``machine``."""

    name: ClassVar[str]
    suffix: ClassVar[str]
    dtypes: ClassVar[frozenset[str]]
    strict: bool
    machine: Machine

    @property
    def capabilities(self) -> Capabilities:
        """The machine, and the dtypes that kernels may hold."""
        return Capabilities(self.machine, self.dtypes)

    def supports(self, dtype: str) -> bool:
        """Whether kernels may hold elements of a dtype."""
        return dtype in self.dtypes


class TreeTarget(BaseTarget, ABC, Generic[S]):
    """A target whose kernels are made of loop trees."""

    def emit(self, function: Function) -> str:
        """The source of a kernel. Raises CompileError with a reason for what it cannot express."""
        return self.printed(function).text

    def printed(self, function: Function) -> S:
        """The source with its run-time checks and what a call has to know; the same object for the same function. Raises CompileError like
        :meth:`emit`."""
        found: S = _printed(self, function)
        return found

    @abstractmethod
    def source(self, function: Function) -> S:
        """The same, printed anew."""

    @abstractmethod
    def assembly(self, function: Function, source: str) -> str:
        """The assembly of a source. Raises CompileError if it does not compile."""

    @abstractmethod
    def build(self, function: Function, source: str) -> Kernel:
        """The callable kernel."""


@lru_cache(maxsize=512)
def _printed(target: TreeTarget[Any], function: Function) -> Any:
    return target.source(function)


def operands(function: Function) -> int:
    """How many arrays a call of a kernel takes."""
    return sum(a.scope in ("input", "output") for a in function.arrays)
