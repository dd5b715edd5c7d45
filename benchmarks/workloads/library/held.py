"""What contests of programs of the standard library have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...contest import FORWARD, GRADIENT, Contest
from ...peers import torch_compiled
from ...plan import Plan
from ...problem import Problem

Contests = Callable[[Plan], Iterator[Contest]]
#: Makes the function that is timed.
Make = Callable[[], Callable[..., Any]]


def f32(values: Any) -> Tensor:
    """An array as a tensor of float32."""
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def held(
    plan: Plan, name: str, size: str, problem: Problem, peer: Make, *, in_place: Make | None = None, gradient: bool = False,
    compiled: bool = True, jax: str = "library_jax", tolerance: float = 1e-3, gradient_tolerance: float | None = None,
) -> Iterator[Contest]:  # fmt: skip
    """The contests of a program: forward, and the gradient where it is asked for.

    ``peer`` makes its function in torch, ``in_place`` another one without derivatives; ``compiled``: torch.compile takes part; ``jax``: the
    module of ``peers`` that has a function of this name, empty without JAX. ``tolerance`` is the largest relative error of results,
    ``gradient_tolerance`` that of gradients (the same unless it is given).
    """
    modes = [(FORWARD, tolerance, problem.forward, problem.torch, problem.jax, problem.reference)]
    if gradient:
        allowed = tolerance if gradient_tolerance is None else gradient_tolerance
        modes.append((GRADIENT, allowed, problem.gradient, problem.torch_gradient, problem.jax_gradient, problem.reference_gradient))
    for mode, allowed, ours, by_torch, by_jax, reference in modes:
        contestants = [*ours(), by_torch("torch", "eager", peer)]
        if in_place and mode == FORWARD:
            contestants.append(by_torch("torch, in place", "eager", in_place))
        if compiled:
            contestants.append(by_torch("torch.compile, whole loop", "compile", lambda: torch_compiled.whole(peer())))
        if jax:
            contestants.append(by_jax("jax scan", name, jax))
        yield Contest(f"library {name}", size, mode, reference, plan.having(contestants), tolerance=allowed)
