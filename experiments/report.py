"""An experiment, what it found, and the page that tells it.

An experiment is a module of this folder with a docstring (what the paper claims, and the setting), a ``PAPER`` (its key in
``docs/references.bib``), and ``run(scale) -> Findings``. Scale ``full`` is what the page reports; ``small`` is the same code in seconds, for tests, where
the claims that the module lists as ``ONLY_FULL`` may fail.
"""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from unspool.dsl.timing import machine

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
PAGES = FOLDER.parent / "docs" / "experiments"


@dataclass(frozen=True)
class Scale:
    """How large an experiment is: the number of seeds, and a factor that an experiment puts on sizes and epochs (1 at full scale)."""

    name: str
    seeds: int
    factor: float

    def of(self, full: int, least: int = 1) -> int:
        """A size or a count at this scale."""
        return max(least, round(full * self.factor))


FULL, SMALL = Scale("full", 5, 1.0), Scale("small", 1, 0.2)
SCALES = {scale.name: scale for scale in (FULL, SMALL)}


@dataclass(frozen=True)
class Number:
    """A number by seeds: its mean and standard deviation are told. ``before`` is the same measured with plain torch (see
    the page), ``paper`` what the paper reports; empty where there is none."""

    name: str
    values: tuple[float, ...]
    before: str = ""
    paper: str = ""
    digits: int = 3

    @property
    def mean(self) -> float:
        """Over seeds."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        """Standard deviation over seeds; 0 for one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0

    @property
    def told(self) -> str:
        """Mean and deviation in words."""
        spread = f" ± {self.deviation:.{max(1, self.digits - 1)}g}" if len(self.values) > 1 else ""
        return f"{self.mean:.{self.digits}g}{spread}"


@dataclass
class Findings:
    """What an experiment found: the numbers, whether each claim holds (a sentence to yes or no), a picture, and words on what did not come
    out as it was said."""

    figures: list[Number]
    claims: Mapping[str, bool]
    picture: Figure | None = None
    notes: str = ""
    seconds: float = field(default=0.0)


def names() -> list[str]:
    """The experiments, by name."""
    return sorted(p.stem for p in FOLDER.glob("*.py") if p.stem not in ("__init__", "__main__", "report"))


def experiment(name: str) -> ModuleType:
    """The module of an experiment."""
    return importlib.import_module(f"experiments.{name}")


def run(name: str, scale: Scale) -> Findings:
    """Run an experiment."""
    start = time.perf_counter()
    found: Findings = experiment(name).run(scale)
    found.seconds = time.perf_counter() - start
    return found


def publish(name: str, scale: Scale, found: Findings) -> Path:
    """Write the page of an experiment, and its picture beside it."""
    PAGES.mkdir(parents=True, exist_ok=True)
    if found.picture is not None:
        found.picture.savefig(PAGES / f"{name}.svg", metadata={"Date": None})
    path = PAGES / f"{name}.md"
    path.write_text(page(name, scale, found), encoding="utf-8")
    return path


def page(name: str, scale: Scale, found: Findings) -> str:
    """The text of the page."""
    module = experiment(name)
    title, _, prose = (module.__doc__ or "").strip().partition("\n")
    facts = machine()
    lines = [f"# {title.rstrip('.')}", "", prose.strip(), "", f"Paper: [{module.PAPER}](../references.md#{module.PAPER}).", ""]
    lines += ["| | ours | plain torch, before | paper |", "| --- | --- | --- | --- |"]
    lines += [f"| {f.name} | {f.told} | {f.before or '-'} | {f.paper or '-'} |" for f in found.figures]
    lines += ["", f"Mean and standard deviation over {_seeds(found.figures)}.", "", "| claim | here |", "| --- | --- |"]
    lines += [f"| {claim} | {'yes' if holds else '**no**'} |" for claim, holds in found.claims.items()]
    if found.picture is not None:
        lines += ["", f"![{title.rstrip('.')}]({name}.svg)"]
    if found.notes:
        lines += ["", found.notes.strip()]
    command = f"python -m experiments {name} --publish"
    told = f"`{command}`: {found.seconds:.0f} s on {facts['processor']}, {facts['threads']} threads, torch {facts['torch']}"
    return "\n".join([*lines, "", told + ("" if scale is FULL else f", scale {scale.name}") + ".", ""])


def _seeds(figures: Sequence[Number]) -> str:
    count = max((len(f.values) for f in figures), default=1)
    return f"{count} seeds" if count > 1 else "one seed"
