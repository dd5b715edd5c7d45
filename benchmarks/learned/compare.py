"""What ranks schedules how well, on the same held-out programs of a dataset:

- the analytic estimate;
- gradient-boosted trees (scikit-learn) on the same numbers, flattened;
- the network, and with ``--ablate`` also without each group of its features.

    python -m benchmarks.learned.compare data.jsonl.gz --ablate
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from unspool.compiler.search.dataset.records import read
from unspool.compiler.search.learned.examples import Example, Split, examples, flat, split
from unspool.compiler.search.learned.features import GROUPS
from unspool.compiler.search.learned.metrics import Figures, figures
from unspool.compiler.search.learned.model import MEMBERS
from unspool.compiler.search.learned.training import EPOCHS, analytic, repeated, train

from .. import report

PAGE = Path(__file__).parents[2] / "docs" / "learned-scheduler.md"
MARKER = "compared: python -m benchmarks.learned.compare"
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})

GROWN = {"max_iter": 400, "learning_rate": 0.05, "min_samples_leaf": 10, "l2_regularization": 1.0, "early_stopping": True}


def boosted(data: Split, seed: int = 0) -> Figures:
    """Figures of gradient-boosted trees that correct the estimate."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    rows = np.concatenate([[flat(t) for t in e.trees] for e in data.training])
    wanted = np.concatenate([_correction(e) for e in data.training])
    model: Any = HistGradientBoostingRegressor(random_state=seed, **GROWN).fit(rows, wanted)

    def said(e: Example) -> np.ndarray[Any, Any]:
        return np.array([t.seconds for t in e.trees]) * np.exp(model.predict(np.array([flat(t) for t in e.trees])))

    return figures((e.seconds, said(e), e.base) for e in data.heldout)


def _correction(e: Example) -> np.ndarray[Any, Any]:
    """Logarithms of what the estimate is wrong by, around their mean."""
    wrong = np.log(e.seconds) - np.log([t.seconds for t in e.trees])
    return np.asarray(wrong - wrong.mean())


@app.command(help=__doc__)
def main(
    data: Annotated[list[Path], typer.Argument(help="Datasets.", exists=True)],
    epochs: Annotated[int, typer.Option(min=1, help="Rounds of training, at most.")] = EPOCHS,
    seed: Annotated[int, typer.Option(help="Which programs are held out, and what networks start from.")] = 0,
    members: Annotated[int, typer.Option(min=1, help="Networks of an ensemble.")] = MEMBERS,
    ablate: Annotated[bool, typer.Option("--ablate", help="Also without each group of features.")] = False,
    publish: Annotated[bool, typer.Option("--publish", help="Put the table into docs/learned-scheduler.md.")] = False,
) -> None:
    found = [e for path in data for e in examples(read(path))]
    parts = split(found, seed)
    rows = [("the analytic estimate", analytic(parts.heldout)), ("boosted trees", boosted(parts, seed))]
    for group in (None, *(GROUPS if ablate else ())):
        name = "the network" if group is None else f"the network without `{group}`"
        rows.append((name, train(parts, epochs=epochs, seed=seed, members=members, without=() if group is None else (group,)).figures))
    text = markdown(rows, repeated(found), found, parts)
    Console().print(text, markup=False, highlight=False, soft_wrap=True)
    if publish:
        report.between(PAGE, MARKER, text)


def markdown(rows: Sequence[tuple[str, Figures]], ceiling: float, found: Sequence[Example], parts: Split) -> str:
    """The table."""
    judged = rows[0][1].programs
    lines = [
        f"{sum(len(e.trees) for e in found)} schedules of {len(found)} programs; means over {judged} of {len(parts.heldout)} held-out programs.",
        "",
        "| ranked by | Spearman | nDCG@5 | MAPE | regret |",
        "|---|--:|--:|--:|--:|",
    ]
    lines += [f"| {name} | {f.spearman:.3f} | {f.ndcg5:.3f} | {f.mape:.3f} | {f.regret:.3f} |" for name, f in rows]
    return "\n".join([*lines, f"| a second measurement | {ceiling:.3f} | | | |"])


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.learned.compare")
