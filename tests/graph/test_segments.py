"""Tape policies: whatever is recorded, gradients are the same, bit for bit; and what is recorded is as little as the policy says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import unspool as us
from tests.helpers import SIZES, random_graphs, random_inputs
from unspool.compiler.graph.activity import differentiable
from unspool.compiler.graph.adjoint import backward
from unspool.compiler.graph.graph import Graph, walk
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.segments import KEEP, NO_CALLS, Policy, segment, tape_bytes
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.graph.text import parse_graph, print_graph
from unspool.compiler.graph.verify import verify

POLICIES = [NO_CALLS, Policy(1), Policy(2), Policy(3), Policy(100)]
LASSO = Path(__file__).parents[1] / "programs" / "lasso.us"


def ista() -> Graph:
    return simplify(specialize(us.load(LASSO).ista.algorithm.graph, "f64", {"m": 4, "n": 6}))


def operands(count: int) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(count)
    shapes = [(4, 6), (4,), (count,), (count,), (6,)]
    return [0.3 * torch.rand(shape, generator=random, dtype=torch.float64) for shape in shapes]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("count", [0, 1, 2, 5, 9])
def test_gradients_do_not_depend_on_the_policy(policy: Policy, count: int) -> None:
    wrt = [0, 1, 2, 3]
    made = simplify(backward(ista(), wrt, policy=policy))
    verify(made)
    assert parse_graph(print_graph(made)) == made
    want = interpret(backward(ista(), wrt), operands(count), {"K": count})
    for got, expected in zip(interpret(made, operands(count), {"K": count}), want, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)


@settings(max_examples=40)
@given(graph=random_graphs(), seed=st.integers(0, 10**6), length=st.sampled_from([-1, 1, 2, 3]))
def test_gradients_of_random_programs_do_not_depend_on_it(graph: Graph, seed: int, length: int) -> None:
    wrt = [i for i, v in enumerate(graph.inputs) if differentiable(v.type)]
    inputs = random_inputs(graph, seed)
    seeds = [torch.ones_like(y) for y in interpret(graph, inputs, SIZES)]
    made = backward(graph, wrt, policy=Policy(length))
    verify(made)
    want = interpret(backward(graph, wrt), [*inputs, *seeds], SIZES)
    for got, expected in zip(interpret(made, [*inputs, *seeds], SIZES), want, strict=True):
        torch.testing.assert_close(got, expected, equal_nan=True)


@pytest.mark.parametrize("loop", ["for k in 0..K:", "for k in 1..K by 2:", "for k in K..0 by -1:", "for k in K..2 by -3:"])
@pytest.mark.parametrize("count", [0, 1, 4, 7])
def test_every_kind_of_loop_can_be_cut_into_segments(loop: str, count: int) -> None:
    text = f"algorithm f(x: real[n], w: real[K + 1]) -> real[n]:\n    iterations K = 4\n    {loop}\n        x = sin(w[k] * x)\n    return x\n"
    graph = simplify(specialize(us.loads(text).f.algorithm.graph, "f64", {"n": 3}))
    x = [torch.rand(3, dtype=torch.float64), torch.rand(count + 1, dtype=torch.float64)]
    for length in (2, 3):
        cut = segment(graph, length)
        verify(cut)
        (outer,) = [n for n in cut.nodes if n.op == "for"]
        assert [n.op for n in outer.regions[0].nodes] == ["for"]
        (got,), (want,) = interpret(cut, x, {"K": count}), interpret(graph, x, {"K": count})
        torch.testing.assert_close(got, want, rtol=0, atol=0)
        dx = torch.rand(3, dtype=torch.float64)
        for a, b in zip(*(interpret(backward(graph, [0, 1], policy=p), [*x, dx], {"K": count}) for p in (KEEP, Policy(length))), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_what_is_recorded() -> None:
    sizes, row = {"K": 64}, 6 * 8
    kept, states, segments = (tape_bytes(simplify(backward(ista(), [2, 3], policy=Policy(s))), sizes) for s in (0, 1, 8))
    assert kept == 64 * 2 * row
    assert states == 64 * row
    assert segments == (8 + 8 * 2) * row


def test_loops_around_library_calls_do_not_call_them_again() -> None:
    text = """
algorithm f(M: real[n, n], x: real[n]) -> real[n]:
    iterations K = 4
    for k in 0..K:
        x = tanh(solve(M + 1.0 * outer(x, x), x)) + MORE
    return x
"""
    for more, policy, calls in (("x", KEEP, 3), ("x", NO_CALLS, 2), ("sin(M @ x)", NO_CALLS, 2)):
        graph = simplify(specialize(us.loads(text.replace("MORE", more)).f.algorithm.graph, "f64", {"n": 300}))
        made = simplify(backward(graph, [0, 1], policy=policy))
        assert sum(node.op == "solve" for node in walk(made.nodes)) == calls


def test_loops_with_a_trace_or_inside_others_stay_whole() -> None:
    text = (
        "algorithm f(x: real[n]) -> real[n]:\n    iterations K = 4\n    for k in 0..K:\n        for j in 0..3:\n            x = sin(x)\n"
        "    return x\n"
    )
    graph = simplify(specialize(us.loads(text).f.algorithm.graph, "f64", {"n": 3}))
    inner = [n.attr("index") for n in segment(graph, 2).nodes[0].regions[0].nodes[0].regions[0].nodes]
    assert inner == ["j"]
    stacked = backward(ista(), [2])
    (first, last) = [n for n in stacked.nodes if n.op == "for"]
    again = [n for n in segment(stacked, 2).nodes if n.op == "for"]
    assert again[0] == first, "it stacks its rows"
    assert again[1] != last
