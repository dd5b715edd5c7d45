"""Blocks by indentation: turns newlines outside brackets into ``_INDENT`` and ``_DEDENT`` tokens."""

from __future__ import annotations

from collections.abc import Iterator

from lark import Token
from lark.lark import PostLex

_OPEN = {"LPAR": ")", "LSQB": "]"}
_CLOSE = {"RPAR": ")", "RSQB": "]"}


class IndentError(Exception):
    """A fault of layout: ``token`` is where, ``kind`` is ``tab``, ``dedent``, ``open`` or ``close``."""

    def __init__(self, kind: str, token: Token, detail: str = "") -> None:
        super().__init__(kind)
        self.kind = kind
        self.token = token
        self.detail = detail


class Indenter(PostLex):
    """Newlines inside brackets vanish; elsewhere the blanks that follow say which block a line is in."""

    always_accept = ("_NL", *_OPEN, *_CLOSE)

    def __init__(self) -> None:
        self.brackets: list[Token] = []  # open ones, for messages
        self.last: list[Token] = []  # the last two tokens, for messages

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        self.brackets, self.last = [], []
        for token in self._blocks(stream):
            self.last = [*self.last[-1:], token]
            yield token

    def _blocks(self, stream: Iterator[Token]) -> Iterator[Token]:
        levels = [0]
        brackets = self.brackets
        token = None
        for token in stream:
            if token.type == "_NL":
                if not brackets:
                    yield from _newline(token, levels)
                continue
            if token.type in _OPEN:
                brackets.append(token)
            elif token.type in _CLOSE:
                if not brackets:
                    raise IndentError("close", token)
                if _OPEN[brackets[-1].type] != _CLOSE[token.type]:
                    raise IndentError("open", brackets[-1], token.value)
                brackets.pop()
            yield token
        if brackets:
            raise IndentError("open", brackets[0])
        if token is not None:
            for _ in levels[1:]:
                yield Token.new_borrow_pos("_DEDENT", "", token)


def _newline(token: Token, levels: list[int]) -> Iterator[Token]:
    yield token
    blanks = token.value.rpartition("\n")[2]
    if blanks.startswith("#"):  # a comment at the end of the text
        return
    at = Token("_INDENT", blanks, line=token.end_line, column=1, end_line=token.end_line, end_column=len(blanks) + 1)
    if "\t" in blanks:
        raise IndentError("tab", at)
    width = len(blanks)
    if width > levels[-1]:
        levels.append(width)
        yield at
    while width < levels[-1]:
        levels.pop()
        yield Token.new_borrow_pos("_DEDENT", blanks, at)
    if width != levels[-1]:
        raise IndentError("dedent", at)
