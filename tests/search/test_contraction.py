"""Blocked contractions: found in every text, right for every size on every target, left alone where they do not pay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.loops.contractions import contractions as random_contractions
from tests.loops.contractions import values
from tests.loops.run_tree import Runner
from tests.search.programs import SMALL, chosen, graph_of, proposed
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.nest import Nest
from unspool.compiler.loops.scan import scan
from unspool.compiler.loops.schedule import apply, parse_schedule, prove
from unspool.compiler.loops.scheduled import Scheduled
from unspool.compiler.loops.tree_text import print_tree
from unspool.compiler.search import contraction
from unspool.compiler.search.contraction import contractions
from unspool.compiler.search.draft import Draft, Task
from unspool.compiler.search.sweeps import finish
from unspool.compiler.target import Machine
from unspool.dsl.api import loads

SIZES = {"m": 25, "n": 37, "p": 29, "K": 2}
#: name -> (text, how many sums are blocked)
PRODUCTS = {
    "product": ("algorithm f(A: real[m, p], B: real[p, n]) -> real[m, n]:\n    return A @ B\n", 1),
    "renamed": ("algorithm zork(left: real[n, m], right: real[m, p]) -> real[n, p]:\n    return left @ right\n", 1),
    "both transposed": ("algorithm f(A: real[p, m], B: real[n, p]) -> real[m, n]:\n    return A.T @ B.T\n", 1),
    "result transposed": ("algorithm f(A: real[m, p], B: real[p, n]) -> real[n, m]:\n    return (A @ B).T + 1\n", 1),
    "scaled and added": (
        "algorithm f(C: real[m, n], A: real[m, p], B: real[p, n], a: real, b: real) -> real[m, n]:\n    return a * (A @ B) + b * C\n",
        1,
    ),
    "two in a row": (
        "algorithm f(A: real[m, p], B: real[p, n], C: real[n, m]) -> real[m, m]:\n    return 2 * (A @ B) @ C\n",
        2,
    ),
    "loops with a scalar": (
        "algorithm f(C: real[m, n], A: real[m, p], B: real[n, p]) -> real[m, n]:\n    for i in 0..m, j in 0..n:\n"
        "        C[i, j] = 3 * sum(A[i, k] * B[j, k] for k in 0..p) + C[i, j]\n    return C\n",
        1,
    ),
    "lower triangle": (
        "algorithm f(C: real[m, m], A: real[m, p]) -> real[m, m]:\n    for i in 0..m, j in 0..i+1:\n"
        "        C[i, j] = 2 * sum(A[i, k] * A[j, k] for k in 0..p) + C[i, j]\n    return C\n",
        1,
    ),
    "strictly lower triangle, two products": (
        "algorithm f(C: real[m, m], A: real[m, p], B: real[m, p]) -> real[m, m]:\n    for i in 0..m, j in 0..i:\n"
        "        C[i, j] = sum(A[i, k] * B[j, k] + B[i, k] * A[j, k] for k in 0..p) - C[i, j]\n    return C\n",
        1,
    ),
    "two products": (
        "algorithm f(A: real[m, p], B: real[p, n], C: real[p, m], D: real[n, p]) -> real[m, n]:\n    return A @ B - C.T @ D.T\n",
        2,
    ),
    "leading axis": ("algorithm f(A: real[3, m, p], B: real[p, n]) -> real[3, m, n]:\n    return A @ B\n", 1),
    "leading axis of both": ("algorithm f(A: real[3, m, p], B: real[3, p, n]) -> real[3, m, n]:\n    return A @ B\n", 1),
    "covariance": (
        "algorithm f(X: real[p, m]) -> real[m, m]:\n    c = X - mean(X, axis=0)\n    return c.T @ c / p\n",
        1,
    ),
    "in iterations": (
        "algorithm f(A: real[m, p], X: real[p, n]) -> real[p, n]:\n    iterations K = 2\n    for k in 0..K:\n"
        "        X = X - 0.1 * (A.T @ (A @ X))\n    return X\n",
        2,
    ),
    "einsum": ("algorithm f(A: real[p, m], B: real[n, p]) -> real[n, m]:\n    return einsum(\"ki,jk->ji\", A, B)\n", 1),
}


@pytest.fixture(autouse=True, scope="module")
def _small_is_worth_it() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contraction, "WORK", 500)
        patch.setattr(contraction, "LEAST", 4)
        yield


#: The texts that are looked at with ``strict``, too.
STRICTLY = ("product", "covariance", "lower triangle", "in iterations")
CASES = [
    pytest.param(name, strict, marks=[pytest.mark.slow] if strict and name not in STRICTLY else [])
    for name in PRODUCTS
    for strict in (False, True)
]


@pytest.mark.parametrize(("name", "strict"), CASES)
def test_it_is_found_in_every_text(name: str, strict: bool) -> None:
    text, count = PRODUCTS[name]
    schedule = proposed(contractions, graph_of(text), SIZES, strict=strict)
    assert schedule.count("permute") == count, schedule
    assert schedule.count("pad") >= 1


@settings(max_examples=9, deadline=None)
@given(m=st.integers(4, 40), n=st.integers(4, 40), p=st.integers(4, 40), name=st.sampled_from(sorted(PRODUCTS)),
       vector=st.sampled_from([16, 32, 64]))  # fmt: skip
def test_sizes_that_nothing_divides(m: int, n: int, p: int, name: str, vector: int) -> None:
    machine = Machine(vector, 32 if vector == 64 else 16, cores=2, l1=256, l2=2048, l3=8192)
    proposed(contractions, graph_of(PRODUCTS[name][0]), {"m": m, "n": n, "p": p, "K": 2}, machine)


def test_random_contractions_keep_their_result() -> None:
    fired: list[bool] = []

    @settings(max_examples=15, deadline=None)
    @given(nest=random_contractions(24, least=8, steps=True), seed=st.integers(0, 100))
    def check(nest: Nest, seed: int) -> None:
        strict = seed % 2 == 0
        draft = Draft.of(Task(nest, SMALL, strict))
        fired.append(contractions(draft))
        finish(draft)
        prove(draft.scheduled, strict=strict)
        assert apply(nest, parse_schedule(str(draft.schedule)), strict=strict).nest == draft.scheduled.nest
        found, expected = values(nest, seed), values(nest, seed)
        Runner(scan(draft.scheduled, "k"), found, {"K": 3}, seed)
        Runner(scan(Scheduled.start(nest), "k"), expected, {"K": 3})
        np.testing.assert_allclose(found[-1], expected[-1], rtol=1e-12, atol=1e-12)

    check()
    assert sum(fired) >= 3  # of 15, of which about half are worth it


ON_TARGETS = [*((n, "c") for n in PRODUCTS), ("lower triangle", "numba")]
ON_TARGETS_LATER = [pytest.param(n, "numba", marks=pytest.mark.slow) for n in ("product", "leading axis")]


@pytest.mark.parametrize(("name", "target"), [*ON_TARGETS, *ON_TARGETS_LATER])
def test_on_a_target(name: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contraction, "WORK", 1)
    algorithm = next(iter(loads(PRODUCTS[name][0])))
    g = np.random.default_rng(3)
    for sizes in ({"m": 49, "n": 53, "p": 61}, {"m": 24, "n": 64, "p": 32}) if target == "c" else ({"m": 31, "n": 18, "p": 26},):
        inputs = {}
        for v in algorithm.algorithm.graph.inputs:
            shape = tuple(s.evaluate(sizes) for s in v.type.shape)
            inputs[v.name] = torch.as_tensor(g.uniform(-1, 1, shape))
        with torch.no_grad():
            wanted = algorithm.build(target="interpreter", dtype="f64")(**inputs)
            for numerics in ("default", "strict"):
                layer = algorithm.build(target=target, numerics=numerics, dtype="f64")
                torch.testing.assert_close(layer(**inputs), wanted, rtol=1e-10, atol=1e-10)
            single = {n: x.float() for n, x in inputs.items()}
            torch.testing.assert_close(algorithm.build(target=target)(**single), wanted.float(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 40, 40), (40, 1, 40), (40, 40, 1)])
def test_sizes_of_one(sizes: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contraction, "WORK", 0)
    monkeypatch.setattr(contraction, "LEAST", 0)
    m, n, p = sizes
    a, b = torch.rand(m, p, dtype=torch.float64), torch.rand(p, n, dtype=torch.float64)
    layer = next(iter(loads(PRODUCTS["product"][0]))).build(dtype="f64")
    with torch.no_grad():
        torch.testing.assert_close(layer(A=a, B=b), a @ b)


def test_the_only_panel_of_columns_is_read_without_divisions() -> None:
    """So that sums stay in registers: a vector loop whose indices are divided is none of the writer's tiles."""
    graph = graph_of("algorithm f(x: real[n, k], W: real[h, k]) -> real[n, h]:\n    return x @ W.T\n")
    fixed = simplify(specialize(graph, "f32", {"n": 256, "k": 256, "h": 32}))
    draft = Draft.of(Task(lower(fixed), Machine(64, 32, cores=2)))
    assert contractions(draft)
    finish(draft)
    (product,) = [line for line in print_tree(scan(draft.scheduled, "f")).splitlines() if "add=" in line]
    assert not {"//", "%"} & set(product.split())


