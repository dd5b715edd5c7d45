"""``check``: the errors of the program."""

from __future__ import annotations

from collections.abc import Sequence

from ....compiler.diagnostics import ProgramError
from ..command import Command, Reply
from ..session import Session


def run(session: Session, words: Sequence[str]) -> Reply:
    """Every error found, in source order."""
    opened = session.state.program
    return Reply(str(ProgramError(opened.errors)) if opened.errors else f"{opened.path}: ok")


COMMAND = Command("check", "check", "The errors of the program; one that has some can still be looked at as far as it got.", "check", run)
