"""`make gpu` and `make gpu-bundle` as far as they need no GPU: results that are added to, tables, predictions, the clock, the bundle's list."""

from __future__ import annotations

import importlib.util
import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from benchmarks.contest import FORWARD, GRADIENT, Outcome, Score
from benchmarks.gpu import clock, limits, model, report
from benchmarks.gpu.__main__ import _entered, app
from benchmarks.plan import Plan
from benchmarks.problem import placed, targets
from benchmarks.report import BEST
from benchmarks.workloads import ista
from unspool.dsl.timing import Timing

ROOT = Path(__file__).resolve().parents[1]


def outcome(mode: str = FORWARD, **times: float) -> Outcome:
    scores = [Score(name, name, 0.0, 0.0, Timing(t, t / 2, 15, 1)) for name, t in times.items()]
    return Outcome("ista", "4x8", mode, scores)


def run(commit: str, *contests: dict[str, Any]) -> dict[str, Any]:
    return {"machine": {"gpu": "NVIDIA H200", "torch": "2", "driver": "driver for CUDA 13.0", "commit": commit}, "contests": contests}


def test_results_are_added_to(tmp_path: Path) -> None:
    """A run keeps its number while it grows; a file of another form is refused."""
    path = report.path_of("NVIDIA H100 80GB HBM3", tmp_path)
    assert path.name == "nvidia-h100-80gb-hbm3.json"
    one, two = (report.contest_json(outcome(mode, unspool=1.0, jax=3.0), 0.5) for mode in (FORWARD, GRADIENT))
    first = report.append(path, run("a", one))
    second = report.append(path, run("b", one))
    assert report.append(path, run("b", one, two), number=second) == second
    assert [(r["machine"]["commit"], len(r["contests"])) for r in report.read(path)] == [("a", 1), ("b", 2)]
    assert first == 0
    assert json.loads(path.read_text())["format"] == report.FORMAT
    path.write_text('{"format": 0}')
    with pytest.raises(ValueError, match="format 0"):
        report.read(path)


def test_the_table_has_the_newest_and_marks_what_is_predicted() -> None:
    """A measured figure goes before a predicted one, also an older one."""
    slow = report.contest_json(outcome(unspool=0.004, eager=0.008, jax=0.006), 0.001)
    fast = report.contest_json(outcome(unspool=0.002, eager=0.008, jax=0.006), 0.001)
    predicted = [report.predicted_json(*key, 2e-5, 3e-5, 1e-5) for key in (("ista", "4x8", FORWARD), ("tv", "9", GRADIENT))]
    runs = [run("a", slow), run("b", fast), run("c", *predicted)]
    rows = report.lines(runs)
    assert rows[0] == ["ista", "4x8", FORWARD, "2", "50%", "8 4.00x", "", "6 3.00x", "3.00x"]
    assert rows[1] == ["tv", "9", GRADIENT, "0.02 predicted", "50%", "", "", "", "1.50x"]
    assert report.means(runs) == {FORWARD: pytest.approx(3), f"{GRADIENT}, predicted": pytest.approx(1.5)}
    page = report.markdown("NVIDIA H200", runs)
    assert "| ista | 4x8 | forward | 2 | 50% |" in page
    assert "**predicted**: no GPU was at hand" in page
    assert "driver for CUDA 13.0" in page
    assert "predicted" not in report.markdown("NVIDIA H200", runs[:2])
    assert report.table("NVIDIA H200", runs).row_count == 2


def test_a_failure_is_in_the_table() -> None:
    failed = Outcome("tv", "8", FORWARD, [Score("unspool", "unspool", failure="wrong")])
    assert report.lines([run("a", report.contest_json(failed, None))])[0][3] == "failed"


def test_limits_of_gpus_and_the_least_time() -> None:
    """By name; a call takes what its operations or its bytes take, and its launches."""
    h100 = limits.of_device("NVIDIA H100 80GB HBM3")
    assert h100 is not None
    assert h100.seconds(limits.Work(66.9e12, 1)) == pytest.approx(1 + h100.launch)
    assert h100.seconds(limits.Work(1, 2 * 3.35e12, 2)) == pytest.approx(2 + 2 * h100.launch)
    assert limits.of_device("NVIDIA GeForce RTX 9090") is None


def test_work_of_a_problem() -> None:
    """Two products of a matrix for each problem and iteration; what problems share is read once. A gradient has two kernels."""
    problem = ista.problem(ista.data(8, 16, 32))
    calls = [limits.calls_of_problem(problem, gradient=g, target="c") for g in (False, True)]
    forward, backward = (limits.total(c or []) for c in calls)
    products = 32 * ista.K * 2 * 2 * 8 * 16
    assert products <= forward.flops <= 1.6 * products
    assert forward.bytes == 4 * (8 * 16 + 2 * ista.K + 32 * 8 + 32 * 16)
    assert (forward.kernels, backward.kernels) == (1, 2)
    assert backward.flops > 2 * forward.flops


