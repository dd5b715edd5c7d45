"""The benchmark harness: sampling, ratios, tables and JSON, and that every contestant computes the same."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import ablation, limits, repl, report, unrolled
from benchmarks.contest import FORWARD, GRADIENT, Contest, Contestant, Outcome, Score, deviation, hold
from benchmarks.plan import Plan, chosen, missing
from benchmarks.problem import targets
from benchmarks.workloads import admm, balance, bilevel, em, es, ista, library, tv
from unspool.dsl import timing
from unspool.dsl.timing import Timing

FACTS: dict[str, Any] = {
    "processor": "P",
    "threads": 2,
    "torch": "2",
    "jax": None,
    "numba": "1",
    "load": 0.1,
    "cores": 2,
    "date": "2030-01-02T",
}


def outcome(mode: str = FORWARD, **times: float) -> Outcome:
    scores = [Score(name, name.rstrip("0123456789"), 0.0, 0.0, Timing(t, t / 2, 21, 1)) for name, t in times.items()]
    return Outcome("ista", "4x8", mode, scores)


# -- sampling ---------------------------------------------------------------------------------------------------------


def test_samples_are_taken_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(timing, "_expected", lambda function: 1.0)
    monkeypatch.setattr(timing, "_sample", lambda function, calls: order.append(function()) or 1.0)
    found = timing.interleaved({"a": lambda: "a", "b": lambda: "b"}, rounds=3)
    assert order == ["a", "b"] * 3
    assert found["a"] == Timing(1.0, 1.0, 3, 1)


def test_short_functions_get_all_rounds_and_long_ones_end_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    expected: dict[str, float] = {"short": 0.001, "warm": 0.01, "long": 0.3, "endless": 3.0}
    functions: dict[str, Callable[[], object]] = {name: lambda name=name: name for name in expected}  # type: ignore[misc]
    monkeypatch.setattr(timing, "_expected", lambda function: expected[function()])
    monkeypatch.setattr(timing, "_sample", lambda function, calls: 1.0)
    found = timing.interleaved(functions, rounds=21, seconds=0)
    assert {name: t.runs for name, t in found.items()} == {"short": 21, "warm": 21, "long": 7, "endless": 3}
    assert {name: t.calls for name, t in found.items()} == {"short": 4, "warm": 2, "long": 1, "endless": 1}
    assert {t.runs for t in timing.interleaved(functions, rounds=21, seconds=60).values()} == {21}


def test_a_sample_is_the_mean_of_its_calls() -> None:
    calls = []
    timing._sample(lambda: calls.append(0), 5)
    assert len(calls) >= 5
    timing._sample(lambda: calls.append(1), 1)
    assert calls.count(1) == 1  # a long function is not called to warm up


def test_median_minimum_and_ratio() -> None:
    t = timing.summary([3.0, 1.0, 2.0, 10.0], calls=2)
    assert (t.median, t.minimum, t.runs, t.calls) == (2.5, 1.0, 4, 2)
    assert timing.ratio(Timing(6, 2, 1, 1), Timing(3, 2, 1, 1)) == 2  # medians 2, minima 1
    assert timing.ratio(Timing(3, 4, 1, 1), Timing(3, 2, 1, 1)) == 2


def test_the_machine_is_described() -> None:
    facts = timing.machine()
    json.dumps(facts)
    assert facts["threads"] == torch.get_num_threads()
    assert all(facts[name] for name in ("processor", "cores", "system", "python", "torch", "date"))
    assert timing.caution({"load": 3.0, "cores": 2})
    assert not timing.caution({"load": 0.2, "cores": 2})
    assert not timing.caution({"load": None, "cores": 2})


# -- contests ---------------------------------------------------------------------------------------------------------


def test_who_is_wrong_or_fails_is_reported_and_not_timed() -> None:
    def fail() -> Callable[[], object]:
        raise RuntimeError("no such thing\nat all")

    contest = Contest(
        "p",
        "s",
        FORWARD,
        lambda: [np.ones(2)],
        [
            Contestant("right", "unspool", lambda: lambda: torch.ones(2)),
            Contestant("wrong", "eager", lambda: lambda: torch.tensor([1.0, 1.1])),
            Contestant("nan", "jax", lambda: lambda: np.array([1.0, math.nan])),
            Contestant("failing", "numba", fail),
        ],
    )
    right, wrong, nan, failing = hold(contest, rounds=3).scores
    assert right.timing is not None
    assert (right.timing.runs, right.error, right.failure) == (3, 0.0, "")
    assert wrong.timing is None
    assert wrong.failure == "wrong: relative error 1.0e-01, allowed 1e-04"
    assert nan.timing is None
    assert nan.error == math.inf
    assert failing.failure == "RuntimeError: no such thing"


def test_deviation_takes_the_worst_result() -> None:
    assert deviation([np.ones(2), np.array([4.0])], [np.ones(2), np.array([5.0])]) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="1 results where there should be 2"):
        deviation([np.ones(2)], [np.ones(2)] * 2)


# -- reports ----------------------------------------------------------------------------------------------------------


def test_ratios_take_the_best_variants_and_the_limit_is_no_peer() -> None:
    found = report.ratios(outcome(unspool=2.0, unspool2=1.0, eager=8.0, eager2=4.0, jax=3.0, limit=0.5))
    assert found == {"eager": 4.0, "jax": 3.0, "limit": 0.5, "best peer": 3.0}
    assert report.ratios(outcome(eager=1.0)) == {}
    assert report.means([outcome(unspool=1, eager=2), outcome(unspool=1, eager=8)])[FORWARD]["eager"] == pytest.approx(4)


def test_json_is_complete_and_strict() -> None:
    failed = Outcome("tv", "8", GRADIENT, [Score("unspool", "unspool", math.inf, math.nan, None, "wrong")])
    content = report.as_json([outcome(unspool=1.0, eager=2.0), failed], FACTS, [])
    again = json.loads(json.dumps(content, allow_nan=False))
    assert again["format"] == report.FORMAT
    assert again["machine"]["processor"] == "P"
    first, second = again["contests"]
    assert first["ratios"] == {"eager": 2.0, "best peer": 2.0}
    assert first["contestants"][1] == {
        "name": "eager",
        "peer": "eager",
        "failure": "",
        "relative_error": 0.0,
        "first_call_s": 0.0,
        "median_ms": 2000.0,
        "minimum_ms": 1000.0,
        "runs": 21,
        "calls": 1,
    }
    assert second["contestants"][0]["failure"] == "wrong"
    assert second["contestants"][0]["relative_error"] is None


def test_tables_show_losses() -> None:
    outcomes = [outcome(unspool=0.002, eager=0.001, jax=0.004), outcome(GRADIENT, unspool=0.001, eager=0.003)]
    short = report.short(outcomes, FACTS)
    assert "| ista | 4x8 | 2 | 0.50x | 0.50x | 1 | 3.00x | 3.00x |" in short
    assert "Geometric means, forward: 0.50x over torch eager, 0.50x over the best peer." in short
    long = report.long(outcomes, FACTS, [{"what": "import", "target": "-", "value": 0.25, "unit": "s", "note": "n"}], "unrolled.json")
    assert "| ista | 4x8 | 2 | 1 0.50x | 4 2.00x | 0.50x (eager) |" in long
    assert "| import | - | 0.25 | s | n |" in long
    assert "at least 21 interleaved samples" in long


def test_tables_go_between_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- t -->\nold\n<!-- end of t -->\nb\n")
    report.between(page, "t", "new\ntable")
    assert page.read_text() == "a\n<!-- t -->\nnew\ntable\n<!-- end of t -->\nb\n"
    with pytest.raises(ValueError, match="has lost the markers"):
        report.between(page, "other", "x")
    for file, name in (
        (unrolled.HERE / "README.md", "unrolled suite: make bench"),
        (unrolled.HERE.parent / "README.md", "speed: make bench"),
    ):
        assert f"<!-- {name} -->" in file.read_text()
        assert f"<!-- end of {name} -->" in file.read_text()


def test_peers_are_chosen_by_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.plan.missing", lambda peer: "JAX is not installed" if peer == "jax" else "")
    assert chosen(["torch", "jax"]) == (frozenset({"eager", "compile"}), ["left out: JAX is not installed"])
    with pytest.raises(ValueError, match="'nobody' is none of eager"):
        chosen(["nobody"])


# -- all contestants on small data ------------------------------------------------------------------------------------

QUICK = frozenset(p for p in ("eager", "jax", "limit") if not missing(p))
NAMES = ("ista", "admm", "em", "tv", "bilevel", "es", "moe", "scaling", "sinkhorn")


def small(monkeypatch: pytest.MonkeyPatch, name: str, plan: Plan) -> list[Contest]:
    """The contests of a workload at sizes that take moments; target numba takes part in one of them."""
    if name != "scaling":
        monkeypatch.setattr("benchmarks.problem.targets", lambda: targets()[:1])
    if name == "ista":
        return list(ista._at(plan, 8, 16, 16)) + list(ista._at(plan, 8, 16, 1))
    if name == "admm":
        return list(admm._at(plan, 8, 16, 16))
    if name == "em":
        data = em.data
        monkeypatch.setattr(em, "data", lambda batch: data(batch, features=64))  # the limit takes d in 64s, classes in 20s
        return list(em.contests(plan))
    if name == "tv":
        return list(tv._at(plan, 64))
    if name == "bilevel":
        return list(bilevel.contests(plan))
    if name == "es":
        return list(es.contests(plan))
    kinds = {"moe": balance.moe, "scaling": balance.scaling, "sinkhorn": balance.sinkhorn}
    return list(kinds[name](plan))


#: Workloads of many kernels, which others are like.
LATER = ("em", "es", "admm", "sinkhorn")


def agree(contests: list[Contest], peers: set[str]) -> None:
    for contest in contests:
        outcome = hold(contest, rounds=1, seconds=0)
        assert {s.peer for s in outcome.scores} >= {"unspool"}
        assert contest.mode == GRADIENT or {s.peer for s in outcome.scores} >= peers
        assert [(s.name, s.failure) for s in outcome.scores if s.failure] == []


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in LATER else []) for n in NAMES])
def test_everyone_computes_the_same(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    agree(small(monkeypatch, name, Plan("quick", QUICK)), {"eager"})


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("em", "es")])
@pytest.mark.skipif(bool(missing("numba")), reason="numba is not installed")
@pytest.mark.slow
def test_numba_computes_the_same(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    agree(small(monkeypatch, name, Plan("quick", frozenset({"numba"}))), {"numba"})


@pytest.mark.skipif(bool(missing("compile")), reason="torch.compile needs a C++ compiler")
@pytest.mark.slow  # what `make demo` does with another workload
def test_one_compiled_iteration_computes_the_same() -> None:
    contest = next(ista._at(Plan("quick", frozenset({"compile"})), 8, 16, 4))
    found = {s.name: s.failure for s in hold(contest, rounds=1).scores}
    assert found.keys() >= {"unspool", "torch.compile, one iteration"}
    assert not any(found.values())


@pytest.mark.skipif(bool(limits.missing()), reason="no AVX-512 or no C compiler")
def test_limits_say_what_they_need() -> None:
    with pytest.raises(ValueError, match="contiguous"):
        limits.address(torch.zeros(2, 3).T)
    assert limits.rows_per_tile(250, 500) == 25
    assert limits.rows_per_tile(64, 128) == 16


def test_the_suite_writes_json_and_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    monkeypatch.setattr("benchmarks.workloads.workloads", lambda group: {"ista": lambda plan: ista._at(plan, 8, 16, 1)})
    monkeypatch.setattr("benchmarks.problem.targets", lambda: targets()[:1])
    out = tmp_path / "results" / "unrolled.json"
    plan = Plan("quick", frozenset({"eager"}))
    assert unrolled.run(plan, ["ista"], Console(width=160), seconds=0.1, costs=False, out=out, publish=False)
    content = json.loads(out.read_text())
    assert [c["mode"] for c in content["contests"]] == [FORWARD, GRADIENT]
    assert content["machine"]["scale"] == "quick"
    assert "unspool" in capsys.readouterr().out


#: Cheap ones of each kind; the others are for the long runs.
CHEAP = ("fista", "factors", "unem_gaussian", "alf_lb", "capped_simplex", "momentum", "gns_smooth_max", "generation", "eggroll_int8", "mezo",
         "cirim", "recurrent_varnet", "soba", "select_layers")  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in CHEAP else [pytest.mark.slow]) for n in library.contests()])
def test_torch_computes_what_programs_of_the_library_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.problem.targets", list)  # ours are tested with the library
    for contest in library.contests()[name](Plan("quick", frozenset({"eager"}))):
        scores = hold(contest, rounds=1, seconds=0.01, say=lambda text: None).scores
        assert [(score.peer, score.failure) for score in scores] == [("eager", "")] * len(scores), contest.mode
        assert scores


def test_gradients_may_be_less_exact_than_results() -> None:
    """Those of ``adam`` in its betas are; its results are held to what those of others are."""
    forward, gradient = library.contests()["adam"](Plan("quick", frozenset()))
    assert (forward.mode, forward.tolerance) == (FORWARD, 1e-3)
    assert (gradient.mode, gradient.tolerance) == (GRADIENT, 1e-1)


def test_parts_of_the_compiler_can_be_left_out() -> None:
    problem = ista.problem(ista.data(8, 16, 4))
    found = [row.make()() for row in ablation.forward_rows(problem, 1, "all")]
    for other in found[1:]:
        assert torch.allclose(found[0], other, rtol=1e-4, atol=1e-6)
    with ablation.without("tiles", "proposers"):
        plain = ablation.built(problem)
        plain(*problem.inputs)
    (plan,) = plain._routine.main.plans.values()
    assert "batch" not in plan.compiled.schedule


def test_what_the_repl_takes() -> None:
    answers = repl.steps("jacobi_1d", {"n": 30, "T": 3})
    assert {line.split()[0] for line in answers} == {"parallel", "tile", "reverse"}
    assert all(t > 0 for t in answers.values())
    if importlib.util.find_spec("pty") is not None:
        assert 0 < repl.first_prompt() < repl.PATIENCE
