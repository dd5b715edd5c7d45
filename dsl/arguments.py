"""What the arguments of a command mean: an algorithm, sizes, counts. Each raises BadParameter, naming the option, for what makes no sense."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..compiler.nearest import did_you_mean

if TYPE_CHECKING:
    from .api import AlgorithmHandle


def named_algorithm(program: str) -> AlgorithmHandle:
    """The algorithm that ``FILE:ALG`` names."""
    from .api import load

    file, name = file_and_name(program)
    handles = {h.algorithm.name: h for h in load(Path(file))}
    if not name and len(handles) == 1:
        return next(iter(handles.values()))
    if name not in handles:
        known = ", ".join(handles) or "none"
        said = (
            f"{file} has no algorithm {name!r}; it has {known}{did_you_mean(name, handles)}"
            if name
            else f"name one of the algorithms, as {file}:NAME: {known}"
        )
        raise typer.BadParameter(said, param_hint="FILE:ALG")
    return handles[name]


def file_and_name(program: str) -> tuple[str, str]:
    """The file, which is there, and the name behind it, if any."""
    file, _, name = program.rpartition(":") if ":" in program else (program, "", "")
    if not Path(file).is_file():
        from .api import files_beside

        near = did_you_mean(Path(file).name, files_beside(Path(file)))
        raise typer.BadParameter(f"there is no file {file!r}{near}", param_hint="FILE:ALG")
    return file, name


def input_values(handle: AlgorithmHandle, specs: Sequence[str] | None) -> dict[str, Any]:
    """The values of inputs that ``--input`` options name. Raises DataError."""
    from .data import read_inputs

    return read_inputs(specs or [], [i.name for i in handle.algorithm.inputs])


def iteration_counts(handle: AlgorithmHandle, text: str | None) -> dict[str, int]:
    """Iteration counts from ``50`` (the only count, or the one called K) or ``K=50,J=3``."""
    if not text:
        return {}
    known = [n for n, _ in handle.algorithm.iterations]
    if "=" not in text:
        name = known[0] if len(known) == 1 else "K"
        text = f"{name}={text}"
    pairs = size_pairs(text, "-K")
    for name in pairs:
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise typer.BadParameter(f"{handle.algorithm.name} has no iteration count {name!r}; {has}", param_hint="-K")
    return pairs


def size_pairs(text: str | None, option: str) -> dict[str, int]:
    """``m=250,n=500`` as a dict."""
    found: dict[str, int] = {}
    for part in (text or "").split(","):
        if not part.strip():
            continue
        name, _, value = part.partition("=")
        found[name.strip()] = _positive(value, option, 1)
    return found


def leading_shape(text: str) -> tuple[int, ...]:
    """``8,4`` as a shape."""
    return tuple(_positive(part, "--batch", 0) for part in text.split(",") if part.strip())


def _positive(text: str, option: str, least: int) -> int:
    if not text.strip().isdecimal() or int(text) < least:
        raise typer.BadParameter(f"{text.strip()!r} is not an integer of at least {least}", param_hint=option)
    return int(text)
