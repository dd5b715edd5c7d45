"""Random steps on random nests: every legal schedule computes the same, every refusal is due, by brute force.

Steps come from ``STEPS`` at large; a step without a row in ``drawing.ARGUMENTS``, or that none of the nests took, is a failure.
The nests of a run are always the same ones; ``make experiments`` draws 10,000 others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from operator import is_
from random import Random

import numpy as np
import pytest
import torch

from tests.backends import trees
from tests.helpers import RUNS
from tests.helpers import STEPS as REPORT
from tests.loops.drawing import ARGUMENTS, GPU, GPU_RECIPES, PROCESSOR, RECIPES, mangled
from tests.loops.nests import CLASSES, random_arrays, random_nest
from tests.loops.oracle import Conflicts, cited
from tests.loops.run_team import run_team
from tests.loops.run_tree import Runner
from unspool.compiler import options
from unspool.compiler.graph.types import Size
from unspool.compiler.loops.check import check_nest
from unspool.compiler.loops.dependences import IllegalSchedule, Reason, check_order
from unspool.compiler.loops.nest import LoopOrder, Nest, Order, loops_of
from unspool.compiler.loops.scan import scan
from unspool.compiler.loops.schedule import STEPS, Schedule, Step, apply, apply_step, parse_schedule, prove, why_not
from unspool.compiler.loops.scheduled import Scheduled
from unspool.compiler.loops.text import parse_nest, print_nest
from unspool.compiler.loops.tree_text import parse_tree, print_tree
from unspool.compiler.search.choose import choose
from unspool.compiler.search.draft import Task
from unspool.compiler.target import Machine

#: Groups of nests, each a test of its own that takes every step; nests of a group, and those of them compiled for c and for numba.
GROUPS, NESTS, C_EVERY, NUMBA_EVERY = 2, 150, 10, 50
TRIES = 10
#: Nests that take the steps of a GPU, and how many of these run there, as far as the processor is one.
GPU_NESTS, GPU_EVERY = 80, 4
#: Iterations of a run; and so many that every dependence shows, blocks of loops over them included, where a refusal is to be explained.
COUNTS, MANY = {"K": 4, "L": 3}, {"K": 13, "L": 12}
#: The same with as many blocks as are odd there even, and the other way round: what overlapping tiles copy back depends on it.
LONGER = (MANY, {"K": 12, "L": 13})


@dataclass
class Session:
    """What happened to the nests of a group."""

    applied: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)

    def name(self, dice: Random, *, gpu: bool) -> str:
        """A step, rather one that was seldom applied."""
        names = dice.sample([n for n in ARGUMENTS if n not in (PROCESSOR if gpu else GPU)], 3)
        return min(names, key=lambda n: self.applied[n])


class Walk:
    """One nest and the steps it took, each compared with brute force."""

    def __init__(self, nest: Nest, seed: int, session: Session, *, gpu: bool = False) -> None:
        self.nest, self.dice, self.session, self.seed = nest, Random(seed), session, seed
        self.integers = {p: COUNTS[p] for p in nest.params}
        self.steps: list[Step] = []
        self.program = Conflicts(nest, self.integers)
        self.strict = self.dice.random() < 0.2
        self.gpu = gpu
        self.start = self.now = Scheduled.start(nest, strict=self.strict)

    def attempt(self) -> None:
        """Draw a step, or a few that belong together, and take what is legal."""
        dice = self.dice
        if dice.random() < 0.25:
            steps = dice.choice(GPU_RECIPES if self.gpu else RECIPES)(self.now, dice)
            self.take([replace(s, name="block") if self.gpu and s.name == "parallel" else s for s in steps])
            return
        steps, tried = [], self.now
        for _ in range(dice.choice([1, 1, 1, 2, 3])):  # orders on the way need not be legal
            name = self.session.name(dice, gpu=self.gpu)
            args = ARGUMENTS[name](tried, dice)
            if args is None:
                continue
            steps.append(Step(name, args))
            try:
                tried = apply_step(tried, steps[-1])
            except IllegalSchedule:
                break
        self.take(steps)

    def take(self, steps: list[Step]) -> None:
        tried, program = self.now, self.program
        for step in steps:
            reason = why_not(tried, step)
            if reason is not None:
                self.refusal(tried, step, reason)
                self.program = program
                return
            before = tried
            try:
                tried = apply_step(tried, step)
            except IllegalSchedule as error:  # a step that proves what it starts from
                due = contracted(before, error.reason) or self.reversed(before.nest.order, str(error))
                assert due, f"{step} is refused"
                self.program = program
                return
            if not same_program(before, tried):
                assert not self.program.reversed(before.nest.order, strict=False), f"{step} rewrites an illegal order"
                self.program = Conflicts(tried.nest, self.integers, tried.private)
        try:
            prove(tried, strict=self.strict)
            refused, careful = "", False
        except IllegalSchedule as error:
            refused, careful = str(error), contracted(tried, error.reason)
        # whether an element still lives where it is used, and whether a tile is of the shape that tensor cores take, are not among the pairs looked at
        if "is contracted at" in refused or "is marked tensor, but" in refused:
            self.program = program
            return
        wrong = self.wrong(self.program, tried) or (refused and self.longer(lambda program: self.wrong(program, tried), refused))
        assert bool(refused) == bool(wrong) or careful, f"isl: {refused or 'legal'}; by brute force: {wrong or 'legal'}; steps {steps}"
        self.session.checked["orders refused" if refused else "orders accepted"] += 1
        if refused:
            self.session.refused.update(s.name for s in steps)
            self.program = program
            return
        self.now = tried
        self.steps += steps
        self.session.applied.update(s.name for s in steps)

    def mangle(self) -> None:
        """An order with something wrong in it, mostly: isl's verdict and that by brute force agree."""
        tried = self.now.with_order(mangled(self.now.nest.order, self.dice))
        try:
            check_order(tried.nest, tried.nest.order, tried.found, strict=self.strict, rebased=tried.rebased)
            refused, careful = "", False
        except IllegalSchedule as error:
            refused, careful = str(error), contracted(tried, error.reason)
        order = tried.nest.order
        wrong = self.reversed(order, refused)
        assert bool(refused) == bool(wrong) or careful, f"isl: {refused or 'legal'}; by brute force: {wrong or 'legal'}; {order}"
        self.session.checked["orders refused" if refused else "orders accepted"] += 1

    def reversed(self, order: Order, refused: str) -> str:
        """What an order reverses; with more iterations, too, where it was refused."""

        def wrong(program: Conflicts) -> str:
            return program.reversed(order, strict=self.strict)

        return wrong(self.program) or (self.longer(wrong, refused) if refused else "")

    def longer(self, wrong: Callable[[Conflicts], str], refused: str) -> str:
        """What is wrong about the same program with more iterations: all that there is with some more, or, as blocks of blocks need many,
        the two instances that a refusal names, which must be instances that conflict."""
        for counts in LONGER if self.nest.params else LONGER[:1]:
            integers = {p: counts[p] for p in self.nest.params}
            if found := wrong(Conflicts(self.program.program, integers, self.program.private)):
                return found
        if example := cited(refused):
            pair, counts = example
            return wrong(Conflicts(self.program.program, {**self.integers, **counts}, self.program.private, pair))
        return ""

    def wrong(self, program: Conflicts, tried: Scheduled) -> str:
        """Why a program in an order is not legal, by brute force."""
        found = program.reversed(tried.nest.order, strict=self.strict)
        for loop in tried.loops.values():
            for kind in loop.kind.split():
                if (kind == "vector" or "lane" in kind) and any("unroll" not in inner.kind for inner in loops_of(loop.body)):
                    return "a loop is inside a vector"
                if not found and kind not in ("serial", "unroll") and not kind.startswith("staged"):
                    found = program.joined(
                        tried.nest.order,
                        loop,
                        reductions=(kind == "vector" or "lane" in kind) and not self.strict,
                        private=lambda a, loop=loop: tried.is_private(a, loop),
                    )
        return found

    def refusal(self, tried: Scheduled, step: Step, reason: str) -> None:
        """A step that names a dependence between iterations of one loop must be right about it."""
        self.session.refused[step.name] += 1
        if step.name not in ("parallel", "vector", "reverse", "block", "thread", "lane") or "joins different iterations" not in reason:
            return
        loop = tried.loop(str(step.args[0]))
        reductions = step.name == "reverse" or (step.name in ("vector", "lane") and not self.strict)

        def joined(program: Conflicts) -> str:
            return program.joined(tried.nest.order, loop, reductions=reductions, private=lambda a: tried.is_private(a, loop))

        full = reason.full if isinstance(reason, Reason) else reason
        due = contracted(tried, reason) or joined(self.program) or self.longer(joined, full)
        assert due, f"{step} is refused ({reason}), and by brute force nothing forbids it"
        self.session.checked["marks refused"] += 1

    def compare(self, targets: tuple[str, ...]) -> None:
        """Run the program that the steps made, element by element and compiled, against program order."""
        tree = scan(self.now, "walk")
        assert parse_tree(print_tree(tree)) == tree
        assert parse_nest(print_nest(self.now.nest)) == self.now.nest
        if self.seed % 3 == 0:
            text = str(Schedule(tuple(self.steps)))
            assert apply(self.nest, parse_schedule(text), strict=self.strict).nest == self.now.nest
        plain = scan(self.start, "plain")
        few = dict.fromkeys(self.nest.params, self.dice.choice([0, 1, 2]))
        for integers in (self.integers, few) if few else (self.integers,):
            expected, found = (random_arrays(self.nest, self.seed, integers) for _ in range(2))
            Runner(plain, expected, integers)
            Runner(tree, found, integers, self.seed)
            close(found, expected)
            if not self.gpu:
                shared = random_arrays(self.nest, self.seed, integers)
                run_team(tree, shared, integers, seed=self.seed)
                close(shared, expected)
        inputs = sum(a.scope == "input" for a in self.nest.arrays)
        for target in targets:
            expected = random_arrays(self.nest, self.seed, self.integers)
            Runner(plain, expected, self.integers)
            operands = [torch.from_numpy(a) for a in random_arrays(self.nest, self.seed, self.integers)]
            counts = [self.integers[p] for p in tree.integers]
            trees.run(tree, operands[:inputs], operands[inputs:], team_size=1 + (target != "emulated"), integers=counts, strict=self.strict, target=target)
            close([t.numpy() for t in operands], expected)
            self.session.checked[f"compiled for {target}"] += 1


