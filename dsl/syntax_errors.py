"""Words for syntax errors: what was found, what could stand there, and what to try."""

from __future__ import annotations

import re
from collections.abc import Set

from lark import Token

from ..compiler.diagnostics import Diagnostic, Source, Span
from .indent import IndentError
from .syntax import KEYWORDS
from .syntax_hints import syntax_hint

_SHOWN = {
    "COLON": "`:`", "EQUAL": "`=`", "COMMA": "`,`", "RPAR": "`)`", "RSQB": "`]`", "LPAR": "`(`", "LSQB": "`[`",
    "_NL": "the end of the line", "_INDENT": "an indented block", "_DEDENT": "the end of the block", "NAME": "a name",
    "$END": "the end of the file", "STRING": "a string", "IN": "`in`", "DOT": "`.`", "UNTIL": "`until`", "BY": "`by`",
    "FOR": "`for`", "ALGORITHM": "`algorithm`", "FN": "`fn`", "USE": "`use`", "WHERE": "`where`", "GIVEN": "`given`",
    "ELSE": "`else`", "ELIF": "`elif`", "INT": "a number", "AUGMENT": "`+=`",
    "__ANON_0": "`->`", "__ANON_1": "`..`",
}  # fmt: skip
_OTHER_LANGUAGES = {
    "while": "loops are `for k in 0..K:` or `for k in 0..K until condition:`",
    "def": "functions are `fn name(a, b) = expression` or `fn name(a, b):` with a block",
    "lambda": "write a `fn` and pass its name",
    "import": 'use `use prox` for a stdlib file or `use "file.us"` for one beside this',
    "from": "use `use prox: soft` to take names from a file",
    "class": "a program has `use`, `fn` and `algorithm` only",
    "print": "results are what an algorithm returns; use trace= from Python to see iterates",
    "is": "compare with `==`",
    "break": "use `for k in 0..K until condition:`",
    "continue": "put the rest of the body under an `if`",
}
#: Characters of other keyboards and of mathematics.
_CHARACTERS = {
    "!": "negation is `not`, inequality is `!=`", "&": "write `and`", "|": "write `or`", "^": "a power is `**`", "~": "write `not`",
    ";": "one statement per line", "\\": "lines join inside brackets", "?": "a choice is where(condition, a, b)", "$": "names are bare",
    "\u2212": "a minus is `-`", "\u2013": "a minus is `-`", "\u2014": "a minus is `-`", "\u00d7": "a product is `*`, of matrices `@`",
    "\u00b7": "a product is `*`, of matrices `@`", "\u22c5": "a product is `*`, of matrices `@`", "\u00f7": "a division is `/`",
    "\u2264": "write `<=`", "\u2265": "write `>=`", "\u2260": "write `!=`", "\u2192": "write `->`", "\u2190": "an assignment is `=`",
    "\u201c": 'quotes are `"`', "\u201d": 'quotes are `"`', "\u2018": "quotes are `'`", "\u2019": "quotes are `'`; a transpose is A.T",
    "\u2026": "an ellipsis is `...`", "\u221a": "a square root is sqrt(x)", "\u2211": "a sum is sum(e for i in 0..n)",
    "\u2217": "a product is `*`", "\u1d40": "a transpose is A.T", "\u22a4": "a transpose is A.T", "\u00b2": "a square is x**2",
    "\u00a0": "write an ordinary space",
}  # fmt: skip
_OPERATORS = ("PLUS", "MINUS", "STAR", "SLASH", "PERCENT", "AT")


def describe_layout(error: IndentError, span: Span) -> Diagnostic:
    """A fault of indentation or brackets."""
    if error.kind == "tab":
        return Diagnostic("US0103", "a tab in the indentation", span, suggestion="indent with spaces, for example four")
    if error.kind == "dedent":
        return Diagnostic(
            "US0104",
            "this line's indentation matches no enclosing block",
            span,
            suggestion="align it with the block it belongs to",
        )
    if error.kind == "close":
        return Diagnostic("US0105", f"`{error.token}` closes nothing", span, suggestion="remove it or open the bracket before it")
    message = f"`{error.token}` is never closed"
    if error.detail:
        message = f"`{error.token}` is closed by `{error.detail}`"
    return Diagnostic("US0105", message, span, suggestion="close it with `%s`" % (")" if error.token == "(" else "]"))


def keyword_as_name(text: str, span: Span) -> Diagnostic:
    """A keyword where a name stands."""
    return Diagnostic("US0110", f"`{text}` is a keyword and cannot be a name", span, suggestion=f"for example `{text}_`")


def indentation(span: Span) -> int:
    """The column in which the line of a span starts."""
    line = span.source.text.split("\n")[span.line - 1]
    return len(line) - len(line.lstrip()) + 1


