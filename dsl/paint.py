"""Errors at a terminal, in colours; plain text elsewhere, and with ``NO_COLOR`` in the environment."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_HEAD = re.compile(r"(?P<place>.*?:\d+:\d+: )?(?P<word>error(?: US\d+)?:)(?P<said>.*)")
_DRAWN = re.compile(r"(?P<gutter> *\d* \| )(?P<rest>.*)")
_HINT = re.compile(r"(?P<word>  (?:try|note):)(?P<said>.*)")


def print_error(text: str, console: Console | None = None) -> None:
    """Print an error to standard error, or to ``console``."""
    if console is None and not sys.stderr.isatty():
        print(text, file=sys.stderr)
        return
    from rich.console import Console
    from rich.text import Text

    shown = console or Console(stderr=True, soft_wrap=True)
    for line in text.split("\n"):
        shown.print(Text.assemble(*_parts(line)), highlight=False, soft_wrap=True)


def _parts(line: str) -> Iterator[tuple[str, str]]:
    """The parts of a line with their styles."""
    if found := _HEAD.fullmatch(line):
        yield from [(found["place"] or "", "bold"), (found["word"], "bold red"), (found["said"], "bold")]
    elif found := _DRAWN.fullmatch(line):
        yield found["gutter"], "blue"
        rest = found["rest"]
        if set(rest) <= set(" ^"):
            yield rest, "bold red"
        elif found["gutter"].strip() == "|":  # labels
            yield rest, "blue"
        else:
            yield rest, ""
    elif found := _HINT.fullmatch(line):
        yield from [(found["word"], "green"), (found["said"], "")]
    else:
        yield line, ""
