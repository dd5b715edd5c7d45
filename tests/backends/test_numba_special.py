"""The gamma function's logarithm and its derivatives of the run-time library for numba, against mpmath and PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import torch

from .numba_loops import NUMPY, apply, same

mp = mpmath.mp.clone()
mp.prec = 120

EXACT: dict[str, Callable[[Any], Any]] = {
    "lgamma": lambda x: mp.log(abs(mp.gamma(x))), "digamma": mp.digamma, "polygamma1": lambda x: mp.polygamma(1, x),
}  # fmt: skip
TORCH: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"lgamma": torch.lgamma, "digamma": torch.digamma}


def arguments() -> Any:
    """On both sides of zero, near the roots, large."""
    generator = np.random.default_rng(0)
    parts = [
        generator.uniform(0, 10, 200),
        generator.uniform(-10, 0, 200),
        generator.uniform(0, 200, 50),
        generator.normal(1.5, 0.6, 100),
    ]
    return np.concatenate(parts)


@pytest.mark.parametrize("name", EXACT)
def test_values(name: str) -> None:
    """1e-14 in double, and single precision through it; relative, but absolute below 1, as there are roots."""
    for dtype, limit in (("f64", 1e-14), ("f32", 1.2e-7)):
        x = arguments().astype(NUMPY[dtype])
        wanted = np.array([float(EXACT[name](mp.mpf(float(v)))) for v in x])
        error = np.abs(apply(f"us_{name}_{dtype}", x) - wanted) / np.maximum(1, np.abs(wanted))
        assert error.max() <= limit, x[error.argmax()]


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("name", TORCH)
def test_special_values(name: str, dtype: str) -> None:
    """Poles, infinities, NaN, signed zeros."""
    x = np.array([0.0, -0.0, -1, -2, np.inf, -np.inf, np.nan, 1e30, -3.0], NUMPY[dtype])
    found, wanted = apply(f"us_{name}_{dtype}", x), TORCH[name](torch.from_numpy(x)).numpy()
    with np.errstate(invalid="ignore"):
        near = np.abs(found - wanted) <= 2 * np.spacing(np.abs(wanted))
    assert (same(found, wanted) | near).all(), (x, found, wanted)


def test_poles_of_the_second_derivative() -> None:
    """Infinite at zero and the negative integers; NaN at infinity, as PyTorch's zeta function."""
    found = apply("us_polygamma1_f64", np.array([0.0, -1.0, -7.0, np.inf, np.nan]))
    assert np.array_equal(found, [np.inf, np.inf, np.inf, np.nan, np.nan], equal_nan=True)
