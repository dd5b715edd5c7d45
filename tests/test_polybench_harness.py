"""The PolyBench harness: the C files compute what the references do, contestants that fail are reported, and tables tell losses."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from benchmarks.polybench import __main__ as suite
from benchmarks.polybench import extras, native, race, rank, recorded, table, why
from benchmarks.polybench.field import OURS, Entry, enter, usable
from benchmarks.polybench.native import RESULTS, SOURCES, TOOLS, BuildError, Parameter, parameters
from benchmarks.polybench.others import EVERY
from benchmarks.polybench.race import Contestant, Score
from benchmarks.polybench.references import KERNELS, Sizes
from benchmarks.polybench.table import Row
from benchmarks.polybench.worker import Native, timed
from tests.backends.test_roofline import KNOWN
from unspool.dsl.timing import Timing

HERE, ABSENT = usable(["gcc", "clang"], 2)
needs_gcc = pytest.mark.skipif("gcc" not in HERE, reason=ABSENT.get("gcc", ""))
FACTS: dict[str, Any] = {
    "processor": "P",
    "threads": 2,
    "load": 0.1,
    "cores": 2,
    "date": "2030-01-02T",
    "tools": {"gcc": "gcc 1"},
}


# -- the C files ------------------------------------------------------------------------------------------------------


def small(name: str, folder: Path, sizes: Sizes | None = None) -> Entry:
    return Entry.make(EVERY[name], sizes or EVERY[name].small, folder, 2)


def agrees(entry: Entry, contestant: Contestant) -> None:
    """Twice, as calls that change their arrays are given them anew."""
    wanted = entry.part(entry.kernel.wanted(entry.inputs, entry.sizes))
    made = Native(dict(contestant.spec))
    for _ in range(2):
        assert timed(made) > 0
        for got, right in zip(entry.part(tuple(made.results())), wanted, strict=True):
            np.testing.assert_allclose(got, right, rtol=1e-9, atol=1e-9 * max(1.0, float(np.abs(right).max())))


@needs_gcc
@pytest.mark.parametrize("name", EVERY)
def test_c_computes_what_the_reference_does(name: str, tmp_path: Path) -> None:
    entry = small(name, tmp_path)
    agrees(entry, entry.ordered("gcc"))


@needs_gcc
@pytest.mark.parametrize("name", ["gemm", "cholesky", "bicg", "seidel_2d"])
def test_plain_c_is_called_as_it_is_declared(name: str, tmp_path: Path) -> None:
    entry = small(name, tmp_path)
    agrees(entry, entry.plain("gcc"))


@needs_gcc
def test_threads_by_hand_compute_the_same(tmp_path: Path) -> None:
    entry = small("jacobi_2d", tmp_path, {"T": 7, "n": 33})
    agrees(entry, entry.ordered("threads"))


def test_there_is_a_c_file_for_every_kernel() -> None:
    assert sorted(p.stem for p in SOURCES.glob("*.c")) == sorted(EVERY) == sorted(RESULTS)
    for name, kernel in EVERY.items():
        text = (SOURCES / f"{name}.c").read_text(encoding="utf-8")
        assert text.count("#pragma scop") == text.count("#pragma endscop") == 1
        found = parameters(text, name)
        assert [p.name.replace("steps", "T") for p in found if p.kind == "int"] == list(kernel.sizes)
        inputs = list(kernel.inputs(np.random.default_rng(0), kernel.small))
        given = [p.name for p in found if p.kind != "int" and p.name in inputs]
        assert sorted(given) == sorted(inputs)
        assert [p.name for p in found if p.kind != "int" and p.name not in inputs] == [
            r for r in RESULTS[name] if r not in inputs
        ]


def test_parameters() -> None:
    text = "static void f(int n, const double A[restrict N][M],\n       double alpha, double y[restrict 3], const double *restrict s) {"
    assert parameters(text, "f") == (
        Parameter("int", "n", False),
        Parameter("array", "A", True),
        Parameter("double", "alpha", False),
        Parameter("array", "y", False),
        Parameter("array", "s", True),
    )
    with pytest.raises(ValueError, match="no function g"):
        parameters(text, "g")
    with pytest.raises(ValueError, match="'char c' is no parameter"):
        parameters("void f(char c) {", "f")


# -- tools ------------------------------------------------------------------------------------------------------------


def test_a_tool_that_is_absent_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = dataclasses.replace(TOOLS["gcc"], name="nobody", heading="Nobody", command="no-such-compiler")
    monkeypatch.setitem(TOOLS, "nobody", nobody)
    here, absent = usable(["nobody"], 2)
    assert here == []
    assert absent == {"Nobody": "Nobody is absent: no command 'no-such-compiler'"}


@needs_gcc
def test_flags_that_a_compiler_does_not_know_are_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gcc = TOOLS["gcc"]
    monkeypatch.setitem(TOOLS, "second", dataclasses.replace(gcc, name="second", alternatives=(("-fno-such-flag",), ("-g",))))
    monkeypatch.setitem(TOOLS, "none", dataclasses.replace(gcc, name="none", heading="None", alternatives=(("-fno-such-flag",),)))
    assert native.flags("second", 2) == ("-g",)
    with pytest.raises(BuildError, match=r"None is absent: gcc failed with exit code 1: .*no-such-flag"):
        native.flags("none", 2)
    (tmp_path / "bad.c").write_text("int f( {")
    with pytest.raises(BuildError, match=r"gcc failed with exit code 1: .*error"):
        native.compile_c(tmp_path / "bad.c", tmp_path / "bad.so", ("gcc", "-shared"))


@needs_gcc
def test_a_compiler_that_fails_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Path:
        raise BuildError("clang failed with exit code 139: stack dump")

    monkeypatch.setattr(native, "build", fail)
    contestants, absent = enter(small("atax", tmp_path), ["gcc"], ["gcc"], ["c"])
    assert [c.name for c in contestants] == [OURS]
    assert absent == dict.fromkeys(("gcc", "gcc on plain C"), "clang failed with exit code 139: stack dump")


# -- races ------------------------------------------------------------------------------------------------------------

_TWICE = """
#include <stdlib.h>
#include <unistd.h>
void twice(int n, double A[restrict N]) {
  for (int i = 0; i < n; i++)
    A[i] = %s;
}
"""


@needs_gcc
def test_who_is_wrong_crashes_or_does_not_end_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "LIMIT", 8.0)
    np.save(tmp_path / "A.npy", np.arange(4.0))

    def contestant(name: str, expression: str) -> Contestant:
        source = tmp_path / f"{name}.c"
        source.write_text(_TWICE % expression)
        library = native.build("gcc", source, tmp_path, sizes={"n": 4}, threads=1)
        call = {"function": "twice", "arguments": [["int", 4], ["array", "A"]], "changed": ["A"], "outputs": {}, "results": ["A"]}
        return Contestant(name, {**call, "library": str(library), "inputs": {"A": str(tmp_path / "A.npy")}})

    bodies = {"right": "2 * A[i]", "wrong": "2 * A[i] + (i == 3)", "crash": "(abort(), 0)", "endless": "({ for (;;) pause(); 0; })"}
    found = race.race([contestant(*item) for item in bodies.items()], expected=[2 * np.arange(4.0)], rounds=2)
    right, wrong, crash, endless = found
    assert right.failure == ""
    assert right.error == 0
    assert len(right.times) == 6  # three calls each round
    assert wrong.failure == "wrong: relative error 1.7e-01, allowed 1e-08"
    assert crash.failure.startswith("killed by SIGABRT")
    assert endless.failure == "took more than 8 s"
    assert all(s.timing is None for s in (wrong, crash, endless))
    assert [s.failure for s in race.race([contestant("gone", "2 * A[j]".replace("j", "i"))], rounds=1)] == [""]


@needs_gcc
def test_a_library_that_is_not_there_says_so(tmp_path: Path) -> None:
    spec = {
        "library": str(tmp_path / "none.so"),
        "inputs": {},
        "changed": [],
        "outputs": {},
        "results": [],
        "arguments": [],
        "function": "f",
    }
    (score,) = race.race([Contestant("none", spec)], rounds=1)
    assert score.failure.startswith("exit code 1: OSError")


def test_long_kernels_get_fewer_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def __init__(self, seconds: float) -> None:
            self.seconds, self.asked = seconds, []

        def ask(self, question: str) -> list[float]:
            self.asked.append(question)
            return [self.seconds] * int(question.split()[2])

    workers = {"short": Fake(0.001), "middle": Fake(0.2), "long": Fake(2.0)}
    scores = [(Score(name), worker) for name, worker in workers.items()]
    race._samples(scores, 7)  # type: ignore[arg-type]
    assert {score.name: len(score.times) for score, _ in scores} == {"short": 21, "middle": 7, "long": 3}
    assert workers["short"].asked[-1] == "sample 1 3"
    assert workers["long"].asked[-1] == "sample 0 1"


# -- recorded ratios and tables ---------------------------------------------------------------------------------------


def test_recorded_ratios() -> None:
    assert recorded.ratios().keys() == KERNELS.keys()
    assert all(0.01 < r < 20 for row in recorded.ratios().values() for r in row.values())
    assert recorded.ratios()["covariance"]["pluto"] == pytest.approx(0.0974 / 3.34, rel=1e-2)
    assert recorded.timing("covariance", "pluto", Timing(10, 5, 7, 1)) == Timing(0.292, 0.146, 0, 0)
    with pytest.raises(KeyError):
        recorded.timing("covariance", "nobody", Timing(1, 1, 1, 1))


def row(name: str = "gemm", sizes: Sizes | None = None, **times: float) -> Row:
    scores = [Score({"unspool": OURS}.get(n, n.replace("_", " ")), first=t + 1.5, times=[t, t, 2 * t]) for n, t in times.items()]
    return Row(EVERY[name], sizes or EVERY[name].sizes, scores)


def test_ratios_and_the_best_of_five() -> None:
    r = row(unspool=0.1, gcc=0.4, clang=0.3, graphite=0.2)
    assert r.over("gcc") == pytest.approx(4)
    assert (r.best, r.over_best) == ("graphite", pytest.approx(2))
    assert r.compiling == pytest.approx(1.5)
    pluto = r.timing("pluto")
    assert pluto is not None
    assert pluto.runs == 0
    assert pluto.median == pytest.approx(0.4 * recorded.ratios()["gemm"]["pluto"])
    assert r.timing("polly") is None
    other = row(sizes=KERNELS["gemm"].small, unspool=0.1, gcc=0.4)
    assert other.timing("pluto") is None, "recorded for other sizes"
    assert row(unspool=0.1).over_best is None
    found = table.means([r, row(unspool=0.1, gcc=0.1, clang=0.2, graphite=0.2)])
    assert found["gcc"] == pytest.approx(2)
    assert found["best of five"] == pytest.approx(math.sqrt(2))
    assert found["polly"] is None


def test_tables_tell_losses_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = Score("polly", failure="killed by SIGSEGV")
    lost = row("atax", unspool=0.002, gcc=0.001, clang=0.004)
    rows = [row(unspool=0.1, gcc=0.4, clang=0.3), Row(lost.kernel, lost.sizes, [*lost.scores, failed])]
    monkeypatch.setattr(table, "WHY", {})
    assert table.unexplained(rows) == ["atax"]
    monkeypatch.setattr(table, "WHY", {"atax": "so it is", "gemm": "said of a win"})
    assert table.unexplained(rows) == []
    text = table.markdown(rows, [{"what": "gemm f64", "value": "80%", "of": "100 GFLOP/s"}], FACTS)
    lines = text.splitlines()
    assert next(x for x in lines if x.startswith("| gemm |")).endswith("| 5260 r | 906 r |  | 4.00x | 3.00x | 1.5 |  |")
    cells = next(x for x in lines if x.startswith("| atax |"))
    assert "| 2 | 1 | 4 | failed | 2.4 r | **0.667 r** |" in cells
    assert cells.endswith("| 0.50x | **0.33x** | 1.5 | so it is |")
    assert "- atax, polly: killed by SIGSEGV" in lines
    assert "| gemm f64 | 80% | 100 GFLOP/s |" in lines
    content = json.loads(json.dumps(table.as_json(rows, [], FACTS), allow_nan=False))
    assert content["format"] == table.FORMAT
    first, second = content["kernels"]
    assert first["why"] == ""
    assert (second["best"], second["why"]) == ("pluto", "so it is")
    assert second["contestants"][-1]["failure"] == "killed by SIGSEGV"
    assert second["contestants"][-1]["median_ms"] is None


def test_the_other_ten_stand_in_a_table_of_their_own() -> None:
    rows = [row(unspool=0.1, gcc=0.4), row("trmm", unspool=0.1, gcc=0.9), row("lu", unspool=0.1, gcc=0.1)]
    lines = table.markdown(rows, [], FACTS).splitlines()
    assert sum(line.startswith("| kernel |") for line in lines) == 2
    where = lines.index("**The other ten**")
    means = [line for line in lines if line.startswith("Geometric means: ")]
    assert means[0].startswith("Geometric means: 4.00x over gcc")
    assert means[1].startswith("Geometric means: 3.00x over gcc")
    assert next(n for n, line in enumerate(lines) if line.startswith("| gemm |")) < where
    assert next(n for n, line in enumerate(lines) if line.startswith("| trmm |")) > where
    content = table.as_json(rows, [], FACTS)
    assert content["geometric_means"]["gcc"] == pytest.approx(4)
    assert content["geometric_means_of_others"]["gcc"] == pytest.approx(3)
    assert rows[1].timing("pluto") is None, "nothing was recorded"


def test_explanations_are_of_kernels() -> None:
    assert why.WHY.keys() <= EVERY.keys()
    assert all(text.strip() == text and "|" not in text and "\n" not in text for text in why.WHY.values())


def test_the_page_has_its_place() -> None:
    page = (suite.HERE / "README.md").read_text(encoding="utf-8")
    assert f"<!-- {suite.MARKER} -->" in page
    assert f"<!-- end of {suite.MARKER} -->" in page


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody"], "'nobody' is none of"),
        (["gemm", "--publish"], "only the whole table"),
        (["--small", "--publish"], "only the whole table"),
        (["--tools", "gcc,icc"], "'icc' is none of"),
        (["--plain", "threads"], "'threads' is none of"),
    ],
)
def test_bad_arguments(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(suite.app, arguments, env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == 2
    assert said in result.output


@needs_gcc
def test_a_small_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results" / "polybench.json"
    plan = suite.Plan(["gcc"], ["gcc"], ["c"], threads=1, rounds=1, small=True, variants={"analytic": {"UNSPOOL_SCHEDULER": "analytic"}})
    assert suite.run(plan, [KERNELS["trisolv"]], Console(width=200), beyond=False, out=out, publish=False)
    content = json.loads(out.read_text())
    (found,) = content["kernels"]
    assert [c["name"] for c in found["contestants"]] == ["gcc", "gcc on plain C", OURS, f"{OURS}, analytic"]
    medians = {c["name"]: c["median_ms"] for c in found["contestants"]}
    assert content["geometric_means"]["best of five, analytic"] == pytest.approx(medians["gcc"] / medians[f"{OURS}, analytic"])
    assert all(c["failure"] == "" and c["median_ms"] > 0 for c in found["contestants"])
    assert found["compile_s"] > 0
    printed = capsys.readouterr().out
    assert "trisolv" in printed
    assert "why.py does not say why" not in printed


@needs_gcc
def test_beyond_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "roofline", lambda fresh: KNOWN)
    double, single, jacobi = extras.measure(2, 1, gemm=KERNELS["gemm"].small, jacobi={"T": 3, "n": 20})
    assert double["what"] == "gemm f64, 7 x 5 x 9, of the measured peak"
    assert double["value"].endswith("%")
    assert single["scores"][0]["failure"] == ""
    assert jacobi["value"].endswith("x")
    assert [s["failure"] for s in jacobi["scores"]] == ["", ""]


# -- the choice against the clock -------------------------------------------------------------------------------------


def test_ranks() -> None:
    made = [rank.Candidate(n, n, e, [t, 9.0]) for n, e, t in (("program", 3.0, 5.0), ("sweeps", 1.0, 2.0), ("contractions", 1.0005, 1.0))]
    found = rank.Ranking("gemm", made)
    assert (found.chosen.name, found.best.name, found.loss) == ("sweeps", "contractions", 1.0)
    assert found.correlations == (pytest.approx(0.5), pytest.approx(1 / 3))
    assert all(math.isnan(x) for x in rank.Ranking("gemm", made[:2]).correlations)


def test_candidates_are_timed() -> None:
    found = rank.rank(KERNELS["cholesky"], {"n": 130}, 2)
    assert {c.name for c in found.candidates} >= {"program", "sweeps", "factorizations"}
    assert len({c.schedule for c in found.candidates}) == len(found.candidates)
    assert all(0 < c.estimate < 1 and 0 < c.time < 10 for c in found.candidates)
    shown = CliRunner().invoke(rank.app, ["trisolv", "--size", "n=20", "--rounds", "1"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert shown.exit_code == 0
    assert "trisolv n=20" in shown.output
    assert "of 1; greatest loss" in shown.output
    assert CliRunner().invoke(rank.app, ["gem"]).exit_code == 2
