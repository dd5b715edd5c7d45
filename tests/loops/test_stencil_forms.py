"""Time blocks are found however a stencil is written, compute the same, and are not chosen where they do not pay."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.loops.stencil_forms import FORMS, Form
from tests.loops.stencils import TINY, same_as_the_interpreter
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.schedule import prove
from unspool.compiler.search.choose import choose
from unspool.compiler.search.draft import Draft, Task
from unspool.compiler.search.stencil import stencils
from unspool.compiler.search.sweeps import finish
from unspool.compiler.target import Machine
from unspool.dsl.program import load_text

LARGE = Machine(64, 32)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_time_blocks_are_found(form: Form) -> None:
    graph = simplify(specialize(load_text(form.text).algorithms[form.name].graph, "f64", form.sizes))
    draft = Draft.of(Task(lower(graph), replace(TINY, l2=form.l2)))
    assert stencils(draft)
    finish(draft)
    prove(draft.scheduled)
    taken = {s.name for s in draft.steps}
    assert {"trapezoid", "parallel"} | form.steps <= taken, draft.schedule
    for count in (0, 1, 5 if form.name != "heat" else 3):
        same_as_the_interpreter(graph, draft.scheduled, count, 5, low=0.2)


@pytest.mark.parametrize("form", ["tv, slices", "tv, loops"])
def test_temporaries_of_a_point_are_variables_in_fronts(form: str) -> None:
    """The row of a front is ``i - t``: told by two loops together, by neither alone."""
    program = FORMS[form]
    graph = simplify(specialize(load_text(program.text).algorithms[program.name].graph, "f64", program.sizes))
    draft = Draft.of(Task(lower(graph), replace(TINY, l2=program.l2)))
    assert stencils(draft)
    finish(draft)
    assert "skew" in {s.name for s in draft.steps}
    kept = [a for a in draft.scheduled.nest.arrays if a.scope.startswith("local")]
    assert kept
    assert not any(a.shape for a in kept)
    assert all("vector" in loop.kind for loop in draft.scheduled.loops.values() if loop.innermost)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_time_blocks_are_chosen_beyond_the_caches_only(form: Form) -> None:
    algorithm = load_text(form.text).algorithms[form.name]
    if form.name == "tv":  # the caches of two cores hold 4 arrays of this size, and those of the third program on the list 5
        sizes = dict.fromkeys(form.sizes, 100)
    else:
        sizes = {n: 30 if len(form.sizes) == 1 else 100 for n in form.sizes}
    _, schedule = choose(Task(lower(simplify(specialize(algorithm.graph, "f64", sizes))), LARGE))
    assert not {"trapezoid", "overlap"} & {s.name for s in schedule.steps}
    if "1d" in form.text or len(form.sizes) == 1:
        return
    sizes = dict.fromkeys(form.sizes, 3000)
    _, schedule = choose(Task(lower(simplify(specialize(algorithm.graph, "f64", sizes))), LARGE))
    assert "trapezoid" in {s.name for s in schedule.steps}
