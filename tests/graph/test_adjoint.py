"""Adjoints of programs with loops: right, rolled, and with a small tape. Random graphs: ``test_passes.py``."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.graph import programs
from unspool.compiler.graph.adjoint import backward
from unspool.compiler.graph.graph import Builder, Graph, LoopBody, Node, Value, walk
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.text import parse_graph, print_graph
from unspool.compiler.graph.types import Pick, Size, Type
from unspool.compiler.graph.verify import verify

SIZES = [{"m": 3, "n": 5, "K": 4}, {"m": 1, "n": 1, "K": 1}, {"m": 2, "n": 3, "K": 0}]


def draw(graph: Graph, sizes: dict[str, int], seed: int = 0) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    inputs = []
    for v in graph.inputs:
        x = torch.randn([s.evaluate(sizes) for s in v.type.shape], generator=g, dtype=torch.float64)
        if x.dim() == 2 and x.shape[0] == x.shape[1]:
            x = x @ x.T + 4 * torch.eye(len(x), dtype=x.dtype)  # positive definite
        inputs.append(x)
    return inputs


def by_torch(graph: Graph, inputs: list[torch.Tensor], given: list[torch.Tensor], sizes: dict[str, int]) -> list[torch.Tensor]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    outputs = interpret(graph, leaves, sizes)
    live = [(o, c) for o, c in zip(outputs, given, strict=True) if o.requires_grad]
    if not live:
        return [torch.zeros_like(x) for x in inputs]
    found = torch.autograd.grad([o for o, _ in live], leaves, [c for _, c in live], allow_unused=True)
    return [torch.zeros_like(x) if f is None else f for f, x in zip(found, inputs, strict=True)]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("simplified", [False, True], ids=["plain", "simplified"])
@pytest.mark.parametrize(
    "make",
    [programs.ista, programs.cholesky, programs.substitution, programs.branching, programs.nested],
    ids=lambda f: f.__name__,
)
def test_gradients_of_loops_are_torchs(make: Callable[[], Graph], simplified: bool, sizes: dict[str, int]) -> None:
    graph = simplify(make()) if simplified else make()
    reverse = backward(graph, range(len(graph.inputs)))
    verify(reverse)
    assert parse_graph(print_graph(reverse)) == reverse
    if simplified:
        reverse = simplify(reverse)
        verify(reverse)
    inputs = draw(graph, sizes)
    given = [torch.randn_like(o) for o in interpret(graph, inputs, sizes)]
    found = interpret(reverse, [*inputs, *given], sizes)
    for got, want in zip(found, by_torch(graph, inputs, given, sizes), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "make", [programs.ista, programs.cholesky, programs.substitution, programs.nested], ids=lambda f: f.__name__
)
def test_second_derivatives_of_loops_are_torchs(make: Callable[[], Graph]) -> None:
    sizes = {"m": 3, "n": 3, "K": 3}
    graph = make()
    once = backward(graph, range(len(graph.inputs)))
    inputs = draw(once, sizes)
    given = [torch.randn_like(o) for o in interpret(once, inputs, sizes)]
    twice = simplify(backward(once, range(len(once.inputs))))
    verify(twice)
    found = interpret(twice, [*inputs, *given], sizes)
    for got, want in zip(found, by_torch(once, inputs, given, sizes), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-8)


def loops(graph: Graph) -> list[Node]:
    return [n for n in walk(graph.nodes) if n.op == "for"]


def test_contractions_are_not_computed_again() -> None:
    reverse = simplify(backward(programs.ista(), [1, 2, 3]))
    forward, back = loops(reverse)
    assert (back.attr("lower"), back.attr("upper"), back.attr("step")) == (Size.of("K") - 1, Size.of(-1), -1)
    assert [n.op for n in walk(forward.regions[0].nodes)].count("einsum") == 2
    assert [n.op for n in walk(back.regions[0].nodes)].count("einsum") == 2
    assert sorted(str(v.type) for v in forward.outputs[1:]) == ["f64[K, n]", "f64[K, n]"]  # v or x, and A.T r


def test_an_unwanted_gradient_costs_nothing() -> None:
    reverse = simplify(backward(programs.ista(), [1]))  # of y alone
    forward, back = loops(reverse)
    assert len(back.outputs) == 2  # the cotangents of x and y
    assert [str(v.type) for v in forward.outputs if v.type.rank == 2] == ["f64[K, n]"]


def test_scalar_nests_record_scalars_not_arrays() -> None:
    reverse = simplify(backward(programs.cholesky(), [0]))
    innermost = [n for n in loops(reverse) if n.attr("index") == "k" and n.attr("step") == 1]
    for node in innermost:
        assert all(v.type.rank == 1 for v in node.outputs[1:])


def test_gradients_of_slices_accumulate_in_place() -> None:
    reverse = simplify(backward(programs.ista(), [2, 3]))
    body = loops(reverse)[1].regions[0]
    updates = [n for n in body.nodes if n.op == "update"]
    assert [n.inputs[0] for n in updates] == [a.name for a in body.args[1:]]
    assert all(n.attr("mode") == "add" for n in updates)


def test_picked_slices_accumulate() -> None:
    b = Builder("picked")
    x, i = b.input("x", Type.of("f64", "n")), b.input("i", Type.of("i64", "m"))
    y = b.op("mul", b.op("slice", x, i, items=(Pick(0),)), b.op("slice", x, i, items=(Pick(0),)))
    reverse = backward(b.finish([y]), [0, 1])
    verify(reverse)
    data, index, given = (
        torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64),
        torch.tensor([2, 0, 2]),
        torch.ones(3, dtype=torch.float64),
    )
    dx, di = interpret(reverse, [data, index, given], {"n": 3, "m": 3})
    assert torch.equal(dx, torch.tensor([2.0, 0.0, 12.0], dtype=torch.float64))
    assert not di.any()


def stopping() -> Graph:
    b = Builder("stopping")
    x = b.input("x", Type.of("f64"))

    def body(z: Value) -> LoopBody:
        new = b.op("mul", z, z)
        return LoopBody((new,), until=b.op("lt", new, programs.scalar(b, 0.1)))

    (z,) = b.loop("k", 0, "K", [x], body)
    return b.finish([b.op("mul", x, z)])


def test_a_gradient_goes_back_through_the_iterations_that_ran() -> None:
    back, one = backward(stopping(), [0]), torch.tensor(1.0).double()
    for start, power in ((0.1, 2), (0.5, 4), (0.7, 8), (0.999, 8)):  # x * x**power, at most three iterations
        (found,) = interpret(back, [torch.tensor(start).double(), one], {"K": 3})
        assert float(found) == pytest.approx((power + 1) * start**power)


def test_complex_gradients_are_torchs() -> None:
    b = Builder("spin")
    z, w = b.input("z", Type.of("c128", "n")), b.input("w", Type.of("c128", "K"))
    (out,) = b.loop("k", 0, "K", [z], lambda c: LoopBody((b.op("sin", b.op("mul", c, programs.row(b, w, "k"))),)))
    graph = b.finish([b.op("abs", out), b.op("conj", out)])
    reverse = simplify(backward(graph, [0, 1]))
    verify(reverse)
    g = torch.Generator().manual_seed(0)
    inputs = [torch.randn(n, generator=g, dtype=torch.complex128) for n in (3, 2)]
    sizes = {"n": 3, "K": 2}
    given = [torch.randn(3, generator=g, dtype=torch.float64), torch.randn(3, generator=g, dtype=torch.complex128)]
    found = interpret(reverse, [*inputs, *given], sizes)
    for got, want in zip(found, by_torch(graph, inputs, given, sizes), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_a_long_inner_loop_is_run_again_not_recorded() -> None:
    b = Builder("inner")
    A, x = b.input("A", Type.of("f64", "n", "n")), b.input("x", Type.of("f64", "n"))

    def body(x: Value) -> LoopBody:
        return LoopBody(b.loop("t", 0, "T", [x], lambda z: LoopBody((b.op("sin", b.op("einsum", A, z, spec="ij,j->i")),))))

    graph = b.finish(b.loop("k", 0, "K", [x], body))
    reverse = simplify(backward(graph, [0, 1]))
    outer = [n for n in reverse.nodes if n.op == "for"]
    assert [str(v.type) for v in outer[0].outputs] == ["f64[n]", "f64[K, n]"]  # the state, not T rows of it
    assert [n.attr("step") for n in loops(reverse)] == [1, 1, -1, 1, -1]
    inputs, sizes = draw(graph, {"n": 3}), {"n": 3, "K": 2, "T": 3}
    given = [torch.ones(3, dtype=torch.float64)]
    for got, want in zip(interpret(reverse, [*inputs, *given], sizes), by_torch(graph, inputs, given, sizes), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
