"""``kernel``: which kernel steps go to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ....compiler.diagnostics import UnspoolError
from ..command import Command, Reply
from ..session import Session


def run(session: Session, words: Sequence[str]) -> Reply:
    """Raises UnspoolError for a name that is none."""
    state, names = session.state, session.bench.names(session.state)
    if words:
        if words[0] not in names:
            raise UnspoolError(f"there is no kernel `{words[0]}`; there are {', '.join(names) or 'none'}")
        state = replace(state, kernel=words[0], tile=False)
    at = state.kernel or next(iter(names), "")
    return Reply("\n".join(f"{'*' if name == at else ' '} {name}" for name in names) or "none: the interpreter runs it", state=state)


COMMAND = Command(
    "kernel", "kernel [NAME]", "Which kernel steps go to; `batch 16` goes to its tile of 16 problems, `kernel NAME` back.", "kernel em_0", run,
    ("kernel",), 1,
)  # fmt: skip
