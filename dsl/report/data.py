"""The algorithm with its data: what is called to be measured, and whose iterations are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ...backends.binding import leading
from ...backends.devices import current
from ...backends.module import Layer
from ...backends.registry import device_type
from ..session import Call


class Data:
    """A layer with the given inputs and parameters of a call, and the inputs that it is called with."""

    def __init__(self, call: Call, params: Mapping[str, Any]) -> None:
        algorithm, routine = call.handle.algorithm, call.handle.routine(call.chosen)
        place = current("cuda") if device_type(routine.settings.target) == "cuda" else None
        values = {name: torch.as_tensor(value, device=place) for name, value in call.values.items()}
        given = {i.name: values[i.name] for i in algorithm.inputs if i.given}
        self.layer = Layer(routine, given, iterations=call.counts, sizes=call.sizes, modules={}, params={}, dtype=call.real)
        self.layer.assign(**params)
        self.inputs = [values[i.name] for i in algorithm.inputs if not i.given]

    def run(self) -> Any:
        """What the layer makes of the inputs, without autograd."""
        with torch.no_grad():
            return self.layer(*self.inputs)


def problems(call: Call) -> tuple[int, ...]:
    """The leading shape that a call's inputs have together. Raises DataError where they do not fit."""
    inputs = call.handle.algorithm.inputs
    return leading([(i.name, i.type, tuple(torch.as_tensor(call.values[i.name]).shape)) for i in inputs if not i.given])
