"""Constraints of learnable parameters: the value is a function of an unconstrained tensor that the optimizer moves.

| constraint       | value of the stored tensor s                                                            |
| ---------------- | --------------------------------------------------------------------------------------- |
| free             | s                                                                                       |
| positive         | softplus(s)                                       (open: never 0)                       |
| nonneg           | max(s, 0), derivative 1 everywhere                (0 is attained, and left again)       |
| unit, interval   | min(max(s, a), b), derivative 1 everywhere        (both ends are attained, and left)    |
| simplex          | softmax(s) over the last axis                     (open)                                |

At a closed bound the derivative in s is that of the identity, so a gradient that points inward always has an effect.
What is beyond a bound is brought back to it when the module runs its next forward pass in training (:func:`settled`), so
s cannot drift away.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..compiler.diagnostics import DataError
from ..compiler.graph.algorithm import Constraint

_TINY = {d: torch.finfo(d).tiny for d in (torch.float16, torch.bfloat16, torch.float32, torch.float64)}


def bounds(constraint: Constraint) -> tuple[float, float]:
    """The closed interval of ``nonneg``, ``unit`` and ``interval``."""
    if constraint.kind == "interval":
        return constraint.lower, constraint.upper
    return 0.0, (1.0 if constraint.kind == "unit" else float("inf"))


def constrain(stored: Tensor, constraint: Constraint) -> Tensor:
    """The value that a stored tensor stands for, differentiable."""
    kind = constraint.kind
    if kind == "free":
        return stored
    if kind == "positive":
        # the threshold above which softplus is taken for the identity: the default one is too low for float64
        return functional.softplus(stored, threshold=40.0).clamp_min(_TINY[stored.dtype])
    if kind == "simplex":
        return stored.softmax(-1)
    if not torch.is_grad_enabled():
        return stored.clamp_min(0.0) if kind == "nonneg" else stored.clamp(*bounds(constraint))
    fixed = stored.detach()
    return fixed.clamp(*bounds(constraint)) + (stored - fixed)  # what is added is 0, with derivative 1


def store(value: Tensor, constraint: Constraint, name: str) -> Tensor:
    """The stored tensor for a value: the inverse of :func:`constrain`. Raises DataError if the value breaks the constraint."""
    check(value, constraint, name)
    kind = constraint.kind
    if kind == "positive":
        wide = value.double()
        return (wide + torch.log(-torch.expm1(-wide))).to(value.dtype)  # the inverse of softplus
    if kind == "simplex":
        return value.clamp_min(torch.finfo(value.dtype).tiny).log()
    return value.clone()


def check(value: Tensor, constraint: Constraint, name: str) -> None:
    """Raises DataError, naming the parameter, if a value breaks its constraint."""
    kind = constraint.kind
    if kind == "free" or value.numel() == 0:
        return
    if kind == "positive":
        needed, broken = "greater than 0", ~(value > 0)
    elif kind == "simplex":
        slack = 8 * value.shape[-1] * torch.finfo(value.dtype).eps
        needed, broken = (
            "at least 0 with sum 1 along the last axis",
            ~(value >= 0) | ~((value.sum(-1, keepdim=True) - 1).abs() <= slack),
        )
    else:
        lower, upper = bounds(constraint)
        needed = f"at least {lower:g}" if upper == float("inf") else f"between {lower:g} and {upper:g}"
        broken = ~((value >= lower) & (value <= upper))
    if bool(broken.any()):
        raise DataError(f"{name} is {kind}: every value must be {needed}; got {value[broken.expand_as(value)][0].item():g}")


def settled(stored: Tensor, constraint: Constraint) -> Tensor:
    """As :func:`constrain`, of a tensor that is first brought back between closed bounds, in place.

    Inside a torch.func transform, which must change nothing, it stays as it is.
    """
    kind = constraint.kind
    if kind in ("free", "positive", "simplex") or torch._C._are_functorch_transforms_active():
        return constrain(stored, constraint)
    if kind == "nonneg":
        stored.detach().clamp_min_(0.0)
    else:
        stored.detach().clamp_(*bounds(constraint))
    return stored.clone()


def pull_back(gradient: Tensor, value: Tensor, constraint: Constraint) -> Tensor:
    """The gradient in a stored tensor, from that in the value it stands for: :func:`constrain` transposed.

    It follows from the value alone: that of softplus is ``1 - exp(-value)``.
    """
    if constraint.kind == "positive":
        return -gradient * torch.expm1(-value)
    if constraint.kind == "simplex":
        scaled = gradient * value
        return scaled - value * scaled.sum(-1, keepdim=True)
    return gradient


def default(constraint: Constraint, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The value of a parameter without an ``init``."""
    if constraint.kind == "simplex":
        return torch.full(shape, 1 / shape[-1], dtype=dtype)
    if constraint.kind in ("unit", "interval"):
        lower, upper = bounds(constraint)
        return torch.full(shape, (lower + upper) / 2, dtype=dtype)
    return torch.full(shape, 1.0 if constraint.kind == "positive" else 0.0, dtype=dtype)
