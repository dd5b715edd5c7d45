"""Programs and layers with tensors on a GPU: where they run, what they give, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import unspool as us
from tests.backends.fake_gpu import MEMORY, FakeGpus, on_cpu
from unspool.backends import devices, memory
from unspool.backends.cuda.target import CudaKernel
from unspool.compiler import options
from unspool.compiler.diagnostics import CompileError, DataError
from unspool.dsl.bench import rows
from unspool.dsl.compile_options import CompileOptions
from unspool.dsl.session import prepare

pytestmark = pytest.mark.needs("c++")

TEXT = """
fn mse(x, truth) = sum((x - truth)**2)

algorithm ista(given A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 3
    param step[K]: positive = 0.1
    param lam: nonneg = 0.1
    x = zeros(n)
    for k in 0..K:
        z = x - step[k] * (A.T @ (A @ x - y))
        x = sign(z) * max(abs(z) - lam * step[k], 0)
    return x
"""
ISTA = us.loads(TEXT)
PARTS = us.loads(
    """
algorithm whitened(A: real[n, n], y: real[n]) -> real[n]:
    B = A @ A.T + 4.0 * eye(n)
    L = cholesky(B * 2.0)
    return L @ (y * 3.0) + 1.0
"""
)


def matrix() -> Tensor:
    return torch.randn(5, 7, generator=torch.Generator().manual_seed(0))


def measured(*lead: int) -> Tensor:
    return torch.randn(*lead, 5, generator=torch.Generator().manual_seed(1))


def close(got: Any, want: Tensor) -> bool:
    return torch.allclose(on_cpu(got).cpu().double(), want.detach().double(), rtol=1e-4, atol=1e-6)


def exact(y: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The result and its gradients in the parameters, by the interpreter in float64."""
    layer = ISTA.ista.build(A=matrix().double(), dtype="f64", target="interpreter")
    x = layer(y.double())
    return x, list(torch.autograd.grad((x**2).sum(), list(layer.parameters())))


@pytest.mark.parametrize("lead", [(), (3,), (2, 2)], ids=str)
def test_a_layer_moves_to_a_gpu_and_runs_there(device: str, lead: tuple[int, ...]) -> None:
    """Where no target is named; its gradients are there, too. Back on the processor it runs there."""
    with options.scope(target=""):
        layer = ISTA.ista.build(A=matrix())
    y = measured(*lead)
    want, gradients = exact(y)
    moved = layer.to(device)
    x = moved(y.to(device))
    assert str(x.device) == device
    assert close(x, want)
    found = torch.autograd.grad((x**2).sum(), list(moved.parameters()))
    assert all(str(g.device) == device for g in found)
    assert all(close(g, w) for g, w in zip(found, gradients, strict=True))


def test_a_plain_call(device: str) -> None:
    """Numbers go where the tensors are; strides of a batch are taken as they are."""
    A, y = matrix().to(device), measured(4).to(device)
    want, _ = exact(measured(4)[::2])
    with options.scope(target=""):
        x = ISTA.ista(A, y[::2], step=0.1)
    assert str(x.device) == device
    assert close(x, want)


def test_targets_by_name(device: str) -> None:
    """``cuda`` takes what is on a GPU, the others what is on the processor; nothing is copied between them."""
    A, y = matrix(), measured()
    there = A.to(device), y.to(device)
    assert close(ISTA.ista(*there, target="cuda"), exact(y)[0])
    for target in ("c", "emulated"):
        with pytest.raises(DataError, match=f"A is on device cuda:0, and target {target} runs on the cpu: move it, or use target='cuda'"):
            ISTA.ista(*there, target=target)
    with pytest.raises(DataError, match=r"A is on device cpu, and target cuda runs on an NVIDIA GPU: move it with .to\('cuda'\)"):
        ISTA.ista(A, y, target="cuda")
    with pytest.raises(DataError, match=r"A is a NumPy array, and target cuda .*: pass torch.from_numpy\(A\)\.to\('cuda'\)"):
        ISTA.ista(np.eye(5, 7, dtype=np.float32), y, target="cuda")
    with pytest.raises(DataError, match="A is on device cuda:0, y on cpu: move one of them"):
        ISTA.ista(there[0], y)
    with options.scope(target="c"), pytest.raises(DataError, match="target c runs on the cpu"):
        ISTA.ista(*there)
    assert close(ISTA.ista(*there, target="interpreter"), exact(y)[0])


def test_numbers_alone(device: str) -> None:
    """They go to the current GPU, and what comes back is NumPy, as on other targets."""
    program = us.loads("algorithm double(x: real[n]) -> real[n]:\n    return 2 * x\n")
    found = program.double([1.0, 2.0], target="cuda")
    assert isinstance(found, np.ndarray)
    assert found.tolist() == [2, 4]


def test_the_loss_in_the_kernel(device: str) -> None:
    layer = ISTA.ista.build(A=matrix()).to(device)
    y, truth = measured(3), torch.ones(3, 7)
    value, grads = layer.value_and_grad(ISTA.mse)(y.to(device), truth.to(device))
    plain = ISTA.ista.build(A=matrix().double(), dtype="f64", target="interpreter")
    want = ((plain(y.double()) - truth) ** 2).sum(-1).mean()
    assert close(value, want)
    assert all(str(g.device) == device for g in grads.values())
    for name, gradient in zip(grads, torch.autograd.grad(want, [dict(plain.named_parameters())[n] for n in grads]), strict=True):
        assert close(grads[name], gradient)


def test_kernels_between_library_calls(device: str) -> None:
    """The interpreter's host program calls torch on the GPU, and kernels between."""
    A, y = torch.randn(4, 4, generator=torch.Generator().manual_seed(2)), measured()[:4]
    kernel = PARTS.whitened.compile({"n": 4}, target="cuda")
    assert len(kernel.compiled) > 1
    want = PARTS.whitened(A.double(), y.double(), target="interpreter")
    assert close(PARTS.whitened(A.to(device), y.to(device), target="cuda"), want)


def test_autocast(device: str) -> None:
    """What autocast made half precision comes back in the layer's, on either type of device."""
    layer = ISTA.ista.build(A=matrix()).to(device)
    half = measured().to(torch.bfloat16)
    for type in ("cuda", "cpu"):
        before = torch.is_autocast_enabled(type)
        torch.set_autocast_enabled(type, True)
        try:
            x = layer(half.to(device))
            plain = ISTA.ista(matrix().to(device), half.to(device))
        finally:
            torch.set_autocast_enabled(type, before)
        assert x.dtype == torch.float32
        assert close(x, exact(half.float())[0])
        assert close(plain, exact(half.float())[0])


def test_the_memory_of_a_gradient(fake: FakeGpus) -> None:
    """The budget is half of the GPU's memory; a user's that cannot be kept is refused in its terms."""
    assert memory.Budget.of(None, device="cuda") == memory.Budget(MEMORY // 2, hard=False)
    assert devices.at_work(1000, "cuda") == 6
    layer = ISTA.ista.build(A=matrix(), target="cuda", memory=64).to("cuda:0")
    with pytest.raises(DataError, match=r"memory=64 bytes is not enough for the gradient of ista: .* of memory of the GPU"):
        layer(measured(2).to("cuda:0")).sum().backward()


def test_operands_on_two_gpus(fake: FakeGpus) -> None:
    """A parameter that was moved alone is found out; a layer on the second GPU runs there."""
    layer = us.loads(TEXT).ista.build(A=matrix(), target="cuda").to("cuda:1")  # its kernels belong to this driver
    y = measured()
    assert str(layer(y.to("cuda:1")).device) == "cuda:1"
    assert {c[-1] for n in ("cuLaunchKernel", "cuLaunchCooperativeKernel") for c in fake.driver.called(n)} == {71}
    with pytest.raises(DataError, match="the layer is on device cuda:1, y on cuda:0: move one of them"):
        layer(y.to("cuda:0"))
    layer._parameters["lam"] = torch.nn.Parameter(torch.tensor([0.1, 0.2], device="cuda:0"))[0]  # type: ignore[assignment]
    with pytest.raises(DataError, match="A is on device cuda:1, lam on cuda:0: move one of them"):
        layer(y.to("cuda:1"))


def test_results_without_memory(fake: FakeGpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error with sizes; the layer can be called again."""
    layer = ISTA.ista.build(A=matrix(), target="cuda").to("cuda:0")
    y, make = measured(2).to("cuda:0"), torch.empty
    layer(y)

    def full(*shape: Any, **named: Any) -> Tensor:
        if named.get("dtype") is torch.float32:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return make(*shape, **named)

    with monkeypatch.context() as patch, torch.no_grad():
        patch.setattr(torch, "empty", full)
        with pytest.raises(torch.OutOfMemoryError, match=r"a result of ista needs 56 bytes on cuda:0, where 16 MiB of 64 MiB are free"):
            layer(y)
    assert close(layer(y), exact(measured(2))[0])


def test_the_command(device: str) -> None:
    """``dsl run --target cuda`` takes its data to the GPU and brings results back; ``dsl bench`` is for the processor."""
    calls = [
        prepare(ISTA.ista, {}, {"m": 5, "n": 7}, (3,), {}, CompileOptions(target=target)) for target in ("cuda", "interpreter")
    ]
    (got,), (want,) = (call.run() for call in calls)
    assert isinstance(got, np.ndarray)
    assert np.allclose(got, want, rtol=1e-4, atol=1e-6)
    with pytest.raises(DataError, match="dsl bench times targets of the processor, not cuda"):
        rows(calls[0])


def test_explain_of_a_gradient() -> None:
    """Needs no GPU: the size of a tape is that for as many problems as a GPU works on at once."""
    kernel = ISTA.ista.compile({"m": 5, "n": 7, "batch": 1000}, target="cuda")
    assert "ista_backward" in kernel.explain(gradients=True)
    assert kernel.suffix == "cu"
    with pytest.raises(CompileError, match="limits are measured on the processor"):
        kernel.explain(limits=True)


@pytest.mark.gpu
def test_transforms() -> None:
    """``torch.func`` transforms kernels of a GPU as it does others."""
    device = "cuda:0"
    A, y = matrix().to(device), measured(3).to(device)

    def run(v: Tensor) -> Tensor:
        return ISTA.ista(A, v, target="cuda")  # type: ignore[no-any-return]

    assert close(torch.func.vmap(run)(y), exact(measured(3))[0])
    want = torch.func.grad(lambda v: (ISTA.ista(matrix().double(), v, target="interpreter") ** 2).sum())(measured().double())
    assert close(torch.func.grad(lambda v: (run(v) ** 2).sum())(measured().to(device)), want)


def test_without_a_gpu() -> None:
    """Target cuda compiles and prints; a call says what is missing. Tensors on a device that nothing runs on are refused."""
    if torch.cuda.is_available():
        pytest.skip("there is one")
    kernel = ISTA.ista.compile({"m": 5, "n": 7}, target="cuda")
    assert "__global__" in kernel.source
    assert isinstance(kernel.compiled[0][1].kernel, CudaKernel)
    with pytest.raises(CompileError, match=r"target cuda cannot be used here: torch .* (was built without CUDA|finds no NVIDIA GPU)"):
        ISTA.ista(matrix(), measured(), target="cuda")
    with pytest.raises(CompileError, match="target cuda cannot be used here"):
        ISTA.ista.build(A=matrix(), target="cuda")(measured())


def test_traced_code_knows_the_device() -> None:
    """What ``torch.compile`` sees of a program has its results where the operands are; when it runs, operands elsewhere are refused."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    layer = ISTA.ista.build(A=matrix(), target="cuda")
    main, _, _, sources, _ = layer._site(False, (), "f32", "cuda")
    with FakeTensorMode() as mode, torch.no_grad():
        shapes = {"A": (5, 7), "y": (3, 5), "step": (3,), "lam": ()}
        operands = [torch.empty(shapes[name], device="cuda") for name, _ in sources]
        (x,) = torch.ops.unspool.call(main, operands)
        assert mode is x.fake_mode
        assert (str(x.device), tuple(x.shape)) == ("cuda:0", (3, 7))
    with pytest.raises(DataError, match=r"a program inside a compiled model got a tensor on device cpu, and its kernel runs on an NVIDIA GPU"):
        torch.ops.unspool.call(main, [torch.zeros(shapes[name]) for name, _ in sources])


@pytest.mark.needs("tvm")
def test_the_kernels_of_tvm(device: str) -> None:
    """Target tvm_cuda launches as cuda does, with gradients; results summed over problems are each block's own first."""
    y = measured(9)
    want, gradients = exact(y)
    layer = ISTA.ista.build(A=matrix(), target="tvm_cuda").to(device)
    x = layer(y.to(device))
    assert str(x.device) == device
    assert close(x, want)
    found = torch.autograd.grad((x**2).sum(), list(layer.parameters()))
    assert all(close(g, w) for g, w in zip(found, gradients, strict=True))
    with pytest.raises(DataError, match="cpu"):
        layer(y)