def contracted(scheduled: Scheduled, reason: str) -> bool:
    """Whether a refusal is for an array that lives in one iteration: after a step that rewrites other statements, isl still has it that its
    places are those of all iterations."""
    return isinstance(reason, Reason) and reason.dependence.array in {array for array, _ in scheduled.private}


def same_program(a: Scheduled, b: Scheduled) -> bool:
    """Whether both have the instances, and the dependences, of one program."""
    domains = [[(s.name, s.dims, s.guards) for s in x.nest.statements] for x in (a, b)]
    relations = [[d.relation for d in x.found] for x in (a, b)]
    return domains[0] == domains[1] and len(a.found) == len(b.found) and all(map(is_, *relations))


def close(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for got, want in zip(found, expected, strict=True):
        assert np.isfinite(want).all()
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)


def walk(seed: int, session: Session, targets: tuple[str, ...] = (), *, gpu: bool = False) -> None:
    """One random nest through random steps, those of a GPU or those of a processor."""
    dice = Random(seed)
    kind = list(CLASSES)[seed % len(CLASSES)]
    nest = random_nest(dice, kind)
    session.classes[kind] += 1
    check_nest(nest)
    one = Walk(nest, seed, session, gpu=gpu)
    try:
        found = {(d.source, d.sink, d.array, d.kind) for d in one.start.found}
        assert found == one.program.kinds
        for _ in range(TRIES):
            one.attempt()
        for _ in range(4):
            one.mangle()
        one.compare(targets)
    except Exception as error:
        lines = "\n".join(map(str, one.steps))
        raise AssertionError(f"nest {seed} ({kind}): {error}\n\n{print_nest(nest)}\nafter\n{lines}") from error
    RUNS["random nests"] += 1


