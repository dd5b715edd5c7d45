"""Variables of loops that isl takes apart: where a store and its load may part, they are kept outside."""

from __future__ import annotations

import pytest

from tests.loops.stencil_forms import TV
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.assigned import unassigned
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.scan import scan
from unspool.compiler.loops.tree import Loop
from unspool.compiler.loops.tree_text import parse_tree
from unspool.compiler.loops.tree_walk import walk
from unspool.compiler.search.choose import choose
from unspool.compiler.search.draft import Task
from unspool.compiler.target import Machine
from unspool.dsl.program import load_text

HEAD = "function f [K]\narray x: f64[9] input\narray y: f64[9] output\n"
LOOP = "for c0 in 0 .. 9 serial:\n"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("    declare v: f64[] local\n    v[] = x.f64[c0]\n    y[c0] = v.f64[()]\n", set()),
        ("    if c0 < 5:\n        declare v: f64[] local\n        v[] = x.f64[c0]\n    y[c0] = v.f64[()]\n", {"v"}),
        ("    declare v: f64[] local\n    if c0 < 5:\n        v[] = x.f64[c0]\n    y[c0] = v.f64[()]\n", {"v"}),
        (
            "    declare v: f64[] local\n    if c0 < 5:\n        v[] = x.f64[c0]\n    else:\n        v[] = x.f64[0]\n    y[c0] = v.f64[()]\n",
            set(),
        ),
        ("    declare v: f64[] local\n    for c1 in 0 .. K serial:\n        v[] = x.f64[c1]\n    y[c0] = v.f64[()]\n", {"v"}),
        ("    declare v: f64[] local\n    v[] add= x.f64[c0]\n    y[c0] = v.f64[()]\n", {"v"}),
        ("    declare v: f64[] local\n    v[] = x.f64[c0]\n    if c0 < 5:\n        declare v: f64[] local\n        v[] = x.f64[0]\n", {"v"}),
    ],
    ids=["stored", "out of scope", "one way only", "both ways", "maybe no iteration", "added to nothing", "twice"],
)
def test_variables_need_a_value_where_they_are_read(body: str, found: set[str]) -> None:
    assert unassigned(parse_tree(HEAD + LOOP + body).body, {"v"}) == found


def test_sums_of_overlapping_ranges_stay_in_vector_loops() -> None:
    graph = specialize(load_text(TV).algorithms["tv"].graph, "f32", {"n": 200, "m": 200})
    scheduled, _ = choose(Task(lower(simplify(graph)), Machine(64, 32)))
    made = scan(scheduled, "k")
    assert {a.scope for a in made.arrays if not a.shape} <= {"input"}
    assert sum("vector" in t.kind for t in walk(made.body) if isinstance(t, Loop)) >= 4
