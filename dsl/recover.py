"""A program read as far as it goes: lines with syntax errors are taken out of the definitions they stand in.

    for k in 0..K:                    for k in 0..K:
        x = soft(x - step[k] *   -->      0
    return x                          return x

What is left has its lines where they were, so that an editor can say what names and types there are around the line being typed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..compiler.diagnostics import Diagnostic, Source, Span
from . import syntax as s
from .parse import parse_part, parse_parts
from .tree_builder import SyntaxFault

#: Lines of one definition that are taken out; one with more faults is given up.
_FAULTS = 25
_HEAD = re.compile(r"(?:fn|algorithm)\s+([^\W\d]\w*)")


@dataclass(frozen=True)
class Recovered:
    """What could be read, and every syntax error. ``damaged`` are definitions that lack lines, each with the first of them, ``lost`` names of
    those that could not be read."""

    program: s.Program
    errors: tuple[Diagnostic, ...] = ()
    damaged: tuple[tuple[s.Fn | s.AlgorithmDecl, int], ...] = ()
    lost: frozenset[str] = frozenset()


def recover(source: Source) -> Recovered:
    """The tree of a text, whatever is wrong with it."""
    parts, errors = parse_parts(source)
    items: list[s.Use | s.Fn | s.AlgorithmDecl] = []
    damaged: list[tuple[s.Fn | s.AlgorithmDecl, int]] = []
    lost: set[str] = set()
    for text, whole in parts:
        program, line = (whole, 0) if whole is not None else _reduced(source, text)
        if program is None:
            lost |= set(_HEAD.findall(text.lstrip("\n").partition("\n")[0]))
            continue
        items += program.items
        if whole is None:
            damaged += [(item, line) for item in program.items if not isinstance(item, s.Use)]
    span = items[0].span.to(items[-1].span) if items else Span(source, 1, 1, 1, 1)
    return Recovered(s.Program(span, tuple(items)), tuple(errors), tuple(damaged), frozenset(lost))


def _reduced(source: Source, text: str) -> tuple[s.Program | None, int]:
    """One definition without the lines that are wrong, and the first of these; None if that is its first line."""
    lines = text.split("\n")
    first = next(n for n, line in enumerate(lines) if line)
    cut = len(lines)
    for _ in range(_FAULTS):
        try:
            return parse_part(source, "\n".join(lines)), cut
        except SyntaxFault as fault:
            span = fault.diagnostic.span
        before = list(lines)
        if span is None or not _without(lines, span.line - 1, first):
            break
        cut = min(cut, next(n for n, (old, new) in enumerate(zip(before, lines, strict=True), 1) if old != new))
    return None, cut


def _without(lines: list[str], at: int, first: int) -> bool:
    """Take out the line with a fault, in place; False if it is the first one. A line that begins a block is made one that does, and a block
    keeps a line."""
    above = next((n for n in range(min(at, len(lines)) - 1, first - 1, -1) if _code(lines[n])), None)
    here = lines[at] if at < len(lines) else ""
    if above is not None and _code(lines[above]).endswith(":") and (not _code(here) or _indent(here) <= _indent(lines[above])):
        lines[above] = f"{_code(lines[above])} 0"
        return True
    if at <= first or not _code(here):
        return False
    below = next((line for line in lines[at + 1 :] if _code(line)), "")
    blanks = " " * _indent(here)
    if _indent(below) > _indent(here):
        index = re.match(r"\s*for\s+([^\W\d]\w*)", here)
        made = f"{blanks}for {index[1]} in 0..1:" if index else f"{blanks}if True:"
        if here != made:
            lines[at] = made
            return True
    kept = f"{blanks}0"
    lines[at] = kept if above is not None and _code(lines[above]).endswith(":") and here != kept else ""
    return True


def _code(line: str) -> str:
    """A line without its comment, and without blanks at its end."""
    return re.sub(r"""("[^"]*"|'[^']*')|#.*""", lambda found: found[1] or "", line).rstrip()


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
