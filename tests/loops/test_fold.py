"""Storage that takes turns: the fewest places, found by isl, are those that brute force finds; fewer are refused with iterations."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import pytest
import torch

from tests.backends import trees
from tests.helpers import TVM_SLOW
from tests.loops.nests import CLASSES, random_nest
from tests.loops.oracle import Point, Times, compiled, points
from tests.loops.run_tree import Runner
from tests.loops.test_random_nests import COUNTS, MANY
from tests.loops.test_transform import chain, history
from unspool.compiler.loops.dependences import IllegalSchedule
from unspool.compiler.loops.nest import Nest
from unspool.compiler.loops.scan import scan
from unspool.compiler.loops.schedule import STEPS, Step, apply, parse_schedule
from unspool.compiler.loops.scheduled import Scheduled
from unspool.compiler.loops.steps.fold import can_fold, fold

#: More places than any axis of a random nest has elements.
ALL = 64


def fewest(nest: Nest, array: str, axis: int, integers: dict[str, int]) -> int:
    """The fewest places with which a run of the nest, in its order, reads everything that it reads without folding."""
    when, events = Times(nest, nest.order, integers), []
    fixed = tuple(integers[p] for p in nest.params)
    for s in nest.statements:
        names = (*nest.params, *(d.name for d in s.dims))
        reads = [compiled(names, r.index) for r in s.reads() if r.array == array]
        writes = [compiled(names, s.write.index)] if s.write.array == array else []
        reads += writes if s.reduce else []
        for point in points(s, nest.params, integers):
            touched = ([read(*fixed, *point) for read in reads], [write(*fixed, *point) for write in writes])
            if any(touched):
                events.append((when((s.name, point)), touched))
    events.sort(key=lambda event: event[0])

    def place(index: Point, places: int) -> Point:
        return (*index[:axis], index[axis] % places, *index[axis + 1 :])

    def works(places: int) -> bool:
        owner: dict[Point, Point] = {}
        for _, (read, written) in events:
            if any(owner.get(place(index, places)) != index for index in read):
                return False
            owner.update({place(index, places): index for index in written})
        return True

    return next(n for n in range(1, ALL) if works(n))


@pytest.mark.parametrize("kind", CLASSES)
def test_the_fewest_places_are_those_of_brute_force(kind: str) -> None:
    seen: Counter[str] = Counter()
    for seed in range(12):
        nest = random_nest(Random(seed), kind)
        now = Scheduled.start(nest)
        for loop in list(now.loops):  # something of every iteration to be folded, too
            scratch = [a.name for a in nest.arrays if a.temporary]
            for array in scratch:
                step = Step("expand", (array, loop))
                if now.nest.array(array).shape == nest.array(array).shape and STEPS["expand"][1](now, *step.args) is None:
                    now = STEPS["expand"][0](now, *step.args)
        for info in now.nest.arrays:
            for axis in range(len(info.shape)) if info.temporary else ():
                reason = can_fold(now, info.name, axis)
                if reason and "overwrites what" not in reason:
                    continue
                seen["refused" if reason else "folded"] += 1
                least = [fewest(now.nest, info.name, axis, {p: n[p] for p in nest.params}) for n in (COUNTS, MANY)]
                extent = info.shape[axis].constant
                if reason:
                    assert extent is None or least[1] >= extent, f"{seed}: {info.name} {axis}: {reason}, and {least} places do"
                    continue
                found = fold(now, info.name, axis).nest.array(info.name).shape[axis].constant
                assert found is not None
                assert least[0] <= found == least[1], f"{seed}: {info.name} {axis}: {found} places, and {least} do"
                if found > 1:
                    seen["refused with fewer"] += 1
                    assert "overwrites what" in str(can_fold(now, info.name, axis, found - 1))
    print(f"\n{kind}: {dict(seen)}")
    assert seen["refused"] + seen["folded"] > 0 or not any(a.temporary for a in nest.arrays)


@pytest.mark.parametrize("reach", [1, 2, 3, 5])
def test_a_history_keeps_as_many_rows_as_are_read(reach: int) -> None:
    made = apply(history(reach), parse_schedule("fold T 0"))
    rows = made.nest.array("T").shape[0].constant
    assert rows == max(reach, 1)  # a row is written where the oldest one was read
    beside = apply(history(reach), parse_schedule("parallel i0; fold T 0"))
    assert beside.nest.array("T").shape[0].constant == rows


def test_fewer_places_are_refused_with_iterations() -> None:
    with pytest.raises(
        IllegalSchedule,
        match=r"with 2 places along axis 0, S0 overwrites what S1 is yet to read of T, for instance S0\[t1=2, i1=0\] -> S1\[t0=3",
    ):
        apply(history(3), parse_schedule("fold T 0 2"))
    with pytest.raises(IllegalSchedule, match="S1 overwrites what S2 is yet to read of T, for instance"):
        apply(history(2, last=False), parse_schedule("fold T 0"))
    together = apply(history(2, last=False), parse_schedule("fuse t0 t2; fold T 0"))
    assert together.nest.array("T").shape[0].constant == 2


def test_iterations_that_run_at_once_have_places_of_their_own() -> None:
    assert apply(chain(1), parse_schedule("shift i1 i0; fuse i0 i1; fold T 0")).nest.array("T").shape[0].constant == 1
    assert apply(chain(0), parse_schedule("fuse i0 i1; fold T 0")).nest.array("T").shape[0].constant == 1
    for mark in ("parallel", "vector"):
        with pytest.raises(
            IllegalSchedule,
            match=r"use one place of T in iterations that run at once, for instance S0\[t0=0, i0=0\] -> S0\[t0=0, i0=7\]",
        ):
            apply(chain(0), parse_schedule(f"fuse i0 i1; {mark} i0; fold T 0"))
    halves = apply(chain(0), parse_schedule("expand T t0; fuse i0 i1; tile i0 4; interchange t0 i0_o; vector i0_i; fold T 0"))
    assert halves.nest.array("T").shape[0].constant == 1


def test_later_steps_see_the_places() -> None:
    apply(chain(0), parse_schedule("expand T t0; distribute t0 S1"))
    with pytest.raises(IllegalSchedule, match="the anti dependence on T goes from S1 back to S0"):
        apply(chain(0), parse_schedule("expand T t0; fold T 0; distribute t0 S1"))
    with pytest.raises(IllegalSchedule, match="dependence on T"):
        apply(history(3), parse_schedule("fold T 0; interchange t0 i0; reverse i0; interchange i0 t0; reverse t0"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fold A 0", "A is not a temporary array"),
        ("fold T 1", "T has no axis 1"),
        ("fold T -1", "T has no axis -1"),
        ("fold T 0 -2", "a number of places is positive"),
        ("fuse i0 i1; contract T i0; fold T 0", "T is contracted"),
        ("fold X 0", "no array `X`"),
        ("fold T i0", "axis is an integer"),
    ],
)
def test_what_does_not_apply_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(IllegalSchedule, match=message):
        apply(chain(0), parse_schedule(text))


@pytest.mark.parametrize("target", ["c", "numba", TVM_SLOW])
def test_a_vector_loop_over_the_places(target: str) -> None:
    made = apply(chain(1), parse_schedule("fold T 0; vector i1"))
    assert made.nest.array("T").shape[0].constant == 7  # the first element is not read
    a, found = torch.rand(8, dtype=torch.float64), torch.zeros(8, dtype=torch.float64)
    trees.run(scan(made, "folded"), [a], [found], integers=[2], target=target)
    torch.testing.assert_close(found[:7], -a[1:])


@pytest.mark.parametrize("target", ["c", "numba", TVM_SLOW])
@pytest.mark.parametrize("reach", [2, 3])
def test_kernels(reach: int, target: str) -> None:
    """Remainders by a power of two, and others, as machine code."""
    nest = history(reach)
    made = apply(nest, parse_schedule("fold T 0; parallel i0"))
    for count in (0, 1, 6):
        a, found = torch.rand(8, dtype=torch.float64), torch.zeros(8, dtype=torch.float64)
        expected = [a.numpy().copy(), found.numpy().copy()]
        Runner(scan(Scheduled.start(nest), "plain"), expected, {"K": count})
        trees.run(scan(made, "folded"), [a], [found], team_size=2, integers=[count], target=target)
        np.testing.assert_allclose(found.numpy(), expected[1], rtol=1e-12)
