"""``dsl fmt`` as edits: those lines that change, so that the cursor and what is folded stay where they are."""

from __future__ import annotations

from difflib import SequenceMatcher

from lsprotocol import types as lsp

from ...compiler.diagnostics import Source
from ..format import format_text, with_ends_of
from .text import Text


def edits(source: Source, text: Text) -> list[lsp.TextEdit]:
    """What formatting changes. Raises ProgramError for a text with syntax errors."""
    made = with_ends_of(format_text(source), source.text)
    old, new = source.text.split("\n"), made.split("\n")
    found = []
    for kind, first, last, begin, end in SequenceMatcher(None, old, new).get_opcodes():
        if kind == "equal":
            continue
        if last < len(old):  # whole lines, with their ends
            where = lsp.Range(text.position(first + 1, 1), text.position(last + 1, 1))
            put = "".join(line + "\n" for line in new[begin:end])
        else:  # up to the end of the text, from the end of the line before
            at = (first, len(old[first - 1]) + 1) if first else (1, 1)
            where = lsp.Range(text.position(*at), text.position(len(old) + 1, 1))
            put = ("\n" if first and begin < end else "") + "\n".join(new[begin:end])
        found.append(lsp.TextEdit(where, put))
    return found
