"""A schedule is a list of named steps with a text form; applying one replays it and proves the result.

fuse i3 i7; tile i3 64; parallel i3_o; vector i9; contract length i3

``#`` starts a comment. The parts of a longer text are taken apart in :mod:`.schedule_parts`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from ..nearest import nearest
from .arguments import role, unknown_name, wrong_arguments
from .dependences import IllegalSchedule, Reason, check_order
from .nest import Nest, exits
from .schedule_parts import step_lines
from .scheduled import Scheduled, ends_by_data
from .steps.accumulate import accumulate, can_accumulate
from .steps.contract import can_contract, contract, not_private
from .steps.deal import (
    LANES,
    block,
    can_block,
    can_lane,
    can_shared,
    can_thread,
    lane,
    shared,
    thread,
)
from .steps.drop import can_drop, drop
from .steps.expand import can_expand, expand
from .steps.fold import can_fold, fold
from .steps.fuse import can_distribute, can_fuse, distribute, fuse
from .steps.inline import can_inline, inline
from .steps.layout import can_layout, can_rename, layout, rename
from .steps.mark import can_parallel, can_vector, parallel, vector
from .steps.omit import can_omit, omit
from .steps.overlap import can_overlap, overlap
from .steps.pack import can_pack, pack
from .steps.pad import can_pad, pad
from .steps.presum import can_presum, presum
from .steps.privatise import can_privatise, privatise
from .steps.register import can_register, register
from .steps.reindex import can_reindex, reindex
from .steps.reorder import (
    can_interchange,
    can_permute,
    can_reverse,
    can_shift,
    can_skew,
    can_wavefront,
    interchange,
    permute,
    reverse,
    shift,
    skew,
    wavefront,
)
from .steps.reschedule import can_isl, isl
from .steps.retime import can_retime, retime
from .steps.sink import can_enclose, can_fission, can_sink, enclose, fission, sink
from .steps.split import can_split, split
from .steps.stage import PLACES, can_stage, stage
from .steps.tensor import can_tensor, misplaced, tensor
from .steps.tile import can_tile, tile
from .steps.trapezoid import can_trapezoid, trapezoid
from .steps.unroll import can_unroll, can_unroll_jam, unroll, unroll_jam

#: step name -> (transformation, its can_ twin)
STEPS: dict[str, tuple[Callable[..., Scheduled], Callable[..., str | None]]] = {
    "fuse": (fuse, can_fuse),
    "distribute": (distribute, can_distribute),
    "interchange": (interchange, can_interchange),
    "permute": (permute, can_permute),
    "shift": (shift, can_shift),
    "retime": (retime, can_retime),
    "reverse": (reverse, can_reverse),
    "skew": (skew, can_skew),
    "wavefront": (wavefront, can_wavefront),
    "tile": (tile, can_tile),
    "trapezoid": (trapezoid, can_trapezoid),
    "overlap": (overlap, can_overlap),
    "parallel": (parallel, can_parallel),
    "vector": (vector, can_vector),
    "block": (block, can_block),
    "thread": (thread, can_thread),
    "lane": (lane, can_lane),
    "shared": (shared, can_shared),
    "register": (register, can_register),
    "stage": (stage, can_stage),
    "tensor": (tensor, can_tensor),
    "contract": (contract, can_contract),
    "expand": (expand, can_expand),
    "pack": (pack, can_pack),
    "pad": (pad, can_pad),
    "rename": (rename, can_rename),
    "layout": (layout, can_layout),
    "privatise": (privatise, can_privatise),
    "unroll": (unroll, can_unroll),
    "unroll_jam": (unroll_jam, can_unroll_jam),
    "presum": (presum, can_presum),
    "sink": (sink, can_sink),
    "enclose": (enclose, can_enclose),
    "fission": (fission, can_fission),
    "split": (split, can_split),
    "reindex": (reindex, can_reindex),
    "accumulate": (accumulate, can_accumulate),
    "drop": (drop, can_drop),
    "omit": (omit, can_omit),
    "inline": (inline, can_inline),
    "isl": (isl, can_isl),
    "fold": (fold, can_fold),
}


@dataclass(frozen=True)
class Step:
    """One transformation and its arguments (loop names, array names, block sizes); ``line`` is where a text has it (0: nowhere)."""

    name: str
    args: tuple[str | int, ...]
    line: int = field(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return " ".join([self.name, *map(str, self.args)])


@dataclass(frozen=True)
class Schedule:
    """Steps in the order they apply. ``str`` of it is read back by :func:`parse_schedule`."""

    steps: tuple[Step, ...] = ()

    def __str__(self) -> str:
        return "\n".join(map(str, self.steps))


#: Integers of a step are far from the end of what 64 bits hold, so that no bound that is made of them overflows.
_LARGEST = 2**31 - 1


def parse_schedule(text: str) -> Schedule:
    """Read steps separated by newlines or ``;``; ``#`` starts a comment. Raises IllegalSchedule for an unknown step."""
    return Schedule(tuple(_step(line, words) for line, words in step_lines(text)))


