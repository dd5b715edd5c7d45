"""Candidates in a process of their own: what runs is timed, what crashes, hangs, or computes something else is told and passed over."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.search.programs import graph_of
from unspool.backends.build import machine
from unspool.backends.measuring import measurer as measuring
from unspool.backends.measuring import unit
from unspool.backends.measuring.measurer import Measured, Measurer
from unspool.compiler.diagnostics import CompileError, DataError
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.scheduled import Scheduled
from unspool.compiler.search.choose import candidates
from unspool.compiler.search.draft import Draft, Task

PRODUCT = """algorithm product(A: real[m, k], B: real[k, n]) -> real[m, n]:
    return A @ B
"""
HALVES = """algorithm halves(x: bf16[n], c: c64[n], j: i32[n], b: bool[n]) -> (bf16[n], c64[n], real[n]):
    y = cast(cast(x, f32) * 2, bf16)
    d = c * conj(c)
    z = cast(j, f32) * cast(where(b, 1, 2), f32)
    return y, d, cast(z, real)
"""


def task_of(text: str, sizes: dict[str, int]) -> Task:
    return Task(lower(simplify(specialize(graph_of(text), "f64", sizes))), machine())


@pytest.fixture(scope="module")
def task() -> Task:
    return task_of(PRODUCT, {"m": 24, "k": 30, "n": 40})


@pytest.fixture(scope="module")
def start(task: Task) -> Scheduled:
    return Draft.of(task).scheduled


def planted(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Put ``code`` at the start of every kernel that is compiled from here on."""
    true = unit.source_of

    def source_of(*args: object, **named: object) -> str:
        text = true(*args, **named)  # type: ignore[arg-type]
        return text.replace("void *workspace) {", f"void *workspace) {{ {code}")

    monkeypatch.setattr(unit, "source_of", source_of)


def test_all_candidates_are_timed_and_compute_the_same(task: Task, start: Scheduled) -> None:
    programs = [draft.scheduled for draft in candidates(task)]
    with Measurer(task.nest, task.machine, reference=start) as measurer:
        found = measurer.measure(programs)
    assert [m.status for m in found] == ["ok"] * len(programs)
    assert all(0 < m.least <= m.median < 0.1 for m in found)


def test_every_kind_of_operand() -> None:
    halves = task_of(HALVES, {"n": 50})
    program = Draft.of(halves).scheduled
    with Measurer(halves.nest, halves.machine, reference=program) as measurer:
        assert [m.status for m in measurer.measure([program])] == ["ok"]


@pytest.mark.parametrize(
    ("code", "status"),
    [("*(volatile int *)0 = 1;", "crashed"), ("for (volatile int i = 0;;) i = 0;", "timeout"), ("return 3;", "failed"), ("what is this;", "refused")],
    ids=["crashed", "timeout", "failed", "refused"],
)
def test_what_goes_wrong_costs_one_candidate(
    task: Task, start: Scheduled, monkeypatch: pytest.MonkeyPatch, code: str, status: str
) -> None:
    monkeypatch.setattr(measuring, "PATIENCE", 0.5)
    with Measurer(task.nest, task.machine, reference=start) as measurer:
        with monkeypatch.context() as wrong:
            planted(wrong, code)
            (bad,) = measurer.measure([start])
        (good,) = measurer.measure([start])
    assert bad.status == status
    assert math.isinf(bad.least)
    assert good.status == "ok"


def test_other_results_are_no_time(task: Task, start: Scheduled, monkeypatch: pytest.MonkeyPatch) -> None:
    with Measurer(task.nest, task.machine, reference=start) as measurer:
        planted(monkeypatch, "((double *)pointers[0])[0] += 1;")
        (bad,) = measurer.measure([start])
    assert bad.status == "wrong"
    assert "results differ by" in bad.why


def test_a_program_that_cannot_run_says_so(task: Task, start: Scheduled, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, "return 1;")
    with pytest.raises(DataError, match="cannot be measured"), Measurer(task.nest, task.machine, reference=start):
        pass


def test_no_compiler_is_no_time(task: Task, start: Scheduled, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> Path:
        raise CompileError("no C compiler found")

    monkeypatch.setattr(unit, "compile_unit", none)
    with Measurer(task.nest, task.machine) as measurer:
        assert measurer.measure([start]) == [Measured.none("refused", "no C compiler found")]
