"""Launching kernels on NVIDIA GPUs by the driver's interface (cuda-bindings).

A kernel is compiled for the architecture of a device, loaded into the context that torch uses there, and launched in the current torch stream,
all on first use; later a launch is one call of the driver. Nothing is copied, nothing waits, so that a CUDA graph can capture it.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ...compiler.diagnostics import CompileError
from ..devices import shown
from .compile import compiler, cubin
from .source import CudaSource

#: The oldest architecture that kernels are made for (copies into shared memory beside the threads came with it).
OLDEST = (8, 0)
_ONE = ctypes.c_void_p * 1
#: Results of the driver: a thread without a context; cubins of another architecture or of a newer compiler than the driver knows.
NO_CONTEXT, FOREIGN = 201, (200, 209, 218, 222, 223)


@cache
def bindings() -> Any:
    """The module of the driver's functions. Raises CompileError if it is not there."""
    if importlib.util.find_spec("cuda") is None or importlib.util.find_spec("cuda.bindings") is None:
        raise CompileError("cuda-bindings is not installed: pip install 'unspool[cuda]'")
    return importlib.import_module("cuda.bindings.driver")


@cache
def unusable() -> str | None:
    """Why no kernel can be launched here; None if it can."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} was built without CUDA: install a CUDA build of torch"
    if not torch.cuda.is_available():
        return f"torch {torch.__version__} was built for CUDA {torch.version.cuda} and finds no NVIDIA GPU: {_why_none()}"
    found = [torch.cuda.get_device_capability(n) for n in range(torch.cuda.device_count())]
    if max(found) < OLDEST:
        listed = ", ".join(f"{torch.cuda.get_device_name(n)} ({a}.{b})" for n, (a, b) in enumerate(found))
        return f"kernels are made for compute capability {OLDEST[0]}.{OLDEST[1]} and newer, and here is {listed}"
    try:
        bindings()
        compiler()
    except CompileError as error:
        return str(error)
    return None


def _why_none() -> str:
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0]
    return "no device is visible (is CUDA_VISIBLE_DEVICES empty?)"


def usable() -> str:
    """What kernels run on here: the GPUs and the driver's version."""
    names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return f"{', '.join(dict.fromkeys(names))}, driver for CUDA {version(Driver(bindings()).version())}"


def version(number: int) -> str:
    """A version of CUDA as people write it: 12040 is 12.4."""
    return f"{number // 1000}.{number % 1000 // 10}"


