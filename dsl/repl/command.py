"""What a verb is: its name, how it is written, one sentence, an example, and a function from a session and words to a reply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...compiler.diagnostics import UnspoolError
from .session import Session
from .state import State


@dataclass(frozen=True)
class Reply:
    """What a line yields: a text in a language of :mod:`~..lexers` (empty: plain), and the state from here on (None: as before).
    ``failed`` tells a message about what is wrong from a result; ``done`` ends the session, ``undone`` says that the state is an earlier one."""

    text: str = ""
    language: str = ""
    state: State | None = None
    failed: bool = False
    done: bool = False
    undone: bool = False


@dataclass(frozen=True)
class Command:
    """A verb. ``takes`` are the kinds of words that completion offers behind it: file, algorithm, size, option, target, schedule, kernel, command,
    or words themselves."""

    name: str
    usage: str
    does: str
    example: str
    run: Callable[[Session, Sequence[str]], Reply]
    takes: tuple[str, ...] = ()
    most: int = 0  # words it takes at most

    def __call__(self, session: Session, words: Sequence[str]) -> Reply:
        """Raises UnspoolError for too many words."""
        if len(words) > self.most:
            raise UnspoolError(f"{self.name} is written `{self.usage}`, as in `{self.example}`")
        return self.run(session, words)


def path_of(word: str, example: str) -> Path:
    """The path that a word is. Raises UnspoolError for none, with an ``example``, and for what cannot be one."""
    if not word:
        raise UnspoolError(f"name a file, as in `{example}`")
    try:
        path = Path(word).expanduser()
        path.exists()
        if "\0" in word:
            raise ValueError("it holds a null character")
    except (RuntimeError, ValueError, OSError) as error:
        raise UnspoolError(f"{word!r} is no path: {error}") from None
    return path


def pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """``n=500,m=250 K=30`` as pairs. Raises UnspoolError."""
    found = []
    for part in ",".join(words).split(","):
        if not part.strip():
            continue
        name, equals, value = part.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise UnspoolError(f"`{part.strip()}` is not NAME=VALUE")
        found.append((name.strip(), value.strip()))
    return found
