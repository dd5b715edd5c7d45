"""Stencils: skews, fronts and trapezoids solved from the dependences, on random programs and against the interpreter."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.loops.run_tree import Runner
from tests.loops.stencils import TINY, nest_of, same_as_the_interpreter, stencil_programs
from unspool.backends.autograd import run_flat
from unspool.backends.cpu import CTarget
from unspool.backends.execute import KernelPlan
from unspool.backends.numba.target import NumbaTarget
from unspool.compiler.driver import compile_graph
from unspool.compiler.graph.graph import Graph
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.dependences import IllegalSchedule
from unspool.compiler.loops.distances import skew_factor
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.nest import LoopOrder
from unspool.compiler.loops.scan import scan
from unspool.compiler.loops.schedule import apply, parse_schedule, prove, why_not
from unspool.compiler.loops.scheduled import Scheduled
from unspool.compiler.search.choose import candidates, choose
from unspool.compiler.search.draft import Draft, Task
from unspool.compiler.search.stencil import stencils
from unspool.dsl.program import load_text

JACOBI = """
algorithm jacobi(A: real[n, n], B: real[n, n]) -> (real[n, n], real[n, n]):
    iterations T = 5
    for t in 0..T:
        for i in 1..n-1, j in 1..n-1:
            B[i, j] = 0.2 * (A[i, j] + A[i, j-1] + A[i, j+1] + A[i+1, j] + A[i-1, j])
        for i in 1..n-1, j in 1..n-1:
            A[i, j] = 0.2 * (B[i, j] + B[i, j-1] + B[i, j+1] + B[i+1, j] + B[i-1, j])
    return A, B
"""
SEIDEL = """
algorithm seidel(A: real[n, n]) -> real[n, n]:
    iterations T = 5
    for t in 0..T:
        for i in 1..n-1, j in 1..n-1:
            A[i, j] = (A[i-1, j-1] + A[i-1, j] + A[i-1, j+1] + A[i, j-1] + A[i, j]
                       + A[i, j+1] + A[i+1, j-1] + A[i+1, j] + A[i+1, j+1]) / 9
    return A
