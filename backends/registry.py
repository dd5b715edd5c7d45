"""Targets by name, and which of them can be used here."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from ..compiler import options
from ..compiler.diagnostics import CompileError, DataError
from ..compiler.nearest import did_you_mean

if TYPE_CHECKING:
    from ..compiler.target import Target

#: Other names of targets; ``cpu`` is the best one for the processor that can be used here.
ALIASES = {"interp": "interpreter"}
#: Where the class of a target is, and what it is called.
_CLASSES = {
    "c": (".cpu", "CTarget"),
    "numba": (".numba.target", "NumbaTarget"),
    "cuda": (".cuda.target", "CudaTarget"),
    "emulated": (".cuda.target", "EmulatedTarget"),
    "triton": (".triton.target", "TritonTarget"),
    "triton_interpreted": (".triton.target", "InterpretedTritonTarget"),
    "tvm": (".tvm.target", "TvmTarget"),
    "tvm_cuda": (".tvm.gpu_target", "TvmCudaTarget"),
    "tvm_emulated": (".tvm.gpu_target", "TvmEmulatedTarget"),
}
NAMES = (*_CLASSES, "interpreter")
CPU_TARGETS = ("c", "numba")
#: Targets whose kernels run on a GPU, with tensors there. They compile anywhere.
GPU_TARGETS = ("cuda", "triton", "tvm_cuda")
#: Targets that may run products of f32 on tensor cores.
TF32_TARGETS = ("cuda", "emulated", "triton", "triton_interpreted")
#: The target of tensors on a GPU where a caller names none.
GPU_TARGET = "cuda"
#: The series of apache-tvm that target ``tvm`` is written for; pyproject.toml says the same.
TVM_SERIES = "0.27"
NO_TRITON = "triton is not installed: pip install 'unspool[triton]'"

logger = logging.getLogger("unspool")


@dataclass(frozen=True)
class Availability:
    """Whether a target can be used here: ``reason`` says why not, or what it runs on."""

    name: str
    usable: bool
    reason: str


def canonical(name: str | None) -> str:
    """The target's own name; for None the one that ``UNSPOOL_TARGET`` asks for, else the best one that can be used here.

    Raises DataError for an unknown name.
    """
    wanted = name or options.current.target
    if wanted in ("", "cpu"):
        best = _best(options.current.compiler)
        return best or ("interpreter" if not wanted else CPU_TARGETS[0])
    wanted = ALIASES.get(wanted, wanted)
    if wanted not in NAMES:
        raise DataError(
            f"no target is called {wanted!r}; there are cpu, {', '.join(NAMES)}{did_you_mean(wanted, ['cpu', *NAMES])}"
        )
    return wanted


def device_type(name: str) -> str:
    """The type of the devices that the kernels of a target run on, as torch calls it."""
    return "cuda" if name in GPU_TARGETS else "cpu"


@cache
def _best(compiler: str) -> str | None:
    """The target that ``cpu`` stands for with this setting of the C compiler, or None; said once."""
    found = next((name for name in CPU_TARGETS if availability(name).usable), None)
    if found == "numba":
        logger.warning("target cpu is numba here: %s", availability("c").reason)
    elif found is None:
        reasons = "; ".join(availability(name).reason for name in CPU_TARGETS)
        logger.warning("nothing is compiled here, the interpreter runs programs op by op: %s", reasons)
    return found


def target(name: str, *, strict: bool = False, tune: float | None = None, scheduler: str = "") -> Target | None:
    """The target of a canonical name; None is the interpreter. ``tune``: how many seconds schedules are measured for each kernel;
    ``scheduler``: who ranks them. Raises
    CompileError if it cannot be used here (targets of a GPU compile without one), DataError for one that has no such choice."""
    if tune is not None and name != "c":
        raise DataError(f"tune= measures schedules of target c, not {name}")
    if scheduler == "learned" and name not in CPU_TARGETS:
        raise DataError(f"the learned scheduler ranks schedules of targets {' and '.join(CPU_TARGETS)}, not {name}")
    if name == "interpreter":
        return None
    _require(_compiles(name))
    module, made = _CLASSES[name]
    given: dict[str, Any] = {"strict": strict} if tune is None else {"strict": strict, "tune": tune}
    if scheduler and name in CPU_TARGETS:
        given["scheduler"] = scheduler
    found: Target = getattr(importlib.import_module(module, __package__), made)(**given)
    return found


def debugging(target: Target | None) -> Target | None:
    """The target of debug builds; None stays the interpreter. Raises DataError for a target that has none."""
    if target is None:
        return None
    if target.name != "c":
        raise DataError(f"debug builds are for targets c and interpreter, not {target.name}")
    from .debug_target import DebugTarget

    return DebugTarget(strict=True)


def allowing(target: Target | None, *, tf32: bool) -> Target | None:
    """A target whose products may be rounded to TF32, if it has them."""
    if not tf32 or target is None or target.name not in TF32_TARGETS:
        return target
    found: Any = target
    made: Target = found.with_tf32()
    return made


def _compiles(name: str) -> Availability:
    """Whether kernels of a target can be made on this machine: those of a GPU can without one."""
    if name == "cuda":
        return Availability(name, True, "")
    if name == "triton":
        return Availability(name, _has_triton(), NO_TRITON)
    return replace(_tvm(), name=name) if name == "tvm_cuda" else availability(name)


def _require(found: Availability) -> None:
    """Raises CompileError where a target cannot be used."""
    if not found.usable:
        raise CompileError(f"target {found.name} cannot be used here: {found.reason}")


def availability(name: str) -> Availability:
    """Whether a target can be used on this machine."""
    if name == "interpreter":
        return Availability(name, True, "PyTorch, op by op; every dtype and device")
    if name == "cuda":
        return _nvidia(name)
    if name == "emulated":
        return _emulated(name, "the text of target cuda on the processor")
    if name == "tvm_cuda":
        return _both(name, _tvm(), _nvidia)
    if name == "tvm_emulated":
        return _both(name, _tvm(), lambda name: _emulated(name, "the text of target tvm_cuda on the processor"))
    if name == "tvm":
        return _tvm()
    if name in ("triton", "triton_interpreted"):
        return _triton(name)
    return _numba() if name == "numba" else _compiler(options.current.compiler)


def check_usable(name: str) -> None:
    """Raises CompileError if kernels of a target cannot run here."""
    if name in GPU_TARGETS:
        _require(availability(name))


def _nvidia(name: str) -> Availability:
    """A target whose kernels are CUDA C++, launched on NVIDIA GPUs."""
    from .cuda import launch as cuda_launch

    reason = cuda_launch.unusable()
    return Availability(name, reason is None, reason or cuda_launch.usable())


def _emulated(name: str, what: str) -> Availability:
    """A target whose kernels are CUDA C++, run on the processor."""
    from .cuda.emulate import find_compiler

    try:
        return Availability(name, True, f"{what}, by {find_compiler()}: for tests")
    except CompileError as error:
        return Availability(name, False, str(error))


def _both(name: str, package: Availability, runs: Callable[[str], Availability]) -> Availability:
    """A target that takes a package to make kernels, and something else to run them."""
    if not package.usable:
        return replace(package, name=name)
    found = runs(name)
    return replace(found, reason=f"{package.reason}, {found.reason}") if found.usable else found


@cache
def _numba() -> Availability:
    """Target ``numba``; the package is looked for, not imported."""
    if importlib.util.find_spec("numba") is None:
        return Availability("numba", False, "numba is not installed: pip install numba")
    return Availability("numba", True, f"numba {importlib.metadata.version('numba')}")


def _has_triton() -> bool:
    """Whether the package is there; it is looked for, not imported."""
    return importlib.util.find_spec("triton") is not None


def _triton(name: str) -> Availability:
    """Target ``triton`` or its sibling."""
    if not _has_triton():
        return Availability(name, False, NO_TRITON)
    version = f"triton {importlib.metadata.version('triton')}"
    if name == "triton_interpreted":
        return Availability(name, True, f"the text of target triton on the processor, by the interpreter of {version}: for tests")
    import torch

    if not torch.cuda.is_available():
        return Availability(name, False, f"torch finds no NVIDIA GPU; {version} compiles kernels here, and target triton_interpreted runs them")
    return Availability(name, True, f"{version}, {torch.cuda.get_device_name()}")


@cache
def _tvm() -> Availability:
    """Target ``tvm``; the package is looked for, not imported. Its nodes have other names in every few versions, so one series will do."""
    if importlib.util.find_spec("tvm") is None:
        return Availability("tvm", False, "TVM is not installed: pip install 'unspool[tvm]'")
    try:
        version = importlib.metadata.version("apache-tvm")
    except importlib.metadata.PackageNotFoundError:
        version = "of unknown version"
    if not version.startswith(f"{TVM_SERIES}."):
        return Availability("tvm", False, f"apache-tvm {version} is installed, it takes {TVM_SERIES}: pip install 'unspool[tvm]'")
    return Availability("tvm", True, f"apache-tvm {version}")


@cache
def _compiler(wanted: str) -> Availability:
    """Target ``c`` with the compiler that the switch names."""
    from .build import find_compiler

    try:
        return Availability("c", True, find_compiler())
    except CompileError as error:
        return Availability("c", False, str(error))
