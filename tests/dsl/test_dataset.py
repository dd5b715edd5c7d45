"""``dsl dataset``: programs are measured and kept, a file grows, nothing that goes wrong costs more than itself."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from unspool.backends.measuring.measurer import Measured, Measurer
from unspool.compiler.loops.schedule import apply, parse_schedule
from unspool.compiler.loops.text import parse_nest, print_nest
from unspool.compiler.search.dataset.programs import draw
from unspool.compiler.search.dataset.records import DatasetError, MachineFacts, Point, Writer, read
from unspool.compiler.search.dataset.structure import structure
from unspool.dsl.api import loads
from unspool.dsl.dataset import measure, run
from unspool.dsl.dataset.apart import Failed, apart
from unspool.dsl.dataset.prepare import nest_of, prepare, suite_structures

FACTS = MachineFacts("here", {"load": 0.0, "cores": 2})


def prepared_here(function: Any, calls: list[tuple[Any, ...]], *, processes: int, seconds: float) -> list[Any]:
    """In this process, which has imported everything."""
    return [function(*arguments) for arguments in calls]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short programs, no look at the suites, no measured limits of the machine."""
    monkeypatch.setattr(measure, "apart", prepared_here)
    monkeypatch.setattr(measure, "suite_structures", frozenset)
    monkeypatch.setattr(measure, "SECONDS", 0.01)
    monkeypatch.setattr(measure, "LEAST", 0.0)
    monkeypatch.setattr(measure, "AGAIN", 1)
    monkeypatch.setattr(run, "machine_facts", lambda: FACTS)
    monkeypatch.setattr(run, "PER_CORE", 1)


def wanted(programs: int) -> run.Wanted:
    return run.Wanted(programs, 2, seed=0, seconds=600)


@pytest.mark.usefixtures("quick")
def test_a_file_is_collected_and_grows(tmp_path: Path) -> None:
    path = str(tmp_path / "points.jsonl.gz")
    assert "2 programs" in run.run(path, wanted(1), resume=False, workers="local") or len(read(path).programs) >= 1
    first = read(path)
    assert first.machines == {"here": FACTS}
    for program in first.programs.values():
        assert program.source == draw(program.seed).source
        nest = parse_nest(program.nest)
        points = first.by_program()[program.key]
        assert 1 <= len(points) <= 2
        assert points[0].schedule == ""
        for point in points:
            assert point.status == "ok"
            assert 0 < point.seconds[0] <= point.seconds[1]
            assert 0 < point.again[0] <= point.again[1]
            assert print_nest(apply(nest, parse_schedule(point.schedule)).nest) == point.nest
    more = len(first.programs) + 1
    assert run.run(path, wanted(more), resume=True, workers="local").startswith(f"{2 * (len(read(path).programs) - more + 1)} points")
    second = read(path)
    assert len(second.programs) >= more
    assert second.points[: len(first.points)] == first.points
    assert "0 points of 0 programs" in run.run(path, wanted(more), resume=True, workers="local")


def test_the_seeds_of_a_stream_go_on() -> None:
    assert next(run.seeds_after([], 0)) == 0
    assert next(run.seeds_after([0, 7, 3, 5 * run.STREAM], 0)) == 8
    assert next(run.seeds_after([1, 2], 3)) == 3 * run.STREAM


@pytest.mark.usefixtures("quick")
def test_an_interrupt_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def batches(seeds: Any, asked: run.Wanted) -> Any:
        yield FACTS, measure.Batch([[Point("p", "here", "", "nest", (1e-3, 1e-3))]])
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_here", batches)
    said = run.run(str(tmp_path / "p.gz"), wanted(9), resume=False, workers="local")
    assert "interrupted: the same command with --resume goes on" in said
    assert len(read(tmp_path / "p.gz").points) == 1
    with Writer(tmp_path / "p.gz", resume=True), pytest.raises(DatasetError, match="another process"):
        run.run(str(tmp_path / "p.gz"), wanted(9), resume=True, workers="local")


@pytest.mark.usefixtures("quick")
def test_where_nothing_can_be_measured_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "collect", lambda seeds, *_: measure.Batch(said=[f"seed {seeds[0]}: left out, no room"]))
    with pytest.raises(DatasetError, match="left out, no room"):
        run.run(str(tmp_path / "p.gz"), wanted(9), resume=False, workers="local")
    assert read(tmp_path / "p.gz").points == []


@pytest.mark.usefixtures("quick")
def test_what_goes_wrong_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    statuses = iter(["ok", "crashed", "timeout", "wrong", "failed"])
    monkeypatch.setattr(measure, "AGAIN", 1 << 70)

    def time_(self: Measurer, built: Any) -> list[Measured]:
        return [Measured(1e-3, 1e-3) if s == "ok" else Measured.none(s, "why") for _, s in zip(built, statuses)]

    monkeypatch.setattr(Measurer, "time", time_)
    found = measure.collect([0], 5, "here")
    (records,) = found.records
    assert [r.status for r in records if isinstance(r, Point)] == ["ok", "crashed", "timeout", "wrong", "refused"]
    assert ["a fault of the compiler" in text for text in found.said] == [True]


@pytest.mark.usefixtures("quick")
def test_programs_that_take_too_long_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "MOST", 0.0)
    found = measure.collect([0], 1, "here")
    assert found.records == []
    assert "left out, program order takes" in found.said[0]


def _sums(number: int) -> int:
    if number == 1:
        os._exit(3)
    if number == 2:
        time.sleep(60)
    return 10 // number


def test_calls_in_processes_of_their_own() -> None:
    calls = [(5,), (1,), (2,), (0,)]
    five, ended, late, raised = apart(_sums, calls, processes=4, seconds=8)
    assert five == 2
    assert ended == Failed("its process ended with exit code 3")
    assert late == Failed("it took more than 8 s")
    assert raised == Failed("ZeroDivisionError: integer division or modulo by zero")


def test_programs_of_the_suites_are_left_out(tmp_path: Path) -> None:
    suites = suite_structures()
    assert len(suites) > 30
    text = Path("benchmarks/polybench/gemm.us").read_text(encoding="utf-8")
    other = """algorithm other(Z: real[a, b], X: real[a, c], Y: real[c, b], s: real, t: real) -> real[a, b]:
    return s * (X @ Y) + t * Z
"""
    sizes: list[dict[str, int]] = [{"ni": 200, "nj": 300, "nk": 400}, {"a": 77, "b": 88, "c": 99}]
    graphs = [next(iter(loads(t))).algorithm.graph for t in (text, other)]
    same = {structure(nest_of(g, dtype, known)) for g, dtype, known in zip(graphs, ("f64", "f32"), sizes, strict=True)}
    assert len(same) == 1
    assert same <= suites
    assert structure(nest_of(graphs[0], "f64", {**sizes[0], "nk": 3})) not in suites  # written out, as it were
    held_out = frozenset({structure(nest_of(next(iter(loads(draw(0).source))).algorithm.graph, "f64", dict(draw(0).sizes)))})
    assert prepare(0, 1, str(tmp_path), held_out, "here") is None


@pytest.mark.slow
def test_two_machines_of_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    try:
        path = tmp_path / "points.jsonl.gz"
        run.run(str(path), run.Wanted(3, 3, seed=0, seconds=600), resume=False, workers="ray")
        assert len(read(path).programs) >= 3
    finally:
        import ray

        ray.shutdown()
        cluster.shutdown()
