"""``save``: the schedule, as a file."""

from __future__ import annotations

from collections.abc import Sequence

from ...stages import write
from ..command import Command, Reply, path_of
from ..session import Session
from ..state import plan_text


def run(session: Session, words: Sequence[str]) -> Reply:
    """The steps, those of the compiler's choice too. Raises UnspoolError if it cannot be written."""
    path, state = path_of(words[0] if words else "", "save ista.schedule"), session.state
    write(path, f"{plan_text(session.bench.plan(state))}\n")
    counts = [name for name, _ in state.handle.algorithm.iterations]
    sizes = ",".join(f"{name}={value}" for name, value in session.bench.kernel(state).sizes.items() if name not in counts)
    size = f" --size {sizes}" if sizes else ""
    return Reply(f"wrote {path}; dsl compile {state.program.path}:{state.algorithm}{size} --schedule {path} takes it")


COMMAND = Command(
    "save", "save FILE", "Write the schedule to a file, for `dsl compile --schedule` and `compile(schedule=...)`.", "save ista.schedule", run,
    ("path",), 1,
)  # fmt: skip
