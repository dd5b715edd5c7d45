"""Programs of the standard library, as they stand: a group of its own, so that the suite stays what it was.

JAX and torch.compile are left out of unem_dirichlet and pdhg_lp, which are conditions on data and loops that end by themselves, torch.compile also of
hyper-cleaning, whose iterations it would take one by one; gradients are asked for
where programs have parameters that one learns, or are projections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

import unspool as us

from ..contest import FORWARD, GRADIENT, Contest
from ..peers import library_torch, torch_compiled, torch_eager
from ..plan import Plan
from ..problem import Problem
from . import mri
from .ista import mean_squares

Contests = Callable[[Plan], Iterator[Contest]]
#: Programs whose peers are those of the suite.
_SHARED = {"sinkhorn": "sinkhorn", "tv": "tv"}


def contests() -> Mapping[str, Contests]:
    """The contests of each program."""
    sparse = {name: _sparse(name) for name in ("fista", "iht", "lista", "alista", "admm_lasso", "amp")}
    return {
        **sparse, "unem_gaussian": unem_gaussian, "unem_dirichlet": unem_dirichlet, "gmm": gmm, "factor_analysis": factor_analysis,
        "alf_lb": alf_lb, "sinkhorn": sinkhorn, "tv": tv, "pdhg_lp": pdhg_lp, "capped_simplex": capped_simplex,
        "cirim": mri.cirim, "recurrent_varnet": mri.recurrent_varnet,
        "hyperclean": _cleaning("hyperclean", 50), "hyperclean_implicit": _cleaning("hyperclean_implicit", 10),
    }  # fmt: skip


def _f32(values: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def _sparse(name: str) -> Contests:
    """Sparse recovery, 16 iterations."""

    def held(plan: Plan) -> Iterator[Contest]:
        m, n, batch = plan.pick((16, 24, 4), (250, 500, 32), (250, 500, 32))
        random, K = np.random.default_rng(0), 16
        A = random.standard_normal((m, n))
        A /= np.linalg.norm(A, axis=0)
        truth = random.standard_normal((batch, n)) * (random.random((batch, n)) < 0.05)
        y = truth @ A.T + 0.01 * random.standard_normal((batch, m))
        given = {"A": _f32(A)}
        layer = getattr(us.stdlib.sparse, name).build(A=given["A"], K=K)
        values = {n: v.detach().clone() for n, v in layer.values().items()}
        after = (K,) if name == "admm_lasso" else ()
        problem = Problem(
            getattr(us.stdlib.sparse, name), (_f32(y),), given=given, values=values, counts={"K": K}, loss=mean_squares, jax_loss=mean_squares,
            extra=(_f32(truth),), order=lambda given, inputs, params: (given["A"], *inputs, *params, *after),
        )  # fmt: skip
        tolerance = 1e-2 if name in ("iht", "amp") else 1e-3  # entries at a threshold flip in float32
        if name == "admm_lasso":
            tolerance = 5e-3  # at the minimum nothing depends on rho: terms of its gradient cancel but for a ten-thousandth
        differentiated = name != "iht"  # its derivative in lam is 0 everywhere: no scale to compare with
        yield from _held(plan, name, f"{m}x{n}, batch {batch}, K={K}", problem, gradient=differentiated, tolerance=tolerance)

    return held


def _tasks(batch: int, d: int, c: int, queries: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Labelled samples, one for each class, their labels, queries, and the labels of these."""
    random = np.random.default_rng(0)
    means, asked = random.standard_normal((batch, c, d)), random.integers(0, c, (batch, queries))
    samples = np.concatenate([means, np.take_along_axis(means, asked[..., None], 1)], 1)
    samples = samples + 0.5 * random.standard_normal(samples.shape)
    samples /= np.linalg.norm(samples, axis=-1, keepdims=True)
    return _f32(samples[:, :c]), _f32(np.tile(np.eye(c), (batch, 1, 1))), _f32(samples[:, c:]), _f32(np.eye(c)[asked])


def unem_gaussian(plan: Plan) -> Iterator[Contest]:
    """Few-shot tasks, 10 iterations."""
    batch, d, c, queries = plan.pick((2, 8, 3, 6), (16, 256, 20, 75), (16, 256, 20, 75))
    support, labels, query, truth = _tasks(batch, d, c, queries)
    values = {"scale": torch.tensor(4.0), "balance": torch.linspace(0.5, 1, 10), "temperature": torch.linspace(1, 1.5, 10)}
    inputs = (support, labels, query)
    problem = Problem(
        us.stdlib.em.unem_gaussian, inputs, values=values, counts={"K": 10}, loss=mean_squares, jax_loss=mean_squares, extra=(truth,)
    )
    yield from _held(plan, "unem_gaussian", f"{c}+{queries} samples, d={d}, batch {batch}, K=10", problem, gradient=True)


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
    yield from _held(plan, "unem_dirichlet", size, problem, compiled=False, jax=False, tolerance=5e-3)


