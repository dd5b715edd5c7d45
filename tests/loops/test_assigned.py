"""Variables of loops that isl takes apart: where a store and its load may part, they are kept outside."""

from __future__ import annotations

import numpy as np
import pytest

from tests.loops.nests import random_arrays
from tests.loops.run_team import run_team
from tests.loops.run_tree import Runner
from tests.loops.stencil_forms import TV
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.assigned import unassigned
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.scan import scan
from unspool.compiler.loops.schedule import apply, parse_schedule
from unspool.compiler.loops.scheduled import Scheduled
from unspool.compiler.loops.text import parse_nest
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
        (
            "    declare v: f64[] local\n    if c0 < 5:\n        v[] = x.f64[c0]\n    y[c0] = x.f64[c0]\n    if c0 < 5:\n        y[c0] = v.f64[()]\n",
            set(),
        ),
        ("    declare v: f64[] local\n    if c0 < 5:\n        v[] = x.f64[c0]\n    if c0 < 6:\n        y[c0] = v.f64[()]\n", {"v"}),
    ],
    ids=["stored", "out of scope", "one way only", "both ways", "maybe no iteration", "added to nothing", "twice", "where it was stored", "and beyond"],
)
def test_variables_need_a_value_where_they_are_read(body: str, found: set[str]) -> None:
    assert unassigned(parse_tree(HEAD + LOOP + body).body, {"v"}) == found


def test_sums_of_overlapping_ranges_stay_in_vector_loops() -> None:
    graph = specialize(load_text(TV).algorithms["tv"].graph, "f32", {"n": 200, "m": 200})
    scheduled, _ = choose(Task(lower(simplify(graph)), Machine(64, 32)))
    made = scan(scheduled, "k")
    assert {a.scope for a in made.arrays if not a.shape} <= {"input"}
    assert sum("vector" in t.kind for t in walk(made.body) if isinstance(t, Loop)) >= 4


def test_what_one_thread_fills_is_there_for_all() -> None:
    """A parallel loop of one iteration goes away, and what is around it is done by one thread."""
    text = "nest f [K]\narray A: f64[4, 3] output\narray O: f64[4] output\narray total: f64[4] problem\n"
    text += "S0 { t: 0..K, i: 0..4 } total[i]:f64 = 0.0:f64\n"
    text += "S1 { t: 0..K, i: 0..4, j: 0..3 } total[i]:f64 add= A[i, j]:f64\n"
    text += "S2 { t: 0..K, i: 0..4 } O[i]:f64 = total[i]:f64\norder\n"
    text += "  for t serial (S0: t, S1: t, S2: t)\n    for i serial (S0: i, S1: i)\n      S0\n      for j serial (S1: j)\n        S1\n"
    text += "    for i2 serial (S2: i)\n      S2\n"
    nest = parse_nest(text)
    steps = "tile j 3; privatise total j_o; parallel j_o; contract total t; parallel i2"
    tree = scan(apply(nest, parse_schedule(steps)), "k")
    expected, found = (random_arrays(nest, 1, {"K": 3}) for _ in range(2))
    Runner(scan(Scheduled.start(nest), "k"), expected, {"K": 3})
    run_team(tree, found, {"K": 3}, seed=1)
    np.testing.assert_allclose(found[1], expected[1])
