"""Primal-dual methods in torch. tv and sinkhorn, which the suite has in the same form, are in ``torch_eager``."""

from __future__ import annotations

import torch
from torch import Tensor


def loads(scores: Tensor, top: int) -> Tensor:
    """How many tokens each expert gets."""
    chosen = torch.topk(scores, top, sorted=False).indices
    return torch.bincount(chosen.flatten(), minlength=scores.shape[-1]).to(scores.dtype)


def alf_lb(scores: Tensor, top: int, step: Tensor, *, sign: bool = False) -> tuple[Tensor, Tensor]:
    """Balancing of experts, by how far they are from the target or by its ``sign``: the bias and the load."""
    tokens, experts = scores.shape
    target = tokens * top / experts
    bias = scores.new_zeros(experts)
    load = loads(scores + bias, top)
    for s in step:
        bias = bias + s * (torch.sign(target - load) if sign else (target - load) / target)
        load = loads(scores + bias, top)
    return bias, load


def alf_lb_sign(scores: Tensor, top: int, step: Tensor) -> tuple[Tensor, Tensor]:
    """The same by signs."""
    return alf_lb(scores, top, step, sign=True)


def alf_lb_online(scores: Tensor, top: int, step: Tensor) -> tuple[Tensor, Tensor]:
    """The same with fresh tokens in every iteration."""
    count, tokens, experts = scores.shape
    target = tokens * top / experts
    bias, load = scores.new_zeros(experts), scores.new_empty(count, experts)
    for k, s in enumerate(step):
        load[k] = loads(scores[k] + bias, top)
        bias = bias + s * (target - load[k]) / target
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

