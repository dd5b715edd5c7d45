"""``size``: sizes, iteration counts and the batch, shown or set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ....compiler.diagnostics import DataError
from ....compiler.nearest import did_you_mean
from ..command import Command, Reply, pairs
from ..session import Session
from ..state import State


def run(session: Session, words: Sequence[str]) -> Reply:
    """Raises DataError for a name that is no size, and for a value that cannot be one."""
    state = session.state
    if words:
        state = _set(state, pairs(words))
        session.bench.kernel(state)  # says what is wrong with them, or with the steps for them
    return Reply(told(session, state), state=state)


def _set(state: State, given: Sequence[tuple[str, str]]) -> State:
    algorithm = state.handle.algorithm
    counts = [name for name, _ in algorithm.iterations]
    made_sizes, made_counts, lead = dict(state.sizes), dict(state.counts), state.lead
    for name, value in given:
        batch = name == "batch" and "batch" not in (*algorithm.size_names, *counts)
        parts = value.split("x") if batch else [value]
        if any(not part.isdecimal() or not int(part) < 2**31 or (not batch and int(part) < 1) for part in parts):
            raise DataError(f"{name}={value}: {'a batch is an integer, or several as in 8x4' if batch else 'a size is an integer from 1 on'}")
        if batch:
            lead = tuple(map(int, parts))
        elif name in counts:
            made_counts[name] = int(value)
        elif name in algorithm.size_names:
            made_sizes[name] = int(value)
        else:
            known = ", ".join([*algorithm.size_names, *counts, "batch"])
            raise DataError(f"{algorithm.name} has no size {name!r}; it has {known}{did_you_mean(name, algorithm.size_names)}")
    return replace(state, sizes=tuple(sorted(made_sizes.items())), counts=tuple(sorted(made_counts.items())), lead=lead)


def told(session: Session, state: State) -> str:
    """Every size, and which were made up."""
    found = session.bench.kernel(state).sizes
    counts = [name for name, _ in state.handle.algorithm.iterations]
    assumed = [name for name in found if name not in dict(state.sizes) and name not in counts]
    shown = ", ".join(f"{name}={value}" for name, value in sorted(found.items()))
    batch = f"batch {'x'.join(map(str, state.lead))}" if state.lead else "one problem"
    return "; ".join([shown or "no sizes", batch, *([f"assumed: {', '.join(assumed)}"] if assumed else [])])


COMMAND = Command(
    "size", "size [NAME=N,...]", "Show or set sizes, iteration counts and the leading shape of a batch.", "size m=250,n=500,K=16,batch=32",
    run, ("size",), 64,
)  # fmt: skip
