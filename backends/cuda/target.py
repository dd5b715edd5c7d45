"""Targets ``cuda`` and ``emulated``: loop trees become CUDA C++, for a GPU and its tensors, or run on the processor with tensors there.

A call of a kernel fills one struct (``us_call``, see :mod:`.source`), which the launcher hands over; scratch memory is torch's.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from ...compiler.diagnostics import CompileError, DataError
from ...compiler.loops.tree import Function
from ...compiler.target import Gpu
from .. import devices
from ..affine import evaluate
from ..base_target import TreeTarget, operands
from ..c_runtime import C_TYPES
from ..rooms import Rooms
from ..workspace import workspace
from .source import COUNTER, HEAD, CudaSource

#: Parameters of a kernel take no more bytes than that.
PARAMETERS = 4096
#: Elements of an array of a problem are below.
LIMIT = 2**31
#: Blocks that the emulated device runs at once.
EMULATED_BLOCKS = 4


class Launcher(Protocol):
    """Runs the kernels of a source (see the launchers of the two targets)."""

    def launch(self, source: CudaSource, grid: int, call: Any, keep: Any) -> None:
        """Start ``grid`` blocks with the struct ``call``; ``keep`` are objects that must live until it is through."""


class Device(Protocol):
    """What a kernel needs of what it runs on."""

    def launcher(self, source: CudaSource) -> Launcher:
        """What runs this one kernel."""

    def capacity(self, launcher: Any, source: CudaSource, index: int | None) -> int:
        """Blocks of the kernel that run at once on the device of that index; None is the current one."""

    def scratch(self, size: int, like: Tensor, name: str) -> Tensor:
        """At least so many bytes where ``like`` lies. Raises OutOfMemory."""

    def zero(self, launcher: Any, at: int, size: int, like: Tensor) -> None:
        """Zeros for so many bytes at an address, before what is launched later."""

    def check(self, operands: Sequence[Tensor], name: str) -> None:
        """Raises DataError if an operand is not on the one device of all."""

    def read(self, scratch: Tensor, offset: int) -> int:
        """The number of 4 bytes at an offset, when what has been launched is through."""


class Host:
    """The processor as a device: kernels run when they are launched."""

    def launcher(self, source: CudaSource) -> Launcher:
        """See :class:`Device`."""
        from .emulate import EmulatedLauncher

        return EmulatedLauncher()

    def capacity(self, launcher: Any, source: CudaSource, index: int | None) -> int:
        """See :class:`Device`."""
        return EMULATED_BLOCKS

    def scratch(self, size: int, like: Tensor, name: str) -> Tensor:
        """See :class:`Device`."""
        return workspace.get(size)

    def zero(self, launcher: Any, at: int, size: int, like: Tensor) -> None:
        """See :class:`Device`."""
        ctypes.memset(at, 0, size)

    def check(self, operands: Sequence[Tensor], name: str) -> None:
        """See :class:`Device`."""
        n = devices.misplaced(operands, "cpu")
        if n is not None:
            raise DataError(f"operand {n} of the kernel of {name} is on device {operands[n].device}, and target emulated runs on the cpu")

    def read(self, scratch: Tensor, offset: int) -> int:
        """See :class:`Device`."""
        return ctypes.c_int.from_address(scratch.data_ptr() + offset).value


class Nvidia:
    """NVIDIA GPUs: whatever is asked for is done in the current stream of the operands' device."""

    def launcher(self, source: CudaSource) -> Launcher:
        """See :class:`Device`."""
        from .launch import DeviceLauncher

        return DeviceLauncher()

    def capacity(self, launcher: Any, source: CudaSource, index: int | None) -> int:
        """See :class:`Device`."""
        from .launch import unusable

        if unusable() is not None:  # as much as is reckoned with before a kernel is compiled
            return devices.at_work(LIMIT, "cuda")
        return int(launcher.capacity(source, index))

    def scratch(self, size: int, like: Tensor, name: str) -> Tensor:
        """See :class:`Device`."""
        return devices.allocate((size,), torch.uint8, like.device, f"the kernel of {name}")

    def zero(self, launcher: Any, at: int, size: int, like: Tensor) -> None:
        """See :class:`Device`."""
        launcher.zero(at, size, like)

    def check(self, operands: Sequence[Tensor], name: str) -> None:
        """See :class:`Device`."""
        n = devices.misplaced(operands, "cuda")
        if n is not None:
            x = operands[n]
            if x.is_cuda:
                raise DataError(f"operands of the kernel of {name} are on devices {operands[0].device} and {x.device}: move them to one")
            raise DataError(f"operand {n} of the kernel of {name} is on device {x.device}, and target cuda runs on an NVIDIA GPU")

    def read(self, scratch: Tensor, offset: int) -> int:
        """See :class:`Device`. Waits for the stream."""
        return int(scratch[offset : offset + 4].view(torch.int32).item())


