"""Optimizers: least squares, the loss of a small network, a smooth maximum. torch.compile and JAX are left out where a program calls f, which is
torch's and differentiated inside."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import unspool as us

from ...contest import Contest
from ...peers.library import optim as peers
from ...plan import Plan
from ...problem import Problem
from ..ista import mean_squares
from .held import Contests, f32, held


class LeastSquares(nn.Module):
    """Half the squared error of m linear equations, for points x[batch, n]; its data are buffers, not learned."""

    def __init__(self, m: int, n: int) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.register_buffer("A", f32(random.standard_normal((m, n)) / m**0.5))
        self.register_buffer("b", f32(random.standard_normal(m)))

    def forward(self, x: Tensor) -> Tensor:
        """Of points x[batch, n]."""
        return 0.5 * (x @ self.A.T - self.b).square().sum(-1)


class Network(nn.Module):
    """The cross-entropy of a network d-h-c with tanh, its weights in one vector, on samples that are buffers."""

    def __init__(self, samples: int, d: int, h: int, c: int) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        X = random.standard_normal((samples, d))
        self.register_buffer("X", f32(X))
        self.register_buffer("T", f32(np.eye(c)[(X @ random.standard_normal((d, c))).argmax(1)]))
        self.d, self.h, self.c = d, h, c

    @property
    def start(self) -> Tensor:
        """Weights to begin with."""
        random = np.random.default_rng(1)
        parts = random.standard_normal((self.h, self.d)) / self.d**0.5, random.standard_normal((self.c, self.h)) / self.h**0.5
        return f32(np.concatenate([part.ravel() for part in parts]))

    def forward(self, w: Tensor) -> Tensor:
        """Of weights w[batch, h * d + c * h]."""
        W, V = (part.unflatten(-1, shape) for part, shape in zip(w.split([self.h * self.d, self.c * self.h], -1), [(self.h, self.d), (self.c, self.h)]))
        logits = (self.X @ W.mT).tanh() @ V.mT
        return (logits.logsumexp(-1) - (self.T * logits).sum(-1)).mean(-1)


#: The objective, and the values of the parameters for K iterations.
VALUES: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("least squares", {"step": 0.1}),
    "momentum": ("least squares", {"step": 0.1, "mu": 0.9}),
    "adam": ("network", {"step": 0.003, "beta1": 0.9, "beta2": 0.999, "decay": 0.01}),
    "lion": ("network", {"step": 0.0003, "beta1": 0.9, "beta2": 0.99, "decay": 0.01}),
    "lion_surrogate": ("network", {"step": 0.0003, "beta1": 0.9, "beta2": 0.99, "decay": 0.01}),
    "sam": ("network", {"step": 0.1, "rho": 0.05}),
    "mfac": ("network", {"step": 0.001, "mu": 0.9, "lam": 0.01}),
}


#: Largest relative errors of results and of gradients, where they are not 1e-3: signs flip in float32, and the derivatives of adam in its betas are
#: differences of what is nearly equal in the first steps.
TOLERANCES = {"lion": (2e-2, 2e-2), "lion_surrogate": (2e-2, 2e-2), "adam": (1e-3, 1e-1)}


def descent(name: str) -> Contests:
    """An optimizer of an objective, 50 iterations."""

    def contests(plan: Plan) -> Iterator[Contest]:
        kind, values = VALUES[name]
        K = plan.pick(5, 50, 50)
        if kind == "network":
            f = Network(*plan.pick((8, 4, 3, 2), (256, 64, 32, 10), (256, 64, 32, 10)))
            x, size = f.start, f"network {f.d}-{f.h}-{f.c}, {len(f.X)} samples, K={K}"
        else:
            m, n = plan.pick((10, 6), (500, 1000), (500, 1000))
            f, x, size = LeastSquares(m, n), torch.zeros(n), f"{m} equations, {n} unknowns, K={K}"
        counts = {"K": K, "window": 16} if name == "mfac" else {"K": K}
        more = (torch.tensor(0.1),) if name == "lion_surrogate" else ()
        tensors = {n: torch.full((K,), v) if n == "step" else torch.tensor(v) for n, v in values.items()}
        problem = Problem(
            getattr(us.stdlib.optim, name), (x, *more), given={"f": f}, values=tensors, counts=counts, loss=mean_squares,
            extra=(torch.zeros_like(x),), order=lambda given, inputs, params: (given["f"], *inputs, *params),
        )  # fmt: skip
        peer = partial(peers.mfac, window=16) if name == "mfac" else getattr(peers, name)
        in_place = getattr(peers, f"{name}_in_place", None)
        results, gradients = TOLERANCES.get(name, (1e-3, 1e-3))
        yield from held(
            plan, name, size, problem, lambda: peer, in_place=in_place and (lambda: in_place), compiled=False, jax="",
            gradient=name in ("sgd", "momentum", "adam", "lion_surrogate"), tolerance=results, gradient_tolerance=gradients,
        )  # fmt: skip

    return contests


def smooth(m: int, n: int) -> tuple[Tensor, Tensor]:
    """Rows and offsets of a smooth maximum."""
    random = np.random.default_rng(0)
    return f32(random.uniform(-1, 1, (m, n))), f32(random.uniform(-1, 1, m))


class SmoothMax(nn.Module):
    """A smooth maximum at points x[batch, n]."""

    def __init__(self, m: int, n: int, mu: float) -> None:
        super().__init__()
        self.mu = mu
        for name, value in zip("Ab", smooth(m, n)):
            self.register_buffer(name, value)

    def forward(self, x: Tensor) -> Tensor:
        """Of points x[batch, n]."""
        return self.mu * ((x @ self.A.T - self.b) / self.mu).logsumexp(-1)


class Curvature(SmoothMax):
    """Its Hessian."""

    def forward(self, x: Tensor) -> Tensor:
        """At points x[batch, n]."""
        p = ((x @ self.A.T - self.b) / self.mu).softmax(-1)
        g = p @ self.A
        return (self.A.T @ (p[..., None] * self.A) - g[..., None] * g[..., None, :]) / self.mu


def gns_newton(plan: Plan) -> Iterator[Contest]:
    """Newton's method with the exact Hessian, 8 iterations with a search for the radius."""
    m, n = plan.pick((20, 6), (500, 100), (500, 100))
    given, counts = {"f": SmoothMax(m, n, 1.0), "hessian": Curvature(m, n, 1.0)}, {"K": 8, "T": 40}
    problem = Problem(
        us.stdlib.optim.gns_newton, (torch.ones(n), 1e-3), given=given, values={"radius": torch.tensor(1.0)}, counts=counts,
        order=lambda given, inputs, params: (given["f"], given["hessian"], *inputs, *params, 8, 40),
    )  # fmt: skip
    yield from held(plan, "gns_newton", f"{m} rows, {n} unknowns, K=8", problem, lambda: peers.gns_newton, compiled=False, jax="", tolerance=1e-2)


