"""The TextMate grammar of the VS Code extension: made of the language's words, it colours programs as the Pygments lexer does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pygments.token import Comment, Keyword, Number, String, Token

from unspool.dsl.builtins.all import BUILTINS
from unspool.dsl.lexers import UsLexer
from unspool.dsl.syntax import KEYWORDS, TYPE_NAMES
from unspool.dsl.textmate import grammar, text

ROOT = Path(__file__).resolve().parents[2]
EXTENSION = ROOT / "editors" / "vscode"
FILES = [*sorted((ROOT / "tests" / "programs").glob("*.us")), ROOT / "stdlib" / "optim.us"]
RULES = [
    (re.compile(rule["match"]), rule.get("name", ""), {int(n): c["name"] for n, c in rule.get("captures", {}).items()})
    for rule in grammar()["patterns"]
]
#: What Pygments calls what a scope begins with.
KINDS = {"comment": Comment, "string": String, "keyword.declaration": Keyword, "keyword.control": Keyword, "keyword.operator.logical": Keyword,
         "constant.language": Keyword, "support.type": Keyword.Type, "constant.numeric": Number}  # fmt: skip


def scopes(line: str) -> Iterator[tuple[int, int, str]]:
    """The scopes of a line, as editors find them: of the rules that match first, the one that stands first."""
    at = 0
    while at < len(line):
        found = [(m.start(), n, m) for n, (pattern, _, _) in enumerate(RULES) if (m := pattern.search(line, at)) and m.end() > m.start()]
        if not found:
            return
        start, n, match = min(found, key=lambda f: f[:2])
        _, name, captures = RULES[n]
        if name:
            yield start, match.end(), name
        for group, scope in captures.items():
            yield (*match.span(group), scope)
        at = match.end()


def scope(line: str, word: str) -> str:
    """The scope of the first place where a word stands."""
    return next(name for start, end, name in scopes(line) if line[start:end] == word).removesuffix(".unspool")


def test_the_file_is_up_to_date() -> None:
    path = EXTENSION / "syntaxes" / "unspool.tmLanguage.json"
    assert path.read_text(encoding="utf-8") == text(), f"run: python -m unspool.dsl.textmate > {path.relative_to(ROOT)}"


def test_every_word_of_the_language_has_its_scope() -> None:
    for word in KEYWORDS:
        assert scope(f"x {word} y", word).startswith(("keyword.", "constant.language"))
    for word in TYPE_NAMES:
        assert scope(f"x: {word}[n]", word) == "support.type"
    for word in BUILTINS:
        assert scope(f"    y = {word}(x)", word) == "support.function.builtin"
        assert scope(f"    y = {word}ed(x)", f"{word}ed") == "entity.name.function.call"


@pytest.mark.parametrize(
    ("line", "word", "wanted"),
    [
        ("algorithm λf(given ä: real[m])", "λf", "entity.name.function"),
        ("    param τ_1[K]: positive = 1", "τ_1", "variable.other.constant"),
        ("use prox: soft", "prox", "entity.name.namespace"),
        ("    y = softmax(x, axis=0)", "axis", "variable.parameter"),
        ("    y = sum(x == 0)", "x", "variable.other"),
        ("    for k in 0..K:", "K", "variable.other"),
        ("    for k in 0..K:", "..", "keyword.operator.range"),
        ("    y = A.T @ x", "T", "support.variable.property"),
        ("    y = prox.soft(x)", "soft", "entity.name.function.call"),
        ("    y = x * 2.5e-3", "2.5e-3", "constant.numeric.float"),
        ("    y = x * 2j", "2j", "constant.numeric.imaginary"),
        ("    y = 'a # b'  # c", "# c", "comment.line.number-sign"),
    ],
)
def test_scope(line: str, word: str, wanted: str) -> None:
    assert scope(line, word) == wanted


def kind(name: str) -> object:
    return next((kind for prefix, kind in KINDS.items() if name.startswith(prefix)), None)


def test_programs_are_coloured_as_by_pygments() -> None:
    for path in FILES:
        for line in path.read_text(encoding="utf-8").splitlines():
            expected: list[object] = [None] * len(line)
            at = 0
            for token, word in UsLexer(stripnl=False, ensurenl=False).get_tokens(line):
                known = next((k for k in (Comment, String, Keyword.Type, Keyword, Number) if token in k), None) if token is not Token else None
                expected[at : at + len(word)] = [known] * len(word)
                at += len(word)
            found: list[object] = [None] * len(line)
            covered = [character.isspace() for character in line]
            for start, end, name in scopes(line):
                if name.startswith(("variable.parameter", "support.function")):  # weights= and where( are a type and a keyword to Pygments
                    expected[start:end] = [None] * (end - start)
                found[start:end] = [kind(name)] * (end - start)
                covered[start:end] = [True] * (end - start)
            assert all(covered), line
            assert [(c, f) for c, f, e in zip(line, found, expected, strict=True) if f is not e and not c.isspace()] == [], line


def test_the_extension_names_files_that_are_there_and_the_command() -> None:
    package = json.loads((EXTENSION / "package.json").read_text(encoding="utf-8"))
    (language,) = package["contributes"]["languages"]
    (colours,) = package["contributes"]["grammars"]
    for name in (package["main"], language["configuration"], colours["path"]):
        assert (EXTENSION / name).is_file()
    assert colours["scopeName"] == grammar()["scopeName"]
    assert language["extensions"] == [".us"]
    assert package["contributes"]["configuration"]["properties"]["unspool.command"]["default"] == ["dsl", "lsp"]
    settings = json.loads((EXTENSION / "language-configuration.json").read_text(encoding="utf-8"))
    deeper, back = (re.compile(settings["indentationRules"][f"{way}IndentPattern"]) for way in ("increase", "decrease"))
    assert deeper.search("    for k in 0..K:  # all")
    assert not deeper.search("    x: real = 1")
    assert back.search("    else:")
    assert not back.search("    for k in 0..K:")
