"""Evolution strategies and zeroth-order descent in torch: the whole population in each product."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Noise:
    """Normal noise of a shape: first what is handed in, so that results can be compared with those of a program that drew it, then torch's own."""

    def __init__(self, drawn: Iterable[Tensor]) -> None:
        self._drawn = iter(drawn)

    def __call__(self, *shape: int) -> Tensor:
        given = next(self._drawn, None)
        return torch.randn(shape) if given is None else given


def likelihood(logits: Tensor, y: Tensor) -> Tensor:
    """Mean log-likelihood of the classes y[b, c] for logits[..., b, c]."""
    return ((y * logits).sum(-1) - logits.logsumexp(-1)).mean(-1)


def advantage(scores: Tensor) -> Tensor:
    """Of scores[2, pairs], in deviations of all of them."""
    return (scores[0] - scores[1]) / (scores.var(correction=0) + 1e-5).sqrt()


def open_es(
    x: Tensor, y: Tensor, W: Tensor, V: Tensor, sigma: Tensor, lr: Tensor, pairs: int, noise: Noise
) -> tuple[Tensor, Tensor]:
    """Perturbations of full rank; what they add to the first layer is one product."""
    h, d, c = *W.shape, len(V)
    for x_k, y_k, s, rate in zip(x, y, sigma.tolist(), lr.tolist()):
        E, F = noise(pairs, h, d), noise(pairs, c, h)
        base, move = x_k @ W.T, s * (x_k @ E.view(-1, d).T).view(-1, pairs, h).transpose(0, 1)
        hidden = torch.stack([base + move, base - move]).relu_()
        moved = s * F
        scores = likelihood(hidden @ torch.stack([V + moved, V - moved]).mT, y_k)
        z = rate * s / (2 * pairs) ** 0.5 * advantage(scores)
        W = W + (z @ E.view(pairs, -1)).view(h, d)
        V = V + (z @ F.view(pairs, -1)).view(c, h)
    return W, V


def low_rank_noise(h: int, d: int, c: int, pairs: int, rank: int, noise: Noise) -> tuple[Tensor, ...]:
    """The factors of perturbations of both layers."""
    return noise(pairs, h, rank), noise(pairs, d, rank), noise(pairs, c, rank), noise(pairs, h, rank)


def low_rank_scores(x: Tensor, y: Tensor, W: Tensor, V: Tensor, scale: float, parts: tuple[Tensor, ...]) -> Tensor:
    """Scores[2, pairs] of a population."""
    A, B, C, D = parts
    pairs, d, rank = B.shape
    low = scale * (x @ B.transpose(0, 1).reshape(d, -1)).view(-1, pairs, rank).transpose(0, 1) @ A.mT
    base = x @ W.T
    hidden = torch.stack([base + low, base - low]).relu_()
    move = scale * (hidden @ D) @ C.mT
    move[1].neg_()
    return likelihood((hidden.view(-1, len(W)) @ V.T).view(move.shape).add_(move), y)


