"""Loops of which one iteration stands apart: found in every text, cut in three, left alone where that would not help."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import TVM_SLOW
from tests.search.programs import chosen, graph_of, proposed
from unspool.compiler.search.pivot import pivots
from unspool.compiler.target import Machine
from unspool.dsl.api import loads

MACHINE = Machine(32, 16, cores=2)
PATHS = """algorithm paths(d: real[n, n]) -> real[n, n]:
    for k in 0..n:
        for i in 0..n, j in 0..n:
            d[i, j] = min(d[i, j], d[i, k] + d[k, j])
    return d
"""
CLOSURE = """algorithm closure(reach: real[n, n]) -> real[n, n]:
    for via in 0..n, a in 0..n, b in 0..n:
        reach[a, b] = max(min(reach[via, b], reach[a, via]), reach[a, b])
    return reach
"""
DOWNWARD = """algorithm f(d: real[n, n]) -> real[n, n]:
    for k in n-1..-1 by -1:
        for i in 0..n, j in n-1..-1 by -1:
            d[i, j] = min(d[i, j], d[i, k] * d[k, j])
    return d
"""
VECTOR = """algorithm f(x: real[n], w: real[n, n]) -> real[n]:
    for k in 0..n, i in 0..n:
        x[i] = max(x[i], 0.5 * x[k] + w[k, i])
    return x
"""
#: name -> (text, places where a loop is cut)
FOUND = {"paths": (PATHS, 6), "closure": (CLOSURE, 6), "downward": (DOWNWARD, 6), "vector": (VECTOR, 2)}


@pytest.mark.parametrize("name", FOUND)
def test_it_is_found_in_every_text(name: str) -> None:
    text, cuts = FOUND[name]
    schedule = proposed(pivots, graph_of(text), {"n": 35}, MACHINE)
    assert sum(line.startswith("fission") for line in schedule.splitlines()) == cuts, schedule
    assert "parallel" in schedule


@settings(max_examples=2, deadline=None)
@given(n=st.integers(34, 41), name=st.sampled_from(sorted(FOUND)))
def test_sizes_that_nothing_divides(n: int, name: str) -> None:
    assert "split" in proposed(pivots, graph_of(FOUND[name][0]), {"n": n}, MACHINE)


@pytest.mark.parametrize(
    "text",
    [
        PATHS.replace("d[k, j])", "d[k, j] + d[max(i - 1, 0), max(j - 1, 0)])"),  # an element also waits for the one before
        PATHS.replace("d[i, k]", "0.5").replace("d[k, j]", "d[0, j]"),  # what stands apart is no iteration of a loop around
        "algorithm f(x: real[n, n], y: real[n]) -> real[n]:\n    return x @ y\n",
        "algorithm f(x: real[n]) -> real[n]:\n    for i in 1..n:\n        x[i] += x[i-1]\n    return x\n",
    ],
)
def test_it_says_no(text: str) -> None:
    assert not proposed(pivots, graph_of(text), {"n": 40}, MACHINE)


def test_it_is_the_choice_for_shortest_paths() -> None:
    assert "fission" in chosen(graph_of(PATHS), {"n": 500}, Machine(64, 32))
    assert "fission" not in chosen(graph_of(PATHS), {"n": 20}, Machine(64, 32))


@pytest.mark.parametrize("target", ["c", pytest.param("numba", marks=pytest.mark.slow), TVM_SLOW])
def test_kernels_of_the_class(target: str) -> None:
    """A forced size of the class, compiled, against the interpreter; negative cycles, where every copy of row k counts."""
    program = next(iter(loads(PATHS)))
    d = torch.rand(41, 41, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.02
    torch.testing.assert_close(program(d, target=target), program(d, target="interpreter"))
