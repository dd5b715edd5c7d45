"""``undo``: back to before the last change."""

from __future__ import annotations

from collections.abc import Sequence

from ....compiler.diagnostics import UnspoolError
from ..command import Command, Reply
from ..session import Session


def run(session: Session, words: Sequence[str]) -> Reply:
    """Raises UnspoolError if nothing was changed."""
    if not session.past:
        raise UnspoolError("there is nothing to undo")
    line, state = session.past.pop()
    return Reply(f"undone: {line}", state=state, undone=True)


COMMAND = Command("undo", "undo", "Back to before the last line that changed something.", "undo", run)
