"""Sine, cosine, tangent and powers for numba.

Sine and cosine have no branch and no call, and their error bounds hold for all arguments. f32: an argument of 2**24 or more is y 2**k
with y below 2**24: a table gives 2**k modulo 2 pi, in two parts of which the first times y is exact in double. What is then below
2**26 loses its multiples of pi/2, in three parts, in double. f64: x = y 2**k with y below 2**53, and a table gives 2**k 2/pi modulo 4 in
four doubles; the products with y, taken with their rounding errors, add up to quarter turns and a fraction, in two doubles.
The tangent and powers of f64 call the C library.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from math import inf, nan, pi
from typing import Any

import numpy as np

from . import polynomials as tables
from .bits import (
    REALS,
    Real,
    absolute,
    bits,
    both,
    differ,
    exact_fma,
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
from .math import exp, log_, magic

#: Binary places of pi: 1024 for the largest exponent, and what is left of it after cancellation.
PRECISION = 1300
#: Binary places of the first parts in the table: times 24 bits they fit into a double.
PLACES = 27


@cache
def scaled_pi() -> int:
    """pi 2**PRECISION, by Machin's formula."""
    unit = 1 << (PRECISION + 32)

    def arctangent(n: int) -> int:
        """Of 1 / n."""
        total, term, k = 0, unit // n, 1
        while term:
            total += term // k if k % 4 == 1 else -(term // k)
            term, k = term // (n * n), k + 2
        return total

    return (16 * arctangent(5) - 4 * arctangent(239)) >> 32


def parts(number: int, count: int) -> list[float]:
    """``number`` / 2**PRECISION as a sum of doubles, each the nearest to what is left."""
    found = []
    for _ in range(count):
        found.append(number / 2**PRECISION)
        number -= int(Fraction(found[-1]) * 2**PRECISION)
    return found


