"""``save``: the schedule, as a file."""

from __future__ import annotations

from collections.abc import Sequence

from ...compile_options import CompileOptions
from ...stages import write
from ..command import Command, Reply, path_of
from ..session import Session
from ..state import plan_text


def run(session: Session, words: Sequence[str]) -> Reply:
    """The steps, those of the compiler's choice too. Raises UnspoolError if it cannot be written."""
    path, state = path_of(words[0] if words else "", "save ista.schedule"), session.state
    write(path, f"{plan_text(session.bench.plan(state))}\n")
    return Reply(f"wrote {path}; dsl compile {state.program.path}:{state.algorithm}{_flags(session)} --schedule {path} takes it")


def _flags(session: Session) -> str:
    """The options of the command that stand for the sizes and options of the state."""
    state = session.state
    counts = [name for name, _ in state.handle.algorithm.iterations]
    sizes = session.bench.kernel(state).sizes
    flags = {
        "--size": ",".join(f"{name}={value}" for name, value in sizes.items() if name not in counts),
        "--batch": ",".join(map(str, state.lead)),
        "-K": ",".join(f"{name}={value}" for name, value in state.counts),
        **{f"--{name}": "" if value == getattr(CompileOptions(), name) else str(value) for name, value in vars(state.options).items()},
    }
    return "".join(f" {flag} {value}" for flag, value in flags.items() if value)


COMMAND = Command(
    "save", "save FILE", "Write the schedule to a file, for `dsl compile --schedule` and `compile(schedule=...)`.", "save ista.schedule", run,
    ("path",), 1,
)  # fmt: skip
