"""Where threads meet: random trees of parallel loops, work for one and locals that every thread fills, run by a team without a race."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from tests.loops.run_team import run_team
from tests.loops.run_tree import Runner
from unspool.compiler.loops.barriers import synchronise
from unspool.compiler.loops.scan import scan
from unspool.compiler.loops.schedule import apply, parse_schedule
from unspool.compiler.loops.scheduled import Scheduled
from unspool.compiler.loops.scopes import by_one
from unspool.compiler.loops.text import parse_nest
from unspool.compiler.loops.tree import (
    Array,
    Barrier,
    Block,
    Call,
    Declare,
    Expr,
    Function,
    If,
    Int,
    Literal,
    Load,
    Loop,
    Single,
    Store,
    Tree,
)
from unspool.compiler.loops.tree_walk import walk

LENGTH = Int("const", value=4)
SHARED, LOCAL = "ABC", "L"


def name(of: str) -> Int:
    return Int("name", name=of)


def loop(at: str, children: list[Tree], kind: str = "serial", times: int = 4, tests: tuple[Expr | None, ...] = ()) -> Loop:
    return Loop(at, Int("const", value=0), Int("const", value=times), 1, Block(tuple(children)), kind, *tests)


def positive(array: str, at: int) -> Expr:
    return Call("gt", (Load(array, (Int("const", value=at),), "f64"), Literal(0.0, "f64")), "bool")


def summed(to: str, at: Int, operand: Expr) -> Store:
    """``to[at] = 0.5 to[at] + operand``."""
    half = Call("mul", (Literal(0.5, "f64"), Load(to, (at,), "f64")), "f64")
    return Store(to, (at,), Call("add", (half, operand), "f64"))


def fill(source: str, at: str) -> Tree:
    """Every thread fills its local from what they share."""
    backwards = Int("-", (Int("const", value=3), name(at)))
    return loop(at, [Store(LOCAL, (name(at),), Load(source, (backwards,), "f64"))])


def work(to: str, source: str, at: str, kind: str) -> Tree:
    """An array made of another one, or of a local: in a parallel loop or not."""
    place = name(at) if kind == "parallel" or source == LOCAL else Int("-", (Int("const", value=3), name(at)))
    return loop(at, [summed(to, name(at), Load(source, (place,), "f64"))], kind)


def drawn(dice: Random, depth: int = 0) -> list[Tree]:
    """A few parts; some are loops or branches around parts."""
    made: list[Tree] = []
    for n in range(dice.randint(2, 5)):
        at, (to, source) = f"c{depth}{n}", dice.sample(SHARED, 2)
        what = dice.choice(["fill", "alone", "split", "around", "branch"] if depth < 2 else ["fill", "alone", "split"])
        if what == "fill":
            made.append(fill(source, at))
        elif what == "around":
            tests = [positive(dice.choice([*SHARED, LOCAL]), dice.randrange(4)) if dice.random() < 0.4 else None for _ in range(2)]
            made.append(loop(at, drawn(dice, depth + 1), times=3, tests=tuple(tests)))
        elif what == "branch":
            orelse = Block(tuple(drawn(dice, depth + 1))) if dice.random() < 0.5 else None
            condition = Int("==", (name("K"), Int("const", value=dice.randint(1, 2))))
            made.append(If(condition, Block(tuple(drawn(dice, depth + 1))), orelse))
        else:
            made.append(work(to, dice.choice([source, LOCAL]), at, "parallel" if what == "split" else "serial"))
    return made


def function(children: tuple[Tree, ...], local: bool = True) -> Function:
    """What is drawn; its local every thread's own, or one for all."""
    arrays, own = tuple(Array(a, "f64", (LENGTH,), "output") for a in SHARED), Array(LOCAL, "f64", (LENGTH,), "local")
    body = (fill("A", "c"), *children)
    return Function("k", ("K",), arrays if local else (*arrays, replace(own, scope="problem")), Block((Declare(own), *body)[not local :]))


