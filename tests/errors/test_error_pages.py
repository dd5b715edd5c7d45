"""Every error code has a page; its first program fails with that code where the page says, its last one checks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unspool.compiler.diagnostics import ProgramError
from unspool.dsl.program import load_file

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "errors").glob("US*.md"))
BLOCK = re.compile(r"```us([^\n]*)\n(.*?)```", re.DOTALL)


def used_codes() -> set[str]:
    """Codes that the front end can give."""
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "dsl").rglob("*.py"))
    return set(re.findall(r"\bUS0\d{3}\b", text))


def write_files(page: Path, folder: Path) -> tuple[str, str]:
    """Write the programs of a page that others use; the failing program and the corrected one."""
    plain = []
    for info, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        options = dict(word.split("=") for word in info.split())
        if "file" in options:
            (folder / options["file"]).write_text(text, encoding="utf-8")
        else:
            plain.append((text, options.get("encoding", "utf-8")))
    (bad, encoding), (good, _) = plain
    (folder / "program.us").write_bytes(bad.encode(encoding))
    return bad, good


def test_every_code_has_a_page() -> None:
    assert {page.stem for page in PAGES} == used_codes()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_page(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {page.stem}: ")
    _, good = write_files(page, tmp_path)
    with pytest.raises(ProgramError) as caught:
        load_file(tmp_path / "program.us")
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == page.stem
    (place,) = re.findall(r"^at (\d+:\d+)$", text, re.MULTILINE)
    span = diagnostic.span
    assert span is not None
    assert f"{span.line}:{span.column}" == place
    first, source, carets = diagnostic.render().splitlines()[:3]
    assert first.startswith(f"{tmp_path / 'program.us'}:{place}: error {page.stem}: ")
    assert carets.index("^") == source.index("|") + 1 + span.column
    (tmp_path / "program.us").write_text(good, encoding="utf-8")
    load_file(tmp_path / "program.us")
