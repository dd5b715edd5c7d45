"""``docs/reference.md`` is what the tables say."""

from __future__ import annotations

from pathlib import Path

from unspool.dsl.builtins.all import BUILTINS, EXAMPLES
from unspool.dsl.builtins.table import parse_signature, shown
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