def low_rank_update(W: Tensor, V: Tensor, z: Tensor, parts: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Both layers after perturbations times z[pairs]."""
    A, B, C, D = (part.transpose(1, 2).reshape(-1, part.shape[1]) for part in parts)
    z = z.repeat_interleave(len(A) // len(z))[:, None]
    return W + (z * A).T @ B, V + (z * C).T @ D


def eggroll(
    x: Tensor, y: Tensor, W: Tensor, V: Tensor, sigma: Tensor, lr: Tensor, pairs: int, rank: int, noise: Noise
) -> tuple[Tensor, Tensor]:
    """Perturbations of low rank."""
    for x_k, y_k, s, rate in zip(x, y, sigma.tolist(), lr.tolist()):
        parts, scale = low_rank_noise(*W.shape, len(V), pairs, rank, noise), s / rank**0.5
        z = rate * scale / (2 * pairs) ** 0.5 * advantage(low_rank_scores(x_k, y_k, W, V, scale, parts))
        W, V = low_rank_update(W, V, z, parts)
    return W, V


def generation(
    x: Tensor, y: Tensor, W: Tensor, V: Tensor, sigma: float, lr: float, pairs: int, rank: int, noise: Noise
) -> tuple[Tensor, Tensor, Tensor]:
    """One generation of ``eggroll``: the scores[pairs, 2], and both layers."""
    parts, scale = low_rank_noise(*W.shape, len(V), pairs, rank, noise), sigma / rank**0.5
    scores = low_rank_scores(x, y, W, V, scale, parts)
    return scores.T, *low_rank_update(W, V, lr * scale / (2 * pairs) ** 0.5 * advantage(scores), parts)


def eggroll_int8(
    x: Tensor, y: Tensor, W: Tensor, V: Tensor, threshold: Tensor, pairs: int, shift: int, margin: int, noise: Noise
) -> tuple[Tensor, Tensor]:
    """``eggroll`` in integers. Products whose sums stay below 2^24 are taken in float32, where they are exact and as fast as torch has them."""
    h, d, c = *W.shape, len(V)
    root_d, root_h = int(d**0.5), int(h**0.5)
    W, V = W.float(), V.float()

    def integers(n: int) -> Tensor:
        return noise(pairs, n).mul_(16).round_().clamp_(-127, 127)

    def outer(a: Tensor, b: Tensor) -> Tensor:
        """The products of both signs, shifted: [2, pairs, b, n]."""
        product = a.to(torch.int32)[..., None] * b.to(torch.int32)[:, None, :]
        return torch.stack([product, -product] if a.dim() == 2 else [product[0], -product[1]]) >> shift

    for x_k, y_k, t in zip(x, y, threshold.tolist()):
        A, B, C, D = integers(h), integers(d), integers(c), integers(h)
        inputs = x_k.float()
        hidden = ((inputs @ W.T).to(torch.int32) + outer((inputs @ B.T).T, A)).div_(16 * root_d, rounding_mode="floor").clamp_(0, 127)
        exact = hidden.float()
        logits = (exact @ V.T).to(torch.int32) + outer((exact @ D[..., None])[..., 0], C)
        logits = logits.div_(16 * root_h, rounding_mode="floor").clamp_(-127, 127)
        y_k = y_k.to(torch.int32)
        others = torch.where(y_k > 0, -255, logits).amax(-1)
        gain = ((y_k * logits).sum(-1) - others).clamp_max_(margin).sum(-1)
        z = torch.sign(gain[0] - gain[1]).float()
        least = 256 * int(pairs**0.5) * t
        Z, Q = (z[:, None] * A).T @ B, (z[:, None] * C).T @ D
        W = (W + torch.where(16 * Z.abs() >= least, Z.sign(), 0)).clamp_(-127, 127)
        V = (V + torch.where(16 * Q.abs() >= least, Q.sign(), 0)).clamp_(-127, 127)
    return W.to(torch.int8), V.to(torch.int8)


def mezo(x: Tensor, y: Tensor, W: Tensor, V: Tensor, lr: Tensor, eps: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
    """Zeroth-order descent, both signs at once, weights in place."""
    W, V = W.clone(), V.clone()
    for x_k, y_k, rate, e in zip(x, y, lr.tolist(), eps.tolist()):
        E, F = noise(*W.shape), noise(*V.shape)
        base, move = x_k @ W.T, x_k @ E.T
        hidden = torch.stack([base.add(move, alpha=e), base.sub_(move, alpha=e)]).relu_()
        likely = likelihood(hidden @ torch.stack([V.add(F, alpha=e), V.sub(F, alpha=e)]).mT, y_k)
        g = float(likely[1] - likely[0]) * rate / (2 * e)
        W.sub_(E, alpha=g)
        V.sub_(F, alpha=g)
    return W, V


def mezo_deferred(x: Tensor, y: Tensor, W: Tensor, V: Tensor, lr: Tensor, eps: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
    """The same, each layer updated when the next step needs it."""
    W, V, before, g = W.clone(), V.clone(), None, 0.0
    for x_k, y_k, rate, e in zip(x, y, lr.tolist(), eps.tolist()):
        E, F = noise(*W.shape), noise(*V.shape)
        if before is not None:
            W.sub_(before[0], alpha=g)
        base, move = x_k @ W.T, x_k @ E.T
        hidden = torch.stack([base.add(move, alpha=e), base.sub_(move, alpha=e)]).relu_()
        if before is not None:
            V.sub_(before[1], alpha=g)
        likely = likelihood(hidden @ torch.stack([V.add(F, alpha=e), V.sub(F, alpha=e)]).mT, y_k)
        before, g = (E, F), float(likely[1] - likely[0]) * rate / (2 * e)
    if before is not None:
        W.sub_(before[0], alpha=g)
        V.sub_(before[1], alpha=g)
    return W, V
