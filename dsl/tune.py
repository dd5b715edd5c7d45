"""What ``dsl tune`` does: find the kernels of a program, divide the budget among them, tune each, tell what it brought."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..backends.measuring.measurer import Measured
from ..backends.tuning.database import Database, Tuned, database, fastest, read
from ..backends.tuning.jobs import Job, collecting
from ..backends.tuning.tune import Tuning, tune
from ..compiler.diagnostics import DataError
from ..compiler.graph.types import Size
from ..compiler.loops.scheduled import Scheduled
from ..compiler.loops.storing import nominal
from ..compiler.loops.text import print_nest
from ..compiler.search.choose import chosen
from ..compiler.search.cost import estimate
from ..compiler.search.dataset.records import Point, Program, Record, Writer, program_key
from ..compiler.search.explore.budget import Budget
from ..compiler.search.explore.explore import METHODS
from .bench import Runs
from .dataset.facts import machine_facts
from .session import Call

__all__ = ["METHODS", "export", "kernels", "merge", "run"]
#: The budget where none is named.
SECONDS = 60.0
#: No kernel gets less than this part of what it would get if all got the same.
LEAST = 0.25


def run(call: Call, seconds: float | None, candidates: int | None, *, method: str, gradients: bool, data: Path | None) -> str:
    """Tune the kernels that a call takes, forward and, with ``gradients``, backward; a table of what that brought. What was measured is
    added to the dataset ``data``, if there is one. Raises DataError."""
    memory = database()
    if memory is None:
        raise DataError("what tuning finds has no place: UNSPOOL_TUNED is off")
    jobs = kernels(call, gradients=gradients)
    if not jobs:
        raise DataError(f"{call.handle.algorithm.name} has no kernels that can be tuned: a part of it runs on the host, or no compiler is there")
    found: list[Tuned] = []
    facts = None if data is None else machine_facts()
    with nullcontext() if data is None else Writer(data, resume=True) as writer:
        for job, share in zip(jobs, shares(jobs)):
            budget = Budget(None if seconds is None else share * seconds, None if candidates is None else max(1, round(share * candidates)))
            made = tune(job, budget, memory, method=method)
            found.append(made.entry)
            if writer is not None and facts is not None and not job.task.tile:  # the model knows no tiles
                writer.append([facts, *records(job, made, facts.id)])
            if made.found.interrupted:
                break
    console = Console(width=None)
    console.print(table(found, len(jobs)))
    return f"{len(found)} of {len(jobs)} kernels tuned; later compiles on this machine use what was found ({memory.path})"


def kernels(call: Call, *, gradients: bool) -> list[Job]:
    """The kernels that a call compiles, and with ``gradients`` those of its backward pass."""
    with collecting() as jobs:
        runs = Runs(replace(call, chosen=replace(call.chosen, tune=None)), call.chosen.target or "c")
        runs.forward()
        if gradients and runs.differentiable:
            runs.gradient()
    return jobs


def shares(jobs: Sequence[Job]) -> list[float]:
    """The part of the budget of each kernel: by what it takes, as estimated, but no less than :data:`LEAST` of an equal part."""
    seconds = [estimate(chosen(job.task).scheduled, job.task.machine).seconds for job in jobs]
    parts = [max(s / sum(seconds), LEAST / len(jobs)) for s in seconds]
    return [part / sum(parts) for part in parts]


def records(job: Job, made: Tuning, machine: str) -> list[Record]:
    """What was measured of a kernel on a machine, as records of a dataset. Of two measurements of one schedule the faster one counts, as it
    does in the search."""
    nest = print_nest(job.task.nest)
    sizes = {name: nominal(Size.of(name)) for name in job.task.nest.params}
    dtype = next((a.dtype for a in job.task.nest.arrays if a.scope == "output"), "f32")
    program = Program(program_key(nest, sizes), -1, "tuned", nest, sizes, dtype)
    drafts = {id(c.draft.scheduled): c.draft for c in made.found.candidates}
    counted: dict[int, tuple[Scheduled, Measured]] = {}
    for scheduled, measured in made.measured:
        before = counted.get(id(scheduled))
        if before is None or measured.least < before[1].least:
            counted[id(scheduled)] = scheduled, measured
    points = []
    for scheduled, measured in counted.values():
        draft = drafts[id(scheduled)]
        seconds = (measured.least, measured.median) if measured.status == "ok" else ()
        points.append(
            Point(program.key, machine, str(draft.schedule), print_nest(scheduled.nest), seconds, (), measured.status, draft.origin)
        )
    return [program, *points]


def table(found: Sequence[Tuned], kernels: int) -> Table:
    """What tuning brought, kernel by kernel."""
    made = Table("kernel", box=None, pad_edge=False)
    for heading in ("schedules measured", "before", "after", "gain"):
        made.add_column(heading, justify="right")
    for entry in found:
        times = (f"{1e3 * entry.start:.4g} ms", f"{1e3 * entry.seconds:.4g} ms", f"{entry.start / entry.seconds:.2f}x")
        made.add_row(entry.name, str(entry.measured), *times)
    return made


def merge(files: Sequence[Path]) -> str:
    """Add what other files know to the database. Raises DataError."""
    memory = database()
    if memory is None:
        raise DataError("what tuning finds has no place: UNSPOOL_TUNED is off")
    known = memory.entries()
    others = fastest(entry for file in files for entry in read(file))
    better = [e for key, e in others.items() if key not in known or e.seconds < known[key].seconds]
    if better:
        memory.add(better)
    return f"{len(better)} of {len(others)} kernels are new or faster than what was known; {memory.path} has {len(memory.entries())}"


def export(file: Path) -> str:
    """Write what the database knows, the fastest of each kernel, to a file. Raises DataError."""
    memory = database()
    known = {} if memory is None else memory.entries()
    if not known:
        raise DataError("nothing was tuned yet: there is nothing to write")
    if file.exists():
        raise DataError(f"{file} is there already: name a new file, or merge it")
    Database(file).add(known.values())
    return f"wrote {len(known)} kernels to {file}"
