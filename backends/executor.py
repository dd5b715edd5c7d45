"""From a graph of one problem to calls with leading dimensions: compiled on first use, one plan for each precision and set of
core sizes; another batch size or another iteration count compiles nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..compiler.diagnostics import CompileError, DataError
from ..compiler.driver import Batching, HostProgram, compile_graph, compile_host, is_one_kernel, why_host
from ..compiler.graph.adjoint_until import stops_by_data, with_backward
from ..compiler.graph.batch import batch as batch_graph
from ..compiler.graph.conjugate_gradients import SOLVE
from ..compiler.graph.gram.rewrite import Rewrite, gram, may_rewrite
from ..compiler.graph.gram.sharing import Setting, common
from ..compiler.graph.graph import Graph, Node, loop_indices, walk
from ..compiler.graph.hoist import hoisted
from ..compiler.graph.interp import interpret
from ..compiler.graph.once import cut
from ..compiler.graph.partition import kernel_graph
from ..compiler.graph.specialize import size_names, specialize
from ..compiler.graph.trace import trace as trace_graph
from ..compiler.graph.types import HALF
from ..compiler.graph.watch import blame_operands
from ..compiler.loops.schedule_parts import split_kernels, step_lines
from ..compiler.origin import LocatedError
from . import devices, registry
from .autograd import Call, Links, apply, flat_call, is_plain, view
from .bound import Bound, is_readable
from .execute import KernelPlan, fall_back, interpret_batch, readable
from .host_gradient import HostGradient, can_differentiate

Modules = Mapping[str, Callable[..., Any] | Sequence[Callable[..., Any]]]


def runtime_names(graph: Graph, iterations: Sequence[str]) -> frozenset[str]:
    """The iteration counts that can stay run-time integers: loop bounds that shape no computed value but stacks, and those of inputs that
    nothing reads (the step sizes, in an objective)."""
    bounds: set[str] = set()
    shapes: set[str] = set()
    for node in walk(graph.nodes):
        outputs = node.outputs
        if node.op == "for":
            bounds |= node.attr("lower").names() | node.attr("upper").names()
            outputs = outputs[: len(node.regions[0].args)]
        elif node.op == SOLVE:
            bounds |= node.attr("iterations").names()
        shapes.update(*(s.names() for v in outputs for s in v.type.shape))
    idle = frozenset(iterations) - size_names(replace(graph, inputs=tuple(v for v in graph.inputs if v.name in graph.used)))
    return frozenset(iterations) & (bounds - shapes) | idle


@dataclass(frozen=True)
class Settings:
    """How to run: canonical target name, whether reductions keep their order, a schedule in place of our choice, how many bytes of
    scratch memory a gradient may take, how gradients go through loops with ``until`` (see
    :func:`~..compiler.graph.adjoint_until.with_backward`), whether the target ``follows`` the tensors: where no target was named,
    tensors on a GPU go to the target of GPUs, if that can be used; for how many seconds schedules of a kernel are measured; whether a GPU
    may round factors of products to TF32; who ranks schedules (empty: the switch says); and whether everything that is computed is checked."""

    target: str
    strict: bool = False
    schedule: str | None = None
    memory: int | None = None
    backward: str = "unrolled"
    follows: bool = False
    tune: float | None = None
    tf32: bool = False
    scheduler: str = ""
    debug: bool = False

    @property
    def as_written(self) -> bool:
        """Whether products stay as the program has them: strict numerics, the interpreter, program order, and debug builds ask for that."""
        return self.strict or self.target == "interpreter" or self.schedule == "" or self.debug


def shared_by(graph: Graph, shapes: Sequence[tuple[int, ...]], lead: tuple[int, ...]) -> frozenset[str]:
    """The inputs that all problems of a call have in common."""
    return frozenset(v.name for v, s in zip(graph.inputs, shapes, strict=True) if not view(s, v.type.rank, lead).batched)


class HostPlan:
    """A graph that the interpreter runs, with kernels where it has them. ``gradient``, if there is one, says how torch sees it."""

    def __init__(self, program: HostProgram, *, strict: bool, debug: bool = False) -> None:
        self.program = program
        self.gradient: HostGradient | None = None
        self.debug = debug
        self.rewrites: tuple[Rewrite, ...] = ()
        self.plans: dict[int, KernelPlan] = {}
        self._graphs: dict[tuple[bool, ...], Graph] = {}
        self._parts: dict[int, Graph] = {}
        self._sites: dict[int, tuple[int, tuple[bool, ...]]] = {}  # of nodes of graphs that are kept
        self._indices = frozenset(loop_indices(program.graph))
        self._half = any(t.dtype in ("f16", "bf16") for t in program.graph.types.values())
        for node in walk(program.graph.nodes):
            if node.op == "kernel":
                number = node.attr("number")
                self._parts[number] = kernel_graph(node, f"{program.graph.name}_{number}")
                if number in program.kernels:
                    batching = program.batching.get(number)
                    flags = None if batching is None else batching.per_problem
                    self.plans[number] = KernelPlan(self._parts[number], program.kernels[number], strict=strict, per_problem=flags)

    def __call__(
        self, tensors: Sequence[Tensor], batched: Sequence[bool], batch: int | None, sizes: Mapping[str, int], modules: Modules
    ) -> Sequence[Tensor]:
        """Results of the graph on flat tensors, recorded by autograd, op by op if they have no ``gradient`` of their own."""
        if self.gradient is not None and batch is None and torch.is_grad_enabled() and is_plain():
            found = self.gradient(tensors, sizes, modules)
            if found is not None:
                return found
        return self.recorded(tensors, batched, batch, sizes, modules)

    def recorded(
        self, tensors: Sequence[Tensor], batched: Sequence[bool], batch: int | None, sizes: Mapping[str, int], modules: Modules
    ) -> Sequence[Tensor]:
        """The results, recorded by autograd op by op."""
        graph = self.program.graph
        if self.debug and batch:
            return self._one_by_one(tensors, batched, batch, sizes, modules)
        if batch is not None:
            flags = tuple(batched)
            if flags not in self._graphs:
                self._graphs[flags] = hoisted(batch_graph(graph, flags))
            graph, sizes = self._graphs[flags], {**sizes, "batch": batch}
        try:
            found = interpret(graph, tensors, sizes, modules=modules, kernels=BoundKernels(self), debug=self.debug)
            if self.debug:
                blame_operands(graph.name, [v.name for v in graph.inputs], tensors, found)
            return found
        except RuntimeError as error:
            if self._half:  # torch has not every op in half precision
                raise DataError(f"{graph.name} cannot run in half precision: {str(error).splitlines()[0]}") from error
            raise

    def _one_by_one(
        self, tensors: Sequence[Tensor], batched: Sequence[bool], batch: int, sizes: Mapping[str, int], modules: Modules
    ) -> Sequence[Tensor]:
        """The problems of a batch in turn: what one does that has ended, or in a branch that it does not take, is no fault."""
        found = []
        for problem in range(batch):
            own = [x[problem] if flag else x for x, flag in zip(tensors, batched, strict=True)]
            try:
                found.append(self(own, batched, None, sizes, modules))
            except LocatedError as error:
                where = (*error.where, f"problem {problem} of {batch}") if batch > 1 else error.where
                raise LocatedError(error.what, error.span, where) from None
        return [torch.stack(results) for results in zip(*found, strict=True)]

    def site(self, node: Node) -> tuple[int, tuple[bool, ...]]:
        """The number of the kernel that a node calls, and which operands have the batch axis there."""
        found = self._sites.get(id(node))
        if found is None:
            found = self._sites[id(node)] = node.attr("number"), node.attr("batched", (False,) * len(node.inputs))
        return found

    def part(self, number: int) -> Graph:
        """The graph of a kernel."""
        return self._parts[number]

    def indices(self, plan: KernelPlan) -> frozenset[str]:
        """The indices of loops that a kernel reads."""
        return self._indices.intersection(plan.names)


class BoundKernels:
    """The kernels of one run of a host program, each bound to its operands when it is called first (see :class:`~.bound.Bound`)."""

    def __init__(self, program: HostPlan) -> None:
        self._program = program
        self._bound: dict[int, Bound | None] = {}
        self._copies: dict[tuple[int, int], tuple[Tensor, Tensor | None]] = {}  # by kernel and operand: what came last, and its copy

    def __call__(self, node: Node, tensors: list[Tensor], sizes: Mapping[str, int]) -> Sequence[Tensor]:
        """The results of a kernel node."""
        key = id(node)
        bound = self._bound.get(key)
        if bound is not None:
            made = bound(tensors, sizes)
            if made is None and (same := self._copied(key, tensors)) is not None:
                made = bound(same, sizes)
            if made is not None:
                return made
        program = self._program
        number, flags = program.site(node)
        batch, plan = sizes["batch"] if any(flags) else None, program.plans.get(number)
        if plan is None:
            return interpret_batch(program.part(number), tensors, flags, batch, sizes, debug=program.debug)
        call = flat_call(plan, tensors, flags, batch, sizes)
        recorded = torch.is_grad_enabled()
        if recorded and is_plain():
            tensors = self._copied(key, tensors, flags) or tensors  # once for all iterations, and for their gradients
        found = apply(call, tensors)
        if key not in self._bound:
            self._bound[key] = None if recorded or not is_plain() else call.bound(program.indices(plan))
        return found

    def _copied(self, key: int, tensors: Sequence[Tensor], batched: Sequence[bool] = ()) -> list[Tensor] | None:
        """The operands, with copies that are contiguous of those that are not, nor ``batched``, made when the same tensor comes again; None where
        another one has come, which the kernel may read as it lies."""
        found, same = [], True
        for n, x in enumerate(tensors):
            if is_readable(x) or (batched and batched[n]):
                found.append(x)
                continue
            before, copy = self._copies.get((key, n), (None, None))
            same = same and before is x
            if before is not x:
                copy = None
            elif copy is None:
                copy = next((made for y, made in self._copies.values() if y is x and made is not None), None)
                if copy is None:
                    copy, _ = readable(x, batched=False)
            self._copies[key, n] = x, copy
            found.append(x if copy is None else copy)
        return found if same else None


Plan = KernelPlan | HostPlan


@dataclass(frozen=True)
class Rewritten:
    """A graph of a program, what was done to it, and its number among those of the program; 0 is the program as it is written. ``once``
    makes what all problems of a batch share; its results stand behind the inputs of the graph."""

    graph: Graph
    rewrites: tuple[Rewrite, ...] = ()
    number: int = 0
    once: Graph | None = None


@dataclass
class Executor:
    """One graph, ready to run; ``iterations`` are the names of its iteration counts, ``shared`` those of the inputs that
