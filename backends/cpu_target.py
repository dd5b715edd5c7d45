"""What the targets of the processor share: what they can hold, source printed once for a function, the arguments of a call."""

from __future__ import annotations

import ctypes
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..compiler.loops.tree import Function
from ..compiler.target import Capabilities, Kernel, Machine
from .build import machine
from .statements import Source


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


@dataclass(frozen=True)
class CpuTarget(ABC):
    """A target of the processor. ``strict`` keeps products and sums apart (no fused multiply-add); ``machine`` sets the tiles."""

    strict: bool = False
    machine: Machine = field(default_factory=machine)

    name: ClassVar[str]
    suffix: ClassVar[str]
    dtypes: ClassVar[frozenset[str]]

    @property
    def capabilities(self) -> Capabilities:
        """The processor, and the dtypes that kernels may hold."""
        return Capabilities(self.machine, self.dtypes)

    def supports(self, dtype: str) -> bool:
        """Whether kernels may hold elements of a dtype."""
        return dtype in self.dtypes

    def emit(self, function: Function) -> str:
        """The source of a kernel. Raises CompileError with a reason for what it cannot express."""
        return self.printed(function).text

    @abstractmethod
    def printed(self, function: Function) -> Source:
        """The source with its run-time checks; the same object for the same function. Raises CompileError like :meth:`emit`."""

    @abstractmethod
    def assembly(self, function: Function, source: str) -> str:
        """The assembly of a source. Raises CompileError if it does not compile."""

    @abstractmethod
    def build(self, function: Function, source: str) -> Kernel:
        """The callable kernel."""


def operands(function: Function) -> int:
    """How many arrays a call of a kernel takes."""
    return sum(a.scope in ("input", "output") for a in function.arrays)
