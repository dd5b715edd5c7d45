"""The conversation: at a terminal with colours, completion and history, else line by line from a pipe."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from ...compiler import options
from ..lexers import lexer
from .answer import answer
from .command import Reply
from .session import Session

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import History
    from prompt_toolkit.input import Input
    from prompt_toolkit.output import Output


def run(program: str | None) -> bool:
    """Talk until the end of the input; whether no line was refused."""
    session = Session()
    if sys.stdin.isatty():
        talk(session, program)
        return True
    read(session, [*([] if program is None else [f"load {quoted(program)}"]), *()], sys.stdin)
    return not session.failed


def quoted(program: str) -> str:
    """A file's name as a word of a line."""
    return f'"{program}"' if " " in program else program


def read(session: Session, first: Iterable[str], lines: Iterable[str]) -> None:
    """Answer the lines of a pipe; each is printed before its answer, so that what comes out can be read as a conversation."""
    for source in (first, lines):
        for line in source:
            if not line.strip():
                continue
            print(f"{session.prompt}{line.rstrip()}")
            reply = answered(session, line)
            if reply.text:
                print(reply.text)
            sys.stdout.flush()
            if reply.done:
                return


def said(session: Session, line: str) -> Reply:
    """The answer at a terminal: Ctrl-C while something is compiled leaves everything as it was."""
    try:
        return answered(session, line)
    except KeyboardInterrupt:
        return Reply("error: stopped", failed=True)


def answered(session: Session, line: str) -> Reply:
    """The answer; a fault of ours is a message, not the end."""
    try:
        return answer(session, line)
    except Exception as error:
        session.failed = True
        if options.current.debug:
            raise
        text = " ".join(str(error).split())
        return Reply(f"internal error: {type(error).__name__}: {text}\n  UNSPOOL_DEBUG=1 ends with the traceback; please report it", failed=True)


def talk(session: Session, program: str | None, *, input: Input | None = None, output: Output | None = None) -> None:
    """A conversation at a terminal."""
    from prompt_toolkit.patch_stdout import patch_stdout

    console = Console(highlight=False, soft_wrap=True)
    prompt = prompter(session, input, output)
    if program is not None:
        show(console, said(session, f"load {quoted(program)}"))
    else:
        console.print("`load FILE` reads a program, `help` lists the commands.", style="dim")
    start: list[threading.Thread] = []

    def background() -> None:
        """What takes long to import comes while the user types."""
        if not start:
            start.append(threading.Thread(target=_imports, daemon=True))
            start[0].start()

    while True:
        try:
            with patch_stdout():
                line = prompt.prompt(session.prompt, pre_run=background)
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        for thread in start:  # what it imports is used from here on
            thread.join()
        reply = said(session, line)
        show(console, reply)
        if reply.done:
            return


def prompter(session: Session, input: Input | None = None, output: Output | None = None) -> PromptSession[str]:
    """What reads a line."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
    from prompt_toolkit.lexers import PygmentsLexer

    from ..lexers import ScheduleLexer
    from .complete import LineCompleter

    return PromptSession(
        history=_history(options.current.history),
        completer=LineCompleter(session),
        complete_while_typing=False,
        auto_suggest=AutoSuggestFromHistory(),
        lexer=PygmentsLexer(ScheduleLexer),
        enable_history_search=True,
        input=input,
        output=output,
    )


def show(console: Console, reply: Reply) -> None:
    """Print an answer, highlighted where the terminal has colours."""
    if not reply.text:
        return
    known = None if reply.failed or not reply.language else lexer(reply.language)
    if known is None:
        console.print(Text(reply.text, style="red" if reply.failed else ""))
        return
    console.print(Syntax("", known, theme="ansi_dark", background_color="default").highlight(reply.text), end="")


def _history(path: Path | None) -> History:
    """Lines of earlier sessions, kept in a file where there may be one."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    if path is None:
        return InMemoryHistory()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            return FileHistory(str(path))
    except OSError:
        return InMemoryHistory()  # no place to write: lines of this session are kept


def _imports() -> None:
    from .. import session  # noqa: F401
