"""Quick fixes: a suggestion that is what should stand there, a word or an expression, put there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from lsprotocol import types as lsp

from ..shape_help import CODES
from .hover import bare
from .text import Text

#: Errors whose suggestion, if it is one word, is the word that was meant.
MISSPELT = ("US0201", "US0503", "US0509", "US0601", "US0602")
_WRITE = re.compile(r"(?:write|a power is) `([^`]+)`|(?:inequality is|a comparison is|compare with) `([^`]+)`")
_FITS = re.compile(r"`[^`]+` fits")
_NUMBER = re.compile(r"(\d[\d_]*)\.|\.(\d[\d_]*)")


def fixes(text: Text, uri: str, version: int | None, errors: Iterable[lsp.Diagnostic]) -> list[lsp.CodeAction]:
    """The fixes for errors that were reported before."""
    found = []
    for error in errors:
        suggestion = error.data.get("suggestion") if isinstance(error.data, dict) else None
        changes = list(_changes(text, error, str(suggestion))) if suggestion else []
        for where, new in changes:
            document = lsp.OptionalVersionedTextDocumentIdentifier(uri, version)
            edit = lsp.WorkspaceEdit(document_changes=[lsp.TextDocumentEdit(document, [lsp.TextEdit(where, new)])])
            found.append(lsp.CodeAction(f"Write {new}", lsp.CodeActionKind.QuickFix, [error], is_preferred=len(changes) == 1, edit=edit))
    return found


def _changes(text: Text, error: lsp.Diagnostic, suggestion: str) -> Iterator[tuple[lsp.Range, str]]:
    """Where to write what; of two expressions that fit, either."""
    if error.code in CODES and _FITS.match(suggestion):
        start, end = (text.offset(*text.place(p)) for p in (error.range.start, error.range.end))
        there = text.text[start:end]
        for new in re.findall(r"`([^`]+)`", suggestion):
            yield error.range, f"({new})" if bare(there) != there else new
        return
    change = _change(text, error, suggestion)
    if change is not None:
        yield change


def _change(text: Text, error: lsp.Diagnostic, suggestion: str) -> tuple[lsp.Range, str] | None:
    """Where to write what word."""
    start, end = (text.offset(*text.place(p)) for p in (error.range.start, error.range.end))
    there = text.text[start:end]
    if error.code in MISSPELT and re.fullmatch(r"\w+|\w+\.us", suggestion):
        within = re.match(r"use\s+[\"']?", there) if error.code == "US0601" else None
        old = re.match(r"[\w./-]*", there[within.end() :] if within else there)
        if old is None or not old[0]:
            return None
        first = start + (within.end() if within else 0)
        folder = old[0].rpartition("/")[0]
        return _range(text, first, first + len(old[0])), f"{folder}/{suggestion}" if folder else suggestion
    if error.code in ("US0101", "US0102", "US0109") and len(there) <= 2 and (wanted := _WRITE.search(suggestion)):
        new = wanted[1] or wanted[2]
        return error.range, new
    if error.code == "US0106" and there == ".":
        return error.range, "0."
    if error.code == "US0106" and (number := _NUMBER.fullmatch(there)):
        return error.range, f"{number[1]}.0" if number[1] else f"0.{number[2]}"
    return None


def _range(text: Text, start: int, end: int) -> lsp.Range:
    def position(offset: int) -> lsp.Position:
        before = text.text[:offset]
        return text.position(before.count("\n") + 1, offset - before.rfind("\n"))

    return lsp.Range(position(start), position(end))
