"""What surrounds the library: the order of the site, the hooks before a commit, and that CI runs all of it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from . import conftest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site() -> Any:
    spec = importlib.util.spec_from_file_location("site_hooks", DOCS / "site_hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def flat(navigation: list[Any]) -> list[str]:
    return [page for entry in navigation for page in (flat(next(iter(entry.values()))) if isinstance(entry, dict) else [entry])]


def test_every_page_is_on_the_site_once(site: Any) -> None:
    listed = flat(site.pages())
    assert sorted(listed) == sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md"))
    assert listed[:2] == ["index.md", "get-started.md"]


def test_a_new_page_comes_last_and_a_missing_one_is_passed_over(site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("zebra", "index", "errors", "errors/US1", "language"):
        (tmp_path / name).with_suffix(".md").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.md").write_text("# x\n")
    monkeypatch.setattr(site, "DOCS", tmp_path)
    assert site.pages() == ["index.md", "language.md", {"Errors": ["errors.md", "errors/US1.md"]}, "zebra.md"]


def test_code_blocks_and_links_on_the_site(site: Any) -> None:
    assert site.code("```us file=x.us\nfn f(a) = a\n```") == "```us\nfn f(a) = a\n```"
    assert site.code("```text file=x\n```") == "```text\n```"
    assert site.code("```\nx\n```") == "```\nx\n```"
    assert site.links("[a](../README.md#x) [b](style.md) [c](#d) [e](nowhere.md) [f](https://a.b)", DOCS) == (
        "`README.md` [b](style.md) [c](#d) [e](nowhere.md) [f](https://a.b)"
    )


def test_the_hooks_before_a_commit_download_nothing_and_are_those_of_make_check() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"repo: (.*)", text) == ["local"]
    entries, languages = re.findall(r"entry: (.*)", text), re.findall(r"language: (.*)", text)
    assert languages == ["system"] * len(entries)
    check = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ncheck:")[2].partition("\n\n")[0]
    for command in ("ruff check", "mypy", "-m unspool fmt --check", "-m pytest --quiet tests/test_floors.py"):
        assert command in check
        assert any(command in entry for entry in entries)


def test_the_site_loads_nothing_from_other_hosts() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in text
    assert "://" not in text


@pytest.mark.parametrize("target", ["setup", "check", "docs", "package", "demo", "test"])
def test_ci_runs(target: str) -> None:
    assert f"timed make {target}\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert f"\n{target}: $(INSTALLED)" in (ROOT / "Makefile").read_text(encoding="utf-8") or target == "setup"


class Asking:
    """A test that needs a part, as far as ``pytest_runtest_setup`` looks at it."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def iter_markers(self, name: str) -> list[Any]:
        return [pytest.mark.needs(*self.names).mark] if name == "needs" else []


def test_what_lacks_an_optional_part_is_skipped_and_fails_where_ci_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(conftest.OPTIONAL, "there", (lambda: True, ""))
    monkeypatch.setitem(conftest.OPTIONAL, "missing", (lambda: False, "pip install it"))
    monkeypatch.delenv("CI", raising=False)
    conftest.pytest_runtest_setup(Asking("there"))  # type: ignore[arg-type]
    with pytest.raises(pytest.skip.Exception, match="needs missing: pip install it"):
        conftest.pytest_runtest_setup(Asking("there", "missing"))  # type: ignore[arg-type]
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="needs missing: pip install it"):
        conftest.pytest_runtest_setup(Asking("missing"))  # type: ignore[arg-type]


def test_ci_installs_every_extra_that_tests_may_need() -> None:
    wanted = re.search(r"^export EXTRAS=(\S+)$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), flags=re.M)
    assert wanted is not None
    named = {m[1] for _, how in conftest.OPTIONAL.values() if (m := re.search(r"unspool\[(\w+)\]", how))}
    declared = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), flags=re.M))
    assert named & declared <= set(wanted[1].split(","))
