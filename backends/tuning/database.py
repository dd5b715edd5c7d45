"""What tuning found, as a file of JSON lines that later compiles read.

Lines are only ever added, under a lock, so that processes may tune at the same time; what several lines say of one kernel, the fastest of the
latest format says last. A line that is cut off or makes no sense is passed over, with a warning: nothing else is lost.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from filelock import FileLock, Timeout

from ...compiler import options
from ...compiler.diagnostics import DataError
from ...compiler.loops.text import print_nest
from ...compiler.search.draft import Task

FORMAT = 1
#: How long a process waits for another that is writing.
_PATIENCE = 20.0


@dataclass(frozen=True)
class Tuned:
    """The fastest schedule known of one kernel (of one problem, or of a batch tile): ``key`` tells the loops, the target and the machine,
    ``start`` are the seconds of the best schedule that nobody had to search for, ``measured`` is how many were measured."""

    key: str
    name: str
    target: str
    machine: str
    schedule: str
    seconds: float
    start: float
    measured: int
    format: int = FORMAT


class Database:
    """The file at ``path``, read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int] | None = None
        self._found: dict[str, Tuned] = {}

    def find(self, key: str) -> Tuned | None:
        """What is known of a kernel."""
        return self.entries().get(key)

    def entries(self) -> dict[str, Tuned]:
        """The fastest of every kernel."""
        try:
            status = os.stat(self.path)
        except OSError:
            return {}
        state = (status.st_mtime_ns, status.st_size)
        if state != self._seen:
            self._found, self._seen = {}, state
            try:
                self._found = fastest(read(self.path))
            except DataError as error:
                warnings.warn(f"{error}; schedules are chosen without it", stacklevel=2)
        return self._found

    def add(self, entries: Iterable[Tuned]) -> None:
        """Write lines behind those that are there. Raises DataError, with the file as it was, if that cannot be done."""
        text = "".join(json.dumps(asdict(entry)) + "\n" for entry in entries)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_name(self.path.name + ".lock"), timeout=_PATIENCE):
                _append(self.path, text)
        except Timeout:
            raise DataError(f"another process has been writing {self.path} for {_PATIENCE:.0f} s: what was tuned is not remembered") from None
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror or error}; what was tuned is not remembered") from None


def _append(path: Path, text: str) -> None:
    """Add to a file, whole or not at all; a line that was cut off before is closed."""
    with path.open("a+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            text = text if file.read(1) == b"\n" else "\n" + text
        try:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.truncate(path, size)
            raise


def read(path: Path) -> Iterator[Tuned]:
    """The lines of a file. Raises DataError if it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    passed: list[int] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        entry = _parsed(line)
        if entry is None:
            passed.append(number)
        elif entry.format <= FORMAT:
            yield entry
    if passed:
        some = ", ".join(map(str, passed[:5])) + (", ..." if len(passed) > 5 else "")
        warnings.warn(f"{path}: {len(passed)} line(s) that make no sense are passed over (line {some})", stacklevel=2)


def _parsed(line: str) -> Tuned | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    kinds = {field.name: field.type for field in fields(Tuned)}
    known = {name: found.get(name) for name in kinds}
    for name, kind in kinds.items():
        value = known[name]
        wanted = {"str": str, "int": int, "float": (int, float)}[str(kind)]
        if not isinstance(value, wanted) or isinstance(value, bool):  # type: ignore[arg-type]
            return None
    made = Tuned(**known)  # type: ignore[arg-type]
    return made if made.seconds > 0 and made.start > 0 else None


def fastest(entries: Iterable[Tuned]) -> dict[str, Tuned]:
    """The fastest of every kernel."""
    found: dict[str, Tuned] = {}
    for entry in entries:
        known = found.get(entry.key)
        if known is None or entry.seconds < known.seconds:
            found[entry.key] = entry
    return found


def key_of(task: Task, target: str, machine: str) -> str:
    """What tells a kernel from others: its loops before any schedule, what is allowed, the target, the machine."""
    parts = (print_nest(task.nest), task.strict, task.tile, target, machine, repr(task.machine))
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:32]


_open: dict[Path, Database] = {}


def database() -> Database | None:
    """The database that the options name; None where it is off."""
    path = options.current.tuned
    return None if path is None else _open.setdefault(path, Database(path))
