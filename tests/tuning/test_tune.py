"""``dsl tune`` and ``tune=``: kernels are tuned, remembered, and taken by later compiles, which say so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import unspool as us
from unspool.backends.tuning import choice
from unspool.compiler import options
from unspool.compiler.search.dataset.records import read
from unspool.compiler.search.explore.budget import Budget
from unspool.dsl.cli import main

PROGRAM = """algorithm smooth(A: real[n, n]) -> real[n, n] where n >= 3:
    iterations T = 3
    param w: positive = 0.1
    for t in 0..T:
        B = A
        for i in 1..n-1:
            B[i, :] = A[i, :] + w * (A[i-1, :] - 2 * A[i, :] + A[i+1, :])
        A = B
    return A
"""
SIZES = {"n": 40}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "smooth.us"
    path.write_text(PROGRAM)
    return path


def ran(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    return int(stop.value.code or 0)


def test_a_tuned_kernel_is_remembered_and_told(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    memory = tmp_path / "tuned.jsonl"
    with options.scope(tuned=memory, seed=5):
        data = tmp_path / "mine.jsonl.gz"
        assert ran(["tune", f"{file}:smooth", "-s", "n=40", "--candidates", "12", "--data", str(data)]) == 0
        told = capsys.readouterr().out
        entries = [json.loads(line) for line in memory.read_text().splitlines()]
        count = len(entries)
        recorded = read(data)
        assert len(recorded.points) == sum(e["measured"] for e in entries)
        assert {p.program for p in recorded.points} == recorded.programs.keys()
        assert min(p.seconds[0] for p in recorded.points if p.seconds) == min(e["seconds"] for e in entries)
        assert f"{count} of {count} kernels tuned" in told
        assert {"smooth", "smooth_backward"} <= {e["name"] for e in entries}
        assert sum(e["measured"] for e in entries) >= 12
        assert all(0 < e["seconds"] <= e["start"] for e in entries)
        kernel = us.load(file).smooth.compile(SIZES)
        forward = next(e for e in entries if e["name"] == "smooth")
        assert kernel.schedule.strip() == forward["schedule"]
        assert f"tuned: {forward['measured']} schedules measured" in kernel.explain()
        A = np.random.default_rng(0).standard_normal((40, 40)).astype(np.float32)
        np.testing.assert_allclose(kernel(A), us.load(file).smooth(A, target="interpreter"), rtol=1e-5, atol=1e-6)
        with options.scope(tuned=tmp_path / "others.jsonl"):  # what one machine knows can be told to another
            assert "tuned" not in us.load(file).smooth.compile(SIZES).explain()
            assert ran(["tune", "--merge", str(memory)]) == 0
            assert f"{count} of {count} kernels are new or faster" in capsys.readouterr().out
            assert "tuned" in us.load(file).smooth.compile(SIZES).explain()
            assert ran(["tune", "--merge", str(memory)]) == 0
            assert f"0 of {count} kernels are new or faster" in capsys.readouterr().out
            assert ran(["tune", "--export", str(tmp_path / "out.jsonl")]) == 0
            assert ran(["tune", "--export", str(tmp_path / "out.jsonl")]) == 1
            assert "is there already" in capsys.readouterr().err


def test_tune_while_compiling(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def budget(seconds: float) -> Budget:
        asked.append(seconds)
        return Budget(candidates=6)

    monkeypatch.setattr(choice, "Budget", budget)
    with options.scope(tuned=tmp_path / "tuned.jsonl"):
        assert "tuned: " in us.load(file).smooth.compile(SIZES, tune="2min").explain()
        assert "tuned: " in us.load(file).smooth.compile(SIZES, tune="2min").explain()  # remembered: no second search
    assert asked == [120.0]
    with options.scope(tuned=None):  # nothing to remember it in: searched all the same
        assert "tuned: " in us.load(file).smooth.compile(SIZES, tune=7).explain()
    assert asked == [120.0, 7.0]


def test_a_remembered_schedule_that_does_not_apply_is_passed_over(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "tuned.jsonl"
    monkeypatch.setattr(choice, "Budget", lambda seconds: Budget(candidates=4))
    with options.scope(tuned=memory):
        us.load(file).smooth.compile(SIZES, tune=True)
        entry = json.loads(memory.read_text())
        memory.write_text(json.dumps({**entry, "schedule": "parallel nothing"}) + "\n")
        kernel = us.load(file).smooth.compile(SIZES)
    assert "tuned" not in kernel.explain()
    assert "passed over" in caplog.text
    assert "nothing" in caplog.text


def test_what_cannot_be_tuned(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with options.scope(tuned=tmp_path / "tuned.jsonl"):
        assert ran(["tune", f"{file}:smooth", "-s", "n=40", "--budget", "much"]) == 1
        assert "--budget is a time" in capsys.readouterr().err
        assert ran(["tune", f"{file}:smooth", "--method", "luck"]) == 2
        assert ran(["tune"]) == 2
        assert ran(["tune", f"{file}:smooth", "-s", "n=40", "-t", "interpreter"]) == 1
        assert ran(["tune", "--export", str(tmp_path / "x")]) == 1
        assert "nothing was tuned yet" in capsys.readouterr().err
        with pytest.raises(us.DataError, match="tune= measures schedules of target c, not interpreter"):
            us.load(file).smooth.compile(SIZES, tune=True, target="interpreter")
    assert ran(["tune", f"{file}:smooth", "-s", "n=40"]) == 1
    assert "UNSPOOL_TUNED is off" in capsys.readouterr().err
