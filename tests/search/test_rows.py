"""Sums down columns of results in the making: turned into rows in every text, left alone where a result would be read too early."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import TVM_SLOW
from tests.search.programs import chosen, graph_of, proposed
from unspool.compiler.search.rows import by_rows
from unspool.compiler.target import Machine
from unspool.dsl.api import loads

PAIRS = """algorithm pairs(w: real[n, n]) -> real[n, n]:
    t = zeros(n, n)
    for i in n-2..-1 by -1:
        for j in i+1..n:
            t[i, j] = max(t[i+1, j-1] + w[i, j], max(t[i, k] + t[k+1, j] for k in i..j))
    return t
"""
CHAIN = """algorithm chain(rows: real[q], last: real[q]) -> real[q, q]:
    cost = zeros(q, q)
    for low in q-2..-1 by -1, high in low+1..q:
        cost[low, high] = min(rows[low] * last[cut] + cost[cut+1, high] + cost[low, cut] for cut in low..high)
    return cost
"""
TRANSPOSED = """algorithm solve(U: real[n, n], b: real[n]) -> real[n]:
    x = zeros(n)
    for j in 0..n:
        x[j] = (b[j] - sum(U[k, j] * x[k] for k in 0..j)) / (3 + U[j, j])
    return x
"""
COUNTED = """algorithm trees(w: real[n, n]) -> real[n, n]:
    c = w
    for i in n-1..-1 by -1:
        for j in i+1..n:
            s = 0.0
            for k in i..j:
                s += c[i, k] * c[k+1, j]
            c[i, j] = 0.5 * s + w[i, j]
    return c
"""
FOUND = {"pairs": (PAIRS, "n"), "chain": (CHAIN, "q"), "transposed": (TRANSPOSED, "n"), "counted": (COUNTED, "n")}


@pytest.mark.parametrize("name", FOUND)
def test_it_is_found_in_every_text(name: str) -> None:
    text, size = FOUND[name]
    schedule = proposed(by_rows, graph_of(text), {size: 37})
    assert "interchange" in schedule, schedule
    assert "vector" in schedule


@settings(max_examples=4, deadline=None)
@given(n=st.integers(34, 41), name=st.sampled_from(sorted(FOUND)))
def test_sizes_that_nothing_divides(n: int, name: str) -> None:
    text, size = FOUND[name]
    assert proposed(by_rows, graph_of(text), {size: n})


@pytest.mark.parametrize(
    "text",
    [
        PAIRS.replace("t[k+1, j]", "t[j, k]"),  # along a row already
        PAIRS.replace("t[i, k] + t[k+1, j]", "t[i+1, k] + t[k+1, j]").replace("t[i+1, j-1] + w", "t[i, j-1] + 0.1 * t[i, 0] + w"),
        "algorithm f(x: real[n, n], y: real[n]) -> real[n]:\n    return x @ y\n",
        "algorithm f(x: real[n]) -> real[n]:\n    for i in 1..n:\n        x[i] += x[i-1]\n    return x\n",
    ],
)
def test_it_says_no_or_is_right(text: str) -> None:
    proposed(by_rows, graph_of(text), {"n": 40})  # compares with the interpreter, and proves the order


def test_it_is_the_choice_for_large_tables() -> None:
    assert "interchange" in chosen(graph_of(PAIRS), {"n": 1500}, Machine(64, 32))


NUMBA_LATER = {"test_kernels_of_the_class": ("pairs",)}


@pytest.mark.parametrize("target", ["c", "numba", TVM_SLOW])
@pytest.mark.parametrize("name", ["pairs", "transposed"])
def test_kernels_of_the_class(name: str, target: str) -> None:
    program = next(iter(loads(FOUND[name][0])))
    g = torch.Generator().manual_seed(0)
    shapes = {"pairs": [(150, 150)], "transposed": [(150, 150), (150,)]}[name]
    operands = [torch.rand(s, generator=g, dtype=torch.float64) for s in shapes]
    torch.testing.assert_close(program(*operands, target=target), program(*operands, target="interpreter"))
