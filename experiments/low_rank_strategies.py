"""Evolution strategies with perturbations of low rank.

A population of perturbed networks tells in which direction the loss falls, without a derivative of it. With perturbations of rank r in place of full ones
([eggroll](../stdlib/es.md)) a member costs little more than the unperturbed network. The paper claims that this loses nothing: the estimate tends to
that of full normal perturbations at a rate of 1 / r, and rank 1 trains as well; that populations must be large; and that it trains networks in pure
int8 arithmetic.

Setting: scikit-learn's digits, 1,437 for training and 360 for testing; perceptrons of 64, 32 and 10 units; 256 members (128 pairs), sigma 0.1, rate 1
falling linearly to 0, 300 generations with 128 samples each. Full rank is [open_es](../stdlib/es.md). The excess kurtosis of an entry of a perturbation,
6 / r where the entries of its factors are normal, is that of 1,000,000 entries. In int8: inputs times 7, weights round(16 normal) to begin with, shift
6, margin 32, a threshold that rises from 12 to 40.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import unspool as us

from .report import FULL, Findings, Number, Scale

PAPER = "sarkar2025"
D, H, C, B, PAIRS, GENERATIONS, ENTRIES = 64, 32, 10, 128, 128, 300, 1_000_000
RANKS, POPULATIONS = (1, 2, 4, 8, 16), (2, 16, 64)
#: Measured with plain torch: kurtosis by rank (one seed), accuracy by method (three seeds), by population.
KURTOSIS = {1: "5.993", 2: "3.030", 4: "1.463", 8: "0.758", 16: "0.374"}
BEFORE = {"full rank": "0.946", "rank 1": "0.967", "rank 4": "0.963"}
SWEEP = {2: "0.393", 16: "0.907", 64: "0.947"}
NOTES = """
What the paper reports of its own experiments (reinforcement learning, language models of up to 14 billion parameters) is out of reach here. Rates were not
tuned for either method, so of full and low rank only this much is said: low rank loses nothing.
"""
RANK_1, INTEGERS = "rank 1 loses nothing against full rank", "int8 arithmetic alone classifies nine digits in ten"
#: Claims that so few generations and members do not bear out.
ONLY_FULL = (RANK_1, INTEGERS)
ENTRY = us.loads("""
# Entries of perturbations of a rank, each of a perturbation of its own.
algorithm entries(rng: key) -> f64[n]:
    iterations n = 1000
    iterations rank = 1
    A = normal(fold(rng, 0), n, rank, dtype=f64)
    B = normal(fold(rng, 1), n, rank, dtype=f64)
    return sum(A * B, axis=1) / sqrt(rank)
