"""``deps``: the dependences, and which loops carry them."""

from __future__ import annotations

from collections.abc import Sequence

from ....compiler.diagnostics import UnspoolError
from ..command import Command, Reply
from ..session import Session


def run(session: Session, words: Sequence[str]) -> Reply:
    """Of the part that steps go to, in its present loops; those on one array or of one statement, if it is named."""
    from ....compiler.loops.carriers import summaries

    scheduled = session.bench.part(session.state).scheduled
    found = summaries(scheduled)
    if words:
        known = [*scheduled.nest.array_table, *scheduled.nest.statement_table]
        if words[0] not in known:
            raise UnspoolError(f"there is no array or statement `{words[0]}`; there are {', '.join(known)}")
        found = [d for d in found if words[0] in (d.array, d.source, d.sink)]
    return Reply("\n".join(map(str, found)) or "none", "loops")


COMMAND = Command(
    "deps", "deps [ARRAY|STATEMENT]", "The dependences: how far they reach in the present loops, and which loops carry them.", "deps x",
    run, ("array", "statement"), 1,
)  # fmt: skip
