"""Small proofs about sizes: sound (checked against every small value) and strong enough for what programs need."""

from __future__ import annotations

import itertools
import random

import pytest

from unspool.compiler.graph.types import Size, parse_size, size_fn
from unspool.dsl.facts import Facts, max_size, min_size


def p(text: str) -> Size:
    return parse_size(text)


LOOPS = Facts().with_index("i", p("0"), p("n - 1")).with_index("j", p("i"), p("n - 1"))


@pytest.mark.parametrize(
    ("facts", "size"),
    [
        (Facts(), "n - 1"), (Facts(), "n * m - 1"), (Facts(), "2 * n - n - 1"), (Facts(), "max(n, 3) - 3"), (Facts(), "n - min(n, 5)"),
        (Facts().with_nonneg(p("n - 3")), "n - 3"), (Facts().with_nonneg(p("n - m - 2")), "n - 3"), (LOOPS, "n - j - 1"), (LOOPS, "j - i"),
        (LOOPS, "n - 1 - (j - i)"), (Facts().with_index("i", p("0"), p("2 * n - 1")), "n - 1 - i // 2"),
        (Facts().with_index("i", p("0"), p("2 * n - 1")), "n - 1 - i % n"), (Facts(), "(n + 31) // 32 - 1"),
        (Facts().with_index("b", p("0"), p("(n + 31) // 32 - 1")), "n - 32 * b - 1"),
        (Facts().with_nonneg(p("m - n"), p("q - m")), "q - n"), (Facts().with_equal(p("m"), p("n")), "m - n"),
    ],
)  # fmt: skip
def test_provable(facts: Facts, size: str) -> None:
    assert facts.is_nonneg(p(size))


@pytest.mark.parametrize("size", ["n - 2", "n - m", "m - n * m + n", "min(n, 5) - 2", "3 - max(n, 3)", "n // 2 - 1", "n % 3 - 1"])
def test_not_provable(size: str) -> None:
    assert not Facts().is_nonneg(p(size))


def test_equalities() -> None:
    facts = Facts().with_equal(p("m"), p("2 * n"))
    assert facts.same(p("m + 1"), p("2 * n + 1"))
    assert not facts.same(p("m"), p("n"))
    facts = Facts().with_equal(p("2 * n"), p("3 * m"))
    assert facts.same(p("4 * n"), p("6 * m"))
    assert not facts.same(p("n"), p("m"))
    assert facts.same(p("2 * n * m"), p("2 * m * n"))


def test_clamps() -> None:
    assert min_size(Facts(), p("n"), p("n + 1")) == p("n")
    assert max_size(Facts(), p("n - 1"), p("0")) == p("n - 1")
    assert max_size(Facts(), p("n - 2"), p("0")) == p("max(0, n - 2)")


def random_size(rng: random.Random, depth: int) -> Size:
    if depth == 0 or rng.random() < 0.3:
        return Size.of(rng.choice("nmi")) if rng.random() < 0.75 else Size.of(rng.randint(-3, 4))
    a, b = random_size(rng, depth - 1), random_size(rng, depth - 1)
    match rng.randrange(6):
        case 0:
            return a + b
        case 1:
            return a - b
        case 2:
            return a * rng.randint(1, 3)
        case 3:
            return size_fn(rng.choice(["min", "max"]), a, b)
        case 4:
            return a // rng.randint(1, 4)
    return a % rng.randint(1, 4)


def test_what_is_proved_is_true() -> None:
    rng = random.Random(1)
    proved = 0
    for _ in range(1500):
        low, high, known = random_size(rng, 1), random_size(rng, 2), random_size(rng, 2)
        if "i" in low.names() | high.names() | known.names():
            continue
        facts = Facts().with_nonneg(known).with_index("i", low, high)
        size = random_size(rng, 3) + rng.randint(0, 3)
        if not facts.is_nonneg(size):
            continue
        proved += 1
        for n, m, i in itertools.product(range(1, 6), range(1, 6), range(-8, 16)):
            env = {"n": n, "m": m, "i": i}
            if known.evaluate(env) >= 0 and low.evaluate(env) <= i <= high.evaluate(env):
                assert size.evaluate(env) >= 0, (size, known, low, high, env)
    assert proved > 100
