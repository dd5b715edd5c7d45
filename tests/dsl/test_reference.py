"""``docs/reference.md`` is what the tables say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unspool.dsl.builtins.all import BUILTINS, EXAMPLES
from unspool.dsl.builtins.table import parse_signature, shown
from unspool.dsl.program import load_text
from unspool.dsl.reference import reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference.md"


def test_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run: python -m unspool.dsl.reference > docs/reference.md"


def test_every_builtin_is_described() -> None:
    for name, row in BUILTINS.items():
        assert row.doc.endswith((".", ")", "`.")), name
        assert row.signature.startswith(f"{name}("), name
        assert name in EXAMPLES[name], name


def test_signatures_are_read_as_python_reads_them() -> None:
    s = parse_signature("f(x, k=0, *rest, axis, keepdims=False, dtype=real)")
    assert s.positional == ("x", "k")
    assert s.rest == "rest"
    assert s.keywords == ("axis", "keepdims", "dtype")
    assert s.defaults == {"k": 0, "keepdims": False, "dtype": "real"}
    assert shown("f(x, *, axis, keepdims=False)") == "f(x, axis=, keepdims=False)"


INPUTS = {
    "x": "real[n, m]", "v": "real[n]", "a": "real[n]", "b": "real[n]", "y": "real[n]", "t": "real", "z": "complex[n, m]",
    "mask": "bool[n]", "A": "real[n, n]", "B": "real[n, n]", "L": "real[n, n]", "label": "i64", "order": "i64[n, m]",
    "index": "i64[q]", "values": "real[q]", "image": "real[h, c]", "w": "real[n]",
    "g": "real[n]", "rng": "key", "sized": "real[r]",
}  # fmt: skip
OTHERS = {
    "zeros": {"image": "real[h, w]", "w": ""},
    "permute": {"x": "real[n, m, c]"},
    "conv1d": {"w": "real[c, n, r]"},
    "conv2d": {"x": "real[m, h, r]", "w": "real[c, m, 2, 2]"},
    "conv_transpose2d": {"x": "real[m, h, r]", "w": "real[m, c, 2, 2]"},
}
HEAD = """
fn residual(w, A, y) = A @ w - y
fn loss(w, A, y) = sum(residual(w, A, y)**2)
"""


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_example_is_a_program(name: str) -> None:
    declared = ", ".join(f"{key}: {type}" for key, type in {**INPUTS, **OTHERS.get(name, {})}.items() if type)
    example = EXAMPLES[name]
    statement = example if re.match(r"\w+(, \w+)* = ", example) else f"found = {example}"
    load_text(f"{HEAD}\nalgorithm f({declared}) -> real where h >= 3, r >= 2:\n    iterations K = 3\n"
              f"    for k in 0..K, i in 0..n:\n        {statement}\n    return t\n")  # fmt: skip
