"""The programs of the suite in torch, as one writes them for speed.

Those that end in ``_in_place`` have no derivatives; the others are what torch.compile compiles, too, as a whole or their
iteration ``one`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

#: One iteration as a function; a compiled one may take the place of that written here.
Step = Callable[..., Any]

# -- sparse recovery -------------------------------------------------------------------------------------------------


def ista_step(x: Tensor, A: Tensor, y: Tensor, step: Tensor, threshold: Tensor) -> Tensor:
    """One iteration of ``ista``."""
    v = x - step * ((x @ A.T - y) @ A)
    return v - torch.minimum(torch.maximum(v, -threshold), threshold)


def ista(A: Tensor, y: Tensor, step: Tensor, lam: Tensor, *, one: Step = ista_step) -> Tensor:
    """Sparse recovery for a batch of ``y``: two matrix products and a few passes per iteration."""
    x = torch.zeros(*y.shape[:-1], A.shape[1], dtype=y.dtype, device=y.device)
    for s, t in zip(step, lam * step):
        x = one(x, A, y, s, t)
    return x


def ista_in_place(A: Tensor, y: Tensor, step: Sequence[float], threshold: Sequence[float]) -> Tensor:
    """Products with their additions in one call (``addmm``), numbers of Python for the parameters."""
    x = torch.zeros(y.shape[0], A.shape[1], dtype=y.dtype, device=y.device)
    for s, t in zip(step, threshold):
        v = torch.addmm(x, torch.addmm(y, x, A.T, beta=-1), A, alpha=-s)
        x = v - v.clamp(-t, t)
    return x


def ista_gram_in_place(G: Tensor, c: Tensor, step: Sequence[float], threshold: Sequence[float]) -> Tensor:
    """With ``G = A^T A`` and ``c = A^T y`` made before: one product per iteration."""
    x = torch.zeros_like(c)
    for s, t in zip(step, threshold):
        v = torch.addmm(x, x, G, alpha=-s).add_(c, alpha=s)
        x = v.sub_(v.clamp(-t, t))
    return x


def admm_step(z: Tensor, u: Tensor, Q: Tensor, c: Tensor, relax: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor]:
    """One iteration of ``admm``."""
    s = relax * ((c + z - u) @ Q) + (1 - relax) * z + u
    dual = torch.minimum(torch.maximum(s, -threshold), threshold)
    return s - dual, dual


def admm(Q: Tensor, c: Tensor, relax: Tensor, lam: Tensor, *, one: Step = admm_step) -> Tensor:
    """The lasso by ADMM with the inverse ``Q`` made before (symmetric, so that rows times ``Q`` will do)."""
    z = u = torch.zeros_like(c)
    for a, t in zip(relax, lam):
        z, u = one(z, u, Q, c, a, t)
    return z


def admm_in_place(Q: Tensor, c: Tensor, relax: Sequence[float], lam: Sequence[float]) -> Tensor:
    """``admm`` with every pass in place."""
    z, u, v = torch.zeros_like(c), torch.zeros_like(c), c.clone()
    for a, t in zip(relax, lam):
        s = torch.addmm(u.add_(z, alpha=1 - a), v, Q, alpha=a)
        u = s.clamp(-t, t)
        z = s.sub_(u)
        torch.sub(z, u, out=v).add_(c)
    return z


# -- total variation -------------------------------------------------------------------------------------------------


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


def tv(image: Tensor, strength: Tensor, tau: Tensor, sigma: Tensor, *, one: Step = tv_step) -> Tensor:
    """Total-variation denoising, differentiable: differences by padding, no writes in place."""
    u = u_bar = image
    p = q = torch.zeros_like(image)
    for t, s in zip(tau, sigma):
        u, u_bar, p, q = one(u, u_bar, p, q, image, strength, t, s)
    return u


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


# -- balancing -------------------------------------------------------------------------------------------------------


def sinkhorn_step(g: Tensor, C: Tensor, log_a: Tensor, log_b: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
    """One iteration of ``sinkhorn``."""
    f = eps * (log_a - torch.logsumexp((g[..., None, :] - C) / eps, dim=-1))
    return f, eps * (log_b - torch.logsumexp((f[..., :, None] - C) / eps, dim=-2))


def sinkhorn(C: Tensor, a: Tensor, b: Tensor, eps: Tensor, *, one: Step = sinkhorn_step) -> Tensor:
    """Entropic transport in the log domain."""
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    for e in eps:
        f, g = one(g, C, a.log(), b.log(), e)
    return torch.exp((f[..., :, None] + g[..., None, :] - C) / eps[-1])


def scaling_step(c: Tensor, M: Tensor) -> tuple[Tensor, Tensor]:
    """One iteration of ``scaling``."""
    r = 1 / (M @ c[..., None])
    return r[..., 0], (1 / (M.mT @ r))[..., 0]


def scaling(M: Tensor, iterations: int, *, one: Step = scaling_step) -> tuple[Tensor, Tensor]:
    """Sinkhorn's scaling of positive matrices ``[batch, n, m]`` to unit row and column sums."""
    c = torch.ones(M.shape[0], M.shape[2], dtype=M.dtype, device=M.device)
    r = torch.ones(M.shape[0], M.shape[1], dtype=M.dtype, device=M.device)
    for _ in range(iterations):
        r, c = one(c, M)
    return r, c


