"""Loops that move down to the loop that reads what they make: fewer arrays in memory, the same results, and nothing where it does not help."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import SIZES, random_graphs, random_inputs
from tests.search.programs import SMALL, computes, graph_of
from unspool.compiler.graph.activity import differentiable
from unspool.compiler.graph.adjoint import backward
from unspool.compiler.graph.graph import Graph
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.lower import CannotExpand, lower
from unspool.compiler.loops.schedule import prove
from unspool.compiler.search import sweeps
from unspool.compiler.search.draft import Draft, Task
from unspool.compiler.search.sweeps import finish

TV = (Path(__file__).parents[1] / "programs" / "tv.us").read_text()
#: The same method by other words: the primal step first, another projection, another extrapolation.
OTHER = """algorithm denoise(noisy: real[h, w]) -> real[h, w]:
    iterations N = 9
    param rate[N]: positive = 0.2
    v = noisy
    a = zeros(h, w)
    b = zeros(h, w)
    for t in 0..N:
        flow = -noisy
        flow[:-1, :] += a[:-1, :]
        flow[1:, :] -= a[:-1, :]
        flow[:, :-1] += b[:, :-1]
        flow[:, 1:] -= b[:, :-1]
        before = v
        v = (v - rate[t] * flow) / (1 + rate[t])
        ahead = v + 0.5 * (v - before)
        a[:-1, :] -= rate[t] * (ahead[1:, :] - ahead[:-1, :])
        b[:, :-1] -= rate[t] * (ahead[:, 1:] - ahead[:, :-1])
        size = 1 + 0.1 * (a**2 + b**2)
        a = a / size
        b = b / size
    return v
"""
#: A forward pass whose values are read soon after they are made.
CHAIN = """algorithm chain(x: real[h, w]) -> real[h, w]:
    a = exp(x)
    b = zeros(h, w)
    b[1:, :] += a[:-1, :] * a[1:, :]
    return b + a
"""


def gradient(text: str) -> Graph:
    graph = simplify(specialize(graph_of(text), "f64", {"h": 5, "w": 6}))
    return simplify(backward(graph, [i for i, v in enumerate(graph.inputs) if differentiable(v.type)]))


def finished(graph: Graph, monkeypatch: pytest.MonkeyPatch | None = None) -> Draft:
    """The draft that sweeps make, without loops that move if there is a ``monkeypatch``."""
    if monkeypatch is not None:
        monkeypatch.setattr(sweeps, "sunk", lambda *_: None)
    draft = Draft.of(Task(lower(graph), SMALL))
    finish(draft)
    prove(draft.scheduled)
    return draft


def in_memory(draft: Draft) -> int:
    """Temporaries that are no register."""
    return sum(a.temporary and bool(a.shape) and not a.scope.startswith("local") for a in draft.scheduled.nest.arrays)


def same(draft: Draft, graph: Graph, sizes: dict[str, int], inputs: list[torch.Tensor]) -> None:
    computes(draft, inputs, interpret(graph, inputs, sizes), sizes)


@pytest.mark.parametrize(("text", "count", "fewer"), [(TV, "K", 5), (OTHER, "N", 1)], ids=["tv", "denoise"])
def test_what_an_adjoint_makes_again_is_made_where_it_is_read(text: str, count: str, fewer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = gradient(text)
    draft = finished(graph)
    shapes = [tuple(s.evaluate({count: 2}) for s in v.type.shape) for v in graph.inputs]
    random = torch.Generator().manual_seed(0)
    same(draft, graph, {count: 2}, [0.2 + torch.rand(shape, generator=random, dtype=torch.float64) for shape in shapes])
    assert in_memory(draft) <= in_memory(finished(graph, monkeypatch)) - fewer


@pytest.mark.parametrize("text", [TV, OTHER, CHAIN], ids=["tv", "denoise", "chain"])
def test_a_forward_pass_stays_as_it_is(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = simplify(specialize(graph_of(text), "f64", {"h": 5, "w": 6}))
    draft = finished(graph)
    assert str(draft.schedule) == str(finished(graph, monkeypatch).schedule)


@settings(max_examples=15)
@given(graph=random_graphs(), seed=st.integers(0, 10**6))
def test_gradients_of_random_programs(graph: Graph, seed: int) -> None:
    fixed = simplify(specialize(graph, "f64", {n: v for n, v in SIZES.items() if n != "K"}))
    made = simplify(backward(fixed, [i for i, v in enumerate(graph.inputs) if differentiable(v.type)]))
    try:
        draft = finished(made)
    except CannotExpand:
        return
    inputs = random_inputs(fixed, seed)
    same(draft, made, SIZES, [*inputs, *(torch.ones_like(y) for y in interpret(fixed, inputs, SIZES))])