"""
FOUND: Counter[str] = Counter()


@settings(max_examples=30, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(program=stencil_programs(ranks=(1, 2, 2, 3)), count=st.sampled_from([0, 1, 3, 4, 5, 9]), seed=st.integers(0, 10**6))
def what_is_proposed_is_right(
    program: tuple[Graph, dict[str, int]], count: int, seed: int
) -> None:
    graph = simplify(program[0])
    draft = candidates(Task(lower(graph), TINY))[-1]
    prove(draft.scheduled)
    FOUND.update({s.name for s in draft.steps})
    same_as_the_interpreter(graph, draft.scheduled, count, seed)


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    program=stencil_programs(ranks=(1, 2), largest=8),
    block=st.integers(1, 4),
    chunks=st.integers(1, 3),
    count=st.integers(0, 6),
    seed=st.integers(0, 10**6),
)
def trapezoids_are_right(
    program: tuple[Graph, dict[str, int]], block: int, chunks: int, count: int, seed: int
) -> None:
    graph = simplify(program[0])
    nest = lower(graph)
    start = Scheduled.start(nest)
    times = [loop for loop in start.loops.values() if loop.name.startswith("t") and not start.outer(loop.name)]
    if not times:
        return
    body = times[0].body
    sweeps = [c.name for c in getattr(body, "children", [body]) if isinstance(c, LoopOrder)]
    text = f"trapezoid {times[0].name} {block} {chunks} {' '.join(sweeps)}; parallel {times[0].name}_chunk"
    reason = why_not(start, parse_schedule(text).steps[0])
    if reason:  # sequential in space
        assert any(text in reason for text in ("runs both ways", "reaches further", "do not hold every", "further apart"))
        FOUND["refused"] += 1
        return
    scheduled = apply(nest, parse_schedule(text))  # proved
    FOUND["trapezoid alone"] += 1
    same_as_the_interpreter(graph, scheduled, count, seed)


def test_what_is_proposed_computes_what_the_interpreter_does() -> None:
    FOUND.clear()
    what_is_proposed_is_right()
    assert {"trapezoid", "skew", "interchange"} <= FOUND.keys()


def test_trapezoids_are_proved_and_right() -> None:
    FOUND.clear()
    trapezoids_are_right()
    assert {"trapezoid alone", "refused"} <= FOUND.keys()


def test_factors_are_solved_from_the_dependences() -> None:
    jacobi, seidel = (Scheduled.start(nest_of(text, name, n=8)) for text, name in ((JACOBI, "jacobi"), (SEIDEL, "seidel")))
    t, i, j = next(
        tuple(o.name for o in (*seidel.outer(x.name), x)) for x in seidel.loops.values() if len(seidel.outer(x.name)) == 2
    )
    assert skew_factor(seidel, i, t) == 1
    assert skew_factor(seidel, i, t, apart=1) == 2
    assert skew_factor(seidel, j, i) == 1
    assert skew_factor(seidel, j, i, apart=1) == 2
    assert skew_factor(seidel, j, t) == 1
    times = next(name for name, loop in jacobi.loops.items() if len(loop.values) == 2)
    first, second = (c.name for c in jacobi.loop(times).body.children)  # type: ignore[union-attr]
    fused = apply(jacobi.nest, parse_schedule(f"shift {second} {first}; fuse {first} {second}"))
    assert [str(v) for _, v in fused.loop(first).values] == [first, f"{second} + 1"]
    assert skew_factor(fused, first, times) == 2
    assert skew_factor(fused, first, times, apart=1) == 3
    with pytest.raises(IllegalSchedule, match="goes back to an earlier iteration"):
        apply(jacobi.nest, parse_schedule(f"fuse {first} {second}"))


def test_fronts_of_a_sequential_sweep_are_parallel() -> None:
    nest = nest_of(SEIDEL, "seidel", n=9)
    start = Scheduled.start(nest)
    t, i, _ = next(
        tuple(o.name for o in (*start.outer(x.name), x)) for x in start.loops.values() if len(start.outer(x.name)) == 2
    )
    for text in (f"wavefront {t} {i}; parallel {t}", f"tile {t} 3; wavefront {t}_i {i}; parallel {t}_i"):
        scheduled = apply(nest, parse_schedule(text))
        for count in (0, 1, 2, 3, 7):
            found, expected = ([np.linspace(0, 1, 81).reshape(9, 9) ** 2, np.zeros((9, 9))] for _ in range(2))
            Runner(scan(scheduled, "k"), found, {"T": count}, 1)
            Runner(scan(start, "k"), expected, {"T": count})
            np.testing.assert_array_equal(found[1], expected[1])
    with pytest.raises(IllegalSchedule, match="runs both ways within one sweep"):
        apply(nest, parse_schedule(f"trapezoid {t} 4 2 {i}"))
    with pytest.raises(IllegalSchedule, match="joins different iterations"):
        apply(nest, parse_schedule(f"skew {i} {t} 1; interchange {t} {i}; parallel {t}"))


def test_trapezoids_where_the_state_is_beyond_the_caches_only() -> None:
    nest = nest_of(JACOBI, "jacobi", n=40)
    small, large = Draft.of(Task(nest, TINY)), Draft.of(Task(nest, TINY.__class__(64, 32)))
    assert stencils(small)
    prove(small.scheduled)
    assert [s.name for s in small.steps][:5] == ["trapezoid", "shift", "fuse", "skew", "interchange"]
    assert not stencils(large)
    assert not large.steps


def test_sequential_sweeps_become_fronts_with_short_recurrences() -> None:
    graph = simplify(specialize(load_text(SEIDEL).algorithms["seidel"].graph, "f64", {"n": 70}))
    nest = lower(graph)
    scheduled, schedule = choose(Task(nest, TINY.__class__(64, 32)))
    names = [s.name for s in schedule.steps]
    assert names[:8] == ["presum", "distribute", "tile", "wavefront", "tile", "distribute", "interchange", "unroll"]
    for count in (0, 1, 3):
        same_as_the_interpreter(graph, scheduled, count, 3)
    strict, schedule = choose(Task(nest, TINY.__class__(64, 32), strict=True))
    assert "presum" not in {s.name for s in schedule.steps}
    same_as_the_interpreter(graph, strict, 2, 3)


@pytest.mark.parametrize(("text", "name", "size", "target"), [
    (JACOBI, "jacobi", 41, CTarget), (JACOBI, "jacobi", 41, NumbaTarget), (SEIDEL, "seidel", 67, CTarget),
    pytest.param(SEIDEL, "seidel", 67, NumbaTarget, marks=pytest.mark.slow),
])  # fmt: skip
def test_compiled_blocks_of_iterations(target: type[CTarget] | type[NumbaTarget], text: str, name: str, size: int) -> None:
    graph = specialize(load_text(text).algorithms[name].graph, "f64", {"n": size})
    draft = [d for d in candidates(Task(lower(simplify(graph)), TINY)) if d.origin.startswith("stencils")][-1]
    assert {"trapezoid", "wavefront"} & {s.name for s in draft.steps}
    plan = KernelPlan(graph, compile_graph(graph, target(), schedule=str(draft.schedule)), strict=False)
    inputs = [torch.rand(size, size, dtype=torch.float64) for _ in graph.inputs]
    for count in (0, 1, 4, 5, 33, 130):
        found = run_flat(plan, inputs, [False] * len(inputs), None, {"T": count})
        for got, want in zip(
            found, interpret(graph, inputs, {"T": count}) if count < 6 else plain(text, inputs, count), strict=True
        ):
            torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-12)


def plain(text: str, inputs: list[torch.Tensor], count: int) -> list[torch.Tensor]:
    """Many iterations, by program order on target c."""
    name = "jacobi" if text is JACOBI else "seidel"
    graph = specialize(load_text(text).algorithms[name].graph, "f64", {"n": len(inputs[0])})
    return list(
        run_flat(
            KernelPlan(graph, compile_graph(graph, CTarget(), schedule=""), strict=False),
            inputs,
            [False] * len(inputs),
            None,
            {"T": count},
        )
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trapezoid t6 4 2", "then a loop over space for each sweep"),
        ("trapezoid t6 4 2 nothing", "no loop `nothing`"),
        ("trapezoid t6 4 2 t7", "do not hold every statement"),
        ("skew t7 t6 0", "a factor of 0"),
        ("shift t7 t10", "not an earlier sibling"),
        ("wavefront t6 t7", "not directly inside"),
    ],
)
def test_steps_that_do_not_apply_say_why(text: str, message: str) -> None:
    with pytest.raises(IllegalSchedule, match=message):
        apply(nest_of(JACOBI, "jacobi", n=8), parse_schedule(text))
