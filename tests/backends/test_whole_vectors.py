"""Vector loops are cut where whole vectors of memory begin and end, and compute what they did."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import unspool as us
from unspool.backends.affine import constant
from unspool.backends.autograd import run_flat
from unspool.backends.cpu import CTarget
from unspool.backends.execute import KernelPlan
from unspool.backends.numba.target import NumbaTarget
from unspool.backends.whole_vectors import parts
from unspool.compiler.driver import compile_graph
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.tree import Array, Block, Call, Int, Load, Loop, Store
from unspool.compiler.target import Machine
from unspool.dsl.program import load_text

MACHINE = Machine(64, 32)
SMOOTH = """
algorithm smooth(A: real[n, m]) -> real[n, m] where n >= 3, m >= 9:
    iterations T = 3
    B = A
    for t in 0..T:
        B[:, 1:-1] = (A[:, :-2] + 2 * A[:, 1:-1] + A[:, 2:]) / 4
        A[1:, 2:-5] = 0.5 * (B[1:, 3:-4] - B[:-1, :-7])
    return A
"""


def const(value: int) -> Int:
    return Int("const", value=value)


def row_loop(lower: int, upper: int, width: int, ahead: int, dtype: str = "f32") -> tuple[Loop, dict[str, Array]]:
    """``for j: B[i, j + ahead] = A[i, j + ahead - 1]`` over rows of ``width``."""
    i, j = Int("name", name="i"), Int("name", name="j")
    at = Int("+", (j, const(ahead)))
    read = Load("A", (i, Int("-", (at, const(1)))), dtype)
    loop = Loop("j", const(lower), const(upper), 1, Block((Store("B", (i, at), read),)), "vector")
    return loop, {name: Array(name, dtype, (const(100), const(width)), "problem") for name in "AB"}


def ends(found: list[tuple[Int, Int]]) -> list[tuple[int | None, int | None]]:
    return [(constant(a), constant(b)) for a, b in found]


@settings(max_examples=200, deadline=None)
@given(
    lower=st.integers(0, 40),
    count=st.integers(0, 300),
    vectors=st.integers(1, 40),
    ahead=st.integers(0, 20),
    dtype=st.sampled_from(["f32", "f64"]),
)
def test_parts_are_the_loop_and_the_long_one_is_whole_vectors(lower: int, count: int, vectors: int, ahead: int, dtype: str) -> None:
    lanes = MACHINE.lanes(dtype)
    loop, arrays = row_loop(lower, lower + count, vectors * lanes, ahead, dtype)
    found = ends(parts(loop, loop.lower, loop.upper, arrays, MACHINE))
    assert [x for a, b in found for x in range(a or 0, b or 0)] == list(range(lower, lower + count))
    if len(found) > 1:
        first, last = max(found, key=lambda part: (part[1] or 0) - (part[0] or 0))
        assert first is not None
        assert last is not None
        assert (first + ahead) % lanes == 0 == (last - first) % lanes
        assert last - first >= 4 * lanes
    else:
        assert count < 6 * lanes or ((lower + ahead) % lanes == 0 and count % lanes == 0)


def test_rows_whose_beginning_is_unknown_stay_whole() -> None:
    loop, arrays = row_loop(1, 200, 201, 0)
    assert len(parts(loop, loop.lower, loop.upper, arrays, MACHINE)) == 1
    loop, arrays = row_loop(1, 200, 208, 0)
    assert ends(parts(loop, loop.lower, loop.upper, arrays, MACHINE)) == [(1, 16), (16, 192), (192, 200)]
    assert len(parts(loop, loop.lower, Int("name", name="K"), arrays, MACHINE)) == 1


@pytest.mark.parametrize("target", [CTarget, NumbaTarget])
@pytest.mark.parametrize(("dtype", "width"), [("f32", 160), ("f64", 160), ("f32", 161), ("f64", 12)])
def test_results_stay_the_same(target: type[CTarget] | type[NumbaTarget], dtype: str, width: int) -> None:
    graph = specialize(load_text(SMOOTH).algorithms["smooth"].graph, dtype, {"n": 5, "m": width})
    compiled = compile_graph(graph, target())
    if target is CTarget and width == 160:
        starts = re.findall(r"int64_t c\d+ = (\d+);", compiled.source)
        lanes = CTarget().capabilities.machine.lanes(dtype)
        assert {"1", "2", str(lanes)} <= set(starts)
    x = torch.rand(5, width, dtype=torch.float64).to(torch.float64 if dtype == "f64" else torch.float32)
    (got,) = run_flat(KernelPlan(graph, compiled, strict=False), [x], [False], None, {"T": 3})
    (want,) = interpret(graph, [x], {"T": 3})
    torch.testing.assert_close(got, want)


def test_long_functions_leave_shorter_vectors_over() -> None:
    loop, arrays = row_loop(0, 95, 128, 0)
    store = loop.body.children[0]
    assert isinstance(store, Store)
    costly = Loop("j", const(0), const(95), 1, Block((Store("B", store.index, Call("lgamma", (store.value,), "f32")),)), "vector")
    assert ends(parts(costly, const(0), const(95), arrays, MACHINE)) == [(0, 80), (80, 88), (88, 92), (92, 95)]
    assert ends(parts(costly, const(7), const(27), arrays, MACHINE)) == [(7, 23), (23, 27)]
    assert ends(parts(costly, const(0), const(3), arrays, MACHINE)) == [(0, 3)]


CONDITIONS = """
algorithm conditions(x: real[n], y: real[n], cap: real) -> (real[n], real) where n >= 2:
    low = where(x < cap, where(x > cap - 1, cap, y[1]), 0)
    return low, sum(where(x[i] > 0, y[0] * lgamma(abs(x[i]) + 1), cap) for i in 0..n)
"""


@pytest.mark.parametrize("target", ["c", "numba"])
def test_what_is_read_at_one_place_under_a_condition_is_held(target: str) -> None:
    torch.manual_seed(0)
    x, y, cap = torch.randn(37), torch.randn(37), torch.tensor(0.3)
    algorithm = us.loads(CONDITIONS).conditions
    expected = algorithm.build(target="interpreter", dtype="f64")(x.double(), y.double(), cap.double())
    got = algorithm.build(target=target, dtype="f32")(x, y, cap)
    for a, b in zip(got, expected):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)
