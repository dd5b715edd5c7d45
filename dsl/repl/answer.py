"""What a line yields: a command, or steps of a schedule."""

from __future__ import annotations

import shlex

from ...compiler.diagnostics import ProgramError, UnspoolError
from ...compiler.nearest import nearest
from .command import Reply
from .commands import ALIASES, COMMANDS
from .session import Session
from .step import take_steps


def answer(session: Session, line: str) -> Reply:
    """A result, or one message that says what is wrong with the line; the session goes on from there."""
    try:
        found = _reply(session, line)
    except UnspoolError as error:
        prefix = "" if isinstance(error, ProgramError) else "error: "
        found = Reply(f"{prefix}{error}", failed=True)
    if found.state is not None and found.state != session.state:
        if not found.undone:
            session.past.append((line.strip(), session.state))
        session.state = found.state
    session.failed |= found.failed
    return found


def _reply(session: Session, line: str) -> Reply:
    first = line.split("#")[0].replace(";", " ").split()
    if not first:
        return Reply()
    name = ALIASES.get(first[0], first[0])
    if name in COMMANDS:
        return COMMANDS[name](session, _words(line)[1:])
    from ...compiler.loops.schedule import STEPS

    if name in STEPS or name == "batch":
        return take_steps(session, line)
    near = nearest(name, [*COMMANDS, *STEPS])
    hint = f"did you mean `{near}`?" if near else "`help` lists the commands"
    raise UnspoolError(f"there is no command or step `{name}`: {hint}")


def _words(line: str) -> list[str]:
    """The words of a command; quotes hold a file name with spaces together, ``#`` starts a comment. Raises UnspoolError."""
    try:
        return shlex.split(line, comments=True)
    except ValueError as error:
        raise UnspoolError(f"the line cannot be read: {str(error).lower()}") from None
