"""Sparse recovery in torch."""

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

