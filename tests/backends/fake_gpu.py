"""NVIDIA GPUs that are not there: tensors that say they are on ``cuda:0`` or ``cuda:1`` and live in the processor's memory, and a driver
that keeps a list of what it is asked and hands launches to a function.

Operations of torch on such tensors run on the processor; tensors of two devices in one operation are refused as torch does.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from unspool.backends.cuda import launch as cuda_launch
from unspool.backends.cuda import target as cuda_target
from unspool.backends.cuda.source import HEAD, CudaSource

COUNT = 2
MEMORY = 64 << 20


class OnGpu(Tensor):
    """A tensor whose memory is the processor's and whose device is a GPU."""

    inner: Tensor
    home: torch.device

    @staticmethod
    def __new__(cls, inner: Tensor, home: torch.device) -> OnGpu:
        made: OnGpu = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype, device="cpu"
        )
        made.inner, made.home = inner, home
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: self.home)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]

    def get_device(self) -> int:
        return int(self.home.index)

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def cpu(self, *_: Any, **named: Any) -> Tensor:
        return self.detach().inner  # type: ignore[attr-defined,no-any-return]

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"OnGpu({self.inner}, {self.home})"

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    homes: list[torch.device] = []

    def inner(x: Any) -> Any:
        if isinstance(x, OnGpu):
            homes.append(x.home)
            return x.inner
        if isinstance(x, Tensor) and x.dim():
            homes.append(torch.device("cpu"))
        return x

    wanted = None if kwargs.get("device") is None else torch.device(kwargs["device"])
    if wanted is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    bare, named = tree_map(inner, args), tree_map(inner, kwargs)
    if wanted is None and len(set(homes)) > 1:
        raise RuntimeError(f"Expected all tensors to be on the same device, but found {sorted(map(str, set(homes)))}: {function}")
    known = {id(x.inner): x for x in args if isinstance(x, OnGpu)}
    home = wanted or (homes[0] if homes else torch.device("cpu"))
    if wanted is not None and wanted.type == "cuda" and wanted.index is None:
        home = torch.device("cuda", 0)
    found = function(*bare, **named)
    if home.type == "cpu":
        return found
    return tree_map(lambda x: known.get(id(x)) or OnGpu(x, home) if isinstance(x, Tensor) else x, found)


