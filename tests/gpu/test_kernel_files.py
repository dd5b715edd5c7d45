"""Kernel files of target cuda: machine code for two generations of GPUs, loaded by the driver alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import unspool as us
from tests.backends.fake_gpu import FakeGpus, machine_code
from tests.gpu.test_torch import TEXT, close, exact, matrix, measured
from unspool.backends.cuda import compile as cuda_compile
from unspool.backends.cuda import launch as cuda_launch
from unspool.compiler.diagnostics import CompileError, DataError

pytestmark = pytest.mark.needs("c++")


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A layer as a file, written where there is no GPU."""
    monkeypatch.setattr(cuda_compile, "cubin", machine_code)
    path = tmp_path / "ista.usk"
    us.loads(TEXT).ista.build(A=matrix(), target="cuda").save(path, backward=True)
    return path


def test_a_layer_is_trained_from_a_file(saved: Path, fake: FakeGpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs on a GPU of a generation it has code for, and nothing is compiled."""
    monkeypatch.setattr(cuda_launch, "cubin", lambda *_: pytest.fail("something is compiled"))
    layer = us.load_kernel(saved).to("cuda:0")  # type: ignore[union-attr]
    assert b"sm_90 us_ista_gpu " in b"".join(us.load_kernel(saved)._routine._data.split(b"\n"))  # type: ignore[union-attr]
    want, gradients = exact(measured(3))
    x = layer(measured(3).to("cuda:0"))
    assert close(x, want)
    found = torch.autograd.grad((x**2).sum(), list(layer.parameters()))
    assert all(close(f, w) for f, w in zip(found, gradients, strict=True))
    assert {m[:5] for m in fake.driver.modules} == {b"sm_90"}


def test_other_gpus(saved: Path, fake: FakeGpus) -> None:
    """A later one of a generation runs its code, another generation's is refused."""
    fake.driver.attributes |= {"COMPUTE_CAPABILITY_MAJOR": 8, "COMPUTE_CAPABILITY_MINOR": 6}
    layer = us.load_kernel(saved).to("cuda:0")  # type: ignore[union-attr]
    layer(measured(3).to("cuda:0"))
    assert {m[:5] for m in fake.driver.modules} == {b"sm_80"}
    fake.driver.attributes |= {"COMPUTE_CAPABILITY_MAJOR": 12, "COMPUTE_CAPABILITY_MINOR": 0}
    with pytest.raises(CompileError, match="us_ista_gpu was compiled for sm_80, sm_90, and this GPU is sm_120: compile it again"):
        us.load_kernel(saved).to("cuda:0")(measured(3).to("cuda:0"))  # type: ignore[union-attr,operator]
    with pytest.raises(DataError, match="y is on device cpu, and target cuda runs on an NVIDIA GPU"):
        us.load_kernel(saved)(measured(3))  # type: ignore[operator]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu(saved: Path) -> None:
    """It can be loaded and looked at; a call says what is missing."""
    layer = us.load_kernel(saved)
    with pytest.raises(CompileError, match="target cuda cannot be used here"):
        layer(measured(3))  # type: ignore[operator]
