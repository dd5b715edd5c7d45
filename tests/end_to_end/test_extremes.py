"""Bad and extreme input of whole programs: sizes of zero and one, sizes that no tile divides, indices and counts beyond 32 bits,
operands that overlap, and programs whose accesses are not affine."""

from __future__ import annotations

import ctypes
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unspool as us
from benchmarks.polybench.others import EVERY
from tests.end_to_end.cases import CASES, PROGRAMS
from tests.helpers import TVM_SLOW
from tests.test_polybench import compare, data
from unspool.backends.autograd import run_flat
from unspool.backends.build import find_compiler
from unspool.backends.cpu import CTarget
from unspool.backends.execute import KernelPlan
from unspool.backends.numba.target import NumbaTarget
from unspool.backends.tvm.target import TvmTarget
from unspool.compiler import options
from unspool.compiler.diagnostics import DataError
from unspool.compiler.driver import compile_graph
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.target import Machine, Target

TARGETS = ["c", "numba", "tvm", "interpreter"]
#: Caches so small that what is done for large programs is done for these.
TINY = Machine(64, 32, l1=512, l2=4096, l3=16384)
#: Beyond 32 bits, signed.
BIG = 2**31


@cache
def loaded(file: Path) -> Any:
    return us.load(file)


HANDLES = {f"polybench-{name}": (kernel.file, name) for name, kernel in EVERY.items()}
HANDLES |= {str(case): (PROGRAMS / f"{case.program}.us", case.algorithm) for case in CASES}
#: Sizes that the `where` of a program, or its slices, ask for.
LEAST = {"tv": {"h": 2, "w": 2}}


def handle_of(which: str) -> Any:
    file, name = HANDLES[which]
    return loaded(file)[name]


def axes(handle: Any) -> list[str]:
    """The names of the sizes that operands bind."""
    counts = {name for name, _ in handle.algorithm.iterations}
    return sorted(set().union(*(s.names() for i in handle.algorithm.inputs for s in i.type.shape)) - counts)


def operand(name: str, dtype: str, shape: tuple[int, ...], g: torch.Generator) -> Any:
    """Random data in float64; square matrices are well conditioned."""
    if dtype == "key":
        return us.key(3)
    if dtype.startswith("i"):
        return torch.ones(shape, dtype=getattr(torch, f"int{dtype[1:]}"))
    x = torch.rand(shape, generator=g, dtype=torch.float64)
    return x + 3 * torch.eye(shape[0], dtype=x.dtype) if len(shape) == 2 and shape[0] == shape[1] else x


def call(handle: Any, sizes: dict[str, int], count: int, target: str, **given: Any) -> tuple[torch.Tensor, ...]:
    """The results for random operands, or given ones."""
    g = torch.Generator().manual_seed(0)
    counts = {name: count for name, _ in handle.algorithm.iterations}
    operands = {}
    for i in handle.algorithm.inputs:
        operands[i.name] = operand(i.name, i.type.dtype, tuple(s.evaluate({**sizes, **counts}) for s in i.type.shape), g)
    operands |= {m.name: torch.nn.Tanh() for m in handle.algorithm.modules}
    with options.scope(target=target):
        found = handle(**{**operands, **given}, **counts)
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("which", HANDLES)
def test_sizes_of_zero_are_one_error_on_every_target(which: str) -> None:
    handle = handle_of(which)
    for name in axes(handle):
        texts = set()
        for target in TARGETS:
            with pytest.raises(DataError, match=f"the size {name} must be at least 1; got shape") as error:
                call(handle, {**dict.fromkeys(axes(handle), 3), name: 0}, 1, target)
            texts.add(str(error.value))
        assert len(texts) == 1
    for count, _ in handle.algorithm.iterations[:1]:
        with pytest.raises(DataError, match=f"size {count} must be an integer of at least 1, not 0"):
            call(handle, dict.fromkeys(axes(handle), 3), 0, "c")


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("which", [str(case) for case in CASES])
def test_sizes_of_one_and_two(which: str, size: int) -> None:
    handle = handle_of(which)
    least = LEAST.get(handle.algorithm.name, {})
    sizes = {name: max(size, least.get(name, 1)) for name in axes(handle)}
    for count in (1, 2):
        got, want = (call(handle, sizes, count, target) for target in ("c", "interpreter"))
        for g, w in zip(got, want, strict=True):
            torch.testing.assert_close(g, w, rtol=1e-10, atol=1e-12, equal_nan=True)