def _step(line: int, words: list[str]) -> Step:
    name, *rest = words
    if name not in STEPS:
        near = nearest(name, [*STEPS, "batch", "kernel"])
        if name in ("batch", "kernel"):
            hint = "`batch SIZE` and `kernel NAME` each begin a part of a schedule, once"
        else:
            hint = f"did you mean `{near}`?" if near else f"there are {', '.join(STEPS)}"
        raise IllegalSchedule(f"line {line} of the schedule: unknown step `{name}`; {hint}")
    args = tuple(int(w) if re.fullmatch(r"[+-]?[0-9]+", w) else w for w in rest)
    for arg in args:
        if isinstance(arg, int) and abs(arg) > _LARGEST:
            raise IllegalSchedule(f"line {line} of the schedule: step `{' '.join(words)}`: {arg} is beyond {_LARGEST}")
    return Step(name, args, line)


def why_not(scheduled: Scheduled, step: Step) -> str | None:
    """Why a step does not apply, or None."""
    can = STEPS[step.name][1]
    wrong = wrong_arguments(step.name, can, step.args)
    if wrong:
        return wrong
    reason = can(scheduled, *step.args)
    if reason is None:
        return _entered(scheduled, step)
    return unknown_name(scheduled.nest, can, step.args, reason) or reason


def _entered(scheduled: Scheduled, step: Step) -> str | None:
    """Why a step that applies to other loops would change one whose iterations depend on data: its statements stay in it, each at its
    own iteration."""
    before = exits(scheduled.nest.order)
    if not before or step.name in _INSIDE:
        return None
    made = STEPS[step.name][0](scheduled, *step.args)
    after, old = exits(made.nest.order), {s.name for s in scheduled.nest.statements}
    for name, loop in before.items():
        kept = after.get(name)
        known = () if kept is None else [(s, v) for s, v in kept.values if s in old]
        if kept is None or kept.exit != loop.exit or sorted(known, key=lambda v: v[0]) != sorted(loop.values, key=lambda v: v[0]):
            return ends_by_data(scheduled, name)
    return None


#: Steps that move no statement.
_INSIDE = frozenset({"parallel", "vector", "contract", "block", "thread", "lane", "shared", "register", "stage", "tensor"})


def apply_step(scheduled: Scheduled, step: Step) -> Scheduled:
    """The program after one step. Raises IllegalSchedule with the reason."""
    reason = why_not(scheduled, step)
    if reason:
        raise refused(scheduled.nest, step, reason)
    made = STEPS[step.name][0](scheduled, *step.args)
    return made.proved_as(None) if scheduled.known_proved and _keeps(step) else made


def _keeps(step: Step) -> bool:
    """Whether a step that applies leaves an order of the program one: it changes none, or nothing that a dependence joins."""
    return step.name in _KEEPING or (step.name == "tile" and sum(isinstance(a, str) for a in step.args) == 1)


