"""The run-time library of target ``tvm``: what the words ``us_OP_DTYPE`` of a source stand for.

Each makes values of TVM while a source is parsed, and puts what it needs several times under a name; nothing is called at run time but the
C library, or CUDA's. The meanings are those of ``c_base.h``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from math import inf, pi
from typing import Any

from ...compiler.diagnostics import CompileError
from ..c_runtime import BITS
from . import tir
from .text import KINDS, stored
from .tir import Value

REALS, INTEGERS, COMPLEXES = ("f32", "f64"), ("i8", "i16", "i32", "i64"), ("c64", "c128")


@dataclass(frozen=True)
class Scalar:
    """A dtype on a device. ``strict`` keeps products and sums apart."""

    dtype: str
    device: str = "llvm"
    strict: bool = False

    @property
    def bits(self) -> int:
        """Of an element."""
        return BITS[self.dtype]

    @property
    def whole(self) -> str:
        """The signed integers as wide as it."""
        return f"i{self.bits}"

    @property
    def part(self) -> Scalar:
        """The dtype of a part of a complex number."""
        return Scalar("f32" if self.dtype == "c64" else "f64", self.device, self.strict)

    def of(self, dtype: str) -> Scalar:
        """Another dtype there."""
        return Scalar(dtype, self.device, self.strict)

    def const(self, value: float) -> Value:
        """A literal."""
        return tir.exact(value) if self.device == "cuda" and self.dtype == "f64" else tir.const(value, self.dtype)

    def times(self, a: Value, b: Value) -> Value:
        """A product of real numbers."""
        made = tir.mul(a, b)
        return tir.apart(made, self.dtype, self.device) if self.strict else made

    def math(self, name: str, *args: Value) -> Value:
        """A function of the C library on real numbers."""
        return tir.extern(self.dtype, name + ("f" if self.dtype == "f32" else ""), *args)


@dataclass(frozen=True)
class Pair:
    """A complex number."""

    re: Value
    im: Value


Word = Callable[..., Any]
#: By family (``real``, ``integer``, ``complex``, ``any``) and op.
WORDS: dict[str, dict[str, Word]] = {"real": {}, "integer": {}, "complex": {}, "any": {}}


def word(family: str, *names: str) -> Callable[[Word], Word]:
    """Enter a function of (dtype, operands) into the library, under its own name or others."""

    def enter(function: Word) -> Word:
        for name in names or (function.__name__,):
            WORDS[family][name] = function
        return function

    return enter


def words(used: Iterable[str], device: str, strict: bool) -> dict[str, Callable[..., Any]]:
    """The functions that a source names. Raises CompileError for one that is not there."""
    for part in ("complex", "random", "select", "special"):  # each enters its words
        import_module(f"{__package__}.{part}")
    return {name: _word(name, device, strict) for name in used}


def _word(name: str, device: str, strict: bool) -> Callable[..., Any]:
    bare = name.removeprefix("us_")
    if bare in STATEMENTS:
        return STATEMENTS[bare]
    op, _, dtype = bare.rpartition("_")
    family = "real" if dtype in REALS else "complex" if dtype in COMPLEXES else "integer" if dtype in (*INTEGERS, "bool") else ""
    found = WORDS.get(family, {}).get(op) or (WORDS["any"].get(op) if dtype in BITS else None) or WORDS["any"].get(bare)
    if found is None:
        raise CompileError(f"target tvm has no {name}: it is not in its library")
    return partial(found, Scalar(dtype if dtype in BITS else "i64", device, strict))


# -- statements and indices ----------------------------------------------------------------------------------------------------


def _local(shape: Sequence[int], dtype: str) -> Value:
    shape = (*shape, 2) if dtype in COMPLEXES else shape
    return tir.local(shape, stored(dtype))


def _array(data: Value, shape: Sequence[Value], dtype: str, offset: Value = 0) -> Value:
    return tir.array(data, (*shape, 2) if dtype in COMPLEXES else shape, stored(dtype), offset)


def _least(a: Value, b: Value) -> Value:
    a, b = tir.cast(a, "i64"), tir.cast(b, "i64")
    return tir.select(tir.less(a, b), a, b)


def _most(a: Value, b: Value) -> Value:
    a, b = tir.cast(a, "i64"), tir.cast(b, "i64")
    return tir.select(tir.less(a, b), b, a)


def _choose(condition: Value, a: Value, b: Value) -> Value:
    return tir.select(condition, tir.cast(a, "i64"), tir.cast(b, "i64"))


STATEMENTS: dict[str, Callable[..., Any]] = {
    "range": tir.loop, "parallel": tir.parallel, "threads": tir.threads, "local": _local, "array": _array,
    "least": _least, "most": _most, "choose": _choose,
    "value": lambda value: tir.meta(tir.bind(value)), "and": tir.both, "or": tir.either, "not": tir.negation, "where": tir.select,
}  # fmt: skip


@word("real")
def number(t: Scalar, value: float | str) -> Value:
    """A literal; words stand for what is no number."""
    return t.const(float(value))


def fail(failed: Value, number: Value) -> None:
    """Note a failed check, unless one was noted before."""
    with tir.when(tir.equal(failed[0], tir.const(0, "i32"))):
        tir.store(failed, tir.cast(number, "i32"), [0])


@word("any")
def check_index(t: Scalar, index: Value, size: Value, failed: Value, number: int) -> Value:
    """The index, or 0 and the number of the failed check."""
    index = tir.bind(tir.cast(index, "i64"))
    none = tir.const(0, "i64")
    good = tir.both(tir.at_most(none, index), tir.less(index, tir.cast(size, "i64")))
    with tir.when(tir.negation(good)):
        fail(failed, number)
    return tir.bind(tir.select(good, index, none))


@word("any")
def read(t: Scalar, array: Value, *index: Value) -> Any:
    """An element that is not stored as it is: a truth value, a complex number."""
    if t.dtype == "bool":
        return tir.differ(array[index], tir.const(0, "u8"))
    return Pair(tir.bind(array[(*index, 0)]), tir.bind(array[(*index, 1)]))


@word("any")
def put(t: Scalar, value: Any, array: Value, *index: Value) -> None:
    """Store such an element."""
    if t.dtype == "bool":
        tir.store(array, tir.cast(value, "u8"), index)
        return
    re, im = tir.bind(value.re), tir.bind(value.im)
    tir.store(array, re, (*index, 0))
    tir.store(array, im, (*index, 1))


@word("any")
def to(t: Scalar, value: Any) -> Any:
    """A value in dtype ``t``."""
    if t.dtype in COMPLEXES:
        re, im = (value.re, value.im) if isinstance(value, Pair) else (value, None)
        return Pair(tir.cast(re, t.part.dtype), t.part.const(0) if im is None else tir.cast(im, t.part.dtype))
    if isinstance(value, Pair):
        if t.dtype != "bool":
            return tir.cast(value.re, t.dtype)
        return tir.either(*(tir.differ(x, tir.cast(0, _dtype(x))) for x in (value.re, value.im)))
    if t.dtype in ("f16", "bf16"):
        return narrow(t, tir.cast(value, "f32"))
    if t.dtype == "bool" and not isinstance(value, int) and tir.kind(value) != "bool":
        return tir.differ(value, tir.cast(0, _dtype(value)))
    return tir.cast(value, t.dtype)


def _dtype(value: Value) -> str:
    return next(name for name, kind in KINDS.items() if kind == tir.kind(value))


# -- half precision as storage -------------------------------------------------------------------------------------------------


def _word_bits(value: Value) -> Value:
    return tir.bind(tir.reinterpret(value, "u32"))


@word("any")
def widen(t: Scalar, half: Value) -> Value:
    """The f32 of 16 bits."""
    word32, half = partial(tir.const, dtype="u32"), tir.bind(tir.cast(half, "u32"))
    if t.dtype == "bf16":
        return tir.reinterpret(half << word32(16), "f32")
    magnitude, sign = tir.bind((half & word32(0x7FFF)) << word32(13)), (half & word32(0x8000)) << word32(16)
    scaled = tir.reinterpret(tir.mul(tir.reinterpret(magnitude, "f32"), tir.const(2.0**112, "f32")), "u32")
    special = tir.equal(half & word32(0x7C00), word32(0x7C00))
    return tir.reinterpret(tir.select(special, magnitude | word32(0x7F800000), scaled) | sign, "f32")


def narrow(t: Scalar, value: Value) -> Value:
    """The 16 bits of an f32: to nearest, halves to even; a NaN stays one."""
    n, bits = partial(tir.const, dtype="u32"), _word_bits(value)
    magnitude = tir.bind(bits & n(0x7FFFFFFF))
    if t.dtype == "bf16":
        rounded = (bits + n(0x7FFF) + ((bits >> n(16)) & n(1))) >> n(16)
        return tir.cast(tir.select(tir.less(n(0x7F800000), magnitude), (bits >> n(16)) | n(0x40), rounded), "u16")
    normal = ((magnitude + n(0xFFF) + ((magnitude >> n(13)) & n(1))) >> n(13)) - n(112 << 10)
    shifted = tir.reinterpret(tir.add(tir.reinterpret(magnitude, "f32"), tir.const(0.5, "f32")), "u32")
    found = tir.select(tir.less(magnitude, n(0x38800000)), shifted - n(0x3F000000), normal)
    found = tir.select(tir.at_most(n(0x477FF000), magnitude), n(0x7C00), found)
    found = tir.select(tir.less(n(0x7F800000), magnitude), n(0x7E00) | ((magnitude >> n(13)) & n(0x3FF)), found)
    return tir.cast(found | ((bits >> n(16)) & n(0x8000)), "u16")


# -- integers ------------------------------------------------------------------------------------------------------------------


def _wrapping(t: Scalar, operation: str, a: Value, b: Value) -> Value:
    """Arithmetic that wraps. TVM tells LLVM that 32 and 64 bits do not overflow, signed or not: fewer take 64, 64 go by halves."""
    if t.bits < 64:
        made = {"add": tir.add, "sub": tir.sub, "mul": tir.mul}[operation](tir.cast(a, "i64"), tir.cast(b, "i64"))
        return tir.cast(made, t.dtype)
    x, y = (tir.bind(tir.cast(v, "u64")) for v in (a, b))
    one, half, low = (tir.const(v, "u64") for v in (1, 32, 0xFFFFFFFF))

    def plus(p: Value, q: Value, carry: Value | None = None) -> Value:
        right = (p & low) + (q & low)
        right = tir.bind(right if carry is None else right + carry)
        return (((p >> half) + (q >> half) + (right >> half)) << half) | (right & low)

    if operation == "mul":
        across = ((((x >> half) * (y & low)) & low) + (((x & low) * (y >> half)) & low)) << half
        return tir.bind(tir.cast(plus(tir.bind((x & low) * (y & low)), tir.bind(across)), "i64"))
    return tir.bind(tir.cast(plus(x, y) if operation == "add" else plus(x, tir.bind(~y), one), "i64"))


for _name in ("add", "sub", "mul"):
    word("integer", _name)(lambda t, a, b, operation=_name: _wrapping(t, operation, a, b))


@word("integer")
def neg(t: Scalar, a: Value) -> Value:
    """-a, wrapping."""
    return _wrapping(t, "sub", t.const(0), a)


@word("integer", "abs")
def magnitude(t: Scalar, a: Value) -> Value:
    """|a|, wrapping."""
    a = tir.bind(a)
    return tir.select(tir.less(a, t.const(0)), neg(t, a), a)


@word("integer", "sign")
def sign_integer(t: Scalar, a: Value) -> Value:
    """-1, 0 or 1."""
    a, zero = tir.bind(a), t.const(0)
    return tir.select(tir.less(zero, a), t.const(1), tir.select(tir.less(a, zero), t.const(-1), zero))


@word("integer", "relu")
def relu_integer(t: Scalar, a: Value) -> Value:
    """max(a, 0)."""
    a = tir.bind(a)
    return tir.select(tir.less(t.const(0), a), a, t.const(0))


@word("integer", "maximum", "max")
def maximum_integer(t: Scalar, a: Value, b: Value) -> Value:
    """The larger one."""
    if t.dtype == "bool":
        return tir.either(a, b)
    a, b = tir.bind(a), tir.bind(b)
    return tir.select(tir.less(b, a), a, b)


@word("integer", "minimum", "min")
def minimum_integer(t: Scalar, a: Value, b: Value) -> Value:
    """The smaller one."""
    if t.dtype == "bool":
        return tir.both(a, b)
    a, b = tir.bind(a), tir.bind(b)
    return tir.select(tir.less(a, b), a, b)


@word("integer")
def check_divisor(t: Scalar, b: Value, failed: Value, number: int) -> Value:
    """The divisor, or 1 and the number of the failed check."""
    b = tir.bind(b)
    zero = tir.equal(b, t.const(0))
    with tir.when(zero):
        fail(failed, number)
    return tir.bind(tir.select(zero, t.const(1), b))


def _division(t: Scalar, a: Value, b: Value) -> tuple[Value, Value, Value, Value, Value]:
    """The operands, C's quotient and remainder (of a divisor that is not -1), whether they are off by one, whether b is -1."""
    a, b = tir.bind(a), tir.bind(b)
    less = tir.equal(b, t.const(-1))
    safe = tir.bind(tir.select(less, t.const(1), b))
    left = tir.bind(tir.remainder(a, safe))
    off = tir.both(tir.differ(left, t.const(0)), tir.differ(tir.less(a, t.const(0)), tir.less(safe, t.const(0))))
    return a, safe, left, off, less


