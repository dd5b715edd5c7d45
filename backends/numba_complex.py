"""Complex numbers for numba: its own complex64 and complex128, with the formulas of ``c_complex.h``.

Division scales as PyTorch's does. Roots, logarithms, powers, circular and hyperbolic functions are those of the ``cmath`` that numba
brings, for complex64 computed in complex128; where one part of their result is NaN and C's other part is a zero, both may be NaN.
"""

from __future__ import annotations

import cmath
import math
from math import exp as real_exp
from typing import Any

import numpy as np
from numba.core import types

from . import numba_math, numba_trig
from .numba_bits import Complex, absolute, helper, inline, operation, select

BOTH = "c64 c128"


@operation
def pair(_context: Any, real: Any, imaginary: Any) -> Any:
    """The complex number with these parts, of one dtype."""
    kind: Any = {types.float32: types.complex64, types.float64: types.complex128}[real]

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = context.make_complex(builder, kind)
        value.real, value.imag = args
        return value._getvalue()

    return kind(real, real), generate


@helper("make", BOTH)
def make(t: Complex) -> Any:
    """re + i im; the parts may be of other dtypes."""
    real = t.part.real

    @inline
    def us_make(re: Any, im: Any) -> Any:
        return pair(real(re), real(im))

    return us_make


@helper("add", BOTH)
def addition(t: Complex) -> Any:
    """a + b."""

    @inline
    def us_add(a: Any, b: Any) -> Any:
        return pair(a.real + b.real, a.imag + b.imag)

    return us_add


@helper("sub", BOTH)
def subtraction(t: Complex) -> Any:
    """a - b."""

    @inline
    def us_sub(a: Any, b: Any) -> Any:
        return pair(a.real - b.real, a.imag - b.imag)

    return us_sub


@helper("mul", BOTH)
def multiplication(t: Complex) -> Any:
    """a b."""

    @inline
    def us_mul(a: Any, b: Any) -> Any:
        return pair(a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real)

    return us_mul


@helper("div", BOTH)
def division(t: Complex) -> Any:
    """a / b."""
    zero, one = t.part.real(0), t.part.real(1)

    @inline
    def us_div(a: Any, b: Any) -> Any:
        p, q = absolute(b.real), absolute(b.imag)
        first = p >= q
        big, little = select(first, b.real, b.imag), select(first, b.imag, b.real)
        ratio = little / big
        scale = one / (big + little * ratio)
        re = select(first, a.real + a.imag * ratio, a.real * ratio + a.imag) * scale
        im = select(first, a.imag - a.real * ratio, a.imag * ratio - a.real) * scale
        nothing = (p == zero) & (q == zero)
        return pair(select(nothing, a.real / p, re), select(nothing, a.imag / q, im))

    return us_div


@helper("neg", BOTH)
def negation(t: Complex) -> Any:
    """-a."""

    @inline
    def us_neg(a: Any) -> Any:
        return pair(-a.real, -a.imag)

    return us_neg


@helper("conj", BOTH)
def conjugate(t: Complex) -> Any:
    """The conjugate."""

    @inline
    def us_conj(a: Any) -> Any:
        return pair(a.real, -a.imag)

    return us_conj


@helper("abs", BOTH)
def modulus(t: Complex) -> Any:
    """|a|, a real number."""
    hypot = math.hypot

    @inline
    def us_abs(a: Any) -> Any:
        return hypot(a.real, a.imag)

    return us_abs


@helper("angle", BOTH)
def angle(t: Complex) -> Any:
    """The argument, a real number from -pi to pi."""
    atan2 = math.atan2

    @inline
    def us_angle(a: Any) -> Any:
        return atan2(a.imag, a.real)

    return us_angle


@helper("eq", BOTH)
def equal(t: Complex) -> Any:
    """Whether both parts are equal."""

    @inline
    def us_eq(a: Any, b: Any) -> Any:
        return (a.real == b.real) & (a.imag == b.imag)

    return us_eq


