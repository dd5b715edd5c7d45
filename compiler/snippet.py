"""A place in a text drawn for a reader: its line, the place underlined, and labels below the parts of an expression.

     3 |     x = x - step * (A @ (A @ x - y))
       |                    ^^^^^^^^^^^^^^^^^
       |                     -   ----------- [m]
       |                     A: [m, n]

Labels that overlap stand in rows of their own, outer ones first. A line that is wider than WIDTH is cut around the place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Columns of a drawing, the line number included.
WIDTH = 80


@dataclass(frozen=True)
class Mark:
    """A label of the columns ``start`` (from 0) up to ``end`` of a line."""

    start: int
    end: int
    text: str


def snippet(number: int, text: str, start: int, end: int, marks: Sequence[Mark] = ()) -> list[str]:
    """The lines of a drawing: line ``number`` with the columns ``start`` (from 0) up to ``end`` underlined, and labelled parts."""
    gutter = f" {number} | "
    blank = " " * (len(gutter) - 2) + "| "
    room = WIDTH - len(gutter)
    end = max(end, start + 1)
    shown, shift = _window(text, start, end, room)
    lines = [
        gutter + shown,
        blank + _lead(text, shown, shift, start) + "^" * (min(end - shift, max(len(shown), start - shift + 1)) - (start - shift)),
    ]
    moved = [
        Mark(m.start - shift, min(m.end - shift, len(shown)), m.text) for m in marks if shift <= m.start < shift + len(shown)
    ]
    if "\t" in shown:  # columns of labels do not count those
        moved = []
    for row in _rows(moved):
        lines += [blank + line for line in _labelled(row, room)]
    return lines


def _window(text: str, start: int, end: int, room: int) -> tuple[str, int]:
    """The part of a long line around a place, and the columns it begins behind."""
    if len(text) <= room:
        return text, 0
    first = 0 if end <= room - 3 else max(0, min(start - 8, len(text) - room))
    shown = text[first : first + room]
    if first:
        shown = "..." + shown[3:]
    if first + room < len(text):
        shown = shown[:-3] + "..."
    return shown, first


def _lead(text: str, shown: str, shift: int, start: int) -> str:
    """What stands before the underline: blanks, and tabs where the line has them."""
    return "".join("\t" if c == "\t" else " " for c in shown[: start - shift]) + " " * max(0, start - shift - len(shown))


def _rows(marks: Sequence[Mark]) -> list[list[Mark]]:
    """Marks in rows without overlaps; one that contains another stands in an earlier row."""
    rows: list[list[Mark]] = []
    for mark in sorted(marks, key=lambda m: (m.start - m.end, m.start)):
        around = [n for n, row in enumerate(rows) for m in row if m.start < mark.end and mark.start < m.end]
        place = max(around, default=-1) + 1
        if place == len(rows):
            rows.append([])
        rows[place].append(mark)
    return [sorted(row, key=lambda m: m.start) for row in rows]


def _labelled(row: Sequence[Mark], room: int) -> list[str]:
    """One row: the parts underlined, the last label beside its line, the others hung below, from the right."""
    line = ""
    for mark in row:
        line = line.ljust(mark.start) + "-" * (mark.end - mark.start)
    hung = list(row)
    if len(line) + 1 + len(row[-1].text) <= room:
        line += f" {hung.pop().text}"
    lines = [line]
    while hung:
        mark = hung.pop()
        bars = ""
        for other in hung:
            bars = bars.ljust(other.start) + "|"
        at = max(min(mark.start, room - len(mark.text)), len(bars) + 1 if bars else 0)
        lines.append(bars.ljust(at) + mark.text)
    return lines
