"""Which schedule a target of the processor takes: what tuning has found, what tuning finds now, or the choice of the cost model."""

from __future__ import annotations

import logging
from typing import Any

from ...compiler.loops.dependences import IllegalSchedule
from ...compiler.loops.schedule import apply, parse_schedule
from ...compiler.search.choose import chosen
from ...compiler.search.draft import Draft, Task
from ...compiler.search.explore.budget import Budget
from .database import Tuned, database
from .jobs import Job, collect

logger = logging.getLogger("unspool")


def choose(task: Task, target: Any, seconds: float | None, scheduler: str = "") -> Draft:
    """The schedule of a task for a target: remembered from tuning on this machine; else, with ``seconds``, searched and measured for so
    long, and remembered; else chosen by a cost model, ``scheduler``. Raises IllegalSchedule if there is none."""
    memory = database()
    job = Job(task, target)
    if collect(job):
        return chosen(task, scheduler)
    known = memory.find(job.key) if memory is not None and memory.entries() else None
    draft = None if known is None else remembered(task, known)
    if draft is not None:
        return draft
    if seconds is None:
        return chosen(task, scheduler)
    from .tune import tune

    made = tune(job, Budget(seconds), memory)
    return Draft(task, made.found.scheduled, list(made.found.schedule.steps), origin=told(made.entry))


def remembered(task: Task, known: Tuned) -> Draft | None:
    """The draft of what the database has; None, and a line in the log, if it does not apply to the program of today."""
    try:
        schedule = parse_schedule(known.schedule)
        scheduled = apply(task.nest, schedule, strict=task.strict)
    except IllegalSchedule as error:
        logger.warning("%s: what tuning found is of another version, and passed over: %s", task.nest.name, error)
        return None
    return Draft(task, scheduled, list(schedule.steps), origin=told(known))


def told(known: Tuned) -> str:
    """In words, what tuning has brought."""
    gain = known.start / known.seconds
    return f"tuned: {known.measured} schedules measured, the best {gain:.2f} times as fast as the best that is made without a search"


