"""Batches large enough for tiles of problems: sizes around the tile, shared and separate operands, strides, gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import unspool as us
from unspool.compiler.target import TILE

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
LASSO = us.load(PROGRAMS / "lasso.us")
M, N = 13, 29


def layer(name: str, target: str, dtype: torch.dtype = torch.float64, **options: Any) -> us.Layer:
    torch.manual_seed(0)
    return LASSO[name].build(A=torch.randn(M, N, dtype=torch.float64) / 4, target=target, dtype=dtype, **{"K": 4, **options})


def kernels(made: us.Layer, real: str = "f64") -> list[Any]:
    return [plan for (dtype, *_), plan in made._routine.main.plans.items() if dtype == real]


@pytest.mark.parametrize("name", ["ista", "fista", "lista", "iht"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_of_all_sizes_agree_with_the_interpreter(name: str, dtype: torch.dtype) -> None:
    ours, reference = layer(name, "c", dtype), layer(name, "interpreter", torch.float64)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    for count in (1, 2, 3, 4, TILE - 1, TILE, TILE + 1, TILE + 5, 2 * TILE, 3 * TILE + 2):
        y = torch.randn(count, M, dtype=dtype)
        with torch.no_grad():
            got, want = ours(y), reference(y.double())
        torch.testing.assert_close(got.double(), want, rtol=tolerance, atol=tolerance)
    (kernel,) = kernels(ours, "f32" if dtype == torch.float32 else "f64")  # no batch size compiled anything
    assert kernel.forward.compiled.tile is not None


@pytest.mark.slow  # programs on target numba have tiles elsewhere, too
def test_tiles_on_target_numba() -> None:
    """At sizes that other tests have, too: numba takes seconds for a kernel."""
    A = torch.randn(6, 9, dtype=torch.float64) / 4
    ours, reference = (LASSO.ista.build(A=A, target=target, dtype="f64", K=5) for target in ("numba", "interpreter"))
    for count in (1, 5, TILE, 2 * TILE + 3):
        grads = []
        y = torch.randn(count, 6, dtype=torch.float64)
        for made in (ours, reference):
            leaf = y.clone().requires_grad_()
            found = made(leaf)
            grads.append([found.detach(), *torch.autograd.grad(found.square().sum(), [leaf, *made.parameters()])])
        for got, want in zip(*grads, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    assert all(plan.forward.compiled.tile is not None for plan in kernels(ours))


@pytest.mark.parametrize("name", ["ista", "fista", "lista"])
@pytest.mark.parametrize("count", [5, TILE, 2 * TILE + 7])
def test_gradients_of_shared_and_separate_operands(name: str, count: int) -> None:
    ours, reference = layer(name, "c"), layer(name, "interpreter")
    y = torch.randn(count, M, dtype=torch.float64)
    weight = torch.randn(count, N, dtype=torch.float64)
    grads = []
    for made in (ours, reference):
        leaf = y.clone().requires_grad_()
        (made(leaf) * weight).sum().backward()
        grads.append([leaf.grad, *(p.grad for p in made.parameters())])
    for got, want in zip(*grads, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    (backward,) = [p for p in kernels(ours)[0]._derived.values() if p.graph.name.endswith("_backward")]
    assert (backward.forward.compiled.tile is not None) == (
        name != "lista"
    )  # a matrix of gradients for every problem is too much


def test_strided_expanded_and_grid_batches() -> None:
    ours, reference = layer("ista", "c"), layer("ista", "interpreter")
    wide = torch.randn(2 * TILE, 2 * M, dtype=torch.float64)
    grid = torch.randn(3, TILE, M, dtype=torch.float64)
    same = torch.randn(M, dtype=torch.float64).expand(TILE + 3, M)
    for y in (wide[:, :M], wide[:, ::2], wide[::2, :M], wide[:, :M].flip(0), grid, grid.transpose(0, 1), same):
        torch.testing.assert_close(ours(y), reference(y), rtol=1e-10, atol=1e-10)
    leaf = same[0].clone().requires_grad_()
    (got,) = torch.autograd.grad(ours(leaf.expand(TILE, M)).square().sum(), leaf)
    (want,) = torch.autograd.grad(reference(leaf.expand(TILE, M)).square().sum(), leaf)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_a_plain_call_may_batch_what_is_usually_shared() -> None:
    torch.manual_seed(1)
    A = torch.randn(2 * TILE, M, N, dtype=torch.float64) / 4
    y = torch.randn(2 * TILE, M, dtype=torch.float64)
    for a, b in ((A, y), (A, y[0]), (A[0], y), (A[0], y[0])):
        got = LASSO.ista(a, b, K=3, target="c")
        torch.testing.assert_close(got, LASSO.ista(a, b, K=3, target="interpreter"), rtol=1e-10, atol=1e-10)


def test_nan_stays_with_its_problem() -> None:
    ours = layer("ista", "c")
    y = torch.randn(TILE + 3, M, dtype=torch.float64)
    clean = ours(y).detach()
    for bad in (0, TILE - 1, TILE + 2):
        spoiled = y.clone()
        spoiled[bad, 2] = float("nan")
        found = ours(spoiled).detach()
        kept = torch.arange(TILE + 3) != bad
        assert found[bad].isnan().any()
        torch.testing.assert_close(found[kept], clean[kept], rtol=0, atol=0)


def test_the_same_bits_again_with_any_number_of_threads_for_each() -> None:
    ours = layer("ista", "c", torch.float32)
    y = torch.randn(5 * TILE + 3, M)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            a, b = (torch.autograd.grad(ours(y).square().sum(), list(ours.parameters())) for _ in range(2))
            for first, second in zip(a, b, strict=True):
                assert torch.equal(first, second)
    finally:
        torch.set_num_threads(before)


def test_a_schedule_may_ask_for_a_tile_or_leave_it_out() -> None:
    kernel = LASSO.ista.compile({"m": M, "n": N}, target="c")
    alone, _, together = kernel.schedule.partition(f"batch {TILE}\n")
    assert together
    y = torch.randn(TILE + 1, M)
    A = torch.randn(M, N) / 4
    want = LASSO.ista(A, y, target="interpreter")
    for text in (alone, f"{alone}batch 8\n{together}", kernel.schedule, ""):
        again = LASSO.ista.compile({"m": M, "n": N}, target="c", schedule=text)
        assert ("_tile(" in again.source) == ("batch" in text)
        torch.testing.assert_close(again(A, y), want, rtol=1e-4, atol=1e-4)
    with pytest.raises(us.UnspoolError, match="a batch tile holds 2 to 64 problems"):
        LASSO.ista.compile({"m": M, "n": N}, target="c", schedule="batch 1")


def test_kernels_around_a_library_call_have_tiles_too() -> None:
    (handle,) = us.loads("""algorithm pulled(given A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 4
    param step[K] = 0.5
    W = solve(A @ A.T + 0.1 * eye(m), A)
    x = zeros(n)
    for k in 0..K:
        x = tanh(x - step[k] * (W.T @ (A @ x - y)))
    return x
""")
    torch.manual_seed(0)
    A = torch.randn(M, N, dtype=torch.float64) / 4
    ours, reference = (handle.build(A=A, target=target, dtype="f64") for target in ("c", "interpreter"))
    for count in (3, TILE + 3):
        found = []
        y = torch.randn(count, M, dtype=torch.float64)
        for made in (ours, reference):
            leaf = y.clone().requires_grad_()
            x = made(leaf)
            found.append([x.detach(), *torch.autograd.grad(x.square().sum(), [leaf, *made.parameters()])])
        for got, want in zip(*found, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    (plan,) = kernels(ours)
    assert [c.tile is not None for c in plan.program.kernels.values()] == [False, True]  # problems share the first
    (loop,) = [p for p in plan.plans.values() if p.compiled.tile is not None]
    (adjoint,) = loop._derived.values()
    assert adjoint.compiled.tile is not None
