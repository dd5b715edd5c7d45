"""What ``dsl dataset`` does: seeds in batches to this machine, or to the machines of a Ray cluster, and what comes back into the file."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count as from_

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ...backends.build import machine
from ...compiler.search.dataset.records import DatasetError, MachineFacts, Point, Writer
from ..timing import caution
from .facts import machine_facts
from .measure import Batch, collect

#: Programs that are made ready together, for each core; seeds of one stream.
PER_CORE, STREAM = 12, 10**6
#: Seconds between two lines where no bar is shown; batches on end of which nothing comes before it is given up.
QUIET, BARREN = 60.0, 3


@dataclass(frozen=True)
class Wanted:
    """How many programs the file is to have, schedules of each, the stream of seeds, and after how many seconds no batch is begun."""

    programs: int
    schedules: int
    seed: int
    seconds: float


#: Batches of seeds to what was measured, with the machine; endless, and closed when there is enough.
Source = Iterator[tuple[MachineFacts, Batch]]


@dataclass
class Tally:
    """What was collected now."""

    programs: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    preparing: float = 0.0
    measuring: float = 0.0
    start: float = field(default_factory=time.monotonic)

    def add(self, batch: Batch) -> None:
        """Count a batch."""
        self.programs += len(batch.records)
        self.statuses.update(r.status for records in batch.records for r in records if isinstance(r, Point))
        self.left_out += sum("left out" in text for text in batch.said)
        self.preparing += batch.preparing
        self.measuring += batch.measuring

    def __str__(self) -> str:
        spent = time.monotonic() - self.start
        points = self.statuses.total()
        others = "".join(f", {n} {status}" for status, n in sorted(self.statuses.items()) if status != "ok")
        rate = f", {spent / points:.2f} s each" if points else ""
        return (
            f"{points} points of {self.programs} programs in {spent:.0f} s{rate} ({self.preparing:.0f} s compiling, {self.measuring:.0f} s measuring)"
            f"{others}; {self.left_out} programs left out"
        )


def run(path: str, wanted: Wanted, *, resume: bool, workers: str) -> str:
    """Collect until the file has enough programs, time is over, or the user interrupts; what that brought. Raises DatasetError."""
    with Writer(path, resume=resume) as writer:
        for fault in writer.found.faults:
            print(f"warning: {fault}", file=sys.stderr)
        had = len({p.program for p in writer.found.points})
        seeds = seeds_after([p.seed for p in writer.found.programs.values()], wanted.seed)
        tally, stopped = Tally(), ""
        if had < wanted.programs:
            make = _here if workers == "local" else _on_ray
            try:
                _fill(writer, make(seeds, wanted), wanted, had, tally)
            except KeyboardInterrupt:
                stopped = "; interrupted: the same command with --resume goes on"
        total = len({p.program for p in writer.found.points})
        return f"{tally}{stopped}\n{path} has {len(writer.found.table)} points of {total} programs"


def seeds_after(known: list[int], stream: int) -> Iterator[int]:
    """The seeds of a stream behind those that were used."""
    first = stream * STREAM
    return from_(max((seed + 1 for seed in known if first <= seed < first + STREAM), default=first))


def _fill(writer: Writer, source: Source, wanted: Wanted, had: int, tally: Tally) -> None:
    """Put batches into the file until there is enough, with a progress bar."""
    console = Console(stderr=True)
    columns = (TextColumn("dataset"), BarColumn(), MofNCompleteColumn(), TextColumn("programs, {task.fields[points]} points"))
    said, barren = time.monotonic(), 0
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=wanted.programs, completed=had, points=len(writer.found.table))
        for facts, batch in source:
            known = [] if facts.id in writer.found.machines else [facts]
            writer.append([*known, *(r for records in batch.records for r in records)])
            for record in [*known, *(r for records in batch.records for r in records)]:
                writer.found.add(record)
            tally.add(batch)
            for text in batch.said:
                progress.console.print(text, style="dim", highlight=False)
            progress.update(bar, completed=had + tally.programs, points=len(writer.found.table))
            if not console.is_terminal and time.monotonic() > said + QUIET:
                said = time.monotonic()
                print(f"{had + tally.programs} of {wanted.programs} programs; {tally}", file=sys.stderr, flush=True)
            barren = 0 if batch.records else barren + 1
            if barren == BARREN:
                raise DatasetError(f"nothing comes of one program after the other; of the last one: {(batch.said or ['nothing'])[-1]}")
            if had + tally.programs >= wanted.programs or time.monotonic() > tally.start + wanted.seconds:
                break


def _here(seeds: Iterator[int], wanted: Wanted) -> Source:
    """On this machine."""
    facts = machine_facts()
    if warning := caution(facts.facts):
        print(f"warning: {warning}", file=sys.stderr)
    size = min(wanted.programs, PER_CORE * machine().cores)
    while True:
        yield facts, collect([next(seeds) for _ in range(size)], wanted.schedules, facts.id)


def _on_ray(seeds: Iterator[int], wanted: Wanted) -> Source:
    from .cluster import on_ray

    return on_ray(seeds, wanted.schedules, PER_CORE)