problems of a batch usually share (nothing depends on it but speed). ``origin`` is the digest of the kernel file it comes from, if any."""

    graph: Graph
    iterations: Sequence[str]
    settings: Settings
    shared: frozenset[str] = frozenset()
    plans: dict[tuple[Any, ...], Plan] = field(default_factory=dict)
    _traced: dict[tuple[str, ...], tuple[Graph, tuple[str, ...]]] = field(default_factory=dict)
    _rewritten: dict[Any, Rewritten] = field(default_factory=dict)
    _candidates: dict[tuple[str, ...], bool] = field(default_factory=dict)
    origin: str = ""

    def plan(self, real: str, sizes: Mapping[str, int], trace: tuple[str, ...] = ()) -> Plan:
        """The plan for a precision and sizes, of one problem, made on first use."""
        return self.planned(real, sizes, trace, self.rewritten(sizes, trace))[0]

    def planned(self, real: str, sizes: Mapping[str, int], trace: tuple[str, ...], chosen: Rewritten) -> tuple[Plan, Plan | None]:
        """The plan of a rewritten graph, and that of what is made once for all problems."""
        first = self.first(real, sizes, trace, chosen)
        key, known = self._key(real, sizes, trace, chosen)
        found = self.plans.get(key)
        if found is None:
            special = specialize(chosen.graph, real, known)
            same = self.shared if chosen.once is None else self.shared | set(chosen.once.results)
            settings = replace(self.settings, schedule=self._schedules(chosen)[0])
            found = make_plan(special, settings, tuple([v.name not in same for v in special.inputs]))
            found.rewrites = chosen.rewrites
            self.plans[key] = found
        return found, first

    def first(self, real: str, sizes: Mapping[str, int], trace: tuple[str, ...], chosen: Rewritten) -> Plan | None:
        """The plan of what a rewritten graph has made once for all problems."""
        if chosen.once is None:
            return None
        key, known = self._key(real, sizes, trace, chosen)
        found = self.plans.get((*key, "once"))
        if found is None:
            settings = replace(self.settings, schedule=self._schedules(chosen)[1])
            found = make_plan(specialize(chosen.once, real, known), settings, (False,) * len(chosen.once.inputs))
            self.plans[(*key, "once")] = found
        return found

    def _schedules(self, chosen: Rewritten) -> tuple[str | None, str | None]:
        """The schedule of the kernel for each problem, and that of what is made once for all. A text without ``kernel NAME`` is the first
        one's alone. Raises IllegalSchedule."""
        text = self.settings.schedule
        first = next(step_lines(text or ""), None)
        if text is None or chosen.once is None or first is None or first[1][0] != "kernel":
            return text, None
        found = split_kernels(text, [chosen.once.name, chosen.graph.name])
        return found.get(chosen.graph.name), found.get(chosen.once.name)

    def _key(
        self, real: str, sizes: Mapping[str, int], trace: tuple[str, ...], chosen: Rewritten
    ) -> tuple[tuple[Any, ...], dict[str, int]]:
        """What tells a plan from others, and the sizes that it is made for."""
        names = self.variant(trace)[1]
        if not sizes.keys() >= set(names):
            missing = next(n for n in names if n not in sizes)
            raise DataError(f"{self.graph.name}: the size {missing} is not known from the inputs: pass {missing}=...")
        known = {n: sizes[n] for n in names}
        return (real, trace, tuple(known.values()), chosen.number), known

    def rewritten(
        self, sizes: Mapping[str, int], trace: tuple[str, ...] = (), problems: int = 1, shared: frozenset[str] = frozenset()
    ) -> Rewritten:
        """The graph, its products taken before loops where that pays for these sizes and so many problems with inputs ``shared`` (see
        :mod:`~..compiler.graph.gram.rewrite`). Kernels are made for graphs: calls with other counts have the same one where the same pays."""
        graph, _ = self.variant(trace)
        if self.settings.as_written or not self._may(trace):
            return Rewritten(graph)
        setting = self.setting(sizes, problems, shared)
        key = (trace, setting.problems, setting.shared, tuple(sorted(sizes.items())))
        found = self._rewritten.get(key)
        if found is None:
            found = self._choose(graph, setting, [r for k, r in self._rewritten.items() if k[0] == trace])
            self._rewritten[key] = found
        return found

    def setting(self, sizes: Mapping[str, int], problems: int, shared: frozenset[str]) -> Setting:
        """What decides about rewrites: of shared inputs matrices, and of the number of problems its power of two."""
        matrices = frozenset(v.name for v in self.graph.inputs if v.name in shared and v.type.rank > 1)
        return Setting(sizes, 1 << (problems.bit_length() - 1) if matrices and problems > 1 else 1, matrices)

    def _may(self, trace: tuple[str, ...]) -> bool:
        """Whether the graph has a product that a rewrite could change."""
        if trace not in self._candidates:
            self._candidates[trace] = may_rewrite(self.variant(trace)[0])
        return self._candidates[trace]

    def _choose(self, graph: Graph, setting: Setting, known: Sequence[Rewritten]) -> Rewritten:
        made, rewrites = gram(graph, setting)
        once = None
        if made is not graph and (names := common(made, setting)):
            halves = cut(made, names) if is_one_kernel(graph) else None
            if halves is None:
                made, rewrites = graph, ()
            else:
                once, made = halves
        if made is graph:
            return Rewritten(graph, rewrites)
        same = next((r.number for r in known if (r.graph, r.once) == (made, once)), None)
        return Rewritten(made, rewrites, 1 + max((r.number for r in known), default=0) if same is None else same, once)

    def variant(self, trace: tuple[str, ...]) -> tuple[Graph, tuple[str, ...]]:
        """The graph that also returns traces, and the size names it is specialised in."""
        found = self._traced.get(trace)
        if found is None:
            free = runtime_names(self.graph, self.iterations)
            graph = trace_graph(self.graph, trace) if trace else self.graph
            found = graph, tuple(sorted(size_names(graph) - free))
            self._traced[trace] = found
        return found

    def prepare(
        self,
        shapes: Sequence[tuple[int, ...]],
        lead: tuple[int, ...],
        real: str,
        sizes: Mapping[str, int],
        trace: tuple[str, ...] = (),
    ) -> Prepared:
        """All that a call needs to know beforehand, for inputs of these shapes; ``lead`` is their broadcast leading shape."""
        chosen = self.rewritten(sizes, trace, prod(lead), shared_by(self.graph, shapes, lead))
        plan, first = self.planned(real, sizes, trace, chosen)
        if first is None:
            return Prepared(self, plan, sizes, shapes, lead)
        if not isinstance(plan, KernelPlan) or not isinstance(first, KernelPlan):
            return Prepared(self, self.planned(real, sizes, trace, Rewritten(self.variant(trace)[0]))[0], sizes, shapes, lead)
        return Prepared(self, plan, sizes, shapes, lead, Once(first, self.graph, sizes, shapes))

    def __call__(
        self,
        tensors: Sequence[Tensor],
        lead: tuple[int, ...],
        real: str,
        sizes: Mapping[str, int],
        modules: Modules | None = None,
        trace: tuple[str, ...] = (),
    ) -> Sequence[Tensor]:
        """Results with leading shape ``lead``; ``tensors`` have the dtypes and core shapes of the graph's inputs."""
        return self.prepare([tuple(x.shape) for x in tensors], lead, real, sizes, trace)(tensors, modules or {})


