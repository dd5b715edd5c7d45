"""Optimizers in torch. Those that end in ``_in_place`` have no derivatives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: Points with one leading dimension to a number for each.
Objective = Callable[[Tensor], Tensor]


def slope(f: Objective, x: Tensor) -> Tensor:
    """The gradient at a point, with a graph where the point has one."""
    with torch.enable_grad():
        kept = x.requires_grad
        at = x if kept else x.detach().requires_grad_()
        (g,) = torch.autograd.grad(f(at[None])[0], at, create_graph=kept)
    return g


def sgd(f: Objective, x: Tensor, step: Tensor) -> Tensor:
    """Gradient descent."""
    for s in step:
        x = x - s * slope(f, x)
    return x


def sgd_in_place(f: Objective, x: Tensor, step: Tensor) -> Tensor:
    """``sgd`` with its steps as numbers."""
    x = x.clone()
    for s in step.tolist():
        x.sub_(slope(f, x), alpha=s)
    return x


def momentum(f: Objective, x: Tensor, step: Tensor, mu: Tensor) -> Tensor:
    """The heavy ball."""
    v = torch.zeros_like(x)
    for s in step:
        v = mu * v + slope(f, x)
        x = x - s * v
    return x


def momentum_in_place(f: Objective, x: Tensor, step: Tensor, mu: Tensor) -> Tensor:
    """``momentum`` with its parameters as numbers."""
    x, v, decay = x.clone(), torch.zeros_like(x), float(mu)
    for s in step.tolist():
        v.mul_(decay).add_(slope(f, x))
        x.sub_(v, alpha=s)
    return x


def adam(f: Objective, x: Tensor, step: Tensor, beta1: Tensor, beta2: Tensor, decay: Tensor) -> Tensor:
    """Adam with decay of weights apart from the gradient."""
    m, v = torch.zeros_like(x), torch.zeros_like(x)
    for k, s in enumerate(step):
        g = slope(f, x)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        scale = (v / (1 - beta2 ** (k + 1)) + 1e-16).sqrt()
        x = x - s * (m / (1 - beta1 ** (k + 1)) / scale + decay * x)
    return x


def adam_in_place(f: Objective, x: Tensor, step: Tensor, beta1: Tensor, beta2: Tensor, decay: Tensor) -> Tensor:
    """``adam`` with its parameters as numbers."""
    x, m, v = x.clone(), torch.zeros_like(x), torch.zeros_like(x)
    one, two, weight = float(beta1), float(beta2), float(decay)
    for k, s in enumerate(step.tolist()):
        g = slope(f, x)
        m.lerp_(g, 1 - one)
        v.mul_(two).addcmul_(g, g, value=1 - two)
        scale = (v / (1 - two ** (k + 1))).sqrt_().add_(1e-8)
        x.mul_(1 - s * weight).addcdiv_(m, scale, value=-s / (1 - one ** (k + 1)))
    return x


def lion(f: Objective, x: Tensor, step: Tensor, beta1: Tensor, beta2: Tensor, decay: Tensor) -> Tensor:
    """Steps by signs of a mean of gradients."""
    m = torch.zeros_like(x)
    for s in step:
        g = slope(f, x)
        x = x - s * (torch.sign(beta1 * m + (1 - beta1) * g) + decay * x)
        m = beta2 * m + (1 - beta2) * g
    return x


def lion_in_place(f: Objective, x: Tensor, step: Tensor, beta1: Tensor, beta2: Tensor, decay: Tensor) -> Tensor:
    """``lion`` with its parameters as numbers."""
    x, m = x.clone(), torch.zeros_like(x)
    one, two, weight = float(beta1), float(beta2), float(decay)
    for s in step.tolist():
        g = slope(f, x)
        x.mul_(1 - s * weight).sub_(m.lerp(g, 1 - one).sign_(), alpha=s)
        m.lerp_(g, 1 - two)
    return x


def lion_surrogate(
    f: Objective, x: Tensor, width: Tensor, step: Tensor, beta1: Tensor, beta2: Tensor, decay: Tensor
) -> Tensor:
    """``lion`` with the derivative of tanh in place of that of sign."""
    m = torch.zeros_like(x)
    for s in step:
        g = slope(f, x)
        c = beta1 * m + (1 - beta1) * g
        soft = torch.tanh(c / width)
        x = x - s * (soft + (torch.sign(c) - soft).detach() + decay * x)
        m = beta2 * m + (1 - beta2) * g
    return x


def lion_surrogate_in_place(
    f: Objective, x: Tensor, width: Tensor, step: Tensor, beta1: Tensor, beta2: Tensor, decay: Tensor
) -> Tensor:
    """Without derivatives, it is ``lion``."""
    return lion_in_place(f, x, step, beta1, beta2, decay)


def sam(f: Objective, x: Tensor, step: Tensor, rho: Tensor) -> Tensor:
    """Sharpness-aware minimisation."""
    for s in step:
        g = slope(f, x)
        x = x - s * slope(f, x + (rho * g / (g.norm() + 1e-12)).detach())
    return x


def sam_in_place(f: Objective, x: Tensor, step: Tensor, rho: Tensor) -> Tensor:
    """``sam`` with its steps as numbers."""
    x = x.clone()
    for s in step.tolist():
        g = slope(f, x)
        x.sub_(slope(f, x + g.mul_(rho / (g.norm() + 1e-12))), alpha=s)
    return x


def valued(f: Objective, x: Tensor) -> tuple[Tensor, Tensor]:
    """The value and the gradient at a point."""
    with torch.enable_grad():
        at = x.detach().requires_grad_()
        value = f(at[None])[0]
        (g,) = torch.autograd.grad(value, at)
    return value.detach(), g


def gns_newton(
    f: Objective, hessian: Objective, x: Tensor, tol: float, radius: Tensor, iterations: int, halvings: int
) -> tuple[Tensor, Tensor]:
    """Newton's method with gradient regularisation; the Hessian is semidefinite, so that a Cholesky factor will do."""
    gamma, one = radius, torch.eye(len(x), dtype=x.dtype, device=x.device)
    now, g = valued(f, x)
    for _ in range(iterations):
        H, size = hessian(x[None])[0], g.norm()
        for _ in range(halvings):
            lam = (size / (gamma + 1e-8)).clamp_min(1e-30)
            there = x - torch.cholesky_solve(g[:, None], torch.linalg.cholesky(H + lam * one))[:, 0]
            next, ahead = valued(f, there)
            if bool(8 * lam * (now - next) >= (ahead**2).sum()):
                break
            gamma = gamma / 2
        x, now, g = there, next, ahead
        gamma = (2 * gamma).clamp_min(1e-9)
        if float(g.norm()) < tol:
            break
    return x, gamma


