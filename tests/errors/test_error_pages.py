"""Every error code has a page; its first program fails with that code where the page says, its last one checks."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from unspool.compiler.diagnostics import ProgramError
from unspool.dsl.program import load_file

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "errors").glob("US*.md"))
BLOCK = re.compile(r"```(us|python)([^\n]*)\n(.*?)```", re.DOTALL)


def used_codes() -> set[str]:
    """Codes that the library can give; docstrings and comments may name one as an example."""
    found: set[str] = set()
    for folder in ("unspool", "stdlib", "dsl", "backends", "compiler"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            found |= set(re.findall(r"""["'](US0\d{3})["']""", text))
    return found


def write_files(page: Path, folder: Path) -> tuple[Path, str]:
    """Write the programs of a page that others use, and the failing program; its path, and the corrected text."""
    plain, path = [], folder / "program.us"
    for language, info, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        path = folder / ("program.us" if language == "us" else "program.py")
        options = dict(word.split("=") for word in info.split())
        if "file" in options:
            (folder / options["file"]).write_text(text, encoding="utf-8")
        else:
            plain.append((text, options.get("encoding", "utf-8")))
    (bad, encoding), (good, _) = plain
    path.write_bytes(bad.encode(encoding))
    return path, good


def run(path: Path) -> None:
    """Check a program; a Python file is executed."""
    if path.suffix == ".us":
        load_file(path)
    else:
        runpy.run_path(str(path))


def test_every_code_has_a_page() -> None:
    assert {page.stem for page in PAGES} == used_codes()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_page(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {page.stem}: ")
    path, good = write_files(page, tmp_path)
    with pytest.raises(ProgramError) as caught:
        run(path)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == page.stem
    (place,) = re.findall(r"^at (\d+:\d+)$", text, re.MULTILINE)
    span = diagnostic.span
    assert span is not None
    assert f"{span.line}:{span.column}" == place
    drawn = diagnostic.render().splitlines()
    first, source, carets = drawn[:3]
    assert all(len(line) <= 80 for line in drawn[1:3])
    shown = path if span.source.text else "<string>"
    assert first.startswith(f"{shown}:{place}: error {page.stem}: ")
    below = carets.index("^")
    text = span.source.line(span.line)[span.column - 1 :]
    assert source[below : below + 5] == text[:5]  # a long line is cut, to 80 columns
    assert len(span.source.line(span.line)) > 70 or below == source.index("|") + 1 + span.column
    path.write_text(good, encoding="utf-8")
    run(path)
