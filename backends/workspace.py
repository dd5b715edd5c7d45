"""Scratch memory for kernel calls: one buffer per thread of the caller, reused from call to call."""

from __future__ import annotations

import threading

import torch

#: Larger buffers are given back after the call. The next one then gets pages that the system has to clear, which for a tape of 200 MB takes
#: as long as filling it.
KEEP_BYTES = 256 << 20


class Workspace(threading.local):
    """The scratch memory of the calling thread."""

    def __init__(self) -> None:
        self._buffer = torch.empty(0, dtype=torch.uint8)

    def get(self, size: int) -> torch.Tensor:
        """A buffer of at least ``size`` bytes, to be held until the call has returned."""
        if size <= self._buffer.numel():
            return self._buffer
        buffer = torch.empty(size, dtype=torch.uint8)
        if size <= KEEP_BYTES:
            self._buffer = buffer
        return buffer


workspace = Workspace()