# -- sizes that no tile divides ----------------------------------------------------------------------------------------

#: Odd ones, a little above what fits a tile, with enough iterations for tiles of them.
ODD = {"T": 7, "nq": 9, "nr": 11}


def planned(file: Path, name: str, sizes: dict[str, int], target: Target) -> KernelPlan:
    """A kernel of one program at fixed sizes, with counts left to the call."""
    handle = loaded(file)[name]
    counts = {count for count, _ in handle.algorithm.iterations}
    fixed = specialize(handle.algorithm.graph, "f64", {n: v for n, v in sizes.items() if n not in counts})
    return KernelPlan(fixed, compile_graph(fixed, target), strict=False)


def odd_sizes(name: str, shift: int) -> dict[str, int]:
    kernel = EVERY[name]
    return {s: ODD.get(s, 17 + 2 * n + shift) for n, s in enumerate(kernel.sizes)}


def run_kernel(name: str, sizes: dict[str, int], target: Target) -> None:
    kernel = EVERY[name]
    inputs, wanted = data(kernel, sizes)
    plan = planned(kernel.file, name, sizes, target)
    order = [i.name for i in loaded(kernel.file)[name].algorithm.inputs]
    operands = [torch.as_tensor(inputs[n]) for n in order]
    counts = {"T": sizes["T"]} if "T" in sizes else {}
    got = run_flat(plan, operands, [False] * len(operands), None, counts)
    compare(kernel.defined(tuple(g.numpy() for g in got), sizes), kernel.defined(wanted, sizes), 1e-9)


@pytest.mark.parametrize("name", EVERY)
def test_sizes_that_no_tile_divides(name: str) -> None:
    run_kernel(name, odd_sizes(name, 0), CTarget(machine=TINY))


@pytest.mark.slow
@pytest.mark.parametrize("shift", [1, 6, 14, 15, 17])
@pytest.mark.parametrize("name", EVERY)
def test_more_sizes_that_no_tile_divides(name: str, shift: int) -> None:
    run_kernel(name, odd_sizes(name, shift), CTarget(machine=TINY))
    run_kernel(name, odd_sizes(name, shift), NumbaTarget(machine=TINY))


@pytest.mark.slow
@pytest.mark.needs("tvm")
@pytest.mark.parametrize("name", EVERY)
def test_sizes_that_no_tile_divides_on_target_tvm(name: str) -> None:
    """It has no register tiles; the loops around them are those of the other targets."""
    run_kernel(name, odd_sizes(name, 0), TvmTarget(machine=TINY))


ON_NUMBA = "gemm symm syr2k cholesky jacobi_2d seidel_2d atax gramschmidt adi durbin nussinov".split()
#: In the default run these have numba's kernels at other sizes, in test_polybench.py.
MORE_ON_NUMBA = "trmm ludcmp deriche floyd_warshall fdtd_2d heat_3d".split()


@pytest.mark.parametrize("name", [*ON_NUMBA, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE_ON_NUMBA)])
def test_sizes_that_no_tile_divides_on_target_numba(name: str) -> None:
    run_kernel(name, odd_sizes(name, 0), NumbaTarget(machine=TINY))


# -- beyond 32 bits ----------------------------------------------------------------------------------------------------

WIDE = us.loads("""
algorithm total(x: i8[n], s0: i64) -> i64:
    s = s0
    for i in 0..n:
        s = s + cast(x[i], i64)
    return s

algorithm last(x: i8[h, w]) -> i8[h]:
    return x[:, w - 1] + x[:, 0]

algorithm count(x: i64) -> i64:
    iterations K = 4
    s = x
    for k in 0..K:
        s = s + 1
    return s

algorithm numbered(x: i64) -> i64:
    iterations K = 4
    s = x
    for k in 0..K:
        s = max(s, 3 * k + 1)
    return s
""")


