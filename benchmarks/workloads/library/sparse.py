"""Sparse recovery."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import unspool as us

from ...contest import Contest
from ...peers import torch_eager
from ...peers.library import sparse as peers
from ...plan import Plan
from ...problem import Problem
from ..ista import mean_squares
from .held import Contests, f32, held


def recovery(name: str) -> Contests:
    """Sparse recovery, 16 iterations."""

    def contests(plan: Plan) -> Iterator[Contest]:
        m, n, batch = plan.pick((16, 24, 4), (250, 500, 32), (250, 500, 32))
        random, K = np.random.default_rng(0), 16
        A = random.standard_normal((m, n))
        A /= np.linalg.norm(A, axis=0)
        truth = random.standard_normal((batch, n)) * (random.random((batch, n)) < 0.05)
        y = truth @ A.T + 0.01 * random.standard_normal((batch, m))
        given = {"A": f32(A)}
        layer = getattr(us.stdlib.sparse, name).build(A=given["A"], K=K)
        values = {n: v.detach().clone() for n, v in layer.values().items()}
        after = (K,) if name == "admm_lasso" else ()
        problem = Problem(
            getattr(us.stdlib.sparse, name), (f32(y),), given=given, values=values, counts={"K": K}, loss=mean_squares, jax_loss=mean_squares,
            extra=(f32(truth),), order=lambda given, inputs, params: (given["A"], *inputs, *params, *after),
        )  # fmt: skip
        tolerance = 1e-2 if name in ("iht", "amp") else 1e-3  # entries at a threshold flip in float32
        gradients = 5e-3 if name == "admm_lasso" else tolerance  # at its minimum nothing depends on rho: terms cancel but for a ten-thousandth
        differentiated = name != "iht"  # its derivative in lam is 0 everywhere: no scale to compare with
        peer, jax = (torch_eager.ista, "jax_peers") if name == "ista" else (getattr(peers, name), "library_jax")
        yield from held(
            plan, name, f"{m}x{n}, batch {batch}, K={K}", problem, lambda: peer, gradient=differentiated, jax=jax, tolerance=tolerance,
            gradient_tolerance=gradients,
        )  # fmt: skip

    return contests

