"""Pictures of ``stdlib/bilevel.us``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import unspool as us
from experiments.layer_selection import GROUPS, WIDTH, Squares

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BILEVEL = us.stdlib.bilevel
_FEATURES, _GOOD = 10, (1, 5)


def hyperclean() -> Figure:
    """400 of scikit-learn's digits, of which 40% have a wrong label, and 100 clean ones; 100 lower steps of 0.5, ridge 0.005, eta 1. Weights: means
    over samples."""
    return _cleaned("hyperclean", K=40, J=100)


def hyperclean_implicit() -> Figure:
    """400 of scikit-learn's digits, of which 40% have a wrong label, and 100 clean ones; 10 lower steps of 0.5, ridge 0.005, eta 1. Weights: means
    over samples."""
    return _cleaned("hyperclean_implicit", K=40, J=10)


def hypergradient() -> Figure:
    """Ridge regression of 40 samples with a strength for each of 10 features, judged on 40 others, at strengths of 2: what lower steps of 0.1 lack
    of the minimum and of the gradient there, both known in closed form."""
    x, y = torch.zeros(2, _FEATURES, dtype=torch.float64)
    at, slope = _minimum(x)
    tol, found = torch.tensor(1e-12, dtype=torch.float64), []
    for K in range(1, 101):
        with torch.no_grad():
            found.append(_BILEVEL.hypergradient(x, y, tol, f=_judged, g=_fitted, K=K, step=0.1)[1:])
    gradients, points = (torch.stack(parts) for parts in zip(*found, strict=True))
    return us.plot_curves({"error of the gradient": (gradients - slope).norm(dim=-1), "distance to y(x)": (points - at).norm(dim=-1)})


def soba() -> Figure:
    """Ridge regression of 40 samples with a strength for each of 10 features, judged on 40 others, from strengths of 2, all below 4; rho = 0.1, eta = 0.3.
    F is the loss of the others at the minimum of the lower objective, in closed form."""
    return _descended("soba", eta=0.3, rho=0.1)


def bo_rep() -> Figure:
    """Ridge regression of 40 samples with a strength for each of 10 features, judged on 40 others, from strengths of 2, all below 4; gamma = nu = 0.1, eta
    from 0.03 to 0. F is the loss of the others at the minimum of the lower objective, in closed form."""
    return _descended("bo_rep", eta=torch.linspace(0.03, 0, 601, dtype=torch.float64)[:600], gamma=0.1, nu=0.1)


def select_layers() -> Figure:
    """Eight groups of 12 random features, of which two matter, 60 samples to learn from and 60 others; 10 steps of 0.02, eta = 0.1. Gates: means of
    the two and of the six."""
    return _selected("select_layers")


def select_layers_direct() -> Figure:
    """Eight groups of 12 random features, of which two matter, 60 samples to learn from and 60 others; 10 steps of 0.02, eta = 0.1. Gates: means of
    the two and of the six."""
    return _selected("select_layers_direct")


def worst_forget() -> Figure:
    """400 of scikit-learn's digits, a network 64-32-10 trained on them, 40 to forget; 10 steps by signs of 0.001, rate 1. Loss: that of the
    original network, weighted by w; undecided: the sum of w (1 - w) over the size of the set."""
    x, y = _digits(400)
    torch.manual_seed(0)
    loss = _Entropy()
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        loss(x, y).mean().backward()
        optimizer.step()
    with torch.no_grad():
        _, path = _BILEVEL.worst_forget(x, y, 40, 1.0, loss=loss, K=30, period=40, rate=1.0, trace=["w"])
        before = loss(x, y)
    return us.plot_curves({"loss": (path.w * before).sum(-1) / 40, "undecided": (path.w * (1 - path.w)).sum(-1) / 40})


def _digits(count: int) -> tuple[Tensor, Tensor]:
    pixels, classes = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(pixels))[:count]
    return torch.as_tensor(pixels[order] / 16, dtype=torch.float32), torch.eye(10)[classes[order]]


def _cleaned(name: str, **counts: int) -> Figure:
    x, y = _digits(500)
    wrong = torch.rand(400, generator=torch.Generator().manual_seed(0)) < 0.4
    told = torch.where(wrong[:, None], y[:400].roll(3, 1), y[:400])
    _, path = getattr(_BILEVEL, name)(x[:400], told, x[400:], y[400:], torch.zeros(400), eta=1.0, trace=["s"], **counts)
    w = torch.sigmoid(path.s.detach())
    return us.plot_curves({"weight of clean samples": w[:, ~wrong].mean(-1), "of noisy samples": w[:, wrong].mean(-1)}, log=False)


def _halves() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Samples and targets of a regression in which some features matter little."""
    random = torch.Generator().manual_seed(0)
    A = torch.randn(80, _FEATURES, generator=random, dtype=torch.float64)
    truth = torch.randn(_FEATURES, generator=random, dtype=torch.float64) * (torch.arange(_FEATURES) < 4)
    b = A @ truth + torch.randn(80, generator=random, dtype=torch.float64)
    return A[:40], b[:40], A[40:], b[40:]


