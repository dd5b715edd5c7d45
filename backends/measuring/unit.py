"""Several candidates as one C file: what they have in common is compiled once."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from ...compiler.diagnostics import CompileError
from ...compiler.loops.scan import scan
from ...compiler.loops.scheduled import Scheduled
from ...compiler.target import Machine
from ..build import COMPILE_SECONDS, execute, find_compiler, flags
from ..emit import emit_together


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
