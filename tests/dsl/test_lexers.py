"""The lexers for Pygments: every program and every stage is split into known tokens, none of the text lost."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from pygments.lexer import Lexer
from pygments.token import Error, Keyword, Name

import unspool as us
from unspool.dsl.lexers import GraphLexer, LoopsLexer, ScheduleLexer, UsLexer, lexer

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(p for folder in ("tests/programs", "stdlib", "benchmarks/polybench") for p in (ROOT / folder).glob("*.us"))


def split(lexer: Lexer, text: str) -> list[tuple[object, str]]:
    """The tokens of a text."""
    text = text.strip("\n") + "\n"
    found = list(lexer.get_tokens(text))
    assert "".join(word for _, word in found) == text
    assert [word for kind, word in found if kind is Error] == []
    return found


def test_every_program_is_split() -> None:
    for path in FILES:
        split(UsLexer(), path.read_text(encoding="utf-8"))
    found = split(UsLexer(), "algorithm f(given A: real[m]) -> real[m]:  # 1..2\n    for k in 0..K:\n        x = soft(A, 1.5e-3)\n")
    for token in ((Keyword, "given"), (Keyword.Type, "real"), (Name.Function, "f"), (Name.Function, "soft"), (Name, "x")):
        assert token in found


def test_every_stage_is_split() -> None:
    kernel = us.load(ROOT / "tests" / "programs" / "lasso.us").ista.compile(m=4, n=6)
    split(GraphLexer(), kernel.graph)
    for text in (kernel.loops, kernel.tree, kernel.dependences):
        split(LoopsLexer(), text)
    found = split(LoopsLexer(), "array A: i8[4] input\nfor i8 serial (S9: i8)\n    A[i8] = literal.f32(0)")
    assert [word for kind, word in found if kind is Keyword.Type] == ["i8", "f32"]
    found = split(ScheduleLexer(), kernel.schedule + "\nfuse i0 i3; split S7 t6<64*t4_o  # rest")
    assert {word for kind, word in found if kind is Keyword} >= {"fuse", "split", "parallel"}


def test_the_entry_points_are_lexers_by_their_names() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]["pygments.lexers"]
    for name, place in listed.items():
        module, _, attribute = place.partition(":")
        assert name in getattr(importlib.import_module(module), attribute).aliases


@pytest.mark.parametrize("language", ["us", "c", "python", "gas", "diff", "cuda"])
def test_a_language_has_a_lexer(language: str) -> None:
    assert lexer(language) is not None
    assert lexer("no such language") is None
