"""Every builtin: importing this fills the table."""

from __future__ import annotations

from ..operand import Builtin
from . import (
    constructors,
    contraction,
    derivatives,
    elementwise,
    linalg,
    randoms,
    reductions,
    selection,
    shaping,
    signals,
    solving,
)
from .table import BUILTINS, EXAMPLES

_MODULES = (elementwise, constructors, shaping, reductions, contraction, linalg, solving, selection, signals, derivatives, randoms)
#: The families of builtins, in the order of the reference.
FAMILIES = tuple(dict.fromkeys(module.FAMILY for module in _MODULES))

__all__ = ["BUILTINS", "EXAMPLES", "FAMILIES", "builtin_named"]


def builtin_named(text: str) -> Builtin | None:
    """The builtin that a name in a syntax tree means: ``mean``, or ``us.mean`` where the name ``mean`` is taken."""
    return BUILTINS.get(text.removeprefix("us."))
