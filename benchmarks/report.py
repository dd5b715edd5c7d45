"""Outcomes as JSON, as a table on the console, and as Markdown between marker comments. What we lose is in all of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from unspool.dsl.timing import ratio

from .contest import FORWARD, GRADIENT, OURS, PEERS, Outcome, Score

#: Of the form of the JSON file; a reader refuses others.
FORMAT = 1
BEST = "best peer"


def ratios(outcome: Outcome) -> dict[str, float]:
    """Per peer, and over the best peer (the limit is no peer): its time over ours, the better of medians and minima.

    Of both sides the best variant counts, for medians and for minima apart.
    """
    ours = outcome.best("unspool")
    found: dict[str, float] = {}
    if ours is None:
        return found
    for peer in (*PEERS, *OURS):
        other = outcome.best(peer)
        if other and peer != "unspool":
            found[peer] = ratio(other, ours)
    rivals = [found[peer] for peer in PEERS if peer in found and peer != "limit"]
    if rivals:
        found[BEST] = min(rivals)
    return found


def means(outcomes: Iterable[Outcome]) -> dict[str, dict[str, float]]:
    """The geometric mean of the ratios, per mode and peer."""
    collected: dict[str, dict[str, list[float]]] = {}
    for outcome in outcomes:
        for peer, value in ratios(outcome).items():
            collected.setdefault(outcome.mode, {}).setdefault(peer, []).append(value)
    return {mode: {p: statistics.geometric_mean(v) for p, v in peers.items()} for mode, peers in collected.items()}


# -- JSON ------------------------------------------------------------------------------------------------------------


def as_json(outcomes: Sequence[Outcome], facts: Mapping[str, Any], costs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Everything measured, with the machine; times in milliseconds."""
    return {
        "format": FORMAT,
        "machine": dict(facts),
        "geometric_means": means(outcomes),
        "contests": [
            {
                "program": o.program,
                "size": o.size,
                "mode": o.mode,
                "ratios": ratios(o),
                "contestants": [_score(s) for s in o.scores],
            }
            for o in outcomes
        ],
        "costs": [dict(row) for row in costs],
    }


def _score(score: Score) -> dict[str, Any]:
    known = asdict(score)
    timing = known.pop("timing")
    times = {"median_ms": None, "minimum_ms": None, "runs": 0, "calls": 0}
    if timing:
        times = {"median_ms": 1e3 * timing["median"], "minimum_ms": 1e3 * timing["minimum"]}
        times |= {"runs": timing["runs"], "calls": timing["calls"]}
    error, first = (x if x == x else None for x in (known.pop("error"), known.pop("first_call")))  # JSON has no NaN
    error = None if error == float("inf") else error
    return {**known, "relative_error": error, "first_call_s": first, **times}


# -- the console -----------------------------------------------------------------------------------------------------


def table(outcomes: Sequence[Outcome], facts: Mapping[str, Any]) -> Table:
    """A line per contest: our median, then per peer its best variant's, and how many times longer it takes."""
    found = Table(title="Medians in milliseconds, float32; + is with backward; x: a peer's time over ours", caption=_where(facts))
    found.add_column("program", no_wrap=True)
    found.add_column("size", no_wrap=True)
    found.add_column("")
    present = _present(outcomes)
    for peer in present:
        found.add_column({**PEERS, **OURS}[peer], justify="right", no_wrap=True)
    for o in outcomes:
        relative = ratios(o)
        found.add_row(o.program, o.size, "+" * (o.mode == GRADIENT), *(_cell(o, peer, relative) for peer in present))
    return found


def _present(outcomes: Sequence[Outcome]) -> list[str]:
    order = ["unspool", "inside", "other", *PEERS]
    return [peer for peer in order if any(o.best(peer) for o in outcomes)]


def _cell(outcome: Outcome, peer: str, relative: Mapping[str, float]) -> str:
    best = outcome.best(peer)
    if best is None:
        return "failed" if any(s.peer == peer for s in outcome.scores) else ""
    text = f"{1e3 * best.median:.3g}"
    return f"{text} {relative[peer]:.2f}x" if peer in relative else text


def _where(facts: Mapping[str, Any]) -> str:
    parts = [
        f"{facts['processor']}, {facts['threads']} threads",
        *(f"{n} {facts[n]}" for n in ("torch", "jax", "numba") if facts.get(n)),
    ]
    return ", ".join(parts)


# -- Markdown --------------------------------------------------------------------------------------------------------


