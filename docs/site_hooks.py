"""What the site does with the pages: their order, and what Markdown on a site needs to be told.

A page that is not named here comes after those that are, so that a new one is never lost.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
#: The order in which a user meets them; pages that do not exist are passed over.
ORDER = (
    "index get-started embedding language formatting reference command-line editors how-compiling-works iteration walkthrough schedules repl report tuning"
    " targets gpu numba torch training distributed examples stdlib/index experiments/index kernel-files"
    " errors robustness debugging benchmarks decisions/index architecture style references"
).split()


def pages(made: Iterable[str] = ()) -> list[Any]:
    """The navigation: pages in order, those about errors and decisions below their index; ``made`` are pages without a file."""
    found = {p.relative_to(DOCS).with_suffix("").as_posix() for p in DOCS.rglob("*.md")} | {p.removesuffix(".md") for p in made}
    top = {name for name in found if "/" not in name or name.endswith("/index")}
    inner = found - top
    navigation: list[Any] = []
    for name in [n for n in ORDER if n in top] + sorted(top - set(ORDER)):
        folder = name.removesuffix("/index")
        below = sorted(n for n in inner if n.startswith(f"{folder}/"))
        if below:
            navigation.append({folder.capitalize(): [f"{n}.md" for n in [name, *below]]})
        else:
            navigation.append(f"{name}.md")
    return navigation


def on_config(config: Any) -> Any:
    """Called by mkdocs before it reads the pages."""
    config.nav = pages(_made())
    return config


def on_files(files: Any, config: Any) -> Any:
    """Called by mkdocs with the files it has found: the pages that are made join them."""
    from mkdocs.structure.files import File

    for path, text in _made().items():
        files.append(File.generated(config, path, content=text))
    return files


@cache
def _made() -> dict[str, str]:
    """Pages that are made of other files (see ``stdlib_pages.py``)."""
    sys.path.insert(0, str(DOCS))  # mkdocs loads this file alone
    from stdlib_pages import pages as made  # type: ignore[import-not-found]

    return dict(made())


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by mkdocs for each page."""
    folder = (DOCS / page.file.src_uri).parent  # a page that is made has no file
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(code(part) if part.startswith("```") else links(part, folder) for part in parts)


def code(block: str) -> str:
    """A code block whose first line has the language only, not what the tests read there."""
    first, newline, rest = block.partition("\n")
    language = (first[3:].split() or [""])[0]
    return f"```{language}{newline}{rest}"


def links(text: str, folder: Path) -> str:
    """Text in which links to files of the repository that are no pages are file names."""

    def shown(link: re.Match[str]) -> str:
        target = link.group(2)
        name = target.split("#")[0]
        path = (folder / name).resolve()
        page = not name or not path.exists() or path == DOCS or DOCS in path.parents
        return link.group() if page else f"`{path.relative_to(DOCS.parent)}`"

    return re.sub(r"\[([^\]]*)\]\(([^)\s:]+)\)", shown, text)
