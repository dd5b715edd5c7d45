"""Gradients of a module, bound once for a run: what a loop does again and again where torch records nothing around it.

After an operation that streams megabytes even the objects of Python come from memory, and each of them that a step does without saves a
part of a microsecond: a step of few takes 20 microseconds less than one that looks at what might be (least squares, 500 x 1000).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .ops.library import plain

#: A step on the slots of a run.
Bound = Callable[[list[Any]], None]
#: One that also says what it has recorded, and one that goes on with that: leaves, and the gradient.
Record = Callable[[list[Any]], tuple[list[Any], Any, Any, Any]]
Second = Callable[[list[Any], Sequence[Sequence[Any]], Any], None]


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


def bound_record(
    module: Callable[..., Any], checked: Callable[[Any], tuple[Any, ...]], ins: Sequence[int], wrt: Sequence[int], at: int, cotangent: int,
    out: int, taken: Sequence[tuple[int, ...]], given: tuple[int, ...], own: tuple[int, ...], device: Any,
) -> Record:  # fmt: skip
    """As :func:`bound_gradient`, with a graph of the gradient in operands ``wrt``, which is returned: what the module took, the cotangent, the
    result and the gradient."""
    import torch

    run, switch, Tensor = engine(device), torch._C._set_grad_enabled, torch.Tensor
    operands = [(slot, taken[n], n in wrt) for n, slot in enumerate(ins)]
    last: tuple[Any, Any] = (None, None)

    def step(slots: list[Any]) -> tuple[list[Any], Any, Any, Any]:
        nonlocal last
        g = slots[cotangent]
        if last[0] is not g:
            last = g, plain(g, nested=False).reshape(given)
        leaves = []
        for slot, form, differentiated in operands:
            x = plain(slots[slot], nested=False).reshape(form)
            leaves.append(x.requires_grad_() if differentiated else x)
        switch(True)
        try:
            y = module(*leaves)
            if type(y) is not Tensor or y.shape != given:
                (y,) = checked(y)
            found, leaf = None, leaves[at]
            if y.requires_grad:
                (found,) = run((y,), (last[1],), True, True, (leaf,), allow_unreachable=True, accumulate_grad=False)
        finally:
            switch(False)
        if found is None:
            found = torch.zeros_like(leaf)
        slots[out] = (found.detach() if found.requires_grad else found).reshape(own)
        return leaves, last[1], y, found

    return step


def bound_second(
    cotangent: int, outs: Sequence[int], wrt: Sequence[int], given: tuple[int, ...], own: Sequence[tuple[int, ...]], device: Any
) -> Second:
    """The step that puts the gradient of a gradient that was recorded, of shape ``given``, in leaves ``wrt`` into slots ``outs``, in shapes ``own``."""
    import torch

    run = engine(device)

    def step(slots: list[Any], leaves: Sequence[Sequence[Any]], recorded: Any) -> None:
        asked = tuple([leaves[n][0] for n in wrt])
        found: Sequence[Any] = [None] * len(asked)
        if recorded.requires_grad:
            g = plain(slots[cotangent], nested=False).reshape(given)
            found = run((recorded,), (g,), False, False, asked, allow_unreachable=True, accumulate_grad=False)
        for out, x, leaf, shape in zip(outs, found, asked, own):
            slots[out] = (torch.zeros_like(leaf) if x is None else x).reshape(shape)

    return step