def moe(scores: Tensor, top: int, step: Tensor) -> Tensor:
    """Balancing of experts: top-k per token, load by counting."""
    tokens, experts = scores.shape
    bias = torch.zeros(experts, dtype=scores.dtype, device=scores.device)
    mean = tokens * top / experts
    for s in step:
        chosen = torch.topk(scores + bias, top, dim=1, sorted=False).indices
        load = torch.bincount(chosen.flatten(), minlength=experts).to(scores.dtype)
        bias = bias - s * (load / mean - 1)
    return bias


def moe_maxima_step(bias: Tensor, scores: Tensor, top: int, step: Tensor) -> Tensor:
    """One iteration of ``moe_maxima``."""
    value = scores + bias
    threshold = value.amax(1, keepdim=True)
    for _ in range(top - 1):
        threshold = torch.where(value < threshold, value, -1e30).amax(1, keepdim=True)
    mean = scores.shape[0] * top / scores.shape[1]
    return bias - step * ((value >= threshold).sum(0) / mean - 1)


def moe_maxima(scores: Tensor, top: int, step: Tensor, *, one: Step = moe_maxima_step) -> Tensor:
    """``moe`` with the threshold of each token found by masked maxima."""
    bias = torch.zeros(scores.shape[1], dtype=scores.dtype, device=scores.device)
    for s in step:
        bias = one(bias, scores, top, s)
    return bias


# -- expectation maximization ----------------------------------------------------------------------------------------


