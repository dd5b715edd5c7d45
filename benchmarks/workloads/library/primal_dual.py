"""Primal-dual methods."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

import unspool as us

from ...contest import Contest
from ...peers import torch_eager
from ...peers.library import primal_dual as peers
from ...plan import Plan
from ...problem import Problem
from ..ista import mean_squares
from .held import f32, held


def affinities(*shape: int) -> Tensor:
    """Of tokens to experts, of which some are liked more."""
    random = np.random.default_rng(0)
    return f32(1 / (1 + np.exp(-random.standard_normal(shape) - 0.5 * random.standard_normal(shape[-1]))))


def alf_lb(plan: Plan) -> Iterator[Contest]:
    """Top 2 of 16 experts, 50 iterations. Near ties flip in float32, hence the tolerance."""
    tokens, experts, top = plan.pick((32, 4, 2), (4096, 16, 2), (4096, 16, 2))
    scores, step = affinities(tokens, experts), f32(0.2 / np.sqrt(np.arange(50) + 1))
    problem = Problem(us.stdlib.primal_dual.alf_lb, (scores, top), values={"step": step}, counts={"K": 50})
    yield from held(plan, "alf_lb", f"{tokens} tokens, {experts} experts, top {top}, K=50", problem, lambda: peers.alf_lb, tolerance=2e-2)


def alf_lb_sign(plan: Plan) -> Iterator[Contest]:
    """The same by signs."""
    tokens, experts, top = plan.pick((32, 4, 2), (4096, 16, 2), (4096, 16, 2))
    scores = affinities(tokens, experts)
    problem = Problem(us.stdlib.primal_dual.alf_lb_sign, (scores, top), values={"step": torch.full((50,), 0.01)}, counts={"K": 50})
    size = f"{tokens} tokens, {experts} experts, top {top}, K=50"
    yield from held(plan, "alf_lb_sign", size, problem, lambda: peers.alf_lb_sign, tolerance=2e-2)


def alf_lb_online(plan: Plan) -> Iterator[Contest]:
    """The same with fresh tokens in each of 100 iterations."""
    tokens, experts, top, K = plan.pick((32, 4, 2, 10), (512, 16, 2, 100), (512, 16, 2, 100))
    step = f32(0.2 / np.sqrt(np.arange(K) + 1))
    problem = Problem(us.stdlib.primal_dual.alf_lb_online, (affinities(K, tokens, experts), top), values={"step": step}, counts={"K": K})
    size = f"{tokens} tokens, {experts} experts, top {top}, K={K}"
    yield from held(plan, "alf_lb_online", size, problem, lambda: peers.alf_lb_online, tolerance=2e-2)


def sinkhorn(plan: Plan) -> Iterator[Contest]:
    """Entropic transport, 50 iterations."""
    batch, n = plan.pick((2, 6), (32, 64), (32, 64))
    random = np.random.default_rng(0)
    C, even, eps = f32(random.random((batch, n, n))), torch.full((batch, n), 1 / n), f32(0.05 * (1 + 0.5 * random.random(50)))
    problem = Problem(
        us.stdlib.primal_dual.sinkhorn, (C, even, even.clone()), values={"eps": eps}, counts={"K": 50}, loss=mean_squares, jax_loss=mean_squares,
        extra=(torch.eye(n)[None] / n,),
    )  # fmt: skip
    yield from held(plan, "sinkhorn", f"{batch}x{n}x{n}, K=50", problem, lambda: torch_eager.sinkhorn, gradient=True, jax="jax_peers")


def tv(plan: Plan) -> Iterator[Contest]:
    """Denoising of an image, 20 iterations."""
    side = plan.pick(12, 256, 512)
    random, K = np.random.default_rng(0), 20
    clean = np.kron(random.random((4, 4)), np.ones((side // 4, side // 4)))
    image, strength = f32(clean + 0.1 * random.standard_normal(clean.shape)), torch.tensor(0.1)
    problem = Problem(
        us.stdlib.primal_dual.tv, (image, strength), values={"tau": torch.full((K,), 0.25), "sigma": torch.full((K,), 0.5)}, counts={"K": K},
        loss=mean_squares, jax_loss=mean_squares, extra=(f32(clean),),
    )  # fmt: skip
    yield from held(plan, "tv", f"{side}x{side}, K={K}", problem, lambda: torch_eager.tv, gradient=True, jax="jax_peers")


def pdhg_lp(plan: Plan) -> Iterator[Contest]:
    """A linear program to a relative error of 1e-3, in rounds of 50 steps."""
    rows, columns = plan.pick((4, 6), (100, 150), (100, 150))
    random = np.random.default_rng(0)
    A, point, equal = random.standard_normal((rows, columns)), random.random(columns), np.arange(rows) < rows // 3
    b = A @ point + np.where(equal, 0, random.random(rows))
    c = random.random(columns) + 0.1 - A.T @ np.where(equal, random.standard_normal(rows), random.random(rows))
    inputs = (f32(c), f32(b), torch.from_numpy(equal), torch.zeros(columns), torch.full((columns,), 2.0), 1e-3)
    problem = Problem(
        us.stdlib.primal_dual.pdhg_lp, inputs, given={"A": f32(A)}, values={"balance": torch.tensor(1.0)}, counts={"K": 50, "J": 50},
        order=lambda given, inputs, params: (inputs[0], given["A"], *inputs[1:], *params, 50, 50),
    )  # fmt: skip
    size = f"{rows} rows, {columns} unknowns, error 1e-3, J=50"
    yield from held(plan, "pdhg_lp", size, problem, lambda: peers.pdhg_lp, compiled=False, jax="", tolerance=5e-2)


def capped_simplex(plan: Plan) -> Iterator[Contest]:
    """Projections of many vectors, 40 bisections."""
    batch, n = plan.pick((4, 10), (1024, 256), (1024, 256))
    v = f32(np.random.default_rng(0).standard_normal((batch, n)))
    inputs = (v, torch.tensor(n / 8), torch.tensor(1.0))
    problem = Problem(
        us.stdlib.primal_dual.capped_simplex, inputs, counts={"K": 40}, loss=mean_squares, jax_loss=mean_squares, extra=(torch.zeros(batch, n),),
        wanted=(0,), order=lambda given, inputs, params: (*inputs, 40),
    )  # fmt: skip
    yield from held(plan, "capped_simplex", f"{batch} vectors of {n}, K=40", problem, lambda: peers.capped_simplex, gradient=True)

