"""The lasso by ADMM: 16 iterations with learned relaxation and thresholds, the inverse made before."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

import unspool as us

from ..contest import FORWARD, GRADIENT, Contest, Contestant
from ..limits import bindings
from ..peers import torch_eager as eager
from ..plan import Plan
from ..problem import Problem, numba_run, quiet
from . import PROGRAMS
from .ista import K, data, mean_squares


def contests(plan: Plan) -> Iterator[Contest]:
    """The sizes of ``ista``."""
    default = [(64, 128, 32), (250, 500, 1), (250, 500, 32)]
    for m, n, batch in plan.pick([(64, 128, 32)], default, [(64, 128, 1), *default, (64, 128, 1024), (250, 500, 1024)]):
        yield from _at(plan, m, n, batch)


def _at(plan: Plan, m: int, n: int, batch: int) -> Iterator[Contest]:
    """Forward and gradient at one size."""
    d = data(m, n, batch)
    A = d["A"].double()
    Q = torch.linalg.inv(A.T @ A + torch.eye(n, dtype=torch.float64))
    Q, c = ((Q + Q.T) / 2).float().contiguous(), (d["y"] @ d["A"]).contiguous()
    relax = torch.from_numpy(np.random.default_rng(1).uniform(1.0, 1.8, K).astype(np.float32))
    lam = d["step"] * d["lam"]
    ours = Problem(
        us.load(PROGRAMS / "admm.us").admm,
        (c,),
        given={"Q": Q},
        values={"relax": relax, "lam": lam},
        counts={"K": K},
        loss=mean_squares,
        jax_loss=mean_squares,
        inside="mean_squares",
        extra=(d["truth"],),
        order=lambda given, inputs, params: (given["Q"], *inputs, *params),
    )
    size = f"{n}x{n}, batch {batch}, K={K}"
    lists = relax.tolist(), lam.tolist()
    forward = [
        *ours.forward(),
        ours.torch("torch", "eager", lambda: eager.admm),
        Contestant("torch, in place", "eager", lambda: quiet(eager.admm_in_place, Q, c, *lists)),
        *plan.compiled(ours.torch, "admm", whole=plan.scale == "full"),
        ours.jax("jax scan", "admm"),
        *([numba_run("admm", Q, c, relax, lam)] if batch < 1024 else []),
        Contestant("C limit", "limit", lambda: bindings.admm(Q, c, relax, lam, plan.threads)),
    ]
    yield Contest("admm", size, FORWARD, ours.reference, plan.having(forward))
    gradient = [
        *ours.gradient(),
        ours.torch_gradient("torch", "eager", lambda: eager.admm),
        *plan.compiled(ours.torch_gradient, "admm", whole=plan.scale == "full"),
        ours.jax_gradient("jax scan", "admm"),
    ]
    yield Contest("admm", size, GRADIENT, ours.reference_gradient, plan.having(gradient))
