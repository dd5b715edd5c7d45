"""The results: rows with ratios, as JSON, on the console, and as Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from unspool.dsl.timing import Timing

from . import recorded
from .field import OURS
from .native import TOOLS
from .others import OTHERS
from .race import Score
from .references import Kernel, Sizes
from .why import LOST, WHY

#: Of the form of the JSON file; a reader refuses others.
FORMAT = 1
#: Whose best counts, in the order of the columns.
FIVE = ("gcc", "clang", "polly", "graphite", "pluto")
HEADINGS = {**{name: tool.heading for name, tool in TOOLS.items()}, **recorded.TOOLS}
PLAIN = "gcc on plain C"
#: Ours with other switches: the name of the contestant, and the word in tables.
VARIANTS = {f"{OURS}, {word}": word for word in ("analytic", "tuned")}


@dataclass(frozen=True)
class Row:
    """A kernel's scores. Ratios are of medians: how many times longer the other takes than we do."""

    kernel: Kernel
    sizes: Sizes
    scores: Sequence[Score]

    def score(self, name: str) -> Score | None:
        """A contestant's score."""
        return next((s for s in self.scores if s.name == name), None)

    def timing(self, name: str) -> Timing | None:
        """A contestant's time, measured, or recorded times gcc's (``runs`` is 0 then) where it is absent and the sizes are the recorded ones."""
        score = self.score(name)
        if score:
            return score.timing
        gcc = self.score("gcc")
        known = self.kernel.name in recorded.ratios() and dict(self.sizes) == dict(self.kernel.sizes)
        if name in recorded.TOOLS and known and gcc and gcc.timing:
            return recorded.timing(self.kernel.name, name, gcc.timing)
        return None

    def over(self, name: str, variant: str = OURS) -> float | None:
        """Its median over ours, or over that of a variant of ours."""
        ours, other = self.timing(variant), self.timing(name)
        return other.median / ours.median if ours and other else None

    @property
    def best(self) -> str | None:
        """The fastest of the five."""
        medians = {name: t.median for name in FIVE if (t := self.timing(name))}
        return min(medians, key=medians.__getitem__) if medians else None

    @property
    def over_best(self) -> float | None:
        """The best of the five over ours."""
        return self.over(self.best) if self.best else None

    @property
    def compiling(self) -> float | None:
        """Seconds from the program to the first result, less a call: without imports, nothing cached."""
        score = self.score(OURS)
        return max(0.0, score.first - score.timing.median) if score and score.timing else None

    @property
    def why(self) -> str:
        """What the table says to a loss."""
        return WHY.get(self.kernel.name, "") if (self.over_best or math.inf) < LOST else ""


def variants(rows: Sequence[Row]) -> list[str]:
    """Ours with other switches, by name."""
    return sorted({s.name for row in rows for s in row.scores if s.name in VARIANTS})


def mean(values: Iterable[float | None]) -> float | None:
    """The geometric mean of what is there."""
    found = [v for v in values if v is not None]
    return statistics.geometric_mean(found) if found else None


def means(rows: Sequence[Row]) -> dict[str, float | None]:
    """Geometric means of the ratios over each tool, and over the best of the five."""
    names = (*FIVE, PLAIN)
    found = {**{name: mean(row.over(name) for row in rows) for name in names}, "best of five": mean(row.over_best for row in rows)}
    for variant in variants(rows):
        found[f"best of five, {VARIANTS[variant]}"] = mean(row.over(row.best, variant) for row in rows if row.best)
    return found


