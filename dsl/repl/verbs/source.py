"""``source``: the generated source, of the present target or of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..command import Command, Reply
from ..session import Session
from ..state import State

#: How the source of a target is highlighted, by what its files end in.
LANGUAGES = {"c": "c", "cu": "cuda", "py": "python"}


def run(session: Session, words: Sequence[str]) -> Reply:
    """Raises UnspoolError for a target that is none, and one that cannot print here."""
    kernel = session.bench.kernel(for_target(session.state, words[0]) if words else session.state)
    return Reply(kernel.source.rstrip("\n") or "nothing is compiled: the interpreter runs it", LANGUAGES[kernel.suffix])


def for_target(state: State, name: str) -> State:
    """The state with another target: a schedule of ours goes only to the one it was made for, and others get the compiler's choice."""
    from ....backends.registry import canonical

    same = canonical(name) == canonical(state.options.target)
    return state if same else replace(state, options=replace(state.options, target=name), plan=None)


COMMAND = Command(
    "source", "source [c|numba|cuda|triton|tvm]", "The generated source, for the present target or another one.", "source cuda", run, ("target",), 1
)
