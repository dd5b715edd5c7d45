"""Real functions of the run-time library for numba: accuracy against mpmath, special values, vector loops, cheap imports."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import llvmlite.binding
import mpmath
import numba
import numpy as np
import pytest
import scipy.special

from unspool.backends.numba.runtime import lookup, names

from .numba_loops import NUMPY, apply, assembly, same, special, ulps, ulps_of

mp = mpmath.mp.clone()
mp.prec = 90


@dataclass
class Row:
    """A function, exact for mpmath, in double for NumPy, and the largest error allowed in units in the last place."""

    name: str
    exact: Callable[[Any], Any]
    double: Callable[[Any], Any]
    limit: float
    low: float = -np.inf
    high: float = np.inf
    points: int = 20000
    vector: tuple[str, ...] = ("f32", "f64")


def sigmoid(x: Any) -> Any:
    return scipy.special.expit(x)


def softplus(x: Any) -> Any:
    return np.logaddexp(0.0, x)


ROWS = [
    Row("exp", mp.exp, np.exp, 1),
    Row("expm1", mp.expm1, np.expm1, 2),
    Row("log", mp.log, np.log, 1, low=0),
    Row("log1p", lambda x: mp.log1p(x), np.log1p, 2, low=-1),
    Row("tanh", mp.tanh, np.tanh, 2),
    Row("sigmoid", lambda x: 1 / (1 + mp.exp(-x)), sigmoid, 2),
    Row("softplus", lambda x: mp.log1p(mp.exp(x)), softplus, 2),
    Row("erf", mp.erf, scipy.special.erf, 2, points=4000),
    Row("sin", mp.sin, np.sin, 2),
    Row("cos", mp.cos, np.cos, 2),
    Row("tan", mp.tan, np.tan, 1, vector=("f32",)),
    Row("sqrt", mp.sqrt, np.sqrt, 0.5, low=0),
]
BY_NAME = {r.name: r for r in ROWS}


def arguments(row: Row, dtype: str, count: int) -> Any:
    """Numbers of every size and sign, most of them where the function changes."""
    generator = np.random.default_rng(7)
    kinds = [generator.normal(size=count) * s for s in (0.01, 1, 10, 100)] + [np.linspace(-4, 4, count)]
    kinds += [1 + generator.normal(size=count) * 0.01]
    integer = np.uint32 if dtype == "f32" else np.uint64
    some = generator.integers(0, np.iinfo(integer).max, count, dtype=integer, endpoint=True).view(NUMPY[dtype])
    x = np.concatenate([*(k.astype(NUMPY[dtype]) for k in kinds), some[np.isfinite(some)]])
    return x[(x > row.low) & (x < row.high)]


@pytest.mark.parametrize("name", BY_NAME)
def test_single_precision(name: str) -> None:
    """Four million arguments, against NumPy's or SciPy's function in double."""
    row = BY_NAME[name]
    x = arguments(row, "f32", 2**22 // 7)
    found = apply(f"us_{name}_f32", x)
    with np.errstate(over="ignore", under="ignore"):
        wanted = row.double(x.astype(np.float64))
        rounded = wanted.astype(np.float32)
    finite = np.isfinite(rounded)
    assert np.array_equal(found[~finite], rounded[~finite])
    error = ulps(found[finite], wanted[finite])
    worst = int(np.argmax(error))
    assert error[worst] <= row.limit + 1e-6, f"{error[worst]} at {x[finite][worst]!r}"


@pytest.mark.parametrize("name", BY_NAME)
def test_double_precision(name: str) -> None:
    """Against mpmath."""
    row = BY_NAME[name]
    x = arguments(row, "f64", row.points // 7 + 1)
    found = apply(f"us_{name}_f64", x)
    with np.errstate(over="ignore", under="ignore"):
        assert np.array_equal(np.isfinite(found), np.isfinite(row.double(x)))
    error = ulps_of(found, row.exact, x, mp)
    worst = int(np.nanargmax(error))
    assert error[worst] <= row.limit + 1e-6, f"{error[worst]} at {x[worst]!r}"


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("name", BY_NAME)
def test_special_values(name: str, dtype: str) -> None:
    """Infinities, NaN, zeros with their signs, poles, the ends of the range: as the C library's, to the last place of ordinary numbers."""
    x = special(dtype)
    found = apply(f"us_{name}_{dtype}", x)
    with np.errstate(all="ignore"):
        wanted = BY_NAME[name].double(x.astype(np.float64)).astype(NUMPY[dtype])
        near = np.abs(found - wanted) <= 2 * np.spacing(np.abs(wanted))
    good = same(found, wanted) | (near & np.isfinite(found) & np.isfinite(wanted) & (wanted != 0))
    assert good.all(), (x[~good], found[~good], wanted[~good])


