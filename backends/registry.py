"""Targets by name, and which of them can be used here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from ..compiler import options
from ..compiler.diagnostics import CompileError, DataError

if TYPE_CHECKING:
    from ..compiler.target import Target

#: Other names of targets.
ALIASES = {"cpu": "c", "interp": "interpreter"}
NAMES = ("c", "interpreter")


@dataclass(frozen=True)
class Availability:
    """Whether a target can be used here: ``reason`` says why not, or what it runs on."""

    name: str
    usable: bool
    reason: str


def canonical(name: str | None) -> str:
    """The target's own name; for None the one that ``UNSPOOL_TARGET`` asks for, else the best one that can be used here.

    Raises DataError for an unknown name.
    """
    wanted = name or options.current.target
    if not wanted:
        return "c" if availability("c").usable else "interpreter"
    wanted = ALIASES.get(wanted, wanted)
    if wanted not in NAMES:
        raise DataError(f"no target is called {wanted!r}; there are {', '.join(NAMES)}")
    return wanted


def target(name: str, *, strict: bool = False) -> Target | None:
    """The target of a canonical name; None is the interpreter. Raises CompileError if it cannot be used here."""
    if name == "interpreter":
        return None
    found = availability(name)
    if not found.usable:
        raise CompileError(f"target {name} cannot be used here: {found.reason}")
    from .cpu import CTarget

    return CTarget(strict=strict)


def availability(name: str) -> Availability:
    """Whether a target can be used on this machine."""
    if name == "interpreter":
        return Availability(name, True, "PyTorch, op by op; every dtype and device")
    return _compiler(options.current.compiler)


@cache
def _compiler(wanted: str) -> Availability:
    """Target ``c`` with the compiler that the switch names."""
    from .build import find_compiler

    try:
        return Availability("c", True, find_compiler())
    except CompileError as error:
        return Availability("c", False, str(error))
