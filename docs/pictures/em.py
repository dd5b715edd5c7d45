"""Pictures of ``stdlib/em.us``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributions

import unspool as us

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_EM = us.stdlib.em
#: One sample for each class, for every task.
_LABELS = torch.eye(5, dtype=torch.float64).expand(200, 5, 5).contiguous()


def gmm() -> Figure:
    """Ten sets of 300 samples of 3 overlapping normals in the plane, begun at three of the samples, means over the sets. The likelihood (per
    sample, below that after 1,000 iterations) rises in every iteration."""
    return _mixture("gmm", "variance")


def gmm_full() -> Figure:
    """Ten sets of 300 samples of 3 overlapping normals in the plane, begun at three of the samples, means over the sets. The likelihood (per
    sample, below that after 1,000 iterations) rises in every iteration."""
    return _mixture("gmm_full", "sigma")


def factor_analysis() -> Figure:
    """Ten sets of 200 samples of 8 features made of 2 factors, means over the sets. The likelihood (per sample, below that after 3,000 iterations)
    rises in every iteration."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, dtype=torch.float64)

    x, B0 = normal(10, 200, 2) @ normal(10, 2, 8) + normal(10, 200, 8) * (0.3 + 0.7 * normal(8).abs()), normal(10, 8, 2)
    centred = x - x.mean(1, keepdim=True)

    def likelihood(B: Tensor, psi: Tensor) -> Tensor:
        covariance = B @ B.mT + psi.diag_embed()
        return distributions.MultivariateNormal(torch.zeros_like(psi), covariance).log_prob(centred.movedim(1, 0)).mean(0)

    _, path = _EM.factor_analysis(x, B0, K=200, trace=["B", "psi"])
    best = likelihood(*_EM.factor_analysis(x, B0, K=3000))
    values = torch.stack([likelihood(path.B[:, k], path.psi[:, k]) for k in range(200)], dim=1)
    return us.plot_curves({
        "log-likelihood below its end": best[:, None] - values, "change of B": path.B.diff(dim=1).flatten(2).norm(dim=-1),
        "change of psi": path.psi.diff(dim=1).norm(dim=-1),
    })  # fmt: skip


def unem_gaussian() -> Figure:
    """200 tasks of 5 classes in 16 dimensions, one labelled sample for each class and 75 queries together (classes are unit vectors, noise 0.25),
    balance 1, temperature 1, scale 4. Means over the tasks."""
    random = torch.Generator().manual_seed(0)
    truth, means = torch.randint(5, (200, 75), generator=random), torch.eye(5, 16, dtype=torch.float64)
    noise = 0.25 * torch.randn(200, 80, 16, generator=random, dtype=torch.float64)
    return _assigned("unem_gaussian", means + noise[:, :5], _LABELS, means[truth] + noise[:, 5:], truth, scale=4.0)


def unem_dirichlet() -> Figure:
    """200 tasks of 5 classes on the simplex of 5 corners, Dirichlet with parameters 1 but for 5 at the class's own corner; one labelled sample for
    each class and 75 queries together, balance 0, temperature 1, scale 1. Means over the tasks."""
    random = torch.Generator().manual_seed(0)
    truth = torch.randint(5, (200, 75), generator=random)
    alpha = 1 + 4 * torch.eye(5, dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        support, query = (distributions.Dirichlet(one).sample().log() for one in (alpha.expand(200, 5, 5), alpha[truth]))
    return _assigned("unem_dirichlet", support, _LABELS, query, truth, scale=1.0, balance=0.0)


def _mixture(name: str, spread: str) -> Figure:
    random = torch.Generator().manual_seed(0)
    means = 2 * torch.randn(10, 3, 2, generator=random, dtype=torch.float64)
    shape = torch.randn(10, 3, 2, 2, generator=random, dtype=torch.float64)
    each = torch.randint(3, (10, 300), generator=random)
    at = torch.arange(10)[:, None]
    x = means[at, each] + (shape[at, each] @ torch.randn(10, 300, 2, 1, generator=random, dtype=torch.float64))[..., 0]

    def likelihood(share: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
        normals = distributions.MultivariateNormal(mu, sigma if name == "gmm_full" else sigma.diag_embed())
        return (share.log() + normals.log_prob(x.movedim(1, 0)[:, :, None])).logsumexp(-1).mean(0)

    _, path = getattr(_EM, name)(x, x[:, :3], K=200, trace=["share", "mu", spread])
    best = likelihood(*getattr(_EM, name)(x, x[:, :3], K=1000))
    values = torch.stack([likelihood(path.share[:, k], path.mu[:, k], getattr(path, spread)[:, k]) for k in range(200)], dim=1)
    return us.plot_curves({
        "log-likelihood below its end": best[:, None] - values, "change of mu": path.mu.diff(dim=1).flatten(2).norm(dim=-1),
    })  # fmt: skip


def _assigned(name: str, support: Tensor, labels: Tensor, query: Tensor, truth: Tensor, **options: float) -> Figure:
    layer = getattr(_EM, name).build(dtype="f64", K=15, **options)
    with torch.no_grad():
        _, path = layer(support, labels, query, trace=["u"])
    wrong = (path.u.argmax(-1) != truth[:, None]).double().mean(-1)
    return us.plot_curves(path, layer, support, labels, query, metrics={"wrong queries": lambda _: wrong})
