"""What each part of the compiler is worth: ISTA and total variation with more and more of it, every row timed in turn with all others.

``python -m benchmarks.ablation`` prints the table of docs/iteration.md; ``--publish`` writes it there. Times are those of calls of a layer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import torch
import typer
from rich.console import Console
from rich.table import Table

from unspool.compiler import driver
from unspool.compiler.search import choose
from unspool.dsl.api import AlgorithmHandle
from unspool.dsl.timing import interleaved

from .problem import LOSSES, Problem
from .report import between
from .workloads import ista, tv

PAGE = Path(__file__).resolve().parents[1] / "docs" / "iteration.md"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})


@dataclass(frozen=True)
class Row:
    """One version of a program: what it is called, and how its call is made."""

    what: str
    make: Callable[[], Callable[[], Any]]


@contextmanager
def without(*parts: str) -> Iterator[None]:
    """Compile without ``proposers`` (isl's among them), or without ``tiles`` of problems."""
    with ExitStack() as stack:
        if "proposers" in parts:
            stack.enter_context(mock.patch.object(choose, "PROPOSERS", ()))
            stack.enter_context(mock.patch.object(choose, "polyhedral", return_value=False))
        if "tiles" in parts:
            stack.enter_context(mock.patch.object(driver, "pays", return_value=False))
        yield


def called(problem: Problem, threads: int, *missing: str, **options: Any) -> Callable[[], Any]:
    """Forward calls of a layer that was compiled without some parts."""
    with without(*missing):
        layer = built(problem, **options)

        def run() -> Any:
            torch.set_num_threads(threads)
            with torch.no_grad():
                return layer(*problem.inputs)

        run()
    return run


def trained(problem: Problem, threads: int, *missing: str, inside: bool = False, **options: Any) -> Callable[[], Any]:
    """Losses and gradients of a layer, with the loss in torch or ``inside`` the kernel."""
    import unspool as us

    with without(*missing):
        layer = built(problem, **options)
        step = layer.value_and_grad(us.load(LOSSES).mean_squares)

        def run() -> Any:
            torch.set_num_threads(threads)
            if inside:
                return step(*problem.inputs, *problem.extra)
            assert problem.loss is not None
            return torch.autograd.grad(problem.loss(layer(*problem.inputs), *problem.extra), list(layer.parameters()))

        run()
    return run


def built(problem: Problem, **options: Any) -> Any:
    """A layer for target c in f32."""
    handle = AlgorithmHandle(problem.handle.algorithm)  # a handle keeps what it has compiled
    return handle.build(**problem.given, **problem.values, **problem.counts, target="c", **options)


def forward_rows(problem: Problem, threads: int, best: str) -> list[Row]:
    """From the program as it is written to all that there is."""
    return [
        Row("program order, 1 thread", lambda: called(problem, 1, "tiles", schedule="")),
        Row("+ fusion, contraction of storage, vectors", lambda: called(problem, 1, "tiles", "proposers")),
        Row(f"+ {threads} threads", lambda: called(problem, threads, "tiles", "proposers")),
        Row(f"+ {best}", lambda: called(problem, threads, "tiles")),
    ]


def gradient_rows(problem: Problem, threads: int) -> list[Row]:
    """The gradient: where the loss is, and what is recorded."""
    return [
        Row("gradient, no tiles, no proposers", lambda: trained(problem, threads, "tiles", "proposers")),
        Row("gradient, all parts", lambda: trained(problem, threads)),
        Row("+ the loss inside the kernel", lambda: trained(problem, threads, inside=True)),
    ]


def studies(threads: int, *, quick: bool) -> Iterator[tuple[str, list[Row]]]:
    """The programs, each with its rows."""
    m, n, batch = (25, 50, 64) if quick else (250, 500, 1024)
    many = ista.problem(ista.data(m, n, batch))
    rows = forward_rows(many, threads, "products in register tiles, problem by problem")
    rows.append(Row("+ 16 problems side by side", lambda: called(many, threads)))
    rows += gradient_rows(many, threads)
    less = "+ a smaller tape, iterations run again (memory= three quarters)"
    rows.append(Row(less, lambda: trained(many, threads, inside=True, memory=_memory(many, threads) * 3 // 4)))
    yield f"ISTA {m}x{n}, {batch} problems, K = {ista.K}", rows
    for size in [64] if quick else [512, 2048]:
        image = tv.problem(tv.data(size))
        rows = forward_rows(image, threads, "tiles across iterations, where they pay")
        if size <= 512:
            rows += gradient_rows(image, threads)
        yield f"TV {size}x{size}, K = {tv.K}", rows


def _memory(problem: Problem, threads: int) -> int:
    """The scratch memory that a gradient takes if all is kept, in bytes."""
    import unspool as us

    torch.set_num_threads(threads)
    step = built(problem).value_and_grad(us.load(LOSSES).mean_squares)
    step(*problem.inputs, *problem.extra)
    (known,) = step._known.values()
    return int(known.call.choice.bytes)


@app.command(help=__doc__)
def main(
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes: does everything work?")] = False,
    threads: Annotated[int, typer.Option(min=1, help="Threads where not one.")] = 2,
    seconds: Annotated[float, typer.Option(min=0, help="Time for sampling one program.")] = 30.0,
    publish: Annotated[bool, typer.Option("--publish", help="Put the table into docs/iteration.md.")] = False,
) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120)
    lines: list[str] = []
    for title, rows in studies(threads, quick=quick):
        runs = {row.what: row.make() for row in rows}
        found = interleaved(runs, rounds=15, seconds=seconds)
        table = Table("", "ms, median", "ms, least", "of the row above", title=title)
        lines += [f"**{title}**", "", "| | ms, median | ms, least | of the row above |", "|---|--:|--:|--:|"]
        last: float | None = None
        for row in rows:
            time = found[row.what]
            cells = (row.what, f"{1e3 * time.median:.3g}", f"{1e3 * time.minimum:.3g}", "" if last is None else f"{time.minimum / last:.2f}")
            table.add_row(*cells)
            lines.append(f"| {' | '.join(cells)} |")
            last = time.minimum
        lines.append("")
        console.print(table)
    if publish:
        between(PAGE, "python -m benchmarks.ablation", "\n".join(lines))


if __name__ == "__main__":
    app()
