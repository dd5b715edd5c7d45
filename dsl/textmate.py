"""The TextMate grammar of programs, for VS Code and other editors that colour by it; its words are the language's own.

python -m unspool.dsl.textmate > editors/vscode/syntaxes/unspool.tmLanguage.json

Every rule is one ``match`` within a line: there is no state to lose, and the patterns mean in Oniguruma what they mean in ``re``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from .builtins.all import BUILTINS
from .syntax import KEYWORDS, TYPE_NAMES

DECLARING = ("use", "fn", "algorithm", "given", "iterations", "param", "module", "objective", "where")
CONTROL = ("for", "in", "by", "until", "if", "elif", "else", "return", "assert")
OPERATING = ("and", "or", "not")
CONSTANT = ("True", "False", "None")
_NAME = r"[^\W\d]\w*"
_EXPONENT = r"(?:[eE][+-]?\d+)?"


def grammar() -> dict[str, Any]:
    """The grammar as it is written to the file."""
    assert {*DECLARING, *CONTROL, *OPERATING, *CONSTANT} == KEYWORDS
    return {
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "name": "Unspool",
        "scopeName": "source.unspool",
        "fileTypes": ["us"],
        "patterns": [
            _rule("comment.line.number-sign.unspool", r"#.*$"),
            _rule("string.quoted.double.unspool", r'"[^"\\\n]*"'),
            _rule("string.quoted.single.unspool", r"'[^'\\\n]*'"),
            _pair(rf"\b(use)\s+({_NAME})", "keyword.declaration.unspool", "entity.name.namespace.unspool"),
            _pair(rf"\b(fn|algorithm|objective|module)\s+({_NAME})", "keyword.declaration.unspool", "entity.name.function.unspool"),
            _pair(rf"\b(param|iterations)\s+({_NAME})", "keyword.declaration.unspool", "variable.other.constant.unspool"),
            _rule("support.function.builtin.unspool", r"\bwhere(?=\()"),
            _rule("keyword.declaration.unspool", _words(DECLARING)),
            _rule("keyword.control.unspool", _words(CONTROL)),
            _rule("keyword.operator.logical.unspool", _words(OPERATING)),
            _rule("constant.language.unspool", _words(CONSTANT)),
            _rule("support.type.unspool", _words(TYPE_NAMES)),
            {"match": rf"(?<=[(,])\s*({_NAME})(?=\s*=(?!=))", "captures": {"1": {"name": "variable.parameter.unspool"}}},
            _rule("support.function.builtin.unspool", _words(name for name in BUILTINS if name != "where") + r"(?=\()"),
            _rule("support.variable.property.unspool", rf"(?<=[\w)\]]\.){_NAME}(?!\w|\()"),
            _rule("entity.name.function.call.unspool", rf"\b{_NAME}(?=\()"),
            _rule("variable.other.unspool", rf"\b{_NAME}"),
            _rule("constant.numeric.imaginary.unspool", rf"\b\d[\d_]*(?:\.\d[\d_]*)?{_EXPONENT}[jJ]\b"),
            _rule("constant.numeric.float.unspool", r"\b\d[\d_]*(?:\.\d[\d_]*(?:[eE][+-]?\d+)?|[eE][+-]?\d+)\b"),
            _rule("constant.numeric.integer.unspool", r"\b\d[\d_]*\b"),
            _rule("keyword.operator.range.unspool", r"\.\.\.?"),
            _rule("keyword.operator.arrow.unspool", r"->"),
            _rule("keyword.operator.comparison.unspool", r"[<>=!]=|[<>]"),
            _rule("keyword.operator.assignment.unspool", r"[-+*/]?="),
            _rule("keyword.operator.arithmetic.unspool", r"\*\*|//|[-+*/%@]"),
            _rule("punctuation.unspool", r"[()\[\],:.]"),
        ],
    }


def _rule(scope: str, match: str) -> dict[str, Any]:
    return {"name": scope, "match": match}


def _pair(match: str, first: str, second: str) -> dict[str, Any]:
    """A word and what it declares."""
    return {"match": match, "captures": {"1": {"name": first}, "2": {"name": second}}}


def _words(words: Iterable[str]) -> str:
    return rf"\b(?:{'|'.join(sorted(words))})\b"


def text() -> str:
    """The file."""
    return json.dumps(grammar(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(text(), end="")