class _Call(threading.local):
    """The struct of the calls of one kernel in one thread, filled anew by each."""

    def __init__(self, fields: int) -> None:
        self.array = (ctypes.c_int64 * fields)()


class _CountedRooms(Rooms):
    """What calls of a kernel need; numbers too large for a GPU are refused."""

    source: CudaSource

    def measured(self, tiled: bool, values: Mapping[str, int]) -> tuple[int, int]:
        """Bytes of a problem (or tile) and of a thread. Raises DataError where an integer, or the size of an array, is beyond 32 bits."""
        for name, value in values.items():
            if value >= LIMIT:
                raise DataError(f"{name}={value} of the kernel {self.source.name}: kernels of a GPU count below {LIMIT}")
        largest = evaluate(self.source.largest, values)
        if largest >= LIMIT:
            raise DataError(f"an array of the kernel {self.source.name} has {largest} elements, and kernels of a GPU count below {LIMIT}")
        return super().measured(tiled, values)


class CudaKernel:
    """A kernel ready to be called; operands as in :class:`~..compiler.target.Kernel`. ``teams`` are of blocks, ``team_size`` is the blocks
    of a team.

    A kernel that has no run-time check never waits for the device. One that has reads, after each launch, whether one has failed, which
    waits, and cannot be captured in a CUDA graph.
    """

    def __init__(self, source: CudaSource, operands: int, device: Device, launcher: Launcher | None = None) -> None:
        self.source = source
        self.checks = source.checks
        self.device = device
        self.launcher = launcher or device.launcher(source)
        fields = len(HEAD) + 3 * operands + max(1, len(source.integers))
        if 8 * fields > PARAMETERS:
            raise CompileError(
                f"the kernel {source.name} takes {8 * fields} bytes of arguments, for {operands} arrays; CUDA takes {PARAMETERS}"
            )
        self._call = _Call(fields)
        self._pack = struct.Struct(f"{fields}q").pack_into
        self._rooms = _CountedRooms(source)

    def scratch(self, batch: int, teams: int, team_size: int, integers: Sequence[int]) -> int:
        """Bytes of scratch memory of a call."""
        problem, thread = self._rooms.of(batch, integers)
        counters = COUNTER if self.source.meets else 0
        return 64 + teams * (counters + problem + team_size * self.source.threads * thread)

    def shares(self, count: int, summed: int, index: int | None, *, tiles: bool) -> tuple[int, int]:
        """(teams, blocks in each) for so many problems, on the GPU of that ``index`` (None: the current one); ``summed`` bytes are results that
        teams sum up, each in memory of its own; ``tiles``: problems share what those of a tile must.

        As many teams as there are problems, or tiles of them, but no more than run at once. Where they are so few that most of the device
        would be idle, and blocks of a team can wait for each other, several blocks work on each problem.
        """
        source = self.source
        tiled = tiles and 0 < source.tile_from <= count
        capacity = max(1, self.device.capacity(self.launcher, source, index))
        teams = devices.summing(min(-(-count // source.tile) if tiled else count, capacity), summed)
        return teams, max(1, min(source.blocks[tiled], capacity // teams)) if source.meets else 1

    def __call__(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        batch: int,
        batch_strides: Sequence[int],
        team_strides: Sequence[int],
        integers: Sequence[int],
        teams: int,
        team_size: int,
    ) -> None:
        """Run. Raises DataError when a run-time check fails, and OutOfMemory."""
        tensors = (*inputs, *outputs)
        source, device, like, name = self.source, self.device, tensors[-1], self.source.name
        device.check(tensors, name)
        if source.checks:
            self._may_wait(like)
        scratch, place, flag = None, 0, 0
        size = self.scratch(batch, teams, team_size, integers)
        if size > 64 or source.checks:
            scratch = device.scratch(size + 64, like, name)  # the last 64 bytes have the number of a failed check
            start = scratch.data_ptr()
            place = (start + 63) // 64 * 64
            if source.meets:
                device.zero(self.launcher, place, teams * COUNTER, like)
            if source.checks:
                flag = start + (size + 7) // 8 * 8
                device.zero(self.launcher, flag, 8, like)
        call = self._call.array
        addresses = [x.data_ptr() for x in tensors]
        self._pack(call, 0, batch, teams, team_size, place, flag, *addresses, *batch_strides, *team_strides, *(integers or (0,)))
        self.launcher.launch(source, teams * team_size, call, tensors if scratch is None else (*tensors, scratch))
        if scratch is not None and flag:
            failed = device.read(scratch, flag - start)
            if failed:
                raise DataError(self.checks[failed - 1])

    def _may_wait(self, like: Tensor) -> None:
        """Raises DataError where the stream is being captured, so that nothing can be read."""
        if like.is_cuda and torch.cuda.is_current_stream_capturing():
            raise DataError(
                f"the kernel {self.source.name} cannot be captured in a CUDA graph: it has run-time checks ({self.checks[0]}), whose outcome is "
                "read when it is through"
            )


def generic() -> Gpu:
    """What kernels are made for where there is no GPU: multiprocessors as on an H100, shared memory that every GPU since 2020 has."""
    return Gpu(vector_bytes=16, registers=32, cores=132, l1=128 << 10, l2=256 << 10, l3=50 << 20)


@lru_cache(maxsize=1)
def gpu() -> Gpu:
    """The current GPU, or the generic one. What depends on it is how work is cut; a kernel runs on every GPU that has the shared memory."""
    if not torch.cuda.is_available():
        return generic()
    found = torch.cuda.get_device_properties(torch.cuda.current_device())
    known = generic()
    return replace(
        known,
        cores=int(found.multi_processor_count),
        l3=int(getattr(found, "L2_cache_size", known.l3)),
        shared_bytes=int(getattr(found, "shared_memory_per_block_optin", known.shared_bytes)),
        shared_total=int(getattr(found, "shared_memory_per_multiprocessor", known.shared_total)),
    )


@dataclass(frozen=True)
class CudaTarget(TreeTarget[CudaSource]):
    """CUDA C++ on an NVIDIA GPU. ``strict`` keeps products and sums apart. Printing needs no GPU, and compiling none either."""

    strict: bool = False
    machine: Gpu = field(default_factory=gpu)

    name: ClassVar[str] = "cuda"
    suffix: ClassVar[str] = "cu"
    dtypes: ClassVar[frozenset[str]] = frozenset(C_TYPES)
    device: ClassVar[Device] = Nvidia()

    def with_tf32(self) -> CudaTarget:
        """The target that may round factors of f32 products to TF32."""
        return replace(self, machine=replace(self.machine, tf32=True))

    def source(self, function: Function) -> CudaSource:
        """The source of a kernel, one translation unit, with what a launch needs."""
        from .emit import emit

        return emit(function, self.machine, strict=self.strict)

    def assembly(self, function: Function, source: str) -> str:
        """The PTX of a source, for the oldest GPUs that run it. Raises CompileError if it does not compile."""
        from .compile import ptx

        return ptx(source, "sm_80")

    def build(self, function: Function, source: str) -> CudaKernel:
        """The callable kernel. It is loaded here if there is a GPU: what does not fit there is found out now, as a CompileError."""
        kernel = CudaKernel(replace(self.printed(function), text=source), operands(function), self.device)
        load = getattr(kernel.launcher, "load_here", None)
        if load is not None:
            load(kernel.source)
        return kernel


@dataclass(frozen=True)
class EmulatedTarget(CudaTarget):
    """The text of target ``cuda`` run on the processor, a fiber for each thread, with tensors of the processor: for tests and debugging."""

    machine: Gpu = field(default_factory=lambda: replace(generic(), cores=EMULATED_BLOCKS))

    name: ClassVar[str] = "emulated"
    device: ClassVar[Device] = Host()