@helper("isfinite", BOTH)
def isfinite(t: Complex) -> Any:
    """Whether both parts are."""
    infinity = t.part.real(math.inf)

    @inline
    def us_isfinite(a: Any) -> Any:
        return (absolute(a.real) < infinity) & (absolute(a.imag) < infinity)

    return us_isfinite


@helper("where", BOTH)
def where(t: Complex) -> Any:
    """a where the condition holds, else b."""

    @inline
    def us_where(c: Any, a: Any, b: Any) -> Any:
        return pair(select(c, a.real, b.real), select(c, a.imag, b.imag))

    return us_where


@helper("square", BOTH)
def square(t: Complex) -> Any:
    """a**2."""
    two = t.part.real(2)

    @inline
    def us_square(a: Any) -> Any:
        return pair(a.real * a.real - a.imag * a.imag, two * a.real * a.imag)

    return us_square


@helper("exp", BOTH)
def exp(t: Complex) -> Any:
    """The exponential: exp(re) (cos(im) + i sin(im)), where exp(re) alone may overflow."""
    exponential, sine, cosine = numba_math.exp(t.part), numba_trig.sin(t.part), numba_trig.cos(t.part)
    zero, one = t.part.real(0), t.part.real(1)
    large, step = t.part.real(80 if t.part.name == "f32" else 700), t.part.real(40)
    factor = t.part.real(real_exp(40))

    @inline
    def us_exp(a: Any) -> Any:
        much = a.real > large
        e = exponential(select(much, a.real - step, a.real))
        again = select(much, factor, one)
        re, im = e * cosine(a.imag) * again, e * sine(a.imag) * again
        re = select(e == zero, zero, re)  # also for an infinite angle
        im = select((e == zero) & (im != im), zero, im)
        return pair(re, select(a.imag == zero, a.imag, im))

    return us_exp


def _enter(name: str, function: Any) -> None:
    """A function of one complex number from ``cmath``."""

    @helper(name, BOTH)
    def maker(t: Complex) -> Any:
        kind = t.number

        @inline
        def us_function(a: Any) -> Any:
            return kind(function(np.complex128(a)))

        return us_function


for _name in ("sqrt", "log", "sin", "cos", "tan", "tanh"):
    _enter(_name, getattr(cmath, _name))


@helper("pow", BOTH)
def power(t: Complex) -> Any:
    """a**b."""
    kind = t.number

    @inline
    def us_pow(a: Any, b: Any) -> Any:
        return kind(np.complex128(a) ** np.complex128(b))

    return us_pow


@helper("log1p", BOTH)
def log1p(t: Complex) -> Any:
    """log(1 + a)."""
    logarithm, atan2, one, two, half = numba_math.log1p(t.part), math.atan2, *map(t.part.real, (1, 2, 0.5))

    @inline
    def us_log1p(a: Any) -> Any:
        return pair(logarithm(a.real * (two + a.real) + a.imag * a.imag) * half, atan2(a.imag, one + a.real))

    return us_log1p


@helper("expm1", BOTH)
def expm1(t: Complex) -> Any:
    """exp(a) - 1."""
    less, exponential, sine, cosine = (f(t.part) for f in (numba_math.expm1, numba_math.exp, numba_trig.sin, numba_trig.cos))
    two, half = t.part.real(2), t.part.real(0.5)

    @inline
    def us_expm1(a: Any) -> Any:
        s = sine(a.imag * half)
        return pair(less(a.real) * cosine(a.imag) - two * s * s, exponential(a.real) * sine(a.imag))

    return us_expm1


@helper("sigmoid", BOTH)
def sigmoid(t: Complex) -> Any:
    """1 / (1 + exp(-a))."""
    exponential, divide, one, zero = exp(t), division(t), t.part.real(1), t.part.real(0)

    @inline
    def us_sigmoid(a: Any) -> Any:
        e = exponential(pair(-a.real, -a.imag))
        return divide(pair(one, zero), pair(one + e.real, e.imag))

    return us_sigmoid
