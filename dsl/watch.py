"""What ``dsl watch`` does: compile a program, and again whenever its file, or one that it uses, was saved."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..compiler.diagnostics import ProgramError, UnspoolError
from .program import examine_file

#: Seconds between two looks at the files.
LOOK = 0.2

#: When a file was written, and its size; None for one that is not there.
Stamp = tuple[int, int] | None


def watch(file: Path, make: Callable[[], str], say: Callable[[str], None], *, rounds: int | None = None) -> None:
    """Say what ``make`` gives or what is wrong, then after each change of a file what is different; so many ``rounds`` (None: for ever)."""
    before: str | None = None
    for n, _ in enumerate(saves(lambda: used(file))):
        now = time.strftime("%H:%M:%S")
        start = time.perf_counter()
        try:
            text = make()
        except UnspoolError as error:
            say(f"{now} {file}: {'' if isinstance(error, ProgramError) else 'error: '}\n{error}")
        else:
            took = f"{now} {file}: compiled in {time.perf_counter() - start:.2f} s"
            lines = [] if before is None else list(difflib.unified_diff(before.splitlines(), text.splitlines(), "before", "now", lineterm="", n=1))
            say("\n".join([took, *([text] if before is None else lines or ["nothing is different"])]) if text else took)
            before = text
        if n + 1 == rounds:
            return


def saves(files: Callable[[], Iterable[Path]]) -> Iterator[None]:
    """Once at the beginning, then after each change of one of the files, which are asked for anew every time."""
    while True:
        stamps = {path: stamp(path) for path in files()}
        yield
        while all(stamp(path) == known for path, known in stamps.items()):
            time.sleep(LOOK)


def stamp(path: Path) -> Stamp:
    """What is different once a file was written again. An editor may take it away for a moment, and put another in its place."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def used(file: Path) -> list[Path]:
    """A program's file and those it uses, as far as they can be read."""
    try:
        checked, _ = examine_file(file)
    except ProgramError:
        return [file]
    return [file, *(Path(scope.source.name) for scope in checked.scope.project if Path(scope.source.name).is_file())]
