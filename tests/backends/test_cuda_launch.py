"""Launches on GPUs that are not there (see :mod:`.fake_gpu`): what the driver is asked for, what is kept, what is refused."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.backends.fake_gpu import COUNT, FakeGpus, Result, install, on_cpu
from tests.backends.fake_gpu import gpus as on_gpus
from unspool.backends.cuda import launch as cuda_launch
from unspool.backends.cuda.source import COUNTER, HEAD, CudaSource
from unspool.backends.cuda.target import EMULATED_BLOCKS, CudaKernel, Host, Nvidia
from unspool.backends.devices import PARTIAL_SUMS, OutOfMemory
from unspool.compiler.diagnostics import CompileError, DataError
from unspool.compiler.loops.tree import Int

ZERO = Int("const", value=0)


def source(name: str = "us_add", *, meets: bool = False, shared: int = 0, checks: Sequence[str] = (), **more: Any) -> CudaSource:
    """What the writer would give for ``out = a + n * b``; its text only names it."""
    sizes = {"problem_bytes": (Int("const", value=100), Int("const", value=100)), "thread_bytes": (ZERO, ZERO), "tile_from": 0, "blocks": (16, 8), **more}
    return CudaSource(f"// {name} {meets} {shared}", tuple(checks), name, 96, shared, meets, ("n",), **sizes)


def add(operands: int = 3) -> Any:
    """What such a kernel does with its struct."""

    def run(source: CudaSource, grid: int, address: int) -> None:
        fields = (ctypes.c_int64 * (len(HEAD) + 3 * operands + 1)).from_address(address)
        batch, teams, blocks, scratch, failed = fields[:5]
        assert (grid, scratch % 64) == (teams * blocks, 0)
        if source.meets:
            counters = (ctypes.c_int32 * (teams * COUNTER // 4)).from_address(scratch)
            assert not any(counters), "the counters are zero at the start"
            counters[0] = 1
        pointers, strides, integer = fields[5 : 5 + operands], fields[5 + operands : 5 + 2 * operands], fields[-1]
        for p in range(batch):
            a, b, out = (
                ctypes.c_float.from_address(at + 4 * p * stride) for at, stride in zip(pointers, strides, strict=True)
            )
            out.value = a.value + integer * b.value
        if failed:
            status = ctypes.c_int.from_address(failed)
            assert status.value == 0
            status.value = int(source.checks[0] == "fails")

    return run


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpus]:
    """The fake GPUs, which run :func:`add`."""
    with on_gpus(monkeypatch, add()) as fake:
        yield fake


def call(kernel: CudaKernel, device: str = "cuda:0", *, batch: int = 5, teams: int = 1, blocks: int = 1) -> Tensor:
    """Run a kernel on new tensors; the result."""
    a, b = (torch.arange(batch, dtype=torch.float32).to(device) for _ in range(2))
    out = torch.empty(batch, device=device)
    kernel([a, b], [out], batch, [1, 1, 1], [0, 0, 0], [2], teams, blocks)
    return out


def test_a_launch(gpus: FakeGpus) -> None:
    """One call of the driver each, after the first: in the current stream of the tensors' device, with the grid that was asked for."""
    kernel = CudaKernel(source(shared=50_000), 3, Nvidia())
    for stream in (70, 75):
        gpus.streams[0] = stream
        assert on_cpu(call(kernel, teams=4)).tolist() == [0, 3, 6, 9, 12]
    assert gpus.driver.called("cuLaunchKernel") == [(4, 96, 50_000, 70), (4, 96, 50_000, 75)]
    assert gpus.driver.called("cuFuncSetAttribute") == [(1, "dynamic", 50_000)]
    assert [len(gpus.driver.called(n)) for n in ("cuModuleLoadData", "cuLaunchCooperativeKernel", "cuMemsetD8Async")] == [1, 0, 0]
    before = len(gpus.driver.calls)
    call(kernel)
    assert [c[0] for c in gpus.driver.calls[before:]] == ["cuLaunchKernel"]
    assert not [c for c in gpus.driver.calls if "Synchronize" in c[0]]


