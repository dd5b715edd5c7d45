"""Text to syntax tree. Syntax errors become diagnostics, one for each broken top-level definition."""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from ..compiler import options
from ..compiler.diagnostics import Diagnostic, ProgramError, Source
from . import syntax as s
from .indent import Indenter, IndentError
from .syntax_errors import describe_character, describe_layout, describe_token, indentation
from .tree_builder import SyntaxFault, TreeBuilder
from .walk import children

#: Expressions and blocks may be nested this deep; more is an error, not a crash.
MAX_DEPTH = 150
_LOCK = Lock()


@lru_cache(maxsize=1)
def _parser() -> tuple[Lark, TreeBuilder, Indenter]:
    builder, indenter = TreeBuilder(), Indenter()
    return _lark(indenter, builder), builder, indenter


@lru_cache(maxsize=1)
def _token_parser() -> Lark:
    return _lark(Indenter(), None)


def _lark(indenter: Indenter, builder: TreeBuilder | None) -> Lark:
    grammar = (Path(__file__).parent / "grammar.lark").read_text(encoding="utf-8")
    return Lark(
        grammar, parser="lalr", postlex=indenter, transformer=builder, keep_all_tokens=True, maybe_placeholders=True,
        cache=_table_file(),
    )  # fmt: skip


def _table_file() -> str | bool:
    """Where lark keeps the parse tables, which take longer to make than a program to check; False: nowhere."""
    folder = options.current.cache
    if folder is None:
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return str(folder / f"grammar-{sys.version_info[0]}.{sys.version_info[1]}.tables")


def parse(source: Source) -> s.Program:
    """The syntax tree of a text. Raises ProgramError with every syntax error found."""
    parts, errors = parse_parts(source)
    if errors:
        raise ProgramError(errors)
    ((_, program),) = parts
    assert program is not None
    return program


def parse_parts(source: Source) -> tuple[list[tuple[str, s.Program | None]], list[Diagnostic]]:
    """The whole text with its tree, if it has no syntax error; else each definition, its lines where they were, with its tree (None if it has one), and
    every syntax error."""
    try:
        return [(source.text, parse_part(source, source.text))], []
    except SyntaxFault as fault:
        first = fault.diagnostic
    parts: list[tuple[str, s.Program | None]] = []
    found: list[Diagnostic] = []
    for text in _definitions(source.text):
        try:
            parts.append((text, parse_part(source, text)))
        except SyntaxFault as fault:
            found.append(fault.diagnostic)
            parts.append((text, None))
    return parts, sorted(dict.fromkeys(found or [first]), key=_place)


def token_tree(text: str) -> Tree[Token]:
    """Every token of a text that :func:`parse` accepts, in the grammar's rules. Token ``start_pos`` count from -1, as
    the text is read after a newline; comments and blanks are what lies between two tokens."""
    with _LOCK:
        return _token_parser().parse("\n" + text + "\n")


def _place(diagnostic: Diagnostic) -> tuple[int, int]:
    span = diagnostic.span
    return (span.line, span.column) if span else (0, 0)


def _definitions(text: str) -> list[str]:
    """The text cut before each line that starts a definition, each part at its own place."""
    starts = [m.start() for m in re.finditer(r"^(?:use|fn|algorithm)\b", text, re.MULTILINE)]
    parts = []
    for start, end in pairwise([*starts, len(text)]):
        parts.append("\n" * text.count("\n", 0, start) + text[start:end])
    return parts


def parse_part(source: Source, text: str) -> s.Program:
    """The syntax tree of a text that has the lines of ``source``, or some of them at their places. Raises SyntaxFault for the first error."""
    with _LOCK:
        parser, builder, indenter = _parser()
        builder.source = source
        try:
            # the first newline gives the first line an indentation; spans are counted one line back
            tree: Any = parser.parse("\n" + text + "\n")
        except IndentError as error:
            raise SyntaxFault(describe_layout(error, builder.token_span(error.token))) from None
        except UnexpectedToken as error:
            raise SyntaxFault(_unexpected(error, indenter, builder)) from None
        except UnexpectedCharacters as error:
            raise SyntaxFault(describe_character(source, error.line - 1, error.column)) from None
        except UnexpectedInput as error:
            raise SyntaxFault(Diagnostic("US0101", str(error), builder.everything())) from None
    program: s.Program = tree
    deep = too_deep(program)
    if deep is not None:
        raise SyntaxFault(deep)
    return program


def _unexpected(error: UnexpectedToken, indenter: Indenter, builder: TreeBuilder) -> Diagnostic:
    accepted = error.accepts if isinstance(error.accepts, set) else set(error.expected)
    before = [t for t in indenter.last if t is not error.token][-1:]
    span = builder.token_span(error.token)
    for bracket in indenter.brackets[-1:]:  # a line that starts no further right than the one with the bracket is a new one
        opened = builder.token_span(bracket)
        if span.line > opened.line and span.column <= indentation(opened):
            return describe_layout(IndentError("open", bracket), opened)
    return describe_token(error.token, span, builder.token_span(before[0]) if before else None, accepted)


def too_deep(program: s.Program) -> Diagnostic | None:
    """What is wrong if a part is nested more than MAX_DEPTH deep."""
    stack: list[tuple[s.Node, int]] = [(program, 0)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_DEPTH:
            message = f"this is nested more than {MAX_DEPTH} deep"
            return Diagnostic("US0108", message, node.span, suggestion="name a part of it first")
        stack.extend((child, depth + 1) for child in children(node))
    return None
