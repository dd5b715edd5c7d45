"""What a report is about: an algorithm, its kernel, and what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...backends.kernel import Kernel
from ..api import AlgorithmHandle
from ..session import Call
from .data import Data
from .links import Links, PartLinks


@dataclass
class Subject:
    """An algorithm and its kernel. ``call`` has the data, and so has ``data`` as a layer (None: nothing is called); ``given`` names the inputs
    and parameters that the user gave. ``measure``: whether to measure; ``figures`` are then what :func:`~..explain.measured` found. ``strict``:
    whether it was compiled with strict numerics; ``gradients``: whether the kernels of the backward pass are shown, too."""

    handle: AlgorithmHandle
    kernel: Kernel
    call: Call | None = None
    data: Data | None = None
    given: tuple[str, ...] = ()
    measure: bool = False
    strict: bool = False
    gradients: bool = False
    figures: Mapping[str, Any] | None = None

    @cached_property
    def explained(self) -> dict[str, Any]:
        """What ``dsl explain`` tells, with the limits of the machine if it is measured."""
        return self.kernel.report(gradients=self.gradients, limits=self.measure and self.kernel.on_processor)

    @cached_property
    def links(self) -> Links:
        """What everything on the page is linked by."""
        return Links()

    @cached_property
    def parts(self) -> list[PartLinks]:
        """The kernels and their links."""
        return [PartLinks(self.links, name, compiled) for name, compiled, _ in self.kernel.parts(gradients=self.gradients)]
