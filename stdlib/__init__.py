"""Algorithms and operators written in the language (``*.us``): ``us.stdlib.prox`` is the program ``prox.us``."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from ..compiler.nearest import did_you_mean
    from ..dsl.api import load, stdlib_names

    if name.startswith("_") or name not in stdlib_names():
        names = stdlib_names()
        raise AttributeError(
            f"the standard library has no program {name!r}; there are {', '.join(names)}{did_you_mean(name, names)}"
        )
    globals()[name] = load(name)
    return globals()[name]
