"""One thing to try for a token that cannot stand where it does."""

from __future__ import annotations

import re
from collections.abc import Set

from lark import Token

from ..compiler.diagnostics import Span
from ..compiler.nearest import nearest
from .syntax import KEYWORDS

#: Keywords that begin a line, with an example of each.
_LINES = {
    "use": "use prox: soft", "fn": "fn f(x) = x", "algorithm": "algorithm f(x: real[n]) -> real[n]:", "iterations": "iterations K = 16",
    "param": "param step[K]: positive = 0.1", "module": "module f: (real[n]) -> real[n]", "objective": "objective J(x) = sum(x**2)",
    "for": "for k in 0..K:", "if": "if k == 0:", "elif": "elif k == 1:", "else": "else:", "return": "return x", "assert": "assert all(x > 0)",
}  # fmt: skip
#: Words that begin such lines elsewhere.
_ELSEWHERE = {
    "let": "name = expression", "var": "name = expression", "const": "name = expression", "function": _LINES["fn"], "func": _LINES["fn"],
    "fun": _LINES["fn"], "proc": _LINES["algorithm"], "parameter": _LINES["param"], "learnable": _LINES["param"], "weight": _LINES["param"],
    "iteration": _LINES["iterations"], "steps": _LINES["iterations"], "include": _LINES["use"], "using": _LINES["use"], "require": _LINES["use"],
    "foreach": _LINES["for"], "elsif": _LINES["elif"], "elseif": _LINES["elif"], "network": _LINES["module"], "loss": _LINES["objective"],
    "minimize": _LINES["objective"], "real": "x: real[n] = expression",
}  # fmt: skip


def syntax_hint(token: Token, span: Span, previous: Span | None, before: str, accepted: Set[str]) -> str | None:
    """What to try. ``before`` is the text of the token before, at ``previous``; ``accepted`` are the terminals that could stand here."""
    text, line = str(token), span.source.line(span.line)
    first = re.match(r"\s*(\w*)", line)
    head = first.group(1) if first else ""
    return (
        _misspelt(token, text, span, previous, before, accepted, head)
        or _punctuation(token, text, before, accepted, head, line)
        or _end(token, before, accepted, head, line)
    )


def _misspelt(
    token: Token, text: str, span: Span, previous: Span | None, before: str, accepted: Set[str], head: str
) -> str | None:
    """A keyword that was meant: of the word that is refused, or of the one its line begins with."""
    if token.type != "NAME":
        return None
    here = [word for word in KEYWORDS if word.upper() in accepted]
    close = nearest(text, here, 0.7)
    if close is not None:
        return f"`{_LINES.get(close, close)}`" if text == head else f"`{close}`"
    if text == head and text in _ELSEWHERE and "ALGORITHM" in accepted:
        return f"`{_ELSEWHERE[text]}`"
    if previous is None or previous.line != span.line or before != head or before in KEYWORDS:
        return None
    if before in _ELSEWHERE:
        return f"`{_ELSEWHERE[before]}`"
    close = nearest(before, _LINES, 0.7)
    return f"`{_LINES[close]}`" if close is not None else None


def _punctuation(token: Token, text: str, before: str, accepted: Set[str], head: str, line: str) -> str | None:
    """Another sign that was meant."""
    from .builtins.all import BUILTINS  # which need the parser

    if text == "=" and "__ANON_1" in accepted:
        return "a comparison is `==`"
    if ("__ANON_1" in accepted and head == "for") or ("__ANON_1" in accepted and " in range(" in line):
        return "a range is written 0..n"
    if text in ("do", "then", "begin") and "COLON" in accepted:
        return "end the line with `:`"
    if text == "(" and before == "for":
        return "no brackets: for k in 0..K:"
    if text == ".." and "COLON" in accepted:
        return "a slice is written a:b"
    if text == "in" and "FOR" in accepted:
        return "an index stands behind: sum(e for i in 0..n)"
    if text == "if" and before == "else":
        return "`elif`"
    if text == "//" and "INT" in accepted:
        return "a comment begins with `#`"
    if text == ":" and "__ANON_0" in accepted:
        return "say what it returns: `-> real[n]:`"
    if text == ":" and head == "fn":
        return "the parameters of a fn have no types: fn f(x, y)"
    if text == "->" and head == "fn":
        return "a fn has no declared result: fn f(x) = expression"
    if text in (")", ",") and accepted == {"COLON"} and head == "algorithm":
        return "an input has a type: x: real[n]"
    if token.type == "STRING" and "STAR" in accepted:
        return "a comment begins with `#`" if text[:1] == before[:1] else None
    if token.type in ("NAME", "INT", "FLOAT") and before in BUILTINS:
        return f"{before}({text})"
    if (
        token.type in ("NAME", "INT", "FLOAT", "LPAR")
        and "STAR" in accepted
        and re.fullmatch(r"[\w.)\]]+", before)
        and text not in KEYWORDS
    ):
        return "a product needs `*`, of matrices `@`" if before not in KEYWORDS else None
    return None


def _end(token: Token, before: str, accepted: Set[str], head: str, line: str) -> str | None:
    """A line that ends too early."""
    if token.type not in ("_NL", "$END"):
        return None
    if "COLON" in accepted and head in ("for", "if", "elif", "else", "algorithm", "until", "objective"):
        return "end the line with `:`"
    if "__ANON_0" in accepted and head == "algorithm":
        return "say what it returns: `-> real[n]:`"
    if "COLON" in accepted and head == "fn":
        return "`= expression` on the line, or `:` and a block"
    if before == "return":
        return "name what is returned: return x"
    if before in ("+", "-") and line.rstrip().endswith(before * 2):
        return f"x {before}= 1"
    return None
