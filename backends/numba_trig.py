"""Sine, cosine, tangent and powers for numba.

f32 has no branch and no call. An argument of 2**24 or more is y 2**k with y below 2**24: the table gives 2**k modulo 2 pi, in two parts
of which the first times y is exact in double. What is then below 2**26 loses its multiples of pi/2, in three parts, in double. So the
error bounds hold for all arguments. f64 calls the C library.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from functools import cache
from math import inf, nan, pi
from typing import Any

import numpy as np

from . import numba_polynomials as tables
from .numba_bits import (
    REALS,
    Real,
    absolute,
    bits,
    both,
    differ,
    fma,
    from_bits,
    helper,
    inline,
    polynomial,
    round_even,
    select,
    shift_left,
    shift_right,
    sub,
)
from .numba_math import exp, log_, magic

#: pi to 60 places; 2**127 modulo 2 pi needs 39 of them before the point of the quotient and 22 after it.
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494")
#: Binary places of the first parts in the table: times 24 bits they fit into a double.
PLACES = 27


@cache
def turns() -> tuple[Any, Any]:
    """2**k modulo 2 pi for k = 0, ..., 105, in two parts; but 1 for k = 0."""
    with localcontext() as context:
        context.prec = 100
        rest = [(Decimal(2) ** k).remainder_near(2 * PI) for k in range(106)]
        high = [round(r * 2**PLACES) / 2**PLACES for r in rest]
        low = [float(r - Decimal(h)) for r, h in zip(rest, high)]
    high[0], low[0] = 1.0, 0.0
    return np.array(high), np.array(low)


def half_pi() -> tuple[float, float, float]:
    """pi / 2 in parts of 26, 26 and 53 bits."""
    with localcontext() as context:
        context.prec = 100
        first = round(PI / 2 * 2**25) / 2**25
        second = round((PI / 2 - Decimal(first)) * 2**51) / 2**51
        return first, second, float(PI / 2 - Decimal(first) - Decimal(second))


@cache
def reduced() -> Any:
    """x, a float, to (r, n): x = r + n pi / 2 modulo 2 pi with |r| <= pi / 4, in double."""
    table_high, table_low = turns()
    shift = np.float64(magic(REALS["f64"]))
    per_turn, first, second, third = np.float64(2 / pi), *(np.float64(-p) for p in half_pi())
    exponent, least, most, zero = np.int32(255), np.int32(127 + 23), np.int32(105), np.int32(0)

    @inline
    def reduce(x: Any) -> Any:
        word = bits(x)
        k = sub(both(shift_right(word, 23), exponent), least)
        k = select(k < zero, zero, select(k > most, most, k))
        y, at = np.float64(from_bits(sub(word, shift_left(k, 23)))), np.uint64(k)
        high, low = y * table_high[at], y * table_low[at]
        shifted = fma(high + low, per_turn, shift)
        n = shifted - shift
        r = fma(n, second, fma(n, first, high))
        return r + fma(n, third, low), np.int32(bits(shifted))

    return reduce


@cache
def wave(t: Real) -> Any:
    """(r, n) to sin(r + n pi / 2)."""
    sine, cosine, half, one = polynomial(tables.SIN[t.name]), polynomial(tables.COS[t.name]), t.real(-0.5), t.real(1)
    real, whole = t.real, t.whole
    odd, middle, places = np.int32(1), np.int32(2), 8 * np.dtype(t.whole).itemsize - 2

    @inline
    def value(r: Any, n: Any) -> Any:
        r = real(r)
        z = r * r
        s, c = fma(z * sine(z), r, r), fma(z * z, cosine(z), fma(z, half, one))
        y = select(both(n, odd) == odd, c, s)
        return from_bits(differ(bits(y), shift_left(whole(both(n, middle)), places)))

    return value


@helper("sin", "f32 f64")
def sin(t: Real) -> Any:
    """Error at most 2 ulp (f32); that of the C library (f64)."""
    if t.name == "f64":
        return _library(math.sin)
    reduce, value, zero, infinity, not_a_number = reduced(), wave(t), t.real(0), t.real(inf), t.real(nan)

    @inline
    def us_sin(x: Any) -> Any:
        r, n = reduce(x)
        result = select(absolute(x) < infinity, value(r, n), not_a_number)
        return select(x == zero, x, result)

    return us_sin


@helper("cos", "f32 f64")
def cos(t: Real) -> Any:
    """Error at most 2 ulp (f32); that of the C library (f64)."""
    if t.name == "f64":
        return _library(math.cos)
    reduce, value, infinity, not_a_number, one = reduced(), wave(t), t.real(inf), t.real(nan), np.int32(-1)

    @inline
    def us_cos(x: Any) -> Any:
        r, n = reduce(x)
        return select(absolute(x) < infinity, value(r, sub(n, one)), not_a_number)

    return us_cos


@helper("tan", "f32 f64")
def tan(t: Real) -> Any:
    """Error at most 1 ulp (f32), as sine and cosine are computed in double; that of the C library (f64)."""
    if t.name == "f64":
        return _library(math.tan)
    reduce, real, zero, infinity, not_a_number = reduced(), t.real, t.real(0), t.real(inf), t.real(nan)
    sine, cosine, half, one = polynomial(tables.SIN["f32"]), polynomial(tables.COS["f32"]), np.float64(-0.5), np.float64(1)
    odd = np.int32(1)

    @inline
    def us_tan(x: Any) -> Any:
        r, n = reduce(x)
        z = r * r
        s, c = fma(z * sine(z), r, r), fma(z * z, cosine(z), fma(z, half, one))
        swap = both(n, odd) == odd
        result = real(select(swap, -c, s) / select(swap, s, c))
        result = select(absolute(x) < infinity, result, not_a_number)
        return select(x == zero, x, result)

    return us_tan


def _library(function: Any) -> Any:
    @inline
    def call(x: Any) -> Any:
        return function(x)

    return call


@helper("pow", "f32 f64")
def power(t: Real) -> Any:
    """x**y. f32: exp(y log |x|) in double, error at most 1 ulp; f64: that of the C library."""
    if t.name == "f64":
        library = math.pow

        @inline
        def us_pow_double(x: Any, y: Any) -> Any:
            return library(x, y)

        return us_pow_double

    exponential, logarithm, real = exp(REALS["f64"]), log_(REALS["f64"]), t.real
    zero, half, one, infinity, not_a_number, none = *map(t.real, (0, 0.5, 1, inf, nan)), t.whole(0)

    @inline
    def us_pow(x: Any, y: Any) -> Any:
        a = absolute(x)
        size = real(exponential(np.float64(y) * logarithm(np.float64(a))))
        size = select((y == zero) | (x == one) | ((a == one) & (y == y)), one, size)
        whole = round_even(y) == y
        odd = whole & (round_even(y * half) != y * half)
        size = select((bits(x) < none) & odd, -size, size)
        return select((x < zero) & (a < infinity) & (y == y) & (whole == (y != y)), not_a_number, size)

    return us_pow
