"""The device of a test: a fake GPU, and a real one where there is one (see :mod:`tests.backends.fake_gpu`)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest

from tests.backends.fake_gpu import FakeGpus, emulated, gpus
from unspool.backends.execute import FallbackWarning


@pytest.fixture(autouse=True)
def no_silent_fallback() -> Iterator[None]:
    """Nothing may run in the interpreter unnoticed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", FallbackWarning)
        yield


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpus]:
    """Two fake GPUs."""
    with gpus(monkeypatch, emulated) as made:
        yield made


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """A device for tensors."""
    if request.param == "fake":
        request.getfixturevalue("fake")
    return "cuda:0"
