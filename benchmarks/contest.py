"""One computation at one size and mode, and everyone who does it: checked against the reference, then timed interleaved."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from unspool.dsl.timing import Timing, interleaved

#: Who takes part, by the word that ``--peers`` takes, and the heading in tables.
PEERS = {"eager": "torch eager", "compile": "torch.compile", "jax": "JAX", "numba": "Numba", "limit": "C limit"}
#: Ours: the default target, with the loss in the kernel, and the other target.
OURS = {"unspool": "unspool", "inside": "loss inside", "other": "target numba"}
FORWARD, GRADIENT = "forward", "forward + backward"

Arrays = Sequence[np.ndarray]


def arrays(result: Any) -> Arrays:
    """A result (of torch, JAX or NumPy, one or several) in float64 NumPy, complex numbers as pairs."""
    parts = result if isinstance(result, (tuple, list)) else [result]
    found = [np.asarray(p.detach().cpu() if isinstance(p, torch.Tensor) else p) for p in parts]
    return [np.asarray(np.ascontiguousarray(p).view(p.real.dtype) if np.iscomplexobj(p) else p, dtype=np.float64) for p in found]


def deviation(got: Arrays, expected: Arrays) -> float:
    """The largest over results of max |got - expected| / max |expected|; NaN in ``got`` counts as infinite."""
    if len(got) != len(expected):
        raise ValueError(f"{len(got)} results where there should be {len(expected)}")
    worst = 0.0
    for g, e in zip(got, expected):
        error = np.abs(g.reshape(e.shape) - e).max() / max(np.abs(e).max(), 1e-30)
        worst = max(worst, float(error) if np.isfinite(error) else float("inf"))
    return worst


@dataclass(frozen=True)
class Contestant:
    """``make`` prepares and returns what is timed; ``arrays`` brings its result into the reference's form; ``moves``: it runs where the
    data of the contest is, be it a GPU."""

    name: str
    peer: str  # a key of PEERS or OURS
    make: Callable[[], Callable[[], Any]]
    arrays: Callable[[Any], Arrays] = arrays
    moves: bool = False


@dataclass(frozen=True)
class Contest:
    """What is computed, its float64 reference, and who takes part."""

    program: str
    size: str
    mode: str
    reference: Callable[[], Arrays]
    contestants: Sequence[Contestant]
    tolerance: float = 1e-4


@dataclass
class Score:
    """How one contestant did. ``failure`` is empty, or says why there is no ``timing``."""

    name: str
    peer: str
    error: float = float("nan")
    first_call: float = float("nan")  # seconds, compilation included
    timing: Timing | None = None
    failure: str = ""


@dataclass
class Outcome:
    """All scores of a contest."""

    program: str
    size: str
    mode: str
    scores: list[Score] = field(default_factory=list)

    def best(self, peer: str) -> Timing | None:
        """The least median and the least minimum over a peer's variants; None if none was timed."""
        timed = [s.timing for s in self.scores if s.peer == peer and s.timing]
        if not timed:
            return None
        return Timing(min(t.median for t in timed), min(t.minimum for t in timed), min(t.runs for t in timed), 1)

    def fastest(self, peer: str) -> Score:
        """The variant of the least median."""
        timed = {s.timing.median: s for s in reversed(self.scores) if s.peer == peer and s.timing}
        return timed[min(timed)]


def hold(
    contest: Contest, *, rounds: int = 21, seconds: float = 10.0, say: Callable[[str], object] = lambda _: None,
    clock: Callable[..., dict[str, Timing]] = interleaved,
) -> Outcome:  # fmt: skip
    """Check every contestant, then time those that are right by ``clock``. Who fails or is wrong is reported, not timed."""
    outcome = Outcome(contest.program, contest.size, contest.mode)
    expected = contest.reference()
    functions: dict[str, Callable[[], Any]] = {}
    for contestant in contest.contestants:
        score = Score(contestant.name, contestant.peer)
        outcome.scores.append(score)
        say(contestant.name)
        try:
            start = time.perf_counter()
            function = contestant.make()
            result = function()
            score.first_call = time.perf_counter() - start
            score.error = deviation(contestant.arrays(result), expected)
        except Exception as error:  # a peer that fails is a finding, and reported as one
            score.failure = f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0][:200]}"
            continue
        if score.error > contest.tolerance:
            score.failure = f"wrong: relative error {score.error:.1e}, allowed {contest.tolerance:.0e}"
            continue
        functions[contestant.name] = function
    say("timing")
    timings = clock(functions, rounds=rounds, seconds=seconds)
    for score in outcome.scores:
        score.timing = timings.get(score.name)
    return outcome
