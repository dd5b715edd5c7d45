"""``explain``: what the kernel does, and why."""

from __future__ import annotations

from collections.abc import Sequence

from ..command import Command, Reply
from ..session import Session


def run(session: Session, words: Sequence[str]) -> Reply:
    """The report of ``dsl explain``."""
    return Reply(session.bench.kernel(session.state).explain())


COMMAND = Command("explain", "explain", "Statements, dependences, the schedule in words, storage, work, and what is no kernel.", "explain", run)