def test_a_module_for_each_device(gpus: FakeGpus) -> None:
    """The kernel is loaded once on each, with the device's context, and launched there whatever torch's current device is."""
    kernel = CudaKernel(source(), 3, Nvidia())
    for device in ("cuda:0", "cuda:1", "cuda:0", "cuda:1"):
        assert on_cpu(call(kernel, device)).tolist() == [0, 3, 6, 9, 12]
    assert len(gpus.driver.modules) == COUNT
    assert gpus.driver.called("cuCtxSetCurrent") == [(1000,), (1001,)]
    assert [c[-1] for c in gpus.driver.called("cuLaunchKernel")] == [70, 71, 70, 71]
    assert gpus.guards == [0, 1, 1, 1]  # to load on both, to launch on the one that is not the current one
    other = CudaKernel(source("us_other"), 3, Nvidia())
    call(other)
    assert len(gpus.driver.modules) == COUNT + 1


def test_teams_that_meet(gpus: FakeGpus) -> None:
    """Blocks that wait for each other are launched together; their counters are zero at the start, of every launch."""
    kernel = CudaKernel(source(meets=True), 3, Nvidia())
    for _ in range(2):
        call(kernel, teams=2, blocks=3)
    assert gpus.driver.called("cuLaunchCooperativeKernel") == [(6, 96, 0, 70)] * 2
    assert gpus.driver.called("cuMemsetD8Async") == [(2 * COUNTER, 70)] * 2
    call(kernel, teams=2, blocks=1)
    assert len(gpus.driver.called("cuLaunchKernel")) == 1


