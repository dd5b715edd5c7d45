"""The same on target numba, which keeps, loads and starts its kernels in its own way: one small layer, in this process and its children."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import unspool as us
from unspool.backends import build, execute
from unspool.backends.numba import build as numba_build
from unspool.compiler import options

TEXT = """
algorithm waves(x: real[n]) -> real[n]:
    iterations K = 3
    param gain[K]: positive = 0.5
    for k in 0..K:
        x = sin(gain[k] * x)
    return x
"""
INPUTS = torch.linspace(-3, 3, 24).reshape(4, 6)


def both(layer: us.Layer, x: torch.Tensor) -> torch.Tensor:
    """The result, and the gradient of the sum of its squares, in one tensor."""
    y = layer(x)
    (gradient,) = torch.autograd.grad(y.square().sum(), list(layer.parameters()))
    return torch.cat([y.detach().flatten(), gradient])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache with the kernels of the layer, forward and backward."""
    folder = tmp_path_factory.mktemp("numba")
    with options.scope(cache=folder):
        both(fresh(), INPUTS)
        yield folder


def fresh() -> us.Layer:
    """A layer that has loaded nothing yet."""
    build.forget()
    numba_build.forget()
    return us.loads(TEXT).waves.build(target="numba")


@pytest.fixture
def expected() -> torch.Tensor:
    """What the interpreter computes."""
    return both(us.loads(TEXT).waves.build(target="interpreter"), INPUTS)


def test_python_threads_load_and_call_at_once(cache: Path, expected: torch.Tensor) -> None:
    layer, compiled = fresh(), build.statistics.compiled
    start = threading.Barrier(4)

    def work(_: int) -> bool:
        start.wait()
        return all(torch.allclose(both(layer, INPUTS), expected, atol=1e-5) for _ in range(5))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [True] * 4
    assert build.statistics.compiled == compiled


@pytest.mark.parametrize("damage", [b"", b"not a kernel"])
def test_damaged_entries_are_built_again(cache: Path, expected: torch.Tensor, damage: bytes) -> None:
    entry = max(cache.rglob("*.o"), key=lambda p: p.stat().st_size)
    other = entry.with_name("other")
    other.write_bytes(damage)
    os.replace(other, entry)
    before = build.statistics.corrupted
    torch.testing.assert_close(both(fresh(), INPUTS), expected)
    assert build.statistics.corrupted == before + 1


class Rows(Dataset[torch.Tensor]):
    """Layer and input; what a worker computes is an item."""

    def __init__(self, layer: us.Layer) -> None:
        self.layer = layer

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> torch.Tensor:
        return both(self.layer, INPUTS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forked_workers_of_a_data_loader(cache: Path, expected: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = fresh()
    monkeypatch.setattr(execute, "SMALL", 0.0)  # the kernels start the threads that a child does not have
    torch.testing.assert_close(both(layer, INPUTS), expected)
    for got in DataLoader(Rows(layer), batch_size=None, num_workers=1, multiprocessing_context="fork", timeout=60):
        torch.testing.assert_close(got, expected)
