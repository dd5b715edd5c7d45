"""Calling a kernel: batches, strides, teams, run-time checks, threads of the caller."""

from __future__ import annotations

import threading

import pytest
import torch

from unspool.backends.workspace import KEEP_BYTES, Workspace
from unspool.compiler.diagnostics import DataError
from unspool.compiler.loops.tree import Barrier, Call, Expr, Function, Literal

from .trees import array, build, function, load, loop, random, store, zero

N = 21


def scaled_sum() -> Function:
    """``o = a * x + b`` with a scratch copy and a sum of ``x`` into ``total``, which the caller zeroes."""
    value: Expr = Call("add", (Call("mul", (load("a"), load("t", "i")), "f32"), load("b", "i")), "f32")
    body = [
        loop("i", 0, N, store("t", ["i"], load("x", "i")), kind="parallel vector"), Barrier(),
        loop("i", 0, N, store("o", ["i"], value), kind="parallel vector"), Barrier(),
        loop("i", 0, N, store("total", ["i"], load("x", "i"), "add"), kind="parallel vector"),
    ]  # fmt: skip
    arrays = [array("a", "f32"), array("x", "f32", N), array("b", "f32", N), array("o", "f32", N, scope="output"),
              array("total", "f32", N, scope="output"), array("t", "f32", N, scope="problem")]  # fmt: skip
    return function("scaled", arrays, *body)


@pytest.mark.parametrize(("teams", "team_size"), [(1, 1), (2, 1), (5, 1), (1, 2), (1, 3), (2, 2)])
@pytest.mark.parametrize("batch", [0, 1, 2, 7])
def test_batches(batch: int, teams: int, team_size: int) -> None:
    """Contiguous problems per team, shared operands with stride 0, per-team sums of a shared output."""
    kernel = build(scaled_sum())
    a, x, b = random("f32", batch), random("f32", batch, N, seed=1), random("f32", N, seed=2)
    o, total = torch.full((batch, N), float("nan")), torch.zeros(teams, N)
    kernel([a, x, b], [o, total], batch, [1, N, 0, N, 0], [0, 0, 0, 0, N], [], teams, team_size)
    assert torch.allclose(o, a[:, None] * x + b, atol=1e-6)
    assert torch.allclose(total.sum(0), x.sum(0), atol=1e-5)


def test_negative_and_wide_strides() -> None:
    """Problems may lie backwards and apart in memory."""
    kernel = build(scaled_sum())
    a, x, b = random("f32", 5), random("f32", 9, N, seed=1), random("f32", 5, N, seed=2)
    o, total = torch.empty(5, N), torch.zeros(1, N)
    kernel([a[4:], x, b], [o, total], 5, [-1, 2 * N, N, N, 0], [0] * 5, [], 1, 1)
    assert torch.allclose(o, a.flip(0)[:, None] * x[::2] + b, atol=1e-6)


def test_same_threads_give_the_same_bits() -> None:
    """Teams of the same size repeat a result exactly."""
    kernel = build(scaled_sum())
    x = random("f32", 64, N, seed=1)
    seen = set()
    for _ in range(10):
        o, total = torch.empty(64, N), torch.zeros(3, N)
        kernel([x[0, 0], x, x[0]], [o, total], 64, [0, N, 0, N, 0], [0, 0, 0, 0, N], [], 3, 1)
        seen.add((tuple(o.flatten().tolist()), tuple(total.flatten().tolist())))
    assert len(seen) == 1


def test_an_index_out_of_range_is_reported() -> None:
    """From any thread; the wrong element is never touched."""
    place = Call("check_index", (load("at", "i", dtype="i64"), Literal(N, "i64")), "i64")
    arrays = [array("at", "i64", 4), array("o", "i64", 4, scope="output")]
    kernel = build(function("pick", arrays, loop("i", 0, 4, store("o", ["i"], place), kind="vector")))
    at, o = torch.tensor([[0, 20, 3, 7], [1, 2, 3, 4]]), torch.empty(2, 4, dtype=torch.int64)
    kernel([at], [o], 2, [4, 4], [0, 0], [], 2, 1)
    assert torch.equal(o, at)
    for wrong in (-1, N, 2**62):
        at[1, 2] = wrong
        with pytest.raises(DataError, match="out of range"):
            kernel([at], [o], 2, [4, 4], [0, 0], [], 2, 1)
        assert o[1, 2] == 0


def test_threads_of_the_caller() -> None:
    """Python threads call one kernel at once, each with its own arguments and scratch."""
    kernel = build(scaled_sum())
    wrong: list[int] = []

    def work(seed: int) -> None:
        x, a = random("f32", 16, N, seed=seed), random("f32", 16, seed=seed + 100)
        for _ in range(50):
            o, total = torch.empty(16, N), torch.zeros(1, N)
            kernel([a, x, x[0]], [o, total], 16, [1, N, 0, N, 0], [0] * 5, [], 1, 1 + seed % 2)
            if not torch.allclose(o, a[:, None] * x + x[0], atol=1e-6):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(s,)) for s in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_scratch_is_kept_unless_it_is_large() -> None:
    """One buffer serves all small calls."""
    memory = Workspace()
    first = memory.get(1000)
    assert memory.get(10).data_ptr() == first.data_ptr()
    memory.get(KEEP_BYTES + 1)
    assert memory.get(10).data_ptr() == first.data_ptr()


def test_an_output_that_is_accumulated() -> None:
    """What an output holds before the call is added to."""
    f = function(
        "grow",
        [array("x", "f32", N), array("o", "f32", scope="output")],
        loop("i", 0, N, store("o", [], load("x", "i"), "add"), kind="vector"),
    )
    x, o = random("f32", N), torch.tensor(5.0)
    build(f)([x], [o], 3, [0, 0], [0, 0], [], 1, 1)
    assert torch.allclose(o, 5 + 3 * x.sum(), atol=1e-5)
    zeroed = function("fresh", [array("o", "f32", N, scope="output")], loop("i", 0, N, store("o", ["i"], zero()), kind="vector"))
    out = torch.full((N,), float("nan"))
    build(zeroed)([], [out], 1, [0], [0], [], 1, 1)
    assert not out.any()