def em_step(
    mu: Tensor, share: Tensor, total: Tensor, count: Tensor, query: Tensor, temperature: Tensor, balance: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One iteration of ``em``. The squared length of a sample is the same for every class: softmax does not see it."""
    score = query @ mu.mT - 0.5 * (mu * mu).sum(-1)[..., None, :]
    u = torch.softmax(temperature * score + balance * torch.log(share + 1e-12)[..., None, :], dim=-1)
    return u, (total + u.mT @ query) / (count + u.sum(-2))[..., None], u.mean(-2)


def em(support: Tensor, labels: Tensor, query: Tensor, temperature: Tensor, balance: Tensor, *, one: Step = em_step) -> Tensor:
    """Transductive few-shot classification by generalized EM, for a batch of tasks; means of the classes as written."""
    count, total = labels.sum(-2), labels.mT @ support
    mu = total / count[..., None]
    u = torch.full((*query.shape[:-1], labels.shape[-1]), 1 / labels.shape[-1], dtype=query.dtype, device=query.device)
    share = u.mean(-2)
    for t, b in zip(temperature, balance):
        u, mu, share = one(mu, share, total, count, query, t, b)
    return u


def em_gram_step(
    u: Tensor, share: Tensor, gram: Tensor, cross: Tensor, known: Tensor, count: Tensor, temperature: Tensor, balance: Tensor
) -> tuple[Tensor, Tensor]:
    """One iteration of ``em_gram``."""
    total = count + u.sum(-2)
    product = gram @ u + cross
    square = (known + (u * (product + cross)).sum(-2)) / (total * total)
    score = product / total[..., None, :] - 0.5 * square[..., None, :]
    u = torch.softmax(temperature * score + balance * torch.log(share + 1e-12)[..., None, :], dim=-1)
    return u, u.mean(-2)


def em_gram(
    support: Tensor, labels: Tensor, query: Tensor, temperature: Tensor, balance: Tensor, *, one: Step = em_gram_step
) -> Tensor:
    """``em`` with products of samples made once, in place of means in the space of the features."""
    gram, cross = query @ query.mT, (query @ support.mT) @ labels
    known, count = (labels * ((support @ support.mT) @ labels)).sum(-2), labels.sum(-2)
    u = torch.zeros_like(cross)
    share = torch.full_like(count, 1 / labels.shape[-1])
    for t, b in zip(temperature, balance):
        u, share = one(u, share, gram, cross, known, count, t, b)
    return u


# -- evolution strategies, bilevel -----------------------------------------------------------------------------------


def es_step(
    X: Tensor,
    target: Tensor,
    W1: Tensor,
    W2: Tensor,
    A1: Tensor,
    B1: Tensor,
    A2: Tensor,
    B2: Tensor,
    lr: Tensor,
    sigma: Tensor,
) -> tuple[Tensor, Tensor]:
    """One generation of ``es``."""
    pairs, rank, width = A1.shape
    rows, hidden, out = X.shape[0], W1.shape[1], W2.shape[1]
    low = (X @ A1.reshape(pairs * rank, width).T).reshape(rows, pairs, rank).transpose(0, 1)
    move = sigma * (low @ B1)
    base = X @ W1
    h = torch.relu(torch.stack([base + move, base - move]))
    y = (h.reshape(-1, hidden) @ W2).reshape(2, pairs, rows, out)
    q = (h @ A2.transpose(1, 2)) @ B2
    y = y + sigma * torch.stack([q[0], -q[1]])
    fitness = -((y - target) ** 2).mean((2, 3))
    c = ((fitness[0] - fitness[1]) * (lr / (2 * pairs * sigma)))[:, None, None]
    W1 = W1 + A1.reshape(-1, width).T @ (c * B1).reshape(-1, hidden)
    W2 = W2 + A2.reshape(-1, hidden).T @ (c * B2).reshape(-1, out)
    return W1, W2


def es(
    X: Tensor,
    target: Tensor,
    W1: Tensor,
    W2: Tensor,
    A1: Tensor,
    B1: Tensor,
    A2: Tensor,
    B2: Tensor,
    lr: Tensor,
    sigma: Tensor,
    *,
    one: Step = es_step,
) -> tuple[Tensor, Tensor]:
    """Evolution strategies with antithetic pairs of low-rank perturbations, the whole population in each product."""
    for k in range(len(lr)):
        W1, W2 = one(X, target, W1, W2, A1[k], B1[k], A2[k], B2[k], lr[k], sigma[k])
    return W1, W2


def bilevel_step(w: Tensor, X: Tensor, t: Tensor, weight: Tensor, step: Tensor) -> Tensor:
    """One iteration of ``bilevel``."""
    pull = (weight * (torch.sigmoid(X @ w) - t)) @ X
    return w - step * (pull / X.shape[0] + 0.001 * w)


def bilevel(X: Tensor, t: Tensor, weight: Tensor, step: Tensor, *, one: Step = bilevel_step) -> Tensor:
    """Logistic regression on weighted samples by gradient descent, the gradient written out by hand."""
    w = torch.zeros(X.shape[1], dtype=X.dtype, device=X.device)
    for s in step:
        w = one(w, X, t, weight, s)
    return w
