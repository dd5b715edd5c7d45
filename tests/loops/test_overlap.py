"""Overlapping tiles: proved and right on random stencils, refused with the dependence in the way."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.loops.stencils import nest_of, same_as_the_interpreter, stencil_programs
from tests.loops.test_stencil import JACOBI, SEIDEL
from unspool.backends.autograd import run_flat
from unspool.backends.cpu import CTarget
from unspool.backends.execute import KernelPlan
from unspool.compiler.driver import compile_graph
from unspool.compiler.graph.graph import Graph
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.dependences import IllegalSchedule
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.nest import LoopOrder, children, leaves, outermost
from unspool.compiler.loops.schedule import apply, parse_schedule, why_not
from unspool.compiler.loops.scheduled import Scheduled
from unspool.compiler.loops.steps import overlap as module
from unspool.compiler.search.choose import choose
from unspool.compiler.search.draft import Task
from unspool.compiler.target import Machine
from unspool.dsl.program import load_text

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


def test_tiles_are_the_choice_where_trapezoids_have_no_room() -> None:
    """Two rows for each of many cores, and rows in fronts of which a cache of all cores holds many."""
    text = JACOBI.replace("real[n, n]", "real[m, n]").replace("1..n-1, j", "1..m-1, j")
    graph = simplify(specialize(load_text(text).algorithms["jacobi"].graph, "f64", {"m": 40, "n": 200}))
    machine = Machine(64, 32, cores=16, l1=1 << 9, l2=1 << 12, l3=1 << 17)
    schedule = choose(Task(lower(graph), machine))[1]  # proved
    assert {"overlap", "contract", "parallel", "vector"} <= {s.name for s in schedule.steps}
    assert not {"overlap", "trapezoid"} & {s.name for s in choose(Task(lower(graph), Machine(64, 32)))[1].steps}
    tiles, plain = (KernelPlan(graph, compile_graph(graph, CTarget(), schedule=text), strict=False) for text in (str(schedule), ""))
    inputs = [torch.rand(40, 200, dtype=torch.float64) for _ in graph.inputs]
    for count in (0, 3, 9):
        found, expected = (run_flat(plan, inputs, [False] * len(inputs), None, {"T": count}) for plan in (tiles, plain))
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


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
