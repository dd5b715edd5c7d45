"""Switches: read once from the environment, changed in a scope, restored after it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from unspool.compiler import options


def test_environment(tmp_path: Path) -> None:
    found = options.from_environment(
        {"UNSPOOL_DEBUG": "3", "UNSPOOL_CACHE": "off", "UNSPOOL_DUMP": str(tmp_path), "UNSPOOL_VERIFY": "2", "UNSPOOL_TARGET": ""}
    )
    assert (found.debug, found.cache, found.dump, found.verify, found.target) == (3, None, tmp_path, 2, "")
    assert options.from_environment({"UNSPOOL_CACHE": "~/x"}).cache == Path.home() / "x"
    assert options.from_environment({}) == options.Options()


@pytest.mark.parametrize("text", ["6", "-1", "many", "1.5"])
def test_a_value_that_makes_no_sense_is_ignored_with_a_warning(text: str) -> None:
    with pytest.warns(UserWarning, match=f"UNSPOOL_DEBUG={text} is ignored: it takes an integer in 0..5"):
        assert options.from_environment({"UNSPOOL_DEBUG": text}).debug == 0


def test_scope_restores_what_was_there() -> None:
    before = options.current.seed

    def fail() -> None:
        with options.scope(seed=before + 1, debug=0):
            assert options.current.seed == before + 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert options.current.seed == before
    with pytest.raises(TypeError, match="no such switch: speed"), options.scope(speed=9):
        pass


def test_every_switch_is_documented() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "how-compiling-works.md").read_text(encoding="utf-8")
    for switch in fields(options.Options):
        assert switch.metadata["doc"]
        assert f"`{switch.metadata['env']}" in page
