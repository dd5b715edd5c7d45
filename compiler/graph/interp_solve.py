"""How the interpreter runs a solve by conjugate gradients: its loop, which torch does not record, and the derivative that graphs have.

Of a solve and what its operator reads a graph is made, of that its adjoint (:mod:`.adjoint_solve`), in which there are solves again: so torch
differentiates it as often as it likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .activity import differentiable
from .adjoint import backward
from .batch import batch
from .conjugate_gradients import with_loops
from .graph import Graph, Node, Value, free_names
from .interp_control import STEPS, Frame, Planner, Step
from .segments import unused
from .tangent import tangent


def _step(plan: Planner, node: Node) -> Step:
    from .interp import interpret

    names = sorted(free_names(node))
    graph = Graph(f"{node.output.name}_solve", tuple(Value(n, plan.types[n]) for n in names), (node,), (node.output.name,))
    ins, out = [plan.slot(n) for n in names], plan.slot(node.output.name)
    loops = with_loops(graph)

    def solve(frame: Frame) -> None:
        import torch

        tensors, sizes = [frame.slots[i] for i in ins], dict(frame.sizes)
        if (torch.is_grad_enabled() and any(x.requires_grad for x in tensors)) or torch._C._functorch.maybe_current_level() is not None:
            frame.slots[out] = _recorded(torch, graph, loops, sizes)(*tensors)
        else:
            (frame.slots[out],) = interpret(loops, tensors, sizes)

    return solve


def _recorded(torch: Any, graph: Graph, loops: Graph, sizes: dict[str, int]) -> Any:
    """The solve as a function that torch differentiates by the graph's own derivative."""
    from .interp import interpret

    able = [differentiable(v.type) for v in graph.inputs]

    class Solve(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(*tensors: Any) -> Any:
            return interpret(loops, tensors, sizes)[0]

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_backward(*inputs, output)
            ctx.save_for_forward(*inputs)

        @staticmethod
        def backward(ctx: Any, cotangent: Any) -> Any:
            *tensors, found = ctx.saved_tensors
            wrt = [n for n, x in enumerate(tensors) if able[n] and ctx.needs_input_grad[n]]
            adjoint = backward(graph, wrt, kept=graph.results)
            return _placed(wrt, interpret(adjoint, [*tensors, found, cotangent], sizes), len(tensors))

        @staticmethod
        def jvp(ctx: Any, *tangents: Any) -> Any:
            tensors = ctx.saved_tensors
            wrt = [n for n, t in enumerate(tangents) if able[n] and t is not None]
            return interpret(tangent(graph, wrt), [*tensors, *(tangents[n] for n in wrt)], sizes)[0]

        @staticmethod
        def vmap(info: Any, in_dims: Sequence[int | None], *tensors: Any) -> Any:
            moved = [x if d is None else x.movedim(d, 0) for x, d in zip(tensors, in_dims, strict=True)]
            size = unused("batch", sizes)
            wide = batch(graph, [d is not None for d in in_dims], size)
            return _recorded(torch, wide, with_loops(wide), {**sizes, size: info.batch_size})(*moved), 0

    return Solve.apply


def _placed(wrt: Sequence[int], found: Sequence[Any], count: int) -> tuple[Any, ...]:
    out: list[Any] = [None] * count
    for n, x in zip(wrt, found, strict=True):
        out[n] = x
    return tuple(out)


STEPS["solve_cg"] = _step
