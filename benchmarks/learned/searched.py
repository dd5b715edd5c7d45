"""What choosing and searching brought: records of the kernels, and the tables made from them."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unspool.compiler.search.explore.explore import METHODS
from unspool.compiler.search.learned.metrics import spearman

#: Names of schedules that matter; those of searches are :data:`METHODS`.
PLAIN, ISL, ANALYTIC, LEARNED, CANDIDATE = "program order", "isl", "analytic", "learned", "fastest candidate"
#: The search that candidates belong to.
START = "start"
#: Schedules that a rank correlation needs.
RANKED = 8


@dataclass
class Tried:
    """A schedule that was measured: its steps, who made it, its seconds by the estimate, by the model (None: it has no say) and as measured, and in
    which search (:data:`START`: a candidate)."""

    schedule: str
    origin: str
    estimate: float
    predicted: float | None
    seconds: float
    search: str

    @property
    def steps(self) -> frozenset[str]:
        """The names of its steps."""
        return frozenset(line.split()[0] for line in self.schedule.splitlines() if line.strip())


@dataclass
class Searched:
    """A kernel: all that was measured of it, and the seconds of the schedules that matter, measured in turn, by name; none of one that takes too
    long."""

    suite: str
    name: str
    tile: bool
    tried: list[Tried] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def fastest(self) -> float:
        """What the fastest takes that nobody searched for."""
        return min(seconds for name, seconds in self.seconds.items() if name not in METHODS)

    def over(self, name: str, base: str) -> float:
        """How many times as long one takes as another."""
        return self.seconds[base] / self.seconds[name]

    def regret(self, name: str) -> float:
        """What a choice takes over the fastest that nobody searched for."""
        return self.seconds[name] / self.fastest

    def without(self, step: str) -> float | None:
        """How many times as long the fastest schedule takes that does without a step, of all that were measured; infinitely long if none
        does, None if the fastest does."""
        others = [t.seconds for t in self.tried if step not in t.steps]
        best = min(self.tried, key=lambda t: t.seconds)
        return min(others, default=math.inf) / best.seconds if step in best.steps else None


def read(path: Path) -> list[Searched]:
    """What an earlier run wrote."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return [replace(Searched(**one), tried=[Tried(**t) for t in one["tried"]]) for one in content["kernels"]]


def markdown(found: Sequence[Searched], facts: Mapping[str, Any]) -> str:
    """The tables."""
    searches = [m for m in METHODS if any(m in f.seconds for f in found)]
    where = f"{facts['processor']}, {len(found)} kernels, {str(facts['date'])[:10]}"
    seconds = f"{facts['seconds']:.0f} s a kernel of PolyBench, {facts['seconds_unrolled']:.0f} s a kernel of the unrolled suite"
    lines = [f"{where}; searches of {seconds}. Geometric means.", ""]
    suites = {suite: [f for f in found if f.suite == suite] for suite in dict.fromkeys(f.suite for f in found)}
    lines += ["| ranked by | " + " | ".join(f"{s}: speed over program order | regret" for s in suites) + " |"]
    lines += ["|---|" + "--:|--:|" * len(suites)]
    for name in (PLAIN, ISL, ANALYTIC, LEARNED, *searches):
        words = name if name not in METHODS else f"learned + measured, {'beam' if name == 'beam' else 'tree'} search"
        cells = []
        for rows in suites.values():
            timed = [f for f in rows if {name, ANALYTIC, LEARNED} <= f.seconds.keys()]
            speed = mean(f.over(name, PLAIN) for f in timed if PLAIN in f.seconds)
            loss = mean(f.regret(name) for f in timed)
            cells.append(f"{speed:.2f}x | {loss:.2f}")
        lines.append(f"| {words} | " + " | ".join(cells) + " |")
    lines += ["", *_rankings(suites), "", *_steps(suites)]
    return "\n".join(lines)


def _rankings(suites: Mapping[str, Sequence[Searched]]) -> list[str]:
    """How well the estimate and the model put the measured schedules into order."""
    lines = ["| Spearman, mean over kernels | estimate | model | kernels |", "|---|--:|--:|--:|"]
    for suite, rows in suites.items():
        for words, part in (("candidates", (START,)), ("all measured", (START, *METHODS))):
            ranked = [[t for t in f.tried if t.search in part and t.predicted is not None] for f in rows]
            known = [tried for tried in ranked if len(tried) >= (RANKED if len(part) > 1 else 3)]
            by: list[Callable[[Tried], float]] = [lambda t: t.estimate, lambda t: t.predicted or 0.0]
            said = [_ranked(known, one) for one in by]
            lines.append(f"| {suite}, {words} | {said[0]} | {said[1]} | {len(known)} |")
    return lines


def _ranked(known: Sequence[Sequence[Tried]], by: Callable[[Tried], float]) -> str:
    found = [spearman([t.seconds for t in tried], [by(t) for t in tried]) for tried in known]
    return f"{statistics.mean(found):.2f}" if found else ""


def _steps(suites: Mapping[str, Sequence[Searched]]) -> list[str]:
    """What each transformation contributes."""
    every = sorted({step for rows in suites.values() for f in rows for t in f.tried for step in t.steps})
    lines = ["| without the step | " + " | ".join(f"{s}: times as long, mean over all kernels | kernels that use it" for s in suites) + " |"]
    lines += ["|---|" + "--:|--:|" * len(suites)]
    rows = []
    for step in every:
        losses = [[f.without(step) for f in part] for part in suites.values()]
        used = [[x for x in part if x is not None] for part in losses]
        if any(used):
            means = [mean(1.0 if x is None else x for x in part if x is None or math.isfinite(x)) for part in losses]
            cells = [f"{m:.2f}x | {len(u)}" for m, u in zip(means, used)]
            rows.append((max(means), f"| `{step}` | " + " | ".join(cells) + " |"))
    return lines + [row for _, row in sorted(rows, reverse=True)]


def mean(values: Iterable[float]) -> float:
    """The geometric mean."""
    return statistics.geometric_mean(values)
