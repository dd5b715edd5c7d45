"""``load``: read a program, again or another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ....compiler import options
from ....compiler.diagnostics import DataError, ProgramError
from ...api import stdlib_names
from ..command import Command, Reply, path_of
from ..session import Session
from ..state import Opened, State, open_program


def run(session: Session, words: Sequence[str]) -> Reply:
    """Raises UnspoolError for a file that cannot be read, or has no such algorithm."""
    state = session.state
    file, _, name = (words[0] if words else ":").partition(":") if not words or ":" in words[0] else (words[0], "", "")
    if not words or not file:  # the same file, as it is now
        opened = open_program(state.program.path)
        name = name or state.algorithm
        state = replace(state, opened=opened, algorithm=_algorithm(opened, name)) if name == state.algorithm else State(
            opened, _algorithm(opened, name), options=state.options
        )  # fmt: skip
    else:
        opened = open_program(_path(file))
        state = State(opened, _algorithm(opened, name), options=state.options)
    before = session.state.opened
    return Reply(told(state, new=before is None or before.errors != state.program.errors), state=state)


def told(state: State, *, new: bool) -> str:
    """What a program has, and what is wrong with it, in full if that is ``new``."""
    opened = state.program
    has = ", ".join([*opened.handles, *(f"{name} (has errors)" for name in opened.faulty)])
    lines = [f"{opened.path}: {has or 'no algorithm'}"]
    if opened.errors and not new:
        lines.append("it has errors: `check` shows them")
    elif opened.errors:
        lines += [str(ProgramError(opened.errors)), "what has no error can be looked at; `program` shows the text, `load` reads it again"]
    if state.algorithm in opened.handles:
        lines.append(repr(state.handle)[1:-1])
    return "\n".join(lines)


def _path(file: str) -> Path:
    path = path_of(file, "load lasso.us:ista")
    known = options.stdlib_folder() / f"{file}.us"
    if not path.is_file() and file.isidentifier() and known.is_file():
        return known
    if not path.is_file():
        raise DataError(f"there is no file {file!r}, and no program of the standard library; these are {', '.join(stdlib_names())}")
    return path


def _algorithm(opened: Opened, name: str) -> str:
    """The algorithm to look at: the named one, or the first."""
    known = [*opened.handles, *opened.faulty]
    if name and name not in known and not (opened.errors and not known):
        raise DataError(f"{opened.path} has no algorithm {name!r}; it has {', '.join(known) or 'none'}")
    return name or next(iter(known), "")


COMMAND = Command(
    "load", "load [FILE][:ALG]", "Read a program, of a file or of the standard library; without a name, the present one as it is now.",
    "load lasso.us:ista", run, ("file",), 1,
)  # fmt: skip
