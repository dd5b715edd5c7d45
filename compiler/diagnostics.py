"""Sources, spans and diagnostics: every error in a program is one of these.

A diagnostic prints as ``FILE:LINE:COL: error US0203: message``, the source line with the
span underlined, then optional notes and a suggestion. Lines and columns count from 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache


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
class Diagnostic:
    """One error: a stable code (a page in ``docs/errors/``), where, what, and what to try."""

    code: str
    message: str
    span: Span | None = None
    notes: tuple[str, ...] = ()
    suggestion: str | None = None

    def render(self) -> str:
        """The diagnostic as text, several lines, no colour."""
        where = f"{self.span}: " if self.span else ""
        out = [f"{where}error {self.code}: {self.message}"]
        if self.span:
            out += _underlined(self.span)
        out += [f"  note: {note}" for note in self.notes]
        if self.suggestion:
            out.append(f"  try: {self.suggestion}")
        return "\n".join(out)


def _underlined(span: Span) -> list[str]:
    text = span.source.line(span.line)
    end = span.end_column if span.end_line == span.line else len(text) + 1
    number = str(span.line)
    gap = " " * len(number)
    lead = "".join("\t" if c == "\t" else " " for c in text[: span.column - 1])
    return [f" {number} | {text}", f" {gap} | {lead}{'^' * max(1, end - span.column)}"]


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