def gmm(plan: Plan) -> Iterator[Contest]:
    """Mixtures with diagonal covariances, 20 iterations."""
    batch, n, d, c = plan.pick((2, 12, 2, 2), (8, 500, 8, 5), (8, 500, 8, 5))
    random = np.random.default_rng(0)
    x = 2 * random.standard_normal((batch, c, d))[:, np.arange(n) % c] + random.standard_normal((batch, n, d))
    problem = Problem(
        us.stdlib.em.gmm, (_f32(x), _f32(x[:, :c])), counts={"K": 20}, order=lambda given, inputs, params: (*inputs, 20), wanted=(1,),
        loss=lambda found, want: mean_squares(found[1], want), jax_loss=lambda found, want: mean_squares(found[1], want),
        extra=(_f32(np.zeros((batch, c, d))),),
    )  # fmt: skip
    yield from _held(plan, "gmm", f"{n} samples, d={d}, {c} classes, batch {batch}, K=20", problem, gradient=True, tolerance=5e-3)


def factor_analysis(plan: Plan) -> Iterator[Contest]:
    """Factor models, 50 iterations."""
    batch, n, d, r = plan.pick((2, 12, 4, 2), (16, 200, 20, 4), (16, 200, 20, 4))
    random = np.random.default_rng(0)
    x = random.standard_normal((batch, n, r)) @ random.standard_normal((batch, r, d)) + 0.5 * random.standard_normal((batch, n, d))
    inputs = _f32(x), _f32(random.standard_normal((batch, d, r)))
    problem = Problem(us.stdlib.em.factor_analysis, inputs, counts={"K": 50}, order=lambda given, inputs, params: (*inputs, 50))
    yield from _held(plan, "factor_analysis", f"{n} samples, d={d}, {r} factors, batch {batch}, K=50", problem, tolerance=5e-3)


def alf_lb(plan: Plan) -> Iterator[Contest]:
    """Top 2 of 16 experts, 50 iterations. Near ties flip in float32, hence the tolerance."""
    tokens, experts, top = plan.pick((32, 4, 2), (4096, 16, 2), (4096, 16, 2))
    random = np.random.default_rng(0)
    scores = _f32(1 / (1 + np.exp(-random.standard_normal((tokens, experts)) - 0.5 * random.standard_normal(experts))))
    step = _f32(0.2 / np.sqrt(np.arange(50) + 1))
    problem = Problem(us.stdlib.primal_dual.alf_lb, (scores, top), values={"step": step}, counts={"K": 50})
    yield from _held(plan, "alf_lb", f"{tokens} tokens, {experts} experts, top {top}, K=50", problem, tolerance=2e-2)


def sinkhorn(plan: Plan) -> Iterator[Contest]:
    """Entropic transport, 50 iterations."""
    batch, n = plan.pick((2, 6), (32, 64), (32, 64))
    random = np.random.default_rng(0)
    C, even, eps = _f32(random.random((batch, n, n))), torch.full((batch, n), 1 / n), _f32(0.05 * (1 + 0.5 * random.random(50)))
    problem = Problem(
        us.stdlib.primal_dual.sinkhorn, (C, even, even.clone()), values={"eps": eps}, counts={"K": 50}, loss=mean_squares, jax_loss=mean_squares,
        extra=(torch.eye(n)[None] / n,),
    )  # fmt: skip
    yield from _held(plan, "sinkhorn", f"{batch}x{n}x{n}, K=50", problem, gradient=True)


