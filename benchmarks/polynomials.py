"""Fit the polynomials of ``backends/numba/polynomials.py`` and write that file: ``python -m benchmarks.polynomials``.

Weighted least squares on Chebyshev nodes in 80 digits, which is within a factor of two of the best uniform fit. Coefficients are rounded
to the dtype one at a time, lowest power first, and the higher ones are fitted anew, so they absorb the rounding.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath as mp

mp.mp.dps = 80

Function = Callable[[Any], Any]
TINY = mp.mpf(10) ** -25


def rounded(value: Any, dtype: str) -> float:
    """The nearest number of a dtype."""
    return float(value) if dtype == "f64" else struct.unpack("f", struct.pack("f", float(value)))[0]


def fit(f: Function, weight: Function, interval: tuple[Any, Any], degree: int, dtype: str) -> tuple[list[float], float]:
    """Coefficients of rising powers, and the largest weighted error of the rounded polynomial on a fine grid."""
    low, high = map(mp.mpf, interval)
    count = 6 * (degree + 1)
    nodes = [(low + high) / 2 + (high - low) / 2 * mp.cos(mp.pi * (2 * i + 1) / (2 * count)) for i in range(count)]
    values, weights = [f(x) for x in nodes], [weight(x) for x in nodes]
    fixed: list[float] = []
    for first in range(degree + 1):
        rest = [v - sum(c * x**k for k, c in enumerate(fixed)) for v, x in zip(values, nodes)]
        a = mp.matrix([[w * x**k for k in range(first, degree + 1)] for x, w in zip(nodes, weights)])
        fixed.append(rounded(mp.lu_solve(a, mp.matrix([w * r for w, r in zip(weights, rest)]))[0], dtype))
    grid = [low + (high - low) * (i + mp.mpf(1) / 3) / 400 for i in range(400)]
    worst = max(abs(weight(x) * (mp.polyval(fixed[::-1], x) - f(x))) for x in grid)
    return fixed, float(worst)


def root(z: Any) -> Any:
    return mp.sqrt(mp.mpf(z)) if z > TINY else mp.sqrt(TINY)


HALF_LN2 = mp.log(2) / 2 * mp.mpf("1.0001")
LOG_LIMIT = ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2 * mp.mpf("1.0001")
QUARTER = (mp.pi / 4) ** 2 * mp.mpf("1.001")
TANH = mp.mpf("0.55")
ERF = mp.mpf("0.9")


def erfcx(x: Any) -> Any:
    return mp.exp(x * x) * mp.erfc(x)


#: name: (comment, function, weight of its error, interval, degree for f32, degree for f64)
TABLES: dict[str, tuple[str, Function, Function, tuple[Any, Any], int, int]] = {
    "EXP": (
        "(exp(r) - 1 - r) / r**2 for |r| <= ln(2)/2; error relative to exp(r) - 1",
        lambda r: (mp.expm1(r) - r) / r**2, lambda r: r**2 / mp.expm1(r), (-HALF_LN2, HALF_LN2), 5, 10,
    ),
    "LOG": (
        "(2 atanh(s) / s - 2) / z for z = s**2, s = (m - 1) / (m + 1), m in [sqrt(1/2), sqrt(2)]; error relative to log(m)",
        lambda z: (2 * mp.atanh(root(z)) / root(z) - 2) / (root(z) ** 2), lambda z: z / 2, (0, LOG_LIMIT), 3, 6,
    ),
    "SIN": (
        "(sin(r) / r - 1) / z for z = r**2, |r| <= pi/4; error relative to sin(r)",
        lambda z: (mp.sin(root(z)) / root(z) - 1) / root(z) ** 2, lambda z: z, (0, QUARTER), 2, 6,
    ),
    "COS": (
        "(cos(r) - 1 + z / 2) / z**2 for z = r**2, |r| <= pi/4; error relative to cos(r)",
        lambda z: (mp.cos(root(z)) - 1 + root(z) ** 2 / 2) / root(z) ** 4, lambda z: z**2 * mp.mpf("1.4"), (0, QUARTER), 2, 6,
    ),
    "TANH": (
        "(tanh(x) / x - 1) / z for z = x**2, |x| <= 0.55; error relative to tanh(x)",
        lambda z: (mp.tanh(root(z)) / root(z) - 1) / root(z) ** 2, lambda z: z * mp.mpf("1.1"), (0, TANH**2), 4, 10,
    ),
    "ERF": (
        "(erf(x) / x - 1) for z = x**2, |x| <= 0.9; error relative to erf(x)",
        lambda z: mp.erf(root(z)) / root(z) - 1, lambda z: mp.mpf("0.95"), (0, ERF**2), 6, 14,
    ),
    "ERFCX": (
        "exp(x**2) erfc(x) in t = (x - 3.45) / 2.55 (f64) or (x - 2.45) / 1.55 (f32), from 0.9 to 6 or 4; error relative to erf(x)",
        erfcx, lambda x: mp.exp(-(x**2)), (ERF, 6), 9, 22,
    ),
    "SINPI": (
        "sin(pi r) / r for z = r**2, |r| <= 1/2; relative error",
        lambda z: mp.sin(mp.pi * root(z)) / root(z), lambda z: 1 / (mp.sin(mp.pi * root(z)) / root(z)), (0, mp.mpf("0.2501")), 5, 10,
    ),
}  # fmt: skip
ERFCX_MAP = {"f32": (2.45, 1.55), "f64": (3.45, 2.55)}


def table(name: str, dtype: str) -> tuple[list[float], float]:
    """One table and its error."""
    _, f, weight, interval, single, double = TABLES[name]
    if name == "ERFCX":
        middle, half = (mp.mpf(str(v)) for v in ERFCX_MAP[dtype])
        return fit(
            lambda t: f(middle + half * t),
            lambda t: weight(middle + half * t),
            (-1, 1),
            single if dtype == "f32" else double,
            dtype,
        )
    return fit(f, weight, interval, single if dtype == "f32" else double, dtype)


HEADER = '''"""Polynomials of the functions in ``math.py``: coefficients of rising powers, by dtype.

Written by ``python -m benchmarks.polynomials``, which fits them; the comments give what each stands for and its largest error.
"""

from __future__ import annotations

'''


def main() -> None:
    text = HEADER
    for name, (comment, *_rest) in TABLES.items():
        text += f"#: {comment}\n{name} = {{\n"
        for dtype in ("f32", "f64"):
            coefficients, error = table(name, dtype)
            print(name, dtype, float(mp.log(error, 2)))
            text += f'    "{dtype}": (  # 2**{float(mp.log(error, 2)):.1f}\n'
            text += "".join(f"        {c!r},\n" for c in coefficients) + "    ),\n"
        text += "}\n"
    (Path(__file__).parents[1] / "backends" / "numba" / "polynomials.py").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