def centred(number: int, period: int) -> int:
    """The number of least size that differs by a multiple of the period."""
    return (number + period // 2) % period - period // 2


def clipped(number: int, places: int) -> tuple[float, int]:
    """``number`` / 2**PRECISION to so many binary places, and what is left, still scaled."""
    whole = (number + (1 << (PRECISION - places - 1))) >> (PRECISION - places)
    return whole / 2**places, number - (whole << (PRECISION - places))


@cache
def turns() -> tuple[Any, Any]:
    """2**k modulo 2 pi for k = 0, ..., 105, in two parts; but 1 for k = 0."""
    found = [clipped(centred(1 << (PRECISION + k), 2 * scaled_pi()), PLACES) for k in range(106)]
    high, low = np.array([h for h, _ in found]), np.array([parts(rest, 1)[0] for _, rest in found])
    high[0], low[0] = 1.0, 0.0
    return high, low


def half_pi() -> tuple[float, float, float]:
    """pi / 2 in parts of 26, 26 and 53 bits."""
    first, rest = clipped(scaled_pi() // 2, 25)
    second, rest = clipped(rest, 51)
    return first, second, parts(rest, 1)[0]


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


@cache
def quarters() -> Any:
    """2**k 2/pi modulo 4 for k = 0, ..., 971, in four doubles."""
    unit = (1 << (2 * PRECISION + 1)) // scaled_pi()
    return tuple(map(np.array, zip(*(parts(centred(unit << k, 4 << PRECISION), 4) for k in range(972)))))


@inline
def two_sum(a: Any, b: Any) -> Any:
    """The sum and its rounding error."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


@cache
def reduced_double() -> Any:
    """x, a double, to (r, low, n): x = r + low + n pi / 2 modulo 2 pi with |r| <= pi / 4."""
    table0, table1, table2, table3 = quarters()
    four, quarter, shift = np.float64(4), np.float64(0.25), np.float64(magic(REALS["f64"]))
    exponent, least, most, zero, places = map(np.int64, (2047, 1023 + 52, 971, 0, 52))
    high, low = map(np.float64, parts(scaled_pi() // 2, 2))

    @inline
    def reduce(x: Any) -> Any:
        word = bits(x)
        k = sub(both(shift_right(word, places), exponent), least)
        k = select(k < zero, zero, select(k > most, most, k))
        y, at = from_bits(sub(word, shift_left(k, places))), np.uint64(k)
        c0, c1, c2 = table0[at], table1[at], table2[at]
        p0, p1, p2 = y * c0, y * c1, y * c2
        e0, e1, e2 = exact_fma(y, c0, -p0), exact_fma(y, c1, -p1), exact_fma(y, c2, -p2)
        p0 = p0 - four * round_even(p0 * quarter)
        s, d0 = two_sum(p0, e0)
        s, d1 = two_sum(s, p1)
        shifted = s + shift
        f = s - (shifted - shift)
        t, a0 = two_sum(p2, exact_fma(y, table3[at], e2))
        t, a1 = two_sum(e1, t)
        t, a2 = two_sum(d1, t)
        t, a3 = two_sum(d0, t)
        f, a4 = two_sum(f, t)
        rest = a4 + (a3 + (a2 + (a1 + a0)))
        r = f * high
        rest = exact_fma(f, high, -r) + (f * low + rest * high)
        total = r + rest
        return total, rest - (total - r), np.int32(bits(shifted))

    return reduce


@cache
def wave_double() -> Any:
    """(r, low, n) to sin(r + low + n pi / 2), in double."""
    sine, cosine, half, one = polynomial(tables.SIN["f64"]), polynomial(tables.COS["f64"]), np.float64(0.5), np.float64(1)
    odd, middle = np.int32(1), np.int32(2)

    @inline
    def value(r: Any, low: Any, n: Any) -> Any:
        z = r * r
        part = half * z
        s = r + fma(z * sine(z), r, low * (one - part))
        c = one - part
        c = c + (((one - c) - part) + fma(z * z, cosine(z), -r * low))
        y = select(both(n, odd) == odd, c, s)
        return from_bits(differ(bits(y), shift_left(np.int64(both(n, middle)), 62)))

    return value


@helper("sin", "f32 f64")
def sin(t: Real) -> Any:
    """Error at most 2 ulp (f32) and 1 ulp (f64)."""
    if t.name == "f64":
        return _sine_double()
    reduce, value, zero, infinity, not_a_number = reduced(), wave(t), t.real(0), t.real(inf), t.real(nan)

    @inline
    def us_sin(x: Any) -> Any:
        r, n = reduce(x)
        result = select(absolute(x) < infinity, value(r, n), not_a_number)
        return select(x == zero, x, result)

    return us_sin


@helper("cos", "f32 f64")
def cos(t: Real) -> Any:
    """Error at most 2 ulp (f32) and 1 ulp (f64)."""
    if t.name == "f64":
        return _cosine_double()
    reduce, value, infinity, not_a_number, one = reduced(), wave(t), t.real(inf), t.real(nan), np.int32(-1)

    @inline
    def us_cos(x: Any) -> Any:
        r, n = reduce(x)
        return select(absolute(x) < infinity, value(r, sub(n, one)), not_a_number)

    return us_cos


def _sine_double() -> Any:
    reduce, value, tiny, infinity, not_a_number = reduced_double(), wave_double(), *map(np.float64, (2.0**-27, inf, nan))

    @inline
    def us_sin_double(x: Any) -> Any:
        r, low, n = reduce(x)
        result = select(absolute(x) < infinity, value(r, low, n), not_a_number)
        return select(absolute(x) < tiny, x, result)

    return us_sin_double


def _cosine_double() -> Any:
    reduce, value, infinity, not_a_number, one = reduced_double(), wave_double(), np.float64(inf), np.float64(nan), np.int32(-1)

    @inline
    def us_cos_double(x: Any) -> Any:
        r, low, n = reduce(x)
        return select(absolute(x) < infinity, value(r, low, sub(n, one)), not_a_number)

    return us_cos_double


@helper("tan", "f32 f64")
def tan(t: Real) -> Any:
    """Error at most 1 ulp (f32), as sine and cosine are computed in double; that of the C library (f64)."""
    if t.name == "f64":
        library = math.tan

        @inline
        def us_tan_double(x: Any) -> Any:
            return library(x)

        return us_tan_double

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
