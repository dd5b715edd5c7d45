"""One pass over a matrix: found in every text of it, right for every size, left alone where it does not pay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import TVM_SLOW
from tests.loops.test_transform import total
from tests.search.programs import chosen, graph_of, proposed
from unspool.compiler.loops.dependences import IllegalSchedule
from unspool.compiler.loops.schedule import apply, parse_schedule
from unspool.compiler.search.reduction import reduction
from unspool.compiler.target import Machine
from unspool.dsl.api import loads

SIZES = {"m": 50, "n": 21, "K": 2}
#: name -> (text, arrays with copies)
ONE_PASS = {
    "transpose": ("algorithm f(A: real[m, n], x: real[n]) -> real[n]:\n    return A.T @ (A @ x)\n", 1),
    "row vector": ("algorithm g(M: real[m, n], v: real[n]) -> real[n]:\n    return (M @ v) @ M\n", 1),
    "two vectors": ("algorithm f(A: real[m, n], p: real[n], r: real[m]) -> (real[n], real[m]):\n    return A.T @ r, A @ p\n", 1),
    "the other way round": (
        "algorithm f(A: real[m, n], p: real[n], r: real[m]) -> (real[m], real[n]):\n    return A @ p, r @ A\n",
        1,
    ),
    "with both added to": (
        "algorithm f(C: real[m, n], a: real[m], b: real[n], c: real[n], d: real[m]) -> (real[m], real[n]):\n"
        "    return a + 2 * (C @ c), b - C.T @ d\n",
        1,
    ),
    "descent": (
        "algorithm f(X: real[m, n], y: real[m], w: real[n]) -> real[n]:\n    iterations K = 2\n    for k in 0..K:\n"
        "        w = w - 0.1 * (X.T @ (X @ w - y))\n    return w\n",
        1,
    ),
    "power": (
        "algorithm f(A: real[m, n], x: real[n]) -> real[n]:\n    iterations K = 2\n    for k in 0..K:\n        z = A.T @ (A @ x)\n"
        "        x = z / sqrt(sum(z * z))\n    return x\n",
        1,
    ),
    "logistic": (
        "algorithm f(X: real[m, n], t: real[m], w: real[n]) -> real[n]:\n    iterations K = 2\n    for k in 0..K:\n"
        "        w = w - 0.1 * (X.T @ (sigmoid(X @ w) - t))\n    return w\n",
        1,
    ),
    "weights": (
        "algorithm fit(q: real[m], B: real[m, n], c: real[n]) -> real[n]:\n    iterations K = 2\n    for k in 0..K:\n"
        "        e = [sum(B[i, j] * c[j] for j in 0..n) for i in 0..m]\n        c = 0.9 * c - (q * e / (1 + abs(e))) @ B\n    return c\n",
        1,
    ),
    "two pairs": (
        "algorithm f(A: real[m, n], x: real[n], z: real[n]) -> (real[n], real[n]):\n    iterations K = 2\n    for k in 0..K:\n"
        "        u = A @ x\n        v = tanh(A @ z)\n        x = x - 0.1 * (A.T @ (u * v))\n        z = z - 0.1 * (A.T @ (u - v))\n    return x, z\n",
        2,
    ),
    "sums of columns": ("algorithm f(A: real[m, n]) -> real[n]:\n    return sum(A, axis=0)\n", 1),
    "largest of columns": ("algorithm f(A: real[m, n]) -> real[n]:\n    return max(A, axis=0)\n", 1),
}


@pytest.mark.parametrize("name", ONE_PASS)
def test_it_is_found_in_every_text(name: str) -> None:
    text, copies = ONE_PASS[name]
    schedule = proposed(reduction, graph_of(text), SIZES)
    assert schedule.count("privatise") == copies, schedule


def test_what_is_done_with_the_sums_of_rows_runs_as_vectors() -> None:
    for name in ("logistic", "weights"):
        schedule = proposed(reduction, graph_of(ONE_PASS[name][0]), SIZES, run=False).splitlines()
        taken = [line.split()[1] for line in schedule if line.startswith("distribute")]
        assert len(taken) == 2, schedule  # products, functions of them, sums
        assert f"vector {taken[0]}_b" in schedule, schedule
        assert sum(line.startswith("contract") and line.endswith("_o") for line in schedule) >= 2, schedule  # they live in a block of rows


def test_all_readers_of_the_rows_are_in_one_loop() -> None:
    for name in ("transpose", "row vector", "two vectors", "the other way round", "with both added to"):
        schedule = proposed(reduction, graph_of(ONE_PASS[name][0]), SIZES, run=False)
        assert schedule.count("parallel") == 2, f"{name}: {schedule}"  # over blocks of rows; over columns in the end


@settings(max_examples=12, deadline=None)
@given(m=st.integers(30, 75), n=st.integers(17, 40), name=st.sampled_from(sorted(ONE_PASS)))
def test_sizes_that_nothing_divides(m: int, n: int, name: str) -> None:
    assert "privatise" in proposed(reduction, graph_of(ONE_PASS[name][0]), {"m": m, "n": n, "K": 2})


def test_long_vectors_are_added_up_in_parallel() -> None:
    text = "algorithm dot(x: real[n], y: real[n]) -> real:\n    return sum(x * y)\n"
    assert "privatise" in proposed(reduction, graph_of(text), {"n": 500})
    assert "privatise" not in proposed(reduction, graph_of(text), {"n": 20})


def test_it_says_no_where_it_does_not_pay() -> None:
    text = ONE_PASS["transpose"][0]
    assert "privatise" not in proposed(reduction, graph_of(text), SIZES, Machine(64, 32))  # fits the caches of one core
    assert "privatise" not in proposed(reduction, graph_of(text), SIZES, Machine(64, 32, cores=1, l1=256, l2=512, l3=1024))
    assert "privatise" not in proposed(reduction, graph_of(text), {"m": 4, "n": 300})  # the copies are as large as the matrix
    product = "algorithm f(A: real[m, n], B: real[n, m]) -> real[m, m]:\n    return A @ B\n"
    assert "privatise" not in proposed(reduction, graph_of(product), SIZES, run=False)  # rows are independent
    sums = (
        "algorithm f(B: real[m, n], r: real[m]) -> real[n]:\n    s = zeros(n)\n    for j in 0..n:\n"
        "        s[j] = sum(r[l] * B[l, j] for l in 0..m)\n    return s\n"
    )
    assert "privatise" not in proposed(reduction, graph_of(sums), {"m": 300, "n": 21}, run=False)  # sums are independent


def test_it_is_the_choice_where_the_matrix_is_large() -> None:
    machine = Machine(64, 32)
    for name in ("transpose", "two vectors", "with both added to", "descent", "power"):
        assert "privatise" in chosen(graph_of(ONE_PASS[name][0]), {"m": 2000, "n": 1500, "K": 2}, machine), name
        assert "privatise" not in chosen(graph_of(ONE_PASS[name][0]), {"m": 60, "n": 100, "K": 2}, machine), name


def test_strict_numerics_forbid_it() -> None:
    assert "privatise" not in proposed(reduction, graph_of(ONE_PASS["transpose"][0]), SIZES, strict=True)
    with pytest.raises(IllegalSchedule, match="strict"):
        apply(total(), parse_schedule("tile i0 5; privatise S i0_o"), strict=True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("privatise A i0", "does not only reduce into A"),
        ("privatise S t0", "known only at run time"),
        ("privatise S i1_o", "no loop `i1_o`|no such loop"),
        ("privatise S i0; privatise S i1", "has copies already|not used in i1"),
        ("unroll t0", "known only at run time"),
        ("parallel i1; unroll i1", "i1 is parallel|joins different"),
        ("unroll_jam i1 2", "no loop in i1"),
        ("unroll_jam i0 1", "at least 2"),
    ],
)
def test_what_does_not_apply_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(IllegalSchedule, match=reason):
        apply(total(), parse_schedule(text))


@pytest.mark.parametrize("target", ["c", "numba", TVM_SLOW])
def test_kernels_and_gradients(target: str) -> None:
    """At the size and on the machine of this run: forward and backward, against torch."""
    generator = torch.Generator().manual_seed(0)
    a, x = (
        torch.randn(413, 251, generator=generator, dtype=torch.float64),
        torch.randn(251, generator=generator, dtype=torch.float64),
    )
    a, x = (a / 20).requires_grad_(), x.requires_grad_()
    program = loads(ONE_PASS["transpose"][0])
    kernel = next(iter(program)).compile({"m": 413, "n": 251}, dtype="f64", target=target)
    assert "privatise" in kernel.schedule
    layer = next(iter(program)).build(target=target, dtype="f64")
    got, want = layer(a, x), a.T @ (a @ x)
    torch.testing.assert_close(got, want)
    weights = torch.randn(251, generator=generator, dtype=torch.float64)
    for found, expected in zip(
        torch.autograd.grad(got @ weights, (a, x)), torch.autograd.grad(want @ weights, (a, x)), strict=True
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("target", "dtype"), [("c", "f32"), ("c", "f64"), ("numba", "f32"), ("numba", "f64"),
                                              pytest.param("tvm", "f32", marks=TVM_SLOW.marks), pytest.param("tvm", "f64", marks=TVM_SLOW.marks)])
def test_iterations_on_both_targets(target: str, dtype: str) -> None:
    """Sizes that no block divides, and of one; a batch of two, whose problems come one by one."""
    real = {"f32": torch.float32, "f64": torch.float64}[dtype]
    generator = torch.Generator().manual_seed(0)
    found = next(iter(loads(ONE_PASS["logistic"][0])))
    for m, n in ((613, 301), (1, 7), (5, 1)) if target == "c" else ((613, 301), (1, 1)):
        X, t, w = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((m, n), (2, m), (2, n)))
        X = X / 20
        kernel = found.compile({"m": m, "n": n}, dtype=dtype, target=target)
        assert ("privatise" in kernel.schedule) == (m > 600)
        want = found(X, t, w, target="interpreter")
        got = kernel(*(v.to(real) for v in (X, t, w)))
        torch.testing.assert_close(got.double(), want, rtol=1e-4 if dtype == "f32" else 1e-10, atol=1e-5 if dtype == "f32" else 1e-12)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    generator, before = np.random.default_rng(0), torch.get_num_threads()
    a, x = generator.normal(size=(400, 300)), generator.normal(size=300)
    found = next(iter(loads(ONE_PASS["transpose"][0])))
    try:
        torch.set_num_threads(1)
        alone = found(a, x)
        torch.set_num_threads(2)
        together = found(a, x)
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(alone, together)


def test_a_matrix_of_any_dtype_is_looked_at() -> None:
    """A sum over rows of a mask: an array of bools."""
    program = loads(
        "algorithm load(scores: real[t, e], top: i32) -> real[e]:\n    return sum(cast(topk(scores, top, axis=1).mask, real), axis=0)\n"
    )
    scores = torch.rand(3000, 64, generator=torch.Generator().manual_seed(0))
    got = program.load(scores, top=6)
    torch.testing.assert_close(got.sum().item(), 6.0 * 3000)
    torch.testing.assert_close(got, program.load(scores, top=6, target="interpreter"))
