"""Complex numbers for numba: its own complex64 and complex128, with the formulas of ``c_complex.h``.

Division scales as PyTorch's does. Roots, logarithms, powers, circular and hyperbolic functions are those of the ``cmath`` that numba
brings, for complex64 computed in complex128; where one part of their result is NaN and C's other part is a zero, both may be NaN.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from math import exp as real_exp
from typing import Any

import numpy as np
from numba.core import types

from . import math as numba_math
from . import trig as numba_trig
from .bits import REALS, Complex, absolute, helper, inline, operation, select

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


#: What is one expression, for both dtypes: sums and products, parts negated, modulus and argument (real numbers), equality.
_SHORT: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: pair(a.real + b.real, a.imag + b.imag),
    "sub": lambda a, b: pair(a.real - b.real, a.imag - b.imag),
    "mul": lambda a, b: pair(a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real),
    "neg": lambda a: pair(-a.real, -a.imag),
    "conj": lambda a: pair(a.real, -a.imag),
    "abs": lambda a: math.hypot(a.real, a.imag),
    "angle": lambda a: math.atan2(a.imag, a.real),
    "eq": lambda a, b: (a.real == b.real) & (a.imag == b.imag),
}
for _name, _function in _SHORT.items():
    helper(_name, BOTH)(lambda t, f=_function: inline(f))


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


@helper("isfinite", BOTH)
def isfinite(t: Complex) -> Any:
    """Whether both parts are."""
    infinity = t.part.real(math.inf)

    @inline
    def us_isfinite(a: Any) -> Any:
        return (absolute(a.real) < infinity) & (absolute(a.imag) < infinity)

    return us_isfinite


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
    """a**b, in double precision; a power of 0 is 0 or 1, or NaN where there is none. (Numba's own needs its C library at run time.)"""
    kind, whole = t.number, REALS["f64"]
    raised, exponential, logarithm = numba_trig.power(whole), numba_math.exp(whole), numba_math.log_(whole)
    sine, cosine, hypot, atan2, one = numba_trig.sin(whole), numba_trig.cos(whole), math.hypot, math.atan2, whole.real(1)
    zero, none = whole.real(0), whole.real(math.nan)

    @inline
    def us_pow(a: Any, b: Any) -> Any:
        x, y = np.complex128(a), np.complex128(b)
        modulus, angle = hypot(x.real, x.imag), atan2(x.imag, x.real)
        turned = y.imag != zero
        size = raised(modulus, y.real) * select(turned, exponential(-angle * y.imag), one)
        phase = angle * y.real + select(turned, y.imag * logarithm(modulus), zero)
        re, im = size * cosine(phase), size * sine(phase)
        nothing, constant = modulus == zero, (y.real == zero) & (y.imag == zero)
        zeroth = select((y.real > zero) & (y.imag == zero), zero, none)
        re, im = select(nothing, zeroth, re), select(nothing, zeroth, im)
        return kind(pair(select(constant, one, re), select(constant, zero, im)))

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
