"""Which targets the tests run on; nothing in these tests may fall back to the interpreter unnoticed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest

from tests.helpers import TVM_SLOW
from unspool.backends.execute import FallbackWarning


@pytest.fixture(autouse=True)
def no_silent_fallback() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FallbackWarning)
        yield


@pytest.fixture(params=["c", "numba", TVM_SLOW])
def target(request: pytest.FixtureRequest) -> str:
    """Each target that makes native code."""
    return str(request.param)
