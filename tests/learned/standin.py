"""A dataset whose times follow a law that is known: the analytic estimate, and a factor that it does not know of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from random import Random

import numpy as np

from tests.search.programs import graph_of
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.dependences import IllegalSchedule
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.nest import Nest, loops_of
from unspool.compiler.loops.schedule import prove
from unspool.compiler.loops.text import print_nest
from unspool.compiler.search.choose import candidates
from unspool.compiler.search.cost import estimate
from unspool.compiler.search.dataset.records import Dataset, MachineFacts, Point, Program, program_key
from unspool.compiler.search.draft import Draft, Task
from unspool.compiler.search.explore.moves import Moves
from unspool.compiler.target import Machine

MACHINE = Machine(64, 32, cores=2, l1=4 << 10, l2=32 << 10, l3=256 << 10)
FACTS = {"vector_bytes": 64, "registers": 32, "cores": 2, "l1": 4 << 10, "l2": 32 << 10, "l3": 256 << 10}

TEXTS = (
    """algorithm product(A: real[m, k], B: real[k, n]) -> real[m, n]:
    return A @ B
""",
    """algorithm smooth(A: real[m, n]) -> real[m, n] where m >= 3:
    B = A
    for i in 1..m-1:
        for j in 0..n:
            B[i, j] = A[i, j] + 0.1 * (A[i-1, j] + A[i+1, j])
    return B
""",
    """algorithm residual(A: real[m, n], x: real[n], y: real[m]) -> real[n]:
    return A.T @ (A @ x - y)
""",
)


def task_of(text: str, sizes: dict[str, int]) -> Task:
    """The task of a program at some sizes."""
    graph = graph_of(text)
    needed = {n for v in graph.inputs for s in v.type.shape for n in s.names()}
    return Task(lower(simplify(specialize(graph, "f64", {n: sizes[n] for n in needed}))), MACHINE)


def schedules(task: Task, count: int, random: Random) -> list[Draft]:
    """Legal schedules: the candidates, and edits of them."""
    found = {}
    for draft in candidates(task):
        try:
            prove(draft.scheduled)
        except IllegalSchedule:
            continue
        found[print_nest(draft.scheduled.nest)] = draft
    moves = Moves(task, random)
    for _ in range(4 * count):
        made = moves.neighbour(random.choice(list(found.values())))
        if made is not None:
            found.setdefault(print_nest(made.scheduled.nest), made)
        if len(found) >= count:
            break
    return list(found.values())


def factor(nest: Nest) -> float:
    """What the estimate does not know of: each loop costs a half more, and one that is a vector saves a half."""
    kinds = [loop.kind for loop in loops_of(nest.order)]
    return 1.5 ** len(kinds) * 0.5 ** sum("vector" in k for k in kinds)


@cache
def dataset(programs: int = 18, schedules_each: int = 16) -> Dataset:
    """Programs with schedules of each, all measured twice; the two measurements differ by two percent."""
    made, noise = Dataset(), np.random.default_rng(0)
    made.add(MachineFacts("here", FACTS))
    for n in range(programs):
        random = Random(n)
        sizes = {name: random.choice((24, 40, 64, 100, 160)) for name in ("m", "k", "n")}
        task = task_of(TEXTS[n % len(TEXTS)], sizes)
        text = print_nest(task.nest)
        key = program_key(text, {"seed": n})
        made.add(Program(key, n, "standin", text, {}, "f64"))
        for draft in schedules(task, schedules_each, random):
            true = estimate(draft.scheduled, MACHINE).seconds * factor(draft.scheduled.nest)
            first, again = true * np.exp(noise.normal(0.0, 0.02, 2))
            nest = print_nest(draft.scheduled.nest)
            made.add(Point(key, "here", str(draft.schedule), nest, (first, 1.01 * first), (again, again), origin=draft.origin))
    return made


def times(nests: Sequence[Nest], task: Task) -> list[float]:
    """What nests take by the law."""
    from unspool.compiler.loops.scheduled import Scheduled

    return [estimate(Scheduled(nest, ()), task.machine).seconds * factor(nest) for nest in nests]