def test_infinity_and_nan_stay_where_they_belong() -> None:
    layer = next(iter(loads(PRODUCTS["lower triangle"][0]))).build(dtype="f64")
    a = torch.rand(45, 33, dtype=torch.float64)
    a[7, 3], a[30, 5] = torch.inf, torch.nan
    c = torch.rand(45, 45, dtype=torch.float64)
    with torch.no_grad():
        got = layer(C=c, A=a)
    full = 2 * a @ a.T + c
    torch.testing.assert_close(got, torch.where(torch.ones(45, 45).tril() > 0, full, c), equal_nan=True)


def test_it_says_no_where_it_does_not_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    big = {"m": 500, "n": 500, "p": 500, "K": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contraction, "WORK", 2_000_000)
        patch.setattr(contraction, "LEAST", 24)
        machine = Machine(64, 32)
        assert "permute" in chosen(graph_of(PRODUCTS["product"][0]), big, machine)
        assert "permute" not in chosen(graph_of(PRODUCTS["product"][0]), SIZES, machine)
        for text in (
            "algorithm f(A: real[m, n], x: real[n]) -> real[m]:\n    return A @ x\n",
            "algorithm f(A: real[m, n], B: real[m, n]) -> real[m]:\n    return sum(A * B, axis=1)\n",
            "algorithm f(A: real[m, p], B: real[m, p, n]) -> real[m, n]:\n    return einsum(\"ik,ikj->ij\", A, B)\n",
        ):
            assert not proposed(contractions, graph_of(text), big, machine, run=False)

