"""Every experiment runs, shrunk; its claims hold, but for those that so small a run cannot bear out. Pages of the library are made of its programs."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="pip install 'unspool[demo]'")

from experiments.report import SMALL, experiment, names, page, run

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", names())
def test_a_small_run(name: str) -> None:
    found = run(name, SMALL)
    assert found.figures
    assert all(math.isfinite(v) for f in found.figures for v in f.values)
    only_full = getattr(experiment(name), "ONLY_FULL", ())
    assert set(only_full) <= set(found.claims)
    assert [claim for claim, holds in found.claims.items() if not holds and claim not in only_full] == []
    text = page(name, SMALL, found)
    assert all(f.told in text for f in found.figures)


def test_an_experiment_cites_its_paper_and_has_a_page() -> None:
    known = (ROOT / "docs" / "references.bib").read_text(encoding="utf-8")
    for name in names():
        assert f"{{{experiment(name).PAPER}," in known
        assert (ROOT / "docs" / "experiments" / f"{name}.md").exists(), f"python -m experiments {name} --publish"


@pytest.mark.parametrize("path", sorted((ROOT / "stdlib").glob("*.us")), ids=lambda path: path.stem)
def test_the_page_of_a_program_has_all_of_it(path: Path) -> None:
    pytest.importorskip("bibtexparser", reason="pip install 'unspool[docs]'")
    from docs.stdlib_pages import program_page

    text, made = path.read_text(encoding="utf-8"), program_page(path)
    code = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert [line for line in made.splitlines() if line in code] == code
    for name in re.findall(r"^algorithm (\w+)", text, re.MULTILINE):
        section = made.partition(f"## {name}\n")[2].partition("\n## ")[0]
        assert "](../references.md#" in section.partition("```us")[0], f"{name} cites no source above its code"


def test_an_unknown_citation_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("bibtexparser", reason="pip install 'unspool[docs]'")
    from docs.stdlib_pages import program_page

    file = tmp_path / "wrong.us"
    file.write_text("# As in [nobody1900].\nfn f(x) = x\n")
    with pytest.raises(ValueError, match=r"wrong\.us cites nobody1900, which is not in references\.bib"):
        program_page(file)
