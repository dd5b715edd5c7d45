"""Pruning with products of the inverse Fisher matrix.

Weights are taken from a trained network by the optimal brain surgeon: that of least w^2 / (2 [F^-1]_pp) goes, and the others move by F^-1 to make up
for it. The paper computes both exactly from m gradients in O(m^2 d) time and O(m d) memory, without the matrix ([mfac_static](../stdlib/optim.md)),
and claims that it prunes better than by magnitude, with larger m better, and better still where F is recomputed on the way.

Setting: scikit-learn's digits, 1,300 to train on; a network 64-24-10 with ReLU (1,810 parameters), trained with Adam (rate 0.003, 60 epochs in
batches of 32); gradients of mini-batches of 8, lam = 0.001; no training after pruning. A pass removes all weights at once, with the sum of their
updates; with 4 recomputations it goes in 4 passes of equal shares of what remains. Accuracies are those on the test images.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

import unspool as us

from .report import Findings, Number, Scale

PAPER = "frantar2021"
TRAIN, HIDDEN, LAM, EIGHT = 1300, 24, 0.001, 8
SPARSITIES = (0.6, 0.75, 0.85)
WAYS = ("magnitude", "m = 64", "m = 256", "m = 256, 4 passes")
#: Measured with plain torch, one seed: test accuracy by way and sparsity.
BEFORE = {
    "magnitude": ("0.903", "0.716", "0.561"), "m = 64": ("0.960", "0.785", "0.650"),
    "m = 256": ("0.950", "0.799", "0.646"), "m = 256, 4 passes": ("0.966", "0.928", "0.837"),
}  # fmt: skip
LARGER = "a larger m is better, in one pass"
#: Claims that fewer gradients do not bear out.
ONLY_FULL = (LARGER,)
NOTES = """
A larger m did not always help before, either; recomputing is what matters.
"""


class Network:
    """A network whose weights are a vector, and the images it is about."""

    def __init__(self, seed: int, scale: Scale) -> None:
        data, random = load_digits(), np.random.default_rng(seed)
        order = random.permutation(len(data.data))
        self.x, self.y = torch.as_tensor(data.data[order] / 16), torch.as_tensor(data.target[order])
        torch.manual_seed(seed)
        self.random = torch.Generator().manual_seed(seed)
        self.f = nn.Sequential(nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10)).double()
        optimizer = torch.optim.Adam(self.f.parameters(), lr=0.003)
        for _ in range(scale.of(60)):
            for batch in torch.randperm(TRAIN, generator=self.random).split(32):
                optimizer.zero_grad()
                nn.functional.cross_entropy(self.f(self.x[batch]), self.y[batch]).backward()
                optimizer.step()
        self.weights = torch.cat([p.detach().flatten() for p in self.f.parameters()])

    def _named(self, w: Tensor) -> dict[str, Tensor]:
        parts = w.split([p.numel() for p in self.f.parameters()])
        return {name: part.reshape(p.shape) for (name, p), part in zip(self.f.named_parameters(), parts, strict=True)}

    def accuracy(self, w: Tensor) -> float:
        """On the test images."""
        return float((functional_call(self.f, self._named(w), (self.x[TRAIN:],)).argmax(-1) == self.y[TRAIN:]).double().mean())

    def gradients(self, w: Tensor, count: int) -> Tensor:
        """Those of mini-batches, as rows."""
        batches = torch.stack([torch.randperm(TRAIN, generator=self.random)[:EIGHT] for _ in range(count)])

        def loss(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return nn.functional.cross_entropy(functional_call(self.f, self._named(w), (x,)), y)

        return vmap(grad(loss), (None, 0, 0))(w, self.x[batches], self.y[batches])

    def pruned(self, sparsity: float, count: int, passes: int) -> Tensor:
        """The weights that a surgeon leaves."""
        w, alive = self.weights.clone(), torch.ones_like(self.weights, dtype=torch.bool)
        for n in range(1, passes + 1):
            left = round(len(w) * (1 - sparsity) ** (n / passes))
            V, q = us.stdlib.optim.mfac_static(self.gradients(w, count) * alive, LAM)
            diagonal = us.stdlib.optim.mfac_diagonal(V, q, LAM)
            gone = torch.where(alive, w**2 / (2 * diagonal), -torch.inf).argsort()[: len(w) - left]
            share = torch.zeros_like(w)
            share[gone] = w[gone] / diagonal[gone]
            w = w - us.stdlib.optim.mfac_product(V, q, LAM, share)
            alive[gone] = False
            w = w * alive
        return w

    def smallest_gone(self, sparsity: float) -> Tensor:
        """The weights of largest magnitude."""
        w = self.weights.clone()
        w[w.abs().argsort()[: len(w) - round(len(w) * (1 - sparsity))]] = 0
        return w


def run(scale: Scale) -> Findings:
    """All ways and sparsities, by seeds."""
    dense, found = [], {(way, s): [] for way in WAYS for s in SPARSITIES}
    for seed in range(scale.seeds):
        network = Network(seed, scale)
        dense.append(network.accuracy(network.weights))
        for s in SPARSITIES:
            ways = (
                network.smallest_gone(s),
                network.pruned(s, scale.of(64), 1),
                network.pruned(s, scale.of(256), 1),
                network.pruned(s, scale.of(256), 4),
            )
            for way, w in zip(WAYS, ways, strict=True):
                found[way, s].append(network.accuracy(w))
    figures = [Number("dense: accuracy", tuple(dense), "0.966")]
    figures += [
        Number(f"{s:.0%} gone, {way}: accuracy", tuple(found[way, s]), BEFORE[way][i]) for i, s in enumerate(SPARSITIES) for way in WAYS
    ]
    mean = {key: sum(values) / len(values) for key, values in found.items()}
    claims = {
        "it prunes better than by magnitude, at every sparsity": all(mean["m = 64", s] > mean["magnitude", s] for s in SPARSITIES),
        LARGER: all(mean["m = 256", s] >= mean["m = 64", s] for s in SPARSITIES),
        "recomputing is better still": all(mean["m = 256, 4 passes", s] > mean["m = 256", s] for s in SPARSITIES),
    }
    return Findings(figures, claims, notes=NOTES)
