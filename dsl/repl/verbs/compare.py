"""``compare``: two schedules, by their steps, loops and times."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ....compiler.diagnostics import UnspoolError
from ..command import Command, Reply
from ..interrupt import Measurement
from ..session import Session
from ..state import State
from .schedule import with_plan
from .time import prepared

if TYPE_CHECKING:
    from ..workbench import Part


def run(session: Session, words: Sequence[str]) -> Reply:
    """Two of ``now``, ``auto``, ``none`` and files; a third word, ``time``, measures both in turn. Raises UnspoolError."""
    if len(words) < 2 or (len(words) == 3 and words[2] != "time"):
        raise UnspoolError("name two schedules, of now, auto, none and files: `compare none now`; a third word `time` measures them")
    from ....backends.explain_text import scaled, table

    states = [session.state if name == "now" else with_plan(session, name) for name in words[:2]]
    parts = [session.bench.part(state) for state in states]
    rows: list[tuple[str, ...]] = [("", "steps", "predicted")]
    for name, state, part in zip(words, states, parts):
        plan = session.bench.plan(state) or ()
        rows.append((name, str(sum(len(s.alone) + len(s.together) for _, s in plan)), scaled(part.predicted, "s")))
    if len(words) == 3:
        rows = [(*row, said) for row, said in zip(rows, ["measured", *_measured(states)])]
    first, second = (_order(part) for part in parts)
    diff = list(difflib.unified_diff(first, second, words[0], words[1], lineterm="", n=2))
    return Reply("\n".join([*table(rows), *(diff or ["the loops are the same"])]), "diff")


def _order(part: Part) -> list[str]:
    from ....compiler.loops.text import print_order

    return print_order(part.scheduled.nest.order).splitlines()


def _measured(states: Sequence[State]) -> list[str]:
    """Medians of samples that take turns."""
    from ....backends.explain_text import scaled
    from ...timing import interleaved

    measurement = Measurement()

    def work() -> list[str]:
        calls = {str(n): measurement.stoppable(prepared(state).run) for n, state in enumerate(states)}
        return [scaled(timing.median, "s") for timing in interleaved(calls, rounds=11, seconds=10.0).values()]

    return measurement.result(work)


COMMAND = Command(
    "compare", "compare A B [time]", "Two schedules (now, auto, none, files): steps, predicted times, loops; with `time` also measured in turn.",
    "compare none now", run, ("now", "auto", "none", "path"), 3,
)  # fmt: skip
