"""Gradients of a module, bound once for a run: what a loop does again and again where torch records nothing around it.

After an operation that streams megabytes even the objects of Python come from memory, and each of them that a step does without saves a
part of a microsecond: a step of few takes 20 microseconds less than one that looks at what might be (least squares, 500 x 1000).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from .interp_modules import Called
from .ops.library import plain

#: A step on the slots of a run: it says what it has recorded, leaves, the cotangent, the result and its gradient.
Gradient = Callable[[list[Any]], tuple[list[Any], Any, Any, Any]]
#: A step that goes on with such leaves and such a gradient.
Second = Callable[[list[Any], Sequence[Sequence[Any]], Any], None]


def engine(device: Any) -> Callable[..., Any]:
    """Torch's engine as ``torch.autograd.grad`` calls it, whose checks of operands take as long as small modules; what that tells threads of
    other devices is told where there are such."""
    import torch

    graph = torch.autograd.graph
    return torch.autograd.Variable._execution_engine.run_backward if device.type == "cpu" else graph._engine_run_backward


def bound_gradient(
    called: Called, ins: Sequence[int], wrt: Collection[int], at: int, cotangent: int, out: int, again: bool, device: Any
) -> Gradient:
    """The step that puts the gradient of the only result of a module in operand ``at`` into slot ``out``, with the operands of slots ``ins``.
    Operands ``wrt`` are leaves, in which the gradient is differentiated ``again``. Raises DataError as :meth:`.Called.checked`, and Learned."""
    import torch

    run, switch, Tensor = engine(device), torch._C._set_grad_enabled, torch.Tensor
    module, checked, check_closed = called.module, called.checked, called.check_closed if called.closed else None
    operands = [(slot, form.parts[0], n in wrt) for n, (slot, form) in enumerate(zip(ins, called.operands, strict=True))]
    given, own = called.results[0].parts[0], called.operands[at].shape
    last: tuple[Any, Any] = (None, None)

    def step(slots: list[Any]) -> tuple[list[Any], Any, Any, Any]:
        nonlocal last
        g = slots[cotangent]
        if last[0] is not g:  # mostly a constant
            last = g, plain(g, nested=False).reshape(given)
        leaves = []
        for slot, shape, differentiated in operands:
            x = slots[slot]
            if x.requires_grad or x.is_inference():
                x = plain(x, nested=False)
            x = x.reshape(shape)
            leaves.append(x.requires_grad_() if differentiated else x)
        found, leaf = None, leaves[at]
        switch(True)
        try:
            y = module(*leaves)
            if type(y) is not Tensor or y.shape != given:
                (y,) = checked(y)
            if check_closed is not None:
                check_closed((y,), leaves)
            if y.requires_grad:
                (found,) = run((y,), (last[1],), again, again, (leaf,), allow_unreachable=True, accumulate_grad=False)
        finally:
            switch(False)
        if found is None:
            found = torch.zeros_like(leaf)
        slots[out] = (found.detach() if again else found).reshape(own)
        return leaves, last[1], y, found

    return step


def bound_second(called: Called, at: int, wrt: Sequence[int], cotangent: int, outs: Sequence[int], device: Any) -> Second:
    """The step that puts the gradient of a gradient in operand ``at``, in operands ``wrt``, into slots ``outs``."""
    import torch

    run, given = engine(device), called.operands[at].parts[0]
    wanted = [(n, out, called.operands[n].shape) for n, out in zip(wrt, outs, strict=True)]

    def step(slots: list[Any], leaves: Sequence[Sequence[Any]], gradient: Any) -> None:
        asked = tuple([leaves[n][0] for n, _, _ in wanted])
        found: Sequence[Any] = [None] * len(asked)
        if gradient.requires_grad:
            g = plain(slots[cotangent], nested=False).reshape(given)
            found = run((gradient,), (g,), False, False, asked, allow_unreachable=True, accumulate_grad=False)
        for (_, out, shape), x, leaf in zip(wanted, found, asked):
            slots[out] = (torch.zeros_like(leaf) if x is None else x).reshape(shape)

    return step
