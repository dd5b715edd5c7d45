"""Lexers for Pygments: programs (``us``, an entry point of the package), and the texts of graphs, loops and schedules."""

from __future__ import annotations

from pygments.lexer import Lexer, RegexLexer, bygroups, words
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Text
from pygments.util import ClassNotFound

from .syntax import KEYWORDS, TYPE_NAMES

_NUMBER = r"\d[\d_]*(?:\.(?!\.)[\d_]*)?(?:[eE][+-]?\d+)?j?"
_TYPES = words(sorted(TYPE_NAMES), prefix=r"\b", suffix=r"\b")


class UsLexer(RegexLexer):
    """Programs of the language."""

    name, aliases, filenames = "Unspool", ["us", "unspool"], ["*.us"]
    tokens = {
        "root": [
            (r"\s+", Text),
            (r"#.*$", Comment.Single),
            (r'"[^"\\\n]*"|\'[^\'\\\n]*\'', String),
            (r"\b(fn|algorithm|objective|module|param|iterations)(\s+)([^\W\d]\w*)", bygroups(Keyword, Text, Name.Function)),
            (words(sorted(KEYWORDS), prefix=r"\b", suffix=r"\b"), Keyword),
            (_TYPES, Keyword.Type),
            (r"[^\W\d]\w*(?=\()", Name.Function),
            (r"[^\W\d]\w*", Name),
            (_NUMBER, Number),
            (r"\.\.\.?|->|\*\*|//|[-+*/@%<>=!]=?", Operator),
            (r"[()\[\]{},:.;]", Punctuation),
        ]
    }


class GraphLexer(RegexLexer):
    """Dataflow graphs, as :mod:`~..compiler.graph.text` prints them."""

    name, aliases, filenames = "Unspool graph", ["us-graph"], ["*.graph"]
    tokens = {
        "root": [
            (r"\s+", Text),
            (r"\b(graph|return|yield)\b", Keyword),
            (r"%\w+", Name.Variable),
            (_TYPES, Keyword.Type),
            (r"'[^'\n]*'", String),
            (r"[a-z_]\w*(?==)", Name.Attribute),
            (r"[^\W\d]\w*(?=\()", Name.Function),
            (r"[^\W\d]\w*", Name),
            (_NUMBER, Number),
            (r"->|[-+*/=]", Operator),
            (r"[()\[\]{},:.]", Punctuation),
        ]
    }


class LoopsLexer(RegexLexer):
    """Statements, orders and loop trees, as :mod:`~..compiler.loops.text` and :mod:`~..compiler.loops.tree_text` print them."""

    name, aliases, filenames = "Unspool loops", ["us-loops"], ["*.loops", "*.nest", "*.tree", "*.dependences"]
    tokens = {
        "root": [
            (r"\s+", Text),
            (r"\b(nest|array|order|function|for|in|declare|barrier|until|unless|call|if|else|tile|legal|predicted)\b", Keyword),
            (r"\b(serial|parallel|vector|unroll|block|thread|flow|anti|output|input|problem|local|shared)\b", Keyword.Pseudo),
            (words(sorted(TYPE_NAMES), prefix=r"(?<=[:.])", suffix=r"\b"), Keyword.Type),
            (words(sorted(TYPE_NAMES), prefix=r"\b", suffix=r"(?=\[)"), Keyword.Type),  # i8 may be a loop
            (r"\bS\d+\w*", Name.Label),
            (r"[^\W\d]\w*(?=\()", Name.Function),
            (r"[^\W\d]\w*", Name),
            (_NUMBER, Number),
            (r"\.\.|->|//|[-+*/<>=!]=?", Operator),
            (r"[()\[\]{},:.;#]", Punctuation),
        ]
    }


class ScheduleLexer(RegexLexer):
    """Schedules, and lines typed into the REPL: the first word of each step is what is done."""

    name, aliases, filenames = "Unspool schedule", ["us-schedule"], ["*.schedule"]
    tokens = {
        "root": [
            (r"\s+", Text),
            (r"#.*$", Comment.Single),
            (r"(^|;)([ \t]*)([a-z_]\w*)", bygroups(Punctuation, Text, Keyword)),
            (r"\b\d+\b", Number),
            (r"[^\W\d][\w.]*", Name),
            (r"[-+*/<>=!]=?", Operator),
            (r"\S", Punctuation),
        ]
    }


_OWN = {"us": UsLexer, "graph": GraphLexer, "loops": LoopsLexer, "schedule": ScheduleLexer}


def lexer(language: str) -> Lexer | None:
    """The lexer for a language of ours, or for one that Pygments knows; None for another."""
    if language in _OWN:
        return _OWN[language]()
    try:
        return get_lexer_by_name(language)
    except ClassNotFound:
        return None