class DriverError(Exception):
    """A call of the driver failed, with this number."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number


class Driver:
    """The driver's functions, whose errors are raised."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self.launch, self.launch_together = api.cuLaunchKernel, api.cuLaunchCooperativeKernel

    def call(self, name: str, *arguments: Any) -> Any:
        """What a function gives. Raises DriverError."""
        number, *found = getattr(self.api, name)(*arguments)
        if int(number):
            raise DriverError(int(number), f"{name}: {self.text(number)}")
        return found[0] if found else None

    def text(self, number: Any) -> str:
        """What the driver says about an error."""
        _, text = self.api.cuGetErrorString(self.api.CUresult(int(number)))
        return f"{text.decode() if isinstance(text, bytes) else text} ({int(number)})"

    def version(self) -> int:
        """The newest CUDA that the driver knows: 12040."""
        return int(self.call("cuDriverGetVersion"))

    def attribute(self, name: str, device: int) -> int:
        """An attribute of a device, by the end of its name."""
        which = getattr(self.api.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(self.call("cuDeviceGetAttribute", which, device))


@dataclass(frozen=True)
class Loaded:
    """A kernel on one device: handles of its function and of the context, blocks that run at once."""

    function: int
    context: int
    module: int
    capacity: int


class DeviceLauncher:
    """Launches one kernel on any device. ``cubins`` are compiled already, by architecture: then no compiler is needed."""

    def __init__(self, cubins: Mapping[str, bytes] | None = None, driver: Driver | None = None) -> None:
        self.cubins = cubins
        self._driver = driver
        self._loaded: dict[int, Loaded] = {}

    @property
    def driver(self) -> Driver:
        """The driver. Raises CompileError if there is none."""
        if self._driver is None:
            self._driver = Driver(bindings())
        return self._driver

    def launch(self, source: CudaSource, grid: int, call: Any, keep: Any) -> None:
        """Start ``grid`` blocks in the current stream of the device of the first tensor in ``keep``. Raises CompileError where the kernel
        does not fit the device, or the driver refuses it."""
        index = keep[0].get_device()
        loaded = self._loaded.get(index) or self.load(source, index)
        driver, parameters = self._driver or self.driver, _ONE(ctypes.addressof(call))
        arguments = [loaded.function, grid, 1, 1, source.threads, 1, 1, source.shared, stream(index), ctypes.addressof(parameters)]
        start = driver.launch_together
        if not source.meets or call[2] == 1:  # no block waits for another one
            start = driver.launch
            arguments.append(0)
        if current_device() == index:
            (number,) = start(*arguments)
        else:
            with on_device(index):
                (number,) = start(*arguments)
        if int(number) == NO_CONTEXT:  # a thread that has not used the device
            self.driver.call("cuCtxSetCurrent", loaded.context)
            (number,) = start(*arguments)
        if number:
            raise CompileError(f"the kernel {source.name} does not start on cuda:{index}: {self.driver.text(number)}")

    def zero(self, at: int, size: int, like: Tensor) -> None:
        """Zeros for so many bytes at an address, in the current stream of the device of ``like``."""
        index = like.get_device()
        self.driver.call("cuMemsetD8Async", at, 0, size, stream(index))

    def capacity(self, source: CudaSource, index: int | None) -> int:
        """Blocks of a kernel that run at once on a device; None is the current one."""
        index = current_device() if index is None else index
        return (self._loaded.get(index) or self.load(source, index)).capacity

    def load_here(self, source: CudaSource) -> None:
        """Load a kernel on the current device, if there is a GPU. Raises CompileError as :meth:`load`."""
        if unusable() is None:
            self.load(source, current_device())

    def load(self, source: CudaSource, index: int) -> Loaded:
        """Compile a kernel for a device and load it there. Raises CompileError: a device or a driver that is too old, a kernel that needs more
        shared memory than a block of the device has."""
        driver, name = self.driver, source.name
        major, minor = driver.attribute("COMPUTE_CAPABILITY_MAJOR", index), driver.attribute("COMPUTE_CAPABILITY_MINOR", index)
        if (major, minor) < OLDEST:
            raise CompileError(
                f"cuda:{index} has compute capability {major}.{minor}; kernels are made for {OLDEST[0]}.{OLDEST[1]} and newer"
            )
        most = driver.attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN", index)
        if source.shared > most:
            raise CompileError(_too_much_shared(name, source.shared, most, index))
        context = int(driver.call("cuDevicePrimaryCtxRetain", driver.call("cuDeviceGet", index)))
        with on_device(index):
            self._loaded[index] = loaded = self._load(source, index, context, f"sm_{major}{minor}", most)
        return loaded

    def _load(self, source: CudaSource, index: int, context: int, arch: str, most: int) -> Loaded:
        driver, name, data = self.driver, source.name, self.cubin(source, arch)
        driver.call("cuCtxSetCurrent", context)
        try:
            module = int(driver.call("cuModuleLoadData", data))
            function = int(driver.call("cuModuleGetFunction", module, name.encode()))
        except DriverError as error:
            if error.number in FOREIGN:
                raise CompileError(
                    f"the driver, for CUDA {version(driver.version())}, does not load the kernel {name}, made for {arch} by "
                    f"{'an earlier process' if self.cubins is not None else compiler().name} ({error}): update the driver, or take an older compiler"
                ) from None
            raise CompileError(f"the kernel {name} does not load on cuda:{index}: {error}") from None
        try:
            kinds = driver.api.CUfunction_attribute
            static = int(driver.call("cuFuncGetAttribute", kinds.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, function))
            if static + source.shared > most:
                raise CompileError(_too_much_shared(name, static + source.shared, most, index))
            if source.shared:
                driver.call("cuFuncSetAttribute", function, kinds.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, source.shared)
            resident = int(driver.call("cuOccupancyMaxActiveBlocksPerMultiprocessor", function, source.threads, source.shared))
        except DriverError as error:
            raise CompileError(f"the kernel {name} does not load on cuda:{index}: {error}") from None
        if resident < 1:
            raise CompileError(
                f"no block of the kernel {name} fits a multiprocessor of cuda:{index}: {source.threads} threads, {shown(source.shared)} of shared "
                "memory"
            )
        return Loaded(function, context, module, resident * driver.attribute("MULTIPROCESSOR_COUNT", index))

    def cubin(self, source: CudaSource, arch: str) -> bytes:
        """The machine code of a kernel for an architecture. Raises CompileError."""
        if self.cubins is None:
            return cubin(source.text, source.name, arch).data
        fitting = [a for a in self.cubins if a[:-1] == arch[:-1] and a <= arch]  # of its generation, not newer
        if not fitting:
            raise CompileError(f"the kernel {source.name} was compiled for {', '.join(self.cubins)}, and this GPU is {arch}: compile it again")
        return self.cubins[max(fitting)]


def _too_much_shared(name: str, size: int, most: int, index: int) -> str:
    return f"the kernel {name} takes {size} bytes of shared memory for a block, and cuda:{index} has {most}"


def current_device() -> int:
    """The index of torch's current device."""
    return int(torch.cuda.current_device())


def on_device(index: int) -> Any:
    """A context in which a device is the current one."""
    return torch.cuda.device(index)


def stream(index: int) -> int:
    """The handle of torch's current stream on a device."""
    return int(torch._C._cuda_getCurrentRawStream(index))  # what torch's own compiled code asks
