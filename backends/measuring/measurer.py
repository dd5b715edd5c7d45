"""Times of candidates of one nest. Compiling and measuring take turns and never overlap.

A candidate that crashes, or does not end, takes the process with it that it runs in: that is started anew, and the others go on.
"""

from __future__ import annotations

import json
import math
import os
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from ...compiler.diagnostics import DataError
from ...compiler.graph.ops.common import LONG_NAMES
from ...compiler.graph.types import Size
from ...compiler.loops.nest import Nest
from ...compiler.loops.scheduled import Scheduled
from ...compiler.loops.storing import nominal
from ...compiler.target import Machine
from ..scratch import Scratch
from .unit import Built, Refused, build_all

#: Samples of a candidate, seconds of one sample, and of all samples of one.
SAMPLES, SAMPLE, SECONDS = 5, 0.004, 0.25
#: A spread of samples (median over least) from which on a candidate is measured once more.
SPREAD = 1.15
#: How many seconds a first call may take, and how many times as long as the fastest so far.
PATIENCE, SLOW = 10.0, 20.0
#: By how much results may differ, relative to the greatest: sums in another order.
TOLERANCE: Mapping[str, float] = {"f64": 1e-6, "c128": 1e-6}
_TOLERANCE = 2e-2
_WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class Measured:
    """Seconds of one call, the least and the median over samples; ``status`` is ``ok``, ``crashed``, ``timeout``, ``wrong`` (other results
    than those of the reference), ``failed`` (a check of the program at run time) or ``refused`` (no C compiler takes it), and ``why`` says more."""

    least: float
    median: float
    status: str = "ok"
    why: str = ""

    @staticmethod
    def none(status: str, why: str = "") -> Measured:
        """No time."""
        return Measured(math.inf, math.inf, status, why)


class Measurer:
    """A context in which programs that one nest became are timed. ``counts``: values of run-time integers (others are nominal);
    ``problems``: so many times their shape operands hold, in a batch tile; ``reference`` is what results are compared with. Samples of
    a candidate take up to ``seconds``; one whose first call takes as long is not called again."""

    def __init__(
        self,
        nest: Nest,
        machine: Machine,
        *,
        counts: Mapping[str, int] | None = None,
        problems: int = 1,
        strict: bool = False,
        reference: Scheduled | Built | None = None,
        seed: int = 0,
        seconds: float = SECONDS,
    ) -> None:
        self.machine, self.strict, self.reference, self.seconds = machine, strict, reference, seconds
        self.counts = dict(counts or {})
        operands = [a for scope in ("input", "output") for a in nest.arrays if a.scope == scope]
        integers = [self.counts.get(p, nominal(Size.of(p))) for p in nest.params]
        env = dict(zip(nest.params, integers))
        arrays = []
        for a in operands:
            shape = [max(1, extent.evaluate({**{n: nominal(Size.of(n)) for n in extent.names()}, **env})) for extent in a.shape]
            shape = [problems, *shape] if problems > 1 else shape
            arrays.append({"dtype": LONG_NAMES[a.dtype], "shape": shape, "output": a.scope == "output"})
        self._setup = {"arrays": arrays, "integers": integers, "team": machine.cores, "seed": seed}
        outputs = [a.dtype for a in operands if a.scope == "output"]
        self.tolerance = max((TOLERANCE.get(d, _TOLERANCE) for d in outputs), default=_TOLERANCE)
        self.fastest = math.inf
        self.results: list[tuple[Scheduled, Measured]] = []
        self._count = 0
        self._worker: _Worker | None = None

    def __enter__(self) -> Measurer:
        self._folder = Scratch("measure")
        self.path = self._folder.path
        if self.reference is not None:
            self._measure_reference()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._worker is not None:
            self._worker.close()
        self._folder.close()

    def __call__(self, programs: Sequence[Scheduled]) -> list[float]:
        """Least seconds of each program; infinity for one that cannot be timed. All that is known of them is kept in ``results``."""
        found = self.measure(programs)
        self.results += zip(programs, found)
        return [m.least for m in found]

    def measure(self, programs: Sequence[Scheduled]) -> list[Measured]:
        """Compile all of them, then time each."""
        return self.time(self.compiled(programs))

    def time(self, built: Sequence[Built | Refused]) -> list[Measured]:
        """Time each of what was compiled before."""
        return [self._timed(one) if isinstance(one, Built) else Measured.none("refused", one.why) for one in built]

    def compiled(self, programs: Sequence[Scheduled]) -> list[Built | Refused]:
        """Each of them as a library that :meth:`time` takes, or why there is none."""
        named = []
        for scheduled in programs:
            self._count += 1
            named.append((f"us_k{self._count}", scheduled))
        return build_all(named, self.machine, self.path, strict=self.strict, processes=self.machine.cores)

    # -- measuring -----------------------------------------------------------------------------------------------

    def _measure_reference(self) -> None:
        assert self.reference is not None
        (built,) = [self.reference] if isinstance(self.reference, Built) else self.compiled([self.reference])
        if not isinstance(built, Built):
            raise DataError(f"the program in its own order cannot be measured: {built.why}")
        self._reference = built
        self._start()

    def _start(self) -> _Worker:
        """A new process, told what kernels are called with, and the results of the reference."""
        if self._worker is not None:
            self._worker.close()
        self._worker = _Worker()
        self._worker.ask(self._setup, 60.0)
        if self.reference is not None:
            request = {"library": str(self._reference.path), "name": self._reference.name, "samples": 1, "sample": 0.0, "seconds": 0.0}
            answer = self._worker.ask({**request, "reference": True}, 6 * PATIENCE)
            if answer is None or "failed" in answer:
                self._worker.close()
                self._worker = None
                raise DataError("the program in its own order cannot be measured: it crashes, does not end, or a check of it fails on random data")
        return self._worker

    def _timed(self, built: Built) -> Measured:
        worker = self._worker or self._start()
        request = {"library": str(built.path), "name": built.name, "samples": SAMPLES, "sample": SAMPLE, "seconds": self.seconds}
        patience = min(PATIENCE, max(1.0, SLOW * self.fastest)) + 2 * self.seconds
        times: list[float] = []
        for _ in range(2):
            answer = worker.ask(request, patience)
            if answer is None:
                status, self._worker = worker.ended(), None
                return Measured.none(status)
            if "failed" in answer:
                return Measured.none("failed", f"check {answer['failed']}")
            if answer["differs"] is not None and not answer["differs"] <= self.tolerance:
                return Measured.none("wrong", f"results differ by {answer['differs']:.3g}")
            times += answer["times"]
            if statistics.median(times) <= SPREAD * min(times):
                break
        self.fastest = min(self.fastest, *times)
        return Measured(min(times), statistics.median(times))


class _Worker:
    """The process, and requests to it."""

    def __init__(self) -> None:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen([sys.executable, "-I", str(_WORKER)], start_new_session=True, **pipes)
        self._buffer = b""

    def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any] | None:
        """The answer to a request; None if the process ended, or did not answer in time."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            return None
        line = self._line(time.monotonic() + seconds)
        return None if line is None else dict(json.loads(line))

    def _line(self, end: float) -> bytes | None:
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            if not select.select([handle], [], [], max(0.0, end - time.monotonic()))[0]:
                return None
            read = os.read(handle, 1 << 16)
            if not read:
                return None
            self._buffer += read
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def ended(self) -> str:
        """``crashed`` or ``timeout``: how it came that there was no answer. The process is gone afterwards."""
        try:
            self._process.wait(0.2)
            status = "crashed"
        except subprocess.TimeoutExpired:
            status = "timeout"
        self.close()
        return status

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
