"""Triangular products: found in every text, blocked but for what is next to the diagonal, right for every size on every target."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.search.programs import SMALL, graph_of, proposed
from unspool.compiler.search import contraction
from unspool.compiler.search.contraction import contractions
from unspool.compiler.target import Machine
from unspool.dsl.api import loads

SIZES = {"m": 25, "n": 37}
#: name -> (text, how many sums are blocked)
PRODUCTS = {
    "symmetric": (
        "algorithm f(C: real[m, n], A: real[m, m], B: real[m, n], a: real, b: real) -> real[m, n]:\n    for i in 0..m, j in 0..n:\n"
        "        low = sum(A[i, k] * B[k, j] for k in 0..i+1)\n        up = sum(A[k, i] * B[k, j] for k in i+1..m)\n"
        "        C[i, j] = a * (low + up) + b * C[i, j]\n    return C\n",
        2,
    ),
    "symmetric, renamed, columns outside": (
        "algorithm g(result: real[m, n], half: real[m, m], other: real[m, n]) -> real[m, n]:\n    for column in 0..n, row in 0..m:\n"
        "        up = sum(other[q, column] * half[q, row] for q in row..m)\n"
        "        low = sum(half[row, q] * other[q, column] for q in 0..row)\n"
        "        result[row, column] = up - result[row, column] + low\n    return result\n",
        2,
    ),
    "symmetric, scattered": (
        "algorithm f(C: real[m, n], A: real[m, m], B: real[m, n], a: real, b: real) -> real[m, n]:\n    for i in 0..m, j in 0..n:\n"
        "        t = 0\n        for k in 0..i:\n            C[k, j] += a * B[i, j] * A[i, k]\n            t += B[k, j] * A[i, k]\n"
        "        C[i, j] = b * C[i, j] + a * B[i, j] * A[i, i] + a * t\n    return C\n",
        2,
    ),
    "symmetric, two scattered": (
        "algorithm f(C: real[m, n], A: real[m, m], B: real[m, n]) -> real[m, n]:\n    for i in 0..m:\n        for k in 0..i:\n"
        "            for j in 0..n:\n                C[k, j] += B[i, j] * A[i, k]\n                C[i, j] += B[k, j] * A[i, k]\n"
        "        for j in 0..n:\n            C[i, j] += A[i, i] * B[i, j]\n    return C\n",
        2,
    ),
    "symmetric, one sum with a where": (
        "algorithm f(C: real[m, n], A: real[m, m], B: real[m, n]) -> real[m, n]:\n    for j in 0..n, i in 0..m:\n"
        "        C[i, j] = sum(where(k > i, A[k, i], A[i, k]) * B[k, j] for k in 0..m) - C[i, j]\n    return C\n",
        2,
    ),
    "symmetric, where in rows": (
        "algorithm f(C: real[m, n], A: real[m, m], B: real[m, n]) -> real[m, n]:\n    for i in 0..m, j in 0..n:\n"
        "        C[i, j] += 2 * sum(where(k <= i, A[i, k], A[k, i]) * B[k, j] for k in 0..m)\n    return C\n",
        1,
    ),
    "two triangles, one after the other": (
        "algorithm f(C: real[m, n], A: real[m, m], B: real[m, n]) -> real[m, n]:\n    D = C\n    for i in 0..m, j in 0..n:\n"
        "        for k in 0..i+1:\n            D[i, j] += A[i, k] * B[k, j]\n    for i in 0..m, j in 0..n:\n        for k in i+1..m:\n"
        "            D[i, j] += A[k, i] * B[k, j]\n    return D\n",
        2,
    ),
    "lower triangle from the right": (
        "algorithm f(L: real[n, n], B: real[m, n]) -> real[m, n]:\n    C = zeros(m, n)\n    for r in 0..m, c in 0..n:\n"
        "        C[r, c] = sum(B[r, k] * L[k, c] for k in c..n)\n    return C\n",
        1,
    ),
    "from the far corner": (
        "algorithm f(A: real[m, m], B: real[m, n]) -> real[m, n]:\n    C = zeros(m, n)\n    for i in 0..m, j in 0..n:\n"
        "        C[i, j] = sum(A[i, k] * B[k, j] for k in 0..m-i)\n    return C\n",
        1,
    ),
    "half of a square, in place": (
        "algorithm f(C: real[m, m], A: real[m, n], b: real) -> real[m, m]:\n    for i in 0..m:\n        for j in 0..i+1:\n"
        "            C[i, j] *= b\n        for k in 0..n, j in 0..i+1:\n            C[i, j] += b * A[i, k] * A[j, k]\n    return C\n",
        1,
    ),
}
#: Of these, those whose elements all have the same summands, or whose triangle a mask makes.
WHOLE = {"symmetric, where in rows", "half of a square, in place"}


@pytest.fixture(autouse=True, scope="module")
def _small_is_worth_it() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contraction, "WORK", 500)
        patch.setattr(contraction, "LEAST", 4)
        yield


@pytest.mark.parametrize("name", PRODUCTS)
def test_it_is_found_in_every_text(name: str) -> None:
    text, count = PRODUCTS[name]
    schedule = proposed(contractions, graph_of(text), SIZES)
    assert schedule.count("\npad ") == count, schedule
    assert f"\n{schedule}".count("\nsplit ") >= count or name in WHOLE


@settings(max_examples=6, deadline=None)
@given(m=st.integers(4, 40), n=st.integers(4, 40), name=st.sampled_from(sorted(PRODUCTS)), vector=st.sampled_from([16, 32, 64]))
def test_sizes_that_nothing_divides(m: int, n: int, name: str, vector: int) -> None:
    machine = Machine(vector, 32 if vector == 64 else 16, cores=2, l1=256, l2=2048, l3=8192)
    proposed(contractions, graph_of(PRODUCTS[name][0]), {"m": m, "n": n}, machine)


@settings(max_examples=3, deadline=None)
@given(data=st.data())
def test_random_triangles(data: st.DataObject) -> None:
    """Sums to or from an index of the result, operands and the result stored either way, loops in any order that the bounds allow."""
    follows = data.draw(st.sampled_from("ij"))
    low, high = data.draw(
        st.sampled_from([("0", f"{follows}+1"), ("0", follows), (follows, "m"), (f"{follows}+1", "m"), ("0", f"m-{follows}")])
    )
    a, b, c = (data.draw(st.sampled_from([x, x[::-1]])) for x in ("ik", "kj", "ij"))
    outer = data.draw(st.permutations("ij"))
    update = data.draw(st.booleans())
    index = {x: f"[{', '.join(x)}]" for x in (a, b, c)}
    total = f"A{index[a]} * B{index[b]}"
    loops = f"    for {outer[0]} in 0..m, {outer[1]} in 0..m:\n"
    body = (
        f"        for k in {low}..{high}:\n            C{index[c]} += {total}\n"
        if update
        else f"        C{index[c]} = 2 * sum({total} for k in {low}..{high}) - C{index[c]}\n"
    )
    text = f"algorithm f(C: real[m, m], A: real[m, m], B: real[m, m]) -> real[m, m]:\n{loops}{body}    return C\n"
    assert proposed(contractions, graph_of(text), {"m": data.draw(st.integers(26, 36))}, SMALL)


#: Forms that are compiled in the default run; what a proposer makes of all of them is run as a tree above.
COMPILED = {"symmetric", "two triangles, one after the other", "from the far corner", "half of a square, in place"}


@pytest.mark.parametrize(
    ("name", "target"),
    [
        *(pytest.param(n, "c", marks=() if n in COMPILED else pytest.mark.slow) for n in PRODUCTS),
        pytest.param("symmetric", "numba", marks=pytest.mark.slow),
    ],
)
def test_on_a_target(name: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contraction, "WORK", 1)
    algorithm = next(iter(loads(PRODUCTS[name][0])))
    g = np.random.default_rng(3)
    sizes = {"m": 35, "n": 37} if target == "c" else {"m": 31, "n": 18}
    inputs = {}
    for v in algorithm.algorithm.graph.inputs:
        inputs[v.name] = torch.as_tensor(g.uniform(-1, 1, tuple(s.evaluate(sizes) for s in v.type.shape)))
    with torch.no_grad():
        wanted = algorithm.build(target="interpreter", dtype="f64")(**inputs)
        torch.testing.assert_close(algorithm.build(target=target, dtype="f64")(**inputs), wanted, rtol=1e-10, atol=1e-10)
        strict = algorithm.build(target=target, numerics="strict", dtype="f64")
        torch.testing.assert_close(strict(**inputs), wanted, rtol=1e-10, atol=1e-10)


def test_what_is_beyond_the_triangle_stays_out() -> None:
    text = (
        "algorithm f(A: real[m, m], B: real[m, n]) -> real[m, n]:\n    C = zeros(m, n)\n    for i in 0..m, j in 0..n:\n"
        "        C[i, j] = sum(A[i, k] * B[k, j] for k in 0..i+1)\n    return C\n"
    )
    a, b = torch.rand(45, 45, dtype=torch.float64), torch.rand(45, 33, dtype=torch.float64)
    a = torch.where(torch.ones(45, 45).tril() > 0, a, torch.nan)
    b[31, 7] = torch.inf
    with torch.no_grad():
        got = next(iter(loads(text))).build(dtype="f64")(A=a, B=b)
    wanted = torch.stack([a[i, : i + 1] @ b[: i + 1] for i in range(45)])
    torch.testing.assert_close(got, wanted)