def tv(plan: Plan) -> Iterator[Contest]:
    """Denoising of an image, 20 iterations."""
    side = plan.pick(12, 256, 512)
    random, K = np.random.default_rng(0), 20
    clean = np.kron(random.random((4, 4)), np.ones((side // 4, side // 4)))
    image, strength = _f32(clean + 0.1 * random.standard_normal(clean.shape)), torch.tensor(0.1)
    problem = Problem(
        us.stdlib.primal_dual.tv, (image, strength), values={"tau": torch.full((K,), 0.25), "sigma": torch.full((K,), 0.5)}, counts={"K": K},
        loss=mean_squares, jax_loss=mean_squares, extra=(_f32(clean),),
    )  # fmt: skip
    yield from _held(plan, "tv", f"{side}x{side}, K={K}", problem, gradient=True)


def pdhg_lp(plan: Plan) -> Iterator[Contest]:
    """A linear program to a relative error of 1e-3, in rounds of 50 steps."""
    rows, columns = plan.pick((4, 6), (100, 150), (100, 150))
    random = np.random.default_rng(0)
    A, point, equal = random.standard_normal((rows, columns)), random.random(columns), np.arange(rows) < rows // 3
    b = A @ point + np.where(equal, 0, random.random(rows))
    c = random.random(columns) + 0.1 - A.T @ np.where(equal, random.standard_normal(rows), random.random(rows))
    inputs = (_f32(c), _f32(b), torch.from_numpy(equal), torch.zeros(columns), torch.full((columns,), 2.0), 1e-3)
    problem = Problem(
        us.stdlib.primal_dual.pdhg_lp, inputs, given={"A": _f32(A)}, values={"balance": torch.tensor(1.0)}, counts={"K": 50, "J": 50},
        order=lambda given, inputs, params: (inputs[0], given["A"], *inputs[1:], *params, 50, 50),
    )  # fmt: skip
    yield from _held(plan, "pdhg_lp", f"{rows} rows, {columns} unknowns, error 1e-3, J=50", problem, compiled=False, jax=False, tolerance=5e-2)


def capped_simplex(plan: Plan) -> Iterator[Contest]:
    """Projections of many vectors, 40 bisections."""
    batch, n = plan.pick((4, 10), (1024, 256), (1024, 256))
    v = _f32(np.random.default_rng(0).standard_normal((batch, n)))
    inputs = (v, torch.tensor(n / 8), torch.tensor(1.0))
    problem = Problem(
        us.stdlib.primal_dual.capped_simplex, inputs, counts={"K": 40}, loss=mean_squares, jax_loss=mean_squares, extra=(torch.zeros(batch, n),),
        wanted=(0,), order=lambda given, inputs, params: (*inputs, 40),
    )  # fmt: skip
    yield from _held(plan, "capped_simplex", f"{batch} vectors of {n}, K=40", problem, gradient=True)


def _cleaning(name: str, inner: int) -> Contests:
    """Hyper-cleaning, 20 iterations."""

    def held(plan: Plan) -> Iterator[Contest]:
        n, clean, d, c = plan.pick((24, 12, 4, 3), (1000, 200, 64, 10), (1000, 200, 64, 10))
        random, K = np.random.default_rng(0), 20
        X, Xv, means = random.standard_normal((n, d)), random.standard_normal((clean, d)), random.standard_normal((d, c))
        told, truth = (X @ means).argmax(1), (Xv @ means).argmax(1)
        told = np.where(random.random(n) < 0.4, random.integers(0, c, n), told)
        inputs = _f32(X / np.sqrt(d)), _f32(np.eye(c)[told]), _f32(Xv / np.sqrt(d)), _f32(np.eye(c)[truth]), torch.zeros(n)
        values = {"eta": torch.ones(K), "step": torch.tensor(0.5), "ridge": torch.tensor(0.005)}
        problem = Problem(
            getattr(us.stdlib.bilevel, name), inputs, values=values, counts={"K": K, "J": inner},
            order=lambda given, inputs, params: (*inputs, *params, inner),
        )  # fmt: skip
        size = f"{n} samples, {clean} clean, d={d}, {c} classes, K={K}, J={inner}"
        yield from _held(plan, name, size, problem, compiled=False, tolerance=5e-3)

    return held


def _held(
    plan: Plan, name: str, size: str, problem: Problem, *, gradient: bool = False, compiled: bool = True, jax: bool = True, tolerance: float = 1e-3
) -> Iterator[Contest]:
    """The contests of a program: forward, and the gradient where it is asked for."""
    shared = _SHARED.get(name)
    function = getattr(torch_eager if shared else library_torch, shared or name)
    module = "jax_peers" if shared else "library_jax"
    modes = [(FORWARD, problem.forward, problem.torch, problem.jax, problem.reference)]
    if gradient:
        modes.append((GRADIENT, problem.gradient, problem.torch_gradient, problem.jax_gradient, problem.reference_gradient))
    for mode, ours, by_torch, by_jax, reference in modes:
        contestants = [*ours(), by_torch("torch", "eager", lambda: function)]
        if compiled:
            contestants.append(by_torch("torch.compile, whole loop", "compile", lambda: torch_compiled.whole(function)))
        if jax:
            contestants.append(by_jax("jax scan", name, module))
        yield Contest(f"library {name}", size, mode, reference, plan.having(contestants), tolerance=tolerance)
