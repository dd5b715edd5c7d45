"""The stages of a compiled kernel as texts and as files: what ``dsl compile --emit`` and the REPL show and write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..compiler.diagnostics import UnspoolError
from ..compiler.nearest import did_you_mean

if TYPE_CHECKING:
    from ..backends.kernel import Kernel

#: Stages by name, and what their files end in; that of the source is the target's.
SUFFIXES = {
    "graph": ".graph",
    "loops": ".loops",
    "dependences": ".dependences",
    "schedule": ".schedule",
    "steps": ".steps",
    "tree": ".tree",
    "source": "",
    "c": ".c",
    "asm": ".s",
    "explain": ".txt",
}


def wanted_stages(emit: str | None) -> list[str]:
    """The stages that ``--emit`` names, with commas between. Raises BadParameter for one that is none."""
    wanted = [word.strip() for word in (emit or "").split(",") if word.strip()]
    unknown = [word for word in wanted if word not in SUFFIXES]
    if unknown:
        raise typer.BadParameter(
            f"{unknown[0]!r} is none of {', '.join(SUFFIXES)}{did_you_mean(unknown[0], SUFFIXES)}", param_hint="--emit"
        )
    return wanted


def stage_text(kernel: Kernel, stage: str, *, plain: bool = False) -> str:
    """One stage of a kernel; ``plain``: C is that of the untransformed program, for other compilers."""
    if stage == "explain":
        return kernel.explain()
    if stage in ("source", "c"):
        return kernel.plain if plain and kernel.suffix == "c" else kernel.source
    text: str = getattr(kernel, stage)
    return text


def stage_file(kernel: Kernel, stage: str, name: str) -> str:
    """What the file of a stage is called."""
    return name + (f".{kernel.suffix}" if stage == "source" else SUFFIXES[stage])


def write(path: Path, text: str) -> None:
    """Write a file, and the folders it lies in. Raises UnspoolError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UnspoolError(f"cannot write {path}: {error.strerror}") from None
