"""Divisions by one root share its reciprocal, are right for special values, too, and stay where they need to."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from unspool.backends.autograd import run_flat
from unspool.backends.cpu import CTarget
from unspool.backends.execute import KernelPlan
from unspool.backends.numba.target import NumbaTarget
from unspool.compiler.driver import compile_graph
from unspool.compiler.graph.graph import Graph, walk
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.reciprocal import shared_reciprocals
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.graph.verify import verify
from unspool.dsl.program import load_text

#: Programs with divisions by roots, and how many divisions there are before and after.
PROGRAMS = {
    "two components": (
        """
algorithm f(p: real[n], q: real[n]) -> (real[n], real[n]):
    size = sqrt(max(1, p**2 + q**2))
    return p / size, q / size
""",
        2,
        1,
    ),
    "three, renamed, in a loop": (
        """
algorithm f(a: real[n], b: real[n]) -> (real[n], real[n]):
    iterations K = 3
    c = a
    for k in 0..K:
        r = sqrt(0.5 + b * b)
        c = c / r + 1
        b = (b + c) / r
        a = b / r
    return a, c
""",
        3,
        1,
    ),
    "one number for a row": (
        """
algorithm f(p: real[n], q: real[n]) -> (real[n], real[n]):
    return p / norm(p), q
""",
        1,
        1,
    ),
    "one division only": (
        """
algorithm f(p: real[n], q: real[n]) -> (real[n], real[n]):
    return p / sqrt(1 + q * q), q
""",
        1,
        1,
    ),
    "no root": (
        """
algorithm f(p: real[n], q: real[n]) -> (real[n], real[n]):
    s = 1 + q * q
    return p / s, q / s
""",
        2,
        2,
    ),
}


def graph_of(text: str, dtype: str = "f32", n: int = 7) -> Graph:
    return simplify(specialize(load_text(text).algorithms["f"].graph, dtype, {"n": n}))


@pytest.mark.parametrize(("text", "before", "after"), PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_divisions_by_one_root(text: str, before: int, after: int, dtype: str) -> None:
    graph = graph_of(text, dtype)
    made = shared_reciprocals(graph)
    verify(made)
    count = [Counter(n.op for n in walk(g.nodes))["div"] for g in (graph, made)]
    assert count == [before, after]
    assert shared_reciprocals(made) == made
    x, y = (torch.randn(7, dtype=torch.float32 if dtype == "f32" else torch.float64) for _ in range(2))
    for got, want in zip(interpret(made, [x, y], {"K": 3}), interpret(graph, [x, y], {"K": 3}), strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("target", [CTarget, NumbaTarget])
def test_special_values(target: type[CTarget] | type[NumbaTarget]) -> None:
    text = """
algorithm f(p: real[n], q: real[n]) -> (real[n], real[n]):
    size = sqrt(q)
    return p / size, -p / size
"""
    inf, nan, largest, least = float("inf"), float("nan"), torch.finfo(torch.float32).max, 1e-45
    numbers = torch.tensor([0.0, -0.0, 1.0, -3.0, 1e-30, least, 1e30, largest, inf, -inf, nan])
    x, y = (t.reshape(-1).contiguous() for t in torch.meshgrid(numbers, numbers, indexing="ij"))
    graph = graph_of(text, n=len(x))
    for strict in (False, True):
        plan = KernelPlan(graph, compile_graph(graph, target(), strict=strict), strict=strict)
        found = run_flat(plan, [x, y], [False, False], None, {})
        exact = interpret(graph, [x, y], {})
        for got, want in zip(found, exact, strict=True):
            torch.testing.assert_close(got, want, rtol=0 if strict else 3e-7, atol=0 if strict else 1e-44, equal_nan=True)
            assert torch.equal(got.isinf(), want.isinf())
