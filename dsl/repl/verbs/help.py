"""``help``: the commands and steps."""

from __future__ import annotations

from collections.abc import Sequence

from ....compiler.diagnostics import UnspoolError
from ..command import Command, Reply
from ..session import Session


def run(session: Session, words: Sequence[str]) -> Reply:
    """All commands with an example each, or what a command or step does. Raises UnspoolError for one that is none."""
    from ....backends.explain_text import table
    from ..commands import ALIASES, COMMANDS

    if not words:
        rows = [(c.usage, c.example, c.does) for c in COMMANDS.values()]
        rest = "Anything else is a step of a schedule: tile i0 32; `help STEP` tells what one does, `help steps` lists them."
        return Reply("\n".join([*table([("command", "example", ""), *rows]), rest]))
    name = ALIASES.get(words[0], words[0])
    if name in COMMANDS:
        found = COMMANDS[name]
        return Reply(f"{found.usage}\n  {found.does}\n  example: {found.example}")
    return _step(name)


def _step(name: str) -> Reply:
    from ....compiler.loops.arguments import usage
    from ....compiler.loops.schedule import STEPS

    if name == "steps":
        return Reply("\n".join(usage(step, can) for step, (_, can) in STEPS.items()), "schedule")
    if name not in STEPS:
        raise UnspoolError(f"there is no command or step `{name}`: `help` and `help steps` list them")
    made, can = STEPS[name]
    words = [line[4:] if line.startswith("    ") else line for line in (made.__doc__ or "").strip().splitlines()]
    return Reply("\n".join([usage(name, can), *(f"  {line}".rstrip() for line in words)]))


COMMAND = Command(
    "help", "help [COMMAND|STEP|steps]", "What there is, with an example each; what a command or a step does.", "help tile", run, ("command",), 1
)
