"""Tune one kernel: search its schedules, measure the promising ones, remember the best."""

from __future__ import annotations

from dataclasses import dataclass

from ...compiler import options
from ...compiler.loops.scheduled import Scheduled
from ...compiler.search.draft import Draft
from ...compiler.search.explore.budget import Budget
from ...compiler.search.explore.explore import Found, explore
from ...compiler.search.learned.choice import CAUTION, learned_guide
from ..measuring.measurer import Measured, Measurer
from .database import Database, Tuned
from .identity import machine_id
from .jobs import Job
from .progress import Bar


@dataclass(frozen=True)
class Tuning:
    """What came of tuning: the search, the line for the database, and all that was measured."""

    found: Found
    entry: Tuned
    measured: tuple[tuple[Scheduled, Measured], ...]


def tune(job: Job, budget: Budget, memory: Database | None, *, method: str = "beam") -> Tuning:
    """Search within a budget, guided by the model that the target names, with a progress bar, and remember what was found,
    also where the user interrupts. Raises IllegalSchedule if not even program order can be proved, DataError if the result cannot be written."""
    task, seed = job.task, options.current.seed
    start = Draft.of(task).scheduled
    measurer = Measurer(
        task.nest, task.machine, counts=dict(task.counts), problems=task.problems, strict=task.strict, reference=start, seed=seed
    )
    with measurer, Bar(task.nest.name) as bar:
        guide = learned_guide(task, job.target.scheduler, caution=-CAUTION)  # what the model is unsure of is worth a measurement
        found = explore(task, budget, guide=guide, measure=measurer, method=method, seed=seed, watch=bar.watch)
    measured = sum(c.measured is not None for c in found.candidates)
    entry = Tuned(job.key, task.nest.name, job.target.name, machine_id(), str(found.schedule), found.seconds, found.start, measured)
    if memory is not None and measured:
        memory.add([entry])
    return Tuning(found, entry, tuple(measurer.results))