def test_predictions() -> None:
    """A second is one of a GPU's: never less than by operations and bytes, more for more problems once they fill it, and peers pay for each kernel."""
    known = limits.KNOWN[limits.PREDICTED_FOR]
    seconds = {}
    for batch in (1, 32, 4096, 8192):
        calls = limits.calls_of_problem(ista.problem(ista.data(64, 128, batch)), gradient=False)
        assert calls is not None
        (call,) = calls
        seconds[batch] = model.ours(call, known)
        assert seconds[batch] >= known.seconds(limits.total(calls))
        assert model.peer(call, known) >= 2 * ista.K * model.KERNEL
    assert seconds[1] <= seconds[32] < seconds[4096] < seconds[8192] <= 2.1 * seconds[4096]


def test_contestants_on_a_device() -> None:
    """Only those that move there take part; ours, and compiled iterations, also in a CUDA graph."""
    plan = Plan("default", frozenset({"eager", "compile", "jax"}), gpu=True)
    with placed("cuda") as place:
        assert targets() == ["cuda"]
        contest = next(ista._at(plan, 8, 16, 4))
        names = [c.name for c in _entered(contest)]
    assert len(place.problems) == 1
    assert names == [
        "unspool", "unspool, CUDA graph", "torch", "torch.compile, one iteration", "torch.compile, one iteration, CUDA graph", "jax scan",
    ]  # fmt: skip
    assert targets()[0] != "cuda"


def test_the_clock() -> None:
    """Samples in turn; without a GPU by waiting."""
    found = clock.interleaved({"a": lambda: torch.ones(3), "b": lambda: torch.ones(3).sum()}, rounds=3, seconds=0.1)
    assert {name: t.runs for name, t in found.items()} == {"a": 3, "b": 3}
    assert all(0 < t.minimum <= t.median for t in found.values())


def test_a_prediction_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the kernels that target cuda makes, which nobody runs."""
    monkeypatch.setattr("benchmarks.gpu.__main__._contests", lambda plan, name: [next(ista._at(plan, 8, 16, 4))])
    done = CliRunner().invoke(app, ["--only", "ista", "--predict", "--folder", str(tmp_path)])
    assert done.exit_code == 0, done.output
    ((found,),) = (r["contests"] for r in report.read(tmp_path / "nvidia-h200.json"))
    assert (found["program"], found["mode"], found["source"]) == ("ista", FORWARD, "predicted")
    assert limits.KNOWN["H200"].launch < found["least_ms"] / 1e3 < 2 * limits.KNOWN["H200"].launch
    ours, peer = (c["median_ms"] for c in found["contestants"])
    assert found["least_ms"] < ours < 1
    assert found["ratios"] == {BEST: pytest.approx(peer / ours)}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_measuring_without_a_gpu_is_refused(tmp_path: Path) -> None:
    """With what is missing."""
    done = CliRunner().invoke(app, ["--folder", str(tmp_path)])
    assert done.exit_code == 1
    assert "target cuda cannot be used here: " in done.output
    assert CliRunner().invoke(app, ["--only", "chess"]).exit_code == 2


def script() -> ModuleType:
    """`.ci/gpu.py`."""
    spec = importlib.util.spec_from_file_location("gpu_script", ROOT / ".ci" / "gpu.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_bundle_has_what_the_library_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every dependency of the library that such a machine lacks (torch brings filelock and jinja2), within the limits of pyproject.toml."""
    gpu = script()
    wanted = gpu.wanted()
    assert "typer>=0.12,<0.29" in wanted
    assert {"islpy>=2024.2", "lark>=1.2", "safetensors>=0.4.3", "hypothesis>=6.100", "mdurl"} <= set(wanted)
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("dependencies = [")[2].partition("]")[0]
    needed = {line.strip().strip('",').partition(">")[0] for line in text.splitlines() if line.strip()}
    assert needed - {"torch", "filelock", "jinja2", "networkx", "numpy"} <= set(gpu.PACKAGES)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "all"])
    with pytest.raises(SystemExit, match="PART is one of bundle, tests, bench, not 'all'"):
        gpu.main()


def test_what_pytest_found_is_summed_up() -> None:
    """Counts, names of failures, and what tests have measured."""
    text = """<testsuites><testsuite time="12.5">
      <testcase classname="tests.gpu.test_runtime" name="a"><properties><property name="launch_us" value="9.5"/></properties></testcase>
      <testcase classname="tests.gpu.test_runtime" name="b"><failure message="m"/></testcase>
      <testcase classname="tests.gpu.test_runtime" name="c"><skipped/></testcase></testsuite></testsuites>"""
    assert script().summary(ElementTree.fromstring(text)) == {
        "passed": 1, "skipped": 1, "failed": ["tests.gpu.test_runtime.b"], "seconds": 12.5, "measured": {"launch_us": 9.5},
    }  # fmt: skip
