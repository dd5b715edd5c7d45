"""isl's scheduler as a proposer: what it makes of programs in several texts and of random nests, and where it is not asked."""

from __future__ import annotations

from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import STEPS as REPORT
from tests.helpers import TVM_SLOW
from tests.loops.nests import CLASSES, random_arrays, random_nest
from tests.loops.run_tree import Runner
from tests.loops.test_random_nests import COUNTS, TINY, close
from tests.search.programs import SMALL, chosen, graph_of, proposed
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.scan import scan
from unspool.compiler.loops.schedule import prove
from unspool.compiler.loops.scheduled import Scheduled
from unspool.compiler.loops.steps.reschedule import can_isl, isl
from unspool.compiler.search import polyhedral as module
from unspool.compiler.search.choose import candidates
from unspool.compiler.search.draft import Draft, Task
from unspool.compiler.search.polyhedral import polyhedral
from unspool.compiler.search.sweeps import finish
from unspool.compiler.target import Machine
from unspool.dsl.api import loads

SIZES = {"m": 37, "n": 29, "K": 3}
ALIGN = """algorithm align(a: real[m, n]) -> real[m, n]:
    s = zeros(m, n)
    for i in 1..m, j in 1..n:
        s[i, j] = max(s[i-1, j], s[i, j-1]) + a[i, j]
    return s
"""
OTHER_LOOP_OUTSIDE = """algorithm f(cost: real[m, n]) -> real[m, n]:
    best = zeros(m, n)
    for c in 1..n:
        for r in 1..m:
            best[r, c] = cost[r, c] + max(best[r, c-1], best[r-1, c])
    return best
"""
TWO_STATEMENTS = """algorithm f(a: real[m, n]) -> real[m, n]:
    s = zeros(m, n)
    u = zeros(m, n)
    for i in 1..m:
        for j in 1..n:
            u[i, j] = max(s[i-1, j], s[i, j-1])
            s[i, j] = u[i, j] + a[i, j]
    return s
"""
BACKWARDS = """algorithm f(a: real[m, n]) -> real[m, n]:
    s = zeros(m, n)
    for i in m-2..-1 by -1:
        for j in 0..n-1:
            s[i, j+1] = a[i, j] + max(s[i+1, j+1], s[i, j])
    return s
"""
ITERATED = """algorithm f(a: real[m, n]) -> real[m, n]:
    iterations K = 3
    s = a
    for k in 0..K:
        for i in 1..m, j in 1..n:
            s[i, j] = 0.4 * (s[i-1, j] + s[i, j-1]) + 0.1 * s[i-1, j-1]
    return s
"""
SUM_IN_THE_MIDDLE = """algorithm f(C: real[n, n], A: real[n, m], alpha: real, beta: real) -> real[n, n]:
    for i in 0..n:
        for j in 0..i+1:
            C[i, j] = C[i, j] * beta
        for k in 0..m, j in 0..i+1:
            C[i, j] += alpha * abs(A[i, k] - A[j, k])
    return C
"""
SWEPT = """algorithm f(a: real[n, n]) -> real[n, n]:
    s = a
    for t in 0..40:
        for i in 1..n-1, j in 1..n-1:
            s[i, j] = (s[i-1, j] + s[i, j-1] + s[i, j] + s[i, j+1] + s[i+1, j]) / 5
    return s
"""
FOUND = {
    "align": ALIGN,
    "the other loop outside": OTHER_LOOP_OUTSIDE,
    "two statements": TWO_STATEMENTS,
    "backwards": BACKWARDS,
    "iterated": ITERATED,
}


@pytest.fixture(autouse=True)
def _small_programs_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST", 0.0)
    monkeypatch.setattr(module, "FRONT", 0.0)
    monkeypatch.setattr(module, "BLOCKS", ((4, 8), (8, 16)))
    monkeypatch.setattr(module, "SHORTER", 100.0)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", FOUND)
def test_it_is_found_in_every_text(name: str, strict: bool) -> None:
    schedule = proposed(polyhedral, graph_of(FOUND[name]), SIZES, strict=strict)
    words = {line.split()[0] for line in schedule.splitlines()}
    assert {"isl", "tile", "wavefront", "parallel"} <= words, schedule


