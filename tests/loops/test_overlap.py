"""Overlapping tiles: proved and right on random stencils, refused with the dependence in the way."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.loops.stencils import nest_of, same_as_the_interpreter, stencil_programs
from tests.loops.test_stencil import JACOBI, SEIDEL
from unspool.compiler.graph.graph import Graph
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.loops.dependences import IllegalSchedule
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.nest import LoopOrder, children, leaves, outermost
from unspool.compiler.loops.schedule import apply, parse_schedule, why_not
from unspool.compiler.loops.scheduled import Scheduled
from unspool.compiler.loops.steps import overlap as module

FOUND: Counter[str] = Counter()


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    program=stencil_programs(ranks=(1, 2), largest=7),
    block=st.integers(1, 4),
    width=st.integers(1, 9),
    inner=st.booleans(),
    local=st.booleans(),
    count=st.integers(0, 9),
    seed=st.integers(0, 10**6),
)
def overlapping_tiles_are_right(
    program: tuple[Graph, dict[str, int]], block: int, width: int, inner: bool, local: bool, count: int, seed: int
) -> None:
    graph = simplify(program[0])
    nest = lower(graph)
    start = Scheduled.start(nest)
    times = [loop for loop in outermost(nest.order) if loop.name.startswith("t")]
    if not times:
        return
    sweeps = [c for c in children(times[0].body) if isinstance(c, LoopOrder)]
    if inner and all(isinstance(c.body, LoopOrder) for c in sweeps):  # tiles along the second axis
        sweeps = [c.body for c in sweeps if isinstance(c.body, LoopOrder)]
    name = times[0].name
    first = parse_schedule(f"overlap {name} {block} {width} {' '.join(c.name for c in sweeps)}").steps[0]
    reason = why_not(start, first)
    if reason:  # sequential along the axis
        known = ("runs both ways", "reaches further", "does not go along", "do not hold every", "further apart")
        assert any(text in reason for text in known), reason
        FOUND["refused"] += 1
        return
    written = sorted({nest.statement_table[s].write.array for s in leaves(times[0])})
    kept = [f"contract {a}_{name} {name}_tile" for a in written] if local else []
    scheduled = apply(nest, parse_schedule("\n".join([str(first), *kept, f"parallel {name}_tile"])))  # proved
    FOUND["local" if local else "a copy for every tile"] += 1
    FOUND["second axis" if inner else "first axis"] += 1
    same_as_the_interpreter(graph, scheduled, count, seed)


def test_overlapping_tiles_are_proved_and_right() -> None:
    FOUND.clear()
    overlapping_tiles_are_right()
    assert {"first axis", "second axis"} & FOUND.keys()
    assert {"local", "a copy for every tile"} & FOUND.keys()


def test_a_tile_with_too_little_beside_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    nest = nest_of(JACOBI, "jacobi", n=20)
    text = "overlap t6 3 5 t7 t10; parallel t6_tile"
    assert apply(nest, parse_schedule(text))
    solved = module.cone_of

    def narrow(scheduled: Scheduled, outer: str, loops: tuple[str, ...]) -> object:
        cone = solved(scheduled, outer, loops)
        assert not isinstance(cone, str)
        return replace(cone, rise=cone.rise - 1)

    monkeypatch.setattr(module, "cone_of", narrow)
    with pytest.raises(IllegalSchedule, match=r"dependence on \w+ comes from outside of a tile, for instance S\d+\[t6=0, .*\] -> S"):
        apply(nest, parse_schedule(text))


def test_a_sweep_that_is_sequential_along_the_tiles_is_refused_with_iterations() -> None:
    nest = nest_of(SEIDEL, "seidel", n=9)
    with pytest.raises(IllegalSchedule, match=r"runs both ways within one sweep, for instance S6\[t3=0, t4=0, t5=0\] -> S6\[t3=0, t4=1"):
        apply(nest, parse_schedule("overlap t3 4 4 t4"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("overlap t6 4 8", "then a loop over space for each sweep"),
        ("overlap t6 4 0 t7 t10", "the width of a tile"),
        ("overlap t6 4 8 t7", "do not hold every statement"),
        ("overlap t6 4 8 t7 nothing", "no loop `nothing`"),
        ("tile t6 4; overlap t6_i 2 8 t7 t10", "inside another loop"),
    ],
)
def test_tiles_that_do_not_apply_say_why(text: str, message: str) -> None:
    with pytest.raises(IllegalSchedule, match=message):
        apply(nest_of(JACOBI, "jacobi", n=8), parse_schedule(text))
