"""From a graph of one problem to calls with leading dimensions: compiled on first use, one plan for each precision and set of
core sizes; another batch size or another iteration count compiles nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from torch import Tensor

from ..compiler.diagnostics import CompileError, DataError
from ..compiler.driver import HostProgram, compile_graph, compile_host, is_one_kernel
from ..compiler.graph.batch import batch as batch_graph
from ..compiler.graph.graph import Graph, Node, walk
from ..compiler.graph.interp import interpret
from ..compiler.graph.ops.common import attr_names
from ..compiler.graph.partition import kernel_graph
from ..compiler.graph.specialize import specialize
from ..compiler.graph.trace import trace as trace_graph
from . import registry
from .execute import KernelPlan, fall_back, interpret_batch

Modules = Mapping[str, Callable[..., Any] | Sequence[Callable[..., Any]]]


def runtime_names(graph: Graph, iterations: Sequence[str]) -> frozenset[str]:
    """The iteration counts that can stay run-time integers: loop bounds that shape no computed value but stacks."""
    bounds: set[str] = set()
    shapes: set[str] = set()
    for node in walk(graph.nodes):
        outputs = node.outputs
        if node.op == "for":
            bounds |= node.attr("lower").names() | node.attr("upper").names()
            outputs = outputs[: len(node.regions[0].args)]
        shapes.update(*(s.names() for v in outputs for s in v.type.shape))
    return frozenset(iterations) & (bounds - shapes)


@dataclass(frozen=True)
class Settings:
    """How to run: canonical target name, whether reductions keep their order, and a schedule in place of the recipe."""

    target: str
    strict: bool = False
    schedule: str | None = None


class HostPlan:
    """A graph that the interpreter runs, with kernels where it has them."""

    def __init__(self, program: HostProgram, *, strict: bool) -> None:
        self.program = program
        self.plans: dict[int, KernelPlan] = {}
        self._graphs: dict[tuple[bool, ...], Graph] = {}
        self._parts: dict[int, Graph] = {}
        for node in walk(program.graph.nodes):
            if node.op == "kernel":
                number = node.attr("number")
                self._parts[number] = kernel_graph(node, f"{program.graph.name}_{number}")
                if number in program.kernels:
                    self.plans[number] = KernelPlan(self._parts[number], program.kernels[number], strict=strict)

    def __call__(
        self, tensors: Sequence[Tensor], batched: Sequence[bool], batch: int | None, sizes: Mapping[str, int], modules: Modules
    ) -> Sequence[Tensor]:
        """Results of the graph on flat tensors, recorded by autograd op by op."""
        if batch is None:
            return interpret(self.program.graph, tensors, sizes, modules=modules, kernels=self._kernel)
        flags = tuple(batched)
        if flags not in self._graphs:
            self._graphs[flags] = batch_graph(self.program.graph, flags)
        return interpret(self._graphs[flags], tensors, {**sizes, "batch": batch}, modules=modules, kernels=self._kernel)

    def _kernel(self, node: Node, tensors: list[Tensor], sizes: Mapping[str, int]) -> list[Tensor]:
        number = node.attr("number")
        flags = node.attr("batched", (False,) * len(tensors))
        batch = sizes["batch"] if any(flags) else None
        plan = self.plans.get(number)
        if plan is None:
            return list(interpret_batch(self._parts[number], tensors, flags, batch, sizes))
        return list(plan(tensors, flags, batch, dict(sizes)))


Plan = KernelPlan | HostPlan


@dataclass
class Executor:
    """One graph, ready to run; ``iterations`` are the names of its iteration counts."""

    graph: Graph
    iterations: Sequence[str]
    settings: Settings
    plans: dict[tuple[Any, ...], Plan] = field(default_factory=dict)
    _traced: dict[tuple[str, ...], tuple[Graph, tuple[str, ...]]] = field(default_factory=dict)

    def plan(self, real: str, sizes: Mapping[str, int], trace: tuple[str, ...] = ()) -> Plan:
        """The plan for a precision and sizes, made on first use."""
        graph, names = self._variant(trace)
        key = (real, trace, tuple([sizes[n] for n in names]))
        found = self.plans.get(key)
        if found is None:
            special = specialize(graph, real, {n: sizes[n] for n in names})
            found = make_plan(special, self.settings)
            self.plans[key] = found
        return found

    def _variant(self, trace: tuple[str, ...]) -> tuple[Graph, tuple[str, ...]]:
        """The graph that also returns traces, and the size names it is specialised in."""
        found = self._traced.get(trace)
        if found is None:
            free = runtime_names(self.graph, self.iterations)
            graph = trace_graph(self.graph, trace) if trace else self.graph
            found = graph, tuple(sorted(size_names(graph) - free))
            self._traced[trace] = found
        return found

    def __call__(
        self,
        tensors: Sequence[Tensor],
        lead: tuple[int, ...],
        real: str,
        sizes: Mapping[str, int],
        modules: Modules | None = None,
        trace: tuple[str, ...] = (),
    ) -> list[Tensor]:
        """Results with leading shape ``lead``; ``tensors`` have the dtypes and core shapes of the graph's inputs."""
        plan = self.plan(real, sizes, trace)
        ranks = [v.type.rank for v in self.graph.inputs]
        if isinstance(plan, KernelPlan):
            for x, v in zip(tensors, self.graph.inputs, strict=True):
                if x.device.type != "cpu":
                    raise DataError(
                        f"{v.name} is on device {x.device}, and target {self.settings.target} runs on the cpu: move it, or use "
                        "target='interpreter', which follows the tensors"
                    )
        if not lead:
            flat = [x.reshape(x.shape[x.dim() - r :]) if x.dim() != r else x for x, r in zip(tensors, ranks, strict=True)]
            flags = [False] * len(flat)
            count = None
        else:
            pairs = [flatten(x, r, lead) for x, r in zip(tensors, ranks, strict=True)]
            flat, flags = [p[0] for p in pairs], [p[1] for p in pairs]
            count = prod(lead) if any(flags) else None
        if isinstance(plan, KernelPlan):
            found = plan(flat, flags, count, sizes)
        else:
            found = plan(flat, flags, count, sizes, modules or {})
        if len(lead) == 0 or (len(lead) == 1 and count is not None):
            return list(found)
        return [y.reshape(*lead, *(y.shape if count is None else y.shape[1:])) for y in found]