def test_every_step_has_its_arguments_drawn() -> None:
    assert ARGUMENTS.keys() == STEPS.keys()


@pytest.mark.parametrize("group", range(GROUPS))
def test_random_nests(group: int) -> None:
    session = Session()
    for n in range(NESTS):
        targets = (*(["c"] if n % C_EVERY == group else []), *(["numba"] if n % NUMBA_EVERY == group else []))
        walk(group * NESTS + n, session, targets)
    more = iter(range(1000 * (group + 1), 1000 * (group + 1) + NESTS))
    while STEPS.keys() - session.applied.keys() - GPU and (seed := next(more, 0)):  # a step that few programs have a use for
        walk(seed, session)
    REPORT.update(session.applied)
    never = STEPS.keys() - session.applied.keys() - GPU
    assert not never, f"no random nest took {never}"
    assert sum(session.classes.values()) >= NESTS
    assert session.classes.keys() == CLASSES.keys()
    assert session.checked["compiled for c"] == NESTS // C_EVERY
    assert session.checked["compiled for numba"] == NESTS // NUMBA_EVERY
    assert min(session.checked[what] for what in ("orders refused", "orders accepted")) >= NESTS
    assert session.checked["marks refused"] >= NESTS // 16


@pytest.mark.needs("c++")
def test_random_nests_on_a_gpu() -> None:
    session = Session()
    with options.scope(emulate="races,random:1"):
        for n in range(GPU_NESTS):
            walk(5000 + n, session, ("emulated",) if n % GPU_EVERY == 0 else (), gpu=True)
    assert not GPU - session.applied.keys(), f"no random nest took {GPU - session.applied.keys()}"
    assert session.checked["compiled for emulated"] == GPU_NESTS // GPU_EVERY


