"""Programs made ready are measured, one candidate after the other, while nothing else runs; some of them a second time."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...backends.build import machine
from ...backends.measuring.measurer import Measured, Measurer
from ...backends.measuring.unit import Built
from ...backends.scratch import Scratch
from ...compiler.diagnostics import DataError
from ...compiler.search.dataset.records import Point, Record
from .apart import Failed, apart
from .prepare import Prepared, prepare, suite_structures

#: Seconds of program order: a program that takes less or more is left out.
LEAST, MOST = 2e-4, 0.15
#: Seconds that samples of a candidate take, at most.
SECONDS = 0.1
#: One program in so many is measured a second time.
AGAIN = 5
#: Seconds after which a program that is being made ready is given up.
PATIENCE = 60.0


@dataclass
class Batch:
    """What came of some seeds: ``records`` program by program, why others were left out, and the seconds spent on making ready and on measuring."""

    records: list[list[Record]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    preparing: float = 0.0
    measuring: float = 0.0


def collect(seeds: Sequence[int], count: int, machine_id: str) -> Batch:
    """Programs of seeds, with up to ``count`` schedules each: first all are made ready, on all cores, then they are measured in turn."""
    found = Batch()
    start = time.monotonic()
    with Scratch("dataset") as folder:
        held_out = suite_structures()
        calls = [(seed, count, str(folder), held_out, machine_id) for seed in seeds]
        ready = apart(prepare, calls, processes=machine().cores, seconds=PATIENCE)
        found.preparing = time.monotonic() - start
        start = time.monotonic()
        for seed, prepared in zip(seeds, ready):
            if prepared is None:
                found.said.append(f"seed {seed}: left out, a program of the suites")
            elif isinstance(prepared, Failed):
                found.said.append(f"seed {seed}: left out, {prepared.why}")
            else:
                _measured(prepared, found)
            shutil.rmtree(Path(folder) / str(seed), ignore_errors=True)
    found.measuring = time.monotonic() - start
    return found


def _measured(prepared: Prepared, found: Batch) -> None:
    """Put a program and its points into a batch, or why there are none."""
    seed, first = prepared.program.seed, prepared.built[0]
    if not isinstance(first, Built):
        found.said.append(f"seed {seed}: left out, program order is refused: {first.why}")
        return
    try:
        times = _times(prepared, first)
        again: list[Measured] = []
        if isinstance(times, list) and int(prepared.program.key, 16) % AGAIN == 0:
            repeated = _times(prepared, first)
            again = repeated if isinstance(repeated, list) else []
    except DataError as error:
        found.said.append(f"seed {seed}: left out, {error}")
        return
    if isinstance(times, str):
        found.said.append(f"seed {seed}: left out, {times}")
        return
    records: list[Record] = [prepared.program]
    for n, (point, measured) in enumerate(zip(prepared.points, times)):
        records.append(_filled(point, measured, again[n] if again else None))
        if measured.status == "wrong":
            steps = point.schedule.replace("\n", "; ")
            found.said.append(f"seed {seed}: {measured.why} from those of program order, a fault of the compiler; schedule: {steps}")
    found.records.append(records)


def _times(prepared: Prepared, first: Built) -> list[Measured] | str:
    """Times of all candidates in a new process; of a program that is too short or too long, that it is."""
    program = prepared.program
    with Measurer(prepared.nest, machine(), counts=program.sizes, reference=first, seed=program.seed, seconds=SECONDS) as measurer:
        (plain,) = measurer.time([first])
        if plain.status == "ok" and not LEAST <= plain.least <= MOST:
            return f"program order takes {1e3 * plain.least:.3g} ms"
        return [plain, *measurer.time(prepared.built[1:])]


def _filled(point: Point, measured: Measured, again: Measured | None) -> Point:
    if measured.status != "ok":
        return replace(point, status="refused" if measured.status == "failed" else measured.status)
    second = () if again is None or again.status != "ok" else _rounded(again)
    return replace(point, seconds=_rounded(measured), again=second)


def _rounded(measured: Measured) -> tuple[float, float]:
    return float(f"{measured.least:.5g}"), float(f"{measured.median:.5g}")