@word("integer")
def floordiv(t: Scalar, a: Value, b: Value) -> Value:
    """a // b for b that is not 0; the least integer divided by -1 is itself."""
    a, b, _, off, less = _division(t, a, b)
    quotient = tir.bind(tir.div(a, b))
    return tir.select(less, neg(t, a), tir.select(off, tir.sub(quotient, t.const(1)), quotient))


@word("integer")
def mod(t: Scalar, a: Value, b: Value) -> Value:
    """a % b for b that is not 0."""
    _, b, left, off, less = _division(t, a, b)
    return tir.select(less, t.const(0), tir.select(off, tir.add(left, b), left))


@word("integer", "pow")
def power(t: Scalar, a: Value, b: Value) -> Value:
    """a**b; negative powers are 0 but for 1 and -1."""
    a, b, one, zero = tir.bind(a), tir.bind(b), t.const(1), t.const(0)
    odd = tir.bind(tir.differ(b & one, zero))
    value, square = tir.local((1,), t.dtype), tir.local((1,), t.dtype)
    tir.store(value, one, [0])
    tir.store(square, a, [0])
    with tir.loop(0, t.bits - 1) as place:
        taken = tir.differ((b >> tir.cast(place, t.dtype)) & one, zero)
        tir.store(value, tir.select(taken, _wrapping(t, "mul", value[0], square[0]), value[0]), [0])
        tir.store(square, _wrapping(t, "mul", square[0], square[0]), [0])
    inverse = tir.select(tir.equal(a, one), one, tir.select(tir.equal(a, t.const(-1)), tir.select(odd, t.const(-1), one), zero))
    return tir.bind(tir.select(tir.less(b, zero), inverse, value[0]))


