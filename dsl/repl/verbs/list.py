"""``list``: the algorithms and functions of the program."""

from __future__ import annotations

from collections.abc import Sequence

from ..command import Command, Reply
from ..session import Session


def run(session: Session, words: Sequence[str]) -> Reply:
    """A line for each, a star before the one that is looked at."""
    state = session.state
    opened = state.program
    lines = [f"{'*' if name == state.algorithm else ' '} {repr(handle).removeprefix('<algorithm ')[:-1]}" for name, handle in opened.handles.items()]
    lines += [f"{'*' if name == state.algorithm else ' '} {name}: has errors, `check` shows them" for name in opened.faulty]
    if opened.functions:
        lines.append(f"  functions: {', '.join(opened.functions)}")
    return Reply("\n".join(lines) or f"{opened.path} defines nothing")


COMMAND = Command("list", "list", "The algorithms of the program and their types.", "list", run)
