"""Overlapping tiles are proposed however a stencil with long rows is written, and compute the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.loops.stencil_forms import FORMS
from tests.loops.stencils import stencil_programs
from unspool.backends.autograd import run_flat
from unspool.backends.cpu import CTarget
from unspool.backends.execute import KernelPlan
from unspool.compiler.driver import compile_graph
from unspool.compiler.graph.graph import Graph
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.schedule import apply, parse_schedule, prove
from unspool.compiler.search.draft import Draft, Task
from unspool.compiler.search.overlapping import overlapping
from unspool.compiler.search.sweeps import finish
from unspool.compiler.target import Machine
from unspool.dsl.program import load_text

#: Many cores for few rows, so that trapezoids have no room.
CORES = Machine(64, 32, cores=16, l1=1 << 9, l2=1 << 12, l3=1 << 17)
LOOPS = """
algorithm smooth(A: real[n, m], B: real[n, m]) -> (real[n, m], real[n, m]):
    iterations T = 5
    for t in 0..T:
        for i in 1..n-1, j in 1..m-1:
            B[i, j] = 0.2 * (A[i, j] + A[i, j-1] + A[i, j+1] + A[i+1, j] + A[i-1, j])
        for i in 1..n-1, j in 1..m-1:
            A[i, j] = 0.2 * (B[i, j] + B[i, j-1] + B[i, j+1] + B[i+1, j] + B[i-1, j])
    return A, B
"""
#: The same: renamed and in another sequence; as slices; with a temporary; of a function.
TEXTS = {
    "loops": LOOPS,
    "renamed": """
algorithm smooth(q: real[n, m], p: real[n, m]) -> (real[n, m], real[n, m]):
    iterations T = 5
    for step in 0..T:
        for y in 2..m, x in 2..n:
            p[x-1, y-1] = 0.2 * (q[x-2, y-1] + q[x, y-1] + q[x-1, y-2] + q[x-1, y] + q[x-1, y-1])
        for y in 2..m, x in 2..n:
            q[x-1, y-1] = 0.2 * (p[x-2, y-1] + p[x, y-1] + p[x-1, y-2] + p[x-1, y] + p[x-1, y-1])
    return q, p
""",
    "slices": """
algorithm smooth(A: real[n, m], B: real[n, m]) -> (real[n, m], real[n, m]):
    iterations T = 5
    for t in 0..T:
        B[1:-1, 1:-1] = 0.2 * (A[1:-1, 1:-1] + A[1:-1, :-2] + A[1:-1, 2:] + A[2:, 1:-1] + A[:-2, 1:-1])
        A[1:-1, 1:-1] = 0.2 * (B[1:-1, 1:-1] + B[1:-1, :-2] + B[1:-1, 2:] + B[2:, 1:-1] + B[:-2, 1:-1])
    return A, B
""",
    "temporary": """
algorithm smooth(A: real[n, m], B: real[n, m]) -> (real[n, m], real[n, m]):
    iterations T = 5
    for t in 0..T:
        for i in 1..n-1, j in 1..m-1:
            across = A[i, j-1] + A[i, j+1]
            B[i, j] = 0.2 * A[i, j] + 0.2 * across + 0.2 * (A[i+1, j] + A[i-1, j])
        A[1:-1, 1:-1] = 0.2 * (B[1:-1, 1:-1] + B[1:-1, :-2] + B[1:-1, 2:] + B[2:, 1:-1] + B[:-2, 1:-1])
    return A, B
""",
    "function": """
fn mean(u) = (u[1:-1, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:] + u[2:, 1:-1] + u[:-2, 1:-1]) / 5

algorithm smooth(A: real[n, m], B: real[n, m]) -> (real[n, m], real[n, m]):
    iterations T = 5
    for t in 0..T:
        B[1:-1, 1:-1] = mean(A)
        A[1:-1, 1:-1] = mean(B)
    return A, B
""",
    **{name: FORMS[name].text for name in ("fdtd, reordered", "tv, slices", "tv, padded")},
}
#: Programs of more arrays have narrower tiles in the same caches.
LARGER = {"tv, slices": 1 << 18, "tv, padded": 1 << 19}


def drafted(graph: Graph, machine: Machine) -> Draft | None:
    """A draft with overlapping tiles, proved; None where they are not proposed."""
    nest = lower(graph)
    draft = Draft.of(Task(nest, machine))
    if not overlapping(draft):
        assert not draft.steps
        return None
    finish(draft)
    prove(draft.scheduled)
    assert apply(nest, parse_schedule(str(draft.schedule))).nest == draft.scheduled.nest
    return draft


def same_in_program_order(graph: Graph, draft: Draft, count: int, seed: int) -> None:
    """Both compiled, on random data."""
    g = torch.Generator().manual_seed(seed)
    counts = dict.fromkeys(draft.scheduled.nest.params, count)
    shapes = [tuple(n.evaluate({"K": count, "T": count}) for n in v.type.shape) for v in graph.inputs]
    inputs = [torch.rand(shape, generator=g, dtype=torch.float64) + 0.2 for shape in shapes]
    tiles, plain = (
        KernelPlan(graph, compile_graph(graph, CTarget(), schedule=text), strict=False) for text in (str(draft.schedule), "")
    )
    found, expected = (run_flat(plan, inputs, [False] * len(inputs), None, counts) for plan in (tiles, plain))
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


#: Texts that take long.
LATER = {"tv, slices", "tv, padded", "fdtd, reordered"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in LATER else []) for n in TEXTS])
def test_it_is_found_in_every_text(name: str) -> None:
    (algorithm,) = load_text(TEXTS[name]).algorithms.values()
    machine = replace(CORES, l2=1 << 13, l3=LARGER[name]) if name in LARGER else CORES
    graph = simplify(specialize(algorithm.graph, "f64", {"n": 40, "m": 400 if name in LARGER else 200}))
    draft = drafted(graph, machine)
    assert draft is not None
    assert {"overlap", "parallel"} <= {s.name for s in draft.steps}
    for count in (0, 1, 5):
        same_in_program_order(graph, draft, count, 5)


def test_it_says_no_where_trapezoids_have_room() -> None:
    (algorithm,) = load_text(LOOPS).algorithms.values()
    graph = simplify(specialize(algorithm.graph, "f64", {"n": 2000, "m": 2000}))
    assert drafted(graph, Machine(64, 32)) is None


def test_random_stencils_keep_their_results() -> None:
    fired: list[bool] = []

    @settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
    @given(program=stencil_programs(ranks=(2,), largest=64), count=st.integers(0, 6), seed=st.integers(0, 10**6))
    def check(program: tuple[Graph, dict[str, int]], count: int, seed: int) -> None:
        graph = simplify(program[0])
        draft = drafted(graph, replace(CORES, l1=64, l2=1 << 9))
        fired.append(draft is not None)
        if draft is not None and sum(fired) <= 3:
            same_in_program_order(graph, draft, count, seed)

    check()
    assert sum(fired) >= 2
