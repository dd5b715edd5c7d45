"""Bilevel problems whose lower unknowns are the weights of a network, in torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .primal_dual import capped_simplex


def gated(w: Tensor, X: Tensor, T: Tensor, gate: Tensor) -> Tensor:
    """Mean squared errors of a linear function of groups of features, each times its gate: w[tasks, groups, width], gate[tasks, groups]."""
    parts = (X.unflatten(-1, w.shape[-2:]) * w[:, None]).sum(-1)
    return ((parts @ gate[..., None])[..., 0] - T[..., 0]).square().mean(-1)


@torch.enable_grad()
def select_layers(
    X: Tensor, T: Tensor, Xv: Tensor, Tv: Tensor, eta: Tensor, step: Tensor, w: Tensor, inner: int, unroll: bool
) -> Tensor:
    """Gates of layers for all tasks at once, through the steps of training or at their end; ``w``: where the weights begin."""
    tasks, layers = len(X), len(w)
    w, alpha = w.detach().expand(tasks, *w.shape), X.new_zeros(tasks, layers)
    m, q, rate = torch.zeros_like(alpha), torch.zeros_like(alpha), float(step)
    for k, far in enumerate(eta.tolist()):
        alpha, w = alpha.requires_grad_(), w.detach().requires_grad_()
        gate = layers * alpha.softmax(-1)
        for _ in range(inner):
            (slope,) = torch.autograd.grad(gated(w, X, T, gate if unroll else gate.detach()).sum(), w, create_graph=unroll)
            w = w - rate * slope if unroll else (w.detach() - rate * slope).requires_grad_()
        (g,) = torch.autograd.grad(gated(w if unroll else w.detach(), Xv, Tv, gate).sum(), alpha)
        m.lerp_(g, 0.1)
        q.mul_(0.999).addcmul_(g, g, value=0.001)
        scale = (q / (1 - 0.999 ** (k + 1)) + 1e-16).sqrt_()
        alpha = alpha.detach().addcdiv(m, scale, value=-far / (1 - 0.9 ** (k + 1)))
    return alpha.detach()


@torch.enable_grad()
def unlearned(model: nn.Module, start: Sequence[Tensor], X: Tensor, T: Tensor, weight: Tensor, step: float, inner: int) -> list[Tensor]:
    """Weights of a model after steps by signs on a weighted loss."""
    names = [name for name, _ in model.named_parameters()]
    th = [p.detach().clone().requires_grad_() for p in start]
    for _ in range(inner):
        loss = (weight * functional_call(model, dict(zip(names, th, strict=True)), (X, T))).mean()
        slopes = torch._foreach_sign(torch.autograd.grad(loss, th))
        with torch.no_grad():
            torch._foreach_sub_(th, slopes, alpha=step)
    return th


def worst_forget(
    X: Tensor, T: Tensor, count: int, ascent: float, rate: Tensor, step: Tensor, gamma: Tensor, model: nn.Module, inner: int, period: int
) -> tuple[Tensor, Tensor]:
    """The forget set that is hardest to forget."""
    start = list(model.parameters())
    names = [name for name, _ in model.named_parameters()]
    n, size, ridge = len(X), float(step), float(gamma)
    w, total, cap = X.new_full((n,), count / n), X.new_tensor(count), X.new_tensor(1.0)

    def chosen(w: Tensor) -> Tensor:
        return torch.zeros_like(w).index_fill_(0, torch.topk(w, count, sorted=False).indices, 1)

    for k, far in enumerate(rate.tolist()):
        if k % period == 0 and k > 0:
            w = chosen(w)
        th = unlearned(model, start, X, T, 1 - (1 + ascent) * w, size, inner)
        losses = functional_call(model, dict(zip(names, th, strict=True)), (X, T))
        w = capped_simplex(w - far * (losses + 2 * ridge * w), total, cap, 40)
    return chosen(w), w
