"""Transductive few-shot classification: 10 iterations of EM, as written (tests/programs/em.us) and in Gram form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

import unspool as us

from ..contest import FORWARD, GRADIENT, Contest, Contestant
from ..limits import bindings
from ..peers import torch_eager as eager
from ..plan import Plan
from ..problem import Problem
from . import PROGRAMS, TEST_PROGRAMS

K, SUPPORT, QUERY, FEATURES, CLASSES = 10, 25, 75, 512, 20


def data(batch: int, features: int = FEATURES, classes: int = CLASSES, seed: int = 0) -> dict[str, Tensor]:
    """Tasks of unit vectors around random centres; labels are one-hot."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((batch, classes, features))
    known = np.tile(np.arange(SUPPORT) % classes, (batch, 1))
    asked = random.integers(0, classes, (batch, QUERY))
    labels = np.concatenate([known, asked], 1)
    z = np.take_along_axis(centres, labels[:, :, None], 1) + 1.6 * random.standard_normal((batch, SUPPORT + QUERY, features))
    z /= np.linalg.norm(z, axis=2, keepdims=True)
    hot = np.eye(classes)[labels]
    arrays = {"support": z[:, :SUPPORT], "labels": hot[:, :SUPPORT], "query": z[:, SUPPORT:], "truth": hot[:, SUPPORT:]}
    arrays |= {"temperature": 12 * (1 + 0.3 * random.random(K)), "balance": 0.5 + 0.5 * random.random(K)}
    return {name: torch.from_numpy(np.ascontiguousarray(a, np.float32)) for name, a in arrays.items()}


def likelihood(u: Tensor, truth: Tensor) -> Tensor:
    """The mean negative log likelihood of the labels."""
    return -torch.log((u * truth).sum(-1)).mean()


def jax_likelihood(u: Any, truth: Any) -> Any:
    """The same in JAX."""
    import jax.numpy as jnp

    return -jnp.log((u * truth).sum(-1)).mean()


def problems(d: dict[str, Tensor]) -> tuple[Problem, Problem]:
    """The program as written, and in Gram form."""
    written = Problem(
        us.load(TEST_PROGRAMS / "em.us").unrolled_em,
        (d["support"], d["labels"], d["query"]),
        values={"temperature": d["temperature"], "balance": d["balance"]},
        counts={"K": K},
        loss=likelihood,
        jax_loss=jax_likelihood,
        inside="likelihood",
        extra=(d["truth"],),
    )
    return written, replace(written, handle=us.load(PROGRAMS / "em.us").em_gram, variant="Gram")


def contests(plan: Plan) -> Iterator[Contest]:
    """One task, and a batch of them."""
    for batch in plan.pick([1], [1, 64], [1, 64]):
        d = data(batch)
        written, gram = problems(d)
        size = f"{SUPPORT}+{QUERY} samples, d={FEATURES}, {CLASSES} classes, batch {batch}, K={K}"
        forward = [
            *written.forward(),
            *gram.forward(),
            written.torch("torch", "eager", lambda: eager.em),
            written.torch("torch, Gram", "eager", lambda: eager.em_gram),
            *plan.compiled(written.torch, "em", whole=plan.scale == "full"),
            *plan.compiled(written.torch, "em_gram", "Gram"),
            written.jax("jax scan", "em"),
            written.jax("jax scan, Gram", "em_gram"),
            _limit(d, "direct", "C limit, as written", written, plan),
            _limit(d, "gram", "C limit, Gram", written, plan),
        ]
        yield Contest("em", size, FORWARD, written.reference, plan.having(forward))
        gradient = [
            *written.gradient(),
            *gram.gradient(),
            written.torch_gradient("torch", "eager", lambda: eager.em),
            written.torch_gradient("torch, Gram", "eager", lambda: eager.em_gram),
            *plan.compiled(written.torch_gradient, "em_gram", "Gram"),
            written.jax_gradient("jax scan", "em"),
            written.jax_gradient("jax scan, Gram", "em_gram"),
            _limit(d, "gradient", "C limit, Gram", written, plan),
        ]
        yield Contest("em", size, GRADIENT, written.reference_gradient, plan.having(gradient))


def _limit(d: dict[str, Tensor], kind: str, name: str, problem: Problem, plan: Plan) -> Contestant:
    operands = [d[n] for n in ("support", "labels", "query", "truth", "temperature", "balance")]
    found = Contestant(name, "limit", lambda: bindings.em(*operands, plan.threads, kind))
    return replace(found, arrays=problem.pull_back) if kind == "gradient" else found
