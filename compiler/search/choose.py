"""The choice: candidates are drafted, and the best one that is proved is taken.

Candidates are the untransformed program and, for every set of proposers that fire, the program they made with the sweeps
around it finished (:mod:`.sweeps`). A proposer looks at dependences, accesses and sizes, never at names. isl's scheduler, which takes longest,
is asked where the best of them still leaves something to be wished for. Which are good the analytic estimate says, and which of these is best the
learned model (:mod:`.learned`), where it has weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from .. import options
from ..loops.dependences import IllegalSchedule
from ..loops.schedule import Schedule, prove
from ..loops.scheduled import Scheduled
from ..target import Gpu
from .contraction import contractions
from .cost import estimate
from .draft import Draft, Task
from .factorization import factorizations
from .gpu import finish_gpu
from .gpu_cost import best_blocks, estimate_gpu
from .gpu_inward import one_iteration
from .gpu_product import gpu_products, gpu_products_apart
from .gpu_stencil import gpu_stencils
from .lanes import lanes
from .learned.choice import CAUTION, model_for, predicted
from .overlapping import overlapping
from .pivot import pivots
from .polyhedral import polyhedral
from .reduction import reduction
from .rows import by_rows
from .side_by_side import side_by_side
from .stencil import stencils
from .sweeps import finish, omit_overwritten

#: Each changes the parts of a draft that it knows how to make faster, and says whether there were any.
PROPOSERS: tuple[Callable[[Draft], bool], ...] = (
    contractions,
    reduction,
    lanes,
    stencils,
    overlapping,
    factorizations,
    pivots,
    by_rows,
    side_by_side,
)

#: The same for a GPU.
GPU_PROPOSERS: tuple[Callable[[Draft], bool], ...] = (one_iteration, gpu_stencils, gpu_products, gpu_products_apart)

#: How many times as long as the shortest a candidate may take, as estimated, for the learned model to take it: what is further off may be of a
#: kind that it has seen nothing of.
NEAR = 1.5
#: Estimates that differ by less are equal.
TIE = 0.001
_NONE = "no order of the program could be proved"


def candidates(task: Task) -> list[Draft]:
    """Drafts from the plainest to the most transformed; all of them apply, none is proved yet."""
    start = Draft.of(task)
    begun = start.copy()
    omit_overwritten(begun)
    begun.task = replace(task, nest=begun.scheduled.nest)
    gpu = isinstance(task.machine, Gpu)
    made = [begun]
    for proposer in GPU_PROPOSERS if gpu else PROPOSERS:
        for base in list(made):
            draft = base.copy()
            if proposer(draft):
                draft.origin = proposer.__name__ if base is begun else f"{base.origin} + {proposer.__name__}"
                made.append(draft)
    done = []
    for base in made:
        draft = base.copy()
        draft.origin = "sweeps" if base is begun else base.origin
        (finish_gpu if gpu else finish)(draft)
        done.append(draft)
    if gpu:
        return done
    best = min((start, *done), key=lambda one: _seconds(one, task))
    draft = begun.copy()
    if polyhedral(draft, best.scheduled):
        draft.origin = polyhedral.__name__
        finish(draft)
        done.append(draft)
    return [start, *done]


def _seconds(draft: Draft, task: Task) -> float:
    machine = task.machine
    if isinstance(machine, Gpu):
        return draft.margin * estimate_gpu(draft.scheduled, machine, 1 if task.tile else best_blocks(draft.scheduled, machine))
    return draft.margin * estimate(draft.scheduled, machine).seconds


def chosen(task: Task, scheduler: str = "") -> Draft:
    """The best candidate among those that are proved, of equals the plainer: by the learned model among those of the least estimates (within
    :data:`NEAR`), margins included, or among all if ``scheduler`` (the switch by default) is ``learned``; without a model that of the least
    estimate. See :func:`~.learned.choice.model_for`. Raises IllegalSchedule if not even program order can be proved."""
    model, drafts = model_for(task, scheduler), candidates(task)
    said = [_seconds(draft, task) for draft in drafts]
    if model is not None and len(drafts) > 1:
        alone = (scheduler or options.current.scheduler) == "learned"
        first = next(n for n, seconds in enumerate(said) if seconds <= min(said) * (1 + TIE))
        far = math.inf if alone else NEAR * min(said)
        place, near = drafts[first].origin, [n for n, seconds in enumerate(said) if seconds <= far]
        known = dict(zip(near, predicted(model, [drafts[n].scheduled for n in near], task, caution=CAUTION)))
        longest = max(known.values())
        said = [known.get(n, longest * seconds / far) for n, seconds in enumerate(said)]  # those that are far come behind
        for n, draft in enumerate(drafts):
            if alone or n != first:
                draft.origin = f"learned: {draft.origin}, " + (f"the best of {len(drafts)}" if alone else f"in place of {place}")
    made = [(seconds, n, draft) for n, (seconds, draft) in enumerate(zip(said, drafts))]
    waiting = sorted(made, key=lambda one: one[:2])
    while waiting:
        limit = waiting[0][0] * (1 + TIE)
        best = min((one for one in waiting if one[0] <= limit), key=lambda one: one[1])
        try:
            prove(best[2].scheduled, strict=task.strict)
        except IllegalSchedule:
            waiting.remove(best)
            continue
        return best[2]
    raise IllegalSchedule(_NONE)


def proved(task: Task) -> list[Draft]:
    """The candidates that are proved, the plainest first. Raises IllegalSchedule if not even program order can be proved."""
    found = []
    for draft in candidates(task):
        try:
            prove(draft.scheduled, strict=task.strict)
        except IllegalSchedule:
            continue
        found.append(draft)
    if not found:
        raise IllegalSchedule(_NONE)
    return found


def choose(task: Task) -> tuple[Scheduled, Schedule]:
    """The program and the steps of :func:`chosen`."""
    best = chosen(task)
    return best.scheduled, best.schedule
