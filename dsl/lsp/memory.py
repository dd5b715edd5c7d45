"""What was found in an algorithm, kept as long as its text, its lines and all that it uses stay as they are.

An edit changes one definition. Lowering the others again would take most of the time in which an editor waits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ...compiler.diagnostics import Diagnostic, Source, Span
from ...compiler.graph.algorithm import Algorithm
from .. import syntax as s
from ..lower_algorithm import lower_algorithm
from ..program import Lower, reached
from ..uses import FileScope
from .types import Seen, Types


@dataclass(frozen=True)
class _Kept:
    """``state`` is everything that the rest depends on."""

    state: object
    algorithm: Algorithm | None
    diagnostics: tuple[Diagnostic, ...]
    seen: Seen


class Memory:
    """The algorithms of one text, by name and line."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], _Kept] = {}

    def lowering(self, superseded: Callable[[], bool]) -> Lower:
        """:func:`lower_algorithm`, which does nothing for what stayed as it was."""

        def lower(scope: FileScope, decl: s.AlgorithmDecl) -> tuple[Algorithm | None, list[Diagnostic]]:
            key, state = (decl.name.text, decl.span.line), _state(scope, decl)
            kept = self._kept.get(key)
            if kept is None or kept.state != state:
                seen = Seen(superseded)
                algorithm, diagnostics = lower_algorithm(scope, decl, seen)
                kept = self._kept[key] = _Kept(state, algorithm, tuple(diagnostics), seen)
            sources = {file.source.name: file.source for file in scope.project}
            return kept.algorithm, [_in(sources, d) for d in kept.diagnostics]

        return lower

    def types(self, scope: FileScope) -> Types:
        """What the parts of the text are; what it no longer has is forgotten."""
        there = {(item.name.text, item.span.line) for item in scope.own}
        self._kept = {key: kept for key, kept in self._kept.items() if key in there}
        return Types(kept.seen for kept in self._kept.values())


def _state(scope: FileScope, decl: s.AlgorithmDecl) -> object:
    """The lines of an algorithm and of all that it may use, with their numbers; and what else has a name there, which suggestions are made of."""
    parts, homes = [], {}
    for item in reached(scope, decl):
        home, first = scope.home(item), item.span.line
        homes[home.source.name] = home
        after = [other.span.line for other in home.program.items if other.span.line > first]
        parts.append((home.source.name, first, home.source.text.split("\n")[first - 1 : min(after) - 1 if after else None]))
    names = [(sorted(h.definitions), [(n, [d.name.text for d in f.own]) for n, f in h.files.items()]) for h in homes.values()]
    return (parts, names)


def _in(sources: dict[str, Source], diagnostic: Diagnostic) -> Diagnostic:
    """A diagnostic in the texts as they are now."""

    def now(span: Span) -> Span:
        return replace(span, source=sources.get(span.source.name, span.source))

    labels = tuple(replace(label, span=now(label.span)) for label in diagnostic.labels)
    return replace(diagnostic, span=now(diagnostic.span) if diagnostic.span is not None else None, labels=labels)
