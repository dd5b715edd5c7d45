"""Loops around functions of the run-time library for numba, as generated code has them, and measures of what they compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numba
import numpy as np

from unspool.backends.numba.runtime import lookup

NUMPY = {
    "f32": np.float32, "f64": np.float64, "c64": np.complex64, "c128": np.complex128, "i8": np.int8, "i16": np.int16, "i32": np.int32,
    "i64": np.int64, "bool": np.bool_,
}  # fmt: skip


@cache
def looped(name: str, arity: int = 1) -> Any:
    """A loop that applies the function ``name`` to the elements of ``arity`` arrays and writes into the last argument."""
    f = lookup(name)
    if arity == 1:

        def one(x, out):  # type: ignore[no-untyped-def]
            for i in range(out.size):
                out[i] = f(x[i])

        return numba.njit(error_model="numpy", boundscheck=False)(one)

    def two(x, y, out):  # type: ignore[no-untyped-def]
        for i in range(out.size):
            out[i] = f(x[i], y[i])

    return numba.njit(error_model="numpy", boundscheck=False)(two)


def apply(name: str, *arrays: Any, dtype: str | None = None) -> Any:
    """The elements of ``us_name`` of arrays; ``dtype`` is that of the result where it is another than the first array's."""
    out = np.empty(arrays[0].shape, NUMPY[dtype] if dtype else arrays[0].dtype)
    looped(name, len(arrays))(*arrays, out)
    return out


def special(dtype: str) -> Any:
    """Zeros, infinities, NaN, ends of the range, small integers and halves."""
    t = NUMPY[dtype]
    info = np.finfo(t)
    values = [
        0.0,
        0.5,
        1.0,
        1.5,
        2.0,
        3.0,
        4.0,
        1e-3,
        1e3,
        np.inf,
        info.max,
        info.tiny,
        info.smallest_subnormal,
        info.eps,
        info.tiny * 0.75,
    ]
    return np.array([*values, *(-v for v in values), np.nan], t)


def ulps(found: Any, wanted: Any) -> Any:
    """Distance in units in the last place of ``wanted``, which is more precise than ``found``."""
    size = np.spacing(np.abs(wanted.astype(found.dtype)))
    with np.errstate(invalid="ignore", over="ignore"):
        return np.abs(found.astype(wanted.dtype) - wanted) / size.astype(wanted.dtype)


def ulps_of(found: Any, exact: Callable[[float], Any], arguments: Any, context: Any) -> Any:
    """Distance of doubles in units in the last place of what mpmath computes for each argument; NaN where the result is not finite."""
    out = np.full(found.shape, np.nan)
    for i, (y, x) in enumerate(zip(found.tolist(), arguments.tolist(), strict=True)):
        if np.isfinite(y):
            wanted = exact(context.mpf(x))
            out[i] = float(abs(context.mpf(y) - wanted)) / np.spacing(abs(float(wanted)))
    return out


def same(found: Any, wanted: Any) -> Any:
    """Where two arrays hold the same numbers, with the signs of zeros, or both NaN."""
    return (np.isnan(found) & np.isnan(wanted)) | ((found == wanted) & (np.signbit(found) == np.signbit(wanted)))


def assembly(name: str, dtypes: Sequence[str]) -> str:
    """The machine code of the loop around a function of arrays of these dtypes, of which the last holds the result."""
    loop = looped(name, len(dtypes) - 1)
    loop.compile(tuple(numba.types.Array(numba.from_dtype(np.dtype(NUMPY[d])), 1, "C") for d in dtypes))
    return str(loop.inspect_asm(loop.signatures[-1]))