@pytest.mark.parametrize("target", ["c", "numba", TVM_SLOW])
def test_more_elements_than_32_bits_count(target: str) -> None:
    """Zero pages: the system gives memory only to what is written."""
    x = torch.from_numpy(np.zeros(BIG + 9, np.int8))
    x[5], x[BIG + 1], x[-1] = 1, 4, 3
    assert WIDE.total(x, torch.tensor(2), target=target) == 10
    h, w = 2**16 + 1, 2**15 + 3
    wide = torch.from_numpy(np.zeros((h, w), np.int8))
    wide[3, -1], wide[-1, -1], wide[-1, 0] = 2, 7, 1
    got = WIDE.last(wide, target=target)
    assert got.nonzero().flatten().tolist() == [3, h - 1]
    assert got[-1] == 8


@pytest.mark.parametrize("target", ["c", "numba", TVM_SLOW])
def test_more_iterations_than_32_bits_count(target: str) -> None:
    assert WIDE.count(torch.tensor(5), K=BIG + 3, target=target) == BIG + 8
    assert WIDE.numbered(torch.tensor(5), K=BIG + 3, target=target) == 3 * BIG + 7


#: One of each kind of loop nest: products, stencils, triangles, recurrences, strings of sweeps, a product of three axes.
WIDELY = "gemm jacobi_2d cholesky deriche nussinov doitgen durbin fdtd_2d floyd_warshall gramschmidt".split()


