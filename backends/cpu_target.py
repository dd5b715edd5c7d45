"""A target of the processor."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..compiler.target import Machine
from .base_target import S, TreeTarget
from .build import machine


@dataclass(frozen=True)
class CpuTarget(TreeTarget[S]):
    """A target of the processor. ``strict`` keeps products and sums apart (no fused multiply-add); ``machine`` sets the tiles."""

    strict: bool = False
    machine: Machine = field(default_factory=machine)