def test_shares(gpus: FakeGpus) -> None:
    """As many teams as there is work for and the device runs at once; idle blocks help where teams can meet."""
    alone, meeting = CudaKernel(source(), 3, Nvidia()), CudaKernel(source(meets=True), 3, Nvidia())  # 3 multiprocessors, 2 blocks on each
    assert [alone.shares(n, 0, 0, tiles=True) for n in (0, 1, 4, 6, 1000)] == [(1, 1), (1, 1), (4, 1), (6, 1), (6, 1)]
    assert [meeting.shares(n, 0, 0, tiles=True) for n in (1, 2, 3, 4, 6, 1000)] == [(1, 6), (2, 3), (3, 2), (4, 1), (6, 1), (6, 1)]
    tiles = CudaKernel(source(meets=True, tile_from=4, tile=16), 3, Nvidia())
    assert [tiles.shares(n, 0, 0, tiles=True) for n in (2, 4, 33, 1000)] == [(2, 3), (1, 6), (3, 2), (6, 1)]
    assert tiles.shares(33, 0, 0, tiles=False) == (6, 1)
    assert CudaKernel(source(meets=True, blocks=(4, 4)), 3, Nvidia()).shares(1, 0, 0, tiles=True) == (1, 4)
    assert alone.shares(1000, PARTIAL_SUMS // 2, 0, tiles=True) == (2, 1)
    assert alone.shares(1000, 2 * PARTIAL_SUMS, None, tiles=True) == (1, 1)
    assert CudaKernel.shares(SimpleNamespace(device=Host(), launcher=None, source=source()), 9, 0, None, tiles=False) == (EMULATED_BLOCKS, 1)  # type: ignore[arg-type]


def test_counts_have_32_bits(gpus: FakeGpus) -> None:
    with pytest.raises(DataError, match=r"n=2147483648 of the kernel us_add: kernels of a GPU count below 2147483648"):
        CudaKernel(source(), 3, Nvidia()).scratch(1, 1, 1, (2**31,))


def test_scratch_memory(gpus: FakeGpus) -> None:
    """It grows with the teams, not with the batch."""
    kernel = CudaKernel(source(meets=True, thread_bytes=(Int("const", value=8), ZERO)), 3, Nvidia())
    assert kernel.scratch(1, 2, 3, (5,)) == 64 + 2 * (COUNTER + 100 + 3 * 96 * 8)
    assert kernel.scratch(10**6, 2, 3, (5,)) == kernel.scratch(1, 2, 3, (5,))


def test_no_scratch_memory(gpus: FakeGpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that needs none allocates none."""
    kernel = CudaKernel(source(problem_bytes=(ZERO, ZERO)), 3, Nvidia())
    monkeypatch.setattr(Nvidia, "scratch", lambda *_: pytest.fail("it asks for scratch memory"))
    assert on_cpu(call(kernel)).tolist() == [0, 3, 6, 9, 12]


def test_checks(gpus: FakeGpus) -> None:
    """Their outcome is read after the launch; a stream that is being captured is refused, since nothing can be read there."""
    sound, failing = (CudaKernel(source(checks=[text]), 3, Nvidia()) for text in ("holds", "fails"))
    assert on_cpu(call(sound)).tolist() == [0, 3, 6, 9, 12]
    with pytest.raises(DataError, match=r"^fails$"):
        call(failing)
    gpus.capturing = True
    call(CudaKernel(source(), 3, Nvidia()))
    with pytest.raises(DataError, match=r"us_add cannot be captured in a CUDA graph: it has run-time checks \(holds\)"):
        call(sound)


def test_a_thread_without_a_context(gpus: FakeGpus) -> None:
    """It gets torch's, and the launch is done again."""
    kernel = CudaKernel(source(), 3, Nvidia())
    call(kernel)
    gpus.driver.results["cuLaunchKernel"] = [Result.INVALID_CONTEXT]
    assert on_cpu(call(kernel)).tolist() == [0, 3, 6, 9, 12]
    assert gpus.driver.called("cuCtxSetCurrent") == [(1000,)] * 2


def test_tensors_on_several_devices(gpus: FakeGpus) -> None:
    """Nothing is launched."""
    kernel = CudaKernel(source(), 3, Nvidia())
    a, b, c = torch.zeros(1, device="cuda:0"), torch.zeros(1, device="cuda:1"), torch.zeros(1)
    with pytest.raises(DataError, match="operands of the kernel of us_add are on devices cuda:0 and cuda:1: move them to one"):
        kernel([a, b], [a], 1, [1, 1, 1], [0, 0, 0], [2], 1, 1)
    with pytest.raises(DataError, match="operand 1 of the kernel of us_add is on device cpu, and target cuda runs on an NVIDIA GPU"):
        kernel([a, c], [a], 1, [1, 1, 1], [0, 0, 0], [2], 1, 1)
    assert not gpus.driver.called("cuLaunchKernel")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attributes": {"COMPUTE_CAPABILITY_MAJOR": 7}}, r"cuda:0 has compute capability 7\.0; kernels are made for 8\.0 and newer"),
        ({"shared": 300_000}, "us_add takes 300000 bytes of shared memory for a block, and cuda:0 has 232448"),
        ({"shared": 232_448, "static_shared": 16}, "us_add takes 232464 bytes of shared memory"),
        ({"resident": 0, "shared": 200_000}, r"no block of the kernel us_add fits a multiprocessor of cuda:0: 96 threads, 195\.3 KiB"),
        (
            {"results": {"cuModuleLoadData": [Result.NO_BINARY]}},
            r"the driver, for CUDA 12\.4, does not load the kernel us_add, made for sm_90 by NVRTC 1\.2 \(cuModuleLoadData: no binary \(209\)\): upd",
        ),
        ({"results": {"cuModuleLoadData": [Result.OUT_OF_MEMORY]}}, r"us_add does not load on cuda:0: cuModuleLoadData: out of memory \(2\)"),
        ({"results": {"cuLaunchKernel": [Result.TOO_LARGE]}}, r"us_add does not start on cuda:0: too large \(720\)"),
    ],
)
def test_refused(gpus: FakeGpus, change: dict[str, Any], message: str) -> None:
    """One clear error, with numbers."""
    shared = change.pop("shared", 0)
    for name, value in change.items():
        old = getattr(gpus.driver, name)
        setattr(gpus.driver, name, {**old, **value} if isinstance(old, dict) else value)
    with pytest.raises(CompileError, match=message):
        call(CudaKernel(source(shared=shared), 3, Nvidia()))


