"""What the site does with the pages: their order, and what Markdown on a site needs to be told.

A page that is not named here comes after those that are, so that a new one is never lost.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
#: The order in which a user meets them; pages that do not exist are passed over.
ORDER = (
    "index get-started embedding language formatting reference how-compiling-works iteration walkthrough schedules tuning targets gpu numba torch training"
    " kernel-files errors robustness debugging benchmarks decisions/index architecture style"
).split()
#: Languages of code blocks that the highlighter does not know.
LANGUAGES = {"us": "python"}


def pages() -> list[Any]:
    """The navigation: pages in order, those about errors and decisions below their index."""
    found = {p.relative_to(DOCS).with_suffix("").as_posix() for p in DOCS.rglob("*.md")}
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
    config.nav = pages()
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by mkdocs for each page."""
    folder = Path(page.file.abs_src_path).parent
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(code(part) if part.startswith("```") else links(part, folder) for part in parts)


def code(block: str) -> str:
    """A code block whose first line has the language only, not what the tests read there."""
    first, newline, rest = block.partition("\n")
    language = (first[3:].split() or [""])[0]
    return f"```{LANGUAGES.get(language, language)}{newline}{rest}"


def links(text: str, folder: Path) -> str:
    """Text in which links to files of the repository that are no pages are file names."""

    def shown(link: re.Match[str]) -> str:
        target = link.group(2)
        name = target.split("#")[0]
        path = (folder / name).resolve()
        page = not name or not path.exists() or path == DOCS or DOCS in path.parents
        return link.group() if page else f"`{path.relative_to(DOCS.parent)}`"

    return re.sub(r"\[([^\]]*)\]\(([^)\s:]+)\)", shown, text)
