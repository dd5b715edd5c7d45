"""``asm``: what the source becomes on the processor."""

from __future__ import annotations

from collections.abc import Sequence

from ..command import Command, Reply
from ..session import Session


def run(session: Session, words: Sequence[str]) -> Reply:
    """Raises CompileError without a compiler."""
    return Reply(session.bench.kernel(session.state).asm.rstrip("\n"), "gas")


COMMAND = Command("asm", "asm", "The assembly of the kernel.", "asm", run)
