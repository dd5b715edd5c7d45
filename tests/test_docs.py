"""Every code block of the README and of ``docs/*.md`` runs; every relative link leads somewhere.

A page runs from top to bottom in an empty folder, its Python blocks in one namespace:

- ``us``: must check without an error. ``us file=lasso.us`` also writes it, for the blocks below.
- ``python``: is executed. Lines after ``# prints:`` at its end are its expected output (``...`` matches anything).
- ``console``: lines after ``$`` are run, ``dsl`` being this checkout's; what follows is the expected output. A line
  ``$ NAME=value dsl ... < FILE # exit 1`` sets a variable, reads a file as standard input, and expects that exit status.
- ``text`` and ``sh`` are not run; ``text file=wrong.us`` is only written. Another word, or none, is a fault.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.command import Done, dsl

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EVERY_PAGE = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = ("backends", "benchmarks", "compiler", "docs", "dsl", "examples", "stdlib", "tests", "unspool")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    page: Path
    line: int  # of its first line of code
    language: str
    file: str | None
    text: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    info, start, body = None, 0, []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("```"):
            body.append(line)
        elif info is None:
            info, start, body = line[3:].split(), number + 1, []
        else:
            file = next((word[5:] for word in info if word.startswith("file=")), None)
            found.append(Block(page, start, info[0] if info else "", file, "\n".join(body) + "\n"))
            info = None
    assert info is None, f"{page}: a code block is not closed"
    return found


def run_python(block: Block, namespace: dict[str, Any]) -> None:
    code, _, expected = block.text.partition("# prints:\n")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile("\n" * (block.line - 1) + code, str(block.page), "exec"), namespace)
    if expected:
        compare(block, re.sub(r"^# ?", "", expected, flags=re.MULTILINE), printed.getvalue())


def run_us(block: Block) -> None:
    from unspool.dsl.program import load_text

    load_text(block.text, block.where)


def run_console(block: Block, folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "120"}
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        command, _, status = command.partition(" # exit ")
        command, redirected, file = command.partition(" < ")
        lines = (folder / file.strip()).read_text(encoding="utf-8") if redirected else ""
        words = shlex.split(command)
        switches = {}
        while "=" in words[0]:  # NAME=value dsl ...
            name, _, value = words.pop(0).partition("=")
            switches[name] = value
        if words[0] in ("dsl", "python"):
            words[:1] = [sys.executable, "-m", "unspool"] if words[0] == "dsl" else [sys.executable]
        done: subprocess.CompletedProcess[str] | Done
        if words[1:3] == ["-m", "unspool"]:
            done = dsl(words[3:], folder, {**environment, **switches}, lines)
        else:
            done = subprocess.run(words, cwd=folder, env={**environment, **switches}, input=lines, capture_output=True, text=True, check=False)
        assert done.returncode == int(status or 0), f"{block.where}: {command}\n{done.stdout}{done.stderr}"
        if expected.strip():
            compare(block, expected, done.stdout + done.stderr)


def compare(block: Block, expected: str, got: str) -> None:
    assert doctest.OutputChecker().check_output(expected, got, FLAGS), f"{block.where}: expected\n{expected}\ngot\n{got}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__page__"}
    for block in blocks(page):
        if block.file:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
        if block.language == "python":
            run_python(block, namespace)
        elif block.language == "us":
            run_us(block)
        elif block.language == "console":
            run_console(block, tmp_path)
        else:
            assert block.language in ("text", "sh"), f"{block.where}: a block of kind {block.language!r}"


def test_every_step_of_schedules_has_its_section() -> None:
    from unspool.compiler.loops.schedule import STEPS

    page = (ROOT / "docs" / "schedules.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##)", page + "\n## ", flags=re.MULTILINE | re.DOTALL))
    assert sections.keys() == STEPS.keys()
    for name, section in sections.items():
        assert section.strip().startswith(f"`{name} "), f"the section of {name} begins with how it is written"
        assert "-->" in section, f"the section of {name} has no drawing"
        assert re.search(rf'^show\(".*\b{name} ', section, re.MULTILINE), f"the section of {name} has no example"


def prose(page: Path) -> str:
    """A page without its code."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`]*`", "", text)


def anchors(page: Path) -> set[str]:
    """What ``#...`` may name in a page: its headings, as GitHub and the site spell them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        while name in found:
            name += "-1"
        found.add(name)
    return found


def is_made(path: Path, anchor: str) -> bool:
    """Whether a place is one of a page that the site makes of a program, or of the references (see docs/stdlib_pages.py)."""
    docs = ROOT / "docs"
    if path == docs / "references.md":
        return not anchor or f"{{{anchor}," in (docs / "references.bib").read_text(encoding="utf-8")
    program = ROOT / "stdlib" / f"{path.stem}.us"
    if path.parent != docs / "stdlib" or not program.exists():
        return False
    return not anchor or re.search(rf"^(?:algorithm|fn) {anchor}\(", program.read_text(encoding="utf-8"), re.MULTILINE) is not None


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = prose(page)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<img [^>]*src="([^"]+)"', text)
    missing = []
    for target in targets:
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        if "://" in target or is_made(path.resolve(), anchor):
            continue
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            missing.append(target)
    assert missing == []


@pytest.mark.parametrize(
    "page", [p for p in EVERY_PAGE if p.name != "CHANGELOG.md"], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    blocks_of_page = {b.file for b in blocks(page)} if page in PAGES else set()
    named = set(re.findall(r"(?<![\w/.*-])(?:\w+/)*\w+\.(?:py|lark|h|toml)\b", text)) - blocks_of_page
    known = {f"/{p.relative_to(ROOT).as_posix()}" for folder in FOLDERS for p in (ROOT / folder).rglob("*") if p.is_file()}
    known |= {f"/{p.name}" for p in ROOT.iterdir()}
    assert sorted(n for n in named if not any(k.endswith(f"/{n}") for k in known)) == []


def test_a_link_to_no_heading_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A page\n\n## What `it` is, twice\n\n```sh\n# no heading\n```\n\n## A page\n", encoding="utf-8")
    assert anchors(page) == {"a-page", "what-it-is-twice", "a-page-1"}
    page.write_text("# A page\n\n[here](#a-page) [there](other.md)\n", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"other\.md"):
        test_relative_links_lead_somewhere(page)
    page.write_text("# A page\n\n[here](#another-page)\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="#another-page"):
        test_relative_links_lead_somewhere(page)


def test_ci_runs_the_two_commands_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for command in ("make demo", "make test"):
        assert command in readme
        assert command in script


def test_the_block_reader_sees_kinds_files_and_lines(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n```us file=x.us\nfn f(x) = x\n```\n\n```python\nprint(1)\n# prints:\n# 1\n```\n", encoding="utf-8")
    first, second = blocks(page)
    assert (first.language, first.file, first.line, first.text) == ("us", "x.us", 3, "fn f(x) = x\n")
    run_python(second, {})
    wrong = Block(ROOT / "README.md", 1, "python", None, "print(2)\n# prints:\n# 1\n")
    with pytest.raises(AssertionError, match=r"README\.md:1: expected"):
        run_python(wrong, {})