# -- real numbers --------------------------------------------------------------------------------------------------------------

for _name in ("exp", "log", "log1p", "expm1", "sin", "cos", "tan", "tanh", "erf", "pow", "fmod", "hypot", "atan2", "copysign"):
    word("real", _name)(lambda t, *args, name=_name: t.math(name, *args))
for _name, _intrinsic in {
    "sqrt": "sqrt", "root": "sqrt", "floor": "floor", "ceil": "ceil", "round": "nearbyint", "abs": "fabs", "isnan": "isnan",
}.items():  # fmt: skip
    word("real", _name)(lambda t, a, name=_intrinsic: tir.intrinsic(name, a))
for _name, _operation in (("add", tir.add), ("sub", tir.sub), ("div", tir.div)):
    word("real", _name)(lambda t, a, b, operation=_operation: operation(a, b))
word("real", "mul")(lambda t, a, b: t.times(a, b))


def either_nan(a: Value, value: Value) -> Value:
    """``a`` if it is NaN, else the value."""
    return tir.select(tir.intrinsic("isnan", a), a, value)


@word("real")
def sign(t: Scalar, a: Value) -> Value:
    """-1, 0 or 1; NaN stays."""
    a, zero = tir.bind(a), t.const(0)
    return either_nan(a, tir.select(tir.less(zero, a), t.const(1), tir.select(tir.less(a, zero), t.const(-1), zero)))


