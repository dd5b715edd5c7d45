"""``tree``: the loop tree that is printed as source."""

from __future__ import annotations

from collections.abc import Sequence

from ..command import Command, Reply
from ..session import Session


def run(session: Session, words: Sequence[str]) -> Reply:
    """Bounds, buffers, barriers."""
    return Reply(session.bench.kernel(session.state).tree.rstrip("\n"), "loops")


COMMAND = Command("tree", "tree", "The loop tree: bounds, buffers, barriers; what is printed as source.", "tree", run)
