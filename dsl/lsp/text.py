"""Places in a text, as the library counts them and as editors do.

Here lines and columns count from 1, columns in characters, and a line ends with a newline. In the protocol they count from 0, columns in
units of UTF-8, UTF-16 or UTF-32 as was agreed, and a carriage return alone ends a line, too.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cached_property

from lsprotocol.types import Position, PositionEncodingKind, Range

from ...compiler.diagnostics import Span

_UNITS = {PositionEncodingKind.Utf8: ("utf-8", 1), PositionEncodingKind.Utf16: ("utf-16-le", 2), PositionEncodingKind.Utf32: ("utf-32-le", 4)}


class Text:
    """A text as an editor has it; ``text`` is without a byte order mark."""

    def __init__(self, whole: str, encoding: str = PositionEncodingKind.Utf16) -> None:
        self.whole, self.encoding = whole, PositionEncodingKind(encoding)
        self.text = whole.removeprefix("\ufeff")
        self._mark = len(whole) - len(self.text)

    @cached_property
    def _client(self) -> list[int]:
        """Where the protocol's lines start."""
        return [0, *(found.end() for found in re.finditer(r"\r\n|\n|\r", self.whole))]

    @cached_property
    def _own(self) -> list[int]:
        """Where our lines start."""
        return [0, *(found.end() + self._mark for found in re.finditer("\n", self.text))]

    def place(self, position: Position) -> tuple[int, int]:
        """Our line and column of a position; one beyond a line, or beyond the text, is at its end."""
        if position.line >= len(self._client):
            offset = len(self.whole)
        else:
            start = self._client[position.line]
            end = self._client[position.line + 1] if position.line + 1 < len(self._client) else len(self.whole)
            line = self.whole[start:end].rstrip("\r\n")
            offset = start + self._characters(line, position.character)
        row = bisect_right(self._own, offset) - 1
        return row + 1, offset - (self._own[row] or (self._mark if offset else 0)) + 1

    def offset(self, line: int, column: int) -> int:
        """The index into ``text`` of our line and column."""
        return self._absolute(line, column) - self._mark

    def position(self, line: int, column: int) -> Position:
        """The position of our line and column."""
        offset = self._absolute(line, column)
        row = bisect_right(self._client, offset) - 1
        return Position(row, self._units(self.whole[self._client[row] : offset]))

    def range(self, span: Span) -> Range:
        """The range of a span."""
        return Range(self.position(span.line, span.column), self.position(span.end_line, span.end_column))

    def _absolute(self, line: int, column: int) -> int:
        if line > len(self._own):
            return len(self.whole)
        start = self._own[line - 1] or self._mark
        end = self._own[line] - 1 if line < len(self._own) else len(self.whole)
        return min(start + column - 1, end)

    def _units(self, text: str) -> int:
        if text.isascii():
            return len(text)
        name, width = _UNITS[self.encoding]
        return len(text.encode(name, "surrogatepass")) // width

    def _characters(self, line: str, units: int) -> int:
        """How many characters so many units are; one that they end within counts not."""
        if line.isascii():
            return min(units, len(line))
        seen = 0
        for n, character in enumerate(line):
            seen += self._units(character)
            if seen > units:
                return n
        return len(line)
