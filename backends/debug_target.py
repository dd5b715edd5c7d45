"""Target ``c`` for debug builds: kernels check every access and every result, and say where in the program, in which iteration and for which
problem of a batch the first fault was. They run one problem after the other, by one thread."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..compiler.graph.watch import blame_operands
from ..compiler.loops.tree import Array, Function
from ..compiler.origin import LocatedError, computed, iterations
from ..compiler.target import Capabilities
from .build import Built, build
from .cpu import BuiltKernel, CTarget
from .debug_emit import Site, emit_debug
from .statements import Source


@dataclass(frozen=True)
class DebugSource(Source):
    """The text of a debug build, and what its numbered checks are about."""

    sites: tuple[Site, ...] = ()


class DebugKernel(BuiltKernel):
    """A kernel of a debug build, called as others are."""

    def __init__(self, built: Built, function: Function, sites: Sequence[Site]) -> None:
        super().__init__(built, [s.what for s in sites])
        self.sites = tuple(sites)
        self.function = function
        self.read: list[Array] = [a for a in function.arrays if a.scope == "input"]
        library = ctypes.CDLL(str(built.path))
        self._numbers, self._places = library["us_noted_at_numbers"], library["us_noted_at_places"]
        self._numbers.restype = ctypes.POINTER(ctypes.c_double)
        self._places.restype = ctypes.POINTER(ctypes.c_int64)
        self._lock = threading.Lock()

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
        """Run, problem by problem. Raises DataError for the first check that fails, and for results that are not finite since operands were not."""
        both = (*inputs, *outputs)
        for problem in range(batch):
            own = [x if batch == 1 or not stride else x[problem : problem + 1] for x, stride in zip(both, batch_strides, strict=True)]
            with self._lock:
                self._one(own, batch_strides, team_strides, integers, problem, batch)
        blame_operands(self._what, [a.name for a in self.read], inputs, outputs)

    def _one(
        self, own: Sequence[Any], batch_strides: Sequence[int], team_strides: Sequence[int], integers: Sequence[int], problem: int, batch: int
    ) -> None:
        failed = self.with_numbers(batch_strides, team_strides, integers)(own)
        if not failed:
            return
        site = self.sites[failed - 1]
        numbers, places = self._numbers(), self._places()
        around = [(name, places[n]) for n, name in enumerate(site.around)]
        element = [places[len(around) + n] for n in range(site.rank)]
        if site.kind == "number":
            what = computed(site.what, numbers[0], [numbers[1 + n] for n in range(min(site.operands, 3))])
        elif site.kind == "index":
            axis = f" of axis {site.axis} of {site.what}" if site.what else " that comes from data"
            what = f"the index {int(numbers[0])}{axis} is out of range: the size is {int(numbers[1])}"
        elif site.kind == "division":
            what = site.what
        else:
            what, around, element = site.what, [], []
        where = iterations(around, element, problem, batch)
        if self.is_gradient:
            where.append("in the gradient")
        raise LocatedError(what, site.span, where)

    @property
    def is_gradient(self) -> bool:
        """Whether it is the kernel of a backward pass."""
        return self.function.name.endswith("_backward")

    @property
    def _what(self) -> str:
        name = self.function.name.removeprefix("us_")
        return f"the gradient of {name.removesuffix('_backward')}" if self.is_gradient else name


class DebugTarget(CTarget):
    """Target ``c`` for debug builds."""

    @property
    def capabilities(self) -> Capabilities:
        """Those of target ``c``; kernels check what they read and compute."""
        return Capabilities(self.machine, self.dtypes, debug=True)

    def printed(self, function: Function) -> DebugSource:
        """The C source, with its checks: printed anew each time, as functions that are equal may come from other places."""
        return self.source(function)

    def source(self, function: Function) -> DebugSource:
        """The C source, with its checks."""
        text, sites = emit_debug(function, self.machine)
        return DebugSource(text, tuple(s.what for s in sites), sites)

    def build(self, function: Function, source: str) -> DebugKernel:
        """The callable kernel."""
        return DebugKernel(build(source, function.name), function, self.printed(function).sites)
