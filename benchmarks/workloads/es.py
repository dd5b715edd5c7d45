"""Evolution strategies: 20 generations of 128 antithetic pairs, low-rank perturbations of a network 256-256-256."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

import unspool as us

from ..contest import FORWARD, Contest, Contestant
from ..limits import bindings
from ..peers import torch_eager as eager
from ..plan import Plan
from ..problem import Problem
from . import PROGRAMS

WIDTH, ROWS = 256, 16


def contests(plan: Plan) -> Iterator[Contest]:
    """Rank 1, and at full scale also rank 4."""
    for rank in plan.pick([1], [1], [1, 4]):
        yield from _at(plan, rank)


def _at(plan: Plan, rank: int) -> Iterator[Contest]:
    """One rank."""
    pairs, count = plan.pick((16, 4), (128, 20), (128, 20))
    random = np.random.default_rng(0)
    X = random.standard_normal((ROWS, WIDTH))
    target = np.tanh(X @ random.standard_normal((WIDTH, WIDTH)) / 16)
    W1, W2 = random.standard_normal((2, WIDTH, WIDTH)) / 16
    noise = random.standard_normal((count, 4, pairs, rank, WIDTH)) / rank**0.25
    lr, sigma = 0.02 * 0.95 ** np.arange(count), 0.02 * (1 + 0.3 * random.random(count))
    found = [torch.from_numpy(np.ascontiguousarray(a, np.float32)) for a in (X, target, W1, W2, noise, lr, sigma)]
    inputs, noise_, params = tuple(found[:4]), found[4], found[5:]
    parts = tuple(noise_[:, i].contiguous() for i in range(4))
    ours = Problem(
        us.load(PROGRAMS / "es.us").es,
        (*inputs, *parts),
        values={"lr": params[0], "sigma": params[1]},
        counts={"K": count},
    )
    forward = [
        *ours.forward(),
        ours.torch("torch", "eager", lambda: eager.es),
        *plan.compiled(ours.torch, "es", whole=False),
        ours.jax("jax scan", "es"),
        Contestant("C limit", "limit", lambda: bindings.es(*inputs, noise_, *params, plan.threads)),
    ]
    size = f"{WIDTH}-{WIDTH}-{WIDTH}, population {2 * pairs}, rank {rank}, K={count}"
    yield Contest("es", size, FORWARD, ours.reference, plan.having(forward))
