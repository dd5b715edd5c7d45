"""A program read, checked and lowered."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from ..compiler.diagnostics import Diagnostic, ProgramError, Source
from ..compiler.graph.algorithm import Algorithm
from . import lower_call, lower_control, lower_inner, lower_sum  # noqa: F401  (they register what they lower)
from . import syntax as s
from .check import NO_RETURN, check_file
from .lower_algorithm import lower_algorithm
from .uses import FileScope, load_files, read_source
from .walk import descend

Lower = Callable[[FileScope, s.AlgorithmDecl], tuple[Algorithm | None, list[Diagnostic]]]


@dataclass(frozen=True)
class CheckedProgram:
    """A program without errors: its algorithms lowered, its functions as written."""

    name: str
    algorithms: dict[str, Algorithm]
    functions: dict[str, s.Fn]
    scope: FileScope = field(repr=False, compare=False)


def load_text(text: str, name: str = "<string>") -> CheckedProgram:
    """Check and lower a program given as text. Raises ProgramError with every error found, in source order."""
    return _whole(*_examined(Source(name, text), None))


def load_file(path: str | Path) -> CheckedProgram:
    """Check and lower the program in a file. Raises ProgramError with every error found, in source order."""
    return _whole(*examine_file(path))


def examine_file(path: str | Path) -> tuple[CheckedProgram, list[Diagnostic]]:
    """What a file has that is without errors, and every error found, in source order. Raises ProgramError for a file that cannot be read or parsed."""
    path = Path(path)
    return _examined(read_source(path), path.resolve().parent)


def _whole(found: CheckedProgram, errors: list[Diagnostic]) -> CheckedProgram:
    if errors:
        raise ProgramError(errors)
    return found


def _examined(source: Source, folder: Path | None) -> tuple[CheckedProgram, list[Diagnostic]]:
    return examine(load_files(source, folder))


def examine(
    scope: FileScope,
    damaged: Collection[tuple[s.Fn | s.AlgorithmDecl, int]] = (),
    lower: Lower = lower_algorithm,
    *,
    everything: bool = False,
) -> tuple[CheckedProgram, list[Diagnostic]]:
    """What a file has that is without errors, and every error found, in source order.

    ``damaged`` are definitions that were read in part, each with the line from which something is missing: nothing is said of it from there on, nor of
    what uses it. With ``everything`` algorithms that have, or use, something wrong are lowered, too, for the sake of what ``lower`` sees.
    """

    def is_sure(diagnostic: Diagnostic) -> bool:
        """Whether it would be there if nothing were missing."""
        cut = next((line for item, line in damaged if _has_fault(item, [diagnostic])), None)
        span = diagnostic.span
        return cut is None or (span is not None and span.line < cut and diagnostic.code != NO_RETURN)

    found = [d for file in scope.project for d in check_file(file) if is_sure(d)]
    faulty = list(found)
    algorithms: dict[str, Algorithm] = {}
    for item in scope.own:
        if not isinstance(item, s.AlgorithmDecl):
            continue
        used = reached(scope, item) if faulty or damaged else []
        lacking = [part for part in used if any(part is d for d, _ in damaged)]
        sound = not any(_has_fault(part, faulty) for part in used) and all(part is item for part in lacking)
        if not everything and (lacking or not sound):
            continue
        algorithm, diagnostics = lower(scope, item)
        if sound:
            found += filter(is_sure, diagnostics)
        if sound and not lacking and algorithm is not None:
            algorithms[item.name.text] = algorithm
    functions = {item.name.text: item for item in scope.own if isinstance(item, s.Fn)}
    return CheckedProgram(scope.source.name, algorithms, functions, scope), in_order(scope.source, found)


def reached(scope: FileScope, start: s.Fn | s.AlgorithmDecl) -> list[s.Fn | s.AlgorithmDecl]:
    """A definition and those it may use, by name."""
    reached: list[s.Fn | s.AlgorithmDecl] = []
    todo = [start]
    while todo:
        item = todo.pop()
        if any(item is known for known in reached):
            continue
        reached.append(item)
        home = scope.home(item)
        for node in descend(item):
            used = None
            if isinstance(node, s.Name):
                used = home.definitions.get(node.text)
            elif isinstance(node, s.Attribute) and isinstance(node.value, s.Name) and node.value.text in home.files:
                used = home.files[node.value.text].definitions.get(node.name.text)
            todo += [used] if used is not None else []
    return reached


def _has_fault(definition: s.Fn | s.AlgorithmDecl, faulty: list[Diagnostic]) -> bool:
    first, last = definition.span.line, max(node.span.end_line for node in descend(definition))
    spans = [d.span for d in faulty if d.span is not None]
    return any(span.source == definition.span.source and first <= span.line <= last for span in spans)


def in_order(source: Source, diagnostics: list[Diagnostic]) -> list[Diagnostic]:
    """In source order, those of the file itself first; each once."""

    def place(d: Diagnostic) -> tuple[int, str, int, int, str]:
        span = d.span
        if span is None:
            return (0, "", 0, 0, d.code)
        return (int(span.source != source), span.source.name, span.line, span.column, d.code)

    unique = {(d.code, d.span, d.message): d for d in reversed(diagnostics)}
    return sorted(unique.values(), key=place)