def short(outcomes: Sequence[Outcome], facts: Mapping[str, Any]) -> str:
    """For the README: ours, torch eager and the best peer, forward and backward side by side."""
    lines = ["| program | size | forward: ours | eager | best peer | forward + backward: ours | eager | best peer |"]
    lines.append("|---|---|--:|--:|--:|--:|--:|--:|")
    for program, size in dict.fromkeys((o.program, o.size) for o in outcomes):
        cells: list[str] = []
        for mode in (FORWARD, GRADIENT):
            o = next((o for o in outcomes if (o.program, o.size, o.mode) == (program, size, mode)), None)
            cells += _three(o) if o else [""] * 3
        lines.append(f"| {program} | {size} | " + " | ".join(cells) + " |")
    return "\n".join([*_head(outcomes, facts, ("eager", BEST)), "", *lines])


def _three(outcome: Outcome) -> list[str]:
    ours, relative = outcome.best("unspool"), ratios(outcome)
    first = f"{1e3 * ours.median:.3g}" if ours else "failed"
    return [first, *(f"{relative[peer]:.2f}x" if peer in relative else "" for peer in ("eager", BEST))]


def long(outcomes: Sequence[Outcome], facts: Mapping[str, Any], costs: Sequence[Mapping[str, Any]], results: str) -> str:
    """For benchmarks/README.md, with ``results``, the file that has it all: every peer's best variant, and what compiling and calling costs."""
    present = _present(outcomes)
    heads = [{**PEERS, **OURS}[peer] for peer in present]
    lines = [*_head(outcomes, facts, [*present[1:], BEST]), ""]
    for mode in (FORWARD, GRADIENT):
        rows = [o for o in outcomes if o.mode == mode]
        if not rows:
            continue
        lines += [f"**{mode.capitalize()}**", "", f"| program | size | {' | '.join(heads)} | {BEST} |"]
        lines.append("|---|---|" + "--:|" * (len(heads) + 1))
        for o in rows:
            relative = ratios(o)
            cells = [_cell(o, peer, relative) for peer in present]
            lines.append(f"| {o.program} | {o.size} | {' | '.join(cells)} | {_best(o, relative)} |")
        lines.append("")
    fewest = min((s.timing.runs for o in outcomes for s in o.scores if s.timing), default=0)
    lines.append(
        f"Every figure is a median of at least {fewest} interleaved samples; `benchmarks/results/{results}` has all of them,"
    )
    lines.append("with minima, the number of samples, the relative error against the interpreter in float64, and every variant.")
    failures = [f"- {o.program}, {o.size}, {o.mode}: {s.name}: {s.failure}" for o in outcomes for s in o.scores if s.failure]
    if failures:
        lines += ["", "Not timed:", "", *failures]
    if costs:
        lines += ["", "| cost | target | value | unit | note |", "|---|---|--:|---|---|"]
        lines += [f"| {c['what']} | {c['target']} | {c['value']:.3g} | {c['unit']} | {c['note']} |" for c in costs]
    return "\n".join(lines)


def _best(outcome: Outcome, relative: Mapping[str, float]) -> str:
    """The strongest peer by name, and the ratio to it."""
    if BEST not in relative:
        return ""
    peer = min((p for p in PEERS if p in relative and p != "limit"), key=relative.__getitem__)
    return f"{relative[BEST]:.2f}x ({outcome.fastest(peer).name})"


def _head(outcomes: Sequence[Outcome], facts: Mapping[str, Any], peers: Iterable[str]) -> list[str]:
    load = "" if facts["load"] is None else f", load {facts['load']} before"
    head = [
        f"Milliseconds, float32, medians; everyone interleaved in one run on {_where(facts)}{load}, {str(facts['date'])[:10]}.",
        "Nx: a peer's best variant takes N times as long as ours (the better of medians and minima); below 1 we lose.",
    ]
    names = {**PEERS, **OURS, BEST: "the best peer"}
    for mode, found in means(outcomes).items():
        wanted = [f"{found[p]:.2f}x over {names[p]}" for p in peers if p in found]
        head.append(f"Geometric means, {mode}: {', '.join(wanted)}.")
    return head


def between(path: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- NAME -->`` and ``<!-- end of NAME -->`` in a file. Raises ValueError without the two."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, found, rest = path.read_text(encoding="utf-8").partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise ValueError(f"{path} has lost the markers {begin.strip()} and {end}")
    path.write_text(f"{before}{begin}{text}\n{end}{after}", encoding="utf-8")
