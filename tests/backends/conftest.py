"""The fixture that runs a test of hand-written loop trees on each target."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import trees

PARAMS = ["c", "numba", *(pytest.param(t, marks=pytest.mark.needs(x)) for t, x in (("tvm", "tvm"), ("emulated", "c++"))),
          pytest.param("tvm_emulated", marks=[pytest.mark.needs("tvm"), pytest.mark.needs("c++"), pytest.mark.slow])]  # fmt: skip


@pytest.fixture(scope="module", params=PARAMS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each target in turn, as the one that ``trees.run`` uses. Module-wide, so that tests with many examples may use it."""
    before = trees.CURRENT[0]
    trees.CURRENT[0] = request.param
    yield request.param
    trees.CURRENT[0] = before
