"""Completion: commands and steps, then files, algorithms, sizes, and the loops, statements and arrays of the present nest."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from ..api import stdlib_names
from ..complete import paths, programs
from .commands import ALIASES, COMMANDS
from .session import Session

if TYPE_CHECKING:
    from .workbench import Part

#: Targets of ``source``.
TARGETS = ("c", "numba", "cuda", "triton", "tvm")


class LineCompleter(Completer):
    """What may come next. Nothing is compiled or imported for it: loops are known once a command has looked at them."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """The words that go on as the one before the cursor begins."""
        text = document.text_before_cursor.rpartition(";")[2]
        words = text.split()
        typed = words.pop() if text and not text[-1].isspace() else ""
        for word in sorted(set(self._choices(words, typed))):
            begun = typed.rpartition(",")[2] if words and words[0] not in COMMANDS else typed
            if word.startswith(begun) and word != begun:
                yield Completion(word, start_position=-len(begun))

    def _choices(self, words: list[str], typed: str) -> Iterable[str]:
        steps = _steps()
        if not words:
            return [*COMMANDS, *steps, *(["batch"] if steps else [])]
        name = ALIASES.get(words[0], words[0])
        if name in COMMANDS:
            return [choice for kind in COMMANDS[name].takes for choice in self._of_kind(kind, typed)]
        return self._names(name, len(words) - 1) if name in steps else []

    def _of_kind(self, kind: str, typed: str) -> Iterable[str]:
        """The words of a kind that :class:`~.command.Command` names; another kind is a word itself."""
        state = self.session.state
        if kind == "file":
            return self._programs(typed)
        if kind == "path":
            return paths(typed)
        if kind == "target":
            return TARGETS
        if kind == "command":
            return [*COMMANDS, *_steps(), "steps"]
        if kind == "option":
            from .verbs.option import SETTABLE

            return [f"{name}=" for name in SETTABLE]
        if kind in ("array", "statement", "loop"):
            part = self._part()
            return [] if part is None else _table(part)[kind]
        if kind == "kernel":
            return [name for name, _ in state.plan or ()]
        if kind == "size":
            return [] if state.opened is None or state.algorithm not in state.opened.handles else self._sizes()
        return [kind]

    def _sizes(self) -> list[str]:
        algorithm = self.session.state.handle.algorithm
        return [f"{name}=" for name in [*algorithm.size_names, *(n for n, _ in algorithm.iterations), "batch"]]

    def _programs(self, typed: str) -> list[str]:
        """As the shell completes programs, and those of the standard library; a colon alone is followed by the algorithms of the present one."""
        opened = self.session.state.opened
        if typed.startswith(":") and opened is not None:
            return [f":{name}" for name in opened.handles]
        return [*programs(typed), *stdlib_names()]

    def _part(self) -> Part | None:
        return self.session.bench.known(self.session.state)

    def _names(self, step: str, place: int) -> list[str]:
        """What the argument of a step at a place may be."""
        from ...compiler.loops.arguments import role
        from ...compiler.loops.schedule import STEPS

        part = self._part()
        kind = role(STEPS[step][1], place)
        return [] if part is None else _table(part).get(kind, [])


def _table(part: Part) -> dict[str, list[str]]:
    nest = part.scheduled.nest
    return {
        "loop": list(part.scheduled.loops),
        "array": [a.name for a in nest.arrays],
        "statement": [s.name for s in nest.statements],
        "dim": [d.name for s in nest.statements for d in s.dims],
    }


def _steps() -> list[str]:
    """The steps, once what has them was imported."""
    module = sys.modules.get(f"{__package__.removesuffix('.dsl.repl')}.compiler.loops.schedule")
    return list(getattr(module, "STEPS", ()))

