"""The programs of the unrolled suite as one writes them for torch eager when speed matters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def ista(A: Tensor, y: Tensor, step: Tensor, lam: Tensor) -> Tensor:
    """Sparse recovery for a batch of ``y``: two matrix products and a few passes per iteration."""
    x = torch.zeros(*y.shape[:-1], A.shape[1], dtype=y.dtype)
    for s, t in zip(step, lam * step):
        v = x - s * ((x @ A.T - y) @ A)
        x = v - torch.minimum(torch.maximum(v, -t), t)
    return x


def tv(image: Tensor, strength: Tensor, tau: Tensor, sigma: Tensor) -> Tensor:
    """Total-variation denoising, differentiable: differences by padding, no writes in place."""
    u = u_bar = image
    p = q = torch.zeros_like(image)
    for t, s in zip(tau, sigma):
        u, u_bar, p, q = tv_step(u, u_bar, p, q, image, strength, t, s)
    return u


def tv_step(
    u: Tensor, u_bar: Tensor, p: Tensor, q: Tensor, image: Tensor, strength: Tensor, tau: Tensor, sigma: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One iteration of ``tv``."""
    p = p + sigma * F.pad(u_bar[..., 1:, :] - u_bar[..., :-1, :], (0, 0, 0, 1))
    q = q + sigma * F.pad(u_bar[..., 1:] - u_bar[..., :-1], (0, 1))
    scale = (p * p + q * q).clamp_min(1).rsqrt()
    p, q = p * scale, q * scale
    div = p - F.pad(p[..., :-1, :], (0, 0, 1, 0)) + q - F.pad(q[..., :-1], (1, 0))
    new = (u + tau * (div + image / strength)) / (1 + tau / strength)
    return new, 2 * new - u, p, q


def tv_in_place(image: Tensor, strength: float, tau: Sequence[float], sigma: Sequence[float]) -> Tensor:
    """Total-variation denoising without derivatives: every pass writes into a buffer made once."""
    u, u_bar = image.clone(), image.clone()
    p, q, down, right, work = (torch.zeros_like(image) for _ in range(5))
    for t, s in zip(tau, sigma):
        torch.sub(u_bar[..., 1:, :], u_bar[..., :-1, :], out=down[..., :-1, :])
        torch.sub(u_bar[..., 1:], u_bar[..., :-1], out=right[..., :-1])
        p.add_(down, alpha=s)
        q.add_(right, alpha=s)
        torch.mul(p, p, out=work).addcmul_(q, q).clamp_min_(1).rsqrt_()
        p.mul_(work)
        q.mul_(work)
        torch.add(p, q, out=work)
        work[..., 1:, :].sub_(p[..., :-1, :])
        work[..., 1:].sub_(q[..., :-1])
        work.add_(image, alpha=1 / strength)
        torch.add(u, work, alpha=t, out=work).div_(1 + t / strength)
        torch.sub(work, u, out=u_bar).add_(work)
        u, work = work, u
    return u


def tv_compiled_step() -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """``tv`` with its iteration compiled by torch.compile and the loop in Python."""
    step = torch.compile(tv_step, dynamic=False)

    def run(image: Tensor, strength: Tensor, tau: Tensor, sigma: Tensor) -> Tensor:
        u = u_bar = image
        p = q = torch.zeros_like(image)
        for t, s in zip(tau, sigma):
            u, u_bar, p, q = step(u, u_bar, p, q, image, strength, t, s)
        return u

    return run


def sinkhorn(C: Tensor, a: Tensor, b: Tensor, eps: Tensor) -> Tensor:
    """Entropic transport in the log domain."""
    log_a, log_b = a.log(), b.log()
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    for e in eps:
        f = e * (log_a - torch.logsumexp((g[..., None, :] - C) / e, dim=-1))
        g = e * (log_b - torch.logsumexp((f[..., :, None] - C) / e, dim=-2))
    return torch.exp((f[..., :, None] + g[..., None, :] - C) / eps[-1])


def alf_lb(scores: Tensor, top: int, step: Tensor) -> tuple[Tensor, Tensor]:
    """Balancing of experts: top-k per token, load by counting."""
    experts = scores.shape[-1]
    bias = torch.zeros(experts, dtype=scores.dtype)
    load = torch.zeros(experts, dtype=scores.dtype)
    target = scores.shape[0] * top / experts
    for s in step:
        chosen = torch.topk(scores + bias, top, dim=-1, sorted=False).indices
        load = torch.bincount(chosen.flatten(), minlength=experts).to(scores.dtype)
        bias = bias + s * torch.sign(target - load)
    return bias, load


def hyperclean(
    X: Tensor, t: Tensor, Xv: Tensor, tv: Tensor, logits: Tensor, step: Tensor, ridge: Tensor
) -> tuple[Tensor, Tensor]:
    """Data hyper-cleaning with the inner gradient written out by hand."""
    weight = torch.sigmoid(logits)
    weight = weight / weight.sum() * t
    w = torch.zeros(X.shape[1], dtype=X.dtype)
    for s in step:
        pull = X.T @ (weight * torch.sigmoid(-t * (X @ w)))
        w = (1 - 2 * s * ridge) * w + s * pull
    return F.softplus(-tv * (Xv @ w)).mean(), w


def unrolled_em(support: Tensor, labels: Tensor, query: Tensor, temperature: Tensor, balance: Tensor) -> Tensor:
    """Transductive few-shot classification by generalized EM, for a batch of tasks."""
    count = labels.sum(-2)
    total = labels.mT @ support
    mu = total / count[..., None]
    classes = labels.shape[-1]
    u = torch.full((*query.shape[:-1], classes), 1 / classes, dtype=query.dtype)
    for t, b in zip(temperature, balance):
        # |query|^2 is the same for every class: softmax does not see it
        score = query @ mu.mT - 0.5 * (mu * mu).sum(-1)[..., None, :]
        u = torch.softmax(t * score + b * torch.log(u.mean(-2) + 1e-12)[..., None, :], dim=-1)
        mu = (total + u.mT @ query) / (count + u.sum(-2))[..., None]
    return u
