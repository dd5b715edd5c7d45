"""Programs of the standard library in torch, as one writes them: operands are the inputs and then the parameters, in the program's order.

What the suite has in the same form (tv, sinkhorn) is in ``torch_eager``. Leading dimensions are a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor


def soft(v: Tensor, t: Tensor) -> Tensor:
    """Soft thresholding."""
    return v - torch.minimum(torch.maximum(v, -t), t)


def fista(A: Tensor, y: Tensor, step: Tensor, momentum: Tensor, lam: Tensor) -> Tensor:
    """ISTA with momentum."""
    x = z = y.new_zeros(*y.shape[:-1], A.shape[1])
    for s, m in zip(step, momentum):
        before, x = x, soft(z - s * ((z @ A.T - y) @ A), lam * s)
        z = x + m * (x - before)
    return x


def iht(A: Tensor, y: Tensor, step: Tensor, lam: Tensor) -> Tensor:
    """Iterative hard thresholding."""
    x = y.new_zeros(*y.shape[:-1], A.shape[1])
    for s in step:
        v = x - s * ((x @ A.T - y) @ A)
        x = torch.where(v.abs() > (2 * lam * s).sqrt(), v, 0)
    return x


def lista(A: Tensor, y: Tensor, W: Tensor, S: Tensor, theta: Tensor) -> Tensor:
    """Learned ISTA."""
    x = y.new_zeros(*y.shape[:-1], A.shape[1])
    for w, s, t in zip(W, S, theta):
        x = soft(y @ w.T + x @ s.T, t)
    return x


def alista(A: Tensor, y: Tensor, step: Tensor, theta: Tensor) -> Tensor:
    """Analytic LISTA."""
    G = torch.linalg.solve(A @ A.T, A)
    W = G / (A * G).sum(0)
    x = y.new_zeros(*y.shape[:-1], A.shape[1])
    for s, t in zip(step, theta):
        x = soft(x - s * ((x @ A.T - y) @ W), t)
    return x


def admm_lasso(A: Tensor, y: Tensor, rho: Tensor, lam: Tensor, iterations: int) -> Tensor:
    """The lasso by ADMM, with one factorisation."""
    C = torch.linalg.cholesky(A.T @ A + rho * torch.eye(A.shape[1], dtype=A.dtype, device=A.device))
    b = y @ A
    z = u = torch.zeros_like(b)
    for _ in range(iterations):
        x = torch.cholesky_solve((b + rho * (z - u)).T, C).T
        z = soft(x + u, lam / rho)
        u = u + x - z
    return z


def amp(A: Tensor, y: Tensor, alpha: Tensor) -> Tensor:
    """Approximate message passing."""
    m = A.shape[0]
    x, r = y.new_zeros(*y.shape[:-1], A.shape[1]), y
    for a in alpha:
        x = soft(x + r @ A, a * r.norm(dim=-1, keepdim=True) / m**0.5)
        r = y - x @ A.T + (x != 0).sum(-1, keepdim=True) / m * r
    return x


def gmm(x: Tensor, mu: Tensor, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    """A mixture of normals with diagonal covariances."""
    c = mu.shape[-2]
    share = x.new_full((*x.shape[:-2], c), 1 / c)
    variance = (x.var(-2, correction=0) + 1e-6)[..., None, :].expand(mu.shape)
    for _ in range(iterations):
        far = ((x[..., :, None, :] - mu[..., None, :, :]) ** 2 / variance[..., None, :, :]).sum(-1)
        r = torch.softmax((share.log() - 0.5 * variance.log().sum(-1))[..., None, :] - 0.5 * far, -1)
        weight = r.sum(-2) + 1e-10
        share = weight / x.shape[-2]
        mu = r.mT @ x / weight[..., None]
        off = (x[..., :, None, :] - mu[..., None, :, :]) ** 2
        variance = (r[..., None] * off).sum(-3) / weight[..., None] + 1e-6
    return share, mu, variance


def factor_analysis(x: Tensor, B: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Factor analysis by the covariance of the samples."""
    centred = x - x.mean(-2, keepdim=True)
    S = centred.mT @ centred / x.shape[-2]
    spread = S.diagonal(dim1=-2, dim2=-1)
    psi, one = spread.clamp_min(1e-6), torch.eye(B.shape[-1], dtype=x.dtype, device=x.device)
    for _ in range(iterations):
        scaled = B / psi[..., None]
        G = torch.linalg.inv(one + B.mT @ scaled)
        cross = S @ scaled @ G
        B = cross @ torch.linalg.inv(G + G @ scaled.mT @ cross)
        psi = (spread - (B * cross).sum(-1)).clamp_min(1e-6)
    return B, psi


