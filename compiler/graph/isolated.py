"""Functions of tensors whose derivative in further leaves, which they read by themselves, is a partial one.

    y = f(x; p)      -->      torch knows y by x and p alone, and dy/dp leaves out what x owes to p

Plain recording would follow the history of ``x`` to ``p`` as well, once more than whoever differentiates ``x``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Function = Callable[..., tuple[Any, ...]]


def isolated(function: Function, inputs: Sequence[Any], leaves: Sequence[Any]) -> tuple[Any, ...]:
    """What ``function`` gives for ``inputs``, differentiable in them and in ``leaves`` as often as one likes."""
    import torch

    count = len(inputs)

    class Isolated(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *tensors: Any) -> Any:
            ctx.save_for_backward(*tensors[:count])
            return function(*tensors[:count])

        @staticmethod
        def backward(ctx: Any, *cotangents: Any) -> Any:
            return isolated(derivative(function, count, leaves), [*ctx.saved_tensors, *cotangents], leaves)

    found: tuple[Any, ...] = Isolated.apply(*inputs, *leaves)  # type: ignore[no-untyped-call]
    return found


def derivative(function: Function, count: int, leaves: Sequence[Any]) -> Function:
    """The cotangents of ``count`` inputs and of ``leaves``, as a function of inputs and cotangents of the results; 0 for what does not matter."""
    import torch

    def cotangents(*tensors: Any) -> tuple[Any, ...]:
        nested = torch.is_grad_enabled()
        with torch.enable_grad():
            inputs = [x.view_as(x) if nested and x.requires_grad else x.detach().requires_grad_(x.is_floating_point()) for x in tensors[:count]]
            wrt = [x for x in (*inputs, *leaves) if x.requires_grad]
            pairs = [(y, g) for y, g in zip(function(*inputs), tensors[count:], strict=True) if y.requires_grad]
            ys, gs = zip(*pairs, strict=True) if pairs else ((), ())
            grads = torch.autograd.grad(ys, wrt, gs, create_graph=nested, retain_graph=True, allow_unused=True) if pairs else [None] * len(wrt)
        found = iter(grads)
        filled = (next(found) if x.requires_grad else None for x in (*inputs, *leaves))
        return tuple(torch.zeros_like(x) if g is None else g for g, x in zip(filled, (*inputs, *leaves), strict=True))

    return cotangents
