"""The devices that kernels run on, by torch's names for them: ``cpu`` and ``cuda``. What of each a caller must know: its memory, how many
problems it works on at once, what to do about a tensor that lies elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from ..compiler.diagnostics import DataError

#: As messages call them.
WHAT = {"cpu": "the cpu", "cuda": "an NVIDIA GPU"}
#: Blocks of a multiprocessor that are reckoned with before a kernel is compiled.
RESIDENT = 2
#: Results summed over problems are summed by each team first, in memory of its own: no more bytes than that in all.
PARTIAL_SUMS = 256 << 20


class OutOfMemory(DataError, torch.OutOfMemoryError):
    """A device has not the memory for a call. It is a DataError, and what torch raises."""


def memory(type: str) -> int | None:
    """Bytes of memory of the machine, or of the current GPU; None where the system does not tell."""
    if type == "cuda":
        return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory if torch.cuda.is_available() else None
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # no such call on this system
        return None


def at_work(problems: int, type: str) -> int:
    """How many of so many problems, or tiles of them, a device works on at once."""
    if type == "cuda":
        return min(max(1, problems), RESIDENT * multiprocessors())
    return min(max(1, problems), torch.get_num_threads())


def summing(teams: int, summed: int) -> int:
    """How many of so many teams there may be where each sums up ``summed`` bytes of results by itself."""
    return max(1, min(teams, PARTIAL_SUMS // summed)) if summed else max(1, teams)


def multiprocessors() -> int:
    """Multiprocessors of the current GPU; where there is none, those of an H100."""
    if not torch.cuda.is_available():
        return 132
    return int(torch.cuda.get_device_properties(torch.cuda.current_device()).multi_processor_count)


def current(type: str) -> torch.device:
    """Where a value goes that is on no device yet, as a number."""
    return torch.device("cuda", torch.cuda.current_device()) if type == "cuda" else torch.device("cpu")


def misplaced(tensors: Sequence[Tensor], type: str) -> int | None:
    """The place of the first operand that is not on a device of this type, or on another one than the operands before it."""
    if type == "cpu":
        for i, x in enumerate(tensors):  # plain loops: every call passes here
            if not x.is_cpu:
                return i
        return None
    home = tensors[0].get_device() if tensors else 0
    for i, x in enumerate(tensors):
        if x.get_device() != home or not x.is_cuda:
            return i
    return None


def allocate(shape: Sequence[int], dtype: torch.dtype, device: torch.device | None, name: str, *, zero: bool = False) -> Tensor:
    """A tensor on a device (None: the cpu). Raises :class:`OutOfMemory` with sizes."""
    make = torch.zeros if zero else torch.empty
    if device is None:
        return make(shape, dtype=dtype)
    try:
        return make(shape, dtype=dtype, device=device)
    except torch.OutOfMemoryError as error:
        size = dtype.itemsize
        for extent in shape:
            size *= extent
        raise _out_of_memory(name, size, device) from error


def _out_of_memory(what: str, size: int, device: torch.device) -> OutOfMemory:
    """The error of an allocation of ``size`` bytes for ``what``."""
    free, total = torch.cuda.mem_get_info(device)
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return OutOfMemory(
        f"{what} needs {shown(size)} on {device}, where {shown(free + held)} of {shown(total)} are free: take fewer problems at a time, "
        "or let the gradient take less with memory="
    )


def shown(size: int) -> str:
    """Bytes as a person writes them."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.4g} {unit}"
    return f"{size} bytes"
