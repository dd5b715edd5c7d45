"""The logarithm of the gamma function and its derivatives for numba, without branches, as in ``c_special.h``.

f64: shift the argument to at least 8, then the asymptotic series (:mod:`..bernoulli`); reflection on the left. f32 goes through f64.
"""

from __future__ import annotations

from functools import cache
from math import inf, log, nan, pi
from typing import Any

import numpy as np

from ..bernoulli import DIGAMMA, LGAMMA, TRIGAMMA
from . import polynomials as tables
from .bits import REALS, Real, absolute, helper, inline, polynomial, round_down, round_even, select, with_sign
from .math import log_

F64 = REALS["f64"]
ZERO, HALF, ONE, EIGHT = map(np.float64, (0, 0.5, 1, 8))
INFINITY, NOT_A_NUMBER, PI = map(np.float64, (inf, nan, pi))


@cache
def half_turns() -> Any:
    """r to sin(pi r), for |r| <= 1/2."""
    ratio = polynomial(tables.SINPI["f64"])

    @inline
    def sine(r: Any) -> Any:
        return r * ratio(r * r)

    return sine


def _rounded(maker: Any, t: Real) -> Any:
    """The function of floats through the one of doubles."""
    double, real = maker(F64), t.real

    @inline
    def single(x: Any) -> Any:
        return real(double(np.float64(x)))

    return single


@helper("lgamma", "f32 f64")
def lgamma(t: Real) -> Any:
    """log |gamma(x)|."""
    if t.name == "f32":
        return _rounded(lgamma, t)
    logarithm, sine = log_(F64), half_turns()
    series = polynomial(LGAMMA)
    constant, log_pi = np.float64(log(2 * pi) / 2 - 0.5), np.float64(log(pi))

    @inline
    def us_lgamma(x: Any) -> Any:
        mirrored = x < HALF
        z = select(mirrored, ONE - x, x)
        small = z < EIGHT
        p = ONE
        for i in range(8):
            p = p * select(small, z + np.float64(i), ONE)
        w = select(small, z + EIGHT, z)
        v = ONE / w
        value = (w - HALF) * (logarithm(w) - ONE) + constant + series(v * v) * v - logarithm(p)
        reflected = log_pi - logarithm(absolute(sine(x - round_even(x)))) - value
        value = select(mirrored, reflected, value)
        infinite = (absolute(x) == INFINITY) | ((x <= ZERO) & (x == round_down(x)))
        return select(infinite, INFINITY, value)

    return us_lgamma


@helper("digamma", "f32 f64")
def digamma(t: Real) -> Any:
    """The derivative of log gamma."""
    if t.name == "f32":
        return _rounded(digamma, t)
    logarithm, sine = log_(F64), half_turns()
    series = polynomial(DIGAMMA)

    @inline
    def us_digamma(x: Any) -> Any:
        mirrored = x < ZERO
        z = select(mirrored, ONE - x, x)
        small = z < EIGHT
        total = ZERO
        for i in range(8):
            total = total + ONE / select(small, z + np.float64(i), INFINITY)
        w = select(small, z + EIGHT, z)
        v = ONE / w
        s = v * v
        value = logarithm(w) - HALF * v - series(s) * s - total
        r = x - round_even(x)
        cotangent = sine(HALF - absolute(r)) / sine(r)
        value = select(mirrored, value - PI * cotangent, value)
        value = select((x < ZERO) & (x == round_down(x)), NOT_A_NUMBER, value)
        return select(x == ZERO, -with_sign(INFINITY, x), value)

    return us_digamma


@helper("polygamma1", "f32 f64")
def polygamma1(t: Real) -> Any:
    """The second derivative of log gamma; NaN at infinity, as PyTorch's zeta function."""
    if t.name == "f32":
        return _rounded(polygamma1, t)
    sine, series = half_turns(), polynomial(TRIGAMMA)

    @inline
    def us_polygamma1(x: Any) -> Any:
        mirrored = x < HALF
        z = select(mirrored, ONE - x, x)
        small = z < EIGHT
        total = ZERO
        for i in range(8):
            y = select(small, z + np.float64(i), INFINITY)
            total = total + ONE / (y * y)
        w = select(small, z + EIGHT, z)
        v = ONE / w
        s = v * v
        value = v + HALF * s + series(s) * s * v + total
        ratio = PI / sine(x - round_even(x))
        value = select(mirrored, ratio * ratio - value, value)
        return select((x <= ZERO) & (x == round_down(x)), INFINITY, value + (x - x))

    return us_polygamma1
