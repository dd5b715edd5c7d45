"""Iterations that only share where their temporaries lie: found, given their own, and left alone where they build on each other."""

from __future__ import annotations

import pytest

from tests.search.programs import graph_of, proposed
from unspool.compiler.search.side_by_side import side_by_side
from unspool.compiler.target import Machine

MACHINE = Machine(64, 32, cores=2)
POPULATION = """algorithm scores(x: real[n, m], W: real[m, m], s: real[p]) -> real[p]:
    f = zeros(p)
    for i in 0..p:
        moved = relu(x @ (W + s[i] * W.T))
        f[i] = sum(moved @ W)
    return f
"""
SIZES = {"n": 9, "m": 10, "p": 11}


def test_members_of_a_population_have_temporaries_of_their_own() -> None:
    schedule = proposed(side_by_side, graph_of(POPULATION), SIZES, MACHINE)
    steps = schedule.splitlines()
    (loop,) = {s.split()[-1] for s in steps if s.startswith("parallel")}
    assert any(s.startswith("contract") and s.endswith(f" {loop}") for s in steps)


@pytest.mark.parametrize(
    "text",
    [
        POPULATION.replace("f[i] = sum(moved @ W)", "f[i] = sum(moved @ W)\n        W = 0.5 * W + 0.1 * f[i]"),  # a state
        POPULATION.replace("f[i] =", "f[0] +="),
        "algorithm f(x: real[n]) -> real[n]:\n    for i in 1..n:\n        x[i] += x[i-1]\n    return x\n",
    ],
)
def test_it_says_no(text: str) -> None:
    assert proposed(side_by_side, graph_of(text), SIZES, MACHINE) == ""


def test_few_iterations_are_not_worth_it() -> None:
    assert proposed(side_by_side, graph_of(POPULATION), {**SIZES, "p": 7}, MACHINE) == ""


def test_temporaries_that_fit_no_cache_stay_shared() -> None:
    small = Machine(64, 32, cores=2, l1=64, l2=128, l3=256)
    assert proposed(side_by_side, graph_of(POPULATION), SIZES, small) == ""