def met(children: tuple[Tree, ...]) -> Function:
    """With what it takes for a team to run it. A local that one thread alone fills in a part becomes one for all."""
    made = function(children)
    made = replace(made, body=Block(synchronise(made.body.children, frozenset(LOCAL))))
    if by_one(made.body):
        made = function(children, local=False)
        made = replace(made, body=Block(synchronise(made.body.children, frozenset())))
    return made


def values() -> list[np.ndarray]:
    return [np.random.default_rng(n).normal(size=4) for n in range(len(SHARED))]


SWEEP = """nest sweep [K]
array A: f64[8, 8] output
S0 { t0: 0..K, i0: 0..8, i1: 0..6 } A[i0, i1 + 1]:f64 = add:f64(mul:f64(0.5:f64, A[i0, i1]:f64), A[i0, i1 + 2]:f64)
order
  for t0 serial (S0: t0)
    for i0 serial (S0: i0)
      for i1 serial (S0: i1)
        S0
"""


@pytest.mark.parametrize("local", ["", "contract A_t0 t0_tile\n"])
@pytest.mark.parametrize("steps", ["split A_t0_out1 us_t0_tile>1", "split A_t0_out us_t0_tile<1", "split S0 us_t0_tile==1"])
def test_what_isl_puts_beside_a_parallel_loop(local: str, steps: str) -> None:
    """One iteration may end behind the rest: its thread is another one then, with other copies of what lives in an iteration."""
    nest = parse_nest(SWEEP)
    scheduled = apply(nest, parse_schedule(f"overlap t0 1 3 i0\n{local}parallel t0_tile\n{steps}"))
    for count in range(4):
        expected = np.random.default_rng(1).normal(size=(8, 8))
        Runner(scan(Scheduled.start(nest), "plain"), [expected], {"K": count})
        for seed in range(3):
            found = np.random.default_rng(1).normal(size=(8, 8))
            run_team(scan(scheduled, "k"), [found], {"K": count}, seed=seed)
            np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_a_team_computes_what_one_thread_does() -> None:
    kinds: Counter[type] = Counter()
    kept = 0
    for seed in range(300):
        tree = tuple(drawn(Random(seed)))
        expected, found = values(), values()
        Runner(function(tree), expected, {"K": 1})
        made = met(tree)
        run_team(made, found, {"K": 1}, seed=seed)
        np.testing.assert_allclose(found, expected, rtol=1e-14, err_msg=str(seed))
        kept += any(isinstance(child, Declare) for child in made.body.children)
        kinds.update(type(node) for child in made.body.children for node in walk(child))
    assert min(kinds[kind] for kind in (Barrier, Single, If)) > 100
    assert 100 < kept < 300


def test_what_all_read_beside_work_for_one_is_not_written_before_they_meet() -> None:
    """The local is filled from ``A`` while one thread makes ``B``, which must not go on with ``A`` before the rest have read it."""
    made = met((work("B", "C", "c0", "serial"), work("A", LOCAL, "c1", "serial"), work("C", "A", "c2", "serial")))
    kinds = [type(child) for child in made.body.children]
    assert kinds == [Declare, Loop, Single, Barrier, Single, Barrier], "the second and the third are one"


def test_they_do_not_meet_between_parts_that_have_nothing_in_common() -> None:
    """What one thread does with ``C`` goes on beside the sweep over ``A`` and ``B``, but not beside one that reads ``C``."""
    first, alone = work("A", "B", "c0", "parallel"), loop("c1", [summed("C", name("c1"), Literal(1.0, "f64"))])

    def kinds(last: Tree) -> list[type]:
        body = loop("t", [first, alone, last])
        (made,) = (child for child in met((body,)).body.children if isinstance(child, Loop) and child.name == "t")
        return [type(child) for child in made.body.children]

    assert kinds(work("B", "A", "c2", "parallel")) == [Loop, Barrier, Single, Loop, Barrier]
    assert kinds(work("B", "C", "c2", "parallel")) == [Loop, Barrier, Single, Barrier, Loop, Barrier]
    assert kinds(work("C", "A", "c2", "parallel")) == [Loop, Barrier, Single, Barrier, Loop, Barrier]
