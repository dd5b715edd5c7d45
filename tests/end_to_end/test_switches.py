"""The switches: what is dumped, shown, stopped, verified, and taken from edited dumps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import unspool as us
from unspool.compiler import driver, options
from unspool.compiler.graph.graph import Graph
from unspool.compiler.graph.verify import GraphError
from unspool.compiler.loops.check import NestError
from unspool.compiler.stages import StageError

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
A, y = torch.eye(3), torch.tensor([3.0, -2.0, 0.05])


def run(name: str = "ista") -> Any:
    """Run a program that has no compiled kernels yet."""
    return getattr(us.load(PROGRAMS / "lasso.us"), name)(A, y, K=2, target="c")


def test_dumps(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with options.scope(dump=tmp_path, debug=1):
        run()
    stages = [p.stem.split("-", 2) for p in sorted(tmp_path.iterdir())]
    names = [stage for _, _, stage in stages]
    assert [int(number) for _, number, _ in stages] == list(range(1, len(stages) + 1))
    assert [n for n in names if "tile" not in n] == ["graph", "simplify", "lower", "schedule", "scan", "emit"]
    assert {p.suffix for p in tmp_path.iterdir()} == {".graph", ".nest", ".tree", ".c"}
    shown = capfd.readouterr().err
    assert all(f"unspool: ista: {name} " in shown for name in names)
    assert "unspool: ista: build " in shown


def test_dumps_of_a_host_program_and_of_a_backward(tmp_path: Path) -> None:
    program = us.loads("algorithm f(x: real[n, n]) -> real[n, n]:\n    u, s, v = svd(x + 1)\n    return 2 * u\n")
    with options.scope(dump=tmp_path):
        program.f(torch.eye(3, requires_grad=True), target="c").sum().backward()
    names = {p.name for p in tmp_path.iterdir()}
    assert {"f-03-partition.graph", "f_0-01-graph.graph", "f_0-05-scan.tree"} <= names
    assert "f_0_backward-01-graph.graph" in names  # what the adjoint made


def test_every_level_of_debug_shows_more(capfd: pytest.CaptureFixture[str]) -> None:
    words = ["unspool: ista: lower", "vector ", "static void us_ista", "graph ista(", "hoist: %"]
    for level in range(6):
        with options.scope(debug=level):
            run()
        shown = capfd.readouterr().err
        assert [word in shown for word in words] == [n < level for n in range(len(words))]


@pytest.mark.parametrize("stage", ["graph", "simplify", "lower", "schedule", "scan", "emit", "build"])
def test_stop(stage: str) -> None:
    with options.scope(stop=stage), pytest.raises(us.UnspoolError, match=f"stopped after {stage}, as UNSPOOL_STOP asks"):
        run()


def test_stop_at_a_stage_that_is_not_there() -> None:
    with (
        options.scope(stop="optimise"),
        pytest.raises(us.UnspoolError, match="names no stage of ista; there are graph, simplify"),
    ):
        run()


def test_an_unwritable_dump_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with options.scope(dump=tmp_path / "file"), pytest.raises(StageError, match=r"cannot write the dump .*ista-01-graph"):
        run()


@pytest.mark.parametrize("level", [1, 2])
def test_verify_passes_what_is_right(level: int) -> None:
    with options.scope(verify=level):
        assert torch.allclose(run(), us.load(PROGRAMS / "lasso.us").ista(A, y, K=2, target="interpreter"))


def test_verify_finds_a_pass_that_changes_what_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    simplify = driver.simplify

    def wrong(graph: Graph) -> Graph:
        from dataclasses import replace

        made = simplify(graph)
        loop = next(n for n in made.nodes if n.op == "for")
        return replace(made, nodes=tuple(n.with_attrs(upper=n.attr("upper") - 1) if n is loop else n for n in made.nodes))

    monkeypatch.setattr(driver, "simplify", wrong)
    with options.scope(verify=2), pytest.raises(GraphError, match=r"a pass changed what ista computes: %\w+ differs by"):
        run()
    with options.scope(verify=1):  # legal, and wrong
        run()


def edit(folder: Path, stage: str, old: str, new: str) -> None:
    (path,) = folder.glob(f"ista-[0-9][0-9]-{stage}.*")
    text = path.read_text()
    assert old in text
    for other in folder.iterdir():
        other.unlink()
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("stage", "old", "new"),
    [
        ("graph", "0.0}", "0.25}"),
        ("simplify", "0.0}", "0.25}"),
        ("lower", "0.0:f32)", "0.25:f32)"),
        ("schedule", "0.0:f32)", "0.25:f32)"),
        ("scan", "literal.f32(0.0)))", "literal.f32(0.25)))"),
        ("emit", "0.0f)", "0.25f)"),
    ],
)
def test_an_edited_dump_takes_the_place_of_a_stage(tmp_path: Path, stage: str, old: str, new: str) -> None:
    before = run()
    with options.scope(dump=tmp_path):
        run()
    edit(tmp_path, stage, old, new)
    with options.scope(override=tmp_path):
        after = run()
    assert before.abs().min() == 0
    assert after.abs().min() > 0  # max(..., 0.25) instead of max(..., 0)


@pytest.mark.parametrize(
    ("stage", "old", "new", "error", "message"),
    [
        ("graph", "graph ista", "grape ista", StageError, "the edited dump .* cannot be read: a graph starts with"),
        ("simplify", "einsum(%A", "einsum(%B", GraphError, "%B is used before it is defined"),
        ("lower", "array A:", "array B:", NestError, "there is no array A"),
        ("schedule", "order\n", "order\n  S99\n", NestError, "there is no statement S99"),
        ("lower", "nest ista", "nets ista", StageError, "a nest starts with"),
        ("scan", "literal.f32(0.0)", "literal.f32(", StageError, "the edited dump .* cannot be read"),
    ],
)
def test_an_edited_dump_that_is_wrong(tmp_path: Path, stage: str, old: str, new: str, error: type, message: str) -> None:
    with options.scope(dump=tmp_path):
        run()
    edit(tmp_path, stage, old, new)
    with options.scope(override=tmp_path, verify=1), pytest.raises(error, match=message):
        run()