def gns_smooth_max(A: Tensor, b: Tensor, mu: Tensor, exact: Tensor, x: Tensor, gamma: Tensor) -> Tensor:
    """Newton steps on a smooth maximum."""
    one = torch.eye(len(x), dtype=x.dtype, device=x.device)
    for radius in gamma:
        p = torch.softmax((A @ x - b) / mu, 0)
        g = p @ A
        H = (A.T @ (p[:, None] * A) - exact * torch.outer(g, g)) / mu
        x = x - torch.linalg.solve(H + g.norm() / (radius + 1e-8) * one, g)
    return x


def mfac_static(G: Tensor, lam: float) -> tuple[Tensor, Tensor]:
    """What products with the inverse of a Fisher matrix need, a row at a time."""
    m = len(G)
    V, q = torch.empty_like(G), G.new_empty(m)
    for i, g in enumerate(G):
        torch.sub(g / lam, ((V[:i] @ g) / q[:i]) @ V[:i], out=V[i])
        q[i] = m + g @ V[i]
    return V, q


def mfac(f: Objective, x: Tensor, step: Tensor, mu: Tensor, lam: Tensor, window: int) -> Tensor:
    """Descent along products with the inverse of the Fisher matrix of the last gradients."""
    x, v, decay = x.clone(), torch.zeros_like(x), float(mu)
    G, C = x.new_zeros(window, len(x)), x.new_zeros(window, window)
    ridge = window * lam * torch.eye(window, dtype=x.dtype, device=x.device)
    for k, s in enumerate(step.tolist()):
        g, i = slope(f, x), k % window
        G[i] = g
        row = G @ g
        C[i] = row
        C[:, i] = row
        u = (g - torch.linalg.solve(C + ridge, row) @ G) / lam
        x.sub_(v.lerp_(u, 1 - decay), alpha=s)
    return x
