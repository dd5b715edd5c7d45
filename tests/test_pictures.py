"""Every algorithm of the standard library that iterates has a picture of how it converges, on its page, with a caption that is true of what draws it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("matplotlib", reason="pip install 'unspool[demo]'")

import unspool as us
from docs.pictures.__main__ import IMAGES, caption, pictures, save

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = sorted(path.stem for path in (ROOT / "stdlib").glob("*.us"))


def described(path: Path) -> str | None:
    return ElementTree.parse(path).findtext(".//{http://purl.org/dc/elements/1.1/}description")


@pytest.mark.parametrize("program", PROGRAMS)
def test_algorithms_have_pictures_on_their_page(program: str) -> None:
    pytest.importorskip("bibtexparser", reason="pip install 'unspool[docs]'")
    from docs.stdlib_pages import program_page

    iterating = {a.algorithm.name for a in us.load(program) if "K" in dict(a.algorithm.iterations)}
    drawn = {name.partition(".")[2]: draw for name, draw in pictures().items() if name.startswith(f"{program}.")}
    assert drawn.keys() == iterating
    assert {path.stem for path in (IMAGES / program).glob("*")} == iterating
    page = program_page(ROOT / "stdlib" / f"{program}.us")
    for name, draw in drawn.items():
        path = IMAGES / program / f"{name}.svg"
        assert path.stat().st_size < 60_000
        assert described(path) == caption(draw), f"python -m docs.pictures {program}.{name}"
        section = page.partition(f"## {name}\n")[2].partition("\n## ")[0]
        assert f"(../images/stdlib/{program}/{name}.svg)\n\n*{caption(draw)}* `python -m docs.pictures {program}.{name}`" in section


def test_drawing_one(tmp_path: Path) -> None:
    name = "primal_dual.alf_lb_online"
    draw = pictures()[name]
    first = save(name, draw, tmp_path)
    assert first == tmp_path / "primal_dual" / "alf_lb_online.svg"
    text = first.read_text(encoding="utf-8")
    assert described(first) == caption(draw)
    assert save(name, draw, tmp_path).read_text(encoding="utf-8") == text
