"""The gradient of a host program as a host program of its own, where all that it differentiates on the host are modules, and calls with adjoints
of their own.

    for k: x = x - s[k] * vjp(f; x)      -->      for k: x -> row k; x = kernel(x, s, vjp(f; x))
                                                  ... the results are there, cotangents come ...
                                                  for k, backwards: dx, ds = kernel(rows, s, dx, ds); dx = dx + vjp(vjp(f); row k, dx)

Torch then sees one function for the whole program: kernels are made for an iteration backward, as for one forward, and bound once for a run,
and what torch records of a module forward is there backward (see :mod:`~..compiler.graph.calls`). What is differentiated again, and modules
that read something learned beside their operands, torch records operation by operation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from ..compiler.diagnostics import CompileError
from ..compiler.driver import expands
from ..compiler.graph.activity import differentiable
from ..compiler.graph.adjoint import value_and_gradient
from ..compiler.graph.delay import delayed
from ..compiler.graph.graph import Builder, Graph, Node, walk
from ..compiler.graph.interp import Begun
from ..compiler.graph.interp_modules import Learned
from ..compiler.graph.ops.library import apply_vjp, library_adjoint
from ..compiler.graph.ops.table import lookup
from ..compiler.graph.segments import NO_CALLS
from ..compiler.graph.types import HALF
from .execute import fall_back

if TYPE_CHECKING:
    from .executor import HostPlan, Modules

#: Compiles a graph; inputs of these names come late.
Make = Callable[[Graph, frozenset[str]], "HostPlan"]


def can_differentiate(graph: Graph) -> bool:
    """Whether a host program may have such a gradient: it calls modules, or what has an adjoint of its own, in loops whose iterations are counted,
    and in no branch. Of others, such as factorisations, torch keeps what their derivatives need."""
    return (
        any(node.op == "for" and not expands(node) for node in graph.nodes)
        and all(map(_is_taken, graph.nodes))
        and not any(t.dtype in HALF for t in graph.types.values())
    )


def _is_taken(node: Node) -> bool:
    if expands(node):
        return not any(inner.attr("until") for inner in walk([node]) if inner.op == "for")
    if node.op == "for":
        return not node.attr("until") and all(map(_is_taken, node.regions[0].nodes))
    op, attrs = node.op, dict(node.attrs)
    while op == "vjp":
        op, attrs = attrs["op"], dict(attrs["op_attrs"])
    row = lookup(op)
    return op == "module" or (row.family != "control" and row.adjoint not in (None, library_adjoint))


class HostGradient:
    """How torch sees a host program of one problem: ``graph`` is that program before it was cut, ``make`` compiles its gradients."""

    def __init__(self, graph: Graph, make: Make, plan: HostPlan) -> None:
        self.plan, self.types, self._graph, self._make = plan, graph.result_types, graph, make
        self._made: dict[tuple[int, ...], HostPlan | None] = {}  # by the inputs that it is taken in
        self._learned: WeakValueDictionary[int, Any] = WeakValueDictionary()  # by their identity

    def __call__(self, tensors: Sequence[Tensor], sizes: Mapping[str, int], modules: Modules) -> Sequence[Tensor] | None:
        """The results, recorded by autograd; None where torch should record operation by operation, for those who want to see what it saves
        (checkpoints do) or else, or nothing is to be recorded."""
        if torch._C._autograd._top_saved_tensors_default_hooks(False) is not None:
            return None
        wrt = tuple([n for n, (x, v) in enumerate(zip(tensors, self._graph.inputs, strict=True)) if x.requires_grad and differentiable(v.type)])
        if not wrt or not all(x.is_cpu for x in tensors) or any(map(self._is_learned, _each(modules))):
            return None
        made = self._made[wrt] if wrt in self._made else self._compiled(wrt)
        if made is None:
            return None
        try:
            return _Program.apply(self, made, wrt, sizes, modules, *tensors)  # type: ignore[no-any-return, no-untyped-call]
        except Learned as found:
            if type(found.module).__weakrefoffset__:
                self._learned[id(found.module)] = found.module
            return None

    def _is_learned(self, module: Any) -> bool:
        return self._learned.get(id(module)) is module or (isinstance(module, nn.Module) and any(p.requires_grad for p in module.parameters()))

    def _compiled(self, wrt: tuple[int, ...]) -> HostPlan | None:
        """The program with its gradient in inputs ``wrt``: results, then cotangents; None where the target does not take it."""
        graph = self._graph
        b = Builder(f"{graph.name}_with_gradient", graph.inputs)
        cotangents = [b.input(f"d_{r}", t) if differentiable(t) else None for r, t in zip(graph.results, graph.result_types, strict=True)]
        made = None
        try:
            results, found = value_and_gradient(b, graph, graph.inputs, wrt, cotangents, policy=NO_CALLS)
            whole = delayed(b.finish([*results, *found]), expands)
            made = self._make(whole, frozenset(c.name for c in cotangents if c is not None))
        except CompileError as error:
            fall_back(f"the backward of {graph.name}", error)
        self._made[wrt] = made
        return made

    def begun(self, made: HostPlan, tensors: Sequence[Tensor], sizes: Mapping[str, int], modules: Modules) -> Begun:
        """A run that has the results first, and waits for their cotangents."""
        from .executor import BoundKernels

        graph, early = made.program.graph, len(self._graph.results)
        return Begun(graph, tensors, sizes, len(graph.inputs) - len(tensors), early, modules, BoundKernels(made))


def _each(modules: Modules) -> Sequence[Any]:
    return [f for found in modules.values() for f in (found if isinstance(found, (Sequence, nn.ModuleList)) else (found,))]


class _Program(torch.autograd.Function):
    """A host program as eager autograd sees it."""

    @staticmethod
    def forward(
        ctx: Any, of: HostGradient, made: HostPlan, wrt: tuple[int, ...], sizes: Mapping[str, int], modules: Modules, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.of, ctx.wrt, ctx.sizes, ctx.modules = of, wrt, sizes, modules
        ctx.begun = of.begun(made, tensors, sizes, modules)
        results: tuple[Tensor, ...] = ctx.begun.begin()
        ctx.save_for_backward(*tensors)
        ctx.differentiable = [differentiable(t) for t in of.types]
        ctx.mark_non_differentiable(*[y for y, able in zip(results, ctx.differentiable, strict=True) if not able])
        return results

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        tensors, wrt = ctx.saved_tensors, ctx.wrt
        given = [g for g, able in zip(cotangents, ctx.differentiable, strict=True) if able]
        if torch.is_grad_enabled():  # to be differentiated again
            again = lambda *xs: ctx.of.plan.recorded(xs, [False] * len(xs), None, ctx.sizes, ctx.modules)  # noqa: E731
            found = apply_vjp(torch, again, tensors, given, wrt, range(len(given)))
        else:
            last = not torch._C._autograd._get_current_graph_task_keep_graph()
            found = ctx.begun.finish(given, last=last)
            if last:
                del ctx.begun
        grads = dict(zip(wrt, found, strict=True))
        return None, None, None, None, None, *[grads.get(n) for n in range(len(tensors))]
