"""What a GPU can do at most, by its maker's figures, and the least time that a call of ours needs by its operations and bytes.

Sources: NVIDIA A100, H100 and H200 data sheets (dense float32 outside of tensor cores; memory).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from unspool.backends.autograd import Call
from unspool.backends.binding import bind, leading
from unspool.backends.call import arguments_of
from unspool.compiler.graph.types import BYTES
from unspool.compiler.loops.account import work_of_nest
from unspool.compiler.loops.isl import safe

from ..problem import Problem


@dataclass(frozen=True)
class Limits:
    """Float32 operations and bytes per second; ``launch``: seconds between the start of a kernel and its first instruction."""

    name: str
    flops: float
    bytes: float
    launch: float = 3e-6

    def seconds(self, work: Work) -> float:
        """The least time of a piece of work, launches included."""
        return max(work.flops / self.flops, work.bytes / self.bytes) + work.kernels * self.launch


@dataclass(frozen=True)
class Work:
    """Operations, bytes of operands and results, each counted once, and launches."""

    flops: float
    bytes: float
    kernels: int = 1

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.bytes + other.bytes, self.kernels + other.kernels)


#: By a word of the name that the driver gives.
KNOWN = {
    "H200": Limits("H200", 66.9e12, 4.8e12),
    "H100 PCIe": Limits("H100 PCIe", 51.2e12, 2.0e12),
    "H100": Limits("H100", 66.9e12, 3.35e12),
    "A100-SXM4-80GB": Limits("A100 80 GB", 19.5e12, 2.039e12),
    "A100": Limits("A100", 19.5e12, 1.555e12),
}
#: For which figures are predicted where there is no GPU.
PREDICTED_FOR = "H200"


def of_device(name: str) -> Limits | None:
    """The limits of a GPU by its name; None if they are not known here."""
    return next((limits for word, limits in KNOWN.items() if word in name), None)


def work_of(call: Call) -> Work | None:
    """The work of a call; None where the interpreter runs it."""
    compiled = call.plan.compiled
    if compiled is None:
        return None
    flops = work_of_nest(compiled.nest if compiled.lowered is None else compiled.lowered, sizes_of(call)).flops
    return Work(flops * problems_of(call), bytes_of(call))


def sizes_of(call: Call) -> dict[str, int]:
    """The sizes of a call by the names that nests have for them."""
    return {safe(n): s for n, s in call.sizes.items()}


def problems_of(call: Call) -> int:
    """How many problems a call has."""
    return 1 if call.count is None else call.count


def bytes_of(call: Call) -> int:
    """Bytes of operands and results, each once."""
    types = (*(v.type for v in call.plan.graph.inputs), *call.plan.graph.result_types)
    each = [prod(s.evaluate(call.sizes) for s in type.shape) * BYTES[type.dtype] for type in types]
    return sum(size * (problems_of(call) if own else 1) for size, own in zip(each, (*call.flags, *call._own), strict=True))


def work_of_layer(layer: Any, *, gradient: bool) -> Work | None:
    """The work of the last call of a layer, forward or with its gradient; None where not all of it is kernels."""
    calls = [known.prepared.call for known in layer._known.values()]
    if not calls or calls[-1] is None:
        return None
    call: Call = calls[-1]
    if not gradient:
        return work_of(call)
    keeping = next((k for k in reversed(call._keeping.values()) if k is not None), None)
    backward = [c for key, c in call._derived.items() if isinstance(key, tuple) and len(key) == 3]
    if not backward:
        return None
    return _sum([work_of(call if keeping is None else keeping.call), work_of(backward[-1])])


def calls_of_problem(problem: Problem, *, gradient: bool, target: str = "cuda") -> list[Call] | None:
    """The calls of kernels that a problem takes, compiled for a target and not run; None where not all of it is kernels."""
    layer: Any = problem.layer(target)
    routine, executor = layer._routine, layer._routine.main
    tensors = dict(zip([n for n, _ in arguments_of(routine.algorithm, executor.graph) if n not in problem.given], problem.inputs))
    tensors |= {**problem.given, **problem.values}
    shapes = [tuple(getattr(tensors[v.name], "shape", ())) for v in executor.graph.inputs]
    operands = [(v.name, v.type, s) for v, s in zip(executor.graph.inputs, shapes, strict=True)]
    binding = layer._binding.copy()
    bind(binding, operands)
    call = executor.prepare(shapes, leading(operands), "f32", binding.sizes).call
    if call is None or not gradient:
        return None if call is None or call.plan.compiled is None else [call]
    wanted = {*problem.values, *(executor.graph.inputs[i].name for i in problem.wanted)}
    needed = tuple(v.name in wanted for v in executor.graph.inputs)
    wrt = tuple(i for i, need in enumerate(needed) if need and call.plan.can_differ[i])
    keeping = call.keeping(needed)
    backward = call.adjoint(wrt, tuple(call.plan.differentiable), keeping)
    found = [call if keeping is None else keeping.call, backward]
    return None if any(c.plan.compiled is None for c in found) else found


def total(calls: Sequence[Call]) -> Work:
    """The work of calls that are kernels."""
    found = _sum([work_of(c) for c in calls])
    assert found is not None
    return found


def _sum(parts: Sequence[Work | None]) -> Work | None:
    found = Work(0, 0, 0)
    for part in parts:
        if part is None:
            return None
        found += part
    return found
