"""Pictures of ``stdlib/primal_dual.us``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

import unspool as us

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PD = us.stdlib.primal_dual
_EXPERTS, _TOP = 16, 2


def alf_lb() -> Figure:
    """1,024 tokens, each to 2 of 16 experts, of which some are liked more; steps 0.5 / k. J: the Lagrangian, excess: how far the largest load is
    above the mean; both end where nothing is left to balance."""
    return _balanced("alf_lb", step=0.5 / torch.arange(1, 101, dtype=torch.float64))


def alf_lb_sign() -> Figure:
    """1,024 tokens, each to 2 of 16 experts, of which some are liked more; steps 0.005. J: the Lagrangian, excess: how far the largest load is
    above the mean. Steps of one size go on swinging."""
    return _balanced("alf_lb_sign", step=0.005)


def alf_lb_online() -> Figure:
    """1,024 fresh tokens in each of 100 iterations, each to 2 of 16 experts, of which some are liked more; steps 0.2 / k. Excess: how far the
    largest load is above the mean, with the bias so far; what remains is the noise of a batch."""
    scores = _scores(100)
    layer = _PD.alf_lb_online.build(dtype="f64", K=100, step=0.2 / torch.arange(1, 101, dtype=torch.float64))
    with torch.no_grad():
        (_, load), path = layer(scores, _TOP, trace=["bias"])
    free = torch.stack([one.topk(_TOP).indices.flatten().bincount(minlength=_EXPERTS).double() for one in scores])
    return us.plot_curves({"excess": _excess(load), "excess without a bias": _excess(free), "change of the bias": path.bias.diff(dim=0).norm(dim=-1)})


def sinkhorn() -> Figure:
    """Ten transports between 30 and 40 points of the unit square, costs are squared distances, random masses, eps = 0.05, means over the
    transports. The gap is J less the dual at the plan so far, of which columns are exact."""
    random = torch.Generator().manual_seed(0)
    here, there = (torch.rand(10, count, 2, generator=random, dtype=torch.float64) for count in (30, 40))
    C = ((here[:, :, None] - there[:, None]) ** 2).sum(-1)
    a, b = (torch.rand(10, count, generator=random, dtype=torch.float64) + 0.1 for count in (30, 40))
    a, b = a / a.sum(1, keepdim=True), b / b.sum(1, keepdim=True)
    layer = _PD.sinkhorn.build(dtype="f64", K=100, eps=0.05)
    with torch.no_grad():
        _, path = layer(C, a, b, trace=["f", "g"])
        P = ((path.f[..., None] + path.g[:, :, None] - C[:, None]) / 0.05).exp()
        dual = (path.f * a[:, None]).sum(-1) + (path.g * b[:, None]).sum(-1) - 0.05 * P.sum((-2, -1))
        gap = layer.objective(P, C[:, None], a[:, None], b[:, None]) - dual
    return us.plot_curves({"error of rows": (P.sum(-1) - a[:, None]).abs().sum(-1), "gap": gap.abs()})


def tv() -> Figure:
    """An image of 64 x 64 pixels made of flat pieces, noise 0.1, strength 0.1. J is measured from its value after 5,000 iterations; the error is
    that of a pixel, root mean square."""
    clean = torch.zeros(64, 64, dtype=torch.float64)
    clean[:32, 20:] = 0.5
    clean[16:48, 8:40] = 1.0
    image = clean + 0.1 * torch.randn(64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    layer, strength = _PD.tv.build(dtype="f64", K=200), torch.tensor(0.1, dtype=torch.float64)
    with torch.no_grad():
        _, path = layer(image, strength, trace=["u"])
        best = layer.objective(_PD.tv(image, strength, K=5000), image, strength)
        value = layer.objective(path.u, image, strength)
    error, change = (path.u - clean).flatten(1).norm(dim=-1) / 64, path.u.diff(dim=0).flatten(1).norm(dim=-1)
    return us.plot_curves({"J less its minimum": value - best, "error": error, "change of u": change})


def capped_simplex() -> Figure:
    """Twenty normal vectors of 100 entries, total 10, cap 1, means over the vectors: the middle of the bracket against the shift that is found,
    and how far the sum is from its total. The last step of Newton's method makes it exact."""
    v = torch.randn(20, 100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x, path = _PD.capped_simplex(v, 10.0, 1.0, K=40, trace=["low", "high"])
    middle = (path.low + path.high) / 2
    inside = (x > 0) & (x < 1)
    shift = torch.where(inside, v - x, 0).sum(1) / inside.sum(1)
    total = (v[:, None] - middle[..., None]).clamp(0, 1).sum(-1)
    return us.plot_curves({"error of the shift": (middle - shift[:, None]).abs(), "error of the sum": (total - 10).abs()})


def pdhg_lp() -> Figure:
    """A linear program of 30 rows, 10 of them equations, and 50 unknowns, after every 50 steps. The error is that of lp_error, of the point that
    is gone on from; cost is compared with that of scipy.optimize.linprog. Restarts make the convergence linear."""
    random = np.random.default_rng(0)
    A, point, equal = random.standard_normal((30, 50)), random.random(50), np.arange(30) < 10
    b = A @ point + np.where(equal, 0, random.random(30))
    c = random.random(50) + 0.1 - A.T @ np.where(equal, random.standard_normal(30), random.random(30))
    low, high = np.zeros(50), np.full(50, 2.0)
    best = linprog(c, A[~equal], b[~equal], A[equal], b[equal], np.stack([low, high], axis=1)).fun
    inputs = [torch.as_tensor(x) for x in (c, A, b, equal, low, high)]
    _, path = _PD.pdhg_lp(*inputs, 0.0, K=100, trace=["x", "error"])
    return us.plot_curves({"error": path.error, "cost less the optimum, relative": (path.x @ inputs[0] - best).abs() / abs(best)})


def _scores(*lead: int) -> Tensor:
    random = torch.Generator().manual_seed(0)
    liked = 0.5 * torch.randn(_EXPERTS, generator=random, dtype=torch.float64)
    return torch.sigmoid(torch.randn(*lead, 1024, _EXPERTS, generator=random, dtype=torch.float64) + liked)


def _excess(load: Tensor) -> Tensor:
    return load.amax(-1) / load.mean(-1) - 1


def _balanced(name: str, step: Any) -> Figure:
    scores = _scores()
    layer = getattr(_PD, name).build(dtype="f64", K=100, step=step)
    _, path = layer(scores, _TOP, trace=["bias", "load"])
    falling = 0.5 / torch.arange(1, 2001, dtype=torch.float64)
    least = layer.objective(_PD.alf_lb(scores, _TOP, K=2000, step=falling)[0], scores, _TOP)
    value = layer.objective(path.bias, scores, _TOP)
    return us.plot_curves({"J less its minimum": value - least, "excess": _excess(path.load), "change of the bias": path.bias.diff(dim=0).norm(dim=-1)})
