"""The words of one logical line set in as many lines as needed.

Lines break inside brackets only: where the author broke them, and, if one is longer than ``LIMIT``, where it
takes to bring them to ``WIDTH``: before the items of the outermost bracket first, into an item only if it is too
long for a line. What follows goes below the first word in the bracket, or, if the line breaks right after
the bracket, four columns in::

    x = soft(x - step[k] * (A.T @ r),        x = soft(
             lam[k] * step[k])                   x - step[k] * (A.T @ r),
                                                 lam[k] * step[k],
                                             )
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from .format_words import Comment, Line, Word

#: A longer line is broken, ...
LIMIT = 120
#: ... into lines of at most this many columns where that is possible. Comments do not count.
WIDTH = 100
INDENT = 4
_DEEP = 30  # columns of indentation that are too many if four would do


@dataclass(frozen=True)
class Row:
    """A printed line: its text, and the comment at its end. Alone on its line, a comment is a text."""

    text: str
    comment: Comment | None = None


@dataclass
class _Bracket:
    start: int  # the word that opens it
    column: int  # of what follows on the next line
    base: int  # of the end, if it is on its own line
    hanging: bool


def set_line(line: Line) -> list[Row]:
    """The rows of a line."""
    margin = line.level * INDENT
    kept = _Setter(line.words, None)
    rows = kept.set(margin)
    if _widest(rows) <= LIMIT:
        return rows
    rows = _Setter(line.words, WIDTH).set(margin)
    wrapped = _in_parentheses(line)
    if wrapped is not None:
        setter = _Setter(wrapped, WIDTH)
        other = setter.set(margin)
        if line.value and line.value[0] in setter.broken and _cost(other) <= _cost(rows):
            return other
    return rows


def _widest(rows: Sequence[Row]) -> int:
    return max(len(row.text) for row in rows)


def _cost(rows: Sequence[Row]) -> tuple[int, int]:
    return max(0, _widest(rows) - WIDTH), len(rows)


def _in_parentheses(line: Line) -> list[Word] | None:
    """The line with its value in parentheses; None if it has none."""
    if line.value is None:
        return None
    start, end = line.value
    words = [*line.words[:start], *map(replace, line.words[start:end]), *line.words[end:]]
    depth, tuple_ = 0, False
    for n, word in enumerate(words[start:end], start):
        depth += word.opens - word.closes
        tuple_ |= depth == 0 and word.text == "," and n < end - 1
    place = words[end - 1].end
    closing = [Word(",", place, place, tight_before=True, optional=True)] if tuple_ else []
    closing.append(Word(")", place, place, tight_before=True, closes=True))
    return [*words[:start], Word("(", place, place, tight_after=True, opens=True), *words[start:end], *closing, *words[end:]]


class _Setter:
    """Sets words from left to right; ``width`` None: breaks where the author did, and nowhere else."""

    def __init__(self, words: list[Word], width: int | None) -> None:
        self.words, self.width = words, width
        self.broken: set[int] = set()  # words that open a bracket in which a line broke before an item
        self._measure()

    def _measure(self) -> None:
        words, count = self.words, len(self.words)
        self.offset = [0] * (count + 1)  # of each word, all on one line
        self.bracket = [-1] * count  # the innermost one that a word is in, by the word that opens it
        self.depth = [0] * count
        self.partner: dict[int, int] = {}
        stack: list[int] = []
        printed = None
        for n, word in enumerate(words):
            if word.closes:
                self.partner[stack.pop()] = n
            self.depth[n], self.bracket[n] = len(stack), stack[-1] if stack else -1
            length = 0 if word.optional else len(word.text) + (printed is not None and _blank(printed, word))
            self.offset[n + 1] = self.offset[n] + length
            if word.opens:
                stack.append(n)
            if not word.optional:
                printed = word
        self.breakable = [words[n].level is not None and self.depth[n] > 0 for n in range(count)]
        self.hanging = {n: self._hangs(n, end) for n, end in self.partner.items()}
        self.forced = [self._is_forced(n) for n in range(count)]
        self._look_ahead(count)
        # where the item before begins, or its bracket
        self.item_before = dict(self._nearest(range(count), -1))
        for n, before in self.item_before.items():
            if before < 0 or self.depth[before] < self.depth[n]:
                self.item_before[n] = self.bracket[n]

    def _look_ahead(self, count: int) -> None:
        """From each word on: the next break that is sure, the next that is possible, and where what follows its item begins."""
        self.next_forced, self.next_any = [count] * (count + 1), [count] * (count + 1)
        for n in reversed(range(count)):
            self.next_forced[n] = n if self.forced[n] else self.next_forced[n + 1]
            after_open = n > 0 and self.words[n - 1].opens and not self.words[n].closes
            self.next_any[n] = n if self.forced[n] or self.breakable[n] or after_open else self.next_any[n + 1]
        self.next_item = dict(self._nearest(reversed(range(count)), count))

    def _nearest(self, places: Iterable[int], none: int) -> Iterator[tuple[int, int]]:
        """For each place where a line may break, the last one before it, in the order of ``places``, that breaks as early."""
        open_items: list[int] = []
        for n in places:
            if self.breakable[n]:
                while open_items and self._key(open_items[-1]) > self._key(n):
                    open_items.pop()
                yield n, open_items[-1] if open_items else none
                open_items.append(n)

    def _key(self, n: int) -> tuple[int, int]:
        return self.depth[n], self.words[n].level or 0

    def _hangs(self, start: int, end: int) -> bool:
        """Whether the author broke the line after a bracket, or a comment makes it necessary."""
        first = self.words[start + 1]
        if start + 1 == end:
            return bool(first.gap.comments)
        return first.gap.newline or bool(self.words[end].gap.comments) or bool(first.gap.comments)

    def _is_forced(self, n: int) -> bool:
        word = self.words[n]
        if word.gap.comments or (word.gap.newline and self.breakable[n]):
            return True
        opening = self.words[n - 1].opens and not word.closes
        return n > 0 and opening and self.hanging[n - 1]

    def set(self, margin: int) -> list[Row]:
        """The rows, beginning in column ``margin``."""
        self.rows: list[Row] = []
        self.text, self.base = " " * margin, margin
        self.row_of: list[int] = []
        stack: list[_Bracket] = []
        printed: Word | None = None
        for n, word in enumerate(self.words):
            self.row_of.append(len(self.rows))
            if word.optional and not stack[-1].hanging:
                continue
            blank = printed is not None and _blank(printed, word)
            column = stack[-1].column if stack else margin
            ends = word.closes and stack[-1].hanging and n > 0 and not (self.words[n - 1].opens and not word.gap.comments)
            after_open = n > 0 and self.words[n - 1].opens and stack[-1].hanging and not word.closes
            if ends or after_open or self.forced[n] or self._breaks(n, len(self.text) + blank, column):
                inner = not ends and not after_open
                if inner:
                    self.broken.add(stack[-1].start)
                self._break(word, column, stack[-1].base if ends else column, inner)
                blank = False
            self.row_of[-1] = len(self.rows)
            self.text += " " * blank + word.text
            if word.closes:
                stack.pop()
            elif word.opens:
                stack.append(self._bracket(n))
            printed = word
        return [*self.rows, Row(self.text)]

    def _break(self, word: Word, column: int, start: int, inner: bool) -> None:
        """End the row before a word, after its comments."""
        row = Row(self.text)
        for n, comment in enumerate(word.gap.comments):
            if n == 0 and not comment.own:
                row = Row(self.text, comment)
                continue
            if comment.blank and (inner or n > 0):
                self.rows += [row, Row("")]
            else:
                self.rows.append(row)
            row = Row(" " * column + comment.text)
        self.rows.append(row)
        if word.gap.blank and not word.closes and (inner or word.gap.comments):
            self.rows.append(Row(""))
        self.text, self.base = " " * start, start

    def _bracket(self, n: int) -> _Bracket:
        """How the bracket that word ``n`` opens is set."""
        below, end = len(self.text), self.partner[n]
        four = self.base + INDENT
        hanging = self.hanging[n]
        if not hanging and self.width is not None and end > n + 1:
            tail = self.next_any[end + 1] if end + 1 < len(self.words) else len(self.words)
            if below + self.offset[tail] - self.offset[n + 1] > self.width:
                longest = self._longest_item(n, end)
                if below + longest > self.width:
                    hanging = four + longest <= self.width or below > four + _DEEP
        return _Bracket(n, four if hanging else below, self.base, hanging)

    def _longest_item(self, start: int, end: int) -> int:
        """The width of the longest item directly in a bracket, all on one line."""
        inside = [n for n in range(start + 1, end) if self.breakable[n] and self.depth[n] == self.depth[start] + 1]
        loosest = min((self.words[n].level or 0 for n in inside), default=0)
        cuts = [start + 1, *(n for n in inside if self.words[n].level == loosest), end + 1]
        return max(self.offset[b] - self.offset[a] for a, b in pairwise(cuts))

    def _breaks(self, n: int, at: int, column: int) -> bool:
        """Whether the line breaks before word ``n``, which would start in column ``at``, to go on in ``column``."""
        if self.width is None or not self.breakable[n]:
            return False
        lead = self.offset[n + 1] - self.offset[n] - len(self.words[n].text)  # the blank before it

        def length(end: int) -> int:
            return self.offset[end] - self.offset[n] - lead

        whole = length(min(self.next_item[n], self.next_forced[n + 1]))
        if at + whole <= self.width:
            return False
        if column + whole <= self.width:
            return True
        if self.row_of[self.item_before[n]] < len(self.rows):  # the item before has several rows
            return True
        inside = self.next_any[n + 1]
        head = length(min(inside, self.next_forced[n + 1]))
        return column < at and (at + head > self.width or inside >= self.next_item[n])


def _blank(before: Word, word: Word) -> bool:
    return not (before.tight_after or word.tight_before)
