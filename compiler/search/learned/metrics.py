"""How well a model ranks schedules: figures of one program, then their averages over programs.

``seconds`` are measured, ``predicted`` in any unit that grows with them, one entry for each schedule of the program.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
#: Schedules that a program needs to be counted.
SCHEDULES = 16


@dataclass(frozen=True)
class Figures:
    """Averages over ``programs``: Spearman's rank correlation, nDCG of the first five, the mean absolute error of the speed-up over the
    untransformed program (relative), and how many times as long as the best the first choice takes (a geometric mean)."""

    spearman: float
    ndcg5: float
    mape: float
    regret: float
    programs: int


def spearman(seconds: Sequence[float] | Array, predicted: Sequence[float] | Array) -> float:
    """Spearman's rank correlation, equal values with their mean rank; 0 where one of the two is constant."""
    a, b = _ranks(np.asarray(seconds)), _ranks(np.asarray(predicted))
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / size if size else 0.0


def _ranks(values: Array) -> Array:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Array = (last - (counts - 1) / 2)[inverse.reshape(-1)]
    return ranks


def ndcg(seconds: Sequence[float] | Array, predicted: Sequence[float] | Array, first: int = 5) -> float:
    """Normalised discounted cumulative gain of the first few by prediction; the gain of a schedule is its speed, that of the best 1."""
    times = np.asarray(seconds, float)
    gain = times.min() / times
    discount = 1 / np.log2(np.arange(2, 2 + min(first, len(gain))))
    order = np.argsort(np.asarray(predicted), kind="stable")[: len(discount)]
    best = np.sort(gain)[::-1][: len(discount)]
    return float((gain[order] * discount).sum() / (best * discount).sum())


def mape(seconds: Sequence[float] | Array, predicted: Sequence[float] | Array, base: int) -> float:
    """Mean relative error of the speed-ups over schedule ``base``; ``predicted`` is in seconds, but for a factor."""
    times, said = np.asarray(seconds, float), np.asarray(predicted, float)
    true, guessed = times[base] / times, said[base] / said
    others = np.arange(len(times)) != base
    return float((np.abs(guessed - true) / true)[others].mean()) if others.any() else 0.0


def regret(seconds: Sequence[float] | Array, predicted: Sequence[float] | Array) -> float:
    """How many times as long as the best the schedule of the least prediction takes."""
    times = np.asarray(seconds, float)
    return float(times[int(np.argmin(predicted))] / times.min())


def figures(programs: Iterable[tuple[Array, Array, int]], least: int = SCHEDULES) -> Figures:
    """The averages over programs of at least so many schedules: each its seconds, the predicted ones, and which schedule is the untransformed
    program. Without any such program all of them are nan."""
    counted = [one for one in programs if len(one[0]) >= least]
    if not counted:
        return Figures(np.nan, np.nan, np.nan, np.nan, 0)
    return Figures(
        float(np.mean([spearman(s, p) for s, p, _ in counted])),
        float(np.mean([ndcg(s, p) for s, p, _ in counted])),
        float(np.mean([mape(s, p, base) for s, p, base in counted])),
        float(np.exp(np.mean([np.log(regret(s, p)) for s, p, _ in counted]))),
        len(counted),
    )


def ceiling(programs: Iterable[tuple[Array, Array]], least: int = SCHEDULES) -> float:
    """Spearman's correlation between two measurements of the same schedules, averaged over programs of at least so many; nan without any."""
    found = [spearman(first, again) for first, again in programs if len(first) >= least]
    return float(np.mean(found)) if found else np.nan