""")


def kurtosis(rank: int, seed: int, count: int) -> float:
    """Excess kurtosis of entries."""
    e = np.asarray(ENTRY.entries(us.key(seed), n=count, rank=rank))
    return float((e**4).mean() / (e**2).mean() ** 2 - 3)


class Digits:
    """Minibatches of the digits for all seeds, weights to begin with, and test digits."""

    def __init__(self, scale: Scale) -> None:
        from sklearn.datasets import load_digits

        pixels, classes = load_digits(return_X_y=True)
        self.steps, self.keys = scale.of(GENERATIONS), us.key(0, (scale.seeds,))
        drawn: list[tuple[np.ndarray, ...]] = []
        for seed in range(scale.seeds):
            random = np.random.default_rng(seed)
            order = random.permutation(len(pixels))
            train, test = order[:1437], order[1437:]
            chosen = train[random.integers(len(train), size=(self.steps, B))]
            weights = random.standard_normal((H, D)), random.standard_normal((C, H))
            drawn.append((pixels[chosen], np.eye(C)[classes[chosen]], *weights, pixels[test], classes[test]))
        self.x, self.y, self.W, self.V, self.test, self.answers = map(np.stack, zip(*drawn, strict=True))

    def accuracy(self, W: np.ndarray, V: np.ndarray) -> tuple[float, ...]:
        """Of networks, by seed."""
        logits = np.maximum(self.test / 16 @ W.swapaxes(1, 2), 0) @ V.swapaxes(1, 2)
        return tuple((logits.argmax(-1) == self.answers).mean(1))

    def trained(self, name: str, **options: Any) -> tuple[float, ...]:
        """Accuracy after training."""
        inputs = (v.astype(np.float32) for v in (self.x / 16, self.y, self.W / np.sqrt(D), self.V / np.sqrt(H)))
        return self.accuracy(*getattr(us.stdlib.es, name)(*inputs, self.keys, K=self.steps, **options))

    def trained_in_int8(self, **options: Any) -> tuple[float, ...]:
        """The same in integers."""
        W, V = (np.clip(np.round(16 * w), -127, 127).astype(np.int8) for w in (self.W, self.V))
        threshold = np.linspace(12, 40, self.steps).astype(np.int32)
        x, y = (7 * self.x).astype(np.int8), self.y.astype(np.int8)
        W, V = us.stdlib.es.eggroll_int8(x, y, W, V, threshold, self.keys, K=self.steps, **options)
        wide = V.astype(np.int64).swapaxes(1, 2)
        hidden = np.clip(7 * self.test.astype(np.int64) @ W.astype(np.int64).swapaxes(1, 2) // (16 * 8), 0, 127)
        return tuple(((hidden @ wide).argmax(-1) == self.answers).mean(1))


def run(scale: Scale) -> Findings:
    """Kurtosis by rank, accuracy by method and by population."""
    plain: dict[str, Any] = {} if scale is FULL else {"schedule": ""}  # a search for a schedule takes longer than a small run
    digits, pairs = Digits(scale), scale.of(PAIRS)
    tails = {r: tuple(kurtosis(r, seed, scale.of(ENTRIES)) for seed in range(scale.seeds)) for r in RANKS}
    methods = {
        "full rank": digits.trained("open_es", pairs=pairs, **plain),
        "rank 1": digits.trained("eggroll", pairs=pairs, rank=1, **plain),
        "rank 4": digits.trained("eggroll", pairs=pairs, rank=4, **plain),
        "int8, rank 1": digits.trained_in_int8(pairs=pairs, **plain),
    }
    sweep = {n: digits.trained("eggroll", pairs=n // 2, **plain) for n in (POPULATIONS if scale is FULL else POPULATIONS[:1])}
    figures = [Number(f"rank {r}: excess kurtosis", values, KURTOSIS[r]) for r, values in tails.items()]
    figures += [Number(f"{name}: accuracy", values, BEFORE.get(name, "")) for name, values in methods.items()]
    figures += [Number(f"rank 1, population {n}: accuracy", values, SWEEP[n]) for n, values in sweep.items()]
    law, by = {f.name: f.mean for f in figures[: len(RANKS)]}, {f.name: f.mean for f in figures}
    populations = [*(by[f"rank 1, population {n}: accuracy"] for n in sweep), by["rank 1: accuracy"]]
    claims = {
        "the excess kurtosis is 6 / r, within a tenth": all(abs(law[f"rank {r}: excess kurtosis"] * r / 6 - 1) < 0.1 for r in RANKS),
        RANK_1: by["rank 1: accuracy"] >= by["full rank: accuracy"] - 0.01,
        "nor does rank 4": by["rank 4: accuracy"] >= by["full rank: accuracy"] - 0.01,
        "larger populations do better": populations == sorted(populations),
        INTEGERS: by["int8, rank 1: accuracy"] > 0.9,
    }
    return Findings(figures, claims, picture(sweep | {2 * pairs: methods["rank 1"]}), NOTES)


def picture(sweep: dict[int, tuple[float, ...]]) -> Any:
    """Accuracy against the population."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    values = [np.array(v) for v in sweep.values()]
    axes.errorbar(list(sweep), [v.mean() for v in values], [v.std() for v in values], marker="o", capsize=3)
    axes.set(xscale="log", xlabel="population", ylabel="accuracy, rank 1")
    return figure
