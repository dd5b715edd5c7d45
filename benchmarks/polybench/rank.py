"""Whether the model of the machine picks well: every candidate of the choice is timed, in turn, and compared with its estimate.

Prints for each kernel the candidate that was chosen, the fastest one, what choosing costs over it, how well the order of the estimates agrees
with that of the times (Spearman's and Kendall's rank correlation, where there are three candidates or more), and every candidate
as estimate/time in milliseconds. A candidate is named by the proposers that made it; ``program`` is the order as it was written.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from scipy.stats import kendalltau, spearmanr

import unspool as us
from unspool.backends.build import machine
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.dependences import IllegalSchedule
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.schedule import prove
from unspool.compiler.search.choose import TIE, candidates
from unspool.compiler.search.cost import estimate
from unspool.compiler.search.draft import Task

from .references import KERNELS, Kernel, Sizes

#: Seconds that the samples of a candidate take at most; another is taken only if it fits.
LIMIT = 4.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})


@dataclass
class Candidate:
    """A schedule, its estimate and its samples, in seconds."""

    name: str
    schedule: str
    estimate: float
    times: list[float] = field(default_factory=list)

    @property
    def time(self) -> float:
        """The least sample."""
        return min(self.times, default=math.inf)


@dataclass(frozen=True)
class Ranking:
    """The candidates of a kernel, in the order in which the choice considers them."""

    kernel: str
    candidates: Sequence[Candidate]

    @property
    def chosen(self) -> Candidate:
        """Of the least estimate; of equals the plainer."""
        least = min(c.estimate for c in self.candidates)
        return next(c for c in self.candidates if c.estimate <= least * (1 + TIE))

    @property
    def best(self) -> Candidate:
        """The fastest."""
        return min(self.candidates, key=lambda c: c.time)

    @property
    def loss(self) -> float:
        """How much longer the chosen one takes than the fastest, as a part of that."""
        return self.chosen.time / self.best.time - 1

    @property
    def correlations(self) -> tuple[float, float]:
        """Spearman's and Kendall's, of estimates and times."""
        if len(self.candidates) < 3:
            return math.nan, math.nan
        pairs = [c.estimate for c in self.candidates], [c.time for c in self.candidates]
        return float(spearmanr(*pairs).statistic), float(kendalltau(*pairs).statistic)


def proved(kernel: Kernel, sizes: Sizes, dtype: str = "f64") -> list[Candidate]:
    """The candidates of a kernel that are proved, equal ones once."""
    graph = us.load(kernel.file)[kernel.name].algorithm.graph
    fixed = simplify(specialize(graph, dtype, {n: v for n, v in sizes.items() if n != "T"}))
    task = Task(lower(fixed), machine())
    found: dict[str, Candidate] = {}
    for draft in candidates(task):
        try:
            prove(draft.scheduled)
        except IllegalSchedule:
            continue
        text = str(draft.schedule)
        found.setdefault(text, Candidate(draft.origin, text, estimate(draft.scheduled, task.machine).seconds))
    return list(found.values())


def rank(kernel: Kernel, sizes: Sizes, rounds: int) -> Ranking:
    """Every candidate timed, in turn."""
    made = proved(kernel, sizes)
    inputs = {name: torch.as_tensor(x) for name, x in kernel.inputs(np.random.default_rng(0), sizes).items()}
    steps = {name: n for name, n in sizes.items() if name == "T"}
    handle = us.load(kernel.file)[kernel.name]

    def call(candidate: Candidate) -> float:
        begin = time.perf_counter()
        handle(**inputs, **steps, schedule=candidate.schedule)
        return time.perf_counter() - begin

    with torch.no_grad():
        for candidate in made:
            call(candidate)  # compiles
            candidate.times.append(call(candidate))
        for _ in range(rounds - 1):
            for candidate in made:
                if sum(candidate.times) + candidate.time < LIMIT:
                    candidate.times.append(call(candidate))
    return Ranking(kernel.title, made)


def table(rankings: Sequence[Ranking]) -> Table:
    """One row for each kernel."""
    shown = Table("kernel", "chosen", "fastest", "loss", "Spearman", "Kendall", "candidates: estimate/time in ms")
    for r in rankings:
        each = ", ".join(f"{c.name} {1e3 * c.estimate:.3g}/{1e3 * c.time:.3g}" for c in r.candidates)
        numbers = ["" if math.isnan(x) else f"{x:.2f}" for x in r.correlations]
        shown.add_row(r.kernel, r.chosen.name, r.best.name, f"{100 * r.loss:.0f}%", *numbers, each)
    return shown


def _sizes(kernel: Kernel, given: str) -> Mapping[str, int]:
    """The sizes of a kernel, some of them replaced: ``n=120,m=100``."""
    named = dict(part.split("=", 1) for part in given.split(",") if part)
    return {name: int(named.get(name, value)) for name, value in kernel.sizes.items()}


@app.command(help=__doc__)
def main(
    names: Annotated[list[str] | None, typer.Argument(help="Kernels by the names of their files; none: all.")] = None,
    size: Annotated[list[str] | None, typer.Option(help="Sizes other than the table's, as in n=120; again for another run.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help=f"Samples of a candidate, in {LIMIT:.0f} seconds at most.")] = 7,
) -> None:
    """The command."""
    if unknown := [name for name in names or () if name not in KERNELS]:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(KERNELS)}", param_hint="names")
    console = Console(width=200)
    rankings: list[Ranking] = []
    for given in size or [""]:
        for name in names or KERNELS:
            made = rank(KERNELS[name], _sizes(KERNELS[name], given), rounds)
            rankings.append(Ranking(f"{made.kernel} {given}".strip(), made.candidates))
            console.print(table(rankings[-1:]))
    console.print(table(rankings), _summary(rankings))


def _summary(rankings: Sequence[Ranking]) -> str:
    losses: list[Any] = [r.loss for r in rankings]
    numbers = np.array([r.correlations for r in rankings])
    known = numbers[~np.isnan(numbers[:, 0])]
    means = f"; mean rank correlations {known.mean(axis=0)[0]:.2f} (Spearman), {known.mean(axis=0)[1]:.2f} (Kendall)" if len(known) else ""
    return f"the fastest within 10%: {sum(x <= 0.1 for x in losses)} of {len(losses)}; greatest loss {100 * max(losses):.0f}%{means}"


if __name__ == "__main__":
    app()
