"""The gradient of a module in one operand, bound once for a run: what a loop does again and again where torch records nothing around it.

After an operation that streams megabytes even the objects of Python come from memory, and each of them that a step does without saves a
part of a microsecond: a step of few takes 20 microseconds less than one that looks at what might be (least squares, 500 x 1000).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

#: A step on the slots of a run.
Bound = Callable[[list[Any]], None]


def bound_gradient(
    module: Callable[..., Any], checked: Callable[[Any], tuple[Any, ...]], ins: Sequence[int], at: int, cotangent: int, out: int,
    taken: Sequence[tuple[int, ...]], given: tuple[int, ...], own: tuple[int, ...], device: Any,
) -> Bound:  # fmt: skip
    """The step that puts the gradient of the only result of a module, of shape ``given``, in operand ``at`` into slot ``out``. The module takes the
    values of slots ``ins`` in shapes ``taken``; the gradient has shape ``own``; ``checked`` says whether the result is what it should be, and raises."""
    import torch

    variable = torch.autograd.Variable
    engine = variable._execution_engine.run_backward if device.type == "cpu" else torch.autograd.graph._engine_run_backward
    switch, Tensor = torch._C._set_grad_enabled, torch.Tensor
    source, shape = ins[at], taken[at]
    others = [(n, slot, taken[n]) for n, slot in enumerate(ins) if n != at]
    last: tuple[Any, Any] = (None, None)

    def step(slots: list[Any]) -> None:
        nonlocal last
        x, g = slots[source], slots[cotangent]
        if x.requires_grad or x.is_inference():
            x = _plain(x)
        leaf = x.reshape(shape).requires_grad_()
        if last[0] is not g:  # mostly a constant
            last = g, _plain(g).reshape(given)
        operands = [leaf]
        for n, slot, form in others:
            operands.insert(n, _plain(slots[slot]).reshape(form))
        switch(True)
        try:
            y = module(*operands)
            if type(y) is not Tensor or y.shape != given:
                (y,) = checked(y)
            found = None
            if y.requires_grad:
                (found,) = engine((y,), (last[1],), False, False, (leaf,), allow_unreachable=True, accumulate_grad=False)
        finally:
            switch(False)
        slots[out] = torch.zeros_like(x) if found is None else found.reshape(own)

    return step


def _plain(x: Any) -> Any:
    """A value without history."""
    return x.clone() if x.is_inference() else x.detach() if x.requires_grad else x
