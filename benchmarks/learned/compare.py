"""What ranks schedules how well, on the same held-out programs of a dataset:

- the analytic estimate;
- gradient-boosted trees (scikit-learn) on the same numbers, flattened;
- the network, and with ``--ablate`` also without each group of its features.

    python -m benchmarks.learned.compare data.jsonl.gz --epochs 60 --ablate
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from unspool.compiler.search.dataset.records import read
from unspool.compiler.search.learned.examples import Example, Split, examples, flat, split
from unspool.compiler.search.learned.features import GROUPS
from unspool.compiler.search.learned.metrics import Figures, figures
from unspool.compiler.search.learned.training import analytic, repeated, train

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


def main(words: Sequence[str] | None = None) -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ablate", action="store_true")
    given = parser.parse_args(words)
    found = [e for path in given.data for e in examples(read(path))]
    data = split(found, given.seed)
    print(f"{sum(len(e.trees) for e in found)} schedules of {len(found)} programs; {len(data.heldout)} held out")
    table = Table("ranked by", box=None, pad_edge=False)
    for heading in ("Spearman", "nDCG@5", "MAPE", "regret", "seconds"):
        table.add_column(heading, justify="right")

    def add(name: str, start: float, f: Figures) -> None:
        row = (f"{f.spearman:.3f}", f"{f.ndcg5:.3f}", f"{f.mape:.3f}", f"{f.regret:.3f}")
        table.add_row(name, *row, f"{time.monotonic() - start:.0f}")

    add("the analytic estimate", time.monotonic(), analytic(data.heldout))
    start = time.monotonic()
    add("boosted trees", start, boosted(data, given.seed))
    for group in (None, *(GROUPS if given.ablate else ())):
        start = time.monotonic()
        trained = train(data, epochs=given.epochs, seed=given.seed, without=() if group is None else (group,))
        add("the network" if group is None else f"  without {group}", start, trained.figures)
    table.add_row("a second measurement", f"{repeated(found):.3f}", "", "", "", "")
    Console().print(table)


if __name__ == "__main__":
    main()