def describe_character(source: Source, line: int, column: int) -> Diagnostic:
    """A place where no token starts."""
    rest = source.text.split("\n")[line - 1][column - 1 :] if line >= 1 else ""
    character = rest[:1] or " "
    span = Span(source, max(line, 1), column, max(line, 1), column + 1)
    if character == "'" and re.search(r"[\w\])]$", source.text.split("\n")[line - 1][: column - 1]):
        return Diagnostic("US0102", "`'` begins a string, and stands behind a value here", span, suggestion="a transpose is A.T")
    if character in "\"'":
        return Diagnostic(
            "US0102",
            "this string is never closed on its line, or has a backslash",
            span,
            suggestion="end it with the same quote; strings have no escapes",
        )
    if character.isdigit():
        word = re.match(r"[\w.]+", rest)
        length = len(word.group()) if word else 1
        return Diagnostic(
            "US0102",
            f"`{rest[:length]}` is neither a number nor a name",
            Span(source, line, column, line, column + length),
            suggestion="a name starts with a letter; a product needs `*`",
        )
    hint = _CHARACTERS.get(character)
    if character in "{}":
        ends = rest[1:].strip() == "" or character == "}"
        hint = "a block is a line that ends with `:` and indented lines" if ends else "there are no sets and dictionaries"
    return Diagnostic("US0102", f"the character {character!r} has no meaning here", span, suggestion=hint)


def describe_token(token: Token, span: Span, previous: Span | None, accepted: Set[str]) -> Diagnostic:
    """A token that cannot stand where it does; ``previous`` is where the one before stands."""
    text = str(token)
    before = ""
    if previous is not None:
        line = previous.source.text.split("\n")[previous.line - 1]
        before = line[previous.column - 1 : previous.end_column - 1] if previous.line == previous.end_line else ""
        if before == "." and line[: previous.column - 1][-1:].isdigit():
            at = Span(previous.source, previous.line, previous.column - 1, previous.line, previous.end_column)
            return Diagnostic(
                "US0106", "a float literal has a digit on both sides of its point", at, suggestion="write 1.0, not 1."
            )
    if token.type == "_INDENT":
        return Diagnostic(
            "US0104",
            "this line is indented more than the block it is in",
            span,
            suggestion="align it with the line above, or end that line with `:`",
        )
    if "_INDENT" in accepted and token.type != "_INDENT":
        return Diagnostic(
            "US0104",
            "an indented block is missing after the line that ends with `:`",
            span,
            suggestion="indent the lines that belong to it",
        )
    if text == "." and before.isdigit():
        return Diagnostic(
            "US0106", "a float literal has a digit on both sides of its point", previous, suggestion="write 1.0, not 1."
        )
    if text == "." and "INT" in accepted:
        return Diagnostic(
            "US0106", "a float literal has a digit on both sides of its point", span, suggestion="write 0.5, not .5"
        )
    if text in ("if", "else") and token.type in ("IF", "ELSE") and "_NL" in accepted:
        return Diagnostic("US0109", "a conditional expression is written where(condition, a, b)", span)
    for word, place in ((before, previous), (text, span)):
        if word in _OTHER_LANGUAGES and (place is previous or token.type == "NAME"):
            return Diagnostic("US0109", f"`{word}` is not part of the language", place, suggestion=_OTHER_LANGUAGES[word])
    if text in KEYWORDS and "NAME" in accepted and token.type != "NAME" and not _starts_expression(accepted):
        return keyword_as_name(text, span)
    if token.type == "EQUAL" and "_NL" not in accepted and "EQUAL" not in accepted and "__ANON_1" not in accepted:
        meant = "write `in`" if accepted == {"IN"} else "an assignment is `=`" if before == ":" else "a comparison is `==`"
        return Diagnostic("US0101", f"`=` cannot stand here; expected {_expected(accepted)}", span, suggestion=meant)
    found = {"_NL": "the line ends", "$END": "the file ends", "_DEDENT": "the block ends"}.get(token.type, f"found `{text}`")
    after = f" after `{before.strip()}`" if before.strip() else ""
    hint = syntax_hint(token, span, previous, before, accepted)
    return Diagnostic("US0101", f"expected {_expected(accepted)}{after}, but {found}", span, suggestion=hint)


def _starts_expression(accepted: Set[str]) -> bool:
    return "INT" in accepted and "LPAR" in accepted and "NAME" in accepted


def _expected(accepted: Set[str]) -> str:
    names = set(accepted)
    parts = []
    if _starts_expression(names):
        parts.append("an expression")
        names = {n for n in names if n in ("_NL", "RPAR", "RSQB", "COLON")}
    elif any(op in names for op in _OPERATORS):
        parts.append("an operator")
        names = {n for n in names if n in ("_NL", "RPAR", "RSQB", "COLON", "COMMA", "EQUAL", "FOR", "_DEDENT")}
        if "_NL" in names:
            names.discard("COMMA")
    parts += sorted(_SHOWN[n] for n in names if n in _SHOWN)
    if not parts:
        parts = [f"`{n.lower()}`" for n in sorted(names) if not n.startswith("_")][:4] or ["something else"]
    if len(parts) == 1:
        return parts[0]
    return ", ".join(parts[:-1]) + " or " + parts[-1]
