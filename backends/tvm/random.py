"""Counter-based random numbers for TVM; ``compiler/graph/ops/random_bits.py`` defines them and gives the constants.

Words are unsigned 64-bit integers below 2**32; doubles are computed in the order written, without fused multiply-add.
"""

from __future__ import annotations

from dataclasses import replace

from ...compiler.graph.ops import random_bits
from . import tir
from .library import Scalar, word
from .special import polynomial
from .tir import Value


def _word(value: int) -> Value:
    return tir.const(value, "u64")


def philox(key: Value, counter: Value, tag: str) -> tuple[Value, Value]:
    """The first two words after ten rounds."""
    mask, half = _word(0xFFFFFFFF), _word(32)
    key, counter = (tir.bind(tir.cast(tir.cast(x, "i64"), "u64")) for x in (key, counter))
    k0, k1 = key & mask, key >> half
    c0, c1, c2, c3 = counter & mask, counter >> half, _word(random_bits.TAGS[tag]), _word(0)
    for _ in range(10):
        p0, p1 = tir.bind(tir.mul(_word(random_bits.M0), c0)), tir.bind(tir.mul(_word(random_bits.M1), c2))
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ k0, p1 & mask, (p0 >> half) ^ c3 ^ k1, p0 & mask
        c0, c1, c2, c3 = (tir.bind(c) for c in (c0, c1, c2, c3))
        k0, k1 = tir.bind((k0 + _word(random_bits.W0)) & mask), tir.bind((k1 + _word(random_bits.W1)) & mask)
    return c0, c1


@word("any")
def fold(t: Scalar, key: Value, i: Value) -> Value:
    """A key for an integer."""
    a, b = philox(key, i, "fold")
    return tir.bind(tir.cast(a | (b << _word(32)), "i64"))


@word("real")
def random_uniform(t: Scalar, key: Value, counter: Value) -> Value:
    """Uniform in [0, 1)."""
    a, b = philox(key, counter, "uniform")
    if t.dtype == "f32":
        shift, scale = random_bits.UNIFORM["f32"]
        return tir.mul(tir.cast(tir.cast(a >> _word(shift), "i32"), "f32"), t.const(scale))
    high, low = (tir.cast(tir.cast(x, "i32"), "f64") for x in (a >> _word(5), b >> _word(6)))
    return tir.mul(tir.add(tir.mul(high, t.const(2.0**26)), low), t.const(2.0**-53))


@word("real")
def random_normal(t: Scalar, key: Value, counter: Value) -> Value:
    """Normal numbers, computed in double."""
    a, b = philox(key, counter, "normal")
    double = replace(t, dtype="f64", strict=True)
    return tir.cast(double.times(tir.bind(_radius(double, a)), tir.bind(_cosine(double, b))), t.dtype)


def _radius(t: Scalar, a: Value) -> Value:
    """sqrt(-2 log((a + 1) / 2**32))."""
    u = tir.bind(tir.mul(tir.add(tir.cast(tir.cast(a, "i64"), "f64"), t.const(1)), t.const(2.0**-32)))
    bits = tir.bind(tir.reinterpret(u, "i64"))
    i64 = t.of("i64").const
    m = tir.bind(tir.reinterpret((bits & i64(2**52 - 1)) | i64(1023 << 52), "f64"))
    large = tir.bind(tir.less(t.const(random_bits.SQRT2), m))
    e = tir.cast((bits >> i64(52)) - i64(1023), "f64")
    e = tir.bind(tir.select(large, tir.add(e, t.const(1)), e))
    m = tir.bind(tir.select(large, tir.mul(m, t.const(0.5)), m))
    s = tir.bind(tir.div(tir.sub(m, t.const(1)), tir.add(m, t.const(1))))
    series = polynomial(t, list(random_bits.LOG), tir.bind(t.times(s, s)))
    total = tir.add(t.times(e, t.const(random_bits.LN2)), t.times(t.times(t.const(2), s), series))
    return tir.intrinsic("sqrt", tir.mul(t.const(-2), total))


def _cosine(t: Scalar, b: Value) -> Value:
    """The cosine of the angle that the 32 bits of ``b`` divide the circle into."""
    place, turn = tir.bind(b & _word(2**30 - 1)), _word(2**30)
    swap = tir.bind(tir.less(_word(2**29), place))
    place = tir.select(swap, turn - place, place)
    x = tir.bind(tir.mul(tir.cast(tir.cast(place, "i32"), "f64"), t.const(random_bits.STEP)))
    z = tir.bind(t.times(x, x))
    quadrant = tir.bind(b >> _word(30))
    odd = tir.differ(quadrant & _word(1), _word(0))
    sine = t.times(polynomial(t, list(random_bits.SIN), z), x)
    y = tir.bind(tir.select(tir.differ(odd, swap), sine, polynomial(t, list(random_bits.COS), z)))
    middle = tir.either(tir.equal(quadrant, _word(1)), tir.equal(quadrant, _word(2)))
    return tir.select(middle, tir.mul(y, t.const(-1)), y)


@word("real", "random_rademacher")
@word("integer", "random_rademacher")
def random_rademacher(t: Scalar, key: Value, counter: Value) -> Value:
    """-1 or 1."""
    a, _ = philox(key, counter, "rademacher")
    return tir.select(tir.equal(a & _word(1), _word(0)), t.const(1), t.const(-1))


@word("integer")
def random_randint(t: Scalar, key: Value, counter: Value, low: Value, high: Value) -> Value:
    """Uniform in low..high - 1."""
    a, _ = philox(key, counter, "randint")
    low = tir.bind(tir.cast(low, "i64"))
    width = tir.cast(tir.sub(tir.cast(high, "i64"), low), "u64")
    return tir.cast(tir.add(low, tir.cast(tir.mul(a, width) >> _word(32), "i64")), t.dtype)
