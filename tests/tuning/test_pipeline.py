"""From measured schedules to a model that ranks: the three commands of docs/learned-scheduler.md, on a few short programs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

import unspool as us
from tests.dsl.test_dataset import quick  # noqa: F401
from tests.tuning.test_tune import PROGRAM, SIZES, ran
from unspool.backends.build import machine
from unspool.compiler import options
from unspool.compiler.search.dataset.records import MachineFacts, read
from unspool.dsl.dataset import measure, run


@pytest.mark.usefixtures("quick")
def test_from_data_to_a_choice(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "MOST", 60.0)  # a busy machine leaves none out: the same programs are held out each time
    monkeypatch.setattr(run, "machine_facts", lambda: MachineFacts("here", {"machine": asdict(machine()), "load": 0.0, "cores": 2}))
    data, weights, program = tmp_path / "data.jsonl.gz", tmp_path / "model.safetensors", tmp_path / "smooth.us"
    program.write_text(PROGRAM)
    assert ran(["dataset", "-o", str(data), "--programs", "14", "--schedules", "3", "--seed", "3"]) == 0
    found = read(data)
    assert len(found.programs) >= 14
    assert len(found.points) > 20
    assert ran(["train-model", str(data), "-o", str(weights), "--epochs", "2"]) == 0
    assert f"wrote {weights}: " in capsys.readouterr().out
    with options.scope(weights=weights):
        assert ", learned: " in us.load(program).smooth.compile(SIZES, scheduler="learned").explain()
        assert ", learned: " not in us.load(program).smooth.compile(SIZES, scheduler="analytic").explain()
