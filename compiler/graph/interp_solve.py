"""How the interpreter runs a solve by conjugate gradients: its loop, which torch does not record, and the derivative that graphs have.

Of a solve and what its operator reads a graph is made, of that its adjoint (:mod:`.adjoint_solve`), in which there are solves again: so torch
differentiates it as often as it likes. The parameters of modules that the operator applies are read by the modules, not by the graph: their
derivative is that of the operator at the solution, by torch.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from ..diagnostics import DataError
from .activity import differentiable
from .adjoint import backward
from .batch import batch
from .conjugate_gradients import with_loops
from .graph import Graph, Node, Value, free_names, walk
from .interp_control import STEPS, Frame, Modules, Planner, Step
from .isolated import derivative, isolated
from .ops.table import Attrs
from .segments import unused
from .tangent import tangent


def _step(plan: Planner, node: Node) -> Step:
    from .interp import interpret

    names = sorted(free_names(node))
    graph = Graph(f"{node.output.name}_solve", tuple(Value(n, plan.types[n]) for n in names), (node,), (node.output.name,))
    ins, out = [plan.slot(n) for n in names], plan.slot(node.output.name)
    loops, opaque = with_loops(graph), _applies_a_module(node)

    def solve(frame: Frame) -> None:
        import torch

        tensors, sizes = [frame.slots[i] for i in ins], dict(frame.sizes)
        leaves = _leaves(graph, tensors, sizes, frame.modules) if opaque and torch.is_grad_enabled() else []
        recorded = torch.is_grad_enabled() and any(x.requires_grad for x in (*tensors, *leaves))
        if recorded or torch._C._functorch.maybe_current_level() is not None:
            frame.slots[out] = _recorded(torch, graph, loops, sizes, frame.modules)(*tensors, *leaves)
        else:
            (frame.slots[out],) = interpret(loops, tensors, sizes, modules=frame.modules)

    return solve


def _applies_a_module(node: Node) -> bool:
    """Whether the operator of a solve does, or a derivative of one."""

    def does(op: str, attrs: Attrs) -> bool:
        return op == "module" or (op == "vjp" and does(attrs["op"], dict(attrs["op_attrs"])))

    return any(does(inner.op, dict(inner.attrs)) for inner in walk(node.regions[0].nodes))


def _leaves(graph: Graph, tensors: Sequence[Any], sizes: dict[str, int], modules: Modules) -> list[Any]:
    """The tensors that require gradients and are read by modules alone: parameters, as a rule. They are what torch reaches from one application of
    the operator, less what that application itself has made, which is gone with it."""
    import torch

    detached = [x.detach() for x in tensors]
    with torch.enable_grad():
        value = _operator(graph, detached[_right(graph)], detached, sizes, modules)
    found, seen, stack = [], set(), [value.grad_fn]
    while stack:
        function = stack.pop()
        if function is None or function in seen:
            continue
        seen.add(function)
        if hasattr(function, "variable"):
            found.append(weakref.ref(function.variable))
        stack += [before for before, _ in function.next_functions]
    seen.clear()
    del value, function
    return [leaf for leaf in (one() for one in found) if leaf is not None]


def _right(graph: Graph) -> int:
    """Which input of the graph of a solve is the right side."""
    return [v.name for v in graph.inputs].index(graph.nodes[0].inputs[0])


def _operator(graph: Graph, x: Any, tensors: Sequence[Any], sizes: dict[str, int], modules: Modules) -> Any:
    """What the operator of a solve gives for ``x``."""
    from .interp import interpret

    region = graph.nodes[0].regions[0]
    alone = Graph(f"{graph.name}_operator", (*graph.inputs, region.args[0]), region.nodes, region.results)
    return interpret(alone, [*tensors, x], sizes, modules=modules)[0]


def _recorded(torch: Any, graph: Graph, loops: Graph, sizes: dict[str, int], modules: Modules) -> Any:
    """The solve as a function, of the graph's inputs and of parameters of modules, that torch differentiates by the graph's own derivative."""
    from .interp import interpret

    able = [differentiable(v.type) for v in graph.inputs]
    count = len(able)

    class Solve(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(*tensors: Any) -> Any:
            return interpret(loops, tensors[:count], sizes, modules=modules)[0]

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_backward(*inputs, output)
            ctx.save_for_forward(*inputs)

        @staticmethod
        def backward(ctx: Any, cotangent: Any) -> Any:
            *tensors, found = ctx.saved_tensors
            tensors, leaves, right = tensors[:count], tensors[count:], _right(graph)
            own = any(ctx.needs_input_grad[count:])
            wrt = [n for n in range(count) if able[n] and (ctx.needs_input_grad[n] or (own and n == right))]
            adjoint = backward(graph, wrt, kept=graph.results)
            grads = _placed(wrt, interpret(adjoint, [*tensors, found, cotangent], sizes, modules=modules), count)
            if not own:
                return *grads, *(None for _ in leaves)
            operator = derivative(lambda x, *known: (_operator(graph, x, known, sizes, modules),), 1 + count, leaves)
            return *grads, *isolated(operator, [found, *tensors, -grads[right]], leaves)[1 + count :]

        @staticmethod
        def jvp(ctx: Any, *tangents: Any) -> Any:
            if any(t is not None for t in tangents[count:]):
                raise DataError("forward derivatives in the parameters of a module do not go through cg: take them in backward mode")
            tensors = ctx.saved_tensors[:count]
            wrt = [n for n, t in enumerate(tangents) if able[n] and t is not None]
            return interpret(tangent(graph, wrt), [*tensors, *(tangents[n] for n in wrt)], sizes, modules=modules)[0]

        @staticmethod
        def vmap(info: Any, in_dims: Sequence[int | None], *tensors: Any) -> Any:
            if any(d is not None for d in in_dims[count:]):
                raise DataError("torch.vmap over the parameters of a module does not go through cg; pass them as weights")
            moved = [x if d is None else x.movedim(d, 0) for x, d in zip(tensors, in_dims, strict=True)]
            size = unused("batch", sizes)
            wide = batch(graph, [d is not None for d in in_dims[:count]], size)
            return _recorded(torch, wide, with_loops(wide), {**sizes, size: info.batch_size}, modules)(*moved), 0

    return Solve.apply


def _placed(wrt: Sequence[int], found: Sequence[Any], count: int) -> tuple[Any, ...]:
    out: list[Any] = [None] * count
    for n, x in zip(wrt, found, strict=True):
        out[n] = x
    return tuple(out)


STEPS["solve_cg"] = _step
