"""A line of a program as it is being typed, which need not parse: the word at a place, and the call around it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...compiler.diagnostics import Source, Span

_PIECE = re.compile(r"""#.*|"[^"\n]*"?|'[^'\n]*'?|[^\W\d]\w*(?:\.[^\W\d]\w*)*|\d[\w.]*|==|[()\[\],=\n]|.""")


#: What comes before a name that is declared with its parameters, and not called.
_DECLARING = ("fn", "algorithm", "objective")


def word_at(source: Source, line: int, column: int) -> Span | None:
    """The word that a place is in; None in comments and strings."""
    for found in _PIECE.finditer(source.line(line)):
        if found[0][0] in "#\"'" and found.start() < column <= found.end():
            return None
        for part in re.finditer(r"\w+", found[0]) if found[0][0] not in "#\"'" else ():
            start, end = found.start() + part.start() + 1, found.start() + part.end() + 1
            if start <= column < end:
                return Span(source, line, start, line, end)
    return None


@dataclass(frozen=True)
class OpenCall:
    """A call that a place is in: the word before its bracket, how many commas come before, the keyword that is being given, those given."""

    name: str
    place: int
    keyword: str | None
    given: tuple[str, ...]


def call_at(before: str) -> OpenCall | None:
    """The innermost call of a word that is open at the end of a text."""
    stack: list[tuple[str | None, list[list[str]]]] = []  # the word before each open bracket, and what its arguments are made of
    last, before_last = "", ""
    for piece in (found[0] for found in _PIECE.finditer(before)):
        if piece[0] in "# \t":
            continue
        if piece in "([":
            called = piece == "(" and re.match(r"[^\W\d]", last) and before_last not in _DECLARING
            stack.append((last if called else None, [[]]))
        elif piece in ")]":
            if stack:
                stack.pop()
        elif piece == "," and stack:
            stack[-1][1].append([])
        elif stack and piece != "\n":
            stack[-1][1][-1].append(piece)
        before_last, last = last, piece
    for name, arguments in reversed(stack):
        if name is not None:
            keywords = [argument[0] if argument[1:2] == ["="] else None for argument in arguments]
            return OpenCall(name, len(arguments) - 1, keywords[-1], tuple(k for k in keywords if k is not None))
    return None
