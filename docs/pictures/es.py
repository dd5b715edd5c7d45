"""Pictures of ``stdlib/es.us``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor

import unspool as us

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ES = us.stdlib.es
_HIDDEN, _BATCH = 32, 64


def open_es() -> Figure:
    """Scikit-learn's digits (1,437 to learn from, 360 others), 32 hidden units, minibatches of 64, 64 pairs, sigma 0.1, rates 1 - k / K. Wrong:
    part of the others whose class is told wrongly."""
    return _learned("open_es", 200, pairs=64)


def eggroll() -> Figure:
    """Scikit-learn's digits (1,437 to learn from, 360 others), 32 hidden units, minibatches of 64, 64 pairs of rank 1, sigma 0.1, rates 1 - k / K.
    Wrong: part of the others whose class is told wrongly."""
    return _learned("eggroll", 200, pairs=64)


def mezo() -> Figure:
    """Scikit-learn's digits (1,437 to learn from, 360 others), 32 hidden units, minibatches of 64, lr 0.003, eps 0.001. Wrong: part of the others
    whose class is told wrongly."""
    return _learned("mezo", 2000, lr=0.003)


def mezo_deferred() -> Figure:
    """Scikit-learn's digits (1,437 to learn from, 360 others), 32 hidden units, minibatches of 64, lr 0.003, eps 0.001. Wrong: part of the others
    whose class is told wrongly. Weights are one step behind those of mezo, until the end."""
    return _learned("mezo_deferred", 2000, lr=0.003)


def eggroll_int8() -> Figure:
    """Scikit-learn's digits as int8 (1,437 to learn from, 360 others), 32 hidden units, minibatches of 64, 64 pairs, thresholds from 16 to 48. Wrong:
    part of the others whose class is told wrongly, by the integer network."""
    K = 200
    (x, y), (others, truth), random = _digits(K)
    W, V = (torch.randn(shape, generator=random).mul(16).round().clamp(-127, 127).to(torch.int8) for shape in ((_HIDDEN, 64), (10, _HIDDEN)))
    threshold = torch.linspace(16, 48, K).to(torch.int32)
    _, path = _ES.eggroll_int8((x * 16).to(torch.int8), y.to(torch.int8), W, V, threshold, us.key(0), K=K, pairs=64, trace=["W", "V"])

    def layer(x: Tensor, W: Tensor) -> Tensor:
        return (x @ W.mT).div(16 * int(W.shape[-1] ** 0.5), rounding_mode="floor").clamp(-127, 127)

    W, V = path.W.double(), path.V.double()
    logits = layer(layer((others * 16).round().double(), W).clamp_min(0), V)
    return us.plot_curves({"wrong": (logits.argmax(-1) != truth).double().mean(-1)}, log=False)


def _digits(K: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], torch.Generator]:
    """Minibatches of digits with their classes as rows, others, and what draws."""
    random = torch.Generator().manual_seed(0)
    pixels, classes = load_digits(return_X_y=True)
    x, y = torch.as_tensor(pixels, dtype=torch.float32) / 16, torch.as_tensor(classes)
    order = torch.randperm(len(x), generator=random)
    chosen = order[:1437][torch.randint(1437, (K, _BATCH), generator=random)]
    return (x[chosen], torch.eye(10)[y[chosen]]), (x[order[1437:]], y[order[1437:]]), random


def _learned(name: str, K: int, **options: Any) -> Figure:
    (x, y), (others, truth), random = _digits(K)
    W, V = torch.randn(_HIDDEN, 64, generator=random) / 8, torch.randn(10, _HIDDEN, generator=random) / 8
    _, path = getattr(_ES, name)(x, y, W, V, us.key(0), K=K, trace=["W", "V"], **options)
    logits = torch.relu(others @ path.W.mT) @ path.V.mT
    loss = (logits.logsumexp(-1) - logits[..., torch.arange(len(truth)), truth]).mean(-1)
    return us.plot_curves({"loss": loss, "wrong": (logits.argmax(-1) != truth).double().mean(-1)})
