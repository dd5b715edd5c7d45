"""What the targets of the processor share."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..compiler.search.draft import Draft, Task
from ..compiler.target import Machine
from .base_target import S, TreeTarget
from .build import machine
from .tuning.choice import choose


@dataclass(frozen=True)
class CpuTarget(TreeTarget[S]):
    """A target of the processor. ``strict`` keeps products and sums apart (no fused multiply-add); ``machine`` sets the tiles; schedules
    are chosen by measuring for ``tune`` seconds (None: they are not, but what was found before is used), or by ``scheduler`` (see
    :func:`~..compiler.search.learned.choice.model_for`)."""

    strict: bool = False
    machine: Machine = field(default_factory=machine)
    tune: float | None = field(default=None, compare=False)
    scheduler: str = field(default="", compare=False)

    def choose(self, task: Task) -> Draft:
        """The schedule of a nest. Raises IllegalSchedule if there is none."""
        return choose(task, self, self.tune, self.scheduler)
