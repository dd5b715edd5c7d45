"""What the shell may complete: programs and their algorithms, targets, stages. Nothing is compiled for it, and no torch imported."""

from __future__ import annotations

import os
from pathlib import Path

from ..compiler.diagnostics import UnspoolError


def paths(typed: str) -> list[str]:
    """Files and folders that begin as what was typed; folders end in a slash."""
    whole = Path(typed).expanduser()
    folder, begun = (whole, "") if typed.endswith("/") or not typed else (whole.parent, whole.name)
    shown = typed[: typed.rfind("/") + 1]
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.is_dir()) for entry in entries if entry.name.startswith(begun or "") and not entry.name.startswith(".")]
    except (OSError, ValueError):  # no such folder, or no name of one
        return []
    return sorted(f"{shown}{name}{'/' if is_folder else ''}" for name, is_folder in found)


def algorithms(file: str) -> list[str]:
    """The algorithms of a program that have no error, in order."""
    from .program import examine_file

    try:
        return list(examine_file(file)[0].algorithms)
    except (UnspoolError, ValueError):  # it cannot be read
        return []


def programs(incomplete: str) -> list[str]:
    """Files that end in ``.us``, and folders; behind a colon the algorithms."""
    file, colon, begun = incomplete.rpartition(":")
    if colon:
        return [f"{file}:{name}" for name in algorithms(file) if name.startswith(begun)]
    return [path for path in paths(incomplete) if path.endswith((".us", "/"))]


def stages(incomplete: str) -> list[str]:
    """Stages behind ``--emit``, several with commas between."""
    from .stages import SUFFIXES

    before, comma, begun = incomplete.rpartition(",")
    return [f"{before}{comma}{stage}" for stage in SUFFIXES if stage.startswith(begun)]


def targets(incomplete: str) -> list[str]:
    """Targets by name."""
    from ..backends.registry import NAMES

    return [name for name in ("cpu", *NAMES) if name.startswith(incomplete)]
