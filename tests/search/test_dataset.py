"""Random programs and schedules of a dataset: every family is drawn, is legal, comes out the same each time, and is none of the suites that
models are judged by."""

from __future__ import annotations

from random import Random

import pytest
import torch

from unspool.backends.build import machine
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.check import check_nest
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.nest import Nest
from unspool.compiler.loops.schedule import apply, parse_schedule
from unspool.compiler.loops.text import print_nest
from unspool.compiler.search.dataset.families import FAMILIES
from unspool.compiler.search.dataset.programs import Drawn, draw
from unspool.compiler.search.dataset.schedules import schedules
from unspool.compiler.search.draft import Task
from unspool.dsl.api import loads


def nest_of(drawn: Drawn) -> Nest:
    graph = next(iter(loads(drawn.source))).algorithm.graph
    return lower(simplify(specialize(graph, drawn.dtype, drawn.sizes)))


def first(family: str) -> int:
    return next(seed for seed in range(1000) if draw(seed).family == family)


@pytest.mark.parametrize("count", [25, pytest.param(400, marks=pytest.mark.slow)])
def test_programs_are_legal(count: int) -> None:
    for seed in range(count):
        drawn = draw(seed)
        nest = nest_of(drawn)
        check_nest(nest)
        assert set(nest.params) <= drawn.counts.keys()
        assert not any(s.routine for s in nest.statements)
    assert {draw(seed).family for seed in range(100)} == set(FAMILIES)


def test_a_seed_is_a_program() -> None:
    assert [draw(seed) for seed in range(30)] == [draw(seed) for seed in range(30)]
    assert len({draw(seed).source for seed in range(30)}) == 30


@pytest.mark.parametrize("family", FAMILIES)
def test_programs_compute_what_they_say(family: str) -> None:
    """Compiled as interpreted, in a small size."""
    drawn = draw(first(family))
    algorithm = next(iter(loads(drawn.source)))
    sizes = {name: 18 + n for n, name in enumerate(drawn.sizes)}
    generator = torch.Generator().manual_seed(0)
    shapes = [[s.evaluate(sizes) for s in i.type.shape] for i in algorithm.algorithm.inputs]
    inputs = [torch.rand(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    counts = dict.fromkeys(drawn.counts, 3)
    got, want = (algorithm(*inputs, **counts, target=target) for target in ("c", "interpreter"))
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("family", ["contraction", "recurrence", "triangular"])
def test_schedules_are_legal_and_make_different_loops(family: str) -> None:
    seed = first(family)
    nest = nest_of(draw(seed))
    found = schedules(Task(nest, machine()), 16, Random(seed), seconds=60)
    assert len(found) == 16
    assert found[0].steps == []
    texts = {print_nest(draft.scheduled.nest) for draft in found}
    assert len(texts) == 16
    for draft in found:  # apply proves what it makes
        assert print_nest(apply(nest, parse_schedule(str(draft.schedule))).nest) in texts
    assert {draft.origin.split(" ")[0] for draft in found} > {"program"}
