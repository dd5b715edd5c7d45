"""Transformed against untransformed: random nests, random steps, and planted illegal schedules."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.loops.nests import random_arrays, random_nests
from tests.loops.run_tree import Runner
from unspool.compiler.graph.types import Size
from unspool.compiler.loops.dependences import IllegalSchedule
from unspool.compiler.loops.nest import Access, Apply, ArrayInfo, Dim, Leaf, LoopOrder, Nest, Statement, sequence
from unspool.compiler.loops.recipe import recipe
from unspool.compiler.loops.scan import scan
from unspool.compiler.loops.schedule import Schedule, Step, apply, apply_step, parse_schedule, prove, why_not
from unspool.compiler.loops.text import parse_nest, print_nest
from unspool.compiler.loops.transform import Scheduled

APPLIED: Counter[str] = Counter()


def run(scheduled: Scheduled, seed: int) -> list[np.ndarray]:
    arrays = [a.copy() for a in random_arrays(seed)]
    Runner(scan(scheduled, "k"), arrays, {"K": 3}, seed)
    return arrays


def random_step(scheduled: Scheduled, dice: random.Random) -> Step:
    loops = list(scheduled.loops)
    kind = dice.choice(["fuse", "fuse", "interchange", "tile", "parallel", "vector"])
    args: tuple[str | int, ...] = (dice.choice(loops),)
    if kind in ("fuse", "interchange"):
        args = (dice.choice(loops), dice.choice(loops))
    elif kind == "tile":
        args = (*args, dice.choice([2, 3, 4]))
    return Step(kind, args)


@settings(max_examples=60, deadline=None)
@given(nest=random_nests(), seed=st.integers(0, 10**6))
def test_random_steps_keep_the_result(nest: Nest, seed: int) -> None:
    start = Scheduled.start(nest)
    expected, dice = run(start, seed), random.Random(seed)
    scheduled, steps = start, []
    for _ in range(12):
        step = random_step(scheduled, dice)
        if why_not(scheduled, step) is not None:
            continue
        tried = apply_step(scheduled, step)
        try:
            prove(tried)
        except IllegalSchedule:
            continue  # refused, as it should be: the result would differ
        scheduled = tried
        steps.append(step)
        APPLIED[step.name] += 1
    for got, want in zip(run(scheduled, seed), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
    text = str(Schedule(tuple(steps)))
    assert apply(nest, parse_schedule(text)).nest == scheduled.nest
    assert parse_nest(print_nest(scheduled.nest)) == scheduled.nest


@settings(max_examples=60, deadline=None)
@given(nest=random_nests(statements=6), seed=st.integers(0, 10**6))
def test_the_recipe_keeps_the_result(nest: Nest, seed: int) -> None:
    scheduled, schedule = recipe(nest)
    APPLIED.update(s.name for s in schedule.steps)
    for got, want in zip(run(scheduled, seed), run(Scheduled.start(nest), seed), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_every_step_was_covered() -> None:
    print(f"\nsteps applied to random nests: {dict(APPLIED)}")
    assert {"fuse", "interchange", "tile", "parallel", "vector"} <= APPLIED.keys()


def chain(offset: int) -> Nest:
    """``T[i] = A[i]``, then ``B[i] = T[i + offset]``, in one loop over iterations."""
    i, j = Size.of("i0"), Size.of("i1")
    first = Statement("S0", (Dim("t0", Size.of("K")), Dim("i0", Size.of(8))), Access("T", (i,), "f64"), Access("A", (i,), "f64"))
    second = Statement("S1", (Dim("t0", Size.of("K")), Dim("i1", Size.of(8 - offset))), Access("B", (j,), "f64"),
                       Apply("neg", (Access("T", (j + offset,), "f64"),), "f64"))  # fmt: skip
    body = sequence([LoopOrder("i0", (("S0", i),), Leaf("S0")), LoopOrder("i1", (("S1", j),), Leaf("S1"))])
    order = LoopOrder("t0", (("S0", Size.of("t0")), ("S1", Size.of("t0"))), body)
    arrays = tuple(ArrayInfo(n, "f64", (Size.of(8),), s) for n, s in (("A", "input"), ("B", "output"), ("T", "problem")))
    return Nest("chain", ("K",), arrays, (first, second), order)


def test_fusing_at_unequal_positions_is_refused_with_the_array() -> None:
    with pytest.raises(IllegalSchedule, match="dependence on T joins different iterations"):
        apply(chain(1), parse_schedule("fuse i0 i1"))


def test_a_planted_illegal_order_is_refused_with_concrete_iterations() -> None:
    nest = chain(1)
    order = nest.order
    assert isinstance(order, LoopOrder)
    swapped = LoopOrder(order.name, order.values, sequence([order.body.children[1], order.body.children[0]]))  # type: ignore[union-attr]
    with pytest.raises(IllegalSchedule, match=r"flow dependence on T is reversed, for instance S0\[.*\] -> S1\["):
        prove(Scheduled.start(nest).with_order(swapped))


def test_a_planted_parallel_mark_is_refused() -> None:
    nest = chain(0)
    with pytest.raises(IllegalSchedule, match="joins different iterations"):
        apply(nest, parse_schedule("parallel t0"))
    order = nest.order
    assert isinstance(order, LoopOrder)
    marked = LoopOrder(order.name, order.values, order.body, "parallel")
    with pytest.raises(IllegalSchedule, match="t0 is marked parallel"):
        prove(Scheduled.start(nest).with_order(marked))


def test_contraction_makes_a_scalar_and_refuses_what_outlives_the_iteration() -> None:
    scheduled = apply(chain(0), parse_schedule("fuse i0 i1; contract T i0"))
    assert scheduled.nest.array("T").shape == ()
    with pytest.raises(IllegalSchedule, match="used outside"):
        apply(chain(0), parse_schedule("contract T i0"))


@pytest.mark.parametrize("text", ["fuse i0", "fuse i0 nothing", "melt i0", "tile i0 1", "parallel"])
def test_steps_that_do_not_apply_say_why(text: str) -> None:
    with pytest.raises(IllegalSchedule, match="step"):
        apply(chain(0), parse_schedule(text))