@word("real")
def relu(t: Scalar, a: Value) -> Value:
    """max(a, 0); NaN stays."""
    a = tir.bind(a)
    return either_nan(a, tir.select(tir.less(t.const(0), a), a, t.const(0)))


@word("real")
def maximum(t: Scalar, a: Value, b: Value) -> Value:
    """The larger one, NaN if one is."""
    a, b = tir.bind(a), tir.bind(b)
    return either_nan(a, tir.select(tir.less(b, a), a, b))


@word("real")
def minimum(t: Scalar, a: Value, b: Value) -> Value:
    """The smaller one, NaN if one is."""
    a, b = tir.bind(a), tir.bind(b)
    return either_nan(a, tir.select(tir.less(a, b), a, b))


@word("real")
def square(t: Scalar, a: Value) -> Value:
    """a * a."""
    a = tir.bind(a)
    return t.times(a, a)


@word("real")
def cube(t: Scalar, a: Value) -> Value:
    """a * a * a."""
    a = tir.bind(a)
    return t.times(t.times(a, a), a)


@word("real")
def sigmoid(t: Scalar, a: Value) -> Value:
    """1 / (1 + exp(-a))."""
    return tir.div(t.const(1), tir.add(t.const(1), t.math("exp", tir.sub(t.const(0), a))))


