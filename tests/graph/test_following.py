"""What an iteration makes of a carried value is the next row of the tape: recorded once, and not computed again."""

from __future__ import annotations

from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import unspool as us
from tests.graph.carried import DUAL, PROGRAMS, RECURRENT
from tests.helpers import SIZES, random_graphs, random_inputs
from unspool.compiler.graph import adjoint
from unspool.compiler.graph.activity import differentiable
from unspool.compiler.graph.adjoint import backward
from unspool.compiler.graph.batch import batch as batch_graph
from unspool.compiler.graph.graph import Graph, Node, walk
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.segments import KEEP, Policy, followed, stacks
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.graph.text import parse_graph, print_graph
from unspool.compiler.graph.verify import verify


def graph(text: str) -> Graph:
    return simplify(specialize(us.loads(text).f.algorithm.graph, "f64", {"m": 4, "n": 5}))


def gradient(primal: Graph, policy: Policy = KEEP) -> Graph:
    made = backward(primal, [i for i, v in enumerate(primal.inputs) if differentiable(v.type)], policy=policy)
    verify(made)
    return made


def operands(primal: Graph, count: int) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(count)
    shapes = [tuple(s.evaluate({"K": count}) for s in v.type.shape) for v in primal.inputs]
    return [torch.rand(shape, generator=random, dtype=torch.float64) - 0.4 for shape in shapes]


def without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adjoint, "steps", lambda node: [])


def recorded(made: Graph, count: int = 8) -> int:
    """Elements of all stacks."""
    return sum(prod(s.evaluate({"K": count, "n": 5, "m": 4}) for s in v.type.shape) for v in stacks(made.nodes))


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("tanh", 2 * 8 * 5, 9 * 5),  # x and tanh; now x alone, with one more row
        ("relu", 2 * 8 * 5, 9 * 5),
        ("heavy ball", 8 * (5 + 5 + 4 + 5), 9 * 5 + 8 * (4 + 5)),  # x, the x before, A x, and its image
        ("dual", 2 * 8 * 5, (8 + 9) * 5),  # the result of the projection was computed again
    ],
)
def test_what_is_recorded(name: str, before: int, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    primal = graph(PROGRAMS[name])
    assert recorded(simplify(gradient(primal))) == after
    without(monkeypatch)
    assert recorded(simplify(gradient(primal))) == before


def test_the_next_state_is_read_not_computed() -> None:
    made = simplify(gradient(graph(DUAL)))
    (reverse,) = [n for n in made.nodes if n.op == "for" and n.attr("step") < 0]
    made_again = [n.op for n in reverse.regions[0].nodes]
    assert made_again.count("sqrt") == 1
    assert _reads_behind(reverse)
    assert followed(made.nodes) == {v.name for v in stacks(made.nodes) if str(v.type) == "f64[K + 1, 5]"} != set()


def _reads_behind(reverse: Node) -> bool:
    return any("k + 1" in str(n.attr("items")[0]) for n in walk(reverse.regions[0].nodes) if n.op == "slice")


def test_what_is_cheaply_computed_is_not_read() -> None:
    text = RECURRENT.format("x = x * x * b[k]")
    assert not followed(simplify(gradient(graph(text))).nodes)


@pytest.mark.parametrize("policy", [KEEP, Policy(1), Policy(3)], ids=str)
@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_are_as_without(name: str, count: int, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    primal = graph(PROGRAMS[name])
    made = simplify(gradient(primal, policy))
    assert parse_graph(print_graph(made)) == made
    inputs = [*operands(primal, count), torch.ones(5, dtype=torch.float64)]
    got = interpret(made, inputs, {"K": count})
    without(monkeypatch)
    for a, b in zip(got, interpret(gradient(primal), inputs, {"K": count}), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("name", PROGRAMS)
def test_they_are_those_of_differences(name: str) -> None:
    primal = graph(PROGRAMS[name])
    inputs, h = operands(primal, 3), 1e-6
    slopes = interpret(gradient(primal), [*inputs, torch.ones(5, dtype=torch.float64)], {"K": 3})
    for place, slope in enumerate(slopes):
        way = torch.rand(slope.shape, generator=torch.Generator().manual_seed(place), dtype=torch.float64)
        ends = [interpret(primal, [x + s * h * way if n == place else x for n, x in enumerate(inputs)], {"K": 3})[0].sum() for s in (1, -1)]
        torch.testing.assert_close((ends[0] - ends[1]) / (2 * h), (slope * way).sum(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", PROGRAMS)
def test_problems_side_by_side_and_second_derivatives(name: str) -> None:
    primal = graph(PROGRAMS[name])
    made = gradient(primal)
    inputs = [*operands(primal, 3), torch.ones(5, dtype=torch.float64)]
    many = [torch.stack([x, 0.5 * x]) for x in inputs]
    together = interpret(batch_graph(made, [True] * len(many)), many, {"K": 3, "batch": 2})
    for n in range(2):
        for a, b in zip(together, interpret(made, [x[n] for x in many], {"K": 3}), strict=True):
            torch.testing.assert_close(a[n], b)
    leaves = [x.clone().requires_grad_() for x in inputs]
    found = interpret(made, leaves, {"K": 3})
    want = torch.autograd.grad([y.sum() for y in found], leaves, allow_unused=True, materialize_grads=True)
    twice = interpret(gradient(made), [*inputs, *(torch.ones_like(y) for y in found)], {"K": 3})
    for a, b in zip(twice, want, strict=True):
        torch.testing.assert_close(a, b)


@settings(max_examples=25)
@given(graph=random_graphs(), seed=st.integers(0, 10**6), length=st.sampled_from([0, 1, 2]))
def test_random_programs_record_no_more_and_have_the_same_gradients(graph: Graph, seed: int, length: int) -> None:
    inputs = random_inputs(graph, seed)
    seeds = [torch.ones_like(y) for y in interpret(graph, inputs, SIZES)]
    made = gradient(graph, Policy(length))
    with pytest.MonkeyPatch.context() as patch:
        without(patch)
        plain = gradient(graph, Policy(length))
    if length < 2:  # one tape per loop
        rows = [sum(prod(s.evaluate(SIZES) for s in v.type.shape[1:]) for v in stacks(g.nodes)) for g in (made, plain)]
        assert rows[0] <= rows[1]
    want = interpret(plain, [*inputs, *seeds], SIZES)
    for got, expected in zip(interpret(made, [*inputs, *seeds], SIZES), want, strict=True):
        torch.testing.assert_close(got, expected, equal_nan=True)
