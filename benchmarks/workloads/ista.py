"""Sparse recovery: 16 iterations of ISTA with learned steps and thresholds (tests/programs/lasso.us)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

import unspool as us

from ..contest import FORWARD, GRADIENT, Contest, Contestant, arrays
from ..limits import bindings
from ..peers import torch_eager as eager
from ..plan import Plan
from ..problem import Problem, numba_run, quiet
from . import TEST_PROGRAMS

K = 16


def mean_squares(result: Tensor, truth: Tensor) -> Tensor:
    """The loss; it is the same text in torch and in JAX."""
    return ((result - truth) ** 2).mean()


def data(m: int, n: int, batch: int, seed: int = 0) -> dict[str, Tensor]:
    """A random matrix of unit columns, sparse truths with 10 % of entries, noisy measurements, and parameters."""
    random = np.random.default_rng(seed)
    A = random.standard_normal((m, n))
    A /= np.linalg.norm(A, axis=0)
    truth = random.standard_normal((batch, n)) * (random.random((batch, n)) < 0.1)
    y = truth @ A.T + 0.01 * random.standard_normal((batch, m))
    bound = np.linalg.norm(A, 2) ** 2
    step = (1 + 0.2 * random.random(K)) / bound
    lam = 0.1 * (1 + 0.5 * random.random(K)) / bound / step
    arrays = {"A": A, "y": y, "truth": truth, "step": step, "lam": lam}
    return {name: torch.from_numpy(a.astype(np.float32)) for name, a in arrays.items()}


def problem(d: dict[str, Tensor]) -> Problem:
    """The program on this data."""
    return Problem(
        us.load(TEST_PROGRAMS / "lasso.us").ista,
        (d["y"],),
        given={"A": d["A"]},
        values={"step": d["step"], "lam": d["lam"]},
        counts={"K": K},
        loss=mean_squares,
        jax_loss=mean_squares,
        inside="mean_squares",
        extra=(d["truth"],),
        order=lambda given, inputs, params: (given["A"], *inputs, *params),
    )


def contests(plan: Plan) -> Iterator[Contest]:
    """Small and large matrices, from one problem to a batch where matrix products rule."""
    default = [(64, 128, 1), (64, 128, 32), (250, 500, 1), (250, 500, 32), (250, 500, 1024)]
    for m, n, batch in plan.pick([(64, 128, 32)], default, [*default, (64, 128, 1024)]):
        yield from _at(plan, m, n, batch)


def _at(plan: Plan, m: int, n: int, batch: int) -> Iterator[Contest]:
    """Forward and gradient at one size."""
    d = data(m, n, batch)
    ours, size = problem(d), f"{m}x{n}, batch {batch}, K={K}"
    threshold = (d["step"] * d["lam"]).tolist()
    gram, c = d["A"].T @ d["A"], d["y"] @ d["A"]
    whole = (m, batch) in ((250, 1), (250, 32)) or plan.scale == "full"
    forward = [
        *ours.forward(),
        ours.torch("torch", "eager", lambda: eager.ista),
        Contestant("torch, in place", "eager", lambda: quiet(eager.ista_in_place, d["A"], d["y"], d["step"].tolist(), threshold)),
        Contestant(
            "torch, in place, Gram",
            "eager",
            lambda: quiet(eager.ista_gram_in_place, gram, c, d["step"].tolist(), threshold),
        ),
        *plan.compiled(ours.torch, "ista", whole=whole),
        ours.jax("jax scan", "ista"),
        *([numba_run("ista", d["A"], d["y"], d["step"], d["step"] * d["lam"])] if batch < 1024 else []),
        *_limits(d, plan, gradient=False),
    ]
    yield Contest("ista", size, FORWARD, ours.reference, plan.having(forward))
    gradient = [
        *ours.gradient(),
        ours.torch_gradient("torch", "eager", lambda: eager.ista),
        *plan.compiled(ours.torch_gradient, "ista", whole=whole),
        ours.jax_gradient("jax scan", "ista"),
        *_limits(d, plan, gradient=True, pull_back=ours),
    ]
    yield Contest("ista", size, GRADIENT, ours.reference_gradient, plan.having(gradient))


def _limits(d: dict[str, Tensor], plan: Plan, *, gradient: bool, pull_back: Problem | None = None) -> Iterator[Contestant]:
    def make(threads: int) -> Callable[[], bindings.Run]:
        return lambda: bindings.ista(d["A"], d["y"], d["truth"], d["step"], d["lam"], threads, gradient)

    compare = pull_back.pull_back if pull_back else arrays
    yield Contestant("C limit", "limit", make(plan.threads), compare)
    if len(d["y"]) == 1:  # small operators may be faster without a second thread
        yield Contestant("C limit, one thread", "limit", make(1), compare)
