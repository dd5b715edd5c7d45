"""The arguments of a call of a kernel of the processor, as machine code takes them."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from typing import Any


class Arguments(threading.local):
    """The argument arrays of one kernel in one thread: filled anew by each call, never allocated again."""

    def __init__(self, operands: int, integers: int) -> None:
        self.pointers = (ctypes.c_void_p * max(1, operands))()
        self.batch_strides = (ctypes.c_int64 * max(1, operands))()
        self.team_strides = (ctypes.c_int64 * max(1, operands))()
        self.integers = (ctypes.c_int64 * max(1, integers))()
        self.at = tuple(ctypes.addressof(a) for a in (self.pointers, self.batch_strides, self.team_strides, self.integers))

    def fill(
        self, operands: Sequence[Any], batch_strides: Sequence[int], team_strides: Sequence[int], integers: Sequence[int]
    ) -> None:
        """Set them for a call."""
        count = len(operands)
        self.pointers[:count] = [t.data_ptr() for t in operands]
        self.batch_strides[:count] = list(batch_strides)
        self.team_strides[:count] = list(team_strides)
        if integers:
            self.integers[: len(integers)] = list(integers)
