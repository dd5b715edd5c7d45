"""The run-time library of target numba: functions with the names and meanings of those of generated C (``c_*.h``).

They take and give scalars (``us_exp_f32``, ``us_random_normal_f64``) or one-dimensional contiguous arrays (``us_argsort_i32``).
Numba is imported at the first look-up, a function is compiled where it is first called, and inlined there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any


@lru_cache(maxsize=1)
def _functions() -> dict[str, Any]:
    from . import bits, complex, integer, math, random, real, scalars, select, special, trig

    families = complex, integer, math, random, real, scalars, select, special, trig
    del families  # importing them filled the table
    return bits.FUNCTIONS


def names() -> list[str]:
    """Every name that ``lookup`` knows, sorted."""
    return sorted(_functions())


def lookup(name: str) -> Any:
    """The numba function of a name. Raises KeyError for a name that the library does not have."""
    from .bits import FUNCTIONS

    return (FUNCTIONS.get(name) or _functions()[name])()  # what is short is there without the long ones
