"""The logarithm of the gamma function and its derivatives for TVM: the C library's, and asymptotic series
(:mod:`..bernoulli`).

The argument is shifted to at least 8, and mirrored on the left. f32 goes through f64.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nan, pi

from ..bernoulli import DIGAMMA, TRIGAMMA
from . import tir
from .library import Scalar, word
from .tir import Value


def polynomial(t: Scalar, coefficients: Sequence[float], x: Value) -> Value:
    """With coefficients of rising powers, by Horner's rule."""
    *rest, last = coefficients
    value = t.const(last)
    for c in reversed(rest):
        value = tir.add(t.times(value, x), t.const(c))
    return tir.bind(value)


@word("real")
def lgamma(t: Scalar, x: Value) -> Value:
    """log |gamma(x)|."""
    return tir.cast(tir.extern("f64", "lgamma", tir.cast(x, "f64")), t.dtype)


def _shifted(t: Scalar, z: Value, power: int) -> tuple[Value, Value]:
    """1 / w for w = z + 8 where z is less than 8, else z; and the sum of (z + i)**-power over the steps between."""
    small = tir.bind(tir.less(z, t.const(8)))
    total = t.const(0)
    for i in range(8):
        step = tir.bind(tir.div(t.const(1), tir.add(z, t.const(i))))
        total = tir.add(total, t.times(step, step) if power == 2 else step)
    w = tir.select(small, tir.add(z, t.const(8)), z)
    return tir.bind(tir.div(t.const(1), w)), tir.bind(tir.select(small, total, t.const(0)))


def _sine_pi(t: Scalar, r: Value) -> Value:
    return t.math("sin", t.times(t.const(pi), r))


def _pole(t: Scalar, x: Value) -> Value:
    """Whether x is an integer that is not positive."""
    return tir.both(tir.at_most(x, t.const(0)), tir.equal(x, tir.intrinsic("floor", x)))


@word("real")
def digamma(single: Scalar, x: Value) -> Value:
    """The derivative of log gamma."""
    t = single.of("f64")
    x = tir.bind(tir.cast(x, "f64"))
    mirrored = tir.bind(tir.less(x, t.const(0)))
    z = tir.bind(tir.select(mirrored, tir.sub(t.const(1), x), x))
    v, total = _shifted(t, z, 1)
    s = tir.bind(t.times(v, v))
    series = polynomial(t, DIGAMMA, s)
    value = tir.sub(tir.sub(tir.sub(t.times(t.const(-1), t.math("log", v)), t.times(t.const(0.5), v)), t.times(series, s)), total)
    value = tir.bind(value)
    r = tir.bind(tir.sub(x, tir.intrinsic("nearbyint", x)))
    cotangent = tir.div(_sine_pi(t, tir.sub(t.const(0.5), tir.intrinsic("fabs", r))), _sine_pi(t, r))
    value = tir.select(mirrored, tir.sub(value, t.times(t.const(pi), cotangent)), value)
    zero = tir.equal(x, t.const(0))
    value = tir.select(_pole(t, x), t.const(nan), value)
    return tir.cast(tir.select(zero, t.math("copysign", t.const(inf), t.times(t.const(-1), x)), value), single.dtype)


@word("real")
def polygamma1(single: Scalar, x: Value) -> Value:
    """The second derivative of log gamma; NaN at infinity, as PyTorch's zeta function."""
    t = single.of("f64")
    x = tir.bind(tir.cast(x, "f64"))
    mirrored = tir.bind(tir.less(x, t.const(0.5)))
    z = tir.bind(tir.select(mirrored, tir.sub(t.const(1), x), x))
    v, total = _shifted(t, z, 2)
    s = tir.bind(t.times(v, v))
    series = polynomial(t, TRIGAMMA, s)
    value = tir.add(tir.add(tir.add(v, t.times(t.const(0.5), s)), t.times(t.times(series, s), v)), total)
    value = tir.bind(value)
    ratio = tir.bind(tir.div(t.const(pi), _sine_pi(t, tir.sub(x, tir.intrinsic("nearbyint", x)))))
    value = tir.select(mirrored, tir.sub(t.times(ratio, ratio), value), value)
    infinite = tir.equal(tir.intrinsic("fabs", x), t.const(inf))
    value = tir.select(infinite, t.const(nan), value)
    return tir.cast(tir.select(_pole(t, x), t.const(inf), value), single.dtype)
