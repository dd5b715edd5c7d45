"""Triton kernels launched on a GPU: a real one where there is one, and a fake one whose driver hands launches to Triton's interpreter."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import unspool as us
from tests.backends.fake_gpu import FakeGpus, on_cpu
from unspool.backends.triton import run as triton_run
from unspool.compiler.diagnostics import CompileError, DataError

pytestmark = pytest.mark.needs("triton")

ISTA = us.loads("""
algorithm ista(given A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 2
    param step[K]: positive = 0.1
    param lam: nonneg = 0.1
    x = zeros(n)
    for k in 0..K:
        z = x - step[k] * (A.T @ (A @ x - y))
        x = sign(z) * max(abs(z) - lam * step[k], 0)
    return x
""").ista


class FakeTriton:
    """The active driver of Triton, as ``CompiledKernel`` asks for it. ``launches``: (grid, stream, device, whether pointers are multiples of 16)."""

    def __init__(self, gpus: FakeGpus, shared: int) -> None:
        self.gpus, self.shared = gpus, shared
        self.launches: list[tuple[int, int, int, bool]] = []
        self.loaded: list[tuple[int, int]] = []
        self.sources: dict[str, Any] = {}
        self.utils = SimpleNamespace(
            load_binary=self.load, unload_module=lambda module: None, get_device_properties=lambda device: {"max_shared_mem": self.shared}
        )

    def get_current_device(self) -> int:
        return self.gpus.device

    def load(self, name: str, code: bytes, shared: int, device: int) -> tuple[int, int, int, int, int]:
        assert code[:4] == b"\x7fELF"
        self.loaded.append((len(code), device))
        return 1, len(self.loaded), 0, 0, 1024

    def launcher_cls(self, src: Any, metadata: Any) -> Any:
        def start(x: int, y: int, z: int, stream: int, function: int, packed: Any, about: Any, enter: Any, leave: Any, *args: Any) -> None:
            assert (y, z) == (1, 1)
            assert all(isinstance(a, (Tensor, int)) for a in args)
            assert len(args) == len(src.signature)
            self.launches.append((x, stream, self.gpus.device, bool(src.attrs)))
            triton_run.interpret(self.sources[src.fn.src], x, [on_cpu(a) if isinstance(a, Tensor) else a for a in args])

        return start


@pytest.fixture
def driver(fake: FakeGpus, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTriton]:
    from triton.compiler.compiler import max_shared_mem
    from triton.runtime.driver import driver as active

    made = FakeTriton(fake, 227 << 10)
    properties = torch.cuda.get_device_properties(0)
    found = SimpleNamespace(**{**vars(properties), "major": 9, "minor": 0})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: found)
    given = triton_run.compiled

    def compiled(source: Any, *args: Any, **named: Any) -> Any:
        binary = given(source, *args, **named)
        made.sources[binary.kernel.src.fn.src] = source
        return binary

    monkeypatch.setattr(triton_run, "compiled", compiled)
    triton_run._loaded.cache_clear()
    max_shared_mem.cache_clear()
    monkeypatch.setattr(active, "_active", made)
    yield made
    triton_run._loaded.cache_clear()
    max_shared_mem.cache_clear()


def data() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.randn(20, 24, generator=g) / 5, torch.randn(40, 20, generator=g)


def agree(device: str, *, slopes: bool = False) -> None:
    """A layer, and its gradients in the parameters."""
    A, y = data()
    exact = ISTA.build(A=A.double(), dtype="f64", target="interpreter")
    want = exact(y.double())
    layer = ISTA.build(A=A, target="triton").to(device)
    x = layer(y.to(device))
    assert str(x.device) == device
    found, wanted = (
        torch.autograd.grad((z**2).sum(), list(of.parameters())) if slopes else () for z, of in ((x, layer), (want, exact))
    )
    for g, w in zip((x, *found), (want, *wanted), strict=True):
        torch.testing.assert_close(on_cpu(g).cpu().double(), w.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
def test_a_layer_on_a_gpu() -> None:
    agree("cuda:0", slopes=True)


def test_launches_go_to_the_current_stream_of_the_tensors_device(driver: FakeTriton) -> None:
    """A kernel is loaded once on each device, whatever torch's current one is."""
    agree("cuda:0")
    kernels = len(driver.loaded)
    assert {launch[1:3] for launch in driver.launches} == {(70, 0)}
    driver.gpus.streams[0] = 75
    agree("cuda:0")
    assert (len(driver.loaded), driver.launches[-1][1:3]) == (kernels, (75, 0))
    agree("cuda:1")
    assert (len(driver.loaded), driver.launches[-1][1:3]) == (2 * kernels, (71, 1))
    assert driver.gpus.device == 0
    assert all(grid == 2 for grid, *_ in driver.launches)  # 40 problems, 32 in a tile


def test_pointers_that_are_no_multiples_of_16_get_a_kernel_of_their_own(driver: FakeTriton) -> None:
    A, y = data()
    layer = ISTA.build(A=A, target="triton").to("cuda:0")
    room = torch.empty(y.numel() + 1)
    room[1:] = y.flatten()
    with torch.no_grad():
        straight, shifted = layer(y.to("cuda:0")), layer(room.to("cuda:0")[1:].view_as(y))
    assert [aligned for *_, aligned in driver.launches] == [True, False]
    assert torch.equal(on_cpu(straight), on_cpu(shifted))


def test_a_kernel_that_does_not_fit_is_one_error(driver: FakeTriton) -> None:
    A, y = data()
    driver.shared = 16
    with pytest.raises(CompileError, match=r"the Triton kernel us_ista does not fit cuda:0: out of resource: shared memory"):
        ISTA.build(A=A, target="triton").to("cuda:0")(y.to("cuda:0"))


def test_tensors_of_the_processor_are_refused(driver: FakeTriton) -> None:
    A, y = data()
    with pytest.raises(DataError, match="cpu"):
        ISTA.build(A=A, target="triton")(y)
    assert not driver.launches
