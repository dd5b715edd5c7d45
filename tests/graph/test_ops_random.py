"""Random numbers: Philox against published answers, every distribution against its definition in plain Python."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unspool.compiler.graph.ops import random_bits as rb
from unspool.compiler.graph.ops.common import evaluate_attrs
from unspool.compiler.graph.ops.table import lookup

KEYS = st.integers(-(2**63), 2**63 - 1)


def philox(key: int, counter: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """The generator in Python's own integers."""
    k0, k1 = key & 0xFFFFFFFF, (key >> 32) & 0xFFFFFFFF
    c0, c1, c2, c3 = counter
    for _ in range(10):
        p0, p1 = rb.M0 * c0, rb.M1 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & 0xFFFFFFFF, (p0 >> 32) ^ c3 ^ k1, p0 & 0xFFFFFFFF
        k0, k1 = (k0 + rb.W0) & 0xFFFFFFFF, (k1 + rb.W1) & 0xFFFFFFFF
    return c0, c1, c2, c3


def test_the_published_answers() -> None:
    """Known answers for philox4x32-10 distributed with Random123 (Salmon et al. 2011)."""
    assert philox(0, (0, 0, 0, 0)) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    ones = 0xFFFFFFFF
    assert philox(-1, (ones,) * 4) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)
    key = 0x299F31D0A4093822
    assert philox(key, (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)) == (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)


@settings(max_examples=30, deadline=None)
@given(KEYS, KEYS, st.integers(0, 6))
def test_tensor_philox_is_philox(key: int, counter: int, tag: int) -> None:
    words = rb.philox(torch.tensor(key), torch.tensor(counter), tag)
    assert tuple(int(w) for w in words) == philox(key, (counter & 0xFFFFFFFF, (counter >> 32) & 0xFFFFFFFF, tag, 0))


def draw(op: str, key: int, *more: int, **attrs: Any) -> Any:
    function = lookup(op).numerics
    assert function is not None
    return function(torch, evaluate_attrs(attrs, {}), torch.tensor(key), *(torch.tensor(m) for m in more))


def normal(a: int, b: int) -> float:
    """The definition of a normal number, in Python's floats."""
    m, e = math.frexp((a + 1) * 2.0**-32)
    m, e = m * 2, e - 1
    if m > rb.SQRT2:
        m, e = m * 0.5, e + 1
    s = (m - 1.0) / (m + 1.0)
    p = 0.0
    for c in reversed(rb.LOG):
        p = p * (s * s) + c
    radius = math.sqrt(-2.0 * (e * rb.LN2 + (2.0 * s) * p))
    q, f = b >> 30, b & (2**30 - 1)
    swap = f > 2**29
    x = float(2**30 - f if swap else f) * rb.STEP
    odd = (q % 2 == 1) != swap
    y = 0.0
    for c in reversed(rb.SIN if odd else rb.COS):
        y = y * (x * x) + c
    y = y * x if odd else y
    return radius * (-y if q in (1, 2) else y)


@settings(max_examples=20, deadline=None)
@given(KEYS)
def test_every_distribution_is_its_definition_bit_for_bit(key: int) -> None:
    def words(e: int, tag: str) -> tuple[int, int, int, int]:
        return philox(key, (e, 0, rb.TAGS[tag], 0))

    shape = (2, 3)
    at = [(n, divmod(n, 3)) for n in range(6)]
    for n, place in at:
        a, b, _, _ = words(n, "normal")
        assert draw("random_normal", key, shape=shape, dtype="f64")[place] == normal(a, b)
        assert draw("random_normal", key, shape=shape, dtype="f32")[place] == np.float32(normal(a, b))
        a, b, _, _ = words(n, "uniform")
        assert draw("random_uniform", key, shape=shape, dtype="f64")[place] == ((a >> 5) * 2**26 + (b >> 6)) / 2**53
        assert draw("random_uniform", key, shape=shape, dtype="f32")[place] == (a >> 8) / 2**24
        assert draw("random_rademacher", key, shape=shape, dtype="f32")[place] == 1 - 2 * (words(n, "rademacher")[0] & 1)
        drawn = draw("random_randint", key, -7, 2**32 - 7, shape=shape, dtype="i64")[place]
        assert drawn == -7 + words(n, "randint")[0]
        assert draw("random_randint", key, 5, 12, shape=shape, dtype="i8")[place] == 5 + ((words(n, "randint")[0] * 7) >> 32)
    order = sorted(range(9), key=lambda e: words(e, "permutation")[0] * 2**31 + (words(e, "permutation")[1] >> 1))
    assert draw("random_permutation", key, size=9).tolist() == order


@settings(max_examples=20, deadline=None)
@given(KEYS, st.lists(KEYS, max_size=3))
def test_fold(key: int, integers: list[int]) -> None:
    want = key
    for i in integers:
        a, b, _, _ = philox(want, (i & 0xFFFFFFFF, (i >> 32) & 0xFFFFFFFF, rb.TAGS["fold"], 0))
        want = a | b << 32
    assert int(draw("fold", key, *integers)) & (2**64 - 1) == want & (2**64 - 1)


def test_the_normal_numbers_are_box_and_mullers() -> None:
    a, b = torch.randint(0, 2**32, (2, 20000), generator=torch.Generator().manual_seed(0))
    u1, u2 = ((a + 1).double() * 2.0**-32).numpy(), (b.double() * 2.0**-32).numpy()
    want = np.sqrt(-2 * np.log(u1)) * np.cos(2 * np.pi * u2)
    np.testing.assert_allclose(rb.normal(torch, a, b).numpy(), want, rtol=1e-13, atol=1e-14)


def test_the_ends_of_the_range() -> None:
    ends = torch.tensor([0, 1, 2**29, 2**30 - 1, 2**30, 2**31, 2**32 - 1])
    found = rb.normal(torch, ends[:, None], ends)
    assert bool(torch.isfinite(found).all())
    assert float(found[0, 0]) == pytest.approx(math.sqrt(64 * math.log(2)), rel=1e-15)
    assert float(found[-1].abs().max()) == 0.0


@pytest.mark.parametrize(
    ("op", "mean", "variance"), [("random_normal", 0, 1), ("random_uniform", 0.5, 1 / 12), ("random_rademacher", 0, 1)]
)
@pytest.mark.parametrize("dtype", ["f64", "f32", "f16"])
def test_moments(op: str, mean: float, variance: float, dtype: str) -> None:
    x = draw(op, 7, shape=(40000,), dtype=dtype).double()
    assert float(x.mean()) == pytest.approx(mean, abs=0.02)
    assert float(x.var()) == pytest.approx(variance, rel=0.03)
