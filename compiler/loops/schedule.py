"""A schedule is a list of named steps with a text form; applying one replays it and proves the result.

fuse i3 i7; tile i3 64; parallel i3_o; vector i9; contract length i3

A line ``batch 16`` begins the part for tiles of 16 problems (see :mod:`.batch_tile`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .dependences import IllegalSchedule, check_order
from .nest import Nest
from .scheduled import Scheduled
from .steps.contract import can_contract, contract
from .steps.fuse import can_distribute, can_fuse, distribute, fuse
from .steps.mark import can_parallel, can_vector, parallel, vector
from .steps.reorder import can_interchange, can_reverse, can_shift, can_skew, interchange, reverse, shift, skew
from .steps.tile import can_tile, tile

#: step name -> (transformation, its can_ twin)
STEPS: dict[str, tuple[Callable[..., Scheduled], Callable[..., str | None]]] = {
    "fuse": (fuse, can_fuse),
    "distribute": (distribute, can_distribute),
    "interchange": (interchange, can_interchange),
    "shift": (shift, can_shift),
    "reverse": (reverse, can_reverse),
    "skew": (skew, can_skew),
    "tile": (tile, can_tile),
    "parallel": (parallel, can_parallel),
    "vector": (vector, can_vector),
    "contract": (contract, can_contract),
}


@dataclass(frozen=True)
class Step:
    """One transformation and its arguments (loop names, array names, block sizes)."""

    name: str
    args: tuple[str | int, ...]

    def __str__(self) -> str:
        return " ".join([self.name, *map(str, self.args)])


@dataclass(frozen=True)
class Schedule:
    """Steps in the order they apply. ``str`` of it is read back by :func:`parse_schedule`."""

    steps: tuple[Step, ...] = ()

    def __str__(self) -> str:
        return "\n".join(map(str, self.steps))


def parse_schedule(text: str) -> Schedule:
    """Read steps separated by newlines or ``;``; ``#`` starts a comment. Raises IllegalSchedule for an unknown step."""
    steps = []
    for line in text.replace(";", "\n").splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0] not in STEPS:
            raise IllegalSchedule(f"unknown step `{words[0]}`; there are {', '.join(STEPS)}")
        steps.append(Step(words[0], tuple(int(w) if w.lstrip("-").isdigit() else w for w in words[1:])))
    return Schedule(tuple(steps))


def split_batch(text: str) -> tuple[str, int, str]:
    """The steps for one problem, the size of a batch tile (0: none), and the steps for a tile. Raises IllegalSchedule."""
    lines = text.replace(";", "\n").splitlines()
    for n, line in enumerate(lines):
        words = line.split("#")[0].split()
        if words[:1] == ["batch"]:
            if len(words) != 2 or not words[1].isdecimal() or not 2 <= int(words[1]) <= 64:
                raise IllegalSchedule(f"`{line.strip()}`: a batch tile holds 2 to 64 problems, as in `batch 16`")
            return "\n".join(lines[:n]), int(words[1]), "\n".join(lines[n + 1 :])
    return text, 0, ""


def why_not(scheduled: Scheduled, step: Step) -> str | None:
    """Why a step does not apply, or None."""
    try:
        return STEPS[step.name][1](scheduled, *step.args)
    except TypeError:
        return f"wrong arguments for {step.name}"


def apply_step(scheduled: Scheduled, step: Step) -> Scheduled:
    """The program after one step. Raises IllegalSchedule with the reason."""
    reason = why_not(scheduled, step)
    if reason:
        raise IllegalSchedule(f"step `{step}` does not apply: {reason}")
    return STEPS[step.name][0](scheduled, *step.args)


def apply(nest: Nest, schedule: Schedule, *, strict: bool = False) -> Scheduled:
    """The scheduled program, its final order proved against every dependence. Raises IllegalSchedule naming the step."""
    stages = [Scheduled.start(nest)]
    for step in schedule.steps:
        stages.append(apply_step(stages[-1], step))
    reason = _illegal(stages[-1], strict)
    if reason is None:
        return stages[-1]
    legal = next(n for n in range(len(stages) - 1, -1, -1) if _illegal(stages[n], strict) is None)
    raise IllegalSchedule(f"step `{schedule.steps[legal]}` does not apply: {reason}")


def _illegal(scheduled: Scheduled, strict: bool) -> str | None:
    try:
        prove(scheduled, strict=strict)
    except IllegalSchedule as error:
        return str(error)
    return None


def prove(scheduled: Scheduled, *, strict: bool = False) -> None:
    """Check the order, and every parallel and vector mark, against the dependences. Raises IllegalSchedule."""
    nest = scheduled.nest
    check_order(nest, nest.order, scheduled.found, strict=strict, rebased=scheduled.rebased)
    for loop in scheduled.loops.values():
        for kind in loop.kind.split():
            test = {"parallel": can_parallel, "vector": can_vector}.get(kind)
            reason = test(scheduled, loop.name) if test else None
            if reason:
                raise IllegalSchedule(f"loop {loop.name} is marked {kind}, but {reason}")
