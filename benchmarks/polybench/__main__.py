"""The PolyBench suite: twenty kernels, and ten others apart, against gcc, clang, Polly, Graphite and Pluto, on one machine in one run.

Tools get C in PolyBench's loop order (benchmarks/polybench/c); gcc also gets our program as plain C. Prints a table and writes
``benchmarks/results/polybench.json``.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from unspool.dsl.timing import caution, machine

from .. import report
from ..unrolled import commit, write
from . import extras, native, table
from .field import Entry, enter, usable
from .native import TOOLS
from .others import EVERY
from .race import race
from .references import Kernel
from .table import Row

HERE = Path(__file__).parents[1]
RESULTS = HERE / "results" / "polybench.json"
MARKER = "polybench: make bench"
FIVE = [name for name in TOOLS if name != "threads"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})


@dataclass(frozen=True)
class Plan:
    """What a run includes."""

    tools: Sequence[str]
    plain: Sequence[str]
    targets: Sequence[str]
    threads: int
    rounds: int
    small: bool
    variants: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@app.command(help=__doc__)
def suite(
    names: Annotated[list[str] | None, typer.Argument(help="Kernels by the names of their files; none: all.")] = None,
    tools: Annotated[str, typer.Option(help=f"Of {', '.join(FIVE)}; by commas.")] = ",".join(FIVE),
    plain: Annotated[str, typer.Option(help="Tools that get our plain C as well; by commas.")] = "gcc",
    numba: Annotated[bool, typer.Option("--numba", help="Also our target numba.")] = False,
    analytic: Annotated[bool, typer.Option("--analytic", help="Also our schedules as the analytic estimate ranks them.")] = False,
    tuned: Annotated[Path | None, typer.Option(help="Also our schedules as tuning found them, in this database.", exists=True)] = None,
    small: Annotated[bool, typer.Option("--small", help="Small sizes: does everything work?")] = False,
    beyond: Annotated[bool, typer.Option("--beyond/--no-beyond", help="Also gemm against the peak, jacobi-2d in DRAM.")] = True,
    threads: Annotated[int, typer.Option(min=1, help="Threads for everyone.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Samples of kernels below half a second; of others 3 at most.")] = 7,
    out: Annotated[Path, typer.Option(help="The JSON file.")] = RESULTS,
    publish: Annotated[bool, typer.Option("--publish", help="Put the table into benchmarks/README.md.")] = False,
) -> None:
    wanted = names or list(EVERY)
    if unknown := [name for name in wanted if name not in EVERY]:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(EVERY)}", param_hint="names")
    if publish and (names or small):
        raise typer.BadParameter("only the whole table is published", param_hint="--publish")
    chosen: dict[str, list[str]] = {}
    for option, text in (("--tools", tools), ("--plain", plain)):
        chosen[option] = [word.strip() for word in text.split(",") if word.strip()]
        if strange := [word for word in chosen[option] if word not in FIVE]:
            raise typer.BadParameter(f"{strange[0]!r} is none of {', '.join(FIVE)}", param_hint=option)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the contestants' processes are ended
    console = Console(width=None if sys.stdout.isatty() else 160)
    here, absent = usable(dict.fromkeys((*chosen["--tools"], *chosen["--plain"])), threads)
    for reason in absent.values():
        console.print(f"left out: {reason}", style="yellow", markup=False)
    ordered, plainly = ([w for w in chosen[o] if w in here] for o in ("--tools", "--plain"))
    variants: dict[str, dict[str, str]] = {"analytic": {"UNSPOOL_SCHEDULER": "analytic"}} if analytic else {}
    if tuned is not None:
        variants["tuned"] = {"UNSPOOL_TUNED": str(tuned.resolve())}
    plan = Plan(ordered, plainly, ["c", "numba"] if numba else ["c"], threads, rounds, small, variants)
    if not run(plan, [EVERY[name] for name in wanted], console, beyond=beyond and not (names or small), out=out, publish=publish):
        raise typer.Exit(1)


def run(plan: Plan, kernels: Sequence[Kernel], console: Console, *, beyond: bool, out: Path, publish: bool) -> bool:
    """Race every kernel and report; False if one of ours failed or computed something else."""
    versions = {TOOLS[tool].command: native.version(tool) for tool in (*plan.tools, *plan.plain)}
    facts = {**machine(("torch", "numpy", "islpy", "numba")), "threads": plan.threads, "commit": commit(), "tools": versions}
    rows: list[Row] = []
    found: list[dict[str, Any]] = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("")
        for kernel in kernels:
            rows.append(one(kernel, plan, lambda text, k=kernel: progress.update(task, description=f"{k.title}: {text}")))
            write(out, table.as_json(rows, found, facts))
        if beyond:
            found += extras.measure(
                plan.threads, plan.rounds, say=lambda text: progress.update(task, description=f"beyond the table: {text}")
            )
    write(out, table.as_json(rows, found, facts))
    if publish:
        report.between(HERE / "README.md", MARKER, table.markdown(rows, found, facts))
    for title, part in zip(("", "The other ten: "), table.split(rows), strict=True):
        if part:
            console.print(table.console(part, facts))
            console.print(title + table.sentence(part))
    for extra in found:
        console.print(f"{extra['what']}: {extra['value']} ({extra['of']})")
    failed = [(row, s) for row in rows for s in row.scores if s.failure]
    for row, s in failed:
        console.print(f"{row.kernel.title}: {s.name}: {s.failure}", style="red", markup=False)
    if not plan.small and (lost := table.unexplained(rows)):
        console.print(f"lost to the best of the five, and why.py does not say why: {', '.join(lost)}", style="yellow")
    if warning := caution(facts):
        console.print(warning, style="yellow")
    console.print(f"Written: {out}", soft_wrap=True)
    return not any(s.name.startswith("unspool") for _, s in failed)


def one(kernel: Kernel, plan: Plan, say: Any) -> Row:
    """A kernel's race."""
    sizes = kernel.small if plan.small else kernel.sizes
    with tempfile.TemporaryDirectory(prefix="unspool-polybench-") as folder:
        say("compiling")
        entry = Entry.make(kernel, sizes, Path(folder), plan.threads)
        contestants, absent = enter(entry, plan.tools, plan.plain, plan.targets, plan.variants)
        expected = kernel.wanted(entry.inputs, sizes) if plan.small else None
        scores = race(contestants, expected=expected, part=entry.part, rounds=plan.rounds, say=say)
    return Row(kernel, sizes, [*scores, *(table.Score(name, failure=reason) for name, reason in absent.items())])


if __name__ == "__main__":
    sys.exit(app(prog_name="python -m benchmarks.polybench"))