def test_arrays_too_large(gpus: FakeGpus) -> None:
    """Sizes known only at run time may be too many for the kernel."""
    kernel = CudaKernel(source(largest=Int("*", (Int("const", value=1 << 30), Int("name", name="n")))), 3, Nvidia())
    with pytest.raises(DataError, match="an array of the kernel us_add has 2147483648 elements, and kernels of a GPU count below 2147483648"):
        call(kernel)


def test_too_many_operands(gpus: FakeGpus) -> None:
    """The struct of a call is a parameter of the kernel, and these are limited."""
    with pytest.raises(CompileError, match="us_add takes 4848 bytes of arguments, for 200 arrays; CUDA takes 4096"):
        CudaKernel(source(), 200, Nvidia())


def test_out_of_memory(gpus: FakeGpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error with sizes, which is torch's error, too; a later call that fits runs."""
    kernel = CudaKernel(source(), 3, Nvidia())
    call(kernel)
    make = torch.empty

    def full(*shape: Any, **named: Any) -> Tensor:
        if named.get("dtype") is torch.uint8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return make(*shape, **named)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "empty", full)
        message = r"the kernel of us_add needs 228 bytes on cuda:0, where 16 MiB of 64 MiB are free: take fewer problems at a time"
        with pytest.raises(OutOfMemory, match=message) as caught:
            call(kernel)
    assert isinstance(caught.value, torch.OutOfMemoryError)
    assert isinstance(caught.value, DataError)
    assert on_cpu(call(kernel)).tolist() == [0, 3, 6, 9, 12]


def test_stored_machine_code(gpus: FakeGpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """No compiler is asked; an architecture that is not there is refused."""
    monkeypatch.undo()
    launcher = cuda_launch.DeviceLauncher({"sm_80": b"code"})
    assert launcher.cubin(source(), "sm_80") == launcher.cubin(source(), "sm_86") == b"code"
    with pytest.raises(CompileError, match="us_add was compiled for sm_80, and this GPU is sm_90"):
        launcher.cubin(source(), "sm_90")


def test_why_it_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was looked for, and what to do."""

    def why() -> str | None:
        cuda_launch.unusable.cache_clear()
        return cuda_launch.unusable()

    monkeypatch.setattr(torch.version, "cuda", None)
    assert why() == f"torch {torch.__version__} was built without CUDA: install a CUDA build of torch"
    monkeypatch.setattr(torch.version, "cuda", "12.4")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def init() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nMore")

    monkeypatch.setattr(torch.cuda, "init", init)
    assert why() == (
        f"torch {torch.__version__} was built for CUDA 12.4 and finds no NVIDIA GPU: The NVIDIA driver on your system is too old "
        "(found version 11040)."
    )
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    assert str(why()).endswith("no device is visible (is CUDA_VISIBLE_DEVICES empty?)")
    fake = install(monkeypatch)
    assert why() is None
    assert cuda_launch.usable() == "Fake GPU, driver for CUDA 12.4"
    fake.driver.attributes["COMPUTE_CAPABILITY_MAJOR"] = 7
    assert str(why()) == "kernels are made for compute capability 8.0 and newer, and here is Fake GPU (7.0), Fake GPU (7.0)"
    fake.driver.attributes["COMPUTE_CAPABILITY_MAJOR"] = 9
    monkeypatch.undo()
    cuda_launch.bindings.cache_clear()
    monkeypatch.setitem(sys.modules, "cuda", None)
    with pytest.raises(CompileError, match=r"cuda-bindings is not installed: pip install 'unspool\[cuda\]'"):
        cuda_launch.bindings()
    cuda_launch.bindings.cache_clear()
    cuda_launch.unusable.cache_clear()
