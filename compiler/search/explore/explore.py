"""The search: starting points, rounds of a method, measurements between them, until the budget is used.

It starts from the untransformed program, isl's schedule and what every set of proposers makes. Where measuring is allowed all of these
are measured first, so that what it returns is never slower than the best of them; the most promising schedules that the rounds bring
are measured next to them. In the end the starting points and the fastest are measured once more, and the lesser time counts: what disturbs one
measurement seldom disturbs two. An interrupt ends it with the best so far.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from ...loops.schedule import Schedule
from ...loops.scheduled import Scheduled
from ..choose import proved
from ..cost import estimate
from ..draft import Task
from .beam import Beam
from .budget import Budget
from .moves import Moves
from .pool import Candidate, Guide, Measure, Pool
from .tree_search import TreeSearch

METHODS = ("beam", "tree")
#: So many schedules are measured together, and one of so many is not the most promising one but drawn: what a guide never proposes it is never
#: corrected about.
TOGETHER, DRAWN = 8, 8
#: So many of the fastest are measured once more.
FINAL = 3
#: A search ends when so many rounds on end bring nothing new.
_BARREN = 20


@dataclass(frozen=True)
class Found:
    """The best schedule; the seconds it takes, and those of the best starting point (as predicted where nothing was measured); all
    candidates, the best first; whether the user interrupted."""

    scheduled: Scheduled
    schedule: Schedule
    seconds: float
    start: float
    candidates: tuple[Candidate, ...]
    interrupted: bool = False


#: Called after every round with the budget and the pool.
Watch = Callable[[Budget, Pool], object]


def analytic(task: Task) -> Guide:
    """The analytic estimate as a guide."""
    return lambda programs: [estimate(program, task.machine).seconds for program in programs]


def explore(
    task: Task,
    budget: Budget,
    *,
    guide: Guide | None = None,
    measure: Measure | None = None,
    method: str = "beam",
    seed: int = 0,
    watch: Watch = lambda budget, pool: None,
) -> Found:
    """Search for the fastest schedule of a task. ``guide`` is the analytic estimate by default. Raises IllegalSchedule if not even program
    order can be proved."""
    pool = Pool(guide or analytic(task))
    pool.add(proved(task))
    starting = pool.ranked()
    random = Random(seed)
    interrupted = False
    try:
        if measure is not None:
            pool.measure(starting, measure)
            budget.used += len(starting)
        watch(budget, pool)
        moves = Moves(task, random)
        search = Beam(pool, moves) if method == "beam" else TreeSearch(pool, moves)
        barren = 0
        while budget.left and barren < _BARREN:
            before = len(pool.known)
            search.round()
            if measure is None:
                budget.used += len(pool.known) - before
            barren = 0 if len(pool.known) > before else barren + 1
            if measure is not None and (chosen := _chosen(pool, budget, random)):
                pool.measure(chosen, measure)
                budget.used += len(chosen)
            watch(budget, pool)
        if measure is not None:
            fastest = [c for c in pool.ranked() if c.measured is not None][:FINAL]
            pool.measure(dict.fromkeys([*starting, *fastest]), measure)
    except KeyboardInterrupt:
        interrupted = True
    best = pool.best
    start = min((c.worth for c in starting), default=math.inf)
    return Found(best.draft.scheduled, best.draft.schedule, best.worth, start, tuple(pool.ranked()), interrupted)


def _chosen(pool: Pool, budget: Budget, random: Random) -> list[Candidate]:
    """What is measured next: the most promising of those waiting, and one at random."""
    waiting = pool.waiting()
    count = TOGETHER if budget.candidates is None else min(TOGETHER, budget.candidates - budget.used)
    chosen = waiting[:count]
    if len(waiting) > count == TOGETHER and random.randrange(DRAWN) == 0:
        chosen[-1] = random.choice(waiting[count:])
    return chosen
