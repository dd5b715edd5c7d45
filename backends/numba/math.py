"""Exponential, logarithm and what is made of them, for numba: arithmetic without branches or calls, so that loops over it vectorise.

The exponential reduces x = n ln 2 + r with |r| <= ln(2)/2 and scales exp(r) in two steps, which makes overflow, underflow and
subnormal results come out rounded once. The logarithm writes x = 2**e m with m in [sqrt(1/2), sqrt(2)) and s = (m - 1)/(m + 1):
log m = 2 atanh s = f - s (f - s**2 Q(s**2)) with f = m - 1 exact. The polynomials are in ``polynomials.py``. Special values (NaN,
infinities, zeros and their signs, poles) are those of the C library. The errors in the docstrings, in units in the last place, hold for
all arguments, and are what tests measured, rounded up.
"""

from __future__ import annotations

from functools import cache
from math import inf, log, nan
from typing import Any

from . import polynomials as tables
from .bits import (
    Real,
    absolute,
    add,
    bits,
    fma,
    from_bits,
    helper,
    inline,
    polynomial,
    select,
    shift_left,
    shift_right,
    sub,
    with_sign,
)

#: ln 2 in two parts; the first has so few digits that its product with any exponent is exact.
LN2 = {
    "f32": (0.693145751953125, 1.4286068203094172e-06),
    "f64": (0.6931471805598903, 5.497923018708371e-14),
}
#: Arguments below the first give 0 and above the second infinity.
EXP_LIMITS = {"f32": (-104.0, 89.0), "f64": (-746.0, 710.0)}
#: Below it, expm1 is -1.
EXPM1_LOW = {"f32": -30.0, "f64": -60.0}
#: Where tanh and erf stop to differ from 1.
TANH_HIGH = {"f32": 9.5, "f64": 20.0}
ERF_HIGH = {"f32": 4.0, "f64": 6.0}
ERFCX_MAP = {"f32": (2.45, 1.55), "f64": (3.45, 2.55)}


def magic(t: Real) -> float:
    """A number whose last place is 1: adding it rounds to an integer, which is then in the last bits."""
    return float(1.5 * 2**t.fraction)


@cache
def reduced_exp(t: Real) -> Any:
    """x of moderate size to (exp(r) - 1, n)."""
    shift, log2e, high, low = t.real(magic(t)), t.real(1 / log(2)), t.real(-LN2[t.name][0]), t.real(-LN2[t.name][1])
    shift_bits = shift.view(t.whole)
    q = polynomial(tables.EXP[t.name])

    @inline
    def reduced(x: Any) -> Any:
        shifted = fma(x, log2e, shift)
        n = shifted - shift
        r = fma(n, low, fma(n, high, x))
        return fma(r * r, q(r), r), sub(bits(shifted), shift_bits)

    return reduced


@helper("exp", "f32 f64")
def exp(t: Real) -> Any:
    """Error at most 1 ulp."""
    reduced, one, fraction, bias = reduced_exp(t), t.real(1), t.fraction, t.bias
    low, high = map(t.real, EXP_LIMITS[t.name])

    @inline
    def us_exp(x: Any) -> Any:
        x = select(x < low, low, select(x > high, high, x))
        p, n = reduced(x)
        half = shift_right(n, 1)
        first = from_bits(shift_left(add(half, bias), fraction))
        second = from_bits(shift_left(add(sub(n, half), bias), fraction))
        return (one + p) * first * second

    return us_exp


@helper("expm1", "f32 f64")
def expm1(t: Real) -> Any:
    """Error at most 2 ulp."""
    reduced, fraction, bias = reduced_exp(t), t.fraction, t.bias
    low, high, tiny = t.real(EXPM1_LOW[t.name]), t.real(EXP_LIMITS[t.name][1]), t.real(2.0 ** -(t.fraction + 3))
    half, two = t.real(0.5), t.real(2)

    @inline
    def us_expm1(x: Any) -> Any:
        p, n = reduced(select(x < low, low, select(x > high, high, x)))
        scale = from_bits(shift_left(add(n, bias - 1), fraction))  # half of 2**n, which itself may overflow
        return select(absolute(x) < tiny, x, two * fma(scale, p, scale - half))

    return us_expm1


@cache
def log_parts(t: Real) -> Any:
    """(e, f) to e ln 2 + log(1 + f), for 1 + f in [sqrt(1/2), sqrt(2)); ``e`` is a floating point integer."""
    two, high, low = t.real(2), t.real(LN2[t.name][0]), t.real(LN2[t.name][1])
    q = polynomial(tables.LOG[t.name])

    @inline
    def value(e: Any, f: Any) -> Any:
        s = f / (two + f)
        z = s * s
        series = f - z * q(z)
        return fma(e, high, f - fma(s, series, -e * low))

    return value


