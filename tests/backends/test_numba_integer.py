"""Short functions and integers of the run-time library for numba, against PyTorch and Python's own integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest
import torch

from unspool.backends.numba.runtime import lookup

from .numba_loops import NUMPY, apply, same, special

INTEGERS = ["i8", "i16", "i32", "i64"]
REALS = ["f32", "f64"]


def integers(dtype: str) -> list[int]:
    info = np.iinfo(NUMPY[dtype])
    return [info.min, info.min + 1, -100, -7, -3, -2, -1, 0, 1, 2, 3, 5, 7, 100, info.max - 1, info.max]


def wrapped(value: int, dtype: str) -> int:
    bits = 8 * np.dtype(NUMPY[dtype]).itemsize
    return (value + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


def power(a: int, b: int) -> int:
    return a**b if b >= 0 else 1 if a == 1 else (-1 if b % 2 else 1) if a == -1 else 0


UNARY: dict[str, Callable[[int], int]] = {
    "neg": lambda a: -a, "abs": abs, "sign": lambda a: (a > 0) - (a < 0), "relu": lambda a: max(a, 0),
}  # fmt: skip
BINARY: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "maximum": max, "minimum": min,
    "floordiv": lambda a, b: a // b, "mod": lambda a, b: a % b, "pow": power,
}  # fmt: skip


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str, dtype: str) -> None:
    """The ends of the range wrap around."""
    x = np.array(integers(dtype), NUMPY[dtype])
    assert apply(f"us_{name}_{dtype}", x).tolist() == [wrapped(UNARY[name](a), dtype) for a in integers(dtype)]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", BINARY)
def test_binary(name: str, dtype: str) -> None:
    """All pairs, the least integer divided by -1 and negative powers among them."""
    pairs = [(a, b) for a in integers(dtype) for b in integers(dtype) if b != 0 or name not in ("floordiv", "mod")]
    pairs = [(a, b) for a, b in pairs if name != "pow" or b < 200]
    x, y = (np.array(v, NUMPY[dtype]) for v in zip(*pairs, strict=True))
    assert apply(f"us_{name}_{dtype}", x, y).tolist() == [wrapped(BINARY[name](a, b), dtype) for a, b in pairs]


def test_truth_values() -> None:
    """Maxima of booleans are disjunctions."""
    x, y = np.array([False, False, True, True]), np.array([False, True, False, True])
    assert apply("us_maximum_bool", x, y).tolist() == [False, True, True, True]
    assert apply("us_minimum_bool", x, y).tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    ("name", "python"), [("fdiv", lambda a, b: a // b), ("fmod", lambda a, b: a % b), ("imin", min), ("imax", max)]
)
def test_indices(name: str, python: Callable[[int, int], int]) -> None:
    """Arithmetic of indices."""
    pairs = [(a, b) for a in range(-9, 10) for b in range(-4, 5) if b]
    x, y = (np.array(v, np.int64) for v in zip(*pairs, strict=True))
    assert apply(f"us_{name}", x, y).tolist() == [python(a, b) for a, b in pairs]


def test_checks_keep_the_first_number() -> None:
    """Values that do no harm, and the number of the first check that failed."""
    index, divisor = lookup("us_check_index"), lookup("us_check_divisor_i32")

    @numba.njit  # type: ignore[untyped-decorator, unused-ignore]
    def check(i: Any, size: Any, b: Any, failed: Any) -> Any:
        return index(i, size, failed, 3), divisor(b, failed, 4)

    for i, b, wanted, number in [
        (0, 2, (0, 2), 0),
        (4, -1, (4, -1), 0),
        (5, 1, (0, 1), 3),
        (-1, 0, (0, 1), 3),
        (1, 0, (1, 1), 4),
    ]:
        failed = np.zeros(1, np.int32)
        assert check(i, 5, np.int32(b), failed) == wanted
        assert failed[0] == number
    failed = np.full(1, 2, np.int32)
    check(9, 5, np.int32(0), failed)
    assert failed[0] == 2


REAL: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sign": lambda x: torch.where(x.isnan(), x, torch.sign(x)), "relu": torch.relu, "square": torch.square, "cube": lambda x: x * x * x,
    "abs": torch.abs, "floor": torch.floor, "ceil": torch.ceil, "rint": torch.round, "angle": torch.angle,
}  # fmt: skip


def remainder(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """NumPy's: PyTorch's is NaN for large quotients."""
    with np.errstate(invalid="ignore"):
        return torch.from_numpy(np.remainder(x.numpy(), y.numpy()))


REAL_PAIRS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "maximum": torch.maximum, "minimum": torch.minimum, "floordiv": lambda x, y: torch.div(x, y, rounding_mode="floor"), "mod": remainder,
}  # fmt: skip


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("name", REAL)
def test_real(name: str, dtype: str) -> None:
    """Special values and ordinary ones."""
    x = np.concatenate([special(dtype), np.random.default_rng(1).normal(size=100).astype(NUMPY[dtype]) * 3])
    found, wanted = apply(f"us_{name}_{dtype}", x), REAL[name](torch.from_numpy(x)).numpy()
    good = same(found, wanted) | ((found == wanted) & (name in ("relu", "sign")))  # PyTorch has relu(-0) = -0, C's library 0
    if name == "angle":
        good |= np.signbit(x) & (x == 0)  # the sign of zero counts here, as in C's atan2
    assert good.all(), (x[~good], found[~good], wanted[~good])


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("name", REAL_PAIRS)
def test_pairs_of_reals(name: str, dtype: str) -> None:
    """All pairs of special values, and ordinary ones."""
    some, generator = special(dtype), np.random.default_rng(1)
    x = np.concatenate([np.repeat(some, some.size), generator.normal(size=100).astype(NUMPY[dtype]) * 3])
    y = np.concatenate([np.tile(some, some.size), generator.normal(size=100).astype(NUMPY[dtype])])
    found = apply(f"us_{name}_{dtype}", x, y)
    wanted = REAL_PAIRS[name](torch.from_numpy(x), torch.from_numpy(y)).numpy()
    good = same(found, wanted) | ((found == wanted) & (name != "floordiv"))  # which of two zeros a maximum is stays open
    assert good.all(), (x[~good], y[~good], found[~good], wanted[~good])


@pytest.mark.parametrize("dtype", REALS)
def test_isfinite_and_fma(dtype: str) -> None:
    """Functions with other results or more arguments."""
    x = special(dtype)
    assert np.array_equal(apply(f"us_isfinite_{dtype}", x, dtype="bool"), np.isfinite(x))
    f = lookup(f"us_fma_{dtype}")
    a, b, c = map(NUMPY[dtype], (3, 4, 5))
    assert numba.njit(lambda p, q, r: f(p, q, r))(a, b, c) == 17
