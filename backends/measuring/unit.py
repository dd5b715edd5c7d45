"""Several candidates as one C file: what they have in common is compiled once. Several such files at a time."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...compiler.diagnostics import CompileError
from ...compiler.loops.scan import scan
from ...compiler.loops.scheduled import Scheduled
from ...compiler.target import Machine
from ..build import COMPILE_SECONDS, execute, find_compiler, flags
from ..emit import emit_together

#: Candidates in one C file.
TOGETHER = 4


@dataclass(frozen=True)
class Built:
    """The function of one candidate in a shared object."""

    path: Path
    name: str


@dataclass(frozen=True)
class Refused:
    """What the C compiler said of a candidate that it does not take."""

    why: str


def build_all(
    programs: Sequence[tuple[str, Scheduled]], machine: Machine, folder: Path, *, strict: bool = False, together: int = TOGETHER, processes: int = 1
) -> list[Built | Refused]:
    """The libraries of programs, as functions of these names, in a folder; so many ``processes`` of the compiler run at a time."""
    units = [programs[at : at + together] for at in range(0, len(programs), together)]
    with ThreadPoolExecutor(max(1, processes)) as pool:
        made = list(pool.map(partial(_unit, machine, folder, strict), units))
    return [built for unit in made for built in unit]


def _unit(machine: Machine, folder: Path, strict: bool, unit: Sequence[tuple[str, Scheduled]]) -> list[Built | Refused]:
    """Of some programs together; if that fails, of each alone."""
    try:
        library = compile_unit(source_of(unit, machine, strict=strict), folder, unit[0][0])
    except CompileError as error:
        if len(unit) > 1:
            return [built for one in unit for built in _unit(machine, folder, strict, [one])]
        return [Refused(str(error))]
    return [Built(library, name) for name, _ in unit]


def source_of(programs: Sequence[tuple[str, Scheduled]], machine: Machine, *, strict: bool = False) -> str:
    """The C source of several programs as functions of these names. Raises CompileError."""
    return emit_together([scan(scheduled, name) for name, scheduled in programs], machine, strict=strict)


def compile_unit(source: str, folder: Path, name: str) -> Path:
    """The shared object of a source, in a folder. Raises CompileError if the compiler fails or does not end in time."""
    command = [*shlex.split(find_compiler()), *flags(64), "-fopenmp", f"{name}.c", "-o", f"{name}.so", "-lm"]
    try:
        (folder / f"{name}.c").write_text(source, encoding="utf-8")
    except OSError as error:
        raise CompileError(f"cannot write the source of a kernel: {error}; set TMPDIR to a folder with room") from None
    code, out, err = execute(command, folder, COMPILE_SECONDS)
    if code:
        raise CompileError(f"the C compiler failed ({shlex.join(command)}):\n{err.strip() or out.strip() or f'exit code {code}'}")
    return folder / f"{name}.so"
