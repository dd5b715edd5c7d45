"""One thread works alone where a team would meet too often; long loops keep their threads."""

from __future__ import annotations

import pytest

from tests.search.programs import DURBIN, chosen, graph_of
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.schedule import apply, parse_schedule
from unspool.compiler.search.draft import Draft, Task
from unspool.compiler.search.sweeps import finish
from unspool.compiler.target import Machine

MACHINE = Machine(64, 32, cores=2)
SWEEPS = """algorithm sweeps(u: real[h, w]) -> real[h, w]:
    iterations K = 20
    for k in 0..K:
        v = u
        for i in 1..h-1, j in 1..w-1:
            v[i, j] = 0.25 * (u[i-1, j] + u[i+1, j] + u[i, j-1] + u[i, j+1])
        u = 0.5 * (u + v)
    return u
"""


def finished(text: str, sizes: dict[str, int], machine: Machine = MACHINE) -> Draft:
    draft = Draft.of(Task(lower(simplify(specialize(graph_of(text), "f64", sizes))), machine))
    finish(draft)
    return draft


def inside(draft: Draft) -> int:
    """How many parallel loops there are inside other loops."""
    return sum("parallel" in loop.kind and bool(draft.scheduled.outer(loop.name)) for loop in draft.scheduled.loops.values())


def test_short_loops_in_a_long_one_are_left_to_one_thread() -> None:
    for n in (1000, 4000):
        draft = finished(DURBIN, {"n": n})
        assert inside(draft) == 0
        assert "vector" in str(draft.schedule)


def test_long_loops_keep_their_threads() -> None:
    assert inside(finished(SWEEPS, {"h": 1000, "w": 1000})) > 1
    assert inside(finished(SWEEPS, {"h": 6, "w": 8})) > 1  # too short for a team at run time, whatever is marked
    assert "parallel" in chosen(graph_of("algorithm f(x: real[n, n], y: real[n]) -> real[n]:\n    return x @ y\n"), {"n": 2000}, MACHINE)


@pytest.mark.parametrize(("text", "sizes"), [(DURBIN, {"n": 300}), (SWEEPS, {"h": 6, "w": 8}), (SWEEPS, {"h": 500, "w": 500})])
def test_the_steps_still_lead_to_the_order(text: str, sizes: dict[str, int]) -> None:
    draft = finished(text, sizes)
    assert apply(draft.task.nest, parse_schedule(str(draft.schedule))).nest.order == draft.scheduled.nest.order
