"""Pictures of ``stdlib/optim.us``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

import unspool as us

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OPTIM = us.stdlib.optim
_K = 200
#: Samples of a logistic regression: features of scales from 1 to 5, times the sign of the class.
_ROWS = torch.linspace(1, 5, 10, dtype=torch.float64) * torch.randn(200, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.3


def sgd() -> Figure:
    """Logistic regression of 200 samples with 10 features of scales 1 to 5 and ridge 0.01, from ten normal points, means over them; step 0.2."""
    return _first_order("sgd", step=0.2)


def momentum() -> Figure:
    """Logistic regression of 200 samples with 10 features of scales 1 to 5 and ridge 0.01, from ten normal points, means over them; step 0.2, mu =
    0.9."""
    return _first_order("momentum", step=0.2, mu=0.9)


def adam() -> Figure:
    """Logistic regression of 200 samples with 10 features of scales 1 to 5 and ridge 0.01, from ten normal points, means over them; step 0.1."""
    return _first_order("adam", step=0.1)


def lion() -> Figure:
    """Logistic regression of 200 samples with 10 features of scales 1 to 5 and ridge 0.01, from ten normal points, means over them; step 0.03. It
    ends in a neighbourhood as large as the step."""
    return _first_order("lion", step=0.03)


def lion_surrogate() -> Figure:
    """Logistic regression of 200 samples with 10 features of scales 1 to 5 and ridge 0.01, from ten normal points, means over them; step 0.03,
    width 0.1. The points are those of lion."""
    return _first_order("lion_surrogate", torch.tensor(0.1, dtype=torch.float64), step=0.03)


def sam() -> Figure:
    """Logistic regression of 200 samples with 10 features of scales 1 to 5 and ridge 0.01, from ten normal points, means over them; step 0.2, rho
    = 0.05. It ends near the minimum, not in it."""
    return _first_order("sam", step=0.2, rho=0.05)


def mfac() -> Figure:
    """Logistic regression of 200 samples with 10 features of scales 1 to 5 and ridge 0.01, from ten normal points, means over them; step 0.1, mu =
    0.9, lam = 0.1, a window of 16."""
    return _first_order("mfac", step=0.1, mu=0.9, lam=0.1)


def gns_newton() -> Figure:
    """Logistic regression of 200 samples with 10 features of scales 1 to 5 and ridge 0.01 with its Hessian, from ten normal points, means over
    them; the first radius is 1."""
    return _first_order("gns_newton", torch.tensor(0.0, dtype=torch.float64), K=15, hessian=_hessian)


def gns_smooth_max() -> Figure:
    """The smooth maximum of 40 normal forms in 10 unknowns, mu = 0.5, with its Hessian, from ten normal points, means over them; gamma = 2."""
    random = torch.Generator().manual_seed(0)
    A, b, x = (torch.randn(*shape, generator=random, dtype=torch.float64) for shape in ((40, 10), (40,), (10, 10)))
    mu, exact = torch.tensor(0.5, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    _, path = _OPTIM.gns_smooth_max(A, b, mu, exact, x, K=30, gamma=2.0, trace=["x"])
    value = mu * ((path.x @ A.T - b) / mu).logsumexp(-1)
    return _drawn(value, path.x, value.min())


def _loss(x: Tensor) -> Tensor:
    """The mean of the losses at points x[batch, 10]."""
    return softplus(-x @ _ROWS.T).mean(-1) + 0.005 * (x**2).sum(-1)


def _hessian(x: Tensor) -> Tensor:
    p = torch.sigmoid(x @ _ROWS.T)
    return (_ROWS.T * (p * (1 - p))[:, None, :]) @ _ROWS / len(_ROWS) + 0.01 * torch.eye(10, dtype=torch.float64)


def _minimum() -> Tensor:
    x = torch.zeros(1, 10, dtype=torch.float64)
    for _ in range(50):
        p = torch.sigmoid(-x @ _ROWS.T)
        x = x - torch.linalg.solve(_hessian(x), 0.01 * x - p @ _ROWS / len(_ROWS))
    return _loss(x)


def _first_order(name: str, *inputs: Any, K: int = _K, **options: Any) -> Figure:
    x = torch.randn(10, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, path = getattr(_OPTIM, name)(x, *inputs, K=K, f=_loss, trace=["x"], **options)
    points = path.x.detach()
    return _drawn(torch.stack([_loss(one) for one in points]), points, _minimum())


def _drawn(value: Tensor, x: Tensor, least: Tensor) -> Figure:
    return us.plot_curves({"f less its minimum": value.detach() - least, "change of x": x.diff(dim=1).norm(dim=-1)})
