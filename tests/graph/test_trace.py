"""Trace: the path of a carried value, in every kind of loop, and through the adjoint."""

from __future__ import annotations

import pytest
import torch

from tests.graph import programs
from unspool.compiler.diagnostics import DataError
from unspool.compiler.graph.adjoint import backward
from unspool.compiler.graph.batch import batch
from unspool.compiler.graph.graph import Builder, Graph, LoopBody, Value
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.trace import trace
from unspool.compiler.graph.types import Type
from unspool.compiler.graph.verify import verify


def grow(step: int = 1, until: bool = False) -> Graph:
    """``x, y = 2 x, y + x`` in every iteration."""
    b = Builder("grow")
    x, y = b.input("x", Type.of("f64")), b.input("y", Type.of("f64"))

    def body(x: Value, y: Value) -> LoopBody:
        twice = b.op("add", x, x)
        return LoopBody((twice, b.op("add", y, x)), until=b.op("gt", twice, programs.scalar(b, 6)) if until else None)

    bounds = (0, "K") if step > 0 else ("K", 0)
    x, y = b.loop("k", *bounds, [x, y], body, step=step, names=["x", "y"])
    return b.finish([x])


def run(graph: Graph, *values: float, **sizes: int) -> list[list[float] | float]:
    verify(graph)
    return [r.tolist() for r in interpret(graph, [torch.tensor(v, dtype=torch.float64) for v in values], sizes)]


@pytest.mark.parametrize("step", [1, -1])
def test_each_state_in_order_of_the_iterations(step: int) -> None:
    assert run(trace(grow(step), ["y", "x"]), 1, 0, K=3) == [8, [1, 3, 7], [2, 4, 8]]
    assert run(trace(grow(step), ["x"]), 1, 0, K=0) == [1, []]
    assert run(simplify(trace(grow(step), ["x"])), 1, 0, K=2) == [4, [2, 4]]


def test_a_step_of_two_has_half_the_rows() -> None:
    assert run(trace(grow(2), ["x"]), 1, 0, K=3) == [4, [2, 4]]


def test_after_the_stop_the_state_stays() -> None:
    graph = trace(grow(until=True), ["x"])
    assert run(graph, 1, 0, K=5) == [8, [2, 4, 8, 8, 8]]
    found = interpret(
        batch(graph, [True, False]), [torch.tensor([1.0, 4.0]).double(), torch.zeros(()).double()], {"K": 4, "batch": 2}
    )
    assert found[1].tolist() == [[2, 4, 8, 8], [8, 8, 8, 8]]


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"grow carries no 'z' through a loop; trace takes x, y"):
        trace(grow(), ["z"])


def test_a_trace_has_a_gradient() -> None:
    graph = trace(programs.ista(), ["x"])
    reverse = simplify(backward(graph, range(4)))
    verify(reverse)
    sizes = {"m": 3, "n": 5, "K": 4}
    g = torch.Generator().manual_seed(0)
    inputs = [torch.randn([s.evaluate(sizes) for s in v.type.shape], generator=g, dtype=torch.float64) for v in graph.inputs]
    given = [torch.randn(5, generator=g, dtype=torch.float64), torch.randn(4, 5, generator=g, dtype=torch.float64)]
    leaves = [x.clone().requires_grad_() for x in inputs]
    want = torch.autograd.grad(interpret(graph, leaves, sizes), leaves, given)
    for got, w in zip(interpret(reverse, [*inputs, *given], sizes), want, strict=True):
        torch.testing.assert_close(got, w)
