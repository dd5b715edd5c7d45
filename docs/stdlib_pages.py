"""Pages of the site that are made of other files: one of every program of the standard library, and the list of references.

A program's page is its own text: the comment at its head and those above its parts become prose (indented lines formulas), the
parts code, and below an algorithm stands a picture of how it converges. What stands in brackets like ``[beck2009]`` is an entry of
``references.bib``; an unknown one is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import bibtexparser

DOCS = Path(__file__).resolve().parent
STDLIB = DOCS.parent / "stdlib"
#: Where pages of programs are, from the root of the site.
FOLDER = "stdlib"
_CITED = re.compile(r"\[([a-z]+[0-9]{4}[a-z]?)\]")
_PART = re.compile(r"(?:algorithm|fn) (\w+)")


def pages() -> dict[str, str]:
    """The text of every page by its path from the root of the site."""
    made = {f"{FOLDER}/{path.stem}.md": program_page(path) for path in sorted(STDLIB.glob("*.us"))}
    return {**made, "references.md": references_page()}


def references() -> dict[str, dict[str, str]]:
    """The entries of ``references.bib`` by key."""
    parser = bibtexparser.bparser.BibTexParser(common_strings=True)
    return {e["ID"]: e for e in bibtexparser.loads((DOCS / "references.bib").read_text(encoding="utf-8"), parser).entries}


def references_page() -> str:
    """All references."""
    lines = ["# References", ""]
    for key, entry in sorted(references().items()):
        lines += [f"### {key} {{ #{key} }}", "", reference(entry), ""]
    return "\n".join(lines)


def reference(entry: dict[str, str]) -> str:
    """One reference as text."""
    where = entry.get("journal") or entry.get("booktitle", "")
    parts = [entry.get("author", "").replace(" and ", "; "), f"*{entry['title']}*", where, entry.get("volume", ""), entry["year"]]
    return re.sub(r"[{}]", "", ", ".join(part for part in parts if part)) + "."


def program_page(path: Path) -> str:
    """The page of a program."""
    known, text = references(), path.read_text(encoding="utf-8")
    unknown = sorted(set(_CITED.findall(text)) - known.keys())
    if unknown:
        raise ValueError(f"{path.name} cites {unknown[0]}, which is not in references.bib")
    lines = [f"# {path.stem}", "", f"`us.stdlib.{path.stem}`, or `use {path.stem}` in a program.", ""]
    for comment, code in parts(text):
        named = _PART.match(code)
        if named:
            lines += [f"## {named[1]}", ""]
        lines += [*prose(comment), ""]
        if code:
            lines += ["```us", code, "```", ""]
        if named:
            lines += picture(path.stem, named[1])
    return "\n".join(lines)


def picture(program: str, name: str) -> list[str]:
    """How an algorithm converges, with the caption that the picture carries; nothing for what has none (see ``pictures/``)."""
    path = DOCS / "images" / "stdlib" / program / f"{name}.svg"
    if not path.exists():
        return []
    caption = ElementTree.parse(path).findtext(".//{http://purl.org/dc/elements/1.1/}description")
    return [f"![Convergence of {name}](../images/stdlib/{program}/{name}.svg)", "", f"*{caption}* `python -m docs.pictures {program}.{name}`", ""]


def parts(text: str) -> Iterator[tuple[str, str]]:
    """The comment and the code of each part of a program: its head, then what stands between empty lines at the margin."""
    comment: list[str] = []
    code: list[str] = []
    for line in [*text.splitlines(), "#"]:
        if line.startswith("#"):
            if code:
                yield "\n".join(comment), "\n".join(code).strip()
                comment, code = [], []
            comment.append(line.removeprefix("#").removeprefix(" "))
        elif line.strip() or code:
            code.append(line)
        elif comment:  # a comment that belongs to nothing
            yield "\n".join(comment), ""
            comment = []


def prose(comment: str) -> list[str]:
    """A comment as Markdown: what is indented is a formula; references are links."""
    lines, inside = [], False
    for line in comment.splitlines():
        formula = line.startswith("  ") and bool(line.strip())
        if formula != inside and (formula or line.strip()):
            lines += ["", "```text"] if formula else ["```", ""]
            inside = formula
        lines.append(line.strip() if formula else _CITED.sub(r"[\1](../references.md#\1)", line))
    return [*lines, "```"] if inside else lines
