"""Sources, spans and diagnostics: every error in a program is one of these.

A diagnostic prints as ``FILE:LINE:COL: error US0203: message``, the source line with the
span underlined, then optional notes and a suggestion. Lines and columns count from 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from .snippet import Mark, snippet


@dataclass(frozen=True)
class Source:
    """A program text and the name it is shown by (a path, or ``<string>``)."""

    name: str
    text: str = field(repr=False)

    def line(self, number: int) -> str:
        """Line ``number`` (from 1) without its newline; empty beyond the end."""
        lines = _lines(self.text)
        return lines[number - 1].rstrip("\r") if 0 < number <= len(lines) else ""


@lru_cache(maxsize=8)
def _lines(text: str) -> list[str]:
    return text.split("\n")


@dataclass(frozen=True)
class Span:
    """From ``(line, column)`` up to, not including, ``(end_line, end_column)``."""

    source: Source
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"

    def to(self, other: Span) -> Span:
        """The span from the start of this one to the end of ``other``."""
        return Span(self.source, self.line, self.column, other.end_line, other.end_column)


@dataclass(frozen=True)
class Label:
    """What is known of a part of a program, shown below it: ``A: [m, n]``."""

    span: Span
    text: str


@dataclass(frozen=True)
class Diagnostic:
    """One error: a stable code (a page in ``docs/errors/``), where, what, and what to try. ``labels`` are shown below the parts of
    the place that they are about."""

    code: str
    message: str
    span: Span | None = None
    notes: tuple[str, ...] = ()
    suggestion: str | None = None
    labels: tuple[Label, ...] = ()

    def render(self) -> str:
        """The diagnostic as text, several lines, no colour."""
        where = f"{self.span}: " if self.span else ""
        out = [f"{where}error {self.code}: {self.message}"]
        if self.span:
            out += _drawn(self.span, self.labels)
        out += [f"  note: {note}" for note in self.notes]
        if self.suggestion:
            out.append(f"  try: {self.suggestion}")
        return "\n".join(out)


def _drawn(span: Span, labels: Iterable[Label]) -> list[str]:
    """The line of a place, underlined and labelled, then further lines of the place that have labels."""
    by_line: dict[int, list[Label]] = {span.line: []}
    for label in labels:
        if label.span.source == span.source and label.span.line == label.span.end_line:
            by_line.setdefault(label.span.line, []).append(label)
    out: list[str] = []
    for number, found in sorted(by_line.items()):
        text = span.source.line(number)
        marks = [Mark(label.span.column - 1, label.span.end_column - 1, label.text) for label in found]
        start, end = _columns(span, number, text)
        out += snippet(number, text, start, end, marks)
    return out


def _columns(span: Span, number: int, text: str) -> tuple[int, int]:
    """The columns, from 0, of a place on one of its lines."""
    start = span.column - 1 if number == span.line else len(text) - len(text.lstrip())
    return start, span.end_column - 1 if number == span.end_line else len(text)


class UnspoolError(Exception):
    """Any error that is the program's or the data's fault. Its text is what a user reads."""


class ProgramError(UnspoolError):
    """One or several diagnostics of a program, reported together in source order."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(d.render() for d in self.diagnostics))


class DataError(UnspoolError, ValueError):
    """Values handed to a program do not fit it: rank, size, dtype, device, a broken ``where``."""


class CompileError(UnspoolError):
    """A part of a program cannot be compiled for a target, with the reason."""
