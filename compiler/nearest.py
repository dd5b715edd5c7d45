"""Known names that a misspelt one is near to."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name most like ``name``, or None; upper and lower case are alike. ``cutoff``: how alike, from 0 to 1 (difflib's ratio)."""
    spellings: dict[str, str] = {}
    for word in known:
        spellings.setdefault(word.lower(), word)
    found = get_close_matches(name.lower(), list(spellings), 1, cutoff)
    return spellings[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'ista'?"`` to end a message with, or nothing."""
    found = nearest(name, known)
    return f"; did you mean {found!r}?" if found is not None else ""
