"""Bilevel problems."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

import unspool as us

from ...contest import Contest
from ...peers.library import bilevel as peers
from ...plan import Plan
from ...problem import Problem
from .held import Contests, f32, held


def noisy(n: int, clean: int, d: int, c: int) -> tuple[Tensor, ...]:
    """Samples and labels, of which some are wrong, clean ones, and logits to begin with."""
    random = np.random.default_rng(0)
    X, Xv, means = random.standard_normal((n, d)), random.standard_normal((clean, d)), random.standard_normal((d, c))
    told, truth = (X @ means).argmax(1), (Xv @ means).argmax(1)
    told = np.where(random.random(n) < 0.4, random.integers(0, c, n), told)
    return f32(X / np.sqrt(d)), f32(np.eye(c)[told]), f32(Xv / np.sqrt(d)), f32(np.eye(c)[truth]), torch.zeros(n)


def cleaning(name: str, inner: int) -> Contests:
    """Hyper-cleaning, 20 iterations."""

    def contests(plan: Plan) -> Iterator[Contest]:
        n, clean, d, c = plan.pick((24, 12, 4, 3), (1000, 200, 64, 10), (1000, 200, 64, 10))
        inputs, K = noisy(n, clean, d, c), 20
        values = {"eta": torch.ones(K), "step": torch.tensor(0.5), "ridge": torch.tensor(0.005)}
        problem = Problem(
            getattr(us.stdlib.bilevel, name), inputs, values=values, counts={"K": K, "J": inner},
            order=lambda given, inputs, params: (*inputs, *params, inner),
        )  # fmt: skip
        size = f"{n} samples, {clean} clean, d={d}, {c} classes, K={K}, J={inner}"
        peer = getattr(peers, name)
        yield from held(plan, name, size, problem, lambda: peer, compiled=False, tolerance=5e-3)

    return contests



class Objective(nn.Module):
    """Cross-entropy of samples, weighted by logits where there is a ridge; the samples are buffers."""

    def __init__(self, X: Tensor, T: Tensor, ridge: float | None) -> None:
        super().__init__()
        self.ridge = ridge
        for name, value in (("X", X), ("T", T)):
            self.register_buffer(name, value)

    def forward(self, x: Tensor, y: Tensor, _: Tensor) -> Tensor:
        """For each problem of the batch."""
        logits = self.X @ y.unflatten(-1, (self.X.shape[-1], -1))
        losses = logits.logsumexp(-1) - (self.T * logits).sum(-1)
        return losses.mean(-1) if self.ridge is None else (torch.sigmoid(x) * losses).mean(-1) + self.ridge * y.square().sum(-1)


#: The counts, and the values of the parameters.
GENERAL: dict[str, tuple[dict[str, int], dict[str, float]]] = {
    "hypergradient": ({}, {"step": 0.5}),
    "soba": ({}, {"eta": 30.0, "rho": 0.5}),
    "bo_rep": ({"N": 3, "period": 2, "warm": 20}, {"eta": 0.3, "gamma": 0.5, "nu": 0.5, "beta": 0.9}),
}


def general(name: str) -> Contests:
    """Objectives in torch, those of hyper-cleaning, 50 iterations."""

    def contests(plan: Plan) -> Iterator[Contest]:
        n, clean, d, c = plan.pick((24, 12, 4, 3), (1000, 200, 64, 10), (1000, 200, 64, 10))
        X, T, Xv, Tv, s = noisy(n, clean, d, c)
        K, (counts, rates) = plan.pick(4, 50, 50), GENERAL[name]
        values = {n: torch.full((K,), v) if n in ("step", "eta", "rho") else torch.tensor(v) for n, v in rates.items()}
        f, g = Objective(Xv, Tv, None), Objective(X, T, 0.005)
        tol = (1e-3,) if name == "hypergradient" else ()
        more = {"inner": 3, "period": 2, "warm": 20} if name == "bo_rep" else {}
        problem = Problem(
            getattr(us.stdlib.bilevel, name), (s, torch.zeros(d * c), *tol), given={"f": f, "g": g}, values=values, counts={"K": K, **counts},
            order=lambda given, inputs, params: (*inputs, *params, given["f"], given["g"]),
        )  # fmt: skip
        size, peer = f"{n} samples, {clean} clean, d={d}, {c} classes, K={K}", partial(getattr(peers, name), **more)
        yield from held(plan, name, size, problem, lambda: peer, compiled=False, jax="", tolerance=5e-3)

    return contests
