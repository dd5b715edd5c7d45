"""Train a network without backpropagation: an evolution strategy whose perturbations have rank 1.

Nothing is differentiated, and no perturbed weights are ever formed or stored. Run it with ``python -m examples.train_without_backprop``; the picture
goes to ``train_without_backprop.svg``.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import unspool as us

HIDDEN, GENERATIONS, SAMPLES, STAGES = 32, 300, 128, 6


def main() -> None:
    """Train on digits, fifty generations at a time, and tell how many new digits are right."""
    x, digits = load_digits(return_X_y=True)
    x, y = (x / 16).astype(np.float32), np.eye(10, dtype=np.float32)[digits]
    random = np.random.default_rng(0)
    order = random.permutation(len(x))
    train, test = order[:1437], order[1437:]
    W = (random.standard_normal((HIDDEN, 64)) / 8).astype(np.float32)
    V = (random.standard_normal((10, HIDDEN)) / HIDDEN**0.5).astype(np.float32)
    rates = (1 - np.arange(GENERATIONS) / GENERATIONS).astype(np.float32)

    done, right = [0], []

    def score() -> None:
        logits = np.maximum(x[test] @ W.T, 0) @ V.T
        right.append(100 * float((logits.argmax(1) == digits[test]).mean()))
        print(f"{done[-1]:3d} generations: {right[-1]:.1f}% of {len(test)} new digits right")

    score()
    for stage, lr in enumerate(np.split(rates, STAGES)):
        batch = train[random.integers(len(train), size=(len(lr), SAMPLES))]  # a minibatch for each generation
        W, V = us.stdlib.es.eggroll(x[batch], y[batch], W, V, us.key(stage), K=len(lr), pairs=64, rank=1, sigma=0.1, lr=lr)
        done.append(done[-1] + len(lr))
        score()
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(done, right, marker="o")
    axes.set(xlabel="generation", ylabel="new digits right, %", ylim=(0, 100))
    figure.savefig("train_without_backprop.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
