"""What ``dsl fmt`` does with files: finds them, formats them, and writes, compares or shows the result."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from difflib import unified_diff
from pathlib import Path

from ..compiler.diagnostics import ProgramError, UnspoolError
from .format import format_text, with_ends_of
from .uses import read_bytes, source_of


def format_files(paths: Iterable[Path], *, check: bool = False, diff: bool = False) -> bool:
    """Format files in place, and ``-`` from standard input to standard output.

    ``check`` and ``diff`` write no file: they list what would change, or show it. Errors are printed, and the other files
    are formatted all the same. True if there was no error and, with ``check``, nothing to change.
    """
    good, found = True, False
    for path in _programs(paths):
        found = True
        try:
            if isinstance(path, OSError):
                raise UnspoolError(f"cannot read {path.filename}: {path.strerror}")
            changed = _format_input(check, diff) if path == Path("-") else _format_file(path, check, diff)
        except UnspoolError as error:
            print(error if isinstance(error, ProgramError) else f"error: {error}", file=sys.stderr)
            good = False
            continue
        good = good and not (check and changed)
    if not found:
        print("no .us files there", file=sys.stderr)
    return good


def _programs(paths: Iterable[Path]) -> Iterator[Path | OSError]:
    """Each file once, those in folders in order; hidden folders, and links to folders, are passed over. An error stands
    for a folder that cannot be read."""
    seen: set[Path] = set()
    for path in paths:
        for file in _inside(path) if path.is_dir() else [path]:
            if isinstance(file, OSError):
                yield file
            elif file.resolve() not in seen:
                seen.add(file.resolve())
                yield file


def _inside(folder: Path) -> Iterator[Path | OSError]:
    errors: list[OSError] = []
    for where, folders, files in os.walk(folder, onerror=errors.append):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        yield from (Path(where, f) for f in sorted(files) if f.endswith(".us"))
    yield from errors


def _format_file(path: Path, check: bool, diff: bool) -> bool:
    raw = read_bytes(path)
    source = source_of(str(path), raw)
    made = _encoded(format_text(source), source.text)
    changed = made != raw
    if changed:
        if diff:
            _show(str(path), source.text, made)
        if check:
            print(f"would format {path}")
        elif not diff:
            _replace(path, made)
            print(f"formatted {path}")
    return changed


def _format_input(check: bool, diff: bool) -> bool:
    raw = sys.stdin.buffer.read()
    source = source_of("<stdin>", raw)
    made = _encoded(format_text(source), source.text)
    changed = made != raw
    if diff and changed:
        _show("<stdin>", source.text, made)
    if check and changed:
        print("would format <stdin>")
    if not check and not diff:
        sys.stdout.buffer.write(made)
        sys.stdout.buffer.flush()
    return changed


def _encoded(text: str, original: str) -> bytes:
    """UTF-8 without a byte order mark."""
    return with_ends_of(text, original).encode()


def _show(name: str, before: str, made: bytes) -> None:
    after = made.decode()
    for line in unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), name, f"{name} (formatted)"):
        print(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n", end="")


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that it is the old or the new one at any time; mode and owner stay. Raises UnspoolError."""
    target = path.resolve()  # a link stays a link
    try:
        if not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            shutil.copymode(target, name)
            _keep_owner(target, name)
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise UnspoolError(f"cannot write {path}: {error.strerror}") from None


def _keep_owner(target: Path, name: str) -> None:
    """The owner stays where we may choose it (who formats as root); elsewhere a file belongs to who writes it."""
    status = target.stat()
    if hasattr(os, "chown") and (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        with contextlib.suppress(PermissionError):
            os.chown(name, status.st_uid, status.st_gid)
