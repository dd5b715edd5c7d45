"""Sizes of one: loops of a single iteration leave no loop, and what lives in one iteration still has one place."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

import unspool as us

PROGRAM = """
algorithm scaled(A: real[m, p], B: real[p, n], alpha: real) -> real[m, n]:
    return alpha * (A @ B)
"""


@pytest.mark.parametrize("sizes", list(product((1, 2), repeat=3)), ids=str)
@pytest.mark.filterwarnings("error::unspool.backends.execute.FallbackWarning")
def test_product_of_matrices(sizes: tuple[int, int, int], tmp_path: Path) -> None:
    m, p, n = sizes
    (tmp_path / "scaled.us").write_text(PROGRAM)
    rng = np.random.default_rng(m + 2 * p + 4 * n)
    A, B = rng.random((m, p)), rng.random((p, n))
    got = us.load(tmp_path / "scaled.us").scaled(A, B, 3.0, target="c")
    np.testing.assert_allclose(got, 3 * A @ B, rtol=1e-12)
