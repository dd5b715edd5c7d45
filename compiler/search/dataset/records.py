"""The file of a dataset: JSON lines, gzip, one member for each time that something was added.

Three kinds of lines, each a dataclass here: a machine, a program, and a point, which is one schedule of a program measured on a
machine. A file grows by whole members, so that what was there is never written again. One that was cut off in the middle is read up to
its last whole line, and so is each damaged member; what was passed over is told in ``Dataset.faults``.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from ...diagnostics import UnspoolError

fcntl: Any
try:
    import fcntl
except ImportError:  # no such locks on this system: that nobody else writes is up to the user
    fcntl = None

#: Of the lines; a file of another format is refused.
FORMAT = 1
_MAGIC = b"\x1f\x8b\x08"


class DatasetError(UnspoolError):
    """A dataset that cannot be read or written."""


@dataclass(frozen=True)
class MachineFacts:
    """A machine that measured. ``id`` stands for all that changes times; ``facts`` as JSON has them: ``processor``, ``compiler`` and the like,
    ``machine`` (the fields of :class:`~...target.Machine`: bytes, numbers) and ``limits`` (operations and bytes per second by level)."""

    id: str
    facts: Mapping[str, Any]
    format: int = FORMAT


@dataclass(frozen=True)
class Program:
    """A program. ``nest`` is the text of the untransformed nest (:func:`~...loops.text.parse_nest`), ``sizes`` the values of its parameters
    (those of iteration counts), ``source`` the program in the language, made from ``seed``, or empty. ``key`` stands for nest and sizes."""

    key: str
    seed: int
    family: str
    nest: str
    sizes: Mapping[str, int]
    dtype: str
    source: str = ""


@dataclass(frozen=True)
class Point:
    """A schedule (the text of its steps) and what it makes of the program (the text of the scheduled nest), by ``origin`` (who made it up).

    ``seconds`` are the least and the median of one call on all cores of the machine; ``again`` the same from a second measurement in a process
    and memory of its own, empty where there was none. ``status``: ``ok``, or ``crashed``, ``timeout``, ``refused`` (it did not compile) and
    ``wrong`` (other results than program order, a fault of the compiler); ``seconds`` are empty then.
    """

    program: str
    machine: str
    schedule: str
    nest: str
    seconds: tuple[float, ...] = ()
    again: tuple[float, ...] = ()
    status: str = "ok"
    origin: str = ""


Record = MachineFacts | Program | Point
_KINDS: dict[str, type[Record]] = {"machine": MachineFacts, "program": Program, "point": Point}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def program_key(nest: str, sizes: Mapping[str, int]) -> str:
    """What stands for a program: the hash of its nest and its sizes."""
    return sha256(json.dumps([nest, dict(sorted(sizes.items()))]).encode()).hexdigest()[:16]


@dataclass
class Dataset:
    """All of a file. Of points with the same program, machine and schedule the last one counts. ``faults``: what was passed over, and why."""

    machines: dict[str, MachineFacts] = field(default_factory=dict)
    programs: dict[str, Program] = field(default_factory=dict)
    table: dict[tuple[str, str, str], Point] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def points(self) -> list[Point]:
        """Every point, in the order in which they were added."""
        return list(self.table.values())

    def by_program(self) -> dict[str, list[Point]]:
        """Points by the key of their program."""
        found: dict[str, list[Point]] = {key: [] for key in self.programs}
        for point in self.table.values():
            found.setdefault(point.program, []).append(point)
        return found

    def add(self, record: Record) -> None:
        """Put one record in."""
        if isinstance(record, MachineFacts):
            self.machines[record.id] = record
        elif isinstance(record, Program):
            self.programs[record.key] = record
        else:
            self.table[record.program, record.machine, record.schedule] = record


# -- lines -----------------------------------------------------------------------------------------------------------


def line(record: Record) -> str:
    """A record as a line of JSON, without its end."""
    return json.dumps({"kind": _NAMES[type(record)], **asdict(record)}, separators=(",", ":"))


def parse_line(text: str) -> Record | None:
    """The record in a line; None for a kind that this version does not know. Raises ValueError for what is no record."""
    found = json.loads(text)
    if not isinstance(found, dict) or not isinstance(found.get("kind"), str):
        raise ValueError("it is no record")
    kind = _KINDS.get(found["kind"])
    if kind is None:
        return None
    known = {f.name for f in fields(kind)}
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in found.items() if k in known}
    try:
        return kind(**values)
    except TypeError:
        raise ValueError(f"a {found['kind']} without all that belongs to it") from None


# -- reading ---------------------------------------------------------------------------------------------------------


def read(path: str | os.PathLike[str]) -> Dataset:
    """The dataset in a file. Raises DatasetError if it cannot be read, or is no dataset of this format."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}") from None
    return _parsed(data, path)[0]