has_avx2 = bool(llvmlite.binding.get_host_cpu_features().get("avx2", False))


@pytest.mark.skipif(not has_avx2, reason="needs AVX2")
@pytest.mark.parametrize(("name", "dtype"), [(r.name, d) for r in ROWS for d in r.vector])
def test_loops_are_vector_loops(name: str, dtype: str) -> None:
    """Arithmetic on wide registers (f32 in part in double), and no call of a function of the C library."""
    text = assembly(f"us_{name}_{dtype}", [dtype, dtype])
    assert re.search(r"v(?:mul|fm\w+|sqrt)p[sd]\b.*%[yz]mm", text)
    assert not calls_library(text)


def calls_library(text: str) -> bool:
    """Whether machine code mentions a mathematical function of the C library."""
    code = re.sub(r"^.*numba.*$|^\s*\.(?!quad).*$", "", text, flags=re.M)
    return bool(re.search(r"\b(?:exp|expm1|log|log1p|tanh|erf|sin|cos|tan|pow|fma|fmod)f?\b", code))


def test_a_call_of_the_library_is_seen() -> None:
    """The test above can fail."""
    loop = numba.njit("void(float32[::1], float32[::1])")(scalar_loop)
    assert calls_library(loop.inspect_asm(loop.signatures[0]))


def scalar_loop(x, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = math.exp(x[i])


def test_arguments_next_to_multiples_of_half_pi() -> None:
    """Doubles that all but cancel: multiples of pi/2 rounded, and one of the closest there are."""
    multiples = [float(k * mp.pi / 2) for k in (1, 2, 3, 4, 51, 1001, 2**20 + 1, 10**9, 2**53 - 1, 3 * 10**18)]
    x = np.array([*multiples, 6381956970095103.0 * 2.0**797, 1.7e308])
    wide = mpmath.mp.clone()
    wide.prec = 1300
    for name, exact in (("sin", wide.sin), ("cos", wide.cos)):
        assert np.nanmax(ulps_of(apply(f"us_{name}_f64", x), exact, x, wide)) <= 1


def test_powers() -> None:
    """Single precision goes through double, double to the C library; all pairs of special values as NumPy's."""
    generator = np.random.default_rng(3)
    for dtype in ("f32", "f64"):
        some = np.concatenate([special(dtype), np.array([-1, 5, -5, 1e8], NUMPY[dtype])])
        x, y = np.repeat(some, some.size), np.tile(some, some.size)
        found = apply(f"us_pow_{dtype}", x, y)
        with np.errstate(all="ignore"):
            wanted = np.power(x, y)
            near = np.abs(found - wanted) <= np.spacing(np.abs(wanted))
        good = same(found, wanted) | near
        assert good.all(), (x[~good], y[~good], found[~good], wanted[~good])
    x = np.exp(generator.normal(size=2**20) * 3).astype(np.float32)
    y = (generator.normal(size=2**20) * 8).astype(np.float32)
    found = apply("us_pow_f32", x, y)
    with np.errstate(over="ignore", under="ignore"):
        wanted = x.astype(np.float64) ** y.astype(np.float64)
        finite = np.isfinite(wanted.astype(np.float32))
    assert np.array_equal(np.isfinite(found), finite)
    assert ulps(found[finite], wanted[finite]).max() <= 1


@pytest.mark.skipif(not has_avx2, reason="needs AVX2")
def test_powers_are_vector_loops() -> None:
    """No call of the C library's."""
    text = assembly("us_pow_f32", ["f32", "f32", "f32"])
    assert not calls_library(text)
    assert re.search(r"vfm\w+pd\b.*%[yz]mm", text)


def test_unknown_names() -> None:
    """A look-up of what is not there."""
    with pytest.raises(KeyError, match="us_frobnicate_f32"):
        lookup("us_frobnicate_f32")
    assert "us_exp_f32" in names()


def test_importing_loads_no_numba() -> None:
    """Numba loads at the first look-up, and nothing is compiled before a call."""
    code = (
        "import sys, unspool.backends.numba.runtime as r; assert 'numba' not in sys.modules;"
        "f = r.lookup('us_exp_f32'); assert 'numba' in sys.modules and not f.overloads; assert f is r.lookup('us_exp_f32')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