@word("real")
def softplus(t: Scalar, a: Value) -> Value:
    """max(a, 0) + log(1 + exp(-|a|))."""
    a = tir.bind(a)
    tail = t.math("log1p", t.math("exp", tir.sub(t.const(0), tir.intrinsic("fabs", a))))
    return tir.add(relu(t, a), tail)


@word("real")
def angle(t: Scalar, a: Value) -> Value:
    """pi for negative numbers and -0, else 0; NaN stays."""
    a = tir.bind(a)
    negative = tir.less(tir.reinterpret(a, t.whole), tir.const(0, t.whole))
    return either_nan(a, tir.select(negative, t.const(pi), t.const(0)))


@word("real")
def isfinite(t: Scalar, a: Value) -> Value:
    """Whether it is neither infinite nor NaN."""
    return tir.less(tir.intrinsic("fabs", a), t.const(inf))


def _remainder(t: Scalar, a: Value, b: Value) -> tuple[Value, Value]:
    """C's remainder, and whether it has the other sign than b."""
    m, zero = tir.bind(t.math("fmod", a, b)), t.const(0)
    return m, tir.both(tir.differ(m, zero), tir.differ(tir.less(b, zero), tir.less(m, zero)))


@word("real", "floordiv")
def floordiv_real(t: Scalar, a: Value, b: Value) -> Value:
    """As Python, which is more careful than floor(a / b)."""
    a, b, zero, one = tir.bind(a), tir.bind(b), t.const(0), t.const(1)
    m, off = _remainder(t, a, b)
    quotient = tir.bind(tir.div(a, b))
    d = tir.div(tir.sub(a, m), b)
    d = tir.bind(tir.select(off, tir.sub(d, one), d))
    q = tir.bind(tir.intrinsic("floor", d))
    q = tir.select(tir.less(t.const(0.5), tir.sub(d, q)), tir.add(q, one), q)
    q = tir.select(tir.differ(d, zero), q, t.math("copysign", zero, quotient))
    return tir.select(tir.equal(b, zero), quotient, q)


@word("real", "mod")
def mod_real(t: Scalar, a: Value, b: Value) -> Value:
    """The remainder with the divisor's sign."""
    a, b = tir.bind(a), tir.bind(b)
    m, off = _remainder(t, a, b)
    return tir.select(off, tir.add(m, b), m)
