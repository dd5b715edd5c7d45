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
from unspool.compiler.loops.needless import without_needless
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
    local = frozenset(LOCAL)
    made = replace(made, body=Block(synchronise(made.body.children, local)))
    if by_one(made.body):
        made, local = function(children, local=False), frozenset()
        made = replace(made, body=Block(synchronise(made.body.children, local)))
    return replace(made, body=without_needless(made.body, local))


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
    """What one thread does with ``C`` goes on beside sweeps over ``A`` and ``B``, but not beside one that reads ``C``."""

    def kinds(first: Tree, last: Tree) -> list[type]:
        body = loop("t", [first, loop("c1", [summed("C", name("c1"), Literal(1.0, "f64"))]), last])
        (made,) = (child for child in met((body,)).body.children if isinstance(child, Loop) and child.name == "t")
        return [type(child) for child in made.body.children]

    apart, read = work("A", "B", "c0", "parallel"), work("A", "C", "c0", "parallel")
    assert kinds(apart, work("B", "A", "c2", "parallel")) == [Loop, Single, Barrier, Loop, Barrier]
    assert kinds(read, work("B", "A", "c2", "parallel")) == [Loop, Barrier, Single, Loop, Barrier]
    assert kinds(read, work("B", "C", "c2", "parallel")) == [Loop, Barrier, Single, Barrier, Loop]


SWEEPS = """nest sweeps [K]
array A: f64[12, 8] output
array B: f64[12, 8] output
S0 {{ t0: 0..K, i0: 0..8 }} {first}
S1 {{ t0: 0..K, i1: 0..{end} }} {second}
order
  for t0 serial (S0: t0, S1: t0)
    for i0 {kind} (S0: i0)
      S0
    for i1 {kind} (S1: i1)
      S1
"""

#: What two sweeps do in an iteration, where the second one ends, how many barriers that takes inside of the loop, whether it rests on equal shares.
PAIRS = {
    "one thread has both": ("A[0, i0]:f64 = neg:f64(B[0, i0]:f64)", "B[0, i1]:f64 = neg:f64(A[0, i1]:f64)", 8, 0, True),
    "the other end is read": ("A[0, i0]:f64 = neg:f64(B[0, i0]:f64)", "B[0, i1]:f64 = neg:f64(A[0, 7 - i1]:f64)", 8, 2, False),
    "ranges differ": ("A[0, i0]:f64 = neg:f64(B[0, i0]:f64)", "B[0, i1]:f64 = neg:f64(A[0, i1]:f64)", 7, 2, False),
    "rows differ": ("A[0, i0]:f64 = neg:f64(A[1, i0]:f64)", "A[2, i1]:f64 = neg:f64(A[2, i1]:f64)", 7, 0, False),
    "the next iteration reads": ("A[t0 + 1, i0]:f64 = neg:f64(A[t0, 7 - i0]:f64)", "B[0, i1]:f64 = neg:f64(A[t0, i1]:f64)", 8, 1, True),
    "this one does, too": ("A[t0 + 1, i0]:f64 = neg:f64(A[t0, 7 - i0]:f64)", "B[t0, i1]:f64 = neg:f64(A[t0 + 1, i1]:f64)", 7, 1, False),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_they_meet_where_an_element_goes_to_another_thread(pair: str) -> None:
    """And each barrier that is left is needed: without it there is a race."""
    first, second, end, count, tied = PAIRS[pair]
    made = scan(Scheduled.start(parse_nest(SWEEPS.format(first=first, second=second, end=end, kind="parallel"))), "k")
    (around,) = (child for child in made.body.children if isinstance(child, Loop))
    inside = around.body.children
    assert sum(isinstance(child, Barrier) for child in inside) == count
    assert {child.share for child in inside if isinstance(child, Loop)} == {int(tied)}

    def run(children: tuple[Tree, ...]) -> None:
        arrays = [np.random.default_rng(n).normal(size=(12, 8)) for n in range(2)]
        body = tuple(replace(c, body=Block(children)) if c is around else c for c in made.body.children)
        run_team(replace(made, body=Block(body)), arrays, {"K": 4})

    run(inside)
    for n, child in enumerate(inside):
        if isinstance(child, Barrier):
            with pytest.raises(AssertionError, match="threads race"):
                run((*inside[:n], *inside[n + 1 :]))


PHASES = """nest phases [K]
array A: f64[12, 8] output
array B: f64[12, 8] output
S0 { t0: 0..K, i0: 0..8 } A[0, i0]:f64 = neg:f64(B[0, i0]:f64)
S1 { t0: 0..K, i1: 0..8 } B[0, i1]:f64 = neg:f64(A[0, 7 - i1]:f64)
order
  for p serial (S0: 8 * t0, S1: 8 * t0 + 4)
    for c parallel (S0: i0, S1: i1 + 2)
      S0
      S1
"""


def test_they_meet_between_phases_that_are_one_iteration_of_the_code() -> None:
    """isl has a loop over t0 and both phases in it, one after the other: that they are never at the same phase keeps them not apart."""
    made = scan(Scheduled.start(parse_nest(PHASES)), "k")
    (around,) = (child for child in made.body.children if isinstance(child, Loop))
    assert [type(child) for child in around.body.children] == [Loop, Barrier, Loop, Barrier]
    run_team(made, [np.random.default_rng(n).normal(size=(12, 8)) for n in range(2)], {"K": 4})


PLANE = """nest plane []
array A: f64[8, 9] output
array B: f64[8, 9] output
array c: f64[8] input
S0 {{ i0: 0..8, i1: 0..9 }} A[i0, i1]:f64 = c[i0]:f64
S1 {{ i2: 0..8, i3: 0..9 }} B[i2, i3]:f64 = neg:f64(A[i2, i3]:f64)
order
  for i0 thread (S0: i0)
    for i1 {first} (S0: i1)
      S0
  for i2 thread (S1: i2)
    for i3 {second} (S1: i3)
      S1
"""


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [("thread", "thread", 1), ("serial", "serial", 1), ("lane4", "lane4", 1), ("thread", "serial", 2), ("lane4", "lane8", 2)],
)
def test_threads_of_a_gpu_are_dealt_alike_by_all_loops_and_lanes(first: str, second: str, count: int) -> None:
    made = scan(Scheduled.start(parse_nest(PLANE.format(first=first, second=second))), "k")
    assert sum(isinstance(node, Barrier) for child in made.body.children for node in walk(child)) == count
