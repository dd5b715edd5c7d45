"""Bilevel learning: 50 inner steps of weighted logistic regression; the hypergradient is that of steps and sample weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import unspool as us

from ..contest import FORWARD, GRADIENT, Contest, Contestant
from ..limits import bindings
from ..peers import torch_eager as eager
from ..plan import Plan
from ..problem import Problem, numba_run
from . import PROGRAMS

K = 50


def data(n: int, d: int, seed: int = 0) -> dict[str, Tensor]:
    """Training samples of which 30 % have the wrong label, clean validation samples, weights, steps."""
    random = np.random.default_rng(seed)
    truth = random.standard_normal(d) / np.sqrt(d)

    def samples(wrong: float) -> tuple[np.ndarray, np.ndarray]:
        X = random.standard_normal((n, d))
        t = (X @ truth > 0).astype(float)
        return X, np.where(random.random(n) < wrong, 1 - t, t)

    arrays = dict(zip(("X", "t", "Xv", "tv"), (*samples(0.3), *samples(0.0))))
    arrays |= {"weight": 0.5 + 0.5 * random.random(n), "step": 1 + 0.3 * random.random(K)}
    return {name: torch.from_numpy(np.ascontiguousarray(a, np.float32)) for name, a in arrays.items()}


def validation(w: Tensor, X: Tensor, t: Tensor) -> Tensor:
    """The outer loss: cross-entropy on clean samples."""
    return F.binary_cross_entropy_with_logits(X @ w, t)


def jax_validation(w: Any, X: Any, t: Any) -> Any:
    """The same in JAX."""
    import jax

    z = X @ w
    return (jax.nn.softplus(z) - z * t).mean()


def contests(plan: Plan) -> Iterator[Contest]:
    """A thousand samples."""
    n, dim = plan.pick((200, 40), (1000, 200), (1000, 200))
    d = data(n, dim)
    ours = Problem(
        us.load(PROGRAMS / "bilevel.us").bilevel,
        (d["X"], d["t"], d["weight"]),
        values={"step": d["step"]},
        counts={"K": K},
        loss=validation,
        jax_loss=jax_validation,
        extra=(d["Xv"], d["tv"]),
        wanted=(2,),
    )
    size = f"n={n}, d={dim}, K={K}"
    forward = [
        *ours.forward(),
        ours.torch("torch", "eager", lambda: eager.bilevel),
        *plan.compiled(ours.torch, "bilevel", whole=plan.scale == "full"),
        ours.jax("jax scan", "bilevel"),
        numba_run("bilevel", d["X"], d["t"], d["weight"], d["step"]),
        _limit(d, plan, gradient=False),
    ]
    yield Contest("bilevel", size, FORWARD, ours.reference, plan.having(forward))
    gradient = [
        *ours.gradient(),
        ours.torch_gradient("torch", "eager", lambda: eager.bilevel),
        *plan.compiled(ours.torch_gradient, "bilevel"),
        ours.jax_gradient("jax scan", "bilevel"),
        replace(_limit(d, plan, gradient=True), arrays=ours.pull_back),
    ]
    yield Contest("bilevel", size, GRADIENT, ours.reference_gradient, plan.having(gradient))


def _limit(d: dict[str, Tensor], plan: Plan, *, gradient: bool) -> Contestant:
    operands = [d[name] for name in ("X", "t", "weight", "Xv", "tv", "step")]
    return Contestant("C limit", "limit", lambda: bindings.bilevel(*operands, plan.threads, gradient))
