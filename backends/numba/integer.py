"""Longer functions of integers for numba with the meanings of ``c_base.h``: division rounds down, checks leave their number.

A check takes ``failed``, an array of one int32: a check that fails writes its number there unless an earlier one did, and its
value is one that can be used without harm.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .bits import Integer, add, both, helper, inline, mul, quotient, remainder, select, shift_right, sub

INTEGERS = "i8 i16 i32 i64"


@helper("fdiv")
def fdiv() -> Any:
    """Floor division of indices."""

    @inline
    def us_fdiv(a: Any, b: Any) -> Any:
        q = quotient(a, b)
        return q - ((remainder(a, b) != 0) & ((a < 0) != (b < 0)))

    return us_fdiv


@helper("fmod")
def fmod() -> Any:
    """The remainder of indices with the divisor's sign."""

    @inline
    def us_fmod(a: Any, b: Any) -> Any:
        r = remainder(a, b)
        return select((r != 0) & ((r < 0) != (b < 0)), add(r, b), r)

    return us_fmod


@helper("imin")
def imin() -> Any:
    """The smaller index."""

    @inline
    def us_imin(a: Any, b: Any) -> Any:
        return select(a < b, np.int64(a), np.int64(b))

    return us_imin


@helper("imax")
def imax() -> Any:
    """The larger index."""

    @inline
    def us_imax(a: Any, b: Any) -> Any:
        return select(a > b, np.int64(a), np.int64(b))

    return us_imax


@helper("check_index")
def check_index() -> Any:
    """The index, or 0 and the number of the failed check."""

    @inline
    def us_check_index(i: Any, size: Any, failed: Any, number: Any) -> Any:
        good = (i >= 0) & (i < size)
        if not good and failed[0] == 0:
            failed[0] = number
        return select(good, i, sub(i, i))

    return us_check_index


@helper("check_divisor", INTEGERS)
def check_divisor(t: Integer) -> Any:
    """The divisor, or 1 and the number of the failed check."""
    zero, one = t.whole(0), t.whole(1)

    @inline
    def us_check_divisor(b: Any, failed: Any, number: Any) -> Any:
        if b == zero and failed[0] == 0:
            failed[0] = number
        return select(b == zero, one, b)

    return us_check_divisor


@helper("floordiv", INTEGERS)
def floordiv(t: Integer) -> Any:
    """a // b for b that is not 0; the least integer divided by -1 is itself."""
    zero, one, less = t.whole(0), t.whole(1), t.whole(-1)

    @inline
    def us_floordiv(a: Any, b: Any) -> Any:
        safe = select(b == less, one, b)
        q, r = quotient(a, safe), remainder(a, safe)
        q = select((r != zero) & ((a < zero) != (b < zero)), sub(q, one), q)
        return select(b == less, sub(zero, a), q)

    return us_floordiv


@helper("mod", INTEGERS)
def mod(t: Integer) -> Any:
    """a % b for b that is not 0."""
    zero, one, less = t.whole(0), t.whole(1), t.whole(-1)

    @inline
    def us_mod(a: Any, b: Any) -> Any:
        r = remainder(a, select(b == less, one, b))
        return select((r != zero) & ((r < zero) != (b < zero)), add(r, b), r)

    return us_mod


@helper("pow", INTEGERS)
def power(t: Integer) -> Any:
    """a**b; negative powers are 0 but for 1 and -1."""
    zero, one, less = t.whole(0), t.whole(1), t.whole(-1)

    @inline
    def us_pow(a: Any, b: Any) -> Any:
        odd = both(b, 1) != zero
        value, x, left = one, a, b
        while left > zero:
            value = select(both(left, 1) != zero, mul(value, x), value)
            x = mul(x, x)
            left = shift_right(left, 1)
        inverse = select(a == one, one, select(a == less, select(odd, less, one), zero))
        return select(b < zero, inverse, value)

    return us_pow
