"""The search: its starting points are kept, its edits are legal, measurements decide, a seed repeats it, an interrupt ends it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
import torch

from tests.loops.run_tree import Runner
from tests.search.programs import SMALL, graph_of
from unspool.compiler.diagnostics import DataError
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.scan import scan
from unspool.compiler.loops.schedule import prove
from unspool.compiler.loops.scheduled import Scheduled
from unspool.compiler.loops.text import print_nest
from unspool.compiler.search.choose import candidates, chosen
from unspool.compiler.search.cost import estimate
from unspool.compiler.search.draft import Draft, Task
from unspool.compiler.search.explore.budget import Budget
from unspool.compiler.search.explore.explore import FINAL, METHODS, Found, explore
from unspool.compiler.search.explore.moves import Moves
from unspool.compiler.search.explore.pool import Pool

PRODUCT = """algorithm product(A: real[m, k], B: real[k, n]) -> real[m, n]:
    return A @ B
"""
HEAT = """algorithm heat(A: real[n, n]) -> real[n, n] where n >= 3:
    iterations T = 5
    B = A
    for t in 0..T:
        for i in 1..n-1:
            for j in 1..n-1:
                B[i, j] = A[i, j] + 0.1 * (A[i-1, j] + A[i+1, j] - 2 * A[i, j])
        for i in 1..n-1:
            for j in 1..n-1:
                A[i, j] = B[i, j] + 0.1 * (B[i, j-1] + B[i, j+1] - 2 * B[i, j])
    return A