class _Devices(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


def on_cpu(x: Tensor) -> Tensor:
    """The values of a tensor, wherever it is."""
    x = x.detach()
    return x.inner if isinstance(x, OnGpu) else x


class Result(enum.IntEnum):
    """Results of the driver."""

    SUCCESS = 0
    OUT_OF_MEMORY = 2
    INVALID_CONTEXT = 201
    NO_BINARY = 209
    TOO_LARGE = 720


_ATTRIBUTES = {
    "COMPUTE_CAPABILITY_MAJOR": 9, "COMPUTE_CAPABILITY_MINOR": 0, "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN": 232448, "MULTIPROCESSOR_COUNT": 3,
}  # fmt: skip


@dataclass
class FakeDriver:
    """The functions of ``cuda.bindings.driver`` that a launcher uses. ``calls`` is what it was asked; ``results`` fail a function by name,
    once for each; ``run(source, grid, address of the struct)`` does what a launch is for. What is loaded as machine code is a key of
    ``sources``."""

    run: Callable[[CudaSource, int, int], None] | None = None
    sources: dict[bytes, CudaSource] = field(default_factory=dict)
    attributes: dict[str, int] = field(default_factory=lambda: dict(_ATTRIBUTES))
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    results: dict[str, list[int]] = field(default_factory=dict)
    resident: int = 2
    static_shared: int = 0
    modules: list[bytes] = field(default_factory=list)
    functions: list[CudaSource] = field(default_factory=list)
    CUdevice_attribute = SimpleNamespace(**{f"CU_DEVICE_ATTRIBUTE_{n}": n for n in _ATTRIBUTES})
    CUfunction_attribute = SimpleNamespace(
        CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES="static", CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES="dynamic"
    )
    CUresult = Result

    def _note(self, name: str, *arguments: Any, gives: Any = None) -> tuple[Any, ...]:
        self.calls.append((name, *arguments))
        failing = self.results.get(name)
        result = Result(failing.pop(0)) if failing else Result.SUCCESS
        return (result,) if gives is None else (result, None if result else gives)

    def called(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of every call of a function."""
        return [c[1:] for c in self.calls if c[0] == name]

    def cuGetErrorString(self, number: Result) -> tuple[Result, bytes]:
        return Result.SUCCESS, number.name.lower().replace("_", " ").encode()

    def cuDriverGetVersion(self) -> tuple[Any, ...]:
        return self._note("cuDriverGetVersion", gives=12040)

    def cuDeviceGet(self, index: int) -> tuple[Any, ...]:
        return self._note("cuDeviceGet", index, gives=index)

    def cuDeviceGetAttribute(self, which: str, device: int) -> tuple[Any, ...]:
        return self._note("cuDeviceGetAttribute", which, device, gives=self.attributes[which])

    def cuDevicePrimaryCtxRetain(self, device: int) -> tuple[Any, ...]:
        return self._note("cuDevicePrimaryCtxRetain", device, gives=1000 + device)

    def cuCtxSetCurrent(self, context: int) -> tuple[Any, ...]:
        return self._note("cuCtxSetCurrent", context)

    def cuModuleLoadData(self, data: bytes) -> tuple[Any, ...]:
        self.modules.append(data)
        return self._note("cuModuleLoadData", gives=len(self.modules))

    def cuModuleGetFunction(self, module: int, name: bytes) -> tuple[Any, ...]:
        source = self.sources[self.modules[module - 1]]
        assert source.name == name.decode()
        self.functions.append(source)
        return self._note("cuModuleGetFunction", module, name, gives=len(self.functions))

    def cuFuncGetAttribute(self, which: str, function: int) -> tuple[Any, ...]:
        return self._note("cuFuncGetAttribute", which, function, gives=self.static_shared)

    def cuFuncSetAttribute(self, function: int, which: str, value: int) -> tuple[Any, ...]:
        return self._note("cuFuncSetAttribute", function, which, value)

    def cuOccupancyMaxActiveBlocksPerMultiprocessor(self, function: int, threads: int, shared: int) -> tuple[Any, ...]:
        return self._note("cuOccupancyMaxActiveBlocksPerMultiprocessor", function, threads, shared, gives=self.resident)

    def cuMemsetD8Async(self, at: int, value: int, size: int, stream: int) -> tuple[Any, ...]:
        ctypes.memset(at, value, size)
        return self._note("cuMemsetD8Async", size, stream)

    def cuLaunchKernel(self, function: int, *rest: int) -> tuple[Any, ...]:
        assert len(rest) == 10, "grid and block in three directions, shared memory, stream, parameters, extra"
        return self._launch("cuLaunchKernel", function, *rest[:9])

    def cuLaunchCooperativeKernel(self, function: int, *rest: int) -> tuple[Any, ...]:
        assert len(rest) == 9, "no extra arguments"
        return self._launch("cuLaunchCooperativeKernel", function, *rest)

    def _launch(self, name: str, function: int, *rest: int) -> tuple[Any, ...]:
        grid, y, z, threads, j, k, shared, stream, parameters = rest
        assert (y, z, j, k) == (1, 1, 1, 1)
        found = self._note(name, grid, threads, shared, stream)
        if self.run is not None and not found[0]:
            self.run(self.functions[function - 1], grid, ctypes.c_void_p.from_address(parameters).value or 0)
        return found


def emulated(source: CudaSource, grid: int, address: int) -> None:
    """A launch, run by the emulator."""
    from unspool.backends.cuda.emulate import EmulatedLauncher

    found = re.search(r"pointers\[(\d+)\]", source.text)
    assert found, "the struct of the kernel"
    size = len(HEAD) + 3 * int(found[1]) + max(1, len(source.integers))
    EmulatedLauncher().launch(source, grid, (ctypes.c_int64 * size).from_address(address), ())


def machine_code(text: str, name: str, arch: str) -> Any:
    """In place of a compiler: a text that only the fake driver runs."""
    return SimpleNamespace(data=f"{arch} {name} {text}".encode())


class FakeGpus:
    """What a test asks of the fake GPUs: the driver, torch's current device and streams."""

    def __init__(self) -> None:
        self.driver = FakeDriver()
        self.device = 0
        self.streams = {0: 70, 1: 71}
        self.capturing = False
        self.guards: list[int] = []

    def known(self, source: CudaSource, data: bytes) -> bytes:
        """The machine code of a source, which the driver takes from now on."""
        self.driver.sources[data] = source
        return data

    @contextlib.contextmanager
    def on(self, index: int) -> Iterator[None]:
        """A context in which a device is the current one."""
        before, self.device = self.device, index
        self.guards.append(index)
        try:
            yield
        finally:
            self.device = before


def install(monkeypatch: pytest.MonkeyPatch) -> FakeGpus:
    """Make torch and the launcher see the fake GPUs; tensors get there inside of :func:`devices`."""
    fake = FakeGpus()
    properties = SimpleNamespace(
        total_memory=MEMORY, multi_processor_count=_ATTRIBUTES["MULTIPROCESSOR_COUNT"], L2_cache_size=1 << 20,
        shared_memory_per_block_optin=_ATTRIBUTES["MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"], shared_memory_per_multiprocessor=233472,
    )  # fmt: skip
    for name, value in {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: COUNT,
        "current_device": lambda: fake.device,
        "get_device_properties": lambda index: properties,
        "get_device_capability": lambda index=0: (fake.driver.attributes["COMPUTE_CAPABILITY_MAJOR"], 0),
        "get_device_name": lambda index=0: "Fake GPU",
        "mem_get_info": lambda device=None: (MEMORY // 4, MEMORY),
        "memory_reserved": lambda device=None: 0,
        "memory_allocated": lambda device=None: 0,
        "is_current_stream_capturing": lambda: fake.capturing,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.version, "cuda", "12.4")
    monkeypatch.setattr(cuda_launch, "bindings", lambda: fake.driver)
    monkeypatch.setattr(cuda_launch, "compiler", lambda: SimpleNamespace(name="NVRTC 1.2"))
    given = cuda_launch.DeviceLauncher.cubin
    monkeypatch.setattr(cuda_launch, "cubin", machine_code)
    monkeypatch.setattr(cuda_launch.DeviceLauncher, "cubin", lambda self, source, arch: fake.known(source, given(self, source, arch)))
    monkeypatch.setattr(cuda_launch, "current_device", lambda: fake.device)
    monkeypatch.setattr(cuda_launch, "on_device", fake.on)
    monkeypatch.setattr(cuda_launch, "stream", lambda index: fake.streams[index])
    forget()
    return fake


def forget() -> None:
    """What was found out about GPUs is found out anew: before tests on fake ones, and after."""
    cuda_launch.unusable.cache_clear()
    cuda_target.gpu.cache_clear()


@contextlib.contextmanager
def devices() -> Iterator[None]:
    """Tensors can be made on, and moved to, the fake GPUs: ``device="cuda:0"``, ``x.to("cuda:1")``, ``layer.to("cuda:0")``."""
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=...) moves what it made by an operation
    try:
        with _Devices():
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(False)
        torch.__future__.set_overwrite_module_params_on_conversion(False)


@contextlib.contextmanager
def gpus(monkeypatch: pytest.MonkeyPatch, run: Callable[[CudaSource, int, int], None]) -> Iterator[FakeGpus]:
    """The fake GPUs, which do ``run`` for a launch, and tensors on them."""
    fake = install(monkeypatch)
    fake.driver.run = run
    with devices():
        yield fake
    monkeypatch.undo()
    forget()