_KEEPING = frozenset({"fission", "distribute", "fuse", "drop", "omit", "shift"}) | _INSIDE


def refused(nest: Nest, step: Step, reason: str) -> IllegalSchedule:
    """What is wrong with a step: the reason, concrete iterations, and where the statements they are of come from."""
    where = f"line {step.line} of the schedule: " if step.line else ""
    text, behind = f"{where}step `{step}` does not apply: {reason}", ""
    if not isinstance(reason, Reason):
        return IllegalSchedule(text)
    for name in dict.fromkeys((reason.dependence.source, reason.dependence.sink)):
        span = nest.statement_table[name].span
        if span is not None:
            behind += f"\n  {name} comes from {span.source.name}:{span.line}: {span.source.line(span.line).strip()}"
    return IllegalSchedule(Reason.of(text, reason.dependence, reason.pairs, behind))


def apply(nest: Nest, schedule: Schedule, *, strict: bool = False, tf32: bool = False) -> Scheduled:
    """The scheduled program, its final order proved against every dependence. Raises IllegalSchedule naming the step."""
    stages = [Scheduled.start(nest, strict=strict, tf32=tf32)]
    for step in schedule.steps:
        reason = why_not(stages[-1], step)
        if reason:
            raise refused(stages[-1].nest, step, _gone(stages, schedule, step) or reason)
        stages.append(STEPS[step.name][0](stages[-1], *step.args))
    found = _illegal(stages[-1], strict)
    if found is None:
        return stages[-1]
    legal = next(n for n in range(len(stages) - 1, -1, -1) if _illegal(stages[n], strict) is None)
    raise refused(stages[-1].nest, schedule.steps[legal], _illegal(stages[legal + 1], strict) or found)


def _gone(stages: list[Scheduled], schedule: Schedule, step: Step) -> str:
    """Which step took away a loop that this one names."""
    for place, arg in enumerate(step.args):
        if role(STEPS[step.name][1], place) != "loop":
            continue
        last = max((n for n, stage in enumerate(stages) if arg in stage.loops), default=len(stages) - 1)
        if last < len(stages) - 1:
            taken = schedule.steps[last]
            return f"the loop `{arg}` went away with `{taken}`{f' on line {taken.line}' if taken.line else ''}"
    return ""


def _illegal(scheduled: Scheduled, strict: bool) -> str | None:
    try:
        prove(scheduled, strict=strict)
    except IllegalSchedule as error:
        return error.reason
    return None


def _can_stage(scheduled: Scheduled, name: str, places: int) -> str | None:
    return can_stage(scheduled, name, places)


#: Kinds of loops, and what must hold for them.
_MARKS: dict[str, Callable[[Scheduled, str], str | None]] = {
    "parallel": can_parallel,
    "block": can_parallel,
    "thread": can_parallel,
    "vector": can_vector,
    **{f"lane{n}": can_vector for n in LANES},
    "tensor": misplaced,
    **{f"staged{n}": partial(_can_stage, places=n) for n in PLACES},
}


def prove(scheduled: Scheduled, *, strict: bool = False) -> None:
    """Check the order, and every parallel and vector mark, against the dependences. Raises IllegalSchedule."""
    nest = scheduled.nest
    check_order(nest, nest.order, scheduled.found, strict=strict, rebased=scheduled.rebased)
    for array, owner in sorted(scheduled.private):
        reason = not_private(scheduled, array, owner)
        if reason:
            raise IllegalSchedule(f"{array} is contracted at {owner}, but {reason}")
    for loop in scheduled.loops.values():
        for kind in loop.kind.split():
            test = _MARKS.get(kind)
            reason = test(scheduled, loop.name) if test else None
            if reason:
                text = f"loop {loop.name} is marked {kind}, but {reason}"
                raise IllegalSchedule(Reason.of(text, reason.dependence, reason.pairs) if isinstance(reason, Reason) else text)
