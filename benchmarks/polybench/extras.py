"""Beyond the table: gemm as a share of the machine's measured peak, jacobi-2d beyond the last-level cache against hand-written threads."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unspool.backends.roofline import Roofline, roofline

from .field import Entry
from .native import BuildError
from .race import Score, race
from .references import KERNELS, Sizes
from .table import score_json

#: 125 MB: several times the last-level caches that there are.
BEYOND: Sizes = {"T": 200, "n": 2800}
Say = Callable[[str], object]


def measure(
    threads: int, rounds: int, *, gemm: Sizes | None = None, jacobi: Sizes = BEYOND, say: Say = lambda _: None
) -> list[dict[str, Any]]:
    """Each as ``what``, ``value`` and ``of`` in words, with the scores behind it; ``gemm``: other sizes than the table's."""
    say("the peak")
    limits = roofline(fresh=True)
    found = [share(dtype, limits, threads, rounds, gemm or KERNELS["gemm"].sizes, say) for dtype in ("f64", "f32")]
    return [*found, by_hand(threads, rounds, jacobi, say)]


def share(dtype: str, limits: Roofline, threads: int, rounds: int, sizes: Sizes, say: Say) -> dict[str, Any]:
    """Multiplications and additions of gemm per second, over the peak of as many cores."""
    kernel = KERNELS["gemm"]
    with tempfile.TemporaryDirectory(prefix="unspool-polybench-") as folder:
        entry = Entry.make(kernel, sizes, Path(folder), threads)
        tolerance = 1e-4 if dtype == "f32" else 1e-8
        (score,) = race(
            [entry.ours(dtype=dtype)], expected=kernel.wanted(entry.inputs, sizes), tolerance=tolerance, rounds=rounds, say=say
        )
    peak = limits.flops[dtype] if threads >= limits.cores else threads * limits.flops_core[dtype]
    speed = 2 * sizes["ni"] * sizes["nj"] * sizes["nk"] / score.timing.median if score.timing else None
    return {
        "what": f"gemm {dtype}, {sizes['ni']} x {sizes['nj']} x {sizes['nk']}, of the measured peak",
        "value": "failed" if speed is None else f"{100 * speed / peak:.0f}%",
        "of": f"{score.failure or f'{1e-9 * (speed or 0):.1f}'} of {1e-9 * peak:.1f} GFLOP/s, {threads} threads",
        "scores": [score_json(score)],
    }


def by_hand(threads: int, rounds: int, sizes: Sizes, say: Say) -> dict[str, Any]:
    """jacobi-2d against the same loops with the rows of each sweep shared among threads."""
    kernel = KERNELS["jacobi_2d"]
    what = f"jacobi-2d, N = {sizes['n']}, T = {sizes['T']}, over plain parallel loops"
    with tempfile.TemporaryDirectory(prefix="unspool-polybench-") as folder:
        entry = Entry.make(kernel, sizes, Path(folder), threads)
        try:
            contestants = [entry.ordered("threads"), entry.ours()]
        except BuildError as error:
            return {"what": what, "value": "not timed", "of": str(error), "scores": []}
        hand, ours = race(contestants, part=entry.part, rounds=rounds, say=say)
    ratio = f"{hand.timing.median / ours.timing.median:.2f}x" if hand.timing and ours.timing else "failed"
    return {
        "what": what,
        "value": ratio,
        "of": f"gcc with `omp parallel for` on {threads} threads, {_ms(hand)}; unspool {_ms(ours)}",
        "scores": [score_json(s) for s in (hand, ours)],
    }


def _ms(score: Score) -> str:
    return f"{1e3 * score.timing.median:.4g} ms" if score.timing else score.failure
