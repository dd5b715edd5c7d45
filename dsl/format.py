"""The one layout of a program: ``dsl fmt``.

    fn  soft( v,t )=sign(v)*max( (abs(v)-t),0 )   # prox
    -->
    fn soft(v, t) = sign(v) * max(abs(v) - t, 0)  # prox

Blanks, indentation and needless parentheses are ours; line breaks in brackets, empty lines (at most two, inside a
definition one), comments and the spelling of numbers and names are the author's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ..compiler.diagnostics import ProgramError, Source, UnspoolError
from .format_layout import INDENT, Row, set_line
from .format_words import Comment, Gap, Line, read_gap, read_lines
from .parse import parse, token_tree

#: Breaking one long line can make another break better; two rounds nearly always settle it.
_ROUNDS = 5


def format_text(source: Source) -> str:
    """The text of a program in its one layout, with ``\\n`` at the end of every line.

    Raises ProgramError with the syntax errors of a text that has some. What comes out has the same tree and the same
    comments; that is checked each time.
    """
    text = source.text.replace("\r\n", "\n")
    for _ in range(_ROUNDS):
        made = _formatted(Source(source.name, text))
        if made == text:
            break
        text = made
    return text


def with_ends_of(made: str, original: str) -> str:
    """A formatted text whose lines end as the first one of the original does."""
    first = original.find("\n")
    return made.replace("\n", "\r\n") if first > 0 and original[first - 1] == "\r" else made


def _formatted(source: Source) -> str:
    text = source.text
    before = parse(source)
    lines = read_lines(token_tree(text), text)
    made = "".join(row + "\n" for row in _joined(_rows(lines, text)))
    try:
        same = parse(Source(source.name, made)) == before and _comments(made) == _comments(text)
    except ProgramError:
        same = False
    if not same:
        raise UnspoolError(f"{source.name}: formatting would change the program, so it is left as it is; please report this")
    return made


def _comments(text: str) -> list[str]:
    """The comments of a text that has no syntax errors, in order."""
    return [found.rstrip() for found in re.findall(r"\"[^\"\n]*\"|'[^'\n]*'|#[^\n]*", text) if found.startswith("#")]


def _rows(lines: list[Line], text: str) -> Iterator[Row]:
    """All rows, with the comments and empty lines between the lines."""
    shifted = "\n" + text + "\n"
    columns: dict[int, int] = {}  # of the blocks open, by level, as the author has them
    above: Line | None = None
    for line in [*lines, None]:
        start = line.words[0].start if line else len(shifted)
        end = above.words[-1].end if above else 0
        gap = read_gap(shifted[end:start], end - shifted.rfind("\n", 0, end) - 1)
        trailing = gap.comments.pop(0) if gap.comments and not gap.comments[0].own else None
        if above is not None:
            *rows, last = set_line(above)
            yield from rows
            yield Row(last.text, trailing)
            columns = {level: c for level, c in columns.items() if level < above.level}
            if above.column is not None:
                columns[above.level] = above.column
        yield from _between(above, gap, line, columns)
        above = line


def _between(above: Line | None, gap: Gap, line: Line | None, columns: dict[int, int]) -> Iterator[Row]:
    """The comments and empty lines between two lines."""
    low = line.level if line else 0
    level = low if above is None or low > above.level else above.level
    found: list[tuple[int, Comment]] = []
    for comment in gap.comments:  # each belongs to a block that is as deep as it is, and open
        while level > low and columns.get(level, comment.column + 1) > comment.column:
            level -= 1
        found.append((level, comment))
    items = [(at, comment.blank, comment.text) for at, comment in found]
    if line is not None:
        items.append((low, gap.blank, ""))
    if items and (above is None or above.block):
        items[0] = (items[0][0], 0, items[0][2])
    elif (
        above is not None
        and line is not None
        and low == 0
        and _set_apart(above, line)
        and not any(blank for _, blank, _ in items)
    ):
        first = next(n for n, item in enumerate(items) if item[0] == 0)
        items[first] = (0, 1, items[first][2])
    for at, blank, shown in items:
        yield from [Row("")] * min(blank, 1 if at else 2)
        if shown:
            yield Row(" " * (INDENT * at) + shown)


def _set_apart(above: Line, line: Line) -> bool:
    """Whether an empty line has to be between two definitions, ``above`` being the last line of the first."""
    uses = [one.words[0].text == "use" for one in (above, line)]
    return line.block or above.level > 0 or uses[0] != uses[1]


def _joined(rows: Iterable[Row]) -> Iterator[str]:
    """The rows as text. Comments that the author has below each other in one column stay so."""
    group: list[Row] = []
    for row in rows:
        if group and (row.comment is None or group[0].comment is None or row.comment.column != group[0].comment.column):
            yield from _aligned(group)
            group = []
        group.append(row)
    yield from _aligned(group)


def _aligned(group: list[Row]) -> Iterator[str]:
    width = max((len(row.text) for row in group), default=0)
    for row in group:
        yield f"{row.text:{width}}  {row.comment.text}" if row.comment else row.text
