"""What a schedule splits over the threads is split in the code, and rows that are long enough for a team get few meetings."""

from __future__ import annotations

import pytest

import unspool as us
from benchmarks.polybench.others import EVERY
from tests.search.programs import graph_of
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.nest import Order, outermost
from unspool.compiler.loops.scan import scan
from unspool.compiler.loops.scheduled import Scheduled
from unspool.compiler.loops.tree import Loop
from unspool.compiler.loops.tree_walk import walk
from unspool.compiler.search.choose import choose
from unspool.compiler.search.draft import Task
from unspool.compiler.target import Machine

ROWS = """algorithm rows(u: real[n]) -> real[n]:
    iterations K = 20
    for k in 0..K:
        v = u
        for i in 1..n-1:
            v[i] = 0.5 * (u[i-1] + u[i+1])
        u = v
    return u
"""


def split(order: Order) -> int:
    """How many outermost parallel loops there are."""
    return sum(1 if "parallel" in loop.kind else split(loop.body) for loop in outermost(order))


@pytest.mark.parametrize("name", ["gemm", "k2mm", "symm", "covariance", "correlation", "trmm", "gramschmidt", "jacobi_2d"])
def test_parallel_loops_of_large_programs_are_parallel_in_the_code(name: str) -> None:
    kernel = EVERY[name]
    graph = simplify(specialize(us.load(kernel.file)[name].algorithm.graph, "f64", kernel.sizes))
    scheduled, _ = choose(Task(lower(graph), Machine(64, 32, cores=2)))
    tree = scan(scheduled, "k").body
    found = [loop for loop in walk(tree) if isinstance(loop, Loop) and "parallel" in loop.kind]
    assert len(found) >= split(scheduled.nest.order) > 0


def rows(size: int, cores: int = 2) -> tuple[Scheduled, set[str]]:
    graph = simplify(specialize(graph_of(ROWS), "f64", {"n": size}))
    scheduled, schedule = choose(Task(lower(graph), Machine(64, 32, cores=cores)))
    return scheduled, {s.name for s in schedule.steps}


def test_teams_meet_once_in_many_iterations_of_long_rows() -> None:
    assert "trapezoid" in rows(4000)[1]
    assert "trapezoid" not in rows(100)[1]
    assert "trapezoid" not in rows(4000, cores=1)[1]
