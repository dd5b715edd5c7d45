"""``dsl bench``: what it times, what it prints and writes, and how it refuses."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from unspool.dsl import bench
from unspool.dsl.cli import main

PROGRAMS = Path(__file__).resolve().parents[2] / "tests" / "programs"
Dsl = Callable[..., tuple[int, str, str]]


@pytest.fixture
def dsl(capfd: pytest.CaptureFixture[str]) -> Dsl:
    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in arguments])
        out, err = capfd.readouterr()
        return int(stop.value.code or 0), out, err

    return run


def test_forward_and_backward_against_torch_eager(dsl: Dsl, tmp_path: Path) -> None:
    out, before = tmp_path / "b" / "bench.json", torch.get_num_threads()
    arguments = ("-s", "m=6,n=12", "-b", 3, "-K", 4, "--seconds", 0.1, "--threads", 1, "--target", "c", "--json", out)
    try:
        code, said, asked = dsl("bench", PROGRAMS / "lasso.us:ista", *arguments)
    finally:
        torch.set_num_threads(before)
    assert code == 0
    assert "random A, y (seed 0)" in asked
    assert "target c" in said
    assert f"wrote {out}" in said.replace("\n", "")
    content = json.loads(out.read_text())
    assert content["machine"]["threads"] == 1
    assert content["iterations"] == {"K": 4}
    assert content["shapes"] == {"A": [6, 12], "y": [3, 6]}
    rows = content["rows"]
    modes = ["forward"] * 2 + ["forward + backward"] * 2
    assert [(r["name"], r["mode"]) for r in rows] == [*zip(["target c", "torch eager"] * 2, modes)]
    for row in rows:
        assert row["relative_error"] < 1e-4
        assert 0 < row["minimum_ms"] <= row["median_ms"]
        assert row["runs"] == 21
        assert row["first_call_s"] > 0
        assert (row["eager_over_this"] is None) == (row["name"] == "torch eager")


def test_what_has_no_derivative_runs_forward_only(dsl: Dsl, tmp_path: Path) -> None:
    program = tmp_path / "count.us"
    program.write_text("algorithm count(x: i32[n]) -> i32:\n    return sum(x)\n")
    code, said, _ = dsl("bench", f"{program}:count", "-s", "n=5", "--seconds", 0, "--target", "c")
    assert code == 0
    assert "Nothing here is differentiable" in said
    assert "backward" not in said.replace("Nothing here is differentiable: forward only.", "")


def test_torch_compile_takes_part_when_asked(monkeypatch: pytest.MonkeyPatch, dsl: Dsl, tmp_path: Path) -> None:
    traced: list[int] = []

    def unchanged(function: Callable[..., object], **_: object) -> Callable[..., object]:
        traced.append(len(list(function.graph.nodes)))  # type: ignore[attr-defined]
        return function

    monkeypatch.setattr(torch, "compile", unchanged)  # what it compiles is what we test; compiling takes a minute
    out = tmp_path / "b.json"
    arguments = ("-s", "m=6,n=12", "-K", 4, "--seconds", 0, "--target", "c", "--torch-compile", "--json", out)
    code, _, _ = dsl("bench", PROGRAMS / "lasso.us:ista", *arguments)
    assert code == 0
    rows = [r for r in json.loads(out.read_text())["rows"] if r["name"] == "torch.compile"]
    assert [r["mode"] for r in rows] == ["forward", "forward + backward"]
    assert all(r["relative_error"] < 1e-4 for r in rows)
    assert traced[0] > 4 * 5  # the operations of four iterations


def test_wrong_uses(dsl: Dsl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, _, said = dsl("bench")
    assert code == 2
    assert "name one algorithm" in said
    code, _, said = dsl("bench", "--suite", "nothing")
    assert (code, said) == (1, "error: no suite is called 'nothing'; there is unrolled, polybench\n")
    installed = tmp_path / "stdlib"
    installed.mkdir()
    monkeypatch.setattr("unspool.compiler.options.stdlib_folder", lambda: installed)
    code, _, said = dsl("bench", "--suite", "unrolled")
    assert code == 1
    assert "suites come with a checkout of the repository" in said


def test_a_suite_gets_what_stands_behind_two_dashes(dsl: Dsl) -> None:
    code, _, said = dsl("bench", "--suite", "unrolled", "--", "--only", "nothing")
    assert code == 2
    assert "'nothing' is none of ista" in re.sub(r"[\s│╭╮╰╯─]+", " ", said)
    code, _, said = dsl("bench", "--suite", "polybench", "--", "nothing")
    assert code == 2
    assert "'nothing' is none of gemm" in re.sub(r"[\s│╭╮╰╯─]+", " ", said)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_torch_compile_for_true(dsl: Dsl, tmp_path: Path) -> None:
    out = tmp_path / "b.json"
    arguments = ("-s", "m=6,n=12", "-K", 2, "--seconds", 0, "--torch-compile", "--json", out)
    code, _, _ = dsl("bench", PROGRAMS / "lasso.us:ista", *arguments)
    assert code == 0
    assert "torch.compile" in {r["name"] for r in json.loads(out.read_text())["rows"]}
    assert bench.EAGER in {r["name"] for r in json.loads(out.read_text())["rows"]}