def _parsed(data: bytes, path: Path) -> tuple[Dataset, int, list[str]]:
    """The dataset in the bytes of a file, where its last whole member ends, and the whole lines behind that."""
    if data and not data.startswith(_MAGIC):
        raise DatasetError(f"{path} is no dataset: it is not compressed by gzip")
    found, end, behind = Dataset(), 0, list[str]()
    for content, start, stop, whole in _members(data):
        *lines, rest = content.decode("utf-8", "replace").split("\n")
        kept = [text for text in lines if _take(found, text, path)]
        if whole:
            end, behind = stop, []
        else:
            behind += kept
            lost = f", and {len(rest)} characters of a line are lost" if rest else ""
            found.faults.append(f"{path}: what was added at byte {start} breaks off after {len(kept)} lines{lost}")
    return found, end, behind


def _take(found: Dataset, text: str, path: Path) -> bool:
    """Whether a line is a record, which is put in then."""
    try:
        record = parse_line(text)
    except ValueError as error:
        found.faults.append(f"{path}: a line is passed over: {error}")
        return False
    if isinstance(record, MachineFacts) and record.format != FORMAT:
        raise DatasetError(f"{path} has format {record.format}, and this version reads format {FORMAT}: collect it anew")
    if record is not None:
        found.add(record)
    return True


def _members(data: bytes) -> Iterator[tuple[bytes, int, int, bool]]:
    """Content, first byte and end of every member, and whether it is whole; of a damaged one what comes before the damage."""
    at = 0
    while 0 <= at < len(data):
        reader = zlib.decompressobj(wbits=31)
        content, sound = b"", True
        try:
            for start in range(at, len(data), 1 << 16):  # by parts: what comes before the damage is kept
                content += reader.decompress(data[start : start + (1 << 16)])
                if reader.eof:
                    break
        except zlib.error:
            sound = False
        if sound and reader.eof:
            stop = start + min(1 << 16, len(data) - start) - len(reader.unused_data)
            yield content, at, stop, True
            at = stop
            continue
        behind = data.find(_MAGIC, at + 1)
        yield content, at, behind if behind >= 0 else len(data), False
        at = behind


# -- writing ---------------------------------------------------------------------------------------------------------


class Writer:
    """A dataset that grows; no other process can write to the file meanwhile. ``found`` is what it had before.

    Raises DatasetError if the file is another process's, or there is one already and ``resume`` is false.
    """

    def __init__(self, path: str | os.PathLike[str], *, resume: bool) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file: IO[bytes] = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise DatasetError(f"cannot write {self.path}: {error.strerror}") from None
        try:
            self._begin(resume)
        except BaseException:
            self.file.close()
            raise

    def _begin(self, resume: bool) -> None:
        if fcntl is not None:
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise DatasetError(f"another process is writing to {self.path}; let it end, or write to another file") from None
        self.file.seek(0)
        data = self.file.read()
        if data and not resume:
            raise DatasetError(f"{self.path} is there already: --resume adds to it")
        self.found, self.end, behind = _parsed(data, self.path)
        if self.end < len(data):
            os.ftruncate(self.file.fileno(), self.end)
            self._write("".join(f"{text}\n" for text in behind))

    def append(self, records: Iterable[Record]) -> None:
        """Add records, all or none. Raises DatasetError where there is no room; the file stays as it was then."""
        self._write("".join(f"{line(r)}\n" for r in records))

    def _write(self, text: str) -> None:
        if not text:
            return
        waiting = memoryview(gzip.compress(text.encode(), mtime=0))
        size = len(waiting)
        try:
            while waiting:
                waiting = waiting[self.file.write(waiting) or 0 :]
            os.fsync(self.file.fileno())
        except OSError as error:
            os.ftruncate(self.file.fileno(), self.end)
            said = f"cannot add to {self.path}: {error.strerror}; what it had before is kept, and --resume goes on from there"
            raise DatasetError(said) from None
        except BaseException:
            os.ftruncate(self.file.fileno(), self.end)
            raise
        self.end += size

    def close(self) -> None:
        """Let others write; a file that nothing was put into goes away."""
        if self.end == 0:
            self.path.unlink(missing_ok=True)
        self.file.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
