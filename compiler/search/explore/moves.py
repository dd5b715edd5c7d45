"""Moves of the search: edits of a schedule's steps, each made with what is left of the others.

    resize    another size of a block (of all blocks of that size, or of one)
    drop      one step less
    insert    one step more, at any place: behind it the other steps, or the sweeps as they finish an unfinished program

A schedule is replayed after an edit. Steps that do not apply any more fall out; what is left is proved, or is no schedule.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from ...loops.dependences import IllegalSchedule
from ...loops.nest import LoopOrder, Order
from ...loops.nest import Sequence as SequenceOrder
from ...loops.schedule import Step, apply_step, prove, why_not
from ...loops.scheduled import Scheduled
from ..draft import Draft, Task
from ..sweeps import finish

#: Sizes of blocks, and by how much loops are written out.
BLOCKS, JAMS = (4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512), (2, 3, 4, 6, 8)
#: How often a step is drawn before an edit is given up.
_DRAWS = 12
#: Programs after so many prefixes of schedules are kept.
_KEPT = 1024

class Moves:
    """The edits of schedules of one task, drawn from ``random``."""

    def __init__(self, task: Task, random: Random) -> None:
        self.task, self.random = task, random
        self._after: OrderedDict[tuple[Step, ...], Scheduled] = OrderedDict()
        self._after[()] = Draft.of(task).scheduled

    def neighbour(self, draft: Draft) -> Draft | None:
        """A legal schedule one edit away, or None if the edit that was drawn makes none."""
        edit = self.random.choices((self._resize, self._drop, self._insert), weights=(4, 1, 3))[0]
        try:
            made = edit(draft)
            if made is None or made.steps == draft.steps:
                return None
            prove(made.scheduled, strict=self.task.strict)
        except IllegalSchedule:
            return None
        made.origin = f"{draft.origin.split(' > ')[0]} > {edit.__name__.strip('_')}"
        return made

    def replay(self, steps: Sequence[Step]) -> Draft:
        """The program after the steps that apply, in their order."""
        taken: tuple[Step, ...] = ()
        for step in steps:
            known = self._after.get((*taken, step))
            if known is None:
                scheduled = self._after[taken]
                if why_not(scheduled, step) is not None:
                    continue
                known = apply_step(scheduled, step)
                if known.nest == scheduled.nest:  # it says what is so already
                    continue
                self._keep((*taken, step), known)
            taken = (*taken, step)
            self._after.move_to_end(taken)
        return Draft(self.task, self._after[taken], list(taken))

    def _keep(self, steps: tuple[Step, ...], scheduled: Scheduled) -> None:
        self._after[steps] = scheduled
        while len(self._after) > _KEPT:
            oldest = next(key for key in self._after if key)
            del self._after[oldest]

    # -- edits ---------------------------------------------------------------------------------------------------

    def _resize(self, draft: Draft) -> Draft | None:
        places = [(n, a) for n, step in enumerate(draft.steps) for a, arg in enumerate(step.args) if isinstance(arg, int) and arg > 1]
        if not places:
            return None
        at, place = self.random.choice(places)
        old = draft.steps[at].args[place]
        assert isinstance(old, int)
        ladder = sorted({size for size in (*BLOCKS, old // 2, old * 2, old * 3 // 2) if 1 < size != old}, key=lambda s: abs(s - old))
        new = self.random.choice(ladder[:6])
        everywhere = self.random.random() < 0.5

        def changed(n: int, step: Step) -> Step:
            args = tuple(new if arg == old and (everywhere or (n, a) == (at, place)) else arg for a, arg in enumerate(step.args))
            return replace(step, args=args)

        return self.replay([changed(n, step) for n, step in enumerate(draft.steps)])

    def _drop(self, draft: Draft) -> Draft | None:
        if not draft.steps:
            return None
        at = self.random.randrange(len(draft.steps))
        return self.replay([*draft.steps[:at], *draft.steps[at + 1 :]])

    def _insert(self, draft: Draft) -> Draft | None:
        at = self.random.randint(0, len(draft.steps))
        before = self.replay(draft.steps[:at])
        step = self._drawn(before.scheduled)
        if step is None:
            return None
        if self.random.random() < 0.5:
            return self.replay([*before.steps, step, *draft.steps[at:]])
        made = self.replay([*before.steps, step])
        finish(made)
        return made

    def _drawn(self, scheduled: Scheduled) -> Step | None:
        """A step that applies to a program."""
        for _ in range(_DRAWS):
            kind = self.random.choice(_STEPS)
            args = kind(scheduled, self.random)
            step = None if args is None else Step(str(args[0]), args[1:])
            if step is not None and why_not(scheduled, step) is None:
                return step
        return None

#: The name of a step and its arguments.
Words = tuple[str | int, ...]

def _loop(scheduled: Scheduled, random: Random) -> LoopOrder | None:
    return random.choice(list(scheduled.loops.values())) if scheduled.loops else None

def _inside(loop: LoopOrder) -> LoopOrder | None:
    """The loop directly inside of a loop, where it is alone there."""
    return loop.body if isinstance(loop.body, LoopOrder) else None

def _tile(scheduled: Scheduled, random: Random) -> Words | None:
    loop = _loop(scheduled, random)
    if loop is None:
        return None
    band = [loop]
    while (inner := _inside(band[-1])) is not None and random.random() < 0.6:
        band.append(inner)
    return ("tile", *(word for one in band for word in (one.name, random.choice(BLOCKS))))

def _interchange(scheduled: Scheduled, random: Random) -> Words | None:
    loop = _loop(scheduled, random)
    inner = None if loop is None else _inside(loop)
    return None if loop is None or inner is None else ("interchange", loop.name, inner.name)

def _skew(scheduled: Scheduled, random: Random) -> Words | None:
    loop = _loop(scheduled, random)
    inner = None if loop is None else _inside(loop)
    if loop is None or inner is None:
        return None
    return ("skew", inner.name, loop.name) if random.random() < 0.7 else ("wavefront", loop.name, inner.name)

def _mark(scheduled: Scheduled, random: Random) -> Words | None:
    loop = _loop(scheduled, random)
    if loop is None or loop.kind != "serial":
        return None
    return ("vector" if loop.innermost else "parallel", loop.name)

def _jam(scheduled: Scheduled, random: Random) -> Words | None:
    loop = _loop(scheduled, random)
    return None if loop is None else ("unroll_jam", loop.name, random.choice(JAMS))

def _join(scheduled: Scheduled, random: Random) -> Words | None:
    rows = [row for row in _rows(scheduled.nest.order) if len(row) > 1]
    if not rows:
        return None
    row = random.choice(rows)
    at = random.randrange(len(row) - 1)
    return ("fuse", row[at], row[random.randrange(at + 1, len(row))])

def _part(scheduled: Scheduled, random: Random) -> Words | None:
    loop = _loop(scheduled, random)
    if loop is None or len(loop.values) < 2:
        return None
    return ("distribute", loop.name, random.choice(loop.values)[0])

def _narrow(scheduled: Scheduled, random: Random) -> Words | None:
    arrays = [a.name for a in scheduled.nest.arrays if a.temporary]
    loop = _loop(scheduled, random)
    return None if loop is None or not arrays else (random.choice(("contract", "privatise")), random.choice(arrays), loop.name)

_STEPS: tuple[Callable[[Scheduled, Random], Words | None], ...] = (
    *(_tile, _tile, _tile),
    *(_interchange, _interchange),
    *(_mark, _mark),
    *(_jam, _join, _part, _skew, _narrow),
)

def _rows(order: Order) -> list[list[str]]:
    """Loops beside each other, row by row."""
    if isinstance(order, LoopOrder):
        return _rows(order.body)
    if not isinstance(order, SequenceOrder):
        return []
    below = [row for child in order.children for row in _rows(child)]
    return [[child.name for child in order.children if isinstance(child, LoopOrder)], *below]
