"""A schedule in the making: the program so far and the steps that led to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ..graph.types import Size
from ..loops.dependences import IllegalSchedule
from ..loops.nest import Nest, loops_of
from ..loops.schedule import Schedule, Step, apply_step, why_not
from ..loops.scheduled import Scheduled
from ..target import Gpu, Machine


@dataclass(frozen=True)
class Task:
    """What is to be scheduled. ``strict``: no re-association. ``tile``: the nest of a batch tile, whose innermost loops are
    vectors over problems; ``problems`` are those of a tile, and ``counts`` the values that its integers have then, for who measures it."""

    nest: Nest
    machine: Machine
    strict: bool = False
    tile: bool = False
    problems: int = 1
    counts: tuple[tuple[str, int], ...] = ()

    @property
    def tf32(self) -> bool:
        """Whether factors of products may be rounded to TF32."""
        return isinstance(self.machine, Gpu) and self.machine.tf32 and not self.strict


@dataclass
class Draft:
    """A schedule in the making. Loops in ``closed``, and all inside them, are finished: later passes leave them alone. ``origin`` names who
    made it; ``margin`` is how many times shorter its estimate must be than that of others for it to be taken."""

    task: Task
    scheduled: Scheduled
    steps: list[Step] = field(default_factory=list)
    closed: set[str] = field(default_factory=set)
    origin: str = "program"
    margin: float = 1.0

    @staticmethod
    def of(task: Task) -> Draft:
        """Program order."""
        return Draft(task, Scheduled.start(task.nest, strict=task.strict, tf32=task.tf32))

    def copy(self) -> Draft:
        """Another draft that goes on from here."""
        return replace(self, steps=list(self.steps), closed=set(self.closed))

    def adopt(self, other: Draft) -> None:
        """Go on from where another draft of the same task is."""
        self.scheduled, self.steps, self.closed, self.margin = other.scheduled, other.steps, other.closed, other.margin

    def is_open(self, name: str) -> bool:
        """Whether later passes may still change a loop."""
        return not self.closed & {name, *(loop.name for loop in self.scheduled.outer(name))}

    def can(self, name: str, *args: str | int | Size) -> bool:
        """Whether a step applies."""
        return why_not(self.scheduled, _step(name, args)) is None

    def take(self, name: str, *args: str | int | Size) -> None:
        """Apply a step. Raises IllegalSchedule if it does not apply."""
        step = _step(name, args)
        self.scheduled = apply_step(self.scheduled, step)
        self.steps.append(step)

    def attempt(self, name: str, *args: str | int | Size) -> bool:
        """Apply a step if it applies."""
        if not self.can(name, *args):
            return False
        self.take(name, *args)
        return True

    def trying(self, make: Callable[..., bool | None], *args: object) -> bool:
        """Go on from what ``make(copy, *args)`` makes of a copy, unless it says False or a step does not apply."""
        trial = self.copy()
        try:
            if make(trial, *args) is False:
                return False
        except IllegalSchedule:
            return False
        self.adopt(trial)
        return True

    def vectorise(self, name: str) -> None:
        """Run the innermost loops of a loop as vectors where that is possible, those written out aside."""
        for loop in list(loops_of(self.scheduled.loop(name).body)):
            if loop.innermost and "unroll" not in loop.kind:
                self.attempt("vector", loop.name)

    @property
    def schedule(self) -> Schedule:
        """The steps so far."""
        return Schedule(tuple(self.steps))


def _step(name: str, args: tuple[str | int | Size, ...]) -> Step:
    """A step as its text form has it, in which arguments are words."""
    return Step(name, tuple(a if isinstance(a, int) else str(a).replace(" ", "") for a in args))
