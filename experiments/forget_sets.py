"""Worst-case forget sets.

How hard a model is to be made to forget depends on what it is to forget. The worst case is a set of samples that the model still gets right without ever
having seen them: its members are chosen by weights that descend on the loss which they have once the model has unlearned them
([worst_forget](../stdlib/bilevel.md)). Unlearning by steps along signs of gradients has no derivative in the weights, so losses are all that the upper
level needs. The paper claims that a model trained anew without such a set gets all of it right, with an accuracy on test samples that is higher than
without a random set.

Setting: scikit-learn's digits, 1,300 to train on, a tenth of which is to forget; a network 64-64-10 with ReLU, trained with Adam (rate 0.005, 300
steps on all samples). 20 iterations of 10 steps by signs of 0.001 each, with ascent on what is to forget (as in the paper) or without (as in its released
code), rate 0.01. Networks are then trained anew without the set. Unlearning accuracy: the part of the set that they get wrong. Sets to compare with:
random ones, and those whose losses under the original network are smallest, which takes no bilevel problem. Of the figures from before, width and training
of the network are not known; the paper's are of CIFAR-10 and a ResNet-18, as others quote its table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

import unspool as us

from .report import FULL, Findings, Number, Scale

PAPER = "fan2024"
TRAIN, FORGET, HIDDEN = 1300, 130, 64
#: Measured with plain torch, 3 seeds: unlearning accuracy, test accuracy, loss on the set.
BEFORE = {"random": ("3.59", "96.85", "0.133"), "worst case": ("0.00", "97.65", "0.0000")}
#: What the paper reports for CIFAR-10 and a ResNet-18.
PAPERS = {"random": ("5.28", "94.38", ""), "worst case": ("0.00", "94.66", "")}
ALL_RIGHT = "networks trained anew get all of the worst-case set right, of a random set they do not"
HIGHER = "test accuracy is higher without the worst-case set than without a random one"
SWITCH = "they get it right without ascent, too"
NEEDED = "it is a worse case than the set of smallest losses, whose loss after training anew is at least twice as large"
#: Claims that a small network and few steps do not bear out.
ONLY_FULL = (HIGHER, NEEDED)
NOTES = """
Both claims come out, and both do for the samples that the original network finds easiest, which are nearly the same: at this size the bilevel problem
finds what sorting the losses finds. Whether it finds more where samples interfere with each other, as in the paper's networks, this says nothing about.
"""


class Losses(nn.Module):
    """The cross-entropy of each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Of samples x[n, 64] with classes t[n, 10]."""
        return cross_entropy(self.f(x), t, reduction="none")


class Digits:
    """The samples of a seed."""

    def __init__(self, seed: int, scale: Scale) -> None:
        data, self.random = load_digits(), np.random.default_rng(seed)
        order = self.random.permutation(len(data.data))
        self.seed, self.steps = seed, scale.of(300)
        self.x, self.y = torch.as_tensor(data.data[order] / 16).float(), torch.as_tensor(data.target[order])
        self.t = one_hot(self.y, 10).float()

    def trained(self, kept: Tensor, start: int) -> Losses:
        """A network trained on some of the samples."""
        torch.manual_seed(start)
        model = Losses()
        x, t = self.x[:TRAIN][kept], self.t[:TRAIN][kept]
        optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
        for _ in range(self.steps):
            optimizer.zero_grad()
            model(x, t).mean().backward()
            optimizer.step()
        return model

    @torch.no_grad()
    def losses(self, model: Losses) -> Tensor:
        """Of the samples to train on."""
        found: Tensor = model(self.x[:TRAIN], self.t[:TRAIN])
        return found

    def judged(self, forget: Tensor) -> tuple[float, float, float]:
        """Of a network trained without a set: percentages of the set that are wrong and of test samples that are right, loss on the set."""
        model = self.trained(~forget, self.seed + 100)
        with torch.no_grad():
            right = model.f(self.x).argmax(-1) == self.y
        wrong, test = 1 - right[:TRAIN][forget].double().mean(), right[TRAIN:].double().mean()
        return 100 * float(wrong), 100 * float(test), float(self.losses(model)[forget].mean())


def run(scale: Scale) -> Findings:
    """All sets, by seeds."""
    options: dict[str, Any] = {} if scale is FULL else {"target": "interpreter"}  # a search for a schedule takes longer than a small run
    found: dict[str, list[tuple[float, float, float]]] = {}
    shared = []
    for seed in range(scale.seeds):
        digits = Digits(seed, scale)
        original = digits.trained(torch.ones(TRAIN, dtype=torch.bool), seed)
        losses, sets = digits.losses(original), {}
        sets["random"] = torch.as_tensor(digits.random.permutation(TRAIN) < FORGET)
        sets["smallest losses"] = torch.zeros(TRAIN, dtype=torch.bool).index_fill(0, losses.topk(FORGET, largest=False).indices, True)
        for name, ascent in (("worst case", 1.0), ("worst case, no ascent", 0.0)):
            with torch.no_grad():
                inputs = digits.x[:TRAIN], digits.t[:TRAIN], FORGET, ascent
                chosen, _ = us.stdlib.bilevel.worst_forget(*inputs, loss=original, K=scale.of(20), J=10, **options)
            sets[name] = chosen.bool()
        shared.append(float((sets["worst case"] & sets["smallest losses"]).sum()) / FORGET)
        for name, forget in sets.items():
            found.setdefault(name, []).append(digits.judged(forget))
    figures = []
    for name, values in found.items():
        for n, what in enumerate(("unlearning accuracy, %", "test accuracy, %", "loss on the set")):
            before, paper = (table.get(name, ("", "", ""))[n] for table in (BEFORE, PAPERS))
            figures.append(Number(f"{name}: {what}", tuple(v[n] for v in values), before, paper, digits=2 if n == 2 else 4))
    figures.append(Number("part of the worst case among the smallest losses", tuple(shared)))
    mean = {name: np.mean(values, axis=0) for name, values in found.items()}
    claims = {
        ALL_RIGHT: bool(mean["worst case"][0] == 0 < mean["random"][0]),
        HIGHER: bool(mean["worst case"][1] > mean["random"][1]),
        SWITCH: bool(mean["worst case, no ascent"][0] == 0),
        NEEDED: bool(mean["smallest losses"][2] > 2 * mean["worst case"][2]),
    }
    return Findings(figures, claims, notes=NOTES)
