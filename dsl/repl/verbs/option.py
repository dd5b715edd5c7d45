"""``option``: the options of a compilation, shown or set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from ....compiler.diagnostics import DataError
from ....compiler.nearest import did_you_mean
from ...compile_options import NAMES, CompileOptions
from ..command import Command, Reply, pairs
from ..session import Session

#: The options that ``option`` knows: the schedule has a verb of its own, and tuning a command.
SETTABLE = tuple(name for name in NAMES if name not in ("schedule", "tune"))


def run(session: Session, words: Sequence[str]) -> Reply:
    """All options, or those that were set. Raises DataError for a name that is no option, and for a value it does not take."""
    state = session.state
    changed: dict[str, Any] = {}
    for name, value in pairs(words):
        if name not in SETTABLE:
            raise DataError(f"there is no option {name!r}; there are {', '.join(SETTABLE)}{did_you_mean(name, SETTABLE)}")
        changed[name] = None if value == "default" else value
    if changed:
        state = replace(state, options=replace(state.options, **changed))
        if state.opened is not None and state.algorithm in state.opened.handles:
            session.bench.kernel(state)  # says what is wrong with them, or with the steps for them
    default = CompileOptions()
    shown = [(f, getattr(state.options, f.name)) for f in fields(CompileOptions) if f.name in (changed or SETTABLE)]
    lines = [f"{f.name:9}  {'default' if value == getattr(default, f.name) else value!s:9}  {f.metadata['help']}" for f, value in shown]
    return Reply("\n".join(lines), state=state)


COMMAND = Command(
    "option", "option [NAME=VALUE,...]", "Show or set dtype, target and the other options of a compilation.", "option dtype=f64", run, ("option",), 64
)
