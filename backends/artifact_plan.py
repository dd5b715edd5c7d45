"""Plans of kernels that come from a file: they run what is stored, and say so where something else is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..compiler.diagnostics import CompileError, DataError
from ..compiler.driver import Compiled
from ..compiler.graph.algorithm import Algorithm
from ..compiler.graph.factors import Factored
from ..compiler.graph.graph import Graph, Node, Value
from ..compiler.graph.keep import Tapes
from ..compiler.graph.ops.common import torch_dtype
from ..compiler.graph.segments import KEEP, Policy
from ..compiler.graph.types import Type
from ..compiler.target import Capabilities
from .build import machine
from .call import Routine
from .execute import KernelPlan
from .executor import Executor, Plan, Rewritten, Settings
from .registry import target


@dataclass(frozen=True)
class StoredTarget:
    """The target of kernels from a file: it makes no others."""

    name: str
    suffix: str

    @property
    def capabilities(self) -> Capabilities:
        """This processor; nothing can be made."""
        return Capabilities(machine(), frozenset())

    def supports(self, dtype: str) -> bool:
        """No dtype: nothing is compiled."""
        return False

    def emit(self, function: Any) -> str:
        """Raises CompileError."""
        raise CompileError("a kernel file holds finished kernels; others are compiled from the program")

    def assembly(self, function: Any, source: str) -> str:
        """What the compiler makes of a source here. Raises CompileError if it fails, or is not there."""
        made = target(self.name)
        assert made is not None
        return made.assembly(function, source)

    def build(self, function: Any, source: str) -> Any:
        """Raises CompileError."""
        self.emit(function)


def interface(name: str, inputs: Sequence[Value], results: Sequence[Type]) -> Graph:
    """A graph that only has types: inputs, and one node that makes the results."""
    outputs = tuple(Value(f"result_{n}", t) for n, t in enumerate(results))
    return Graph(name, tuple(inputs), (Node("stored", (), outputs),), tuple(v.name for v in outputs))


class StoredPlan(KernelPlan):
    """A kernel from a file, with the gradients that are stored: for each, the inputs it is in, and its plan.

    A stored gradient takes a cotangent for every differentiable result.
    """

    def __init__(
        self, graph: Graph, compiled: Compiled | None, gradients: Sequence[tuple[tuple[int, ...], StoredPlan]] = (), *,
        strict: bool, accumulate: bool = False, policy: Policy = KEEP,
    ) -> None:  # fmt: skip
        super().__init__(graph, compiled, strict=strict, accumulate=accumulate, policy=policy)
        self.gradients = sorted(gradients, key=lambda g: len(g[0]))
        self._derived_one = accumulate  # itself a gradient

    def kept(self, wrt: tuple[int, ...], own: frozenset[int] | None) -> tuple[str, ...]:
        """Nothing: stored gradients compute all that they need."""
        return ()

    def tapes(self, wrt: tuple[int, ...]) -> Tapes:
        """Nothing, as above."""
        return Tapes()

    def adjoint(
        self, wrt: tuple[int, ...], given: tuple[bool, ...], kept: tuple[str, ...] = (), policy: Policy = KEEP
    ) -> KernelPlan:
        """The smallest stored gradient that has inputs ``wrt``. Raises DataError if there is none."""
        found = self._derived.get((wrt, given))
        if found is None:
            stored = next(((w, p) for w, p in self.gradients if set(wrt) <= set(w)), None)
            if stored is None:
                names = ", ".join(self.graph.inputs[i].name for i in wrt)
                if self._derived_one:
                    raise DataError("a kernel file holds no derivatives of gradients: compile the program for them")
                raise DataError(f"the kernel file of {self.graph.name} holds no gradient in {names}: save it with backward=True")
            passed = [True] * len(self.graph.inputs) + [g for g, d in zip(given, self.differentiable, strict=True) if d]
            found = _Part(stored[1], passed, [stored[0].index(i) for i in wrt])
            self._derived[wrt, given] = found
        return found

    def factored(
        self, wrt: tuple[int, ...], given: tuple[bool, ...], kept: tuple[str, ...], policy: Policy, shared: frozenset[int]
    ) -> Factored | None:
        """None, as above: they sum over problems themselves."""
        return None

    def tangent(self, wrt: tuple[int, ...]) -> KernelPlan:
        """Raises DataError: forward derivatives are not stored."""
        raise DataError(f"the kernel file of {self.graph.name} holds no forward-mode derivative: compile the program instead")


class _Part(StoredPlan):
    """A stored kernel, called without some of its inputs, which are zero, for some of its results."""

    def __init__(self, whole: StoredPlan, passed: Sequence[bool], results: Sequence[int]) -> None:
        inputs = [v for v, use in zip(whole.graph.inputs, passed, strict=True) if use]
        types = whole.graph.result_types
        super().__init__(
            interface(whole.graph.name, inputs, [types[i] for i in results]), None, strict=whole.strict, accumulate=True,
            policy=whole.policy,
        )  # fmt: skip
        self.names = whole.names
        self._whole, self._passed, self._results = whole, list(passed), list(results)

    @property
    def compiled(self) -> Compiled | None:
        """See :class:`~.execute.KernelPlan`."""
        return self._whole.compiled

    def scratch(self, batched: Sequence[bool], batch: int | None, sizes: Mapping[str, int], own: Sequence[bool]) -> int:
        """See :class:`~.execute.KernelPlan`."""
        flags, wanted = self._flags(batched, own)
        return self._whole.scratch(flags, batch, sizes, wanted)

    def _flags(self, batched: Sequence[bool], own: Sequence[bool]) -> tuple[list[bool], list[bool]]:
        """What of the whole kernel has a batch axis: inputs, results."""
        came = iter(batched)
        flags = [use and next(came) for use in self._passed]
        wanted = [False] * len(self._whole.dtypes)
        for i, mine in zip(self._results, own, strict=True):
            wanted[i] = mine
        return flags, wanted

    def run(
        self, tensors: Sequence[Tensor], batched: Sequence[bool], batch: int | None, sizes: Mapping[str, int], own: Sequence[bool]
    ) -> list[Tensor]:
        """The chosen results; the others are summed over the problems, and dropped."""
        whole = self._whole
        flags, wanted = self._flags(batched, own)
        operands = []
        came = iter(tensors)
        for v, use in zip(whole.graph.inputs, self._passed, strict=True):
            if use:
                x = next(came)
            else:
                device = tensors[0].device if tensors else None
                x = torch.zeros([s.evaluate(sizes) for s in v.type.shape], dtype=torch_dtype(torch, v.type.dtype), device=device)
            operands.append(x)
        found = whole.run(operands, flags, batch, sizes, wanted)
        return [found[i] for i in self._results]


class StoredExecutor(Executor):
    """The executor of an algorithm from a file: it has one plan, for one precision and one set of sizes."""

    def __init__(self, graph: Graph, iterations: Sequence[str], settings: Settings, real: str, sizes: Mapping[str, int], plan: Plan) -> None:  # fmt: skip
        super().__init__(graph, iterations, settings)
        self._real, self._sizes, self._plan = real, dict(sizes), plan

    def rewritten(
        self, sizes: Mapping[str, int], trace: tuple[str, ...] = (), problems: int = 1, shared: frozenset[str] = frozenset()
    ) -> Rewritten:
        """The graph: what could be rewritten was, before it was stored."""
        return Rewritten(self.graph)

    def planned(self, real: str, sizes: Mapping[str, int], trace: tuple[str, ...], chosen: Rewritten) -> tuple[Plan, Plan | None]:
        """The stored plan. Raises DataError where it was compiled for something else."""
        name = self.graph.name
        if trace:
            raise DataError(
                f"the kernel file of {name} holds no kernel that traces {', '.join(trace)}: build the program instead"
            )
        if real != self._real:
            raise DataError(f"the kernel file of {name} was compiled for {self._real}, not for {real}: compile the program again")
        _, names = self.variant(())
        for n in names:
            if sizes[n] != self._sizes[n]:
                raise DataError(
                    f"the kernel file of {name} was compiled for {n} = {self._sizes[n]}, not {sizes[n]}: compile the program again"
                )
        return self._plan, None


class StoredRoutine(Routine):
    """An algorithm from a file. Its objective, if it has one, is run by the interpreter. ``data`` are the bytes of the file."""

    def __init__(
        self, algorithm: Algorithm, settings: Settings, real: str, sizes: Mapping[str, int], plan: Plan, data: bytes
    ) -> None:
        super().__init__(algorithm, settings)
        counts = tuple(self.iterations)
        self.main = StoredExecutor(algorithm.graph, counts, settings, real, sizes, plan)
        self.main.origin = hashlib.sha256(data).hexdigest()
        if algorithm.objective is not None:
            self._objective = Executor(algorithm.objective, counts, Settings("interpreter"))
        self._data = data

    def __reduce__(self) -> Any:
        from .artifact import routine

        return routine, (self._data,)
