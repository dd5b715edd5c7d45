"""Temporary folders that leave no litter: one belongs to a process, and whoever comes later removes those of dead processes.

A folder holds a file ``lock`` that its process keeps locked. The system releases the lock when the process ends, however
it ends, so a folder whose lock can be taken is nobody's.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from ..compiler.diagnostics import CompileError

fcntl: Any
try:
    import fcntl
except ImportError:  # no such locks on this system: folders of killed processes stay
    fcntl = None

PREFIX = "unspool-"
#: A folder or file younger than this may be one that its process is just making.
YOUNG = 60.0


class Scratch:
    """A temporary folder, removed by :meth:`close`, at the end of the process, or by a later process.

    Raises CompileError where there is no place for temporary files.
    """

    def __init__(self, kind: str) -> None:
        self._owner = os.getpid()
        try:
            sweep(tempfile.gettempdir())
            self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{kind}-"))
            self._lock: IO[str] = (self.path / "lock").open("w", encoding="ascii")
            if fcntl is not None:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CompileError(f"no place for temporary files: {error}; set TMPDIR to a folder that can be written") from None
        atexit.register(self.close)

    def close(self) -> None:
        """Remove the folder; in a process forked from the owner, leave it."""
        atexit.unregister(self.close)
        if os.getpid() == self._owner:
            shutil.rmtree(self.path, ignore_errors=True)
            self._lock.close()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()


@lru_cache(maxsize=16)
def sweep(folder: str) -> None:
    """Remove folders of dead processes from the folder of temporary files; once per process."""
    if fcntl is None:
        return
    for path in Path(folder).glob(f"{PREFIX}*-*"):
        try:
            if time.time() - path.stat().st_mtime < YOUNG:
                continue
            with (path / "lock").open("r+", encoding="ascii") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue  # in use, another user's, or being removed by somebody else


def remove_old(folder: Path, pattern: str, seconds: float = 3600.0) -> None:
    """Remove files that match and were last written long ago: what processes killed while writing have left."""
    for path in folder.glob(pattern):
        try:
            if time.time() - path.stat().st_mtime > seconds:
                path.unlink()
        except OSError:
            continue


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that other processes see whole or not at all, making its folder. Raises OSError, and leaves nothing then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
