"""Random numbers of the run-time library for numba: the same bits as the interpreter's."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
import torch

from unspool.backends.numba.runtime import lookup
from unspool.compiler.graph.ops.table import lookup as op

from .numba_loops import NUMPY

COUNT = 5000
KEYS = [0, 1, -1, 123456789012345678, -(2**63)]
DRAWS = [("random_uniform", "f32"), ("random_uniform", "f64"), ("random_normal", "f32"), ("random_normal", "f64")]
DRAWS += [("random_rademacher", d) for d in ("f32", "f64", "i8", "i16", "i32", "i64")]


def expected(name: str, key: torch.Tensor, *rest: torch.Tensor, **attrs: object) -> Any:
    numerics = op(name).numerics
    assert numerics is not None
    return numerics(torch, attrs, key, *rest).numpy()


@pytest.mark.parametrize(("name", "dtype"), DRAWS)
def test_draws_are_equal_bit_for_bit(name: str, dtype: str) -> None:
    """Several keys."""
    f = lookup(f"us_{name}_{dtype}")

    @numba.njit(error_model="numpy", boundscheck=False)  # type: ignore[untyped-decorator, unused-ignore]
    def fill(key: Any, out: Any) -> None:
        for i in range(out.size):
            out[i] = f(key, i)

    for key in KEYS:
        out = np.empty(COUNT, NUMPY[dtype])
        fill(np.int64(key), out)
        assert np.array_equal(out, expected(name, torch.tensor(key), shape=(COUNT,), dtype=dtype)), key


@pytest.mark.parametrize("dtype", ["i8", "i16", "i32", "i64"])
@pytest.mark.parametrize(("low", "high"), [(-5, 100), (0, 1), (-128, 127)])
def test_integers(dtype: str, low: int, high: int) -> None:
    """Bounds from data, of the result's dtype and of int64."""
    f = lookup(f"us_random_randint_{dtype}")

    @numba.njit(error_model="numpy", boundscheck=False)  # type: ignore[untyped-decorator, unused-ignore]
    def fill(key: Any, first: Any, last: Any, out: Any) -> None:
        for i in range(out.size):
            out[i] = f(key, i, first, last)

    bounds = [torch.tensor(v) for v in (low, high)]
    for kind in (np.int64, NUMPY[dtype]):
        out = np.empty(COUNT, NUMPY[dtype])
        fill(42, kind(low), kind(high), out)
        assert np.array_equal(out, expected("random_randint", torch.tensor(42), *bounds, shape=(COUNT,), dtype=dtype))


def test_a_wide_range() -> None:
    """A difference of 2**32."""
    f = lookup("us_random_randint_i64")
    bounds = [torch.tensor(-(2**31)), torch.tensor(2**31)]
    found = [numba.njit(lambda k, i: f(k, i, -(2**31), 2**31))(3, i) for i in range(5)]
    assert found == expected("random_randint", torch.tensor(3), *bounds, shape=(5,), dtype="i64").tolist()


def test_fold() -> None:
    """Keys for integers of several dtypes."""
    f = lookup("us_fold")
    fold = numba.njit(lambda key, i: f(key, i))
    for key in KEYS:
        for i in (np.int64(2**40), np.int64(-3), np.int32(-3), np.int8(7)):
            assert fold(np.int64(key), i) == expected("fold", torch.tensor(key), torch.tensor(int(i)))