def gns_smooth_max(plan: Plan) -> Iterator[Contest]:
    """The same without the search, 20 iterations."""
    m, n, K = plan.pick((20, 6, 3), (500, 100, 20), (500, 100, 20))
    inputs = (*smooth(m, n), torch.tensor(1.0), torch.tensor(1.0), torch.ones(n))
    problem = Problem(
        us.stdlib.optim.gns_smooth_max, inputs, values={"gamma": torch.full((K,), 0.2)}, counts={"K": K}, loss=mean_squares,
        jax_loss=mean_squares, extra=(torch.zeros(n),),
    )  # fmt: skip
    yield from held(plan, "gns_smooth_max", f"{m} rows, {n} unknowns, K={K}", problem, lambda: peers.gns_smooth_max, gradient=True, tolerance=5e-3)


def mfac_static(plan: Plan) -> Iterator[Contest]:
    """The inverse of a Fisher matrix from gradients of a network with 1,810 weights. torch.compile would take its rows one by one."""
    m, d = plan.pick((6, 12), (256, 1810), (256, 1810))
    G = f32(0.1 * np.random.default_rng(0).standard_normal((m, d)))
    problem = Problem(us.stdlib.optim.mfac_static, (G, 0.01))
    yield from held(plan, "mfac_static", f"{m} gradients of {d}", problem, lambda: peers.mfac_static, compiled=False, jax="")
