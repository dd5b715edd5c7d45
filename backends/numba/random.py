"""Counter-based random numbers for numba; ``compiler/graph/ops/random_bits.py`` defines them and gives the constants.

The same bits as of every back end: words are unsigned 32-bit integers, doubles are computed in the order written, without fused
multiply-add.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir

from ...compiler.graph.ops import random_bits
from .bits import Integer, Real, bits, differ, from_bits, helper, inline, operation, select, square_root

TAGS = random_bits.TAGS
INTEGERS = "i8 i16 i32 i64"


@cache
def philox() -> Any:
    """(key, counter, tag) to the first two words after ten rounds, as uint64."""
    m0, m1, w0, w1 = (np.uint64(getattr(random_bits, n)) for n in ("M0", "M1", "W0", "W1"))
    mask, half, none = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(0)

    @inline
    def words(key: Any, counter: Any, tag: Any) -> Any:
        k, c = np.uint64(key), np.uint64(counter)
        k0, k1, c0, c1, c2, c3 = k & mask, k >> half, c & mask, c >> half, tag, none
        for _ in range(10):
            p0, p1 = m0 * c0, m1 * c2
            c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ k0, p1 & mask, (p0 >> half) ^ c3 ^ k1, p0 & mask
            k0, k1 = (k0 + w0) & mask, (k1 + w1) & mask
        return c0, c1

    return words


@helper("fold")
def fold() -> Any:
    """A key for an integer."""
    words, tag, half = philox(), np.uint64(TAGS["fold"]), np.uint64(32)

    @inline
    def us_fold(key: Any, i: Any) -> Any:
        a, b = words(np.int64(key), np.int64(i), tag)
        return np.int64(a | (b << half))

    return us_fold


@helper("random_uniform", "f32 f64")
def random_uniform(t: Real) -> Any:
    """Uniform in [0, 1)."""
    words, tag, real = philox(), np.uint64(TAGS["uniform"]), t.real
    if t.name == "f32":
        places, scale = np.uint64(random_bits.UNIFORM["f32"][0]), t.real(random_bits.UNIFORM["f32"][1])

        @inline
        def us_random_uniform(key: Any, counter: Any) -> Any:
            a, _ = words(key, counter, tag)
            return real(np.int32(a >> places)) * scale

        return us_random_uniform

    five, six, up, down = np.uint64(5), np.uint64(6), np.float64(2.0**26), np.float64(2.0**-53)

    @inline
    def us_random_uniform_double(key: Any, counter: Any) -> Any:
        a, b = words(key, counter, tag)
        return (np.float64(np.int32(a >> five)) * up + np.float64(np.int32(b >> six))) * down

    return us_random_uniform_double


def unfused(coefficients: tuple[float, ...]) -> Any:
    """A function: the polynomial in double with these coefficients of rising powers, each operation rounded."""

    @operation
    def horner(_context: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            *rest, value = (ir.Constant(args[0].type, c) for c in coefficients)
            for c in reversed(rest):
                value = builder.fadd(builder.fmul(value, args[0]), c)
            return value

        return x(x), generate

    return horner


@cache
def radius() -> Any:
    """sqrt(-2 log((a + 1) / 2**32))."""
    series, ln2, limit = unfused(random_bits.LOG), np.float64(random_bits.LN2), np.float64(random_bits.SQRT2)
    fraction, exponent, places = np.int64(2**52 - 1), np.int64(1023 << 52), np.int64(52)
    scale, bias, one, two, half = np.float64(2.0**-32), np.int64(1023), np.float64(1), np.float64(2), np.float64(0.5)

    @inline
    def value(a: Any) -> Any:
        word = bits((np.float64(np.int64(a)) + one) * scale)
        m = from_bits((word & fraction) | exponent)
        e = np.float64(np.int32((word >> places) - bias))
        large = m > limit
        e, m = select(large, e + one, e), select(large, m * half, m)
        s = (m - one) / (m + one)
        return square_root(-two * (e * ln2 + (two * s) * series(s * s)))

    return value


@cache
def cosine() -> Any:
    """The cosine of the angle that the 32 bits of ``b`` divide the circle into."""
    sine_series, cosine_series, step = unfused(random_bits.SIN), unfused(random_bits.COS), np.float64(random_bits.STEP)
    place, turn, middle = np.int32(2**30 - 1), np.int32(2**30), np.int32(2**29)
    zero = np.int32(0)

    @inline
    def value(b: Any) -> Any:
        word = np.int32(b)
        f = np.int32(word & place)
        swap = f > middle
        x = np.float64(select(swap, np.int32(turn - f), f)) * step
        z = x * x
        odd = np.int32(word & turn) != zero
        y = select(odd != swap, sine_series(z) * x, cosine_series(z))
        return select(differ(word, np.int32(word << 1)) < zero, -y, y)  # the middle quadrants

    return value


@helper("random_normal", "f32 f64")
def random_normal(t: Real) -> Any:
    """Normal numbers, computed in double."""
    words, tag, real, length, height = philox(), np.uint64(TAGS["normal"]), t.real, radius(), cosine()

    @inline
    def us_random_normal(key: Any, counter: Any) -> Any:
        a, b = words(key, counter, tag)
        return real(length(a) * height(b))

    return us_random_normal


@helper("random_rademacher", "f32 f64 " + INTEGERS)
def random_rademacher(t: Real | Integer) -> Any:
    """-1 or 1."""
    words, tag, one = philox(), np.uint64(TAGS["rademacher"]), np.uint64(1)
    make = t.real if isinstance(t, Real) else t.whole
    plus, minus = make(1), make(-1)

    @inline
    def us_random_rademacher(key: Any, counter: Any) -> Any:
        a, _ = words(key, counter, tag)
        return select((a & one) != 0, minus, plus)

    return us_random_rademacher


@helper("random_randint", INTEGERS)
def random_randint(t: Integer) -> Any:
    """Integers from ``low`` to below ``high``; their difference is at most 2**32."""
    words, tag, half, whole = philox(), np.uint64(TAGS["randint"]), np.uint64(32), t.whole

    @inline
    def us_random_randint(key: Any, counter: Any, low: Any, high: Any) -> Any:
        a, _ = words(key, counter, tag)
        first, last = np.int64(low), np.int64(high)
        return whole(first + np.int64((a * np.uint64(last - first)) >> half))

    return us_random_randint