def flatten(x: Tensor, rank: int, lead: tuple[int, ...]) -> tuple[Tensor, bool]:
    """``x`` with its leading dimensions made one, and True; or with none, and False, where all problems share it."""
    own = x.shape[: x.dim() - rank]
    core = x.shape[x.dim() - rank :]
    if prod(own) == 1 and prod(lead) != 0:
        return (x if not own else x.reshape(core)), False
    if own != lead:
        x = x.expand(*lead, *core)
    return (x if len(lead) == 1 else x.reshape(prod(lead), *core)), True


def size_names(graph: Graph) -> frozenset[str]:
    """Every size name that occurs free in a graph (loop indices excluded)."""
    names: set[str] = set()
    indices: set[str] = set()
    for value in graph.types.values():
        names.update(*(s.names() for s in value.shape))
    for node in walk(graph.nodes):
        attrs = dict(node.attrs)
        if node.op == "for":
            indices.add(attrs["index"])
        names |= attr_names(tuple(attrs.values()))
    return frozenset(names - indices)


def make_plan(graph: Graph, settings: Settings) -> Plan:
    """Compile a specialised graph for the target; what that cannot take, the interpreter runs."""
    target = registry.target(settings.target, strict=settings.strict)
    strict = settings.strict
    if target is None:
        return HostPlan(HostProgram(graph), strict=strict)
    if not all(target.supports(t.dtype) for t in graph.types.values()):
        return HostPlan(HostProgram(graph), strict=strict)
    if is_one_kernel(graph):
        try:
            return KernelPlan(graph, compile_graph(graph, target, strict=strict, schedule=settings.schedule), strict=strict)
        except CompileError as error:
            if settings.schedule is not None:
                raise
            fall_back(graph.name, error)
            return HostPlan(HostProgram(graph), strict=strict)
    try:
        return HostPlan(compile_host(graph, target, strict=strict), strict=strict)
    except CompileError as error:
        fall_back(graph.name, error)
        return HostPlan(HostProgram(graph), strict=strict)
