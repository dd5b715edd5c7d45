"""What ``dsl train-model`` does: read datasets, learn from most of their programs, be judged by the others, write the weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..compiler.diagnostics import DataError
from ..compiler.search.dataset.records import Dataset, Record
from ..compiler.search.dataset.records import read as read_dataset
from ..compiler.search.learned.examples import examples, split
from ..compiler.search.learned.features import GROUPS
from ..compiler.search.learned.metrics import SCHEDULES, Figures
from ..compiler.search.learned.model import MEMBERS
from ..compiler.search.learned.training import Round, analytic, train
from ..compiler.search.learned.weights import read, write


def run(data: Sequence[Path], out: Path, start: Path | None, *, epochs: int, seed: int, without: Sequence[str] = ()) -> str:
    """Train on datasets and write the weights to ``out``; prints what the held-out programs say. Raises DataError."""
    unknown = sorted(set(without) - set(GROUPS))
    if unknown:
        raise DataError(f"{unknown[0]!r} is no group of features; there are {', '.join(GROUPS)}")
    if start is not None and without:
        raise DataError("weights that are gone on from keep the features that they were trained with: --without takes no --from")
    before = None if start is None else read(start)
    whole = Dataset()
    for path in data:
        found = read_dataset(path)
        records: list[Record] = [*found.machines.values(), *found.programs.values(), *found.points]
        for record in records:
            whole.add(record)
        whole.faults += found.faults
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        reading = bars.add_task("schedules", total=len(whole.points), said="")
        made = examples(whole, lambda done: bars.update(reading, completed=done + 1))
        for fault in whole.faults:
            console.print(f"warning: {fault}", markup=False, highlight=False, soft_wrap=True)
        parts = split(made, seed)
        members = MEMBERS if before is None else len(before.members)
        training = bars.add_task("training", total=members * epochs, said="")

        def watch(round: Round) -> None:
            said = f"network {round.member + 1}, round {round.epoch + 1}: loss {round.loss:.3f}, Spearman {round.validation.spearman:.3f}"
            bars.update(training, completed=round.member * epochs + round.epoch + 1, said=said)

        trained = train(parts, epochs=epochs, seed=seed, start=before, without=without, watch=watch)
    write(out, trained.model, trained.header)
    print_table(trained.figures, analytic(parts.heldout), trained.header["spearman_ceiling"])
    h = trained.header
    return f"wrote {out}: {h['points']} schedules of {h['programs']} programs, {len(parts.heldout)} of them held out"


def print_table(model: Figures, estimate: Figures, ceiling: float | None) -> None:
    """Figures on the held-out programs, beside those of the analytic estimate."""
    made = Table(f"{model.programs} held-out programs of {SCHEDULES} schedules or more", box=None, pad_edge=False)
    for heading in ("model", "analytic estimate"):
        made.add_column(heading, justify="right")
    rows = (
        ("Spearman", "spearman"),
        ("nDCG@5", "ndcg5"),
        ("error of speed-ups (MAPE)", "mape"),
        ("regret of the first choice", "regret"),
    )
    for words, name in rows:
        made.add_row(words, f"{getattr(model, name):.3f}", f"{getattr(estimate, name):.3f}")
    if ceiling is not None:
        made.add_row("Spearman between two measurements", f"{ceiling:.3f}", "")
    Console().print(made)