def split(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The rows of the twenty kernels, whose geometric means are published, and those of the other ten."""
    return [r for r in rows if r.kernel.name not in OTHERS], [r for r in rows if r.kernel.name in OTHERS]


def unexplained(rows: Sequence[Row]) -> list[str]:
    """Kernels that lose without a word in ``why.py``."""
    return [row.kernel.title for row in rows if (row.over_best or math.inf) < LOST and not row.why]


# -- JSON ------------------------------------------------------------------------------------------------------------


def as_json(rows: Sequence[Row], extras: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Everything measured, times in milliseconds."""
    return {
        "format": FORMAT,
        "machine": dict(facts),
        "geometric_means": means(split(rows)[0]),
        "geometric_means_of_others": means(split(rows)[1]),
        "kernels": [
            {
                "kernel": row.kernel.title,
                "dataset": row.kernel.dataset,
                "sizes": dict(row.sizes),
                "over": {name: row.over(name) for name in FIVE},
                "best": row.best,
                "over_best": row.over_best,
                "compile_s": row.compiling,
                "why": row.why,
                "recorded_ms": {
                    n: 1e3 * t.median for n in recorded.TOOLS if row.score(n) is None and (t := row.timing(n)) is not None
                },
                "contestants": [score_json(s) for s in row.scores],
            }
            for row in rows
        ],
        "extras": [dict(extra) for extra in extras],
    }


def score_json(score: Score) -> dict[str, Any]:
    """A contestant's samples."""
    t = score.timing
    return {
        "name": score.name,
        "median_ms": 1e3 * t.median if t else None,
        "minimum_ms": 1e3 * t.minimum if t else None,
        "samples_ms": [1e3 * x for x in score.times],
        "first_call_s": _finite(score.first),
        "relative_error": _finite(score.error),
        "failure": score.failure,
    }


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None  # JSON has no others


# -- the console and Markdown ----------------------------------------------------------------------------------------


def _cells(row: Row, mark: Callable[[str], str], ours: Sequence[str]) -> list[str]:
    cells = [row.kernel.title, _milliseconds(row, OURS), *(_milliseconds(row, name) for name in ours)]
    for name in (*FIVE, PLAIN):
        text = _milliseconds(row, name)
        cells.append(mark(text) if name == row.best else text)
    lost = (row.over_best or math.inf) < LOST
    cells += [_times(row.over("gcc")), mark(_times(row.over_best)) if lost else _times(row.over_best)]
    return [*cells, "" if row.compiling is None else f"{row.compiling:.1f}"]


def _milliseconds(row: Row, name: str) -> str:
    score, timing = row.score(name), row.timing(name)
    if timing is None:
        return "failed" if score else ""
    value = 1e3 * timing.median
    return (f"{value:.0f}" if value >= 1000 else f"{value:.3g}") + (" r" if timing.runs == 0 else "")


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}x"


def _headings(ours: Sequence[str]) -> list[str]:
    return ["kernel", "unspool", *(VARIANTS[name] for name in ours), *(HEADINGS[name] for name in FIVE), PLAIN, "over gcc", "over the best", "compile s"]


def console(rows: Sequence[Row], facts: Mapping[str, Any]) -> Table:
    """A line per kernel."""
    found = Table(title="Medians in milliseconds, float64; r: recorded ratio times gcc", caption=str(facts["processor"]))
    ours = variants(rows)
    for number, heading in enumerate(_headings(ours)):
        found.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        found.add_row(*_cells(row, lambda text: f"[bold]{text}[/bold]", ours))
    return found


def sentence(rows: Sequence[Row]) -> str:
    """The geometric means of rows in words."""
    best = "the best of the five"
    names = {**HEADINGS, PLAIN: PLAIN, "best of five": best}
    names |= {f"best of five, {word}": f"{best} ({word})" for word in VARIANTS.values()}
    return "Geometric means: " + ", ".join(f"{v:.2f}x over {names[n]}" for n, v in means(rows).items() if v) + "."


def _markdown_rows(rows: Sequence[Row]) -> list[str]:
    ours = variants(rows)
    headings = _headings(ours)
    head = [f"| {' | '.join(headings)} | why |", f"|---|{'--:|' * (len(headings) - 1)}---|"]
    return [*head, *(f"| {' | '.join(_cells(row, lambda text: f'**{text}**', ours))} | {row.why} |" for row in rows)]


def markdown(rows: Sequence[Row], extras: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """The section of benchmarks/README.md."""
    load = "" if facts["load"] is None else f", load {facts['load']} before"
    versions = ", ".join(facts["tools"].values())
    lines = [
        f"Milliseconds, float64, medians of interleaved runs on {facts['processor']}, {facts['threads']} threads{load}, "
        f"{str(facts['date'])[:10]}; {versions}.",
        "Nx: the other takes N times as long as we do. r: recorded ratio to gcc times gcc's time of this run. Bold: the best of the five,",
        "and losses to it.",
        "",
    ]
    twenty, others = split(rows)
    for title, part in (("", twenty), ("**The other ten**", others)):
        if part:
            lines += [*([title, ""] if title else []), sentence(part), "", *_markdown_rows(part), ""]
    del lines[-1]
    failures = [f"- {row.kernel.title}, {s.name}: {s.failure}" for row in rows for s in row.scores if s.failure]
    if failures:
        lines += ["", "Not timed:", "", *failures]
    if extras:
        lines += ["", "| beyond the table | value | of |", "|---|--:|---|"]
        lines += [f"| {x['what']} | {x['value']} | {x['of']} |" for x in extras]
    return "\n".join(lines)
