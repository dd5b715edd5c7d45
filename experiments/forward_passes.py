"""Fine-tuning with forward passes alone.

A step of [mezo](../stdlib/es.md) tries the weights moved along one random direction, both ways, and follows the slope between them. The paper claims that
this fine-tunes what was trained before, though it would hardly train from nothing, with the memory of inference; and the later form for weights that
come and go between memories, [mezo_deferred](../stdlib/es.md), that updating each layer one step late costs no accuracy at all.

Setting: perceptrons of 64, 32 and 10 units, trained with gradients (200 steps of Adam, rate 0.01) on scikit-learn's digits moved one pixel to the right,
then fine-tuned on the digits as they are: 1,437 for training, 360 for testing, 3,000 steps with 64 samples each, eps 0.001, a rate that falls linearly
from 0.01 to 0.001. Against it: the same steps from random weights. The slope along a direction, times the direction, estimates the gradient; that of a
quadratic function of 20 variables is compared with 20,000 estimates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import unspool as us

from .report import Findings, Number, Scale

PAPER = "malladi2023"
D, H, C, B, STEPS, RATE, DIRECTIONS, VARIABLES = 64, 32, 10, 64, 3000, 0.01, 20_000, 20
NOTES = """
What the papers report, fine-tuning of language models of up to 175 billion parameters and what memory that takes, is out of reach here.
What does not hold here: after 3,000 steps the weights that were random are ahead; after 600 (scale small) they are behind. Of so small a network it
is not true that it can only be fine-tuned so.
"""
ESTIMATE = us.loads("""
fn value(w, A) = 0.5 * sum(w * (A @ w))

# Estimates of the gradient along random directions: their mean, and the mean of their squared distances from the gradient, in units of its square.
algorithm estimates(A: f64[n, n], w: f64[n], rng: key) -> (f64[n], f64):
    iterations count = 1000

    g = A @ w
    total = zeros(n, dtype=f64)
    spread = cast(0, f64)
    for i in 0..count:
        z = normal(fold(rng, i), n, dtype=f64)
        slope = (value(w + 0.001 * z, A) - value(w - 0.001 * z, A)) / 0.002
        total += slope * z
        spread += sum((slope * z - g)**2)
    return total / count, spread / count / sum(g**2)
""")


def estimated(seed: int, count: int) -> tuple[float, float]:
    """Relative error of the mean of many estimates, and their variance over what theory says, the number of variables + 1."""
    random = np.random.default_rng(seed)
    half = random.standard_normal((VARIABLES, VARIABLES)) / VARIABLES**0.5
    A, w = half @ half.T, random.standard_normal(VARIABLES)
    mean, spread = ESTIMATE.estimates(A, w, us.key(seed), count=count)
    return float(np.linalg.norm(mean - A @ w) / np.linalg.norm(A @ w)), float(spread) / (VARIABLES + 1)


def pretrained(seed: int, x: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of a perceptron, trained with gradients."""
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(D, H, bias=False), torch.nn.ReLU(), torch.nn.Linear(H, C, bias=False))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    inputs, answers = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(classes)
    for _ in range(200):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(inputs), answers).backward()
        optimizer.step()
    return tuple(p.detach().numpy() for p in net.parameters())  # type: ignore[return-value]


def run(scale: Scale) -> Findings:
    """Estimates of gradients, and accuracies before and after, by seeds."""
    from sklearn.datasets import load_digits

    x, classes = load_digits(return_X_y=True)
    x = x / 16
    moved = np.roll(x.reshape(-1, 8, 8), 1, axis=2).reshape(-1, D)
    steps, keys = scale.of(STEPS), us.key(0, (scale.seeds,))
    rates = np.linspace(RATE, RATE / 10, steps).astype(np.float32)
    drawn: list[tuple[np.ndarray, ...]] = []
    for seed in range(scale.seeds):
        random = np.random.default_rng(seed)
        train, test = np.split(random.permutation(len(x)), [1437])
        chosen = train[random.integers(len(train), size=(steps, B))]
        start = random.standard_normal((H, D)) / D**0.5, random.standard_normal((C, H)) / H**0.5
        drawn.append((x[chosen], np.eye(C)[classes[chosen]], *pretrained(seed, moved[train], classes[train]), *start, x[test], classes[test]))
    stacked = [np.stack(parts) for parts in zip(*drawn, strict=True)]
    inputs, targets, W, V, W0, V0 = (part.astype(np.float32) for part in stacked[:6])
    tests, answers = stacked[6:]

    def accuracy(W: np.ndarray, V: np.ndarray) -> tuple[float, ...]:
        logits = np.maximum(tests @ W.swapaxes(1, 2), 0) @ V.swapaxes(1, 2)
        return tuple((logits.argmax(-1) == answers).mean(1))

    options: dict[str, Any] = {"K": steps, "lr": rates, "numerics": "strict", "schedule": ""}  # to the bit, in the order of the program
    tuned = us.stdlib.es.mezo(inputs, targets, W, V, keys, **options)
    late = us.stdlib.es.mezo_deferred(inputs, targets, W, V, keys, **options)
    fresh = us.stdlib.es.mezo(inputs, targets, W0, V0, keys, **options)
    found = {
        "trained on moved digits: accuracy": accuracy(W, V),
        "fine-tuned: accuracy": accuracy(*tuned),
        "fine-tuned, each update one step late: accuracy": accuracy(*late),
        "the same from random weights: accuracy": accuracy(*fresh),
    }
    errors, spreads = zip(*(estimated(seed, scale.of(DIRECTIONS)) for seed in range(scale.seeds)), strict=True)
    figures = [Number(name, values) for name, values in found.items()]
    figures += [
        Number("mean of estimates: relative error", errors),
        Number("variance of estimates / (variables + 1)", spreads),
    ]
    mean = {f.name: f.mean for f in figures}
    bound = 3 * ((VARIABLES + 1) / scale.of(DIRECTIONS)) ** 0.5
    claims = {
        "fine-tuning with forward passes alone raises accuracy": mean["fine-tuned: accuracy"] > mean["trained on moved digits: accuracy"],
        "it ends higher than from random weights": mean["fine-tuned: accuracy"] > mean["the same from random weights: accuracy"],
        "updates that are one step late give the same weights, to the bit": all(np.array_equal(a, b) for a, b in zip(tuned, late, strict=True)),
        "the estimate of a gradient has no bias": max(errors) < bound,
        "its variance grows as the number of variables": all(abs(s - 1) < 0.1 for s in spreads),
    }
    return Findings(figures, claims, None, NOTES)