class Once:
    """What all problems share, made before the kernel of each: a function of the operands of a call."""

    def __init__(self, plan: KernelPlan, graph: Graph, sizes: Mapping[str, int], shapes: Sequence[tuple[int, ...]]) -> None:
        place = {v.name: n for n, v in enumerate(graph.inputs)}
        inputs = plan.graph.inputs
        self._places = [place[v.name] for v in inputs]
        self._cores = [tuple(shapes[n][len(shapes[n]) - v.type.rank :]) for n, v in zip(self._places, inputs, strict=True)]
        self.call = Call(plan, sizes, self._cores, (), [None] * len(plan.graph.results))

    def __call__(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """The results, recorded by autograd."""
        return apply(self.call, [tensors[n].reshape(s) for n, s in zip(self._places, self._cores, strict=True)])


class Prepared:
    """A call whose shapes are known: a :class:`Call` of one kernel (behind another one, ``once``, that makes what all problems share), or
    a host program on flat operands."""

    def __init__(
        self, executor: Executor, plan: Plan, sizes: Mapping[str, int], shapes: Sequence[tuple[int, ...]], lead: tuple[int, ...],
        once: Once | None = None,
    ) -> None:  # fmt: skip
        self.executor, self.plan, self.sizes, self.lead = executor, plan, dict(sizes), lead
        self.call: Call | None = None
        self._once = once
        self._rest: Call | None = None
        if once is not None:
            assert isinstance(plan, KernelPlan)
            self._rest = Call(plan, self.sizes, [*shapes, *once.call.result_shapes], lead, [None] * len(plan.graph.results))
        elif isinstance(plan, KernelPlan):
            self.call = Call(plan, self.sizes, shapes, lead, [None] * len(plan.graph.results))
        else:
            self._views = [view(s, v.type.rank, lead) for s, v in zip(shapes, executor.graph.inputs, strict=True)]
            self._flags = [v.batched for v in self._views]
            self._count = prod(lead) if any(self._flags) else None

    def __call__(
        self, tensors: Sequence[Tensor], modules: Modules, links: Links = (), stored: Sequence[Tensor] | None = None
    ) -> Sequence[Tensor]:
        """Results with the leading shape of the call. ``links`` and ``stored``: see :func:`~.autograd.apply`; for one kernel only."""
        if self.call is not None:
            self._check(tensors)
            return apply(self.call, tensors, links, stored)
        if self._once is not None and self._rest is not None:
            self._check(tensors)
            return apply(self._rest, [*tensors, *self._once(tensors)])
        assert isinstance(self.plan, HostPlan)
        flat = [v(x) for v, x in zip(self._views, tensors, strict=True)]
        found = self.plan(flat, self._flags, self._count, self.sizes, modules)
        if not self.lead or (len(self.lead) == 1 and self._count is not None):
            return found
        return [y.reshape((*self.lead, *(y.shape if self._count is None else y.shape[1:]))) for y in found]

    def _check(self, tensors: Sequence[Tensor]) -> None:
        """Raises DataError for an operand whose address means nothing to the kernel."""
        device = self.plan.device  # type: ignore[union-attr]
        at = devices.misplaced(tensors, device)
        if at is None:
            return
        name, kernel = self.executor.graph.inputs[at].name, f"the kernel of {self.executor.graph.name} runs on {devices.WHAT[device]}"
        first = self.executor.graph.inputs[0].name
        if device == "cuda" and tensors[at].is_cuda:
            raise DataError(f"{first} is on device {tensors[0].device}, {name} on {tensors[at].device}: move one of them")
        raise DataError(f"{name} is on device {tensors[at].device}, and {kernel}")


def _with_backward(graph: Graph, settings: Settings) -> Graph:
    what = f'backward="{settings.backward}"'
    if not stops_by_data(graph):
        raise DataError(f"{what} is about loops with `until`, and {graph.name} has none")
    if settings.target == "interpreter":
        raise DataError(f"the interpreter records every operation for the gradient: {what} takes a target that compiles")
    reason = next((why for n in walk(graph.nodes) if (why := why_host(n))), None)
    if reason is not None:
        raise DataError(f"{what} takes a program that is one kernel, and a part of {graph.name} runs on the host: {reason}")
    return with_backward(graph, settings.backward)


def make_plan(graph: Graph, settings: Settings, per_problem: tuple[bool, ...]) -> Plan:
    """Compile a specialised graph for the target; what that cannot take, the interpreter runs. Raises DataError for a backward pass that
    such a program cannot have, and for a budget of memory where torch records the gradient, operation by operation."""
    if settings.backward != "unrolled":
        graph = _with_backward(graph, settings)
    plan = _made(graph, settings, per_problem)
    if settings.memory is not None and isinstance(plan, HostPlan):
        if settings.target == "interpreter":
            raise DataError("the interpreter keeps every value for the gradient: memory= takes a target that compiles")
        reason = next((why for n in walk(graph.nodes) if (why := why_host(n))), "see the warning")
        raise DataError(f"memory= takes a program that is one kernel, and a part of {graph.name} runs on the host: {reason}")
    return plan


def _made(graph: Graph, settings: Settings, per_problem: tuple[bool, ...]) -> Plan:
    named = registry.target(settings.target, strict=settings.strict, tune=settings.tune, scheduler=settings.scheduler)
    target = registry.debugging(named) if settings.debug else registry.allowing(named, tf32=settings.tf32)
    strict = settings.strict
    if target is None:
        if settings.schedule:
            raise DataError("the interpreter runs the program as it is written: it takes no schedule")
        return HostPlan(HostProgram(graph), strict=strict, debug=settings.debug)
    lacking = sorted({t.dtype for t in graph.types.values() if not target.supports(t.dtype)})
    if not set(lacking) <= set(HALF):
        fall_back(graph.name, CompileError(f"target {target.name} holds no {' or '.join(lacking)} values"))
        return HostPlan(HostProgram(graph), strict=strict, debug=settings.debug)
    if is_one_kernel(graph) and not lacking:  # half precision that the target lacks is converted outside the kernel
        try:
            batching = Batching(per_problem, (True,) * len(graph.results))
            chosen = None if settings.schedule is None else split_kernels(settings.schedule, [graph.name])[graph.name]
            compiled = compile_graph(graph, target, strict=strict, schedule=chosen, batching=batching)
            again = partial(compile_graph, target=target, strict=strict, batching=batching) if chosen is None else None
            return KernelPlan(graph, compiled, strict=strict, per_problem=per_problem, compile=again, memory=settings.memory)
        except CompileError as error:
            if settings.schedule is not None:
                raise
            fall_back(graph.name, error)
            return HostPlan(HostProgram(graph), strict=strict, debug=settings.debug)
    try:
        shared = {v.name for v, own in zip(graph.inputs, per_problem, strict=True) if not own}
        program = compile_host(graph, target, strict=strict, schedule=settings.schedule, shared=shared)
        plan = HostPlan(program, strict=strict, debug=settings.debug)
        if settings.schedule is None and not settings.debug and can_differentiate(graph):
            every = {v.name for v in graph.inputs}

            def make(whole: Graph, late: frozenset[str]) -> HostPlan:
                return HostPlan(compile_host(whole, target, strict=strict, shared=every, late=late), strict=strict)

            plan.gradient = HostGradient(graph, make, plan)
        return plan
    except CompileError as error:
        fall_back(graph.name, error)
        return HostPlan(HostProgram(graph), strict=strict, debug=settings.debug)
