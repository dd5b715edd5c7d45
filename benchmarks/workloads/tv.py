"""Total-variation denoising: 50 iterations of the primal-dual method with learned steps (tests/programs/tv.us)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

import unspool as us

from ..contest import FORWARD, GRADIENT, Contest, Contestant
from ..limits import bindings
from ..peers import torch_eager as eager
from ..plan import Plan
from ..problem import Problem, numba_run, quiet
from . import TEST_PROGRAMS
from .ista import mean_squares

K, STRENGTH = 50, 0.125


def data(n: int, seed: int = 0) -> dict[str, Tensor]:
    """A patchwork of 8 x 8 grey values with noise, and steps; n is a multiple of 16."""
    random = np.random.default_rng(seed)
    clean = np.kron(random.random((8, 8)), np.ones((n // 8, n // 8)))
    arrays = {"clean": clean, "image": clean + 0.1 * random.standard_normal((n, n))}
    arrays |= {name: 0.25 * (1 + 0.3 * random.random(K)) for name in ("tau", "sigma")}
    return {name: torch.from_numpy(a.astype(np.float32)) for name, a in arrays.items()}


def problem(d: dict[str, Tensor]) -> Problem:
    """The program on this data."""
    return Problem(
        us.load(TEST_PROGRAMS / "tv.us").tv,
        (d["image"], torch.tensor(STRENGTH)),
        values={"tau": d["tau"], "sigma": d["sigma"]},
        counts={"K": K},
        loss=mean_squares,
        jax_loss=mean_squares,
        inside="mean_squares",
        extra=(d["clean"],),
    )


def contests(plan: Plan) -> Iterator[Contest]:
    """Images whose state fits the last cache, and one whose state does not (forward only: its path takes gigabytes)."""
    for n in plan.pick([256], [512, 2048], [256, 512, 1024, 2048]):
        yield from _at(plan, n)


def _at(plan: Plan, n: int) -> Iterator[Contest]:
    """Forward, and gradient up to 1024 x 1024."""
    d = data(n)
    ours = problem(d)
    size, numbers = f"{n}x{n}, K={K}", (STRENGTH, d["tau"].tolist(), d["sigma"].tolist())
    whole = plan.scale == "full" and n <= 512  # beyond, compiling takes many minutes
    forward = [
        *ours.forward(),
        *([ours.torch("torch", "eager", lambda: eager.tv)] if n <= 1024 else []),
        Contestant("torch, in place", "eager", lambda: quiet(eager.tv_in_place, d["image"], *numbers)),
        *plan.compiled(ours.torch, "tv", whole=whole),
        ours.jax("jax scan", "tv"),
        numba_run("tv", d["image"], d["tau"], d["sigma"], np.float32(1 / STRENGTH)),
        *(_limit(d, tile, plan, gradient=False) for tile in (K, 26)),
    ]
    yield Contest("tv", size, FORWARD, ours.reference, plan.having(forward))
    if n > 1024:
        return
    gradient = [
        *ours.gradient(),
        ours.torch_gradient("torch", "eager", lambda: eager.tv),
        *plan.compiled(ours.torch_gradient, "tv", whole=False),
        ours.jax_gradient("jax scan", "tv"),
        *(replace(_limit(d, tile, plan, gradient=True), arrays=ours.pull_back) for tile in (2, 26)),
    ]
    # where a dual variable has length 1 up to rounding, the derivative of its projection depends on that rounding
    yield Contest("tv", size, GRADIENT, ours.reference_gradient, plan.having(gradient), tolerance=1e-3)


def _limit(d: dict[str, Tensor], tile: int, plan: Plan, *, gradient: bool) -> Contestant:
    operands = d["image"], d["clean"], STRENGTH, d["tau"], d["sigma"]
    return Contestant(f"C limit, {tile} rows", "limit", lambda: bindings.tv(*operands, plan.threads, tile, gradient))
