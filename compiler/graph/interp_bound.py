"""The gradient of a module in one operand, bound once for a run: what a loop does again and again where torch records nothing around it.

After an operation that streams megabytes even the objects of Python come from memory, and each of them that a step does without saves a
part of a microsecond: a step of few takes 20 microseconds less than one that looks at what might be (least squares, 500 x 1000).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .ops.library import plain

#: A step on the slots of a run.
Bound = Callable[[list[Any]], None]


def engine(device: Any) -> Callable[..., Any]:
    """Torch's engine as ``torch.autograd.grad`` calls it, whose checks of operands take as long as small modules; what that tells threads of
    other devices is told where there are such."""
    import torch

    graph = torch.autograd.graph
    return torch.autograd.Variable._execution_engine.run_backward if device.type == "cpu" else graph._engine_run_backward


def bound_gradient(
    module: Callable[..., Any], checked: Callable[[Any], tuple[Any, ...]], ins: Sequence[int], at: int, cotangent: int, out: int,
    taken: Sequence[tuple[int, ...]], given: tuple[int, ...], own: tuple[int, ...], device: Any,
) -> Bound:  # fmt: skip
    """The step that puts the gradient of the only result of a module, of shape ``given``, in operand ``at`` into slot ``out``. The module takes the
    values of slots ``ins`` in shapes ``taken``; the gradient has shape ``own``; ``checked`` says whether the result is what it should be, and raises."""
    import torch

    run, switch, Tensor = engine(device), torch._C._set_grad_enabled, torch.Tensor
    source, shape = ins[at], taken[at]
    others = [(n, slot, taken[n]) for n, slot in enumerate(ins) if n != at]
    last: tuple[Any, Any] = (None, None)

    def step(slots: list[Any]) -> None:
        nonlocal last
        x, g = slots[source], slots[cotangent]
        if x.requires_grad or x.is_inference():
            x = plain(x, nested=False)
        leaf = x.reshape(shape).requires_grad_()
        if last[0] is not g:  # mostly a constant
            last = g, plain(g, nested=False).reshape(given)
        operands = [leaf]
        for n, slot, form in others:
            operands.insert(n, plain(slots[slot], nested=False).reshape(form))
        switch(True)
        try:
            y = module(*operands)
            if type(y) is not Tensor or y.shape != given:
                (y,) = checked(y)
            found = None
            if y.requires_grad:
                (found,) = run((y,), (last[1],), False, False, (leaf,), allow_unreachable=True, accumulate_grad=False)
        finally:
            switch(False)
        slots[out] = torch.zeros_like(x) if found is None else found.reshape(own)

    return step
