"""The unrolled suite on this machine's GPU: our kernels, as calls and in a CUDA graph, against torch eager, torch.compile with autotuning
and CUDA graphs, and JAX. Every run adds to ``benchmarks/results/GPU.json``, contest by contest, and begins with those that have no figure
of this commit yet: repeat it until it says that nothing is left. Without a GPU, ``--predict`` writes what our kernels need at least.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..contest import Contest

RESULTS = Path(__file__).resolve().parents[1] / "results"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "gpu.md"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command(help=__doc__)
def suite(
    only: Annotated[str, typer.Option(help="Workloads by name, separated by commas.")] = "",
    peers: Annotated[str, typer.Option(help="eager, compile, jax; by commas.")] = "eager,compile,jax",
    seconds: Annotated[float, typer.Option(help="No contest begins later than that.")] = 420.0,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes: does everything work?")] = False,
    predict: Annotated[bool, typer.Option("--predict", help="No GPU: the least times by operations and bytes.")] = False,
    publish: Annotated[bool, typer.Option("--publish", help="Put the table into docs/gpu.md.")] = False,
    folder: Annotated[Path, typer.Option(help="Where the JSON file is.")] = RESULTS,
) -> None:
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX would take most of the memory
    end = time.monotonic() + seconds
    from rich.console import Console

    from unspool.backends.registry import availability

    from ..plan import Plan, chosen
    from ..workloads import named
    from . import report
    from .limits import PREDICTED_FOR

    console = Console(width=None if sys.stdout.isatty() else 180)
    names = named(only)
    wanted, said = chosen(word.strip() for word in peers.split(",") if word.strip())
    for line in said:
        console.print(line, style="yellow")
    plan = Plan("quick" if quick else "default", wanted, gpu=True)
    if predict:
        gpu = f"NVIDIA {PREDICTED_FOR}"
        path = report.path_of(gpu, folder)
        report.append(path, {"machine": {"gpu": gpu}, "contests": list(_predicted(plan, names))})
    else:
        found = availability("cuda")
        if not found.usable:
            console.print(f"target cuda cannot be used here: {found.reason}; --predict needs no GPU", style="red", markup=False)
            raise typer.Exit(1)
        gpu, path = _measure(plan, names, end, folder, console)
    runs = report.read(path)
    console.print(report.table(gpu, runs))
    for mode, value in report.means(runs).items():
        console.print(f"{mode}: {value:.2f}x over the best peer (geometric mean)")
    console.print(f"Written: {path}", soft_wrap=True)
    if publish:
        from ..report import between

        between(PAGE, "gpu table: make gpu", report.markdown(gpu, runs))


def _measure(plan: Any, names: list[str], end: float, folder: Path, console: Any) -> tuple[str, Path]:
    """Hold the contests until the time is over. What is measured is written at once."""
    import torch

    from ..contest import hold
    from ..plan import forget_compiled
    from ..problem import placed
    from . import report
    from .clock import interleaved

    facts = machine()
    gpu = str(facts["gpu"])
    path = report.path_of(gpu, folder)
    done = [c for run in report.read(path) if run["machine"].get("commit") == facts["commit"] for c in run.get("contests", ())]
    number, held, left = None, [], 0
    with placed("cuda") as place:
        for name in names:
            for contest in sorted(_contests(plan, name), key=lambda c: c.mode):
                if any(_is(contest, c) for c in done):
                    continue
                if time.monotonic() > end:
                    left += 1
                    continue
                console.print(f"{contest.program}, {contest.size}, {contest.mode}")
                forget_compiled(plan)
                place.layers.clear()
                outcome = hold(replace(contest, contestants=_entered(contest)), rounds=15, seconds=8.0, clock=interleaved)
                held.append(report.contest_json(outcome, _least(gpu, place.layers, contest.mode)))
                for score in outcome.scores:
                    if score.failure:
                        console.print(f"  {score.name}: {score.failure}", style="yellow", markup=False)
                number = report.append(path, {"machine": facts, "contests": held}, number=number)
                torch.cuda.empty_cache()
    if left:
        console.print(f"{left} contests are left: run it again", style="yellow")
    return gpu, path


def _contests(plan: Any, name: str) -> Iterator[Contest]:
    from ..workloads import workloads

    yield from workloads()[name](plan)


def _is(contest: Contest, known: dict[str, Any]) -> bool:
    return (contest.program, contest.size, contest.mode) == (known["program"], known["size"], known["mode"])


def _entered(contest: Contest) -> list[Any]:
    """The contestants, ours and single compiled iterations also in a CUDA graph."""
    from ..contest import Contestant
    from .clock import captured

    entered = []
    for c in contest.contestants:
        entered.append(c)
        if c.peer in ("unspool", "inside") or "one iteration" in c.name:
            entered.append(Contestant(f"{c.name}, CUDA graph", c.peer, captured(c.make), c.arrays, moves=True))
    return entered


def _least(gpu: str, layers: list[Any], mode: str) -> float | None:
    """The least time on this GPU by operations and bytes, of the layer that needs the fewest."""
    from ..contest import GRADIENT
    from .limits import of_device, work_of_layer

    limits = of_device(gpu)
    found = [work_of_layer(layer, gradient=mode == GRADIENT) for layer in layers]
    known = [w for w in found if w is not None]
    return None if limits is None or not known else min(limits.seconds(w) for w in known)


def _predicted(plan: Any, names: list[str]) -> Iterator[dict[str, Any]]:
    """What each contest takes by the model of :mod:`.model`; one that has no kernel for all of it is left out."""
    from ..contest import GRADIENT
    from ..problem import placed
    from . import report
    from .limits import KNOWN, PREDICTED_FOR, calls_of_problem, total
    from .model import ours, peer

    limits = KNOWN[PREDICTED_FOR]

    for name in names:
        with placed("cpu") as place:
            for contest in _contests(plan, name):
                made = [calls_of_problem(p, gradient=contest.mode == GRADIENT) for p in place.problems]
                place.problems.clear()
                found = [
                    (sum(ours(c, limits) for c in calls), sum(peer(c, limits) for c in calls), limits.seconds(total(calls)))
                    for calls in made
                    if calls is not None
                ]
                if found:
                    yield report.predicted_json(contest.program, contest.size, contest.mode, *min(found))


def machine() -> dict[str, Any]:
    """The GPU, the driver and the versions, as JSON has them."""
    import torch

    from unspool.backends.cuda.launch import usable
    from unspool.dsl.timing import machine as facts

    from ..unrolled import commit

    return {
        **facts(("torch", "numpy", "jax", "triton")),
        "gpu": torch.cuda.get_device_name(),
        "driver": usable().rpartition(", ")[2],
        "commit": commit(),
    }


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.gpu")