@pytest.mark.parametrize("kind", CLASSES)
def test_random_nests_keep_their_results(kind: str) -> None:
    fired = 0
    for seed in range(100, 108):
        nest = random_nest(Random(seed), kind)
        strict = seed % 4 == 0
        draft = Draft.of(Task(nest, TINY, strict))
        if not polyhedral(draft):
            continue
        fired += 1
        finish(draft)
        prove(draft.scheduled, strict=strict)
        integers = {p: COUNTS[p] for p in nest.params}
        expected, found = (random_arrays(nest, seed, integers) for _ in range(2))
        Runner(scan(Scheduled.start(nest), "plain"), expected, integers)
        Runner(scan(draft.scheduled, "isl"), found, integers, seed)
        close(found, expected)
        REPORT.update(s.name for s in draft.steps)
    print(f"\n{kind}: {fired} of 8")


@settings(max_examples=6, deadline=None)
@given(m=st.integers(2, 40), n=st.integers(2, 40), name=st.sampled_from(sorted(FOUND)))
def test_sizes_that_no_block_divides(m: int, n: int, name: str) -> None:
    proposed(polyhedral, graph_of(FOUND[name]), {"m": m, "n": n, "K": 2})


def test_fronts_of_blocks_are_the_choice_where_they_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for name in ("align", "the other loop outside", "backwards"):
        schedule = chosen(graph_of(FOUND[name]), {"m": 4000, "n": 4000}, Machine(64, 32))
        assert {"isl", "tile", "wavefront", "parallel"} <= {line.split()[0] for line in schedule.splitlines()}, name


def test_what_the_text_has_in_a_bad_sequence_is_put_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum in the middle: each row of the result goes through memory once per summand."""
    graph = graph_of(SUM_IN_THE_MIDDLE)
    assert proposed(polyhedral, graph, {"n": 19, "m": 17})
    monkeypatch.undo()
    assert chosen(graph, {"n": 400, "m": 300}, Machine(64, 32)).startswith("isl")


def test_it_is_not_asked_where_another_has_done_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    graph = simplify(specialize(graph_of(SWEPT), "f64", {"n": 2000}))
    made = candidates(Task(lower(graph), Machine(64, 32)))
    assert {"program", "sweeps", "stencils"} == {d.origin for d in made}
    assert polyhedral(made[0].copy())


def test_it_is_taken_by_a_margin_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(module, "MARGIN", 100.0)
    assert "isl" not in chosen(graph_of(ALIGN), {"m": 4000, "n": 4000}, Machine(64, 32))


def test_it_is_not_asked_without_need(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = "algorithm f(x: real[m, n], y: real[n]) -> real[m]:\n    return x @ y\n"
    assert not proposed(polyhedral, graph_of(plain), SIZES)  # rows are independent, and read as they lie in memory
    monkeypatch.undo()
    assert not proposed(polyhedral, graph_of(ALIGN), SIZES)  # too little work
    monkeypatch.setattr(module, "LEAST", 0.0)
    monkeypatch.setattr(module, "STATEMENTS", 1)
    assert not proposed(polyhedral, graph_of(TWO_STATEMENTS), SIZES)  # too many statements


def test_a_search_of_isl_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unspool.compiler.loops.isl_scheduler.MOST", 100)
    assert not proposed(polyhedral, graph_of(ALIGN), SIZES)


@pytest.mark.parametrize("target", ["c", "numba", TVM_SLOW])
@pytest.mark.parametrize("name", ["two statements", "iterated"])
def test_kernels(name: str, target: str) -> None:
    schedule = proposed(polyhedral, graph_of(FOUND[name]), SIZES, SMALL, run=False)
    program = next(iter(loads(FOUND[name])))
    a = torch.rand(37, 29, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    found = program.build(target=target, dtype="f64", schedule=schedule)(a)
    torch.testing.assert_close(found, program.build(target="interpreter", dtype="f64")(a))


def test_the_order_is_the_same_whatever_isl_has_done_before() -> None:
    nests = [random_nest(Random(seed), kind) for seed in range(2) for kind in CLASSES]
    once, again = ([str(isl(Scheduled.start(n), "min").nest.order) for n in some if not can_isl(Scheduled.start(n), "min")]
                   for some in (nests, nests[::-1]))  # fmt: skip
    assert once == again[::-1]
