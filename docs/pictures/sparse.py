"""Pictures of ``stdlib/sparse.us``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import unspool as us

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SPARSE = us.stdlib.sparse
_LAM, _K = 0.02, 200


def ista() -> Figure:
    """Twenty signals of 100 entries, 5 of them not zero, from 50 measurements with noise 0.01, lam = 0.02, means over the signals. J falls like 1
    / k, then linearly."""
    return _lasso("ista", "x")


def fista() -> Figure:
    """Twenty signals of 100 entries, 5 of them not zero, from 50 measurements with noise 0.01, lam = 0.02, means over the signals. Faster than
    ista, not monotone."""
    return _lasso("fista", "x")


def admm_lasso() -> Figure:
    """Twenty signals of 100 entries, 5 of them not zero, from 50 measurements with noise 0.01, lam = 0.02, rho = 0.1, means over the signals."""
    return _lasso("admm_lasso", "z", rho=0.1)


def iht() -> Figure:
    """Twenty signals of 100 entries, 5 of them not zero, from 50 measurements with noise 0.01, lam = 0.02, means over the signals. Each ends in a
    local minimum: what is left of J is measured from there."""
    A, y, x = _problem(20)
    layer = _SPARSE.iht.build(dtype="f64", A=A, K=_K, lam=_LAM)
    _, path = layer(y, trace=["x"])
    value = layer.objective(path.x, y[:, None]).detach()
    end = layer.objective(_SPARSE.iht(A, y, K=5000, lam=_LAM), y).detach()
    return _drawn({"J less its last value": value - end[:, None], **_errors(path.x.detach(), x, "x")})


def lista() -> Figure:
    """Signals of 100 entries, 5 in the mean not zero, from 50 measurements with noise 0.01: 16 layers as they begin (ISTA with lam = 0.1), and
    trained by us.fit on 4,000 signals to come close to the signal after the last. Relative errors of 500 new signals, by layer."""
    return _trained("lista", epochs=12, lr=2e-3)


def alista() -> Figure:
    """Signals of 100 entries, 5 in the mean not zero, from 50 measurements with noise 0.01: 16 layers as they begin (step 1, threshold 0.1), and
    trained by us.fit on 4,000 signals to come close to the signal after the last. Relative errors of 500 new signals, by layer."""
    return _trained("alista", epochs=40, lr=0.02)


def amp() -> Figure:
    """Twenty signals of 1,000 entries, 50 of them not zero, from 500 measurements with noise 0.01, alpha = 1.4, means over the signals. The
    estimate of the noise of x + A^T r is as large as that noise."""
    A, y, x = _problem(20, m=500, n=1000, nonzero=50)
    layer = _SPARSE.amp.build(dtype="f64", A=A, K=30)
    _, path = layer(y, trace=["x", "r"])
    found, r = path.x.detach(), path.r.detach()
    noise = found + r @ A - x[:, None]
    return _drawn({
        "relative error": _errors(found, x, "x")["relative error"],
        "|r| / sqrt(m)": r.norm(dim=-1) / 500**0.5,
        "|x + A^T r - signal| / sqrt(n)": noise.norm(dim=-1) / 1000**0.5,
    })  # fmt: skip


def _problem(count: int, m: int = 50, n: int = 100, nonzero: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """A matrix with unit columns, measurements, and the signals."""
    random = torch.Generator().manual_seed(0)
    A = torch.randn(m, n, generator=random, dtype=torch.float64)
    A /= A.norm(dim=0)
    at = torch.rand(count, n, generator=random).topk(nonzero).indices
    x = torch.zeros(count, n, dtype=A.dtype).scatter_(1, at, torch.randn(count, nonzero, generator=random, dtype=A.dtype))
    return A, x @ A.T + 0.01 * torch.randn(count, m, generator=random, dtype=A.dtype), x


def _errors(found: Tensor, x: Tensor, state: str) -> dict[str, Tensor]:
    """Distance to the signal, and how far the last step went."""
    return {
        "relative error": (found - x[:, None]).norm(dim=-1) / x.norm(dim=-1)[:, None],
        f"change of {state}": found.diff(dim=1).norm(dim=-1),
    }


def _lasso(name: str, state: str, **options: Any) -> Figure:
    A, y, x = _problem(20)
    layer = getattr(_SPARSE, name).build(dtype="f64", A=A, K=_K, lam=_LAM, **options)
    _, path = layer(y, trace=[state])
    found = getattr(path, state).detach()
    least = layer.objective(_SPARSE.fista(A, y, K=5000, lam=_LAM), y).detach()
    return _drawn({"J less its minimum": layer.objective(found, y[:, None]).detach() - least[:, None], **_errors(found, x, state)})


def _trained(name: str, epochs: int, lr: float) -> Figure:
    A, _, _ = _problem(1)
    A, random = A.float(), torch.Generator().manual_seed(1)

    def draw(count: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(count, 100, generator=random) * (torch.rand(count, 100, generator=random) < 0.05)
        return x @ A.T + 0.01 * torch.randn(count, 50, generator=random), x

    layer, (y, x) = getattr(_SPARSE, name).build(A=A, K=16), draw(500)
    curves = {}
    for told in ("as it begins", "trained"):
        if told == "trained":
            us.fit(layer, draw(4000), lambda found, x: ((found - x) ** 2).sum(-1), validation=draw(500), epochs=epochs, batch_size=100, lr=lr)
        with torch.no_grad():
            _, path = layer(y, trace=["x"])
        curves[told] = ((path.x - x[:, None]) ** 2).sum(-1).mean(0).sqrt() / (x**2).sum(-1).mean().sqrt()
    return _drawn(curves, "relative error")


def _drawn(curves: Mapping[str, Tensor], label: str = "") -> Figure:
    figure = us.plot_curves(curves)
    figure.axes[0].set_ylabel(label)
    return figure