@cache
def split(t: Real) -> Any:
    """A positive normal number as (m, e, e as a floating point number): m 2**e with m in [sqrt(1/2), sqrt(2))."""
    shift, fraction = t.real(magic(t)), t.fraction
    shift_bits, least = shift.view(t.whole), t.real(0.5**0.5).view(t.whole)

    @inline
    def parts(x: Any) -> Any:
        word = bits(x)
        e = shift_right(sub(word, least), fraction)
        return from_bits(sub(word, shift_left(e, fraction))), e, from_bits(add(e, shift_bits)) - shift

    return parts


@helper("log", "f32 f64")
def log_(t: Real) -> Any:
    """Error at most 1 ulp."""
    parts, value, up = split(t), log_parts(t), t.real(t.fraction + 2)
    normal, scale = t.real(2.0 ** (1 - t.bias)), t.real(2.0 ** (t.fraction + 2))
    zero, one, infinity, not_a_number = map(t.real, (0, 1, inf, nan))

    @inline
    def us_log(x: Any) -> Any:
        subnormal = x < normal
        m, _, e = parts(select(subnormal, x * scale, x))
        result = value(select(subnormal, e - up, e), m - one)
        result = select(x < infinity, result, x)
        result = select(x == zero, -infinity, result)
        return select(x < zero, not_a_number, result)

    return us_log


@helper("log1p", "f32 f64")
def log1p(t: Real) -> Any:
    """Error at most 2 ulp."""
    parts, value, bias, fraction = split(t), log_parts(t), t.whole(t.bias), t.fraction
    zero, one, infinity, not_a_number = map(t.real, (0, 1, inf, nan))

    @inline
    def us_log1p(x: Any) -> Any:
        u = one + x
        m, e, real_e = parts(u)
        lost = select(x > one, one - (u - x), x - (u - one))
        lost = select(e < fraction + 2, lost * from_bits(shift_left(sub(bias, e), fraction)), zero)
        result = value(real_e, select(e == 0, x, (m - one) + lost))
        result = select(x == zero, x, select(x < infinity, result, x))
        result = select(x == -one, -infinity, result)
        return select(x < -one, not_a_number, result)

    return us_log1p


@helper("tanh", "f32 f64")
def tanh(t: Real) -> Any:
    """Error at most 2 ulp."""
    reduced, fraction, bias = reduced_exp(t), t.fraction, t.bias
    q, limit, high, one, two = polynomial(tables.TANH[t.name]), *map(t.real, (0.55, TANH_HIGH[t.name], 1, 2))

    @inline
    def us_tanh(x: Any) -> Any:
        a = absolute(x)
        p, n = reduced(two * select(a > high, high, a))
        e = fma(from_bits(shift_left(add(n, bias), fraction)), one + p, one)
        z = a * a
        return with_sign(select(a < limit, fma(a * z, q(z), a), one - two / e), x)

    return us_tanh


@helper("sigmoid", "f32 f64")
def sigmoid(t: Real) -> Any:
    """1 / (1 + exp(-x)). Error at most 2 ulp."""
    exponential, zero, one = exp(t), t.real(0), t.real(1)

    @inline
    def us_sigmoid(x: Any) -> Any:
        e = exponential(-absolute(x))
        d = one + e
        lost = e - (d - one)
        y = select(x < zero, e, one) / d
        return fma(-y * lost, select(x < zero, one - y, y), y)  # y / (1 + lost / d)

    return us_sigmoid


@helper("softplus", "f32 f64")
def softplus(t: Real) -> Any:
    """log(1 + exp(x)). Error at most 2 ulp."""
    exponential, logarithm, zero = exp(t), log1p(t), t.real(0)

    @inline
    def us_softplus(x: Any) -> Any:
        return select(x < zero, zero, x) + logarithm(exponential(-absolute(x)))

    return us_softplus


@helper("erf", "f32 f64")
def erf(t: Real) -> Any:
    """Error at most 2 ulp. For |x| >= 0.9 it is 1 - exp(-x**2) R(|x|)."""
    exponential, q, r = exp(t), polynomial(tables.ERF[t.name]), polynomial(tables.ERFCX[t.name])
    middle, scale = t.real(ERFCX_MAP[t.name][0]), t.real(1 / ERFCX_MAP[t.name][1])
    limit, high, one = map(t.real, (0.9, ERF_HIGH[t.name], 1))

    @inline
    def us_erf(x: Any) -> Any:
        a = absolute(x)
        a = select(a > high, high, a)
        z = a * a
        far = one - exponential(-z) * r((a - middle) * scale)
        return select(a < limit, fma(x, q(z), x), with_sign(far, x))

    return us_erf