"""
SIZES = {"product": {"m": 9, "k": 11, "n": 13}, "heat": {"n": 12, "T": 5}}
LARGE = {"m": 500, "k": 600, "n": 700}


def task_of(text: str, sizes: dict[str, int] | None = None) -> tuple[Task, dict[str, int]]:
    graph = graph_of(text)
    sizes = sizes or SIZES[graph.name]
    fixed = specialize(graph, "f64", {n: v for n, v in sizes.items() if n != "T"})
    return Task(lower(simplify(fixed)), SMALL), sizes


def first(found: Found) -> list[str]:
    return [f"{c.draft.schedule} {c.predicted!r} {c.measured!r}" for c in found.candidates]


@pytest.mark.parametrize("text", [PRODUCT, HEAT], ids=["product", "heat"])
def test_moves_make_other_legal_schedules_that_compute_the_same(text: str) -> None:
    task, sizes = task_of(text)
    graph = specialize(graph_of(text), "f64", {n: v for n, v in sizes.items() if n != "T"})
    shapes = [tuple(s.evaluate(sizes) for s in v.type.shape) for v in graph.inputs]
    inputs = [torch.as_tensor(np.random.default_rng(0).standard_normal(shape)) for shape in shapes]
    wanted = interpret(graph, inputs, sizes)
    moves, drafts, kinds = Moves(task, Random(3)), candidates(task), set()
    made = 0
    for _ in range(60):
        draft = moves.neighbour(moves.random.choice(drafts))
        if draft is None:
            continue
        prove(draft.scheduled)
        assert print_nest(moves.replay(draft.steps).scheduled.nest) == print_nest(draft.scheduled.nest)
        kinds.add(draft.origin.split(" > ")[-1])
        drafts.append(draft)
        made += 1
        if made % 8 == 0:
            tree = scan(draft.scheduled, "k")
            outputs = [np.zeros(tuple(w.shape)) for w in wanted]
            Runner(tree, [*(x.numpy() for x in inputs), *outputs], {p: sizes[p] for p in tree.integers}, 1)
            for got, want in zip(outputs, wanted, strict=True):
                np.testing.assert_allclose(got, want.numpy(), rtol=1e-9, atol=1e-9)
    assert made > 15
    assert kinds == {"resize", "drop", "insert"}


@pytest.mark.parametrize("method", METHODS)
def test_it_finds_shorter_estimates_and_a_seed_repeats_it(method: str) -> None:
    task, _ = task_of(PRODUCT, LARGE)
    one, again, other = (explore(task, Budget(candidates=40), method=method, seed=seed) for seed in (1, 1, 2))
    assert one.seconds < one.start == pytest.approx(estimate(chosen(task).scheduled, task.machine).seconds)
    assert first(one) == first(again) != first(other)
    prove(one.scheduled)


def test_what_is_measured_decides_and_starting_points_are_never_lost() -> None:
    """A machine on which every schedule that the search brings is slow: the best starting point is taken, not the best prediction."""
    task, _ = task_of(PRODUCT)
    starting = {print_nest(draft.scheduled.nest): 1.0 + n for n, draft in enumerate(reversed(candidates(task)))}
    seen: list[str] = []

    def measure(programs: Sequence[Scheduled]) -> list[float]:
        texts = [print_nest(p.nest) for p in programs]
        seen.extend(texts)
        return [starting.get(text, 100.0) for text in texts]

    found = explore(task, Budget(candidates=40), measure=measure)
    assert found.seconds == found.start == min(starting[text] for text in seen if text in starting)
    assert set(seen) >= set(starting)
    assert len(set(seen)) == 40
    again = Counter(seen) - Counter(set(seen))  # in the end, once
    assert set(again) >= set(starting)
    assert max(again.values()) == 1
    assert len(again) <= len(starting) + FINAL
    assert starting[print_nest(found.scheduled.nest)] == found.seconds


def test_what_was_disturbed_once_is_measured_once_more() -> None:
    """The fastest starting point is slow when it is measured first."""
    task, _ = task_of(PRODUCT)
    first = print_nest(candidates(task)[0].scheduled.nest)
    seen = Counter[str]()

    def measure(programs: Sequence[Scheduled]) -> list[float]:
        texts = [print_nest(p.nest) for p in programs]
        seen.update(texts)
        return [(1.0 if seen[text] == 2 else 9.0) if text == first else 2.0 for text in texts]

    found = explore(task, Budget(candidates=12), measure=measure)
    assert found.seconds == found.start == 1.0
    assert print_nest(found.scheduled.nest) == first


def test_the_end_measures_again_and_nothing_for_the_first_time() -> None:
    """What promises most and was never measured stays so: the budget is used."""
    task, _ = task_of(PRODUCT)
    starting = len(candidates(task))
    calls: list[set[str]] = []

    def measure(programs: Sequence[Scheduled]) -> list[float]:
        calls.append({print_nest(p.nest) for p in programs})
        return [1.0] * len(programs)

    found = explore(task, Budget(candidates=starting + 1), guide=lambda programs: [0.5 / (1 + len(calls))] * len(programs), measure=measure)
    assert any(c.measured is None for c in found.candidates)
    assert sum(c.measured is not None for c in found.candidates) == starting + 1
    assert calls[-1] <= set.union(*calls[:-1])


def test_what_cannot_be_measured_is_passed_over() -> None:
    task, _ = task_of(PRODUCT)
    found = explore(task, Budget(candidates=30), measure=lambda programs: [math.inf if p.private else 0.5 for p in programs])
    assert found.seconds == 0.5
    assert not found.scheduled.private


def test_an_interrupt_keeps_the_best_so_far() -> None:
    task, _ = task_of(PRODUCT)
    count = 0

    def measure(programs: Sequence[Scheduled]) -> list[float]:
        nonlocal count
        count += len(programs)
        if count > 20:
            raise KeyboardInterrupt
        return [1.0 / (1 + count + n) for n in range(len(programs))]

    found = explore(task, Budget(candidates=1000), measure=measure)
    assert found.interrupted
    assert found.seconds == min(c.measured for c in found.candidates if c.measured is not None)


def test_measurements_correct_what_is_predicted_of_their_neighbours() -> None:
    task, _ = task_of(PRODUCT)
    start = Draft.of(task)
    pool = Pool(lambda programs: [2.0 if p.nest == start.scheduled.nest else 1.0 for p in programs])
    (parent,) = pool.add([start])
    child = start.copy()
    child.take("tile", next(iter(start.scheduled.loops)), 4)
    (made,) = pool.add([child], parent)
    assert made.worth == 1.0
    assert pool.best is made
    pool.measure([parent], lambda programs: [10.0])
    assert made.worth == 5.0
    assert pool.best is parent
    assert pool.waiting() == [made]
    assert pool.add([child], parent) == []


def test_a_budget_has_an_end() -> None:
    with pytest.raises(DataError, match="needs a budget"):
        Budget()
    with pytest.raises(DataError, match="more than nothing, not 0"):
        Budget(candidates=0)
    budget = Budget(candidates=4, used=1)
    assert budget.left
    assert budget.part == 0.25
