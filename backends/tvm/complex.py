"""Complex numbers for TVM: pairs of real expressions, with the formulas of ``c_complex.h``.

Roots, logarithms, powers, circular and hyperbolic functions are made of those of real numbers, c64 through c128.
"""

from __future__ import annotations

from collections.abc import Callable

from . import tir
from .library import Pair, Scalar, isfinite, to, word
from .tir import Value


def bound(a: Pair) -> Pair:
    """Both parts under names."""
    return Pair(tir.bind(a.re), tir.bind(a.im))


@word("any")
def pair(_: Scalar, a: Pair) -> object:
    """A complex value under a name of the source."""
    return tir.meta(bound(a))


@word("complex")
def make(t: Scalar, re: Value, im: Value) -> Pair:
    """re + i im."""
    return Pair(tir.cast(re, t.part.dtype), tir.cast(im, t.part.dtype))


@word("complex")
def where(t: Scalar, condition: Value, a: Pair, b: Pair) -> Pair:
    """a or b."""
    condition = tir.bind(condition)
    return Pair(tir.select(condition, a.re, b.re), tir.select(condition, a.im, b.im))


@word("complex")
def add(t: Scalar, a: Pair, b: Pair) -> Pair:
    """a + b."""
    return Pair(tir.add(a.re, b.re), tir.add(a.im, b.im))


@word("complex")
def sub(t: Scalar, a: Pair, b: Pair) -> Pair:
    """a - b."""
    return Pair(tir.sub(a.re, b.re), tir.sub(a.im, b.im))


@word("complex")
def mul(t: Scalar, a: Pair, b: Pair) -> Pair:
    """a * b."""
    a, b, times = bound(a), bound(b), t.part.times
    return Pair(tir.sub(times(a.re, b.re), times(a.im, b.im)), tir.add(times(a.re, b.im), times(a.im, b.re)))


@word("complex")
def square(t: Scalar, a: Pair) -> Pair:
    """a * a."""
    a, times = bound(a), t.part.times
    return Pair(tir.sub(times(a.re, a.re), times(a.im, a.im)), times(times(t.part.const(2), a.re), a.im))


@word("complex")
def div(t: Scalar, a: Pair, b: Pair) -> Pair:
    """a / b, scaled as PyTorch's."""
    r = t.part
    a, b = bound(a), bound(b)
    p, q = tir.bind(tir.intrinsic("fabs", b.re)), tir.bind(tir.intrinsic("fabs", b.im))
    first = tir.bind(tir.at_most(q, p))
    big, little = tir.bind(tir.select(first, b.re, b.im)), tir.bind(tir.select(first, b.im, b.re))
    ratio = tir.bind(tir.div(little, big))
    scale = tir.bind(tir.div(r.const(1), tir.add(big, r.times(little, ratio))))
    upper = tir.select(first, tir.add(a.re, r.times(a.im, ratio)), tir.add(r.times(a.re, ratio), a.im))
    lower = tir.select(first, tir.sub(a.im, r.times(a.re, ratio)), tir.sub(r.times(a.im, ratio), a.re))
    none = tir.bind(tir.both(tir.equal(p, r.const(0)), tir.equal(q, r.const(0))))
    return Pair(
        tir.select(none, tir.div(a.re, p), r.times(upper, scale)), tir.select(none, tir.div(a.im, q), r.times(lower, scale))
    )


@word("complex")
def neg(t: Scalar, a: Pair) -> Pair:
    """-a."""
    less = t.part.const(-1)
    return Pair(tir.mul(a.re, less), tir.mul(a.im, less))


@word("complex")
def conj(t: Scalar, a: Pair) -> Pair:
    """The conjugate."""
    return Pair(a.re, tir.mul(a.im, t.part.const(-1)))


@word("complex", "abs")
def modulus(t: Scalar, a: Pair) -> Value:
    """|a|."""
    return t.part.math("hypot", a.re, a.im)


@word("complex")
def angle(t: Scalar, a: Pair) -> Value:
    """The phase."""
    return t.part.math("atan2", a.im, a.re)


@word("complex")
def eq(t: Scalar, a: Pair, b: Pair) -> Value:
    """Whether both parts are equal."""
    return tir.both(tir.equal(a.re, b.re), tir.equal(a.im, b.im))


@word("complex", "isfinite")
def finite(t: Scalar, a: Pair) -> Value:
    """Whether both parts are."""
    return tir.both(isfinite(t.part, a.re), isfinite(t.part, a.im))


Function = Callable[[Scalar, Pair], Pair]


def _in_double(function: Function) -> Function:
    """The function of c64 through that of c128."""

    def wide(t: Scalar, a: Pair) -> Pair:
        double = t.of("c128")
        made: Pair = to(t, function(double, bound(to(double, a))))
        return made

    return wide


@_in_double
def exp(t: Scalar, a: Pair) -> Pair:
    """exp(re) (cos(im) + i sin(im))."""
    r = t.part
    size, real = tir.bind(r.math("exp", a.re)), tir.equal(a.im, r.const(0))
    return Pair(r.times(size, r.math("cos", a.im)), tir.select(real, a.im, r.times(size, r.math("sin", a.im))))


@_in_double
def log(t: Scalar, a: Pair) -> Pair:
    """log |a| + i angle(a)."""
    return Pair(t.part.math("log", modulus(t, a)), angle(t, a))


