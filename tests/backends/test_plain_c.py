"""The untransformed program as plain C: compiled by the system's compiler, it computes what the interpreter does."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unspool as us
from unspool.backends.build import find_compiler

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"


def built(text: str, folder: Path, *flags: str) -> Path:
    (folder / "plain.c").write_text(text)
    path = folder / ("plain" if "-DUNSPOOL_MAIN" in flags else "plain.so")
    shared = [] if "-DUNSPOOL_MAIN" in flags else ["-shared", "-fPIC"]
    command = [find_compiler(), "-O2", "-Wall", "-Wno-unused", *shared, *flags, str(folder / "plain.c"), "-o", str(path), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return path


CASES = [
    ("lasso.us", "ista", {"m": 5, "n": 7}),
    ("lasso.us", "lista", {"m": 5, "n": 7}),
    ("tv.us", "tv", {"h": 6, "w": 9}),
    ("balance.us", "sinkhorn", {"n": 5, "m": 4}),
    ("em.us", "gmm", {"n": 9, "d": 3, "c": 2}),
    ("stencils.us", "seidel2d", {"n": 8}),
    ("triangular.us", "cholesky_lower", {"n": 6}),
    ("triangular.us", "syrk", {"n": 5, "m": 4}),
]


@pytest.mark.parametrize(("file", "name", "sizes"), CASES, ids=[c[1] for c in CASES])
def test_plain_c_computes_what_the_interpreter_does(file: str, name: str, sizes: dict[str, int], tmp_path: Path) -> None:
    handle = us.load(PROGRAMS / file)[name]
    kernel = handle.compile(sizes, dtype="f64", schedule="", target="c")
    assert "#pragma scop" in kernel.plain
    torch.manual_seed(0)
    algorithm = handle.algorithm
    count = {n: kernel._binding.sizes[n] for n, _ in algorithm.iterations}
    graph = algorithm.graph
    values: list[np.ndarray[Any, Any]] = []
    for v in graph.inputs:
        shape = tuple(s.evaluate(kernel._binding.sizes) for s in v.type.shape)
        x = np.array(0.5 + np.random.default_rng(len(values)).random(shape), order="C")
        if name == "cholesky_lower" and len(shape) == 2:
            x = x @ x.T + 9 * np.eye(shape[0])
        values.append(x)
    outputs = [np.zeros(tuple(s.evaluate(kernel._binding.sizes) for s in t.shape)) for t in graph.result_types]
    library = ctypes.CDLL(str(built(kernel.plain, tmp_path)))
    library[name](*[ctypes.c_void_p(a.ctypes.data) for a in (*values, *outputs)])
    named = {v.name: x for v, x in zip(graph.inputs, values, strict=True)}
    want = handle(**named, **count, target="interpreter", dtype="f64")
    for got, expected in zip(outputs, want if isinstance(want, tuple) else (want,), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


def test_the_timed_main_prints_seconds_and_a_checksum(tmp_path: Path) -> None:
    kernel = us.load(PROGRAMS / "lasso.us").ista.compile({"m": 5, "n": 7}, K=3, dtype="f64", schedule="", target="c")
    main = built(kernel.plain, tmp_path, "-DUNSPOOL_MAIN")
    lines = [subprocess.run([main, "2"], capture_output=True, text=True, check=True).stdout.split() for _ in range(2)]
    assert all(float(seconds) > 0 for seconds, _ in lines)
    assert lines[0][1] == lines[1][1]


NAMES = """algorithm next(y1: real[n], a: real[n], b: real, sum: real[n, n], time: real[n], printf: real[n], spare: real[n]) -> (real[n], real[n]):
    iterations r = 3
    j0 = a + y1
    state = sum @ j0
    best = time
    for k in 0..r:
        best = 0.1 * (state + best + b * j0) + printf
    return best, state
"""
EVERY = [(p, h.algorithm.name) for p in sorted((PROGRAMS.parents[1] / "benchmarks" / "polybench").glob("*.us")) for h in us.load(p)]
EVERY += [(PROGRAMS / file, name) for file, name, _ in CASES] + [(None, "next")]


@pytest.mark.parametrize(("file", "name"), EVERY, ids=[name for _, name in EVERY])
def test_compilers_do_not_warn_of_plain_c(file: Path | None, name: str, tmp_path: Path) -> None:
    handle = us.loads(NAMES).next if file is None else us.load(file)[name]
    sizes = {n: 6 for n in handle.algorithm.size_names if n not in dict(handle.algorithm.iterations)}
    text = handle.compile(sizes, schedule="", target="c").plain
    (tmp_path / "plain.c").write_text(text)
    for compiler in filter(shutil.which, ("gcc", "clang")):
        for flags in ([], ["-DUNSPOOL_MAIN"], ["-DUNSPOOL_MAIN", "-std=c11", "-D_GNU_SOURCE"]):
            command = [compiler, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", *flags, str(tmp_path / "plain.c")]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert not done.returncode, done.stderr
    before, inside, behind = re.split(r"^#pragma (?:end)?scop\n", text, flags=re.MULTILINE)
    lines = [line.strip() for line in inside.splitlines()]
    assert all(re.match(r"(for|if) \(|else|[{}]|\S.* = .*;$", line) for line in lines), inside
    assert "for (" not in before.split(f"void {name}(")[1]
    assert behind.startswith("}\n")
    if name == "next":
        run = built(text, tmp_path, "-DUNSPOOL_MAIN")
        assert float(subprocess.run([run], capture_output=True, text=True, check=True).stdout.split()[1]) > 0


def test_what_is_not_one_nest_of_loops_says_so() -> None:
    scheduled = us.load(PROGRAMS / "lasso.us").ista.compile({"m": 5, "n": 7}, target="c")
    with pytest.raises(us.CompileError, match=r"ista has no plain C: compile with schedule=''"):
        _ = scheduled.plain
    routine = us.load(PROGRAMS / "balance.us").alf_lb.compile({"T": 4, "E": 3}, schedule="", target="c")
    with pytest.raises(us.CompileError, match="plain C has no routine topk_mask"):
        _ = routine.plain


def test_the_timed_main_gives_a_factorization_a_positive_definite_matrix(tmp_path: Path) -> None:
    kernel = us.load(PROGRAMS / "triangular.us").cholesky_lower.compile({"n": 40}, dtype="f64", schedule="", target="c")
    main = built(kernel.plain, tmp_path, "-DUNSPOOL_MAIN")
    _, checksum = subprocess.run([main], capture_output=True, text=True, check=True).stdout.split()
    assert np.isfinite(float(checksum))
    assert float(checksum) > 40 * 40**0.5  # the diagonal alone: each at least the root of 1.1 n less what the row took
