"""``make bench``: programs of the language against the same computation in torch eager.

Every case runs forward and, where the result is differentiable, forward and backward, our kernels and eager
interleaved in one process. Prints a table of medians and ratios and writes ``benchmarks/results/unrolled.json``.
``--full`` takes more sizes and more rounds; ``--readme`` puts the table into the README.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor

import unspool as us
from benchmarks import eager
from benchmarks.timing import caution, interleaved, machine

HERE = Path(__file__).parent
PROGRAMS = HERE.parent / "tests" / "programs"


@dataclass(frozen=True)
class Case:
    """One program at one size: our module, the eager function on the same parameters, and its data."""

    name: str
    size: str
    layer: torch.nn.Module
    inputs: tuple[object, ...]
    peer: Callable[..., Tensor | tuple[Tensor, ...]]  # of the inputs and the layer's parameters
    params: tuple[str, ...]
    forward: Callable[..., Tensor] | None = None  # a faster peer without derivatives
    result: int = 0  # which result a loss is made of
    derivative: bool = True
    wanted: tuple[int, ...] = ()  # inputs whose gradient is asked for, besides the parameters
    tolerance: float = 1e-4


def cases(full: bool) -> Iterator[Case]:
    """The suite, at the sizes its users have."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=random)

    for m, n, batch in [(64, 128, 32), (250, 500, 1), (250, 500, 32), *([(250, 500, 1024), (64, 128, 1024)] if full else [])]:
        A = normal(m, n) / math.sqrt(m)
        layer = us.load(PROGRAMS / "lasso.us").ista.build(A=A, K=16)
        y = normal(batch, n) * (uniform(batch, n) < 0.1) @ A.T
        yield Case("ista", f"{m}x{n}, batch {batch}, K=16", layer, (y,), bind(eager.ista, A), ("step", "lam"))

    for side in (256, 512, *((1024,) if full else ())):
        layer = us.load(PROGRAMS / "tv.us").tv.build(K=50)
        inputs = (uniform(side, side), torch.tensor(0.1))
        yield Case("tv", f"{side}x{side}, K=50", layer, inputs, eager.tv, ("tau", "sigma"), tv_forward)

    for side, batch in [(64, 32), (256, 4), *([(1024, 8)] if full else [])]:
        layer = us.load(PROGRAMS / "balance.us").sinkhorn.build(K=50)
        even = torch.full((side,), 1 / side)
        inputs = (uniform(batch, side, side), even, even.clone())
        yield Case("sinkhorn", f"{batch}x{side}x{side}, K=50", layer, inputs, eager.sinkhorn, ("eps",), tolerance=1e-3)

    n, d = 1000, 200
    truth = normal(d)
    X, Xv = normal(n, d), normal(n, d)
    inputs = (X, torch.sign(X @ truth), Xv, torch.sign(Xv @ truth), 0.1 * normal(n))
    layer = us.load(PROGRAMS / "bilevel.us").hyperclean.build(K=50)
    yield Case("hyperclean", f"n={n}, d={d}, K=50", layer, inputs, eager.hyperclean, ("step", "ridge"), wanted=(4,))

    for batch in (1, 64):
        s, q, classes, d = 25, 75, 5, 64
        labels = torch.eye(classes).repeat(s // classes, 1).expand(batch, s, classes).contiguous()
        inputs = (normal(batch, s, d) / 4, labels, normal(batch, q, d) / 4)
        layer = us.load(PROGRAMS / "em.us").unrolled_em.build(K=10)
        yield Case("unrolled_em", f"batch {batch}, K=10", layer, inputs, eager.unrolled_em, ("temperature", "balance"))

    tokens, experts = (8192, 64) if full else (2048, 64)
    layer = us.load(PROGRAMS / "balance.us").alf_lb.build(K=50)
    inputs = (uniform(tokens, experts) + 0.2 * uniform(experts), 6)
    size = f"{tokens}x{experts}, top 6, K=50"
    yield Case("alf_lb", size, layer, inputs, eager.alf_lb, ("step",), derivative=False, tolerance=1e-3)


def bind(function: Callable[..., Tensor], first: Tensor) -> Callable[..., Tensor]:
    return lambda *rest: function(first, *rest)


def tv_forward(image: Tensor, strength: Tensor, tau: Tensor, sigma: Tensor) -> Tensor:
    return eager.tv_in_place(image, strength.item(), tau.tolist(), sigma.tolist())


def measure(case: Case, rounds: int, seconds: float) -> Iterator[dict[str, object]]:
    """One row per mode, after checking that both sides compute the same."""
    params = [getattr(case.layer, name).detach().clone().requires_grad_() for name in case.params]
    inputs = [x.clone().requires_grad_() if i in case.wanted else x for i, x in enumerate(case.inputs)]

    def pick(value: object) -> Tensor:
        return value[case.result] if isinstance(value, tuple) else value

    ours = lambda: pick(case.layer(*inputs))  # noqa: E731
    peer = lambda: pick(case.peer(*inputs, *params))  # noqa: E731
    quick = lambda: pick((case.forward or case.peer)(*inputs, *params))  # noqa: E731
    with torch.no_grad():
        error = max(relative_error(ours(), peer()), relative_error(ours(), quick()))
        assert error < case.tolerance, f"{case.name}, {case.size}: the two sides differ by {error:.1e}"
        yield row(case, "forward", interleaved({"unspool": ours, "eager": quick}, rounds=rounds, seconds=seconds), error)
    if case.derivative:
        target = torch.zeros_like(peer())
        extra = [inputs[i] for i in case.wanted]

        def gradient(run: Callable[[], Tensor], wanted: list[Tensor]) -> Callable[[], object]:
            return lambda: torch.autograd.grad(torch.sum((run() - target) ** 2), wanted)

        both = {"unspool": gradient(ours, [*case.layer.parameters(), *extra]), "eager": gradient(peer, [*params, *extra])}
        yield row(case, "forward + backward", interleaved(both, rounds=rounds, seconds=seconds), error)


def relative_error(got: Tensor, expected: Tensor) -> float:
    return ((got - expected).abs().max() / expected.abs().max()).item()


def row(case: Case, mode: str, times: dict[str, float], error: float) -> dict[str, object]:
    return {
        "program": case.name,
        "size": case.size,
        "mode": mode,
        "unspool_ms": 1e3 * times["unspool"],
        "eager_ms": 1e3 * times["eager"],
        "ratio": times["eager"] / times["unspool"],
        "relative_error": error,
    }


def means(rows: list[dict[str, object]]) -> dict[str, float]:
    """The geometric mean of the ratios, per mode."""
    modes = dict.fromkeys(str(r["mode"]) for r in rows)
    return {mode: statistics.geometric_mean([float(r["ratio"]) for r in rows if r["mode"] == mode]) for mode in modes}


def markdown(rows: list[dict[str, object]], facts: dict[str, object]) -> str:
    """The table for the README: a line per case, forward and backward side by side."""
    lines = ["| program | size | forward: ours | eager | | forward + backward: ours | eager | |"]
    lines.append("|---|---|--:|--:|--:|--:|--:|--:|")
    for program, size in dict.fromkeys((r["program"], r["size"]) for r in rows):
        cells = []
        for mode in ("forward", "forward + backward"):
            r = next((r for r in rows if (r["program"], r["size"], r["mode"]) == (program, size, mode)), None)
            cells += [f"{r['unspool_ms']:.3g}", f"{r['eager_ms']:.3g}", f"{r['ratio']:.1f}x"] if r else [""] * 3
        lines.append(f"| {program} | {size} | " + " | ".join(cells) + " |")
    summary = ", ".join(f"{mean:.1f}x {mode}" for mode, mean in means(rows).items())
    where = f"{facts['processor']}, {facts['threads']} threads, torch {facts['torch']}"
    head = f"Milliseconds, float32, medians, both sides interleaved in one run ({where}). Geometric mean: {summary}."
    return "\n".join([head, "", *lines])


def into_readme(table: str) -> None:
    """Replace what stands between the two markers."""
    readme = HERE.parent / "README.md"
    before, begin, rest = readme.read_text(encoding="utf-8").partition("<!-- speed: make bench -->\n")
    _, end, after = rest.partition("<!-- end of speed -->")
    assert begin, "README.md has lost the marker of its speed table"
    assert end, "README.md has lost the end marker of its speed table"
    readme.write_text(f"{before}{begin}{table}\n{end}{after}", encoding="utf-8")


def commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def show(rows: list[dict[str, object]], facts: dict[str, object], console: Console) -> None:
    caption = f"{facts['processor']}, {facts['threads']} threads, torch {facts['torch']}"
    table = Table(title="Medians in milliseconds, float32; + is with backward", caption=caption)
    table.add_column("program")
    table.add_column("size", no_wrap=True)
    table.add_column("")
    for heading in ("unspool", "eager", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    for r in rows:
        times = (f"{r['unspool_ms']:.3g}", f"{r['eager_ms']:.3g}", f"{r['ratio']:.2f}x")
        table.add_row(r["program"], r["size"], "+" if "backward" in r["mode"] else "", *times)
    console.print(table)
    for mode, mean in means(rows).items():
        console.print(f"{mode}: geometric mean {mean:.2f}x")
    if warning := caution(facts):
        console.print(warning, style="yellow")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="more sizes, more rounds")
    parser.add_argument("--readme", action="store_true", help="put the table into the README")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "unrolled.json")
    chosen = parser.parse_args()
    rounds, seconds = (31, 60.0) if chosen.full else (11, 8.0)
    console = Console()
    facts = machine()
    rows: list[dict[str, object]] = []
    with Progress(console=console) as progress:
        suite = list(cases(chosen.full))
        task = progress.add_task("", total=len(suite))
        for case in suite:
            progress.update(task, description=f"{case.name}, {case.size}")
            rows += measure(case, rounds, seconds)
            progress.advance(task)
    show(rows, facts, console)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps({**facts, "commit": commit(), "rows": rows}, indent=1) + "\n", encoding="utf-8")
    console.print(f"Written: {chosen.out}", soft_wrap=True)
    if chosen.readme:
        into_readme(markdown(rows, facts))


if __name__ == "__main__":
    main()
