"""The tables of benchmarks/learned/searching.py, from records that were made up, and one small run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.learned import searching
from benchmarks.learned.searched import ANALYTIC, CANDIDATE, ISL, LEARNED, PLAIN, START, Searched, Tried, markdown, read

FACTS = {"processor": "a processor", "date": "2026-01-01T00:00", "seconds": 60.0, "seconds_unrolled": 20.0}


def kernel() -> Searched:
    """A kernel whose fastest candidate takes 2 s; the search brings it to 1 s, by tiles."""
    tried = [
        Tried("", "program", 6.0, 6.0, 8.0, START),
        Tried("parallel S0 i", "sweeps", 3.0, 4.0, 2.0, START),
        Tried("vector S0 j", "lanes", 2.0, 5.0, 4.0, START),
        Tried("tile S0 i 8\nparallel S0 i_0", "sweeps", 2.0, 1.0, 1.0, "beam"),
    ]
    seconds = {PLAIN: 8.0, ISL: 8.0, ANALYTIC: 4.0, LEARNED: 2.0, CANDIDATE: 2.0, "beam": 1.0}
    return Searched("polybench", "gemm", False, tried, seconds)


def test_regret_and_what_a_step_is_worth() -> None:
    found = kernel()
    assert (found.regret(ANALYTIC), found.regret(LEARNED), found.regret("beam")) == (2.0, 1.0, 0.5)
    assert found.over("beam", PLAIN) == 8.0
    assert found.without("tile") == 2.0
    assert found.without("parallel") == 4.0
    assert found.without("vector") is None  # the fastest has none


def test_tables() -> None:
    lines = markdown([kernel()], FACTS).splitlines()
    assert "| analytic | 2.00x | 2.00 |" in lines
    assert "| learned + measured, beam search | 8.00x | 0.50 |" in lines
    assert "| polybench, candidates | 0.50 | 1.00 | 1 |" in lines
    assert [line for line in lines if line.startswith("| `")] == ["| `parallel` | 4.00x | 1 |", "| `tile` | 2.00x | 1 |"]


@pytest.mark.slow
def test_a_small_run(tmp_path: Path) -> None:
    out = tmp_path / "searching.json"
    arguments = ["--suite", "polybench", "--only", "trisolv", "--seconds", "1", "--quick", "--out", str(out), "--tuned", str(tmp_path / "t.jsonl")]
    assert CliRunner().invoke(searching.app, arguments, env={"COLUMNS": "200"}).exit_code == 0
    (found,) = read(out)
    assert found.tried
    assert set(found.seconds) == {PLAIN, ISL, ANALYTIC, LEARNED, CANDIDATE, "beam", "tree"}
    assert json.loads((tmp_path / "t.jsonl").read_text().splitlines()[0])["name"]
    again = CliRunner().invoke(searching.app, arguments, env={"COLUMNS": "200"})
    assert again.exit_code == 0, again.output
    assert len(read(out)) == 1
