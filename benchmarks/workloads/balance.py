"""Load balancing: the bias of a router of experts, and Sinkhorn in two forms, 50 iterations each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

import unspool as us

from ..contest import FORWARD, GRADIENT, Contest, Contestant
from ..limits import bindings
from ..peers import torch_eager as eager
from ..plan import Plan
from ..problem import Problem, numba_run
from . import PROGRAMS, TEST_PROGRAMS
from .ista import mean_squares

K = 50


def moe(plan: Plan) -> Iterator[Contest]:
    """Top 6 of 64 experts. Near ties of the top 6 flip in float32, hence the tolerance."""
    tokens, experts, top = plan.pick(2048, 8192, 8192), 64, 6
    random = np.random.default_rng(0)
    logits = random.standard_normal((tokens, experts)) + 0.7 * random.standard_normal(experts)
    scores = torch.from_numpy((1 / (1 + np.exp(-logits))).astype(np.float32))
    step = torch.from_numpy((0.05 * 0.97 ** np.arange(K)).astype(np.float32))
    program = us.load(PROGRAMS / "balance.us")
    ours = Problem(program.moe, (scores, top), values={"step": step}, counts={"K": K})
    maxima = replace(ours, handle=program.moe_maxima, inputs=(scores,), counts={"K": K, "top": top}, variant="masked maxima")
    forward = [
        *ours.forward(),
        *maxima.forward(),
        ours.torch("torch", "eager", lambda: eager.moe),
        ours.torch("torch, masked maxima", "eager", lambda: eager.moe_maxima),
        *plan.compiled(ours.torch, "moe_maxima", "masked maxima", whole=False),
        ours.jax("jax scan", "moe"),
        ours.jax("jax scan, masked maxima", "moe_maxima"),
        numba_run("moe", scores, top, step),
        Contestant("C limit", "limit", lambda: bindings.moe(scores, top, step, plan.threads)),
    ]
    size = f"{tokens} tokens, {experts} experts, top {top}, K={K}"
    yield Contest("moe", size, FORWARD, ours.reference, plan.having(forward), tolerance=2e-3)


def scaling(plan: Plan) -> Iterator[Contest]:
    """Matrices of a MiB to 4 MiB each, scaled to unit row and column sums."""
    batch, n = plan.pick((4, 256), (8, 1024), (8, 1024))
    M = torch.from_numpy(np.exp(np.random.default_rng(0).standard_normal((batch, n, n))).astype(np.float32))
    ours = Problem(us.load(PROGRAMS / "balance.us").scaling, (M,), counts={"K": K}, order=lambda given, inputs, params: (M, K))
    in_jax = replace(ours, inputs=(M, K), order=lambda given, inputs, params: tuple(inputs))
    forward = [
        *ours.forward(),
        ours.torch("torch", "eager", lambda: eager.scaling),
        *plan.compiled(ours.torch, "scaling", whole=plan.scale == "full"),
        in_jax.jax("jax scan", "scaling"),
        numba_run("scaling", M, K),
        Contestant("C limit", "limit", lambda: bindings.scaling(M, K, plan.threads)),
    ]
    yield Contest("scaling", f"{batch}x{n}x{n}, K={K}", FORWARD, ours.reference, plan.having(forward))


def sinkhorn(plan: Plan) -> Iterator[Contest]:
    """Entropic transport in the log domain with a learned regularization (tests/programs/balance.us)."""
    for batch, n in plan.pick([(32, 64)], [(32, 64), (4, 256)], [(32, 64), (4, 256), (8, 1024)]):
        random = np.random.default_rng(0)
        C = torch.from_numpy(random.random((batch, n, n)).astype(np.float32))
        even = torch.full((n,), 1 / n)
        eps = torch.from_numpy((0.05 * (1 + 0.5 * random.random(K))).astype(np.float32))
        target = torch.eye(n)[None] / n
        ours = Problem(
            us.load(TEST_PROGRAMS / "balance.us").sinkhorn,
            (C, even, even.clone()),
            values={"eps": eps},
            counts={"K": K},
            loss=mean_squares,
            jax_loss=mean_squares,
            inside="mean_squares",
            extra=(target,),
        )
        size = f"{batch}x{n}x{n}, log domain, K={K}"
        forward = [
            *ours.forward(),
            ours.torch("torch", "eager", lambda: eager.sinkhorn),
            *plan.compiled(ours.torch, "sinkhorn", whole=plan.scale == "full"),
            ours.jax("jax scan", "sinkhorn"),
            numba_run("sinkhorn", C, even.log(), even.log(), eps),
        ]
        yield Contest("sinkhorn", size, FORWARD, ours.reference, plan.having(forward), tolerance=1e-3)
        gradient = [
            *ours.gradient(),
            ours.torch_gradient("torch", "eager", lambda: eager.sinkhorn),
            *plan.compiled(ours.torch_gradient, "sinkhorn", whole=plan.scale == "full"),
            ours.jax_gradient("jax scan", "sinkhorn"),
        ]
        yield Contest("sinkhorn", size, GRADIENT, ours.reference_gradient, plan.having(gradient), tolerance=1e-3)
