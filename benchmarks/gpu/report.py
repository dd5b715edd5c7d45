"""Results of GPUs as JSON, to which each run adds, and as a table. What is predicted, not measured, is marked as such."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from ..contest import Outcome
from ..report import BEST, as_json

FORMAT = 1
#: Who is in the table, by the key in the file.
PEERS = {"eager": "torch eager", "compile": "torch.compile", "jax": "JAX"}
PREDICTED = "predicted"


def path_of(gpu: str, folder: Path) -> Path:
    """The file of a GPU."""
    return folder / f"{'-'.join(gpu.lower().replace('/', ' ').split())}.json"


def read(path: Path) -> list[dict[str, Any]]:
    """The runs in a file, oldest first. Raises ValueError for a file of another form."""
    if not path.exists():
        return []
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.get("format") != FORMAT:
        raise ValueError(f"{path} has format {content.get('format')}; this version writes {FORMAT}: move it away")
    return list(content["runs"])


def append(path: Path, run: Mapping[str, Any], *, number: int | None = None) -> int:
    """Add a run to a file, or put it in place of that ``number``; the number of the run."""
    runs = read(path)
    if number is None:
        number = len(runs)
        runs.append(dict(run))
    else:
        runs[number] = dict(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"format": FORMAT, "runs": runs}, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    new.replace(path)
    return number


def contest_json(outcome: Outcome, least: float | None) -> dict[str, Any]:
    """A contest as the file has it: times in milliseconds; ``roofline`` is the least time by operations and bytes over ours."""
    (found,) = as_json([outcome], {}, [])["contests"]
    ours = outcome.best("unspool")
    found["least_ms"] = None if least is None else 1e3 * least
    found["roofline"] = None if least is None or ours is None else least / ours.median
    found["source"] = "measured"
    return dict(found)


def predicted_json(program: str, size: str, mode: str, ours: float, peer: float, least: float) -> dict[str, Any]:
    """A contest that nobody held: seconds that ours takes, that kernels one after the other in a CUDA graph take, and that it takes at least."""
    both = [{"name": name, "peer": name, "median_ms": 1e3 * seconds} for name, seconds in (("unspool", ours), ("kernels", peer))]
    return {"program": program, "size": size, "mode": mode, "source": PREDICTED, "least_ms": 1e3 * least, "roofline": least / ours,
            "ratios": {BEST: peer / ours}, "contestants": both}  # fmt: skip


def latest(runs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The last figure of each contest; a measured one goes before a predicted one, however old."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for run in runs:
        for contest in run.get("contests", ()):
            key = (contest["program"], contest["size"], contest["mode"])
            if contest["source"] == "measured" or found.get(key, contest)["source"] == PREDICTED:
                found[key] = {**contest, "machine": run.get("machine", {})}
    return list(found.values())


def lines(runs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The cells of the table, a row for each contest."""
    rows = []
    for c in latest(runs):
        ours = _median(c, "unspool")
        text = "failed" if ours is None else f"{ours:.3g}"
        if c["source"] == PREDICTED:
            text = f"{text} predicted"
        share = "" if c["roofline"] is None else f"{100 * c['roofline']:.0f}%"
        cells = [f"{v:.3g} {c['ratios'][p]:.2f}x" if (v := _median(c, p)) and p in c["ratios"] else "" for p in PEERS]
        best = f"{c['ratios'][BEST]:.2f}x" if BEST in c["ratios"] else ""
        rows.append([c["program"], c["size"], c["mode"], text, share, *cells, best])
    return rows


def _median(contest: Mapping[str, Any], peer: str) -> float | None:
    found = [s["median_ms"] for s in contest["contestants"] if s["peer"] == peer and s.get("median_ms")]
    return min(found) if found else None


HEADS = ("program", "size", "mode", "unspool", "of roofline", *PEERS.values(), BEST)


def means(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The geometric mean of the ratio to the best peer, per mode; measured and predicted ones apart (``forward, predicted``)."""
    found: dict[str, list[float]] = {}
    for c in latest(runs):
        if BEST in c["ratios"]:
            key = f"{c['mode']}, {PREDICTED}" if c["source"] == PREDICTED else c["mode"]
            found.setdefault(key, []).append(c["ratios"][BEST])
    return {mode: statistics.geometric_mean(values) for mode, values in found.items()}


def table(gpu: str, runs: Sequence[Mapping[str, Any]]) -> Table:
    """For the console."""
    made = Table(title=f"{gpu}: medians in milliseconds, float32; x: a peer's time over ours")
    for n, head in enumerate(HEADS):
        made.add_column(head, justify="left" if n < 3 else "right", no_wrap=n < 2)
    for row in lines(runs):
        made.add_row(*row)
    return made


def markdown(gpu: str, runs: Sequence[Mapping[str, Any]]) -> str:
    """For a page: what was measured where, the means, the table."""
    measured = [c for c in latest(runs) if c["source"] == "measured"]
    machine = measured[-1]["machine"] if measured else {}
    told = ", ".join(f"{n} {machine[n]}" for n in ("torch", "jax", "driver", "commit") if machine.get(n))
    head = f"{gpu}: medians in milliseconds, float32" + (f"; {told}." if told else ".")
    found = [head, "Nx: a peer's best variant takes N times as long as our best; below 1 we lose."]
    found.append("Of roofline: the least time by operations and bytes, over ours.")
    if any(c["source"] == PREDICTED for c in latest(runs)):
        found.append(
            "**predicted**: no GPU was at hand. Ours: the estimate that schedules are chosen by, from the operations, accesses, bytes and "
            "meetings of the generated kernels. The peer: a kernel for each product and each fused sweep, one after the other in a CUDA "
            "graph (`benchmarks/gpu/model.py`)."
        )
    for mode, value in means(runs).items():
        found.append(f"Geometric mean over the best peer, {mode}: {value:.2f}x.")
    rows = ["| " + " | ".join(HEADS) + " |", "|---|---|---|" + "--:|" * (len(HEADS) - 3)]
    rows += ["| " + " | ".join(row) + " |" for row in lines(runs)]
    return "\n".join([*found, "", *rows])
