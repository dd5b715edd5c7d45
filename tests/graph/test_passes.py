"""Passes on random graphs: before = after, text reads back, adjoints match torch and finite differences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import SIZES, USED, random_graphs, random_inputs
from unspool.compiler.graph.adjoint import backward
from unspool.compiler.graph.batch import batch
from unspool.compiler.graph.graph import Builder, Graph, LoopBody, Node, Value
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.ops import table
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.text import parse_graph, print_graph
from unspool.compiler.graph.types import At, Size, Type
from unspool.compiler.graph.verify import verify

SEEDS = st.integers(0, 10**6)


def close(got: torch.Tensor, want: torch.Tensor, tolerance: float = 1e-9) -> None:
    scale = max(1.0, float(want.detach().abs().max()) if want.numel() else 1.0)
    assert got.shape == want.shape
    assert float((got - want).detach().abs().max() if want.numel() else 0) <= tolerance * scale


@settings(max_examples=60)
@given(graph=random_graphs())
def test_text_reads_back_equal(graph: Graph) -> None:
    verify(graph)
    assert parse_graph(print_graph(graph)) == graph
    assert parse_graph(print_graph(graph, spans=True)) == graph


@settings(max_examples=60)
@given(graph=random_graphs(), seed=SEEDS)
def test_simplify_keeps_every_bit(graph: Graph, seed: int) -> None:
    simple = simplify(graph)
    verify(simple)
    assert simplify(simple) == simple
    inputs = random_inputs(graph, seed)
    for a, b in zip(interpret(simple, inputs, SIZES), interpret(graph, inputs, SIZES), strict=True):
        assert torch.equal(a, b)


def compare(graph: Graph, inputs: list[torch.Tensor]) -> None:
    """Assert that the adjoint's gradients are those of torch's autograd through the interpreter."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    outputs = interpret(graph, leaves, SIZES)
    g = torch.Generator().manual_seed(len(outputs))
    given = [torch.randn(o.shape, generator=g, dtype=o.dtype) for o in outputs]
    live = [(o, c) for o, c in zip(outputs, given, strict=True) if o.requires_grad]
    if not live:
        return
    want = torch.autograd.grad([o for o, _ in live], leaves, [c for _, c in live], allow_unused=True)
    reverse = simplify(backward(graph, range(len(inputs))))
    verify(reverse)
    for got, w in zip(interpret(reverse, [*inputs, *given], SIZES), want, strict=True):
        close(got, torch.zeros_like(got) if w is None else w)


@settings(max_examples=60)
@given(graph=random_graphs(), seed=SEEDS)
def test_adjoint_is_torchs(graph: Graph, seed: int) -> None:
    compare(graph, random_inputs(graph, seed))


@settings(max_examples=25)
@given(graph=random_graphs(smooth=True, results=1), seed=SEEDS)
def test_adjoint_agrees_with_finite_differences(graph: Graph, seed: int) -> None:
    inputs = random_inputs(graph, seed)
    g = torch.Generator().manual_seed(seed)
    directions = [torch.randn(x.shape, generator=g, dtype=x.dtype) for x in inputs]

    def value(t: float) -> torch.Tensor:
        return interpret(graph, [x + t * d for x, d in zip(inputs, directions, strict=True)], SIZES)[0].sum()

    h = 1e-5  # central differences: error h^2 in truncation, 1e-16 / h in rounding
    slope = float((value(h) - value(-h)) / (2 * h))
    ones = torch.ones_like(interpret(graph, inputs, SIZES)[0])
    found = interpret(backward(graph, range(len(inputs))), [*inputs, ones], SIZES)
    mine = sum(float((f * d).sum()) for f, d in zip(found, directions, strict=True))
    assert mine == pytest.approx(slope, rel=1e-4, abs=1e-5)


@settings(max_examples=20)
@given(graph=random_graphs(smooth=True, results=1), seed=SEEDS)
def test_adjoints_nest(graph: Graph, seed: int) -> None:
    once = simplify(backward(graph, range(len(graph.inputs))))
    inputs = [x.requires_grad_() for x in random_inputs(graph, seed)]
    ones = torch.ones_like(interpret(graph, inputs, SIZES)[0]).requires_grad_()
    outputs = interpret(once, [*inputs, ones], SIZES)
    if not any(o.requires_grad for o in outputs):
        return
    live = [o for o in outputs if o.requires_grad]
    want = torch.autograd.grad(live, inputs, [torch.ones_like(o) for o in live], allow_unused=True)
    twice = backward(once, range(len(inputs)))
    found = interpret(twice, [*(x.detach() for x in inputs), ones.detach(), *(torch.ones_like(o) for o in outputs)], SIZES)
    for f, w in zip(found, want, strict=True):
        close(f, torch.zeros_like(f) if w is None else w, 1e-8)


@settings(max_examples=40)
@given(graph=random_graphs(), seed=SEEDS, flags=st.lists(st.booleans(), min_size=6, max_size=6))
def test_batch_is_one_problem_after_another(graph: Graph, seed: int, flags: list[bool]) -> None:
    many = batch(graph, flags)
    verify(many)
    shared, own = random_inputs(graph, seed), random_inputs(graph, seed, batch=3)
    inputs = [o if f else s for s, o, f in zip(shared, own, flags, strict=True)]
    found = interpret(many, inputs, {**SIZES, "batch": 3})
    for n in range(3):
        one = interpret(graph, [x[n] if f else x for x, f in zip(inputs, flags, strict=True)], SIZES)
        for a, b in zip(found, one, strict=True):
            close(a[n], b, 1e-12)


def test_the_random_graphs_cover_the_table() -> None:
    before = USED.copy()

    @settings(max_examples=300)
    @given(graph=random_graphs())
    def verified(graph: Graph) -> None:
        verify(graph)

    verified()
    assert {"for", "until", "if", "einsum", "update", "slice", "cumsum", "where", "sum", "max", "concat"} <= (USED - before).keys()


def counter() -> Graph:
    b = Builder("counter")
    x, theta = b.input("x", Type.of("f64", "n")), b.input("theta", Type.of("f64", "K"))
    out = b.loop(
        "k", 0, "K", [x], lambda c: LoopBody((b.op("mul", c, b.op("slice", theta, items=(At(Size.of("k")),))),)), names=("x",)
    )
    return b.finish(out)


@pytest.mark.parametrize("operand", [0, 1])
def test_a_planted_wrong_adjoint_is_caught(operand: int, monkeypatch: pytest.MonkeyPatch) -> None:
    row = table.lookup("mul")

    def wrong(b: Builder, node: Node, *rest: Any) -> list[Value | None]:
        assert row.adjoint is not None
        found = row.adjoint(b, node, *rest)
        found[operand] = b.op("neg", found[operand])
        return found

    monkeypatch.setitem(table.OPS, "mul", replace(row, adjoint=wrong))
    inputs = [torch.ones(5, dtype=torch.float64), torch.full((3,), 2.0, dtype=torch.float64)]
    with pytest.raises(AssertionError):
        compare(counter(), inputs)
    monkeypatch.undo()
    compare(counter(), inputs)


def test_the_adjoint_of_a_loop_stays_rolled() -> None:
    reverse = simplify(backward(counter(), [0, 1]))
    assert [n.op for n in reverse.nodes].count("for") == 2
    assert reverse == simplify(backward(counter(), [0, 1]))