def unem_gaussian(support: Tensor, labels: Tensor, query: Tensor, scale: Tensor, balance: Tensor, temperature: Tensor) -> Tensor:
    """Few-shot classification with Gaussian classes."""
    zs, zq = scale * support, scale * query
    c = labels.shape[-1]
    u, share = query.new_zeros(*query.shape[:-1], c), query.new_full((*query.shape[:-2], c), 1 / c)
    for b, t in zip(balance, temperature):
        mu = (labels.mT @ zs + u.mT @ zq) / (labels.sum(-2) + u.sum(-2))[..., None]
        bias = b * (share + 1e-6).log() - 0.5 * (mu**2).sum(-1)
        u = torch.softmax((zq @ mu.mT + bias[..., None, :]) / t, -1)
        share = u.mean(-2)
    return u


def curvature(a: Tensor) -> Tensor:
    """Of the parabola that touches lgamma(a + 1) from above."""
    m = a.clamp_min(0.05)
    return torch.where(a > 0.05, 2 * (m * torch.digamma(m + 1) - torch.lgamma(m + 1)) / m**2, 1.6449340668482264)


def unem_dirichlet(
    support: Tensor, labels: Tensor, query: Tensor, scale: Tensor, balance: Tensor, temperature: Tensor, steps: int
) -> Tensor:
    """Few-shot classification with Dirichlet classes; those problems of a batch that have converged stand still."""
    xs, xq = torch.log_softmax(scale * support, -1), torch.log_softmax(scale * query, -1)
    c, d = labels.shape[-1], query.shape[-1]
    u, share = query.new_zeros(*query.shape[:-1], c), query.new_full((*query.shape[:-2], c), 1 / c)
    alpha = query.new_ones(*query.shape[:-2], c, d)
    for factor, t in zip(balance, temperature):
        mean = (labels.mT @ xs + u.mT @ xq) / (labels.sum(-2) + u.sum(-2))[..., None]
        going = torch.ones(query.shape[:-2], dtype=torch.bool, device=query.device)
        for _ in range(steps):
            w = curvature(alpha)
            b = torch.digamma(alpha + 1) - torch.digamma(alpha.sum(-1, keepdim=True)) - w * alpha - mean
            after = torch.where(going[..., None, None], ((b**2 + 4 * w).sqrt() - b) / (2 * w), alpha)
            going = going & ((after - alpha).flatten(-2).norm(dim=-1) > 1e-6 * alpha.flatten(-2).norm(dim=-1))
            alpha = after
            if not bool(going.any()):
                break
        density = xq @ (alpha - 1).mT + (torch.lgamma(alpha.sum(-1)) - torch.lgamma(alpha).sum(-1))[..., None, :]
        u = torch.softmax((density + factor * (share + 1e-6).log()[..., None, :]) / t, -1)
        share = u.mean(-2)
    return u


def alf_lb(scores: Tensor, top: int, step: Tensor) -> tuple[Tensor, Tensor]:
    """Balancing of experts: the bias and the load."""
    tokens, experts = scores.shape
    target = tokens * top / experts

    def loads(bias: Tensor) -> Tensor:
        return torch.bincount(torch.topk(scores + bias, top, sorted=False).indices.flatten(), minlength=experts).to(scores.dtype)

    bias = scores.new_zeros(experts)
    load = loads(bias)
    for s in step:
        bias = bias + s * (target - load) / target
        load = loads(bias)
    return bias, load


def capped_simplex(v: Tensor, total: Tensor, cap: Tensor, iterations: int) -> Tensor:
    """Projection onto the capped simplex."""
    low, high = v.amin(-1, keepdim=True) - cap, v.amax(-1, keepdim=True)
    for _ in range(iterations):
        middle = (low + high) / 2
        more = torch.minimum((v - middle).clamp_min(0), cap).sum(-1, keepdim=True) > total
        low, high = torch.where(more, middle, low), torch.where(more, high, middle)
    shift = ((low + high) / 2).detach()
    inside = ((v > shift) & (v < shift + cap)).sum(-1, keepdim=True)
    shift = shift + (torch.minimum((v - shift).clamp_min(0), cap).sum(-1, keepdim=True) - total) / inside.clamp_min(1)
    return torch.minimum((v - shift).clamp_min(0), cap)


