"""Running a compiled kernel on tensors, and its backward kernel through torch's autograd.

A kernel computes one problem; a call runs it on a batch. Operands are flat: core axes only (shared by all problems), or one
batch axis in front of them. The number of threads is torch's: many problems are divided among the threads, few
problems each get all of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..compiler import options
from ..compiler.diagnostics import CompileError, UnspoolError
from ..compiler.driver import Compiled, compile_graph
from ..compiler.graph.adjoint import backward, differentiable
from ..compiler.graph.batch import batch as batch_graph
from ..compiler.graph.graph import Graph
from ..compiler.graph.interp import interpret
from ..compiler.graph.ops.common import torch_dtype

#: Below this much work (in additions), starting threads costs more than they save.
SMALL = 200_000.0
#: From this much work per problem, all threads share each problem rather than leave some idle at the end.
LARGE = 2_000_000.0


class FallbackWarning(UserWarning):
    """A part of a program runs in the interpreter because the target cannot compile it."""


@dataclass(frozen=True)
class _Layout:
    """How operands lie in memory for one kind of call: shapes of outputs, strides of contiguous operands."""

    shapes: list[tuple[int, ...]]
    batch_strides: list[int]  # of inputs if contiguous, then of outputs
    integers: list[int]


class Runner:
    """A compiled kernel as a function of flat tensors; with ``accumulate`` it adds to its outputs (see ``compile_graph``)."""

    def __init__(self, compiled: Compiled, source: Graph, *, accumulate: bool = False) -> None:
        self.compiled = compiled
        self.inputs = [v.type for v in source.inputs]
        self.results = source.result_types
        self.dtypes = [torch_dtype(torch, t.dtype) for t in self.results]
        self.accumulate = accumulate
        self.kernel = compiled.kernel
        names = {n for t in (*self.inputs, *self.results) for s in t.shape for n in s.names()}
        self._names = (*compiled.integers, *sorted(names - set(compiled.integers)))
        self._layouts: dict[Any, _Layout] = {}

    def layout(self, batched: Sequence[bool], own: Sequence[bool], sizes: Mapping[str, int]) -> _Layout:
        """The layout for operands with (``batched``) and results with (``own``) a batch axis."""
        key = (tuple(batched), tuple(own), *[sizes[n] for n in self._names])
        found = self._layouts.get(key)
        if found is None:
            inputs, outputs = (
                [tuple(s.evaluate(sizes) for s in t.shape) for t in types] for types in (self.inputs, self.results)
            )
            strides = [prod(shape) if flag else 0 for shape, flag in zip((*inputs, *outputs), (*batched, *own), strict=True)]
            found = _Layout(outputs, strides, [sizes[n] for n in self.compiled.integers])
            self._layouts[key] = found
        return found

    def run(
        self, inputs: Sequence[Tensor], batched: Sequence[bool], batch: int | None, sizes: Mapping[str, int], own: Sequence[bool]
    ) -> list[Tensor]:
        """Outputs: per problem where ``own`` (a batch axis in front, if ``batch`` is not None), else summed over problems."""
        layout = self.layout(batched, own, sizes)
        count = 1 if batch is None else batch
        strides = layout.batch_strides.copy()
        operands = list(inputs)
        for i, x in enumerate(operands):
            if not x.is_contiguous() or x.is_conj() or x.is_neg():
                operands[i], strides[i] = _readable(x, batched[i])
        teams, team_size = self.threads(count)
        steps = [0] * len(strides)
        outputs: list[Tensor] = []
        make = torch.zeros if self.accumulate else torch.empty
        for shape, dtype, mine in zip(layout.shapes, self.dtypes, own, strict=True):
            if not mine:
                steps[len(operands) + len(outputs)] = prod(shape)
            outputs.append(make((count if mine else teams, *shape), dtype=dtype))
        if count:
            self.kernel(operands, outputs, count, strides, steps, layout.integers, teams, team_size)
        if batch is not None and all(own):
            return outputs
        return [
            y if mine and batch is not None else y[0] if len(y) == 1 else y.sum(0) for y, mine in zip(outputs, own, strict=True)
        ]

    def threads(self, count: int) -> tuple[int, int]:
        """(teams, threads in each) for this many problems."""
        available = torch.get_num_threads()
        if available == 1 or self.compiled.work * count < SMALL:
            return 1, 1
        return (available, 1) if count >= available else (1, available)


def _readable(x: Tensor, batched: bool) -> tuple[Tensor, int]:
    """The tensor with its core axes contiguous, and its batch stride."""
    x = x.resolve_conj().resolve_neg()
    if batched:
        extent = 1
        for size, stride in zip(x.shape[:0:-1], x.stride()[:0:-1]):
            if size != 1 and stride != extent:
                x = x.contiguous()
                break
            extent *= size
        return x, x.stride(0)
    return x.contiguous(), 0


class KernelPlan:
    """One graph as a kernel, with its backward kernels made on first use."""

    def __init__(self, graph: Graph, compiled: Compiled, *, strict: bool) -> None:
        self.graph = graph
        self.forward = Runner(compiled, graph)
        self.strict = strict
        self.differentiable = [differentiable(t) for t in graph.result_types]
        self.can_differ = [differentiable(v.type) for v in graph.inputs]
        self._own = [True] * len(graph.results)
        self._backward: dict[tuple[int, ...], Runner | None] = {}

    def __call__(
        self, tensors: Sequence[Tensor], batched: Sequence[bool], batch: int | None, sizes: Mapping[str, int]
    ) -> Sequence[Tensor]:
        """Results of the graph, recorded by autograd if an operand requires it."""
        if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
            return _Call.apply(self, tuple(batched), batch, sizes, *tensors)  # type: ignore[no-any-return, no-untyped-call]
        return self.run(tensors, batched, batch, sizes)

    def run(
        self, tensors: Sequence[Tensor], batched: Sequence[bool], batch: int | None, sizes: Mapping[str, int]
    ) -> list[Tensor]:
        """Results, not recorded."""
        return self.forward.run(tensors, batched, batch, sizes, self._own)

    def backward(self, wrt: tuple[int, ...]) -> Runner | None:
        """The kernel of the gradient in inputs ``wrt``; None where the interpreter has to do it."""
        if wrt not in self._backward:
            graph = backward(self.graph, wrt)
            try:
                compiled = compile_graph(graph, self.forward.compiled.target, accumulate=True, strict=self.strict)
                self._backward[wrt] = Runner(compiled, graph, accumulate=True)
            except CompileError as error:
                fall_back(f"the backward of {self.graph.name}", error)
                self._backward[wrt] = None
        return self._backward[wrt]

    def gradient(
        self,
        wrt: tuple[int, ...],
        tensors: Sequence[Tensor],
        batched: Sequence[bool],
        batch: int | None,
        sizes: Mapping[str, int],
        cotangents: Sequence[Tensor | None],
    ) -> list[Tensor]:
        """Gradients in inputs ``wrt``, each shaped as the input."""
        runner = self.backward(wrt)
        if runner is None:
            return self._interpreted(wrt, tensors, batched, batch, sizes, cotangents)
        inputs, flags = list(tensors), list(batched)
        shapes = self.forward.layout(batched, self._own, sizes).shapes
        for given, wanted, shape, dtype in zip(cotangents, self.differentiable, shapes, self.forward.dtypes, strict=True):
            if wanted:
                inputs.append(torch.zeros(shape, dtype=dtype) if given is None else given)
                flags.append(batch is not None and given is not None)
        return runner.run(inputs, flags, batch, sizes, [batched[i] or batch is None for i in wrt])

    def _interpreted(
        self,
        wrt: tuple[int, ...],
        tensors: Sequence[Tensor],
        batched: Sequence[bool],
        batch: int | None,
        sizes: Mapping[str, int],
        cotangents: Sequence[Tensor | None],
    ) -> list[Tensor]:
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_(i in wrt) for i, t in enumerate(tensors)]
            outputs = interpret_batch(self.graph, leaves, batched, batch, sizes)
            pairs = [(y, g) for y, g in zip(outputs, cotangents, strict=True) if g is not None and y.requires_grad]
            wanted = [leaves[i] for i in wrt]
            if not pairs:
                return [torch.zeros_like(x) for x in wanted]
            found = torch.autograd.grad([y for y, _ in pairs], wanted, [g for _, g in pairs], materialize_grads=True)
            return list(found)


def interpret_batch(
    graph: Graph, tensors: Sequence[Tensor], batched: Sequence[bool], batch: int | None, sizes: Mapping[str, int], **hooks: Any
) -> tuple[Tensor, ...]:
    """A graph of one problem, run by the interpreter on flat tensors."""
    if batch is None:
        return interpret(graph, tensors, sizes, **hooks)
    return interpret(batch_graph(graph, batched), tensors, {**sizes, "batch": batch}, **hooks)


def fall_back(what: str, error: CompileError) -> None:
    """Say that the interpreter takes over, and why; passes the error on if the user asked to stop there."""
    if options.current.stop:
        raise error
    warnings.warn(f"{what} runs in the interpreter: {error}", FallbackWarning, stacklevel=2)


class _Call(torch.autograd.Function):
    """A call of a kernel, as autograd sees it."""

    @staticmethod
    def forward(
        ctx: Any, plan: KernelPlan, batched: tuple[bool, ...], batch: int | None, sizes: Mapping[str, int], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.plan, ctx.batched, ctx.batch, ctx.sizes = plan, batched, batch, sizes
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        outputs = plan.run(tensors, batched, batch, sizes)
        ctx.mark_non_differentiable(*[y for y, d in zip(outputs, plan.differentiable) if not d])
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Any, ...]:
        plan: KernelPlan = ctx.plan
        needed = ctx.needs_input_grad[4:]
        wrt = tuple([i for i, need in enumerate(needed) if need and plan.can_differ[i]])
        found = plan.gradient(wrt, ctx.saved_tensors, ctx.batched, ctx.batch, ctx.sizes, cotangents)
        if torch.is_grad_enabled():  # create_graph=True: what comes of the gradients must not be differentiated silently
            sources = [*[g for g in cotangents if g is not None], *ctx.saved_tensors]
            found = list(_Once.apply(plan.graph.name, len(found), *found, *sources))  # type: ignore[no-untyped-call]
        grads: list[Tensor | None] = [None] * len(needed)
        for i, g in zip(wrt, found, strict=True):
            grads[i] = g
        return None, None, None, None, *grads


class _Once(torch.autograd.Function):
    """Gradients that cannot be differentiated again, with an error that says so."""

    @staticmethod
    def forward(ctx: Any, name: str, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.name = name
        return tuple(t.view_as(t) for t in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        raise UnspoolError(
            f"second derivatives through the compiled kernel of {ctx.name} are not available: use target='interpreter', "
            "or grad inside the program"
        )
