"""Runs a loop tree as a team of threads does, and looks for races: between two meetings no element that one thread writes is touched
by another. Threads run one after the other, in a random order, from barrier to barrier."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tests.loops.run_tree import Runner, evaluate
from unspool.compiler.loops.tree import Barrier, Block, Declare, Function, If, Loop, Single, Store, Tree

Element = tuple[str, tuple[int, ...]]


class _Thread(Runner):
    """One member: integers and locals of its own, and what it has touched of the team's arrays since the last meeting."""

    def __init__(self, shared: Mapping[str, np.ndarray], integers: Mapping[str, int], member: int, size: int) -> None:
        self.env = dict(integers)
        self.shared = frozenset(shared)
        self.arrays = dict(shared)
        self.member, self.size = member, size
        self.touched: set[Element] = set()
        self.written: set[Element] = set()

    def steps(self, block: Block, *, inside: bool = False) -> Iterator[None]:
        """Run a sequence; yields at each barrier. ``inside``: of a loop that is split."""
        for child in block.children:
            yield from self.step(child, inside=inside)

    def step(self, t: Tree, *, inside: bool) -> Iterator[None]:
        """Run one node."""
        if isinstance(t, Loop):
            values = range(evaluate(t.lower, self.env), evaluate(t.upper, self.env), t.step)
            split = t.dealt
            assert not (split and inside), f"the team is split again at {t.name}"
            for v in self.part(values) if split else values:
                self.env[t.name] = v
                if t.until is not None and self.value(t.until):
                    break
                if t.unless is None or not self.value(t.unless):
                    yield from self.steps(t.body, inside=inside or split)
        elif isinstance(t, If):
            taken = t.then if evaluate(t.condition, self.env) else t.orelse
            if taken:
                yield from self.steps(taken, inside=inside)
        elif isinstance(t, Declare):
            self.arrays[t.array.name] = self.fresh(tuple(evaluate(s, self.env) for s in t.array.shape), t.array.dtype)
        elif isinstance(t, Store):
            self.assign(t)
        else:
            assert isinstance(t, (Single, Barrier)), t
            assert not inside, "threads meet, or one works alone, in a loop that is split over them"
            if isinstance(t, Barrier):
                yield
            elif self.member == 0:
                for _ in self.steps(t.body, inside=True):
                    raise AssertionError("a barrier where one works alone")

    def part(self, values: range) -> range:
        """Its share of a parallel loop: a block."""
        return values[len(values) * self.member // self.size : len(values) * (self.member + 1) // self.size]

    def store(self, array: str, at: tuple[int, ...], value: float, reduce: str) -> None:
        if array in self.shared:
            self.touched.add((array, at))
            self.written.add((array, at))
        super().store(array, at, value, reduce)

    def load(self, array: str, at: tuple[int, ...]) -> float:
        if array in self.shared:
            self.touched.add((array, at))
        return super().load(array, at)


def run_team(
    function: Function, arrays: Sequence[np.ndarray], integers: Mapping[str, int], *, size: int = 3, seed: int = 0
) -> None:
    """Run a function once by a team. Raises AssertionError naming an element that two threads race for."""
    given, shared = iter(arrays), {}
    for a in function.arrays:
        shape = tuple(evaluate(s, integers) for s in a.shape)
        if a.scope != "thread":
            shared[a.name] = next(given) if a.scope in ("input", "output") else Runner.fresh(shape, a.dtype)
    team = [_Thread(shared, integers, member, size) for member in range(size)]
    for a in function.arrays:
        if a.scope == "thread":
            for thread in team:
                thread.arrays[a.name] = Runner.fresh(tuple(evaluate(s, integers) for s in a.shape), a.dtype)
    dice, running = random.Random(seed), [(thread, thread.steps(function.body)) for thread in team]
    while True:
        met = [next(steps, "done") is None for _, steps in dice.sample(running, size)]
        assert len(set(met)) == 1, "some threads wait at a barrier that others never come to"
        for thread in team:
            for other in team:
                races = thread.written & other.touched if thread is not other else set()
                assert not races, f"threads race for {sorted(races)[0]}"
        for thread in team:
            thread.touched.clear()
            thread.written.clear()
        if not met[0]:
            return
