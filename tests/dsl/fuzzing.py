"""The loop of the tests that mutate programs."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

from tests.helpers import RUNS


def fuzz(
    what: str, count: int, seed: int, draw: Callable[[random.Random], str], outcome: Callable[[str], str], *, seconds: float
) -> Counter[str]:
    """Outcomes of ``count`` texts that are drawn from a seed; ``what`` they are is counted for the end of the run.

    Fails for whatever ``outcome`` raises, and for a text that takes longer than so many seconds of the processor; both show the text.
    """
    rng = random.Random(seed)
    seen: Counter[str] = Counter()
    slowest = 0.0
    for _ in range(count):
        text = draw(rng)
        start = time.process_time()
        try:
            seen[outcome(text)] += 1
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}\n\nafter seed {seed}, of\n\n{text}") from error
        spent = time.process_time() - start
        assert spent < seconds, f"{spent:.1f} s for\n\n{text}"
        slowest = max(slowest, spent)
    RUNS[what] += count
    print(f"\n{count} {what}: {dict(sorted(seen.items()))}; slowest {slowest:.2f} s")
    return seen