_A, _B, _AV, _BV = _halves()


def _strengths(x: Tensor) -> Tensor:
    return 4 * torch.sigmoid(x)


def _fitted(x: Tensor, y: Tensor, s: Tensor) -> Tensor:
    return 0.5 * ((y @ _A.T - _B) ** 2).mean(-1) + 0.5 * (_strengths(x) * y**2).sum(-1)


def _judged(x: Tensor, y: Tensor, s: Tensor) -> Tensor:
    return 0.5 * ((y @ _AV.T - _BV) ** 2).mean(-1) + 0.0 * x.sum(-1)


def _minimum(x: Tensor) -> tuple[Tensor, Tensor]:
    """That of the lower objective, and the gradient of F."""
    x = x.detach().requires_grad_()
    y = torch.linalg.solve(_A.T @ _A / 40 + _strengths(x).diag_embed(), _A.T @ _B / 40)
    (slope,) = torch.autograd.grad(_judged(x, y, x).sum(), x)
    return y.detach(), slope


def _descended(name: str, **options: Any) -> Figure:
    zero = torch.zeros(_FEATURES, dtype=torch.float64)
    with torch.no_grad():
        _, path = getattr(_BILEVEL, name)(zero, zero, f=_judged, g=_fitted, K=600, trace=["x", "y"], **options)
    y, slope = _minimum(path.x)
    curves = {"F": _judged(path.x, y, path.x), "gradient of F": slope.norm(dim=-1), "distance of y to y(x)": (path.y - y).norm(dim=-1)}
    return us.plot_curves(curves)


class _Entropy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return cross_entropy(self.f(x), t, reduction="none")


def _selected(name: str) -> Figure:
    random = torch.Generator().manual_seed(0)
    x = torch.einsum("nli,lij->nlj", torch.randn(120, GROUPS, 4, generator=random), torch.randn(GROUPS, 4, WIDTH, generator=random)).tanh()
    good = torch.zeros(GROUPS, 1)
    good[list(_GOOD)] = 1
    t = (x * good * torch.randn(GROUPS, WIDTH, generator=random)).sum((1, 2))[:, None] + 0.5 * torch.randn(120, 1, generator=random)
    x = x.flatten(1)
    with torch.no_grad():
        inputs = x[:60], t[:60], x[60:], t[60:]
        _, path = getattr(_BILEVEL, name)(*inputs, loss=Squares(), K=100, layers=GROUPS, step=0.02, eta=0.1, trace=["alpha"])
    gates = GROUPS * path.alpha.softmax(-1)
    matter = good[:, 0] == 1
    return us.plot_curves({"gates of layers that matter": gates[:, matter].mean(-1), "of others": gates[:, ~matter].mean(-1)}, log=False)
