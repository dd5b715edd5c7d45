"""The choice: candidates are drafted, and the best one that is proved is taken.

Candidates are the untransformed program and, for every set of proposers that fire, the program they made with the sweeps
around it finished (:mod:`.sweeps`). A proposer looks at dependences, accesses and sizes, never at names.
"""

from __future__ import annotations

from collections.abc import Callable

from ..loops.dependences import IllegalSchedule
from ..loops.schedule import Schedule, prove
from ..loops.scheduled import Scheduled
from .draft import Draft, Task
from .sweeps import finish

#: Each changes the parts of a draft that it knows how to make faster, and says whether there were any.
PROPOSERS: tuple[Callable[[Draft], bool], ...] = ()


def candidates(task: Task) -> list[Draft]:
    """Drafts from the plainest to the most transformed; all of them apply, none is proved yet."""
    start = Draft.of(task)
    made = [start]
    for proposer in PROPOSERS:
        for base in list(made):
            draft = base.copy()
            if proposer(draft):
                made.append(draft)
    done = []
    for base in made:
        draft = base.copy()
        finish(draft)
        done.append(draft)
    return [start, *done]


def choose(task: Task) -> tuple[Scheduled, Schedule]:
    """The most transformed candidate that is proved; program order in the end."""
    *rest, last = candidates(task)
    for draft in reversed(rest):
        try:
            prove(last.scheduled, strict=task.strict)
        except IllegalSchedule:
            last = draft
            continue
        break
    return last.scheduled, last.schedule
