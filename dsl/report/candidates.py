"""The schedules that the search compared: what was predicted of each, and what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from markupsafe import Markup

from ...backends.explain import estimated
from ...backends.measuring.measurer import Measurer
from ...compiler.diagnostics import DataError
from ...compiler.loops.isl import safe
from ...compiler.loops.schedule import apply, parse_schedule
from ...compiler.loops.schedule_parts import split_batch
from ...compiler.loops.scheduled import Scheduled
from ...compiler.search.choose import proved
from ...compiler.search.draft import Draft, Task
from ...compiler.search.learned.choice import model_for, predicted
from ...compiler.target import Gpu
from . import figure
from .links import PartLinks
from .section import Section, render
from .subject import Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Candidate:
    """A schedule of a kernel, for one problem: seconds by the estimate, by the learned model (None: it has no say), and measured (None: it was not, and
    ``why``)."""

    origin: str
    steps: str
    estimate: float
    learned: float | None
    measured: float | None
    why: str
    taken: bool

    @property
    def predicted(self) -> float:
        """Seconds by the model that has the last word."""
        return self.estimate if self.learned is None else self.learned


def section(subject: Subject) -> Section | None:
    """A plot and a table for each kernel whose loops are ours to order."""
    found: list[tuple[str, list[Candidate], Markup]] = []
    notes: list[str] = []
    for part in subject.parts:
        if part.compiled.problem is not None or part.compiled.lowered is None:
            continue
        rows, note = candidates(
            part, subject.kernel.sizes, strict=subject.strict, measure=subject.measure and subject.kernel.on_processor
        )
        both = [c for c in rows if c.measured is not None]
        svg = Markup("")
        if len(both) > 1 and not figure.drawable():
            svg = figure.plot(f"candidates{len(found)}", partial(_draw, both=both), width=4.6, height=3.8)
        found.append((part.name, rows, svg))
        notes += [f"{part.name}: {note}"] if note else []
    if not found:
        return None
    missing = figure.drawable() if any(c.measured is not None for _, rows, _ in found for c in rows) else ""
    return Section(
        "candidates", "Candidates", render("candidates.html", kernels=found, notes=[*notes, *([missing] if missing else [])])
    )


def candidates(part: PartLinks, sizes: dict[str, int], *, strict: bool, measure: bool) -> tuple[list[Candidate], str]:
    """The candidates of a kernel, the fastest first, and why they could not be measured."""
    compiled = part.compiled
    assert compiled.lowered is not None
    task = Task(compiled.lowered, compiled.target.capabilities.machine, strict)
    taken = split_batch(compiled.schedule)[0].strip()
    drafts = proved(task)
    if not any(str(d.schedule).strip() == taken for d in drafts):
        drafts.append(_given(task, taken, compiled.origin or "given"))
    programs = [d.scheduled for d in drafts]
    env = {safe(n): v for n, v in sizes.items()}
    guesses = [estimated(p.nest, env, task.machine)["seconds"] for p in programs]
    model = None if isinstance(task.machine, Gpu) else model_for(task)
    learned: Sequence[float | None] = [None] * len(drafts) if model is None else predicted(model, programs, task)
    times: list[tuple[float | None, str]] = [(None, "")] * len(drafts)
    note = ""
    if measure:
        try:
            times = measured(task, programs, {n: env[n] for n in task.nest.params if n in env})
        except DataError as error:
            note = str(error)
    steps = [str(d.schedule).strip() for d in drafts]
    first = steps.index(taken)
    rows = [
        Candidate(d.origin, steps[n], guesses[n], learned[n], *times[n], n == first) for n, d in enumerate(drafts)
    ]  # fmt: skip
    return sorted(rows, key=lambda c: (c.measured is None and measure, c.measured or c.predicted)), note


def _given(task: Task, steps: str, origin: str) -> Draft:
    """The schedule of a kernel that is none of the candidates."""
    schedule = parse_schedule(steps)
    return Draft(task, apply(task.nest, schedule, strict=task.strict, tf32=task.tf32), list(schedule.steps), origin=origin)


def measured(task: Task, programs: Sequence[Scheduled], counts: dict[str, int]) -> list[tuple[float | None, str]]:
    """The least seconds of each program, or why there are none. Raises DataError where not even program order can be timed."""
    start = Scheduled.start(task.nest, strict=task.strict)
    with Measurer(task.nest, task.machine, counts=counts, strict=task.strict, reference=start) as measurer:
        found = measurer.measure(programs)
    return [(m.least, "") if math.isfinite(m.least) else (None, m.why or m.status) for m in found]


def _draw(axes: Axes, both: Sequence[Candidate]) -> None:
    """Predicted against measured, log-log; on the line they agree."""
    from matplotlib.ticker import EngFormatter, NullFormatter

    xs, ys = [c.measured or 0.0 for c in both], [c.predicted for c in both]
    low, high = min(xs + ys) / 1.6, max(xs + ys) * 1.6
    axes.plot([low, high], [low, high], color=figure.MUTED, linewidth=1, linestyle="--")
    for number, (c, x, y) in enumerate(zip(both, xs, ys), 1):
        colour = figure.SERIES[1] if c.taken else figure.SERIES[0]
        axes.plot([x], [y], marker="o", markersize=8, linestyle="", color=colour, markeredgecolor=figure.SURFACE)
        axes.annotate(str(number), (x, y), xytext=(6, 3), textcoords="offset points", color=figure.SECOND, fontsize=8)
    axes.set(xscale="log", yscale="log", xlabel="measured", ylabel="predicted", xlim=(low, high), ylim=(low, high))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(EngFormatter("s"))
        axis.set_minor_formatter(NullFormatter())
