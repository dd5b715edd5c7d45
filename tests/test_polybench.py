"""The programs of ``benchmarks/polybench``: interpreter, compiled and plain C compute what NumPy does."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unspool as us
from benchmarks.polybench.others import EVERY, OTHERS
from benchmarks.polybench.references import F64, KERNELS, PROGRAMS, Inputs, Kernel
from unspool.backends.build import find_compiler

pytestmark = pytest.mark.filterwarnings("error::unspool.backends.execute.FallbackWarning")

BASELINE = """correlation covariance k2mm k3mm atax bicg doitgen mvt gemm gesummv symm syr2k syrk cholesky gramschmidt trisolv adi
jacobi_1d jacobi_2d seidel_2d"""
TEN = "gemver trmm durbin lu ludcmp deriche floyd_warshall nussinov fdtd_2d heat_3d"

SIZES = ["small", "ones", "twos"]


def sizes_of(kernel: Kernel, which: str) -> dict[str, int]:
    if which == "small":
        return dict(kernel.small)
    least = 1 if which == "ones" else 2
    return {name: max(least, kernel.minimum.get(name, 1)) for name in kernel.sizes}


def data(kernel: Kernel, sizes: dict[str, int]) -> tuple[Inputs, tuple[F64, ...]]:
    inputs = kernel.inputs(np.random.default_rng(sum(sizes.values())), sizes)
    kept = {name: x.copy() if isinstance(x, np.ndarray) else x for name, x in inputs.items()}
    wanted = kernel.wanted(inputs, sizes)
    for name, x in inputs.items():
        np.testing.assert_array_equal(x, kept[name])
    return inputs, wanted


def compare(got: Any, wanted: tuple[F64, ...], tolerance: float, dtype: Any = np.float64) -> None:
    found = got if isinstance(got, tuple) else (got,)
    assert len(found) == len(wanted)
    for g, w in zip(found, wanted, strict=True):
        assert g.shape == w.shape
        assert g.dtype == dtype
        assert np.isfinite(w).all()
        np.testing.assert_allclose(g, w, rtol=tolerance, atol=tolerance * max(1.0, float(np.abs(w).max())))


def agrees(kernel: Kernel, which: str, target: str) -> None:
    """A target computes what NumPy does."""
    sizes = sizes_of(kernel, which)
    inputs, wanted = data(kernel, sizes)
    steps = {"T": sizes["T"]} if "T" in sizes else {}
    compare(us.load(kernel.file)[kernel.name](**inputs, **steps, target=target), wanted, 1e-10)


def test_the_thirty_kernels_are_there() -> None:
    assert sorted(KERNELS) == sorted(BASELINE.split())
    assert sorted(OTHERS) == sorted(TEN.split())
    assert sorted(p.stem for p in PROGRAMS.glob("*.us")) == sorted(EVERY)
    assert {k.title for k in EVERY.values()} >= {"2mm", "3mm", "jacobi-1d", "seidel-2d", "syr2k", "atax", "floyd-warshall", "fdtd-2d"}
    for kernel in EVERY.values():
        text = kernel.file.read_text(encoding="utf-8")
        assert text.startswith(f"# {kernel.title}: ")
        assert "# Source: PolyBench/C 4.2.1, Pouchet & Yuki.\nalgorithm " in text
        steps = us.load(kernel.file)[kernel.name].algorithm.iterations
        assert [n for n, _ in steps] == ["T"] * ("T" in kernel.sizes)
        if "T" in kernel.sizes:
            assert re.search(rf"iterations T = {kernel.sizes['T']}\n", text), "the default is the baseline's"


@pytest.mark.parametrize("which", SIZES)
@pytest.mark.parametrize("name", EVERY)
def test_interpreter(name: str, which: str) -> None:
    agrees(EVERY[name], which, "interpreter")


@pytest.mark.parametrize("which", SIZES)
@pytest.mark.parametrize("name", EVERY)
def test_compiled(name: str, which: str) -> None:
    agrees(EVERY[name], which, "c")


@pytest.mark.parametrize("which", ["small", pytest.param("ones", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", OTHERS)
def test_compiled_by_numba(name: str, which: str) -> None:
    agrees(OTHERS[name], which, "numba")


@pytest.mark.slow
@pytest.mark.needs("tvm")
@pytest.mark.parametrize("which", SIZES)
@pytest.mark.parametrize("name", EVERY)
def test_compiled_by_tvm(name: str, which: str) -> None:
    agrees(EVERY[name], which, "tvm")


@pytest.mark.parametrize("name", EVERY)
def test_compiled_in_float32(name: str) -> None:
    kernel = EVERY[name]
    sizes = dict(kernel.small)
    inputs, _ = data(kernel, sizes)
    single = {n: x.astype(np.float32) for n, x in inputs.items()}
    wanted = kernel.wanted({n: x.astype(np.float64) for n, x in single.items()}, sizes)
    steps = {"T": sizes["T"]} if "T" in sizes else {}
    compare(us.load(kernel.file)[name](**single, **steps, target="c"), wanted, 2e-5, np.float32)


@pytest.mark.parametrize("name", EVERY)
def test_plain_c_by_the_system_compiler(name: str, tmp_path: Path) -> None:
    kernel = EVERY[name]
    sizes = dict(kernel.small)
    inputs, wanted = data(kernel, sizes)
    handle = us.load(kernel.file)[name]
    steps = {"T": sizes.pop("T")} if "T" in sizes else {}
    plain = handle.compile(sizes, **steps, dtype="f64", schedule="", target="c").plain
    assert plain.count("#pragma scop") == plain.count("#pragma endscop") == 1
    source, library = tmp_path / "plain.c", tmp_path / "plain.so"
    source.write_text(plain)
    flags = [
        "-std=c99",
        "-D_POSIX_C_SOURCE=199309L",
        "-O2",
        "-Wall",
        "-Wno-unused",
        "-Wno-unknown-pragmas",
        "-Werror",
        "-shared",
        "-fPIC",
    ]
    done = subprocess.run([find_compiler(), *flags, source, "-o", library, "-lm"], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    operands = [np.array(inputs[v.name], order="C") for v in handle.algorithm.graph.inputs]
    results = [np.full(w.shape, np.nan) for w in wanted]
    getattr(ctypes.CDLL(str(library)), name)(*[ctypes.c_void_p(x.ctypes.data) for x in (*operands, *results)])
    compare(tuple(results), wanted, 1e-10)


def test_columns_of_gramschmidt_that_have_no_direction_left() -> None:
    kernel, sizes = KERNELS["gramschmidt"], {"m": 5, "n": 8}
    inputs, wanted = data(kernel, sizes)
    got = us.load(kernel.file).gramschmidt(**inputs, target="c")
    compare(kernel.defined(got, sizes), kernel.defined(wanted, sizes), 1e-10)
    q, r = got
    np.testing.assert_allclose(q @ r, inputs["A"], rtol=1e-10, atol=1e-10)


def test_the_data_fits_the_programs() -> None:
    for kernel in EVERY.values():
        assert set(kernel.small) == set(kernel.sizes)
        assert set(kernel.minimum) <= set(kernel.sizes)
        shapes = {n: x.shape for n, x in kernel.inputs(np.random.default_rng(0), kernel.small).items()}
        declared = us.load(kernel.file)[kernel.name].algorithm.graph.inputs
        assert {v.name: tuple(s.evaluate(kernel.small) for s in v.type.shape) for v in declared} == shapes
