"""What is linear by its form: rows of the op table against numbers, and whole functions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import unspool as us
from tests.graph.op_cases import CASES, plain
from unspool.compiler.graph.graph import Builder
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.linear import not_linear
from unspool.compiler.graph.ops.common import is_differentiable
from unspool.compiler.graph.ops.table import OPS, lookup

lookup("add")  # loads the table
LINEAR = sorted(op for op in CASES if OPS[op].linear)


@pytest.mark.parametrize("op", LINEAR)
def test_rows_are_linear_in_what_they_say(op: str) -> None:
    @settings(max_examples=10, deadline=None)
    @given(st.data(), st.integers(0, 2**31))
    def check(data: st.DataObject, seed: int) -> None:
        case = CASES[op](data.draw)
        b = Builder(op)
        operands = [b.input(f"x{n}", t) for n, t in enumerate(case.types)]
        out = b.op(op, *operands, **case.attrs)
        graph = b.finish(out if isinstance(out, tuple) else (out,))
        if not all(is_differentiable(t.dtype) for t in graph.result_types):  # a cast to integers
            return
        dice = torch.Generator().manual_seed(seed)
        first = [case.tensor(n, tuple(s.evaluate({}) for s in t.shape), dice) for n, t in enumerate(case.types)]
        row = OPS[op].linear
        for group in row(graph.nodes[-1]) if callable(row) else row:
            group = tuple(n for n in group if n < len(first))
            if not all(is_differentiable(case.types[n].dtype) for n in group):
                continue
            second = [plain(t.dtype, x.shape, dice) if n in group else x for n, (t, x) in enumerate(zip(case.types, first))]
            mixed = [2.5 * x + y if n in group else x for n, (x, y) in enumerate(zip(first, second))]
            for x, y, z in zip(*(interpret(graph, xs, {}) for xs in (first, second, mixed)), strict=True):
                torch.testing.assert_close(z, 2.5 * x + y, rtol=1e-4, atol=1e-4, equal_nan=True)

    check()


FUNCTIONS = """
fn matrix(v, A) = A.T @ (A @ v)
fn mean_free(v, A) = v - mean(v) + A[0, :] * dot(A[1, :], v)
fn pieces(v, A):
    w = zeros_like(v)
    w[1:] = v[:-1] + A[0, 1:] * v[1:]
    return concat(w[:2], flip(v[2:], axis=0), axis=0)
fn chosen(v, A) = where(A[0, :] > 0, 2 * v, 0)
fn looped(v, A):
    w = zeros_like(v)
    for i in 0..3:
        w += A[i, :] * v
        w = w / 2
    return w
fn branch(v, A):
    w = v
    if sum(A) > 0:
        w = 3 * v
    else:
        w = zeros_like(v)
    return w
fn half(w, A) = 0.5 * sum((A @ w)**2)
fn slope(v, A) = grad(half, w)(v, A)
fn curved(w, A) = sum(softplus(A @ w)) + norm(w)
fn hessian(v, A) = hvp(curved, w)(v, A[0, :], A)
fn inner(v, A) = cg(matrix, v)(v, A) + v
fn library(v, A) = solve(A.T @ A, v) + re(ifft(fft(cast(v, complex))))
fn nothing(v, A) = 0 * v

fn shifted(v, A) = A.T @ (A @ v) + A[0, :]
fn filled(v, A):
    w = zeros_like(v) + 1
    w[1:] = v[:-1]
    return w
fn product(v, A) = v * sum(v)
fn quotient(v, A) = A[0, :] / v
fn positive(v, A) = max(v, 0)
fn sorted(v, A) = where(v > 0, v, 2 * v)
fn rounded(v, A) = cast(cast(v, i64), real)
fn cut(v, A) = stop_gradient(v)
fn grown(v, A):
    w = v
    for i in 0..3:
        w = w * v
    return w
fn stopped(v, A):
    w = v
    for i in 0..3 until sum(w) > 1:
        w = 2 * w
    return w
fn decided(v, A):
    w = v
    if sum(v) > 0:
        w = 2 * v
    return w
fn lately(v, A):
    w = v
    for i in 0..3:
        w = 2 * w + i
    return w
"""
YES = ["matrix", "mean_free", "pieces", "chosen", "looped", "branch", "slope", "hessian", "inner", "library", "nothing"]
NO = {
    "shifted": True, "filled": True, "product": False, "quotient": False, "positive": False, "sorted": False, "rounded": False,
    "cut": False, "grown": False, "stopped": False, "decided": False, "lately": True,
}  # fmt: skip


@pytest.mark.parametrize("name", [*YES, *NO])
def test_functions(name: str) -> None:
    text = f"{FUNCTIONS}\nalgorithm f(v: real[5], A: real[4, 5]) -> real[5]:\n    return {name}(v, A)\n"
    found = not_linear(us.loads(text).f.algorithm.graph, "v")
    assert (found is None) == (name in YES)
    if found is not None:
        assert found[1] == NO[name]
