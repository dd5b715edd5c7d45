"""``quit``: the end."""

from __future__ import annotations

from collections.abc import Sequence

from ..command import Command, Reply
from ..session import Session


def run(session: Session, words: Sequence[str]) -> Reply:
    """As Ctrl-D."""
    return Reply(done=True)


COMMAND = Command("quit", "quit", "End the session, as Ctrl-D does.", "quit", run)