@pytest.mark.parametrize("name", [name if name in WIDELY else pytest.param(name, marks=pytest.mark.slow) for name in EVERY])
def test_indices_have_64_bits(name: str) -> None:
    """At sizes whose products need more than 32 bits every index of the source is 64 bits wide, and no literal product overflows."""
    kernel, size = EVERY[name], 70_001
    handle = loaded(kernel.file)[name]
    sizes = {s: size for s in kernel.sizes if s != "T"}
    if name == "doitgen":
        sizes["nr"] = 2
    made = handle.compile(sizes, dtype="f64", target="c")
    assert set(re.findall(r"for \((\w+) c\d", made.source)) == {"int64_t"}
    for text in (made.source, handle.compile(sizes, dtype="f64", target="c", schedule="").plain):
        done = subprocess.run(
            [find_compiler(), "-std=gnu11", "-fopenmp", "-fsyntax-only", "-Woverflow", "-Werror", "-x", "c", "-", "-march=native"],
            input=text, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert not done.returncode, done.stderr


def test_plain_c_beyond_32_bits(tmp_path: Path) -> None:
    plain = WIDE.numbered.compile({}, K=BIG + 3, target="c", schedule="").plain
    source, library = tmp_path / "plain.c", tmp_path / "plain.so"
    source.write_text(plain)
    subprocess.run([find_compiler(), "-O2", "-shared", "-fPIC", source, "-o", library, "-lm"], check=True)
    x, out = ctypes.c_int64(5), ctypes.c_int64(0)
    ctypes.CDLL(str(library)).numbered(ctypes.byref(x), ctypes.byref(out))
    assert out.value == 3 * BIG + 7
    small = WIDE.numbered.compile({}, K=9, target="c", schedule="").plain
    assert "for (int c0" in small  # as other tools like it
    assert "for (int64_t c0" in WIDE.total.compile({"n": BIG + 9}, target="c", schedule="").plain


# -- operands that overlap ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["c", "numba", TVM_SLOW])
@pytest.mark.parametrize(
    ("which", "names"),
    [
        ("polybench-gemm", ("C", "A", "B")),
        ("polybench-syr2k", ("C", "A", "B")),
        ("polybench-symm", ("C", "A", "B")),
        ("triangular.syrk", ("C", "A")),
        ("polybench-trisolv", ("L",)),
        ("polybench-seidel_2d", ("A",)),
        ("stencils.jacobi2d", ("A",)),
    ],
)
def test_operands_of_one_storage(which: str, names: tuple[str, ...], target: str) -> None:
    """One tensor for several operands, windows that overlap, and numbers repeated by a stride of 0; none is written."""
    handle, n = handle_of(which), 9
    sizes = dict.fromkeys(axes(handle), n)
    pool = torch.rand(4 * n * n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    square = pool[: n * n].reshape(n, n)
    layouts = [
        [square] * 3,
        [square, square.T, square],
        [pool[k : k + n * n].reshape(n, n) for k in (0, 3, 7)],  # shifted windows of one storage
        [pool.as_strided((n, n), (2, 3), k) for k in (0, 1, 2)],  # rows and columns overlap
        [pool[:n].expand(n, n), pool[:n, None].expand(n, n), pool[:1].expand(n, n)],
        [torch.from_numpy(square.numpy()[::-1, ::-1].copy()), square[:, :].flip(0), square],
    ]
    before = pool.clone()
    for layout in layouts:
        given = dict(zip(names, layout))
        alone = {name: x.contiguous().clone() for name, x in given.items()}
        got = call(handle, sizes, 3, target, **given)
        want = call(handle, sizes, 3, "interpreter", **alone)
        for g, w in zip(got, want, strict=True):
            torch.testing.assert_close(g, w, rtol=1e-10, atol=1e-10, equal_nan=True)
            g += 1  # results are nobody else's
        assert torch.equal(pool, before)


@pytest.mark.parametrize("target", ["c", "numba", TVM_SLOW])
def test_arrays_of_numpy_with_negative_strides(target: str) -> None:
    handle = handle_of("polybench-gemm")
    x = np.random.default_rng(0).random((12, 9))
    one, two = np.float64(1.5), np.float64(0.5)
    for a in (x[::-1], x[:, ::-1], x[::-1, ::-1], x[3:4].repeat(12, 0)[::-1]):  # all of one shape: one kernel
        b, c = a.T, a @ a.T
        got = handle(C=c[::-1], A=a, B=b, alpha=one, beta=two, target=target)
        np.testing.assert_allclose(got, 1.5 * a @ b + 0.5 * c[::-1], rtol=1e-12)


# -- outside the class -------------------------------------------------------------------------------------------------

OUTSIDE = us.loads("""
algorithm gathered(x: real[n], p: i64[m]) -> real[m]:
    y = zeros(m)
    for i in 0..m:
        y[i] = 2 * x[p[i]]
    return y

algorithm squares(x: real[n]) -> real[n]:
    y = zeros(n)
    for i in 0..n:
        y[i] = x[(i * i) % n] + x[i]
    return y

algorithm halving(x: real[n], tol: real) -> real[n]:
    iterations K = 50
    for k in 0..K until norm(x) < tol:
        x = 0.5 * tanh(x) + x / (4 + k)
    return x

algorithm spectral(A: real[n, n]) -> real[n, n]:
    iterations K = 3
    X = A
    for k in 0..K:
        X = cholesky(X @ X.T + eye(n)) / 2
    return X

algorithm branches(x: real[n]) -> real[n]:
    iterations K = 5
    for k in 0..K:
        if sum(x) > 1:
            x = x / 2
        else:
            x = x * 1.5 + 0.1
    return x
""")


@pytest.mark.parametrize("target", ["c", "numba", TVM_SLOW])
@pytest.mark.parametrize("size", [1, 19])
def test_programs_outside_the_class(size: int, target: str) -> None:
    g = torch.Generator().manual_seed(size)
    x = torch.rand(size, generator=g, dtype=torch.float64)
    square = torch.rand(size, size, generator=g, dtype=torch.float64)
    index = torch.randint(0, size, (5,), generator=g)
    calls = {
        "gathered": (x, index),
        "squares": (x,),
        "halving": (x, torch.tensor(1e-3, dtype=torch.float64)),
        "spectral": (square,),
        "branches": (x,),
    }
    for name, operands in calls.items():
        got, want = (OUTSIDE[name](*operands, target=t) for t in (target, "interpreter"))
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
