"""``loops``: the statements and their order, under the present steps."""

from __future__ import annotations

from collections.abc import Sequence

from ..command import Command, Reply
from ..session import Session
from ..step import prediction


def run(session: Session, words: Sequence[str]) -> Reply:
    """The nest of the part that steps go to."""
    from ....backends.replay import nest_lines

    part = session.bench.part(session.state)
    return Reply("\n".join([*nest_lines(part.scheduled.nest), prediction(part.predicted)]), "loops")


COMMAND = Command("loops", "loops", "The statements and the loops around them, in the order of the schedule, and the predicted time.", "loops", run)