def test_a_refusal_for_more_iterations_than_are_enumerated_is_looked_at() -> None:
    nest = parse_nest(
        """nest long [K]
array A: f64[2] output
S0 { t0: 0..K } A[0]:f64 = mul:f64(0.5:f64, A[1]:f64)
order
  for t0 serial (S0: t0)
    S0
"""
    )
    one, backwards = Walk(nest, 1, Session()), LoopOrder("o", (("S0", -(Size.of("t0") // 18)),), nest.order)
    with pytest.raises(IllegalSchedule) as error:
        check_order(nest, backwards, one.start.found)
    assert cited(str(error.value)) == ((("S0", (0,)), ("S0", (18,))), {"K": 19})
    assert not one.reversed(backwards, "an untold reason")
    assert one.reversed(backwards, str(error.value))
    assert not one.reversed(nest.order, str(error.value)), "these two are in order"
    assert not one.reversed(backwards, "S0[t0=0] -> S0[t0=17] (K=19)"), "of one block"
    assert not one.reversed(backwards, "S0[t0=0] -> S0[t0=18] (K=18)"), "there is no iteration 18"


def test_there_are_enough_nests() -> None:
    assert GROUPS * NESTS >= 300


#: Caches so small that what is done for large programs is done for these.
TINY = Machine(64, 32, l1=512, l2=4096, l3=16384)


@pytest.mark.parametrize("group", range(2))
@pytest.mark.parametrize("kind", CLASSES)
def test_the_choice_keeps_the_result(kind: str, group: int) -> None:
    for seed in range(10 * group, 10 * group + 10):
        nest = random_nest(Random(seed), kind)
        strict = seed % 5 == 0
        scheduled, schedule = choose(Task(nest, TINY, strict))
        left = apply(nest, Schedule(tuple(s for s in schedule.steps if s.name == "omit"))).nest
        program = Conflicts(left, {p: COUNTS[p] for p in nest.params})
        if not scheduled.rebased:
            assert not program.reversed(scheduled.nest.order, strict=strict)
        expected, found = (random_arrays(nest, seed, program.integers) for _ in range(2))
        Runner(scan(Scheduled.start(nest), "plain"), expected, program.integers)
        Runner(scan(scheduled, "chosen"), found, program.integers, seed)
        close(found, expected)
        REPORT.update(s.name for s in schedule.steps)


@pytest.mark.slow
@pytest.mark.parametrize("group", range(40))
def test_10000_random_nests(group: int) -> None:
    session = Session()
    for n in range(250):
        walk(10_000 + 250 * group + n, session, ("c",) if n % 50 == 0 else ())
    REPORT.update(session.applied)
    assert not STEPS.keys() - session.applied.keys()
