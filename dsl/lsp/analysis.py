"""One text, looked at once: its errors, its names and what its parts are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...compiler.diagnostics import Diagnostic, Source
from .. import syntax as s
from ..program import examine, in_order
from ..recover import recover
from ..uses import FileScope, load_used, read_source
from ..walk import children
from .memory import Memory
from .names import Names
from .types import Superseded, Types


@dataclass(frozen=True)
class Analysis:
    """What is known of a text, as far as it could be read."""

    source: Source
    scope: FileScope
    errors: tuple[Diagnostic, ...]
    types: Types

    @cached_property
    def names(self) -> Names:
        """What its names stand for."""
        return Names(self.scope)

    @property
    def program(self) -> s.Program:
        """Its tree."""
        return self.scope.program

    @property
    def files(self) -> set[Path]:
        """The files that it uses, directly or not."""
        return {Path(scope.source.name) for scope in self.scope.project if scope is not self.scope}

    def enclosing(self, line: int, column: int) -> list[s.Node]:
        """The nodes that a place is in, outer ones first."""
        found: list[s.Node] = []
        todo: list[s.Node] = list(self.program.items)
        while todo:
            node = todo.pop()
            span = node.span
            whole = isinstance(node, (s.Fn, s.AlgorithmDecl, s.InputDecl, s.Argument, s.Branch))  # their spans may be those of their heads
            inside = (span.line, span.column) <= (line, column) < (span.end_line, span.end_column)
            if inside:
                found.append(node)
            if inside or whole or isinstance(node, (s.For, s.If, s.Objective, s.ParamDecl, s.ModuleDecl)):
                todo += children(node)
        return found


def analyse(
    source: Source,
    folder: Path | None,
    *,
    memory: Memory | None = None,
    read: Callable[[Path], Source] = read_source,
    superseded: Callable[[], bool] = lambda: False,
) -> Analysis:
    """Read, check and lower a text. ``memory`` is what is known of it from before, and is brought up to date; ``read`` gives the files that it uses.
    Raises Superseded once ``superseded`` says so."""
    if superseded():
        raise Superseded
    recovered = recover(source)
    scope, missing = load_used(recovered.program, folder, read)
    memory = memory or Memory()
    _, found = examine(scope, recovered.damaged, memory.lowering(superseded), everything=True)
    lost = recovered.lost | _not_loaded(scope)
    kept = [d for d in found if not (d.code in _UNKNOWN and d.span is not None and _word(d) in lost)]
    return Analysis(source, scope, tuple(in_order(source, [*recovered.errors, *missing, *kept])), memory.types(scope))


#: Errors about a name, which say nothing where its definition could not be read.
_UNKNOWN = ("US0201", "US0417", "US0602")


def _word(diagnostic: Diagnostic) -> str:
    span = diagnostic.span
    assert span is not None
    return span.source.line(span.line)[span.column - 1 : span.end_column - 1]


def _not_loaded(scope: FileScope) -> frozenset[str]:
    """The names that files in use would bring, had they been read."""
    known = scope.definitions.keys() | scope.files.keys()
    wanted = {n.text for item in scope.program.items if isinstance(item, s.Use) for n in item.names}
    wanted |= {Path(item.path).stem for item in scope.program.items if isinstance(item, s.Use) and not item.names}
    return frozenset(wanted - known)
