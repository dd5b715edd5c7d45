"""Expectation maximisation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

import unspool as us

from ...contest import Contest
from ...peers.library import em as peers
from ...plan import Plan
from ...problem import Problem
from ..ista import mean_squares
from .held import f32, held


def _tasks(batch: int, d: int, c: int, queries: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Labelled samples, one for each class, their labels, queries, and the labels of these."""
    random = np.random.default_rng(0)
    means, asked = random.standard_normal((batch, c, d)), random.integers(0, c, (batch, queries))
    samples = np.concatenate([means, np.take_along_axis(means, asked[..., None], 1)], 1)
    samples = samples + 0.5 * random.standard_normal(samples.shape)
    samples /= np.linalg.norm(samples, axis=-1, keepdims=True)
    return f32(samples[:, :c]), f32(np.tile(np.eye(c), (batch, 1, 1))), f32(samples[:, c:]), f32(np.eye(c)[asked])


def unem_gaussian(plan: Plan) -> Iterator[Contest]:
    """Few-shot tasks, 10 iterations."""
    batch, d, c, queries = plan.pick((2, 8, 3, 6), (16, 256, 20, 75), (16, 256, 20, 75))
    support, labels, query, truth = _tasks(batch, d, c, queries)
    values = {"scale": torch.tensor(4.0), "balance": torch.linspace(0.5, 1, 10), "temperature": torch.linspace(1, 1.5, 10)}
    inputs = (support, labels, query)
    problem = Problem(
        us.stdlib.em.unem_gaussian, inputs, values=values, counts={"K": 10}, loss=mean_squares, jax_loss=mean_squares, extra=(truth,)
    )
    yield from held(plan, "unem_gaussian", f"{c}+{queries} samples, d={d}, batch {batch}, K=10", problem, lambda: peers.unem_gaussian, gradient=True)


def unem_dirichlet(plan: Plan) -> Iterator[Contest]:
    """The same with similarities, and at most 50 inner steps."""
    batch, c, queries = plan.pick((2, 3, 6), (16, 20, 75), (16, 20, 75))
    support, labels, query, _ = _tasks(batch, c, c, queries)
    values = {"scale": torch.tensor(3.0), "balance": torch.linspace(0.5, 1, 10), "temperature": torch.linspace(30, 40, 10)}
    problem = Problem(
        us.stdlib.em.unem_dirichlet, (support, labels, query), values=values, counts={"K": 10, "J": 50},
        order=lambda given, inputs, params: (*inputs, *params, 50),
    )  # fmt: skip
    size = f"{c}+{queries} samples, batch {batch}, K=10, J=50"
    yield from held(plan, "unem_dirichlet", size, problem, lambda: peers.unem_dirichlet, compiled=False, jax="", tolerance=5e-3)


def gmm(plan: Plan) -> Iterator[Contest]:
    """Mixtures with diagonal covariances, 20 iterations."""
    yield from _mixtures(plan, "gmm", us.stdlib.em.gmm, lambda: peers.gmm, least=12, tolerance=5e-3)


def gmm_full(plan: Plan) -> Iterator[Contest]:
    """Mixtures with full covariances, 20 iterations."""
    yield from _mixtures(plan, "gmm_full", us.stdlib.em.gmm_full, lambda: peers.gmm_full, least=40, tolerance=1e-2)


def _mixtures(plan: Plan, name: str, program: Any, peer: Callable[[], Any], *, least: int, tolerance: float) -> Iterator[Contest]:
    batch, n, d, c = plan.pick((2, least, 2, 2), (8, 500, 8, 5), (8, 500, 8, 5))
    random = np.random.default_rng(0)
    x = 2 * random.standard_normal((batch, c, d))[:, np.arange(n) % c] + random.standard_normal((batch, n, d))
    problem = Problem(
        program, (f32(x), f32(x[:, :c])), counts={"K": 20}, order=lambda given, inputs, params: (*inputs, 20), wanted=(1,),
        loss=lambda found, want: mean_squares(found[1], want), jax_loss=lambda found, want: mean_squares(found[1], want),
        extra=(f32(np.zeros((batch, c, d))),),
    )  # fmt: skip
    size = f"{n} samples, d={d}, {c} classes, batch {batch}, K=20"
    yield from held(plan, name, size, problem, peer, gradient=True, tolerance=tolerance)


def factor_analysis(plan: Plan) -> Iterator[Contest]:
    """Factor models, 50 iterations."""
    batch, n, d, r = plan.pick((2, 12, 4, 2), (16, 200, 20, 4), (16, 200, 20, 4))
    random = np.random.default_rng(0)
    x = random.standard_normal((batch, n, r)) @ random.standard_normal((batch, r, d)) + 0.5 * random.standard_normal((batch, n, d))
    inputs = f32(x), f32(random.standard_normal((batch, d, r)))
    problem = Problem(us.stdlib.em.factor_analysis, inputs, counts={"K": 50}, order=lambda given, inputs, params: (*inputs, 50))
    size = f"{n} samples, d={d}, {r} factors, batch {batch}, K=50"
    yield from held(plan, "factor_analysis", size, problem, lambda: peers.factor_analysis, tolerance=5e-3)


def factors(plan: Plan) -> Iterator[Contest]:
    """The factors of many samples."""
    batch, n, d, r = plan.pick((2, 12, 4, 2), (20, 2512, 60, 4), (20, 2512, 60, 4))
    random = np.random.default_rng(0)
    inputs = (random.standard_normal((batch, *shape)) for shape in ((n, d), (d, r)))
    problem = Problem(us.stdlib.em.factors, (*map(f32, inputs), f32(0.5 + random.random((batch, d)))))
    yield from held(plan, "factors", f"{n} samples, d={d}, {r} factors, batch {batch}", problem, lambda: peers.factors)
