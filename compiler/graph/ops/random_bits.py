"""Random bits and what is made of them: one definition for every back end, bit for bit.

All words are unsigned 32-bit integers, all floating point is IEEE double with the operations in the order written,
no fused multiply-add (C: ``-ffp-contract=off`` for this code), no library function but ``sqrt`` (exactly rounded).

**Philox4x32-10.** Key words ``k0 = key & 0xffffffff``, ``k1 = key >> 32`` of the 64-bit key; counter words
``c0, c1, c2, c3``. Ten times, with ``k0 += W0, k1 += W1`` (modulo 2^32) between two rounds::

    c0, c1, c2, c3 = hi(M1*c2) ^ c1 ^ k0,  lo(M1*c2),  hi(M0*c0) ^ c3 ^ k1,  lo(M0*c0)

The words after the tenth round are ``a, b, c, d``. Element ``e`` of a draw (row-major position in the draw's own
shape) has the counter ``(e & 0xffffffff, e >> 32, tag, 0)``; ``TAGS`` gives the tag of each distribution.

**fold(key, i, j, ...)**: for each integer in turn (64 bits, two's complement) ``key = a | b << 32`` of
philox(key, (i & 0xffffffff, i >> 32 & 0xffffffff, TAGS["fold"], 0)).

**uniform** in [0, 1): f64 ``((a >> 5) * 2^26 + (b >> 6)) * 2^-53``; f32 ``(a >> 8) * 2^-24``;
f16 ``(a >> 21) * 2^-11``; bf16 ``(a >> 24) * 2^-8``.

**rademacher**: ``1 - 2*(a & 1)``.  **randint(low, high)**: ``low + ((a * (high - low)) >> 32)``, high - low <= 2^32.

**permutation of n**: positions 0..n-1 sorted (stably, rising) by the 63-bit number ``a * 2^31 + (b >> 1)``.

**normal**: ``radius(a) * cosine(b)`` in double, then rounded to the dtype::

    radius(a):  u = (a + 1) * 2^-32                         # exact, in (0, 1]
                u = m * 2^e with 1 <= m < 2                  # from the bits of u
                if m > SQRT2: m = m * 0.5; e = e + 1
                s = (m - 1) / (m + 1);  z = s * s
                p = LOG[10];  for k = 9, ..., 0:  p = p * z + LOG[k]
                return sqrt(-2 * (e * LN2 + (2 * s) * p))
    cosine(b):  q = b >> 30;  f = b & (2^30 - 1)             # quadrant, place in it
                swap = f > 2^29;  if swap: f = 2^30 - f
                x = f * STEP;  z = x * x                     # 0 <= x <= pi/4
                c = COS[8];  for k = 7, ..., 0:  c = c * z + COS[k]
                t = SIN[8];  for k = 7, ..., 0:  t = t * z + SIN[k];  t = t * x
                y = t if (q is odd) != swap else c
                return -y if q is 1 or 2 else y
"""

from __future__ import annotations

from math import factorial, log, pi, sqrt
from typing import Any

M0, M1 = 0xD2511F53, 0xCD9E8D57
W0, W1 = 0x9E3779B9, 0xBB67AE85
TAGS = {"uniform": 1, "normal": 2, "rademacher": 3, "randint": 4, "fold": 5, "permutation": 6}
#: Shift of ``a`` and scale of a uniform number, for the dtypes that use one word.
UNIFORM = {"f32": (8, 2.0**-24), "f16": (21, 2.0**-11), "bf16": (24, 2.0**-8)}

SQRT2 = sqrt(2.0)
LN2 = log(2.0)
STEP = pi / 2.0 / 2.0**30
#: Coefficients of rising powers of z; print them with repr (17 digits), they round-trip.
LOG = tuple(1.0 / (2 * k + 1) for k in range(11))
COS = tuple((-1.0) ** k / factorial(2 * k) for k in range(9))
SIN = tuple((-1.0) ** k / factorial(2 * k + 1) for k in range(9))

_MASK = 0xFFFFFFFF


def _multiply(constant: int, x: Any) -> tuple[Any, Any]:
    """High and low word of a product of words, in 64-bit signed arithmetic that does not overflow."""
    high, low = x * (constant >> 16), x * (constant & 0xFFFF)
    return (high + (low >> 16)) >> 16, (((high & 0xFFFF) << 16) + low) & _MASK


def philox(key: Any, counter: Any, tag: int) -> tuple[Any, Any, Any, Any]:
    """The words a, b, c, d for int64 tensors ``key`` and ``counter`` (64 bits each), broadcast together."""
    k0, k1 = key & _MASK, (key >> 32) & _MASK
    c0, c1, c2, c3 = counter & _MASK, (counter >> 32) & _MASK, counter * 0 + tag, counter * 0
    for turn in range(10):
        if turn:
            k0, k1 = (k0 + W0) & _MASK, (k1 + W1) & _MASK
        (h0, l0), (h1, l1) = _multiply(M0, c0), _multiply(M1, c2)
        c0, c1, c2, c3 = h1 ^ c1 ^ k0, l1, h0 ^ c3 ^ k1, l0
    return c0, c1, c2, c3


def fold_word(key: Any, integer: Any) -> Any:
    """One step of ``fold``."""
    a, b, _, _ = philox(key, integer, TAGS["fold"])
    return a | (b << 32)


def uniform(torch: Any, dtype: str, a: Any, b: Any) -> Any:
    """Uniform numbers of a dtype, in double or exactly representable in it."""
    if dtype == "f64":
        return ((a >> 5) * 2**26 + (b >> 6)).to(torch.float64) * 2.0**-53
    shift, scale = UNIFORM[dtype]
    return (a >> shift).to(torch.float64) * scale


def normal(torch: Any, a: Any, b: Any) -> Any:
    """Normal numbers in double."""
    return _radius(torch, a) * _cosine(torch, b)


def _horner(coefficients: tuple[float, ...], z: Any) -> Any:
    p = z * 0.0 + coefficients[-1]
    for c in coefficients[-2::-1]:
        p = p * z + c
    return p


def _radius(torch: Any, a: Any) -> Any:
    u = (a + 1).to(torch.float64) * 2.0**-32
    bits = u.view(torch.int64)
    m = ((bits & (2**52 - 1)) | (1023 << 52)).view(torch.float64)
    large = m > SQRT2
    e = ((bits >> 52) - 1023 + large).to(torch.float64)
    m = torch.where(large, m * 0.5, m)
    s = (m - 1.0) / (m + 1.0)
    return _sqrt(torch, -2.0 * (e * LN2 + (2.0 * s) * _horner(LOG, s * s)))


def _sqrt(torch: Any, x: Any) -> Any:
    """The exactly rounded root. Torch's on a CPU may be MKL's, whose last bit is off now and then; NumPy's is the processor's."""
    if x.device.type != "cpu":
        return torch.sqrt(x)
    import numpy

    array = x.contiguous().numpy()
    return torch.from_numpy(numpy.sqrt(array, out=array))


def _cosine(torch: Any, b: Any) -> Any:
    q, f = b >> 30, b & (2**30 - 1)
    swap = f > 2**29
    x = torch.where(swap, 2**30 - f, f).to(torch.float64) * STEP
    z = x * x
    y = torch.where(((q & 1) == 1) != swap, _horner(SIN, z) * x, _horner(COS, z))
    return torch.where((q == 1) | (q == 2), -y, y)
