"""Short functions of real numbers for numba, with the meanings of ``c_base.h``: NaN wins in maxima, division is Python's."""

from __future__ import annotations

from math import inf, pi
from typing import Any

from .numba_bits import (
    Real,
    absolute,
    bits,
    fma,
    helper,
    inline,
    remainder_real,
    round_down,
    round_even,
    round_up,
    select,
    with_sign,
)


@helper("fma", "f32 f64")
def fused(t: Real) -> Any:
    """a * b + c: one rounding where the machine has it, two where it would be a library call."""

    @inline
    def us_fma(a: Any, b: Any, c: Any) -> Any:
        return fma(a, b, c)

    return us_fma


@helper("sign", "f32 f64")
def sign(t: Real) -> Any:
    """-1, 0 or 1; NaN stays."""
    zero, one = t.real(0), t.real(1)

    @inline
    def us_sign(a: Any) -> Any:
        return select(a != a, a, select(a > zero, one, select(a < zero, -one, zero)))

    return us_sign


@helper("relu", "f32 f64")
def relu(t: Real) -> Any:
    """max(a, 0); NaN stays."""
    zero = t.real(0)

    @inline
    def us_relu(a: Any) -> Any:
        return select(a <= zero, zero, a)

    return us_relu


@helper("maximum", "f32 f64")
def maximum(t: Real) -> Any:
    """The larger; NaN if one of them is."""

    @inline
    def us_maximum(a: Any, b: Any) -> Any:
        return select(a != a, a, select(a > b, a, b))

    return us_maximum


@helper("minimum", "f32 f64")
def minimum(t: Real) -> Any:
    """The smaller; NaN if one of them is."""

    @inline
    def us_minimum(a: Any, b: Any) -> Any:
        return select(a != a, a, select(a < b, a, b))

    return us_minimum


@helper("square", "f32 f64")
def square(t: Real) -> Any:
    """a**2."""

    @inline
    def us_square(a: Any) -> Any:
        return a * a

    return us_square


@helper("cube", "f32 f64")
def cube(t: Real) -> Any:
    """a**3."""

    @inline
    def us_cube(a: Any) -> Any:
        return a * a * a

    return us_cube


@helper("abs", "f32 f64")
def absolute_value(t: Real) -> Any:
    """|a|."""

    @inline
    def us_abs(a: Any) -> Any:
        return absolute(a)

    return us_abs


@helper("floor", "f32 f64")
def floor(t: Real) -> Any:
    """The largest integer that is not larger."""

    @inline
    def us_floor(a: Any) -> Any:
        return round_down(a)

    return us_floor


@helper("ceil", "f32 f64")
def ceil(t: Real) -> Any:
    """The smallest integer that is not smaller."""

    @inline
    def us_ceil(a: Any) -> Any:
        return round_up(a)

    return us_ceil


@helper("rint", "f32 f64")
def rint(t: Real) -> Any:
    """The nearest integer, of two the even one."""

    @inline
    def us_rint(a: Any) -> Any:
        return round_even(a)

    return us_rint


@helper("isfinite", "f32 f64")
def isfinite(t: Real) -> Any:
    """Whether it is neither infinite nor NaN."""
    infinity = t.real(inf)

    @inline
    def us_isfinite(a: Any) -> Any:
        return absolute(a) < infinity

    return us_isfinite


@helper("angle", "f32 f64")
def angle(t: Real) -> Any:
    """pi for negative numbers and -0, else 0; NaN stays."""
    zero, half_turn, none = t.real(0), t.real(pi), t.whole(0)

    @inline
    def us_angle(a: Any) -> Any:
        return select(a != a, a, select(bits(a) < none, half_turn, zero))

    return us_angle


@helper("floordiv", "f32 f64")
def floordiv(t: Real) -> Any:
    """As Python, which is more careful than floor(a / b)."""
    zero, half, one = t.real(0), t.real(0.5), t.real(1)

    @inline
    def us_floordiv(a: Any, b: Any) -> Any:
        m = remainder_real(a, b)
        d = (a - m) / b
        d = select((m != zero) & ((b < zero) != (m < zero)), d - one, d)
        q = round_down(d)
        q = select(d - q > half, q + one, q)
        q = select(d != zero, q, with_sign(zero, a / b))
        return select(b == zero, a / b, q)

    return us_floordiv


@helper("mod", "f32 f64")
def mod(t: Real) -> Any:
    """The remainder with the divisor's sign."""
    zero = t.real(0)

    @inline
    def us_mod(a: Any, b: Any) -> Any:
        m = remainder_real(a, b)
        return select((m != zero) & ((b < zero) != (m < zero)), m + b, m)

    return us_mod
