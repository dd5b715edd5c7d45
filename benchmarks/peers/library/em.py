"""Expectation maximisation in torch."""

from __future__ import annotations

import torch
from torch import Tensor


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



def gmm_full(x: Tensor, mu: Tensor, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    """A mixture of normals with full covariances."""
    c, d = mu.shape[-2:]
    one = 1e-6 * torch.eye(d, dtype=x.dtype, device=x.device)
    share = x.new_full((*x.shape[:-2], c), 1 / c)
    sigma = torch.diag_embed(x.var(-2, correction=0) + 1e-6)[..., None, :, :].expand(*mu.shape, d)
    for _ in range(iterations):
        C = torch.linalg.cholesky(sigma)
        far = torch.linalg.solve_triangular(C, (x[..., None, :, :] - mu[..., None, :]).mT, upper=False).square().sum(-2)
        half = C.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        r = torch.softmax((share.log() - half)[..., None, :] - 0.5 * far.mT, -1)
        weight = r.sum(-2) + 1e-10
        share = weight / x.shape[-2]
        mu = r.mT @ x / weight[..., None]
        off = x[..., None, :, :] - mu[..., None, :]
        sigma = off.mT @ (r.mT[..., None] * off) / weight[..., None, None] + one
    return share, mu, sigma


def factors(x: Tensor, B: Tensor, psi: Tensor) -> Tensor:
    """The factors of samples under a factor model."""
    scaled = B / psi[..., None]
    one = torch.eye(B.shape[-1], dtype=x.dtype, device=x.device)
    return x @ torch.linalg.solve(one + B.mT @ scaled, scaled, left=False)
