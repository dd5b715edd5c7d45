"""Bilevel problems whose lower unknowns are the weights of a network, at the sizes of their experiments. JAX and torch.compile are left out, as
networks are torch's and their gradients are taken inside."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import unspool as us

from ...contest import Contest
from ...peers.library import networks as peers
from ...plan import Plan
from ...problem import Problem
from .held import Contests, f32, held


class Squares(nn.Module):
    """Squared errors of a linear function of groups of features, each times its gate."""

    def __init__(self, groups: int, width: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(groups, width))

    def forward(self, x: Tensor, t: Tensor, gate: Tensor) -> Tensor:
        """Of samples x[n, groups * width]."""
        return ((gate * (x.unflatten(-1, self.w.shape) * self.w).sum(-1)).sum(-1) - t[:, 0]) ** 2


def selection(name: str) -> Contests:
    """Selection of layers for 20 tasks, 20 iterations of 10 steps."""

    def contests(plan: Plan) -> Iterator[Contest]:
        tasks, n, groups, width, K, J = plan.pick((2, 8, 3, 2, 3, 2), (20, 60, 8, 12, 20, 10), (20, 60, 8, 12, 20, 10))
        random = np.random.default_rng(0)
        x = np.tanh(random.standard_normal((tasks, 2 * n, groups, width)))
        truth = random.standard_normal((tasks, groups, width)) * (np.arange(groups) < 2)[:, None]
        t = np.einsum("bnlj,blj->bn", x, truth) + 0.5 * random.standard_normal((tasks, 2 * n))
        x, t = x.reshape(tasks, 2 * n, -1), t[..., None]
        inputs = (f32(x[:, :n]), f32(t[:, :n]), f32(x[:, n:]), f32(t[:, n:]))
        problem = Problem(
            getattr(us.stdlib.bilevel, name), inputs, given={"loss": Squares(groups, width)},
            values={"eta": torch.full((K,), 0.1), "step": torch.tensor(0.02)}, counts={"K": K, "J": J, "layers": groups},
            order=lambda given, inputs, params: (*inputs, *params, given["loss"].w),
        )  # fmt: skip
        peer = partial(peers.select_layers, inner=J, unroll=name == "select_layers")
        size = f"{tasks} tasks, {n}+{n} samples, {groups} groups of {width}, K={K}, J={J}"
        yield from held(plan, name, size, problem, lambda: peer, compiled=False, jax="", tolerance=5e-3)

    return contests


class Losses(nn.Module):
    """The cross-entropy of each sample under a network with one hidden layer."""

    def __init__(self, d: int, h: int, c: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.f = nn.Sequential(nn.Linear(d, h), nn.ReLU(), nn.Linear(h, c))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Of samples x[n, d] with classes t[n, c]."""
        return cross_entropy(self.f(x), t, reduction="none")


def worst_forget(plan: Plan) -> Iterator[Contest]:
    """A tenth of the samples, 20 iterations of 10 steps."""
    n, d, h, c, K, J = plan.pick((20, 4, 3, 2, 3, 2), (1300, 64, 64, 10, 20, 10), (1300, 64, 64, 10, 20, 10))
    random = np.random.default_rng(0)
    X = random.standard_normal((n, d))
    T = np.eye(c)[(X @ random.standard_normal((d, c))).argmax(1)]
    values = {"rate": torch.full((K,), 0.01), "step": torch.tensor(0.001), "gamma": torch.tensor(0.0001)}
    problem = Problem(
        us.stdlib.bilevel.worst_forget, (f32(X), f32(T), n // 10, 1.0), given={"loss": Losses(d, h, c)}, values=values, counts={"K": K, "J": J},
        order=lambda given, inputs, params: (*inputs, *params, given["loss"]),
    )  # fmt: skip
    peer = partial(peers.worst_forget, inner=J, period=20)
    size = f"{n // 10} of {n} samples, network {d}-{h}-{c}, K={K}, J={J}"
    yield from held(plan, "worst_forget", size, problem, lambda: peer, compiled=False, jax="", tolerance=5e-3)
