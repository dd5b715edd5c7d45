"""Legal schedules of a program, many of them good: what the proposers make, edits of that, and walks of random steps from program order."""

from __future__ import annotations

import math
import time
from random import Random

from ...loops.text import print_nest
from ..choose import proved
from ..cost import estimate
from ..draft import Draft, Task
from ..explore.moves import Moves

#: How often a schedule is edited that is among the better half, as estimated; of the others, how many edits walk from program order.
BETTER, WALKS = 0.6, 0.25
#: Edits on end, at most: of a good schedule, and of a walk.
EDITS, STEPS = 3, 6
#: Schedules that are estimated to take so many times as long as the best are left out, all but every tenth.
HOPELESS = 30.0


def schedules(task: Task, count: int, random: Random, *, seconds: float = math.inf) -> list[Draft]:
    """Up to ``count`` proved schedules that make different loops, program order first; fewer where there are no more, or ``seconds`` are
    over (the proposers' are made in any case). Raises IllegalSchedule if not even program order can be proved."""
    end = time.monotonic() + seconds
    found: dict[str, tuple[float, Draft]] = {}

    def take(draft: Draft) -> bool:
        text = print_nest(draft.scheduled.nest)
        if text in found:
            return False
        found[text] = (estimate(draft.scheduled, task.machine).seconds, draft)
        return True

    for draft in proved(task):
        take(draft)
    start = next(iter(found.values()))[1]
    moves = Moves(task, random)
    barren = 0
    while len(found) < count and barren < 4 * count and time.monotonic() < end:
        barren += 1
        made = _edited(start, found, moves, random)
        if made is None:
            continue
        best = min(seconds for seconds, _ in found.values())
        if estimate(made.scheduled, task.machine).seconds > HOPELESS * best and random.random() < 0.9:
            continue
        if take(made):
            barren = 0
    return [draft for _, draft in found.values()][:count]


def _edited(start: Draft, found: dict[str, tuple[float, Draft]], moves: Moves, random: Random) -> Draft | None:
    """A schedule some edits away from one that is known, or from program order."""
    ranked = [draft for _, draft in sorted(found.values(), key=lambda one: one[0])]
    if random.random() < BETTER:
        base, edits = random.choice(ranked[: max(1, len(ranked) // 2)]), random.randint(1, EDITS)
    elif random.random() < WALKS / (1 - BETTER):
        base, edits = start, random.randint(2, STEPS)
    else:
        base, edits = random.choice(ranked), random.randint(1, EDITS)
    walk = base is start
    made: Draft | None = None
    for _ in range(edits):
        made = moves.neighbour(base) or made
        base = made or base
    if made is not None and walk:
        made.origin = "walk"
    return made
