"""What choosing and searching bring, kernel by kernel of PolyBench and the unrolled suite, on one machine in one run.

For each kernel the candidates of all proposers are measured, and then what searches find that start from them, with so many seconds each.
The schedules that matter are measured once more, in turn, and these times are what counts:

- isl: the order of isl's scheduler with vectors and threads, program order where isl has none;
- analytic, learned: the candidate that the estimate, or the learned model, takes;
- the fastest candidate (its time is what the regret of a choice is relative to);
- beam, tree: what a search found, guided by the learned model (by the estimate where the model has no say).

Then: how much slower the fastest schedule is that does without a transformation, of all that were measured.

    python -m benchmarks.learned.searching --seconds 60 --tuned tuned.jsonl
    python -m benchmarks.learned.searching --suite polybench --only gemm,seidel_2d
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from unspool.backends.measuring.measurer import Measurer
from unspool.backends.tuning.database import Database
from unspool.backends.tuning.tune import tune
from unspool.compiler.loops.dependences import IllegalSchedule
from unspool.compiler.loops.schedule import prove
from unspool.compiler.loops.scheduled import Scheduled
from unspool.compiler.loops.text import print_nest
from unspool.compiler.search.choose import chosen
from unspool.compiler.search.cost import estimate
from unspool.compiler.search.draft import Draft, Task
from unspool.compiler.search.explore.budget import Budget
from unspool.compiler.search.explore.explore import METHODS, Found
from unspool.compiler.search.learned.choice import learned_guide
from unspool.compiler.search.sweeps import finish
from unspool.dsl.timing import caution, machine

from .. import report
from ..unrolled import commit, write
from .searched import ANALYTIC, CANDIDATE, ISL, LEARNED, PLAIN, START, Searched, Tried, markdown, read
from .suites import SUITES, Case, cases

HERE = Path(__file__).parents[1]
PAGE = HERE.parent / "docs" / "learned-scheduler.md"
MARKER = "searching: python -m benchmarks.learned.searching"
#: Rounds in which the schedules that matter are measured in turn.
ROUNDS = 5

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})


def search(case: Case, seconds: float, methods: Iterable[str], memory: Database | None = None) -> Searched:
    """Measure the candidates of a kernel, and what each search of so many seconds finds; the first one is remembered in ``memory``."""
    task, found = case.job.task, Searched(case.suite, case.name, case.job.task.tile)
    matter = {PLAIN: Draft.of(task).scheduled, ISL: by_isl(task)}
    matter |= {ANALYTIC: chosen(task, "analytic").scheduled, LEARNED: chosen(task).scheduled}
    for number, method in enumerate(methods):
        made = tune(case.job, Budget(seconds), memory if number == 0 else None, method=method).found
        matter[method] = made.scheduled
        found.tried += [t for t in tried(task, made, method) if number == 0 or t.search != START]
        if number == 0:
            starting = (c for c in made.candidates if c.parent is None)
            matter[CANDIDATE] = min(starting, key=lambda c: c.worth).draft.scheduled
    found.seconds = in_turn(task, matter)
    return found


def tried(task: Task, made: Found, method: str) -> list[Tried]:
    """What a search measured that could be."""
    rows = [c for c in made.candidates if c.measured is not None and math.isfinite(c.measured)]
    model = learned_guide(task)
    said = model([c.draft.scheduled for c in rows]) if model and rows else [None] * len(rows)
    found = []
    for candidate, predicted in zip(rows, said):
        draft, search = candidate.draft, START if candidate.parent is None else method
        cost = draft.margin * estimate(draft.scheduled, task.machine).seconds
        number = None if predicted is None else float(predicted)
        found.append(Tried(str(draft.schedule), draft.origin, cost, number, candidate.worth, search))
    return found


def by_isl(task: Task) -> Scheduled:
    """isl's order with vectors and threads; program order where isl has none that can be proved."""
    start = Draft.of(task)
    draft = start.copy()
    try:
        ordered = draft.attempt("isl", "min")
        if ordered:
            finish(draft)
            prove(draft.scheduled, strict=task.strict)
    except IllegalSchedule:
        ordered = False
    return (draft if ordered else start).scheduled


def in_turn(task: Task, matter: dict[str, Scheduled]) -> dict[str, float]:
    """Least seconds of each that can be measured, over rounds in which one follows the other. Those that make the same loops are one."""
    texts = {name: print_nest(scheduled.nest) for name, scheduled in matter.items()}
    different = {text: matter[name] for name, text in texts.items()}
    options = {"counts": dict(task.counts), "problems": task.problems, "strict": task.strict, "reference": matter[PLAIN]}
    with Measurer(task.nest, task.machine, **options) as measurer:
        built = dict(zip(different, measurer.compiled(list(different.values()))))
        least = dict.fromkeys(built, math.inf)
        for _ in range(ROUNDS):
            for text, one in built.items():
                (measured,) = measurer.time([one])
                least[text] = min(least[text], measured.least)
    return {name: least[text] for name, text in texts.items() if math.isfinite(least[text])}


@app.command(help=__doc__)
def main(
    suite: Annotated[str, typer.Option(help=f"{', '.join(SUITES)}, or both by commas.")] = ",".join(SUITES),
    only: Annotated[str, typer.Option(help="Kernels of PolyBench or workloads, by commas.")] = "",
    seconds: Annotated[float, typer.Option(min=1, help="Seconds of a search of a kernel of PolyBench.")] = 60.0,
    seconds_unrolled: Annotated[float, typer.Option(min=1, help="The same, of the unrolled suite.")] = 20.0,
    methods: Annotated[str, typer.Option(help=f"{', '.join(METHODS)}, by commas.")] = ",".join(METHODS),
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes: does everything work?")] = False,
    tuned: Annotated[Path | None, typer.Option(help="Remember what the first search found in this database.")] = None,
    out: Annotated[Path, typer.Option(help="The JSON file; kernels that are in it are not searched again.")] = HERE
    / "results"
    / "searching.json",
    publish: Annotated[bool, typer.Option("--publish", help="Put the tables into docs/learned-scheduler.md.")] = False,
) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    wanted = [word.strip() for word in methods.split(",") if word.strip()]
    if unknown := [word for word in wanted if word not in METHODS]:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(METHODS)}", param_hint="--methods")
    facts = {**machine(("torch", "numpy", "islpy")), "commit": commit(), "seconds": seconds, "seconds_unrolled": seconds_unrolled}
    found = read(out) if out.is_file() else []
    known = {(f.suite, f.name) for f in found}
    memory = None if tuned is None else Database(tuned)
    for name in suite.split(","):
        for case in cases(name.strip(), frozenset(w for w in only.split(",") if w), quick=quick):
            if (case.suite, case.name) in known:
                continue
            found.append(search(case, seconds if case.suite == "polybench" else seconds_unrolled, wanted, memory))
            one = found[-1]
            times = ", ".join(f"{what} {1e3 * s:.4g} ms" for what, s in one.seconds.items())
            console.print(f"{one.suite}: {one.name}: {times}", markup=False, highlight=False)
            write(out, {"machine": facts, "kernels": [asdict(f) for f in found]})
    text = markdown(found, facts)
    console.print(text, markup=False, highlight=False)
    if publish:
        report.between(PAGE, MARKER, text)
    if warning := caution(facts):
        console.print(warning, style="yellow")


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.learned.searching")
