"""``params``: what can be learned."""

from __future__ import annotations

from collections.abc import Sequence

from ...described import parameter_rows
from ..command import Command, Reply
from ..session import Session


def run(session: Session, words: Sequence[str]) -> Reply:
    """Parameters and learned operators: type, constraint, and what they start from."""
    from ....backends.explain_text import table

    algorithm = session.state.handle.algorithm
    return Reply("\n".join(table(parameter_rows(algorithm))) or f"{algorithm.name} has no parameters")


COMMAND = Command("params", "params", "Parameters and learned operators: types, constraints, what they start from.", "params", run)
