"""Short functions of real numbers for numba, with the meanings of ``c_base.h``: division is Python's."""

from __future__ import annotations

from math import inf, pi
from typing import Any

from .bits import Real, absolute, bits, helper, inline, remainder_real, round_down, select, with_sign


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
