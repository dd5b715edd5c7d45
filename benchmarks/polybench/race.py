"""Contestants against each other: each in its own process, all but one stopped, samples taken in turn, results compared."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unspool.dsl.timing import Timing, summary

from ..contest import deviation

ROOT = Path(__file__).resolve().parents[2]
#: A call that takes longer ends its contestant.
LIMIT = 120.0
#: Contestants slower than this many seconds are timed LONG_ROUNDS times.
LONG, LONG_ROUNDS = 0.5, 3


class Failure(Exception):
    """A contestant did not do what it should; the text says what happened."""


@dataclass(frozen=True)
class Contestant:
    """``spec`` is what the worker takes (see :mod:`.worker`), ``environment`` is added to ours."""

    name: str
    spec: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Score:
    """Seconds: the first call with everything it has to compile, then the samples. ``failure``: why there are none."""

    name: str
    first: float = math.nan
    times: list[float] = field(default_factory=list)
    error: float = math.nan
    failure: str = ""

    @property
    def timing(self) -> Timing | None:
        """Median and minimum, if there are samples."""
        return summary(self.times) if self.times else None


class Worker:
    """The process of a contestant. It runs only while it is asked something: between questions it is stopped, waiting threads included."""

    def __init__(self, contestant: Contestant, folder: Path) -> None:
        spec = folder / f"{contestant.name}.json"
        spec.write_text(json.dumps(contestant.spec), encoding="utf-8")
        self.errors = (folder / f"{contestant.name}.err").open("w+b")
        command = [sys.executable, "-m", "benchmarks.polybench.worker", str(spec)]
        streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        environment = {**os.environ, **contestant.environment}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, bufsize=0, **streams)

    def ask(self, question: str = "") -> Any:
        """The answer to a line; to none, the greeting. Raises Failure if the process ends or takes too long."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):
            if question:
                self.process.stdin.write(f"{question}\n".encode())
        if not select.select([self.process.stdout], [], [], LIMIT)[0]:
            raise Failure(f"took more than {LIMIT:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            raise Failure(self._last_words())
        self.process.send_signal(signal.SIGSTOP)
        return json.loads(line)

    def _last_words(self) -> str:
        code = self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace").strip().splitlines()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"{how}: {said[-1][:200]}" if said else how

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            if stream is not None:
                stream.close()


def race(
    contestants: Sequence[Contestant],
    *,
    expected: Sequence[Any] | None = None,
    part: Callable[[tuple[Any, ...]], tuple[Any, ...]] = lambda results: results,
    tolerance: float = 1e-8,
    rounds: int = 7,
    say: Callable[[str], object] = lambda _: None,
) -> list[Score]:
    """Start everyone, compare results, then time those that are right, in turn.

    What is compared is the ``part`` of the results that is defined; ``expected`` are the right ones, else the first contestant's are.
    """
    scores = [Score(c.name) for c in contestants]
    with tempfile.TemporaryDirectory(prefix="unspool-race-") as name, contextlib.ExitStack() as stack:
        running: list[tuple[Score, Worker]] = []
        for contestant, score in zip(contestants, scores, strict=True):
            say(contestant.name)
            worker = Worker(contestant, Path(name))
            stack.callback(worker.close)
            with _failing(score):
                score.first = worker.ask()["first"]
                found = _results(worker, Path(name) / "results.npz")
                if expected is None:
                    expected = found
                score.error = deviation(part(found), part(tuple(expected)))
                if not score.error <= tolerance:
                    raise Failure(f"wrong: relative error {score.error:.1e}, allowed {tolerance:.0e}")
                running.append((score, worker))
        say("timing")
        _samples(running, rounds)
    return scores


@contextlib.contextmanager
def _failing(score: Score) -> Iterator[None]:
    """A failure goes into the score, without times: who fails is not timed."""
    try:
        yield
    except Failure as error:
        score.failure = str(error)
        score.times.clear()


def _results(worker: Worker, path: Path) -> tuple[Any, ...]:
    worker.ask(f"results {path}")
    with np.load(path) as file:
        return tuple(np.asarray(file[name], dtype=np.float64) for name in file.files)


def _samples(running: Sequence[tuple[Score, Worker]], rounds: int) -> None:
    """Round by round, a sample of everyone; of short functions several calls, after one to warm up."""
    expected: dict[str, float] = {}
    for score, worker in running:
        with _failing(score):
            expected[score.name] = min(worker.ask("sample 0 1"))
            if expected[score.name] >= LONG:
                score.times.append(expected[score.name])  # the first call was the one to warm up
    for number in range(rounds):
        for score, worker in running:
            seconds = expected.get(score.name, math.nan)
            if score.failure or (seconds >= LONG and number + 1 >= min(rounds, LONG_ROUNDS)):
                continue
            with _failing(score):
                score.times += worker.ask(f"sample {int(seconds < 0.1)} {3 if seconds < 0.02 else 1}")
