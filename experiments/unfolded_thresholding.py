"""Learned step sizes for ISTA and IHT, supervised and unsupervised.

ISTA and IHT are unfolded for T = 20 iterations, and only the step sizes are learned: with the distance to the true code as the loss (supervised), or
with the objective that the algorithm minimises (unsupervised). The paper claims that both speed the algorithms up, that unfolded IHT finds better
local minima than IHT run to the end, and that unsupervised training does as well as supervised training.

Setting: n = 100, m = 60, entries of A normal with unit columns, one entry of a code in ten is not zero (normal), noise 0.05, 2,000 test signals; lam
= 0.05 for ISTA, 0.02 for IHT, fixed. Incremental training: for t = 1 to T, 25 steps of Adam on the first t iterations, then 300 on all, the rate
(0.03) falling to 0; each step draws 256 new signals.
"""

from __future__ import annotations

import torch
from torch import Tensor

import unspool as us

from .report import Findings, Number, Scale

PAPER = "unfolded2025"
M, N, T, NOISE, DENSITY, BATCH = 60, 100, 20, 0.05, 0.1, 256
LAM = {"ista": 0.05, "iht": 0.02}
#: Measured with plain torch, one seed: mean squared error of a signal, objective.
BEFORE = {
    ("ista", "1/L"): ("2.526", "0.5513"), ("ista", "converged"): ("0.193", "0.4232"),
    ("ista", "supervised"): ("0.382", "0.4295"), ("ista", "unsupervised"): ("0.380", "0.4273"),
    ("iht", "1/L"): ("2.295", "0.611"), ("iht", "converged"): ("1.079", "0.4125"),
    ("iht", "supervised"): ("0.733", "0.3243"), ("iht", "unsupervised"): ("1.048", "0.3515"),
}  # fmt: skip


NOTES = """
Supervised IHT ends above what was measured before. The hard threshold passes no gradient for entries that it cuts, so which of many minima training
ends in depends on the rate and the number of signals in a step: with 64 signals and a rate of 0.01 both forms of IHT end above IHT run to the end.
"""


class Signals:
    """A dictionary, and signals that are sparse in it."""

    def __init__(self, seed: int) -> None:
        self.random = torch.Generator().manual_seed(seed)
        self.A = self._normal(M, N)
        self.A /= self.A.norm(dim=0)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.random)

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Codes and what is measured of them."""
        x = self._normal(count, N) * (torch.rand(count, N, generator=self.random) < DENSITY)
        return x, x @ self.A.T + NOISE * self._normal(count, M)


#: Claims that so few steps do not bear out.
ONLY_FULL = ("unfolded IHT finds lower objectives than IHT run to the end",)


def learned(name: str, signals: Signals, scale: Scale, *, supervised: bool) -> us.Layer:
    """Step sizes, learned layer by layer and then together."""
    build = getattr(us.stdlib.sparse, name).build
    layer = build(A=signals.A, K=1, lam=LAM[name])
    depths = [*range(1, T + 1), T]
    for stage, depth in enumerate(depths):
        layer = layer.with_iterations(depth)
        layer.get_parameter("lam").requires_grad_(False)
        steps = scale.of(300) if stage == T else scale.of(25)
        optimizer = torch.optim.Adam([layer.get_parameter("step")], lr=0.03)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps) if stage == T else None
        for _ in range(steps):
            x, y = signals.draw(BATCH)
            found = layer(y)
            loss = ((found - x) ** 2).sum(-1).mean() if supervised else layer.objective(found, y).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if falling is not None:
                falling.step()
    return layer


def run(scale: Scale) -> Findings:
    """All variants, by seeds."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    layers: dict[tuple[str, str], us.Layer] = {}
    for seed in range(scale.seeds):
        signals = Signals(seed)
        x, y = signals.draw(scale.of(2000))
        for name in LAM:
            build = getattr(us.stdlib.sparse, name).build
            layers[name, "1/L"] = build(A=signals.A, K=T, lam=LAM[name])
            layers[name, "converged"] = build(A=signals.A, K=scale.of(5000), lam=LAM[name])
            for kind in ("supervised", "unsupervised"):
                layers[name, kind] = learned(name, signals, scale, supervised=kind == "supervised")
            for kind in ("1/L", "converged", "supervised", "unsupervised"):
                layer = layers[name, kind]
                with torch.no_grad():
                    codes = layer(y)
                    numbers = (float(((codes - x) ** 2).sum(-1).mean()), float(layer.objective(codes, y).mean()))
                found.setdefault((name, kind), []).append(numbers)
    figures = []
    for (name, kind), values in found.items():
        told = BEFORE[name, kind]
        for n, what in enumerate(("squared error", "objective")):
            figures.append(Number(f"{name.upper()}, {kind}: {what}", tuple(v[n] for v in values), told[n], digits=4))
    mean = {(key, n): sum(v[n] for v in values) / len(values) for key, values in found.items() for n in range(2)}
    claims = {
        "learned steps lower the objective of ISTA after 20 iterations": mean[("ista", "unsupervised"), 1] < mean[("ista", "1/L"), 1],
        "and its squared error": mean[("ista", "supervised"), 0] < mean[("ista", "1/L"), 0],
        "unfolded IHT finds lower objectives than IHT run to the end": mean[("iht", "unsupervised"), 1] < mean[("iht", "converged"), 1],
        "unsupervised ISTA is as good as supervised (objective)": mean[("ista", "unsupervised"), 1] <= 1.01 * mean[("ista", "supervised"), 1],
    }
    return Findings(figures, claims, us.plot_parameters(layers["ista", "unsupervised"], ["step"]), NOTES)
