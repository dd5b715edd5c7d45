"""The options of :mod:`.compile_options` as flags of a command."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import Field, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from ..compiler.diagnostics import DataError
from . import complete
from .compile_options import NAMES, CompileOptions

#: The schedule that stands for program order.
PROGRAM_ORDER = "none"


def takes_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command a flag for every option; its parameter ``flags`` gets their values, for :func:`read`."""
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.name != "flags"]
    parameters = [*own, *map(_flag, fields(CompileOptions))]

    @wraps(command)
    def wrapped(**given: Any) -> Any:
        flags = {name: given.pop(name) for name in NAMES}
        return command(**given, flags=flags)

    wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {**{p.name: p.annotation for p in parameters}, "return": signature.return_annotation}
    return wrapped


def _flag(option: Field[Any]) -> inspect.Parameter:
    meta = option.metadata
    kind: Any = bool if option.default is False else str
    short = [meta["short"]] if "short" in meta else []
    completed = {"target": complete.targets, "schedule": complete.paths}.get(option.name)
    info = typer.Option(f"--{option.name}", *short, help=meta["help"], autocompletion=completed)
    annotation: Any = Annotated[kind | None if option.default is None else kind, info]
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=annotation)


def changed(flags: dict[str, Any]) -> list[str]:
    """The options that are not left at their defaults, as they are written."""
    return [f"--{option.name}" for option in fields(CompileOptions) if flags[option.name] != option.default]


def read(flags: dict[str, Any]) -> CompileOptions:
    """The options that flags ask for; a schedule comes as the path of a file, ``-`` (standard input) or ``none``. Raises DataError."""
    place = flags["schedule"]
    if place is None or place == PROGRAM_ORDER:
        return CompileOptions(**{**flags, "schedule": None if place is None else ""})
    try:
        steps = sys.stdin.read() if place == "-" else Path(place).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        hint = "" if Path(place).exists() else f" (program order is --schedule {PROGRAM_ORDER})"
        raise DataError(f"cannot read the schedule {place}: {reason}{hint}") from None
    return CompileOptions(**{**flags, "schedule": steps})
