"""Bilevel problems in torch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: An objective of x[batch, n], y[batch, p], and the number of the draw.
Draw = Callable[[Tensor, Tensor, Tensor], Tensor]


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


def conjugate_gradients(product: Callable[[Tensor], Tensor], r: Tensor, tol: float) -> Tensor:
    """The solution of a positive definite system with this right side, to a relative tolerance."""
    z, p, rr = torch.zeros_like(r), r, r @ r
    limit = tol**2 * rr
    for _ in range(10 * len(r)):
        if not bool(rr > limit):
            break
        q = product(p)
        a = rr / (p @ q)
        z, r = z + a * p, r - a * q
        before, rr = rr, r @ r
        p = r + rr / before * p
    return z


def descended(y: Tensor, x: Tensor, g: Draw, step: float, draw: int) -> Tensor:
    """A step of gradient descent on the lower objective."""
    y = y.detach().requires_grad_()
    (slope,) = torch.autograd.grad(g(x[None], y[None], torch.tensor([draw]))[0], y)
    return y.detach().sub_(slope, alpha=step)


class Slopes:
    """Derivatives of both objectives at a point: those of the upper one, and of the lower one's gradient in y times a vector."""

    def __init__(self, x: Tensor, y: Tensor, f: Draw, g: Draw, draw: int) -> None:
        self.x, self.y, s = x.detach().requires_grad_(), y.detach().requires_grad_(), torch.tensor([draw])
        self.value = f(self.x[None], self.y[None], s)[0]
        self.fx, self.fy = torch.autograd.grad(self.value, [self.x, self.y], materialize_grads=True)
        (self.down,) = torch.autograd.grad(g(self.x[None], self.y[None], s)[0], self.y, create_graph=True)

    def products(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Of z with the mixed derivative and with the Hessian, in one pass."""
        mixed, own = torch.autograd.grad(self.down, [self.x, self.y], z)
        return mixed, own

    def product(self, z: Tensor) -> Tensor:
        """Of z with the Hessian; the graph is kept."""
        (own,) = torch.autograd.grad(self.down, self.y, z, retain_graph=True)
        return own

    def mixed(self, z: Tensor) -> Tensor:
        """Of z with the mixed derivative."""
        (found,) = torch.autograd.grad(self.down, self.x, z)
        return found


@torch.enable_grad()
def hypergradient(x: Tensor, y: Tensor, tol: float, step: Tensor, f: Draw, g: Draw) -> tuple[Tensor, Tensor, Tensor]:
    """The upper objective and its gradient by implicit differentiation."""
    for k, s in enumerate(step.tolist()):
        y = descended(y, x, g, s, k)
    at = Slopes(x, y, f, g, len(step))
    z = conjugate_gradients(at.product, at.fy, tol)
    return at.value.detach(), at.fx - at.mixed(z), y


@torch.enable_grad()
def soba(x: Tensor, y: Tensor, eta: Tensor, rho: Tensor, f: Draw, g: Draw) -> tuple[Tensor, Tensor]:
    """Stochastic bilevel descent in one loop."""
    z = torch.zeros_like(y)
    for k, (far, near) in enumerate(zip(eta.tolist(), rho.tolist())):
        at = Slopes(x, y, f, g, k)
        mixed, own = at.products(z)
        x, y, z = x - far * (at.fx - mixed), y - near * at.down.detach(), z - near * (own - at.fy)
    return x, y


@torch.enable_grad()
def bo_rep(
    x: Tensor, y: Tensor, eta: Tensor, gamma: Tensor, nu: Tensor, beta: Tensor, f: Draw, g: Draw, inner: int, period: int, warm: int
) -> tuple[Tensor, Tensor]:
    """Bilevel descent with steps of one length."""
    step, rate, decay = float(gamma), float(nu), float(beta)
    for i in range(warm):
        y = descended(y, x, g, step, i)
    z, m = torch.zeros_like(y), torch.zeros_like(x)
    for k, far in enumerate(eta.tolist()):
        if k % period == 0:
            for i in range(inner):
                y = descended(y, x, g, step, warm + inner * k + i)
        at = Slopes(x, y, f, g, k)
        own = at.product(z)
        z = z - rate * (own - at.fy)
        m = decay * m + (1 - decay) * (at.fx - at.mixed(z))
        x = x - far * m / (m.norm() + 1e-10)
    return x, y
