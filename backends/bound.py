"""A kernel of the processor bound to operands of one layout: what a call need not work out again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

#: A kernel whose numbers are set, as a function of its inputs and outputs, and of integers that are not as before, by place.
Prepared = Callable[[Sequence[Any], Sequence[tuple[int, int]]], None]


def is_readable(x: Tensor) -> bool:
    """Whether memory has the elements of a tensor one behind the other, as they are."""
    return x.is_contiguous() and not x.is_conj() and not x.is_neg()


class Bound:
    """A kernel as a function of flat inputs that are contiguous. ``outputs`` are shapes and dtypes of what it writes, which is ``cleared`` first if it
    adds to it; those at places ``sums`` have one part from each team. ``threads`` is how many it counted on. ``indices`` are the places of integers
    that each call has anew, with their names: indices of loops."""

    def __init__(
        self, call: Prepared, outputs: Sequence[tuple[tuple[int, ...], torch.dtype]], sums: Sequence[int], *, cleared: bool, threads: int,
        indices: Sequence[tuple[int, str]] = (),
    ) -> None:  # fmt: skip
        self._call, self._outputs, self._sums, self._indices = call, outputs, sums, indices
        self._make = torch.zeros if cleared else torch.empty
        self.threads = threads

    def __call__(self, inputs: Sequence[Tensor], sizes: Mapping[str, int]) -> list[Tensor] | None:
        """The outputs; None for inputs that are not as the kernel reads them."""
        for x in inputs:
            if not is_readable(x):
                return None
        make = self._make
        outputs = [make(shape, dtype=dtype) for shape, dtype in self._outputs]
        self._call((*inputs, *outputs), [(place, sizes[name]) for place, name in self._indices])
        for n in self._sums:
            outputs[n] = outputs[n].sum(0)
        return outputs
