"""`dsl explain` and `kernel.explain()`: what they tell of kernels, host programs and gradients, as text and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import unspool as us
from unspool.backends.cuda.target import generic
from unspool.backends.explain import _storage
from unspool.compiler.loops.tree import Array, Int
from unspool.compiler.target import Machine
from unspool.dsl.cli import main

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
LASSO = PROGRAMS / "lasso.us"
SWEEP = """algorithm sweep(A: real[n]) -> real[n] where n >= 3:
    iterations T = 10
    for t in 0..T:
        for i in 1..n-1:
            A[i] = 0.5 * (A[i-1] + A[i+1])
    return A
"""
HOST = """algorithm host(x: real[n, n], at: i64[n]) -> real[n, n]:
    iterations K = 10
    module prior: (real[n, n]) -> real[n, n]
    y = x * 2 + 1
    for k in 0..K until norm(y) < 0.1:
        y = inv(y) + prior(y) * 3
    return y[at] + 1
"""


def command(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([*map(str, words)])
    got = capsys.readouterr()
    return int(stop.value.code or 0), got.out, got.err


def timeless(text: str) -> str:
    """The text without what depends on the machine or on the moment."""
    return re.sub(r"(compiled in|  estimated  |  at best  ).*", r"\1 ...", text)


@pytest.mark.parametrize("target", ["c", "numba"])
def test_explain_of_a_sweep(target: str, golden: Callable[[str], None]) -> None:
    (sweep,) = us.loads(SWEEP, "sweep.us")
    kernel = sweep.compile({"n": 1000}, schedule="skew t3 t2 1\ntile t2 t3 4 64\nvector i5", target=target)
    golden(timeless(kernel.explain()) + "\n")


def test_explain_of_a_host_program(golden: Callable[[str], None]) -> None:
    (host,) = us.loads(HOST, "host.us")
    kernel = host.compile({"n": 8}, prior=lambda x: x, target="c")
    golden(kernel.explain().split("kernel host_0")[0])
    outside = {o["operation"]: (o["line"], o["reason"]) for o in kernel.report()["host"]["operations"]}
    assert outside == {
        "for": (5, "it holds inv"),
        "inv": (6, "a library routine of torch"),
        "module": (6, "a learned operator is a torch module"),
        "slice": (7, "an index comes from data"),
    }


def test_a_batch_tile_and_gradients_have_their_parts() -> None:
    ista = us.load(LASSO).ista.compile({"m": 20, "n": 30}, target="c")
    found = ista.report(gradients=True)
    forward, backward = found["kernels"]
    assert (forward["kernel"], backward["kernel"]) == ("ista", "ista_backward")
    tile = forward["batch_tile"]
    assert tile["problems"] == 16
    assert tile["work"]["flops"] == 16 * forward["work"]["flops"]
    assert forward["work"]["flops"] == 16 * (4 * 20 * 30 + 20 + 2 * 30 + 4 * 30)
    iteration = {k: v for k, v in forward["work"]["iteration"].items() if k != "data_fits"}
    flops, moved = forward["work"]["flops"] / 16, 4 * (20 * 30 + 3 * 20 + 3 * 30 + 2)
    assert iteration == {"loop": "t2", "count": 16, "flops": flops, "bytes": moved}
    read = {b["array"]: b["bytes"] for b in forward["buffers"]}
    assert (read["A"], read["step"], read["v2"]) == (4 * 20 * 30, 4 * 16, 4)
    assert forward["work"]["bytes_read"] == 4 * (20 * 30 + 20 + 2 * 16)
    assert tile["work"]["bytes_read"] == 4 * (20 * 30 + 16 * 20 + 2 * 16)
    assert backward["work"]["flops"] > forward["work"]["flops"]
    assert "a second body for 16 problems side by side" in ista.explain()
    assert ista.explain(gradients=True).startswith(timeless(ista.explain()).split("compiled in")[0])


CASES = [
    ("fn f(x) = x\n\nalgorithm one(x: real[n]) -> real[n]:\n    return f(x)\n", {"n": 4}),
    ("algorithm scalar(x: real) -> real:\n    return 3.0\n", {}),
    ("algorithm rows(x: real[n]) -> real[n]:\n    iterations K = 3\n    for k in 0..K:\n        x = 2 * x\n    return x\n", {"n": 1}),
    ("algorithm solved(x: real[n, n]) -> real[n, n]:\n    return inv(x)\n", {"n": 4}),
]


@pytest.mark.parametrize(("text", "sizes"), CASES)
@pytest.mark.parametrize("target", ["c", "numba", "interpreter"])
def test_every_kind_of_program_is_explained(text: str, sizes: dict[str, int], target: str) -> None:
    (handle,) = us.loads(text)
    kernel = handle.compile(sizes, target=target)
    report = kernel.report(gradients=target == "c")
    assert json.loads(json.dumps(report)) == report
    assert kernel.explain().startswith(f"{handle.algorithm.name}: ")
    for stage in (kernel.dependences, kernel.steps, kernel.tree):
        assert isinstance(stage, str)


@pytest.mark.parametrize("file", ["balance.us", "em.us", "stencils.us", "triangular.us", "tv.us", "proxgrad.us"])
def test_programs_of_the_tests_are_explained(file: str) -> None:
    for handle in us.load(PROGRAMS / file):
        algorithm = handle.algorithm
        sizes = {n: 6 for n in algorithm.size_names if n not in dict(algorithm.iterations)}
        kernel = handle.compile(sizes, target="c", **{m.name: lambda x: x for m in algorithm.modules})
        report: dict[str, Any] = kernel.report()
        assert report["kernels"] or report["host"]["operations"]
        for part in report["kernels"]:
            assert part["statements"]
            assert all(s["instances"] >= 0 for s in part["statements"])
            stored = {b["array"] for b in part["buffers"]}
            assert {d["array"] for d in part["dependences"]} <= stored
        assert "statements\n" in kernel.explain()


def test_steps_show_what_each_changed() -> None:
    (sweep,) = us.loads(SWEEP)
    kernel = sweep.compile({"n": 1000}, schedule="skew t3 t2 1\ntile t2 t3 4 64", target="c")
    assert kernel.steps.split("\n\n")[1:] == [
        "skew t3 t2 1\n  for t2 serial (S4: t2)\n    for t3 serial (S4: t2 + t3)\n      S4",
        "tile t2 t3 4 64\n  for t2_o serial (S4: (t2 // 4))\n    for t3_o serial (S4: ((t2 + t3) // 64))\n"
        "      for t2_i serial (S4: t2)\n        for t3_i serial (S4: t2 + t3)\n          S4",
    ]
    assert "flow A_0: S4 -> S4    (t2, t3) = (0.., 1), (1.., -1)    carried by t2, t3" in kernel.dependences
    assert kernel.tree.startswith("function us_sweep [T]\n")


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("explain", f"{LASSO}:ista", "--size", "m=20,n=30")
    code, out, err = command(capsys, *words)
    assert (code, err) == (0, "")
    assert timeless(out) == timeless(us.load(LASSO).ista.compile({"m": 20, "n": 30}).explain(limits=True)) + "\n"
    code, out, _ = command(capsys, *words, "--json", "--gradients", "-K", "3")
    assert code == 0
    report = json.loads(out)
    assert report["sizes"] == {"K": 3, "m": 20, "n": 30}
    assert [k["kernel"] for k in report["kernels"]] == ["ista", "ista_backward"]
    work, limits = report["kernels"][0]["work"], report["limits"]
    assert work["prediction"]["seconds"]["compute"] == pytest.approx(work["flops"] / limits["flops_per_second"])
    assert work["prediction"]["least_seconds"] == max(work["prediction"]["seconds"].values())
    assert report["kernels"][0]["statements"][2]["source"] == "r = A @ x - y"
    code, out, err = command(capsys, *words, "--time", "--batch", "4")
    assert code == 0
    assert "random A, y" in err
    assert re.search(r"^measured: a call of 4 problems takes \S+ [um]?s \(median; at best \S+ [um]?s\)\n  \S+ [kMG]flop/s.*% of what", out, re.M)
    code, out, _ = command(capsys, *words, "--schedule", "none")
    assert "schedule: none, program order" in out
    code, out, err = command(capsys, "explain", f"{LASSO}:istaa")
    assert (code, out) == (2, "")
    assert "has no algorithm 'istaa'" in re.sub(r"[│\s]+", " ", err)
    code, out, _ = command(capsys, "compile", f"{LASSO}:ista", "--size", "m=4,n=6", "--emit", "dependences,steps,tree", "-o", tmp_path)
    assert {p.suffix for p in tmp_path.iterdir()} == {".dependences", ".steps", ".tree"}


def test_a_kernel_of_a_gpu_is_explained_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Where arrays lie, and on how many blocks of threads a problem is worth; no limits of this processor."""
    code, said, _ = command(capsys, "explain", f"{LASSO}:ista", "--size", "m=250,n=500", "--target", "cuda")
    assert code == 0
    assert re.search(r"x +f32\[500\] .* shared memory, or scratch", said)
    assert re.search(r"estimated .* on \d+ blocks of threads", said)
    assert "this machine" not in said


def test_the_stack_of_a_thread() -> None:
    """A thread of a GPU has less of it."""
    array = Array("x", "f32", (Int("const", value=1200),), "local")
    assert _storage(array, 4800, generic()) == "scratch of a thread"
    assert _storage(array, 4800, Machine(32, 16)) == "stack of a thread"
