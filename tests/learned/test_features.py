"""What the model sees of a scheduled nest."""

from __future__ import annotations

import numpy as np
import pytest

from tests.learned.standin import MACHINE, TEXTS, task_of
from unspool.compiler.loops.text import parse_nest, print_nest
from unspool.compiler.search.choose import candidates
from unspool.compiler.search.cost import estimate
from unspool.compiler.search.draft import Draft, Task
from unspool.compiler.search.learned.features import GROUPS, LOOP, TABLES, Tree, represent, represent_nest
from unspool.compiler.search.learned.forest import plant

SIZES = {"m": 40, "k": 30, "n": 100}


def column(tree: Tree, table: str, name: str) -> list[float]:
    return tree.numbers[table][:, TABLES[table].index(name)].tolist()


def product() -> Draft:
    return Draft.of(task_of(TEXTS[0], SIZES))


def test_the_tree_has_the_loops_and_what_is_in_them() -> None:
    draft = product()
    tree = represent(draft.scheduled, MACHINE)
    statements = len(draft.scheduled.nest.statements)
    assert len(tree.numbers["loop"]) == len(tree.below) == len(draft.scheduled.loops)
    assert len(tree.numbers["statement"]) == statements
    seen = sorted(node for below in (*tree.below, tree.roots) for node in below)
    assert seen == list(range(statements + len(tree.below)))  # each has one place
    trips = sorted(2.0**t - 1 for t in column(tree, "loop", "extent:trip"))
    assert trips[0] == pytest.approx(30)
    assert set(np.round(trips)) == {30, 40, 100}
    assert tree.seconds == estimate(draft.scheduled, MACHINE).seconds


def test_steps_show_in_the_loops() -> None:
    draft = product()
    sums = next(s for s in draft.scheduled.nest.statements if s.reduce)
    outer, *_, middle, inner = [
        loop.name for loop in draft.scheduled.loops.values() if any(s == sums.name for s, _ in loop.values)
    ]
    before = represent(draft.scheduled, MACHINE)
    draft.take("tile", outer, 8)
    draft.take("parallel", f"{outer}_o")
    draft.take("interchange", middle, inner)
    after = represent(draft.scheduled, MACHINE)
    assert sum(column(before, "loop", "block:number")) == 0
    assert sum(column(after, "loop", "block:number")) == 1
    assert max(column(after, "loop", "block:size")) == pytest.approx(np.log2(9))
    assert sum(column(after, "loop", "kind:parallel")) == 1 + sum(column(before, "loop", "kind:parallel"))
    assert column(before, "access", "stride:bytes_1") != column(after, "access", "stride:bytes_1")


def test_text_gives_the_same_numbers() -> None:
    """A nest that was read back from a dataset, and the one that the search has at hand."""
    for text in TEXTS:
        for draft in candidates(task_of(text, SIZES)):
            here = represent(draft.scheduled, MACHINE)
            there = represent_nest(parse_nest(print_nest(draft.scheduled.nest)), MACHINE)
            assert (here.below, here.roots, here.seconds) == (there.below, there.roots, there.seconds)
            for name, rows in here.numbers.items():
                assert rows.dtype == np.float32
                assert np.isfinite(rows).all()
                np.testing.assert_array_equal(rows, there.numbers[name])


def test_numbers_stay_small_and_every_column_belongs_to_a_group() -> None:
    task = task_of(TEXTS[2], {"m": 3000, "n": 4000})
    for draft in candidates(Task(task.nest, MACHINE)):
        tree = represent(draft.scheduled, MACHINE)
        assert all(np.abs(rows).max() < 64 for rows in tree.numbers.values())
    assert {name.split(":")[0] for name in LOOP} <= set(GROUPS)
    assert all(len(set(names)) == len(names) for names in TABLES.values())


def test_a_forest_puts_what_is_inside_first() -> None:
    trees = [represent(d.scheduled, MACHINE) for text in TEXTS for d in candidates(task_of(text, SIZES))]
    forest = plant(trees)
    made = len(forest.numbers["statement"])
    loops = []
    for level in forest.levels:
        assert level.below.max() < made  # known before it is read
        assert (level.below[:, 0] >= 0).all()
        made += len(level.loops)
        loops += level.loops.tolist()
    assert sorted(loops) == list(range(len(forest.numbers["loop"])))
    assert forest.roots.shape[0] == len(trees)
    assert len(set(forest.roots[forest.roots >= 0].tolist())) == (forest.roots >= 0).sum()
