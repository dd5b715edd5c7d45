"""The unrolled suite: our programs against torch eager, torch.compile, JAX, Numba and hand-written limits, in one run.

Everyone computes the same on the same data, is checked against the interpreter in float64, and is timed
interleaved with all others, on the same cores. Prints a table and writes ``benchmarks/results/unrolled.json``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from .contest import Outcome
    from .plan import Plan

HERE = Path(__file__).parent
RESULTS = {"suite": HERE / "results" / "unrolled.json", "library": HERE / "results" / "library.json"}
#: Where their tables stand in benchmarks/README.md.
MARKS = {"suite": "unrolled suite: make bench", "library": "library: benchmarks.unrolled"}
ROUNDS = {"quick": 5, "default": 21, "full": 31}
SECONDS = {"quick": 3.0, "default": 10.0, "full": 45.0}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command(help=__doc__)
def suite(
    only: Annotated[str, typer.Option(help="Workloads by name, separated by commas.")] = "",
    group: Annotated[str, typer.Option(help="suite, or library: the programs of the standard library as they stand.")] = "suite",
    peers: Annotated[str, typer.Option(help="eager, compile, jax, numba, limit, torch (the first two), all; by commas.")] = "all",
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes, few samples: does everything work?")] = False,
    full: Annotated[bool, typer.Option("--full", help="More sizes, more variants, more samples.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="Threads, and cores, for everyone.")] = 2,
    seconds: Annotated[float, typer.Option(min=0, help="Time for sampling one contest; 0: as the scale has it.")] = 0,
    costs: Annotated[bool, typer.Option("--costs/--no-costs", help="Also measure compiling, calling and importing.")] = True,
    out: Annotated[Path | None, typer.Option(help="The JSON file; benchmarks/results/unrolled.json or library.json.")] = None,
    publish: Annotated[bool, typer.Option("--publish", help="Put the tables into benchmarks/README.md, and those of the suite into README.md.")] = False,
) -> None:
    if group not in RESULTS:
        raise typer.BadParameter(f"{group!r} is none of {', '.join(RESULTS)}", param_hint="--group")
    if quick and full:
        raise typer.BadParameter("--quick and --full exclude each other")
    _settle(threads)
    from rich.console import Console

    from .plan import Plan, chosen
    from .workloads import named

    try:
        wanted, said = chosen(word.strip() for word in peers.split(",") if word.strip())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--peers") from None
    plan = Plan("quick" if quick else "full" if full else "default", wanted, threads)
    console = Console(width=None if sys.stdout.isatty() else 160)
    for line in said:
        console.print(line, style="yellow")
    names, out = named(only, group), out or RESULTS[group]
    seconds, costs = seconds or SECONDS[plan.scale], costs and group == "suite"
    if not run(plan, names, console, seconds=seconds, costs=costs, out=out, publish=publish, group=group):
        raise typer.Exit(1)


def _settle(threads: int) -> None:
    """Before anything is imported that starts threads: the same number, on the same cores, for everyone."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ["JAX_PLATFORMS"] = "cpu"
    if hasattr(os, "sched_setaffinity"):  # XLA has no setting for the number of threads but the cores it sees
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[:threads])
    import torch

    torch.set_num_threads(threads)


def run(
    plan: Plan, names: Sequence[str], console: Console, *, seconds: float, costs: bool, out: Path, publish: bool, group: str = "suite"
) -> bool:
    """Hold the contests of these workloads of a group and report; False if one of ours failed or computed something else."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from unspool.dsl.timing import caution, machine

    from . import overhead, report
    from .contest import hold
    from .plan import forget_compiled
    from .workloads import workloads

    facts = {**machine(("torch", "numpy", "islpy", "jax", "numba")), "commit": commit(), "scale": plan.scale}
    outcomes: list[Outcome] = []
    rows: list[dict[str, Any]] = []

    def put_down() -> None:
        write(out, report.as_json(outcomes, facts, rows))
        if publish:
            report.between(HERE / "README.md", MARKS[group], report.long(outcomes, facts, rows, out.name))
            if group == "suite":
                report.between(HERE.parent / "README.md", "speed: make bench", report.short(outcomes, facts))

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("")
        for name in names:
            for contest in workloads(group)[name](plan):
                title = f"{contest.program}, {contest.size}, {contest.mode}"
                forget_compiled(plan)

                def say(text: str, title: str = title) -> None:
                    progress.update(task, description=f"{title}: {text}")

                outcomes.append(hold(contest, rounds=ROUNDS[plan.scale], seconds=seconds, say=say))
                write(out, report.as_json(outcomes, facts, rows))
        put_down()  # the costs take their time: what has been measured is safe
        if costs:
            rows += overhead.rows(quick=plan.scale == "quick", say=lambda text: progress.update(task, description=text))
            put_down()
    console.print(report.table(outcomes, facts))
    for mode, found in report.means(outcomes).items():
        console.print(f"{mode}: geometric means " + ", ".join(f"{value:.2f}x {peer}" for peer, value in found.items()))
    for row in rows:
        console.print(f"{row['what']}, {row['target']}: {row['value']:.3g} {row['unit']} ({row['note']})")
    failed = [(o, s) for o in outcomes for s in o.scores if s.failure]
    for o, s in failed:
        console.print(f"{o.program}, {o.size}, {o.mode}: {s.name}: {s.failure}", style="red", markup=False)
    if warning := caution(facts):
        console.print(warning, style="yellow")
    console.print(f"Written: {out}", soft_wrap=True)
    return not any(s.peer in ("unspool", "inside", "other") for _, s in failed)


def write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(app(prog_name="python -m benchmarks.unrolled"))
