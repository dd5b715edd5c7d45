"""Every builtin: importing this fills the table."""

from __future__ import annotations

from . import constructors, contraction, derivatives, elementwise, linalg, randoms, reductions, selection, shaping, signals
from .table import BUILTINS, EXAMPLES

#: The modules that hold the builtins, in the order of the reference.
MODULES = (elementwise, constructors, shaping, reductions, contraction, linalg, selection, signals, derivatives, randoms)

__all__ = ["BUILTINS", "EXAMPLES", "MODULES"]
