"""Targets ``tvm_cuda`` and ``tvm_emulated``: TVMScript for a GPU, which TVM makes CUDA C++ of; compiled and launched as the kernels of target ``cuda``
are, or run on the processor by the same emulator. A second generator of CUDA, for comparison.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ...compiler.loops.tree import Function
from ...compiler.target import Machine
from ..base_target import TreeTarget, operands
from ..c_runtime import C_TYPES
from ..cuda.source import CudaSource
from ..cuda.target import CudaKernel, Device, Host, Nvidia
from .gpu import THREADS, GpuScript, script
from .gpu_kernel import kernel
from .target import translated


def block() -> Machine:
    """What schedules are cut for: the threads of a block, each of which takes one number at a time, and one problem."""
    return Machine(vector_bytes=4, registers=32, cores=THREADS, problems=1)


@dataclass(frozen=True)
class TvmCudaTarget(TreeTarget[GpuScript]):
    """TVM for NVIDIA GPUs. Every dtype; the half precisions as storage. Neither printing nor compiling needs a GPU."""

    strict: bool = False
    machine: Machine = field(default_factory=block)

    name: ClassVar[str] = "tvm_cuda"
    suffix: ClassVar[str] = "py"
    dtypes: ClassVar[frozenset[str]] = frozenset(C_TYPES)
    device: ClassVar[Device] = Nvidia()

    def source(self, function: Function) -> GpuScript:
        """The TVMScript, with its run-time checks."""
        return script(function, strict=self.strict)

    def cuda(self, function: Function, source: str) -> CudaSource:
        """The CUDA C++ that TVM makes of a source, in a kernel. Raises CompileError if TVM does not take it."""
        return kernel(self.printed(function), translated(source, self.strict))

    def assembly(self, function: Function, source: str) -> str:
        """That CUDA C++ as text."""
        return self.cuda(function, source).text

    def build(self, function: Function, source: str) -> CudaKernel:
        """The callable kernel, loaded here if there is a GPU. Raises CompileError: what TVM does not take, what the device cannot run."""
        made = CudaKernel(self.cuda(function, source), operands(function), self.device)
        load = getattr(made.launcher, "load_here", None)
        if load is not None:
            load(made.source)
        return made


class TvmEmulatedTarget(TvmCudaTarget):
    """The text of target ``tvm_cuda`` run on the processor, a fiber for each thread, with tensors of the processor: for tests."""

    name: ClassVar[str] = "tvm_emulated"
    device: ClassVar[Device] = Host()
