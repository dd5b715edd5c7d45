"""Texts as highlighted lines, each with its tag."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter

from ..lexers import lexer
from .links import Tag


@dataclass(frozen=True)
class Line:
    """A line of code as HTML. ``number``: of the file it is from, if it is shown."""

    html: Markup
    tag: Tag
    number: int | None = None


def code(lines: Iterable[tuple[str, Tag]], language: str, numbers: Sequence[int] | None = None) -> list[Line]:
    """Lines of a language of :func:`~..lexers.lexer`, highlighted together."""
    pairs = list(lines)
    html = highlighted("\n".join(text for text, _ in pairs), language, len(pairs))
    return [Line(h, tag, None if numbers is None else numbers[n]) for n, (h, (_, tag)) in enumerate(zip(html, pairs))]


def highlighted(text: str, language: str, count: int) -> list[Markup]:
    """The lines of a text as HTML, escaped."""
    known = lexer(language)
    if known is None:
        return [Markup.escape(line) for line in text.split("\n")]
    known.stripnl = known.stripall = False
    # Pygments closes and opens its spans at the end of each line.
    found = highlight(text.replace("\r", " "), known, HtmlFormatter(nowrap=True)).split("\n")[:count]
    return [Markup(line) for line in found] + [Markup("")] * (count - len(found))
