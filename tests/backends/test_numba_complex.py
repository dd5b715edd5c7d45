"""Complex numbers of the run-time library for numba, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np
import pytest
import torch

from unspool.backends.numba.runtime import lookup

from .numba_loops import NUMPY, apply

DTYPES = ["c64", "c128"]
SPECIAL = [0.0, -0.0, 1, -1, 0.5, -2, 30, -30, 1e-20, np.inf, -np.inf, np.nan]
PART = {"c64": "f32", "c128": "f64"}

UNARY: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "neg": torch.neg, "conj": torch.conj_physical, "square": lambda z: z * z, "exp": torch.exp, "sqrt": torch.sqrt, "log": torch.log,
    "sin": torch.sin, "cos": torch.cos, "tan": torch.tan, "tanh": torch.tanh, "log1p": torch.log1p, "expm1": torch.expm1,
    "sigmoid": torch.sigmoid,
}  # fmt: skip
BINARY: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "pow": torch.pow,
}  # fmt: skip
#: Functions whose special values are compared, too.
EXACT = ["neg", "conj", "exp", "sqrt", "log", "tanh"]


def numbers(dtype: str, count: int = 500, seed: int = 0) -> torch.Tensor:
    """Ordinary complex numbers."""
    generator = np.random.default_rng(seed)
    z = generator.normal(size=count) * 2 + 1j * generator.normal(size=count) * 2
    return torch.from_numpy(z.astype(NUMPY[dtype]))


def close(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Equal to some units in the last place of the modulus."""
    return bool((torch.abs(found - wanted) <= 16 * torch.finfo(wanted.dtype).eps * torch.abs(wanted).clamp_min(0.1)).all())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_functions(name: str, dtype: str) -> None:
    """Ordinary numbers."""
    z = numbers(dtype)
    assert close(torch.from_numpy(apply(f"us_{name}_{dtype}", z.numpy())), UNARY[name](z.to(torch.complex128)).to(z.dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BINARY)
def test_operations(name: str, dtype: str) -> None:
    """Ordinary numbers."""
    a, b = numbers(dtype), numbers(dtype, seed=1)
    found = torch.from_numpy(apply(f"us_{name}_{dtype}", a.numpy(), b.numpy()))
    wanted = BINARY[name](a.to(torch.complex128), b.to(torch.complex128)).to(a.dtype)
    error = torch.abs(found - wanted) / torch.abs(wanted).clamp_min(1)
    assert error.max() <= (64 if name == "pow" else 8) * torch.finfo(wanted.dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXACT)
def test_special_values(name: str, dtype: str) -> None:
    """Zeros, infinities and NaN in both parts; parts are NaN where PyTorch's are, unless its other part is a zero or infinite."""
    z = torch.tensor([complex(a, b) for a in SPECIAL for b in SPECIAL], dtype=torch.complex128).to(numbers(dtype).dtype)
    found, wanted = torch.from_numpy(apply(f"us_{name}_{dtype}", z.numpy())), UNARY[name](z)
    eps = 8 * torch.finfo(z.dtype).eps
    lost = wanted.real.isnan() | wanted.imag.isnan()
    for f, w in ((found.real, wanted.real), (found.imag, wanted.imag)):
        good = (f == w) | (f.isnan() & w.isnan()) | ((f - w).abs() <= eps * w.abs().clamp_min(eps)) | lost
        assert good.all(), (z[~good][:5], f[~good][:5], w[~good][:5])
    assert (found.real.isnan() | found.imag.isnan())[wanted.real.isnan() & wanted.imag.isnan()].all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_division_by_zero_and_by_extremes(dtype: str) -> None:
    """Scaling avoids overflow; division by zero gives infinities and NaN as PyTorch's."""
    big = float(np.finfo(NUMPY[PART[dtype]]).max) / 4
    a = torch.tensor([1 + 2j, 0j, complex(big, big), -1 - 1j], dtype=numbers(dtype).dtype)
    b = torch.tensor([0j, 0j, complex(big, big), complex(0, -2)], dtype=a.dtype)
    found = torch.from_numpy(apply(f"us_div_{dtype}", a.numpy(), b.numpy()))
    assert torch.equal(torch.view_as_real(found).nan_to_num(nan=77), torch.view_as_real(a / b).nan_to_num(nan=77))


@pytest.mark.parametrize("dtype", DTYPES)
def test_exponentials_do_not_overflow_early(dtype: str) -> None:
    """exp(89 + 1.57i) in single precision has a finite real part."""
    z = torch.tensor([89 + 1.57j if dtype == "c64" else 710 + 1.57j], dtype=numbers(dtype).dtype)
    found = apply(f"us_exp_{dtype}", z.numpy())[0]
    wanted = np.exp(np.clongdouble(z.item()))
    assert abs(found.real - wanted.real) <= 1e-4 * abs(wanted.real)


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_of_other_dtypes(dtype: str) -> None:
    """Modulus, argument, comparison, parts, choice."""
    z, w, part = numbers(dtype), numbers(dtype, seed=1), PART[dtype]
    w[::2] = z[::2]
    eps = 4 * torch.finfo(z.dtype).eps
    for name, f in (("abs", torch.abs), ("angle", torch.angle)):
        found = torch.from_numpy(apply(f"us_{name}_{dtype}", z.numpy(), dtype=part))
        assert torch.allclose(found, f(z), rtol=eps, atol=0)
    assert np.array_equal(apply(f"us_eq_{dtype}", z.numpy(), w.numpy(), dtype="bool"), (z == w).numpy())
    z[3], z[4] = complex(np.inf, 0), complex(0, np.nan)
    assert np.array_equal(apply(f"us_isfinite_{dtype}", z.numpy(), dtype="bool"), torch.isfinite(z).numpy())
    made = apply(f"us_make_{dtype}", z.real.contiguous().numpy(), w.imag.contiguous().numpy(), dtype=dtype)
    assert np.array_equal(made, torch.complex(z.real, w.imag).numpy(), equal_nan=True)
    f = lookup("us_where")
    choose = numba.njit(lambda c, a, b: f(c, a, b))
    one, two = NUMPY[dtype](1 + 2j), NUMPY[dtype](3)
    assert choose(True, one, two) == one
    assert choose(False, one, two) == two


@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_of_zero_and_zeroth_powers(dtype: str) -> None:
    """As Python's own: 1 for exponent 0, 0 for a positive real one; where Python refuses, NaN."""
    a = np.array([0, 0, 0, 0, 2 - 3j, -1, 1j], NUMPY[dtype])
    b = np.array([0, 2.5, -1, 1j, 0, 0.5, 1j], NUMPY[dtype])
    found = apply(f"us_pow_{dtype}", a, b)
    for x, y, got in zip(a.tolist(), b.tolist(), found.tolist(), strict=True):
        try:
            wanted = complex(x) ** complex(y)
        except ZeroDivisionError:
            assert np.isnan(got)
        else:
            assert abs(got - wanted) <= 4 * np.finfo(NUMPY[dtype]).eps
