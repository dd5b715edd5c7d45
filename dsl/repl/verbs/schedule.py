"""``schedule``: the steps, shown or replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ....compiler.diagnostics import DataError
from ..command import Command, Reply, path_of
from ..session import Session
from ..state import Plan, State, Steps, plan_text

#: What may stand in place of a file.
WORDS = ("auto", "none")


def run(session: Session, words: Sequence[str]) -> Reply:
    """Raises IllegalSchedule for a file whose steps do not apply, DataError for one that cannot be read."""
    state = session.state
    if words:
        state = with_plan(session, words[0])
    plan = session.bench.plan(state) or ()
    origins = {c.origin for _, c in session.bench.kernel(state).compiled} if state.plan is None else set()
    head = [f"# the compiler's choice, by {', '.join(sorted(origins))}"] if origins else []
    return Reply("\n".join([*head, plan_text(plan) or ""]), "schedule", state)


def with_plan(session: Session, name: str) -> State:
    """The state under another schedule: the compiler's choice (``auto``), program order (``none``), or that of a file. Raises UnspoolError."""
    state = replace(session.state, kernel="", tile=False)
    if name == "auto":
        return replace(state, plan=None)
    if name == "none":
        return replace(state, plan=session.bench.empty(state))
    path = path_of(name, "schedule ista.schedule")
    try:
        if path.exists() and not path.is_file():
            raise IsADirectoryError(0, "it is no file")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read the schedule {name}: {reason} (`auto` is the compiler's choice, `none` program order)") from None
    made = replace(state, plan=_read(session, state, text))
    session.bench.kernel(made)  # proves it
    return made


def _read(session: Session, state: State, text: str) -> Plan:
    from ....compiler.loops.schedule_parts import split_kernels
    from ..workbench import steps_of

    names = session.bench.names(state)
    found = split_kernels(text, names)
    return tuple((name, steps_of(found[name]) if name in found else Steps()) for name in names)


COMMAND = Command(
    "schedule", "schedule [auto|none|FILE]", "The steps; `auto` takes the compiler's choice, `none` program order, a file what `save` wrote.",
    "schedule none", run, ("auto", "none", "path"), 1,
)  # fmt: skip
