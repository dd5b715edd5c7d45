"""A loss of a layer and the gradients of its parameters from one kernel: the loss joins the algorithm's graph.

    algorithm: (y, theta) -> x                 one kernel: (y, theta, extra) -> loss, d loss / d theta
    loss:      (x, extra) -> real       -->    problem by problem; gradients of what problems share are summed on the way

A program with library calls or learned operators runs its forward pass as always, then its loss, and torch differentiates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from ..compiler.diagnostics import CompileError, DataError
from ..compiler.driver import Batching, compile_graph, is_one_kernel
from ..compiler.graph.adjoint import value_and_gradient
from ..compiler.graph.adjoint_until import with_backward
from ..compiler.graph.algorithm import Algorithm
from ..compiler.graph.graph import Builder, Graph
from ..compiler.graph.segments import Policy
from ..compiler.graph.specialize import specialize
from ..compiler.graph.types import HALF, Type, is_complex, is_floating
from ..compiler.target import Target
from . import constraints, devices, memory, registry
from .autograd import Call
from .convert import DTYPE_NAMES, Argument, argument, device_of, precision, tensor, widened
from .execute import KernelPlan, fall_back
from .executor import Executor, Once, Rewritten, Settings, shared_by
from .values import Values

if TYPE_CHECKING:
    from .module import Checked, Layer


class Loss(Protocol):
    """A ``fn`` of a program."""

    __name__: str
    parameters: tuple[str, ...]

    def lower(self, types: tuple[Type, ...]) -> Algorithm:
        """The function as an algorithm for arguments of these types. Raises ProgramError."""


@dataclass(frozen=True)
class _Step:
    """What is known of a call once its shapes and dtypes have been checked. ``call`` is None where torch differentiates."""

    checked: Checked
    call: Call | None
    names: tuple[str, ...]  # of the parameters that the call has gradients of
    losses: Executor
    once: Once | None = None


class ValueAndGrad:
    """``layer.value_and_grad(loss)``: call it on the layer's inputs, then the further arguments of the loss."""

    def __init__(self, layer: Layer, loss: Loss, reduction: str) -> None:
        if not callable(getattr(loss, "lower", None)):
            raise DataError(f"the loss is a fn of a program (us.load(...).NAME), not a {type(loss).__name__}")
        if reduction not in ("mean", "sum"):
            raise DataError(f'reduction is "mean" or "sum", not {reduction!r}')
        self.layer, self.loss, self.reduction = layer, loss, reduction
        algorithm = layer._routine.algorithm
        self.name = f"{algorithm.name}.value_and_grad({loss.__name__})"
        results = len(algorithm.results)
        if len(loss.parameters) < results:
            raise DataError(
                f"{loss.__name__}({', '.join(loss.parameters)}) takes the {results} results of {algorithm.name} first"
            )
        self.inputs = layer.inputs
        self.extra = loss.parameters[results:]
        self._known: dict[Any, _Step] = {}

    def __repr__(self) -> str:
        return f"<{self.name}, {self.reduction} over problems>"

    def __call__(self, *inputs: Any, **named: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a number, and its gradient in each ``nn.Parameter`` of the layer that requires one, by name.

        Inputs of the layer come first, then what the loss takes behind the layer's results; by name, too (a name that both
        have is the layer's). With leading dimensions the loss is the mean (or sum) over all problems; an argument of
        the loss has these dimensions in front, 1 where problems share it, or is a single number. Gradients are those of
        the stored tensors, as ``named_parameters()`` lists them and an optimizer moves them. Raises DataError.
        """
        if torch._C._is_any_autocast_enabled():
            real = self.layer._like.dtype
            inputs, named = tuple(widened(inputs, real)), dict(zip(named, widened(named.values(), real)))
            with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
                return self._run(inputs, named)
        return self._run(inputs, named)

    def backward(self, *inputs: Any, **named: Any) -> Tensor:
        """The loss; its gradients are added to ``.grad`` of the parameters, as ``loss.backward()`` does."""
        value, grads = self(*inputs, **named)
        parameters = dict(self.layer.named_parameters())
        for name, grad in grads.items():
            p = parameters[name]
            p.grad = grad if p.grad is None else p.grad + grad
        return value

    def _run(self, inputs: Sequence[Any], named: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        wanted = {n: p for n, p in self.layer.named_parameters() if p.requires_grad}
        key = None if named else self.layer._key(False, tuple(wanted), inputs)
        step = self._known.get(key) if key is not None else None
        if step is None:
            step, inputs = self._check(inputs, named, wanted)
            if key is not None:
                self._known[key] = step
        run = self._composed if step.call is None else self._fused
        if torch.is_inference_mode_enabled():  # what comes back is to be trained with
            with torch.inference_mode(False):
                return run(step, inputs, wanted)
        return run(step, inputs, wanted)

    def _fused(
        self, step: _Step, inputs: Sequence[Tensor], wanted: Mapping[str, nn.Parameter]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and the gradients, by the kernel; constraints are pulled back by hand, which costs less than recording them."""
        call, layer, sources = step.call, self.layer, step.checked.sources
        assert call is not None
        found: dict[str, Tensor] = {}
        with torch.no_grad():
            operands = layer._operands(sources, inputs, settle=layer.training)
            made = [] if step.once is None else step.once(operands)
            losses, *grads = call.run([*operands, *made, *inputs[len(self.inputs) :]])
            count = losses.numel()
            for i, g, name in zip(call.likes[1:], grads, step.names, strict=True):
                assert i is not None
                if self.reduction == "mean" and count != 1:
                    g = g / count
                g = constraints.pull_back(g, operands[i], sources[i][0][2])  # type: ignore[index,arg-type]
                if g.dtype is not wanted[name].dtype:
                    g = g.to(wanted[name].dtype)
                found[name] = found[name] + g if name in found else g
            return self._reduced(losses), {n: found[n] if n in found else torch.zeros_like(p) for n, p in wanted.items()}

    def _composed(
        self, step: _Step, inputs: Sequence[Tensor], wanted: Mapping[str, nn.Parameter]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As :meth:`_fused`: the layer, then the loss, differentiated by torch."""
        checked, extra = step.checked, inputs[len(self.inputs) :]
        with torch.enable_grad():
            results = checked.prepare()(self.layer._operands(checked.sources, inputs), self.layer._learned())
            (losses,) = step.losses([*results, *extra], checked.lead, checked.real, checked.sizes)
            total = self._reduced(losses)
            if not total.requires_grad:
                return total, {n: torch.zeros_like(p) for n, p in wanted.items()}
            grads = torch.autograd.grad(total, list(wanted.values()), materialize_grads=True)
        return total.detach(), dict(zip(wanted, grads, strict=True))

    def _reduced(self, losses: Tensor) -> Tensor:
        if losses.dim() == 0:
            return losses
        return losses.mean() if self.reduction == "mean" else losses.sum()

    def _check(
        self, inputs: Sequence[Any], named: Mapping[str, Any], wanted: Mapping[str, nn.Parameter]
    ) -> tuple[_Step, list[Tensor]]:
        """Check the values of a call and convert them."""
        layer, loss = self.layer, self.loss
        own = {n: v for n, v in named.items() if n in self.inputs}
        checked, tensors = layer._check(False, inputs[: len(self.inputs)], own)
        rest = self._rest(inputs[len(self.inputs) :], {n: v for n, v in named.items() if n not in own})
        arguments = [_argument(n, v, checked.lead) for n, v in rest.items()]
        precision(arguments, checked.real, "the layer")
        device = device_of([Argument("the layer", Type("real"), layer._like, False, False), *arguments])
        extra = [tensor(a, checked.real, device) for a in arguments]
        routine = layer._routine.on(device.type)
        graph, names = checked.executor.variant(())
        results = tuple(Type(t.dtype, tuple(s.substitute(checked.sizes) for s in t.shape)) for t in graph.result_types)
        types = (*results, *[a.type for a in arguments])
        lowered = loss.lower(types).graph
        if [(t.dtype, t.rank) for t in lowered.result_types] != [("real", 0)]:
            raise DataError(
                f"{loss.__name__} must return one real number; for {', '.join(map(str, types))} it returns "
                + ", ".join(map(str, lowered.result_types))
            )
        moving = {id(p): name for name, p in wanted.items()}
        stored = {p.name: id(_stored(layer, path, attribute)) for p, path, attribute in layer.declared()}
        params = {name: moving[p] for name, p in stored.items() if p in moving}
        wrt = tuple([i for i, v in enumerate(graph.inputs) if v.name in params])
        fixed = {n: checked.sizes[n] for n in names}
        chosen, once = self._rewritten(checked, frozenset(params))
        common = frozenset() if chosen.once is None else frozenset(chosen.once.results)
        fused = Fused(chosen.graph, lowered, checked.real, fixed, wrt, routine.settings, routine.shared | common)
        made = [] if once is None else once.call.result_shapes
        shapes = [*checked.shapes, *made, *[tuple(x.shape) for x in extra]]
        key = (loss, checked.real, types, wrt, tuple(fixed.items()), chosen.number)
        call = fused.call(routine.fused.setdefault(key, {}), checked.sizes, shapes, checked.lead)
        names = tuple([params[graph.inputs[i].name] for i in wrt])
        losses = Executor(lowered, (), replace(routine.settings, backward="unrolled"))
        return _Step(checked, call, names, losses, once), [*tensors, *extra]

    def _rewritten(self, checked: Checked, moving: frozenset[str]) -> tuple[Rewritten, Once | None]:
        """The graph of the layer as it is computed, and what is made once for all problems before it; gradients in inputs ``moving``, so
        nothing that follows from these is."""
        executor, shapes = checked.executor, checked.shapes
        shared = shared_by(executor.graph, shapes, checked.lead)
        chosen = executor.rewritten(checked.sizes, (), prod(checked.lead), shared)
        if chosen.once is None:
            return chosen, None
        first = executor.first(checked.real, checked.sizes, (), chosen)
        if not isinstance(first, KernelPlan) or moving & {v.name for v in chosen.once.inputs}:
            return Rewritten(executor.variant(())[0]), None
        return chosen, Once(first, executor.graph, checked.sizes, shapes)

    def _rest(self, positional: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """The further arguments of the loss, in order."""
        signature = f"{self.name}({', '.join((*self.inputs, *self.extra))})"
        if len(positional) > len(self.extra):
            raise DataError(
                f"{signature} takes {len(self.inputs) + len(self.extra)} inputs; got {len(self.inputs) + len(positional)}"
            )
        found = dict(zip(self.extra, positional))
        for name, value in named.items():
            if name not in self.extra:
                raise DataError(f"{signature} has no input {name!r}")
            if name in found:
                raise DataError(f"{signature}: {name} is given twice")
            found[name] = value
        missing = [n for n in self.extra if n not in found]
        if missing:
            raise DataError(f"{signature}: {missing[0]} is missing")
        return {n: found[n] for n in self.extra}


def _stored(layer: Layer, path: str, attribute: str) -> Tensor:
    holder = layer.get_submodule(path) if path else layer
    assert isinstance(holder, Values)
    return holder.stored(attribute)


def _argument(name: str, value: Any, lead: tuple[int, ...]) -> Argument:
    """A further argument of a loss, with the type it has for one problem. Raises DataError if its leading dimensions do not fit."""
    a = argument(name, Type("real"), value)
    front = a.shape[: len(lead)]
    if a.shape and (len(front) < len(lead) or any(n not in (1, m) for n, m in zip(front, lead))):
        raise DataError(
            f"{name} needs the leading dimensions {lead} of the call (1 where problems share it), or to be a number; "
            f"got shape {a.shape}"
        )
    dtype = DTYPE_NAMES.get(a.value.dtype, "real")
    if is_floating(dtype) or (a.weak and dtype not in ("bool", "c128")):
        dtype = "real"
    elif is_complex(dtype):
        dtype = "complex"
    return Argument(name, Type.of(dtype, *a.shape[len(front) :]), a.value, a.weak, a.numpy)


@dataclass(frozen=True)
class Fused:
    """One kernel for the ``loss`` of a graph's results and its gradients in inputs ``wrt``."""

    graph: Graph
    loss: Graph
    real: str
    sizes: Mapping[str, int]
    wrt: tuple[int, ...]
    settings: Settings
    shared: frozenset[str]

    def call(
        self, plans: dict[Policy, KernelPlan | None], sizes: Mapping[str, int], shapes: Sequence[tuple[int, ...]], lead: tuple[int, ...]
    ) -> Call | None:
        """The call for operands of these shapes, by one of ``plans``, where new ones are put; None where there can be no such kernel."""
        settings = self.settings
        named = registry.target(settings.target, strict=settings.strict, tune=settings.tune, scheduler=settings.scheduler)
        target = registry.allowing(named, tf32=settings.tf32)
        whole = self.whole
        if self.real in HALF:  # the kernel would add up over problems in half precision
            return None
        if target is None or not is_one_kernel(whole) or not all(target.supports(t.dtype) for t in whole.types.values()):
            return None

        def made(policy: Policy) -> Call:
            if policy not in plans:
                plans[policy] = self.plan(policy, target)
            plan = plans[policy]
            if plan is None:
                raise _NoKernel
            return Call(plan, sizes, shapes, lead, (None, *self.wrt))

        try:
            device = registry.device_type(target.name)
            budget, teams = memory.Budget.of(self.settings.memory, 0, device), devices.at_work(prod(lead), device)
            found, choice = memory.choose(budget, made, self.gradient, sizes, teams, self.graph.name, device)
        except _NoKernel:
            return None
        found.choice = choice
        return found

    @cached_property
    def whole(self) -> Graph:
        """The graph, then the loss."""
        return joined(
            with_backward(specialize(self.graph, self.real, self.sizes), self.settings.backward), specialize(self.loss, self.real, {})
        )

    def gradient(self, policy: Policy) -> Graph:
        """The loss, then its gradients."""
        whole = self.whole
        b = Builder(f"{self.graph.name}_value_and_grad", whole.inputs)
        one = b.op("const", value=1.0, dtype=whole.result_types[0].dtype)
        values, grads = value_and_gradient(b, whole, whole.inputs, self.wrt, [one], policy=policy)
        return b.finish([*values, *grads])

    def plan(self, policy: Policy, target: Target) -> KernelPlan | None:
        """The kernel; None, and a warning, where the target cannot compile it."""
        made = self.gradient(policy)
        mine = tuple([v.name not in self.shared for v in made.inputs])
        strict = self.settings.strict
        try:
            batching = Batching(mine, (True, *[mine[i] for i in self.wrt]))
            make = partial(compile_graph, target=target, accumulate=True, strict=strict, batching=batching)
            compiled = make(made)
        except CompileError as error:
            fall_back(f"the value and gradient of {self.graph.name}", error)
            return None
        return KernelPlan(made, compiled, strict=strict, accumulate=True, per_problem=mine, compile=make)


class _NoKernel(Exception):
    """A policy whose kernel the target cannot compile."""


def joined(graph: Graph, loss: Graph) -> Graph:
    """A graph, then ``loss`` of its results and of further inputs."""
    b = Builder(graph.name, graph.inputs)
    results = b.inline(graph, graph.inputs)
    extra = [b.input(v.name, v.type) for v in loss.inputs[len(results) :]]
    return b.finish(b.inline(loss, [*results, *extra]))