@_in_double
def sqrt(t: Scalar, a: Pair) -> Pair:
    """The root with a real part that is not negative."""
    r = t.part
    size = tir.bind(tir.intrinsic("fabs", a.re))
    root = tir.bind(tir.intrinsic("sqrt", r.times(r.const(0.5), tir.add(size, modulus(t, a)))))
    other = tir.bind(tir.div(a.im, r.times(r.const(2), root)))
    right, none = tir.bind(tir.at_most(r.const(0), a.re)), tir.bind(tir.equal(root, r.const(0)))
    re = tir.select(right, root, tir.intrinsic("fabs", other))
    im = tir.select(right, other, r.math("copysign", root, a.im))
    return Pair(tir.select(none, r.const(0), re), tir.select(none, a.im, im))


def _circular(t: Scalar, a: Pair) -> tuple[Value, Value, Value, Value]:
    names = (("sin", a.re), ("cos", a.re), ("sinh", a.im), ("cosh", a.im))
    sine, cosine, sinh, cosh = (tir.bind(t.part.math(name, x)) for name, x in names)
    return sine, cosine, sinh, cosh


@_in_double
def sin(t: Scalar, a: Pair) -> Pair:
    """sin(re) cosh(im) + i cos(re) sinh(im)."""
    sine, cosine, sinh, cosh = _circular(t, a)
    return Pair(t.part.times(sine, cosh), t.part.times(cosine, sinh))


@_in_double
def cos(t: Scalar, a: Pair) -> Pair:
    """cos(re) cosh(im) - i sin(re) sinh(im)."""
    sine, cosine, sinh, cosh = _circular(t, a)
    return Pair(t.part.times(cosine, cosh), tir.mul(t.part.times(sine, sinh), t.part.const(-1)))


@_in_double
def tanh(t: Scalar, a: Pair) -> Pair:
    """With x = sinh(re), y = tan(im): (x cosh(re) (1 + y^2) + i y) / (1 + x^2 (1 + y^2)); far out, 1 and next to nothing."""
    r = t.part
    y = tir.bind(r.math("tan", a.im))
    x, cosh = tir.bind(r.math("sinh", a.re)), tir.bind(r.math("cosh", a.re))
    beta = tir.bind(tir.add(r.const(1), r.times(y, y)))
    denominator = tir.bind(tir.add(r.const(1), r.times(beta, r.times(x, x))))
    far = tir.bind(tir.less(r.const(40), tir.intrinsic("fabs", a.re)))
    small = r.times(r.times(r.const(4), r.math("sin", a.im)), r.math("cos", a.im))
    small = r.times(small, r.math("exp", r.times(r.const(-2), tir.intrinsic("fabs", a.re))))
    re = tir.div(r.times(beta, r.times(x, cosh)), denominator)
    return Pair(tir.select(far, r.math("copysign", r.const(1), a.re), re), tir.select(far, small, tir.div(y, denominator)))


@_in_double
def tan(t: Scalar, a: Pair) -> Pair:
    """-i tanh(i a)."""
    less = t.part.const(-1)
    turned = tanh(t, bound(Pair(tir.mul(a.im, less), a.re)))
    return Pair(turned.im, tir.mul(turned.re, less))


for _name, _function in (("exp", exp), ("log", log), ("sqrt", sqrt), ("sin", sin), ("cos", cos), ("tan", tan), ("tanh", tanh)):
    word("complex", _name)(_function)


@word("complex", "pow")
def power(single: Scalar, a: Pair, b: Pair) -> Pair:
    """a**b in double precision; a power of 0 is 0 or 1, or NaN where there is none."""
    t = single.of("c128")
    r = t.part
    a, b = bound(to(t, a)), bound(to(t, b))
    size, phase, zero = tir.bind(modulus(t, a)), tir.bind(angle(t, a)), r.const(0)
    turned = tir.bind(tir.differ(b.im, zero))
    length = r.times(
        r.math("pow", size, b.re), tir.select(turned, r.math("exp", tir.mul(r.times(phase, b.im), r.const(-1))), r.const(1))
    )
    length = tir.bind(length)
    around = tir.bind(tir.add(r.times(phase, b.re), tir.select(turned, r.times(b.im, r.math("log", size)), zero)))
    nothing, constant = tir.bind(tir.equal(size, zero)), tir.bind(eq(t, b, Pair(zero, zero)))
    zeroth = tir.select(tir.both(tir.less(zero, b.re), tir.equal(b.im, zero)), zero, r.const(float("nan")))
    re, im = (tir.select(nothing, zeroth, r.times(length, r.math(f, around))) for f in ("cos", "sin"))
    made: Pair = to(single, Pair(tir.select(constant, r.const(1), re), tir.select(constant, zero, im)))
    return made


@word("complex")
def log1p(t: Scalar, a: Pair) -> Pair:
    """log(1 + a)."""
    a, r = bound(a), t.part
    inner = tir.add(r.times(a.re, tir.add(r.const(2), a.re)), r.times(a.im, a.im))
    return Pair(tir.div(r.math("log1p", inner), r.const(2)), r.math("atan2", a.im, tir.add(r.const(1), a.re)))


@word("complex")
def expm1(t: Scalar, a: Pair) -> Pair:
    """exp(a) - 1."""
    a, r = bound(a), t.part
    half = tir.bind(r.math("sin", tir.div(a.im, r.const(2))))
    re = tir.sub(r.times(r.math("expm1", a.re), r.math("cos", a.im)), r.times(r.const(2), r.times(half, half)))
    return Pair(re, r.times(r.math("exp", a.re), r.math("sin", a.im)))


@word("complex")
def sigmoid(t: Scalar, a: Pair) -> Pair:
    """1 / (1 + exp(-a))."""
    one = Pair(t.part.const(1), t.part.const(0))
    denominator: Pair = bound(add(t, one, exp(t, neg(t, a))))
    found: Pair = div(t, one, denominator)
    return found
