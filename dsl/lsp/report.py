"""Diagnostics as the protocol has them: code, range, help text, related places, a link to the page of the error."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from lsprotocol import types as lsp

from ...compiler.diagnostics import Diagnostic, Source, Span
from .. import syntax as s
from .analysis import Analysis
from .names import path_span
from .text import Text

#: Where the pages of the errors are: in a checkout, and in an installed library.
PAGES = Path(__file__).resolve().parents[2] / "docs" / "errors"
_PLACE = re.compile(r"(?P<said>.*?),?(?P<at> at )(?P<file>.+):(?P<line>\d+):(?P<column>\d+)$", re.DOTALL)


def diagnostics(found: Analysis, text: Text, uri: str, uri_of: Callable[[str], str]) -> list[lsp.Diagnostic]:
    """Every error of a text; one in a file that it uses stands where that is used. ``uri_of`` gives the URI of a source by name."""
    sources = {scope.source.name: scope.source for scope in found.scope.project}
    return [_one(found, text, uri, uri_of, sources, error) for error in found.errors]


def _one(found: Analysis, text: Text, uri: str, uri_of: Callable[[str], str], sources: dict[str, Source], error: Diagnostic) -> lsp.Diagnostic:
    related: list[lsp.DiagnosticRelatedInformation] = []
    lines = [error.message]
    own: Span | None = error.span if error.span is not None and error.span.source == found.source else None

    def add(span: Span, message: str) -> None:
        mine = span.source == found.source
        at = text if mine else Text(span.source.text, text.encoding)
        where = lsp.Location(uri if mine else uri_of(span.source.name), at.range(span))
        related.append(lsp.DiagnosticRelatedInformation(where, message))

    if own is None and error.span is not None:
        add(error.span, error.message)
        lines[0] += f" (in {Path(error.span.source.name).name}, line {error.span.line})"
    for note in error.notes:
        place = _PLACE.fullmatch(note)
        source = sources.get(place["file"]) if place else None
        if place is None or source is None:
            lines.append(f"note: {note}")
            continue
        line, column = int(place["line"]), int(place["column"])
        span = Span(source, line, column, line, column + 1)
        if own is None and source == found.source:
            own = span  # the call that led into another file
        lines.append(f"note: {place['said']}{place['at']}line {line}" + ("" if source == found.source else f" of {Path(source.name).name}"))
        add(span, place["said"])
    for label in error.labels:
        add(label.span, label.text)
    if error.suggestion:
        lines.append(f"try: {error.suggestion}")
    if own is None:
        own = _use_of(found, error)
    page = PAGES / f"{error.code}.md"
    return lsp.Diagnostic(
        range=text.range(own),
        message="\n".join(lines),
        severity=lsp.DiagnosticSeverity.Error,
        code=error.code,
        code_description=lsp.CodeDescription(page.as_uri()) if page.is_file() else None,
        source="unspool",
        related_information=related or None,
        data={"suggestion": error.suggestion} if error.suggestion and own == error.span else None,
    )


def _use_of(found: Analysis, error: Diagnostic) -> Span:
    """Where a file that has the error, or uses the one that has, is used; else the first line."""
    name = Path(error.span.source.name).name if error.span is not None else ""
    uses = [item for item in found.program.items if isinstance(item, s.Use)]
    chosen = [u for u in uses if f"{Path(u.path).stem}.us" == name] or uses
    place = path_span(chosen[0]) if chosen else None
    return place or (chosen[0].span if chosen else Span(found.source, 1, 1, 1, 1))