def lp_error(c: Tensor, A: Tensor, b: Tensor, equal: Tensor, low: Tensor, high: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """How far x and y are from solving a linear program."""
    over, r = A @ x - b, c + A.T @ y
    bound = torch.where(r > 0, low, high)
    met = bound.isfinite()
    primal, dual = c @ x, (r * torch.where(met, bound, 0)).sum() - b @ y
    rows = torch.where(equal, over, over.clamp_min(0)).norm() / (1 + b.norm())
    costs = torch.where(met, 0, r).norm() / (1 + c.norm())
    return torch.maximum(torch.maximum(rows, costs), (primal - dual).abs() / (1 + primal.abs() + dual.abs()))


def pdhg_lp(
    c: Tensor, A: Tensor, b: Tensor, equal: Tensor, low: Tensor, high: Tensor, tol: float, balance: Tensor, rounds: int, steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """One linear program by the primal-dual hybrid gradient method with restarts."""
    eta, weight = 0.9 / torch.linalg.matrix_norm(A, 2), balance
    x, y = torch.zeros_like(c).clamp(low, high), torch.zeros_like(b)
    x_start, y_start, least = x, y, c.new_tensor(1e30)
    x_sum, y_sum, length, error = torch.zeros_like(c), torch.zeros_like(b), 0, c.new_tensor(tol + 1)
    for _ in range(rounds):
        if float(error) < tol:
            break
        for _ in range(steps):
            before, x = x, (x - eta / weight * (c + A.T @ y)).clamp(low, high)
            y = y + eta * weight * (A @ (2 * x - before) - b)
            y = torch.where(equal, y, y.clamp_min(0))
            x_sum, y_sum = x_sum + x, y_sum + y
        length += steps
        error = lp_error(c, A, b, equal, low, high, x, y)
        mean = lp_error(c, A, b, equal, low, high, x_sum / length, y_sum / length)
        if float(torch.minimum(error, mean)) < max(0.5 * float(least), tol):
            if float(mean) < float(error):
                x, y, error = x_sum / length, y_sum / length, mean
            x_moved, y_moved = (x - x_start).norm(), (y - y_start).norm()
            if float(torch.minimum(x_moved, y_moved)) > 0:
                weight = (weight * y_moved / x_moved).sqrt()
            x_start, y_start, least, length = x, y, error, 0
            x_sum, y_sum = torch.zeros_like(c), torch.zeros_like(b)
    return x, y, error


def entropies(W: Tensor, X: Tensor, T: Tensor) -> Tensor:
    """Cross-entropy of each sample."""
    logits = X @ W
    return logits.logsumexp(-1) - (T * logits).sum(-1)


def weighted(W: Tensor, s: Tensor, X: Tensor, T: Tensor, ridge: Tensor) -> Tensor:
    """The lower objective of hyper-cleaning."""
    return (torch.sigmoid(s) * entropies(W, X, T)).mean() + ridge * (W**2).sum()


def trained(W: Tensor, s: Tensor, X: Tensor, T: Tensor, step: Tensor, ridge: Tensor, iterations: int, kept: bool = False) -> Tensor:
    """Gradient descent on it; ``kept``: with a graph of all steps."""
    for _ in range(iterations):
        W = W if kept and W.requires_grad else W.detach().requires_grad_()
        (slope,) = torch.autograd.grad(weighted(W, s, X, T, ridge), W, create_graph=kept)
        W = W - step * slope
    return W if kept else W.detach()


@torch.enable_grad()
def hyperclean(
    X: Tensor, T: Tensor, Xv: Tensor, Tv: Tensor, s: Tensor, eta: Tensor, step: Tensor, ridge: Tensor, inner: int
) -> tuple[Tensor, Tensor]:
    """Hyper-cleaning by unrolling."""
    zero = X.new_zeros(X.shape[1], T.shape[1])
    for rate in eta:
        s = s.detach().requires_grad_()
        W = trained(zero, s, X, T, step, ridge, inner, kept=True)
        (slope,) = torch.autograd.grad(entropies(W, Xv, Tv).mean(), s)
        s = s - len(s) * rate * slope
    s = s.detach()
    return s, trained(zero, s, X, T, step, ridge, inner)


@torch.enable_grad()
def hyperclean_implicit(
    X: Tensor, T: Tensor, Xv: Tensor, Tv: Tensor, s: Tensor, eta: Tensor, step: Tensor, ridge: Tensor, inner: int
) -> tuple[Tensor, Tensor]:
    """Hyper-cleaning by implicit differentiation, with conjugate gradients."""
    W = X.new_zeros(X.shape[1], T.shape[1])
    for rate in eta:
        W = trained(W, s.detach(), X, T, step, ridge, inner).requires_grad_()
        s = s.detach().requires_grad_()
        (slope,) = torch.autograd.grad(weighted(W, s, X, T, ridge), W, create_graph=True)
        (r,) = torch.autograd.grad(entropies(W, Xv, Tv).mean(), W)
        Z, p, rr = torch.zeros_like(r), r, (r**2).sum()
        limit = 1e-6 * rr
        for _ in range(10 * W.numel()):
            (q,) = torch.autograd.grad(slope, W, p, retain_graph=True)
            a = rr / (p * q).sum()
            Z, r = Z + a * p, r - a * q
            before, rr = rr, (r**2).sum()
            if rr < limit:
                break
            p = r + rr / before * p
        (mixed,) = torch.autograd.grad(slope, s, Z)
        s = s + len(s) * rate * mixed
    return s.detach(), W.detach()
