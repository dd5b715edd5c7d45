"""``program``: the text that was loaded."""

from __future__ import annotations

from collections.abc import Sequence

from ..command import Command, Reply
from ..session import Session


def run(session: Session, words: Sequence[str]) -> Reply:
    """The text."""
    return Reply(session.state.program.text.rstrip("\n"), "us")


COMMAND = Command("program", "program", "The text of the program.", "program", run)
