"""What ``dsl bench`` does: time a program's kernels against torch eager, forward and backward, and the suites of a checkout."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ..backends.registry import CPU_TARGETS, availability, canonical, device_type
from ..compiler import options
from ..compiler.diagnostics import DataError, UnspoolError
from ..compiler.graph.ops.common import torch_dtype
from .session import Call
from .timing import Timing, caution, interleaved, machine, ratio

if TYPE_CHECKING:
    from ..backends.module import Layer

SUITES = ("unrolled", "polybench")
EAGER = "torch eager"
FORWARD, GRADIENT = "forward", "forward + backward"


@dataclass
class Row:
    """One contestant in one mode. ``error`` is relative to the interpreter in float64, ``first`` the seconds of the first call."""

    name: str
    mode: str
    error: float
    first: float
    timing: Timing
    ratio: float | None = None  # how many times longer torch eager takes

    def as_json(self) -> dict[str, Any]:
        """Times in milliseconds."""
        return {
            "name": self.name,
            "mode": self.mode,
            "median_ms": 1e3 * self.timing.median,
            "minimum_ms": 1e3 * self.timing.minimum,
            "runs": self.timing.runs,
            "calls": self.timing.calls,
            "first_call_s": self.first,
            "relative_error": self.error,
            "eager_over_this": self.ratio,
        }


def run(call: Call, *, compiled: bool, threads: int | None, seconds: float) -> str:
    """Measure, print a table, and return everything as JSON."""
    if threads is not None:
        torch.set_num_threads(threads)
    facts = machine()
    found = rows(call, compiled=compiled, seconds=seconds)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table(found, f"{call.handle.algorithm.name}, {call.real}: interleaved samples", facts))
    if all(row.mode == FORWARD for row in found):
        console.print("Nothing here is differentiable: forward only.")
    if warning := caution(facts):
        console.print(warning, style="yellow")
    shapes = {name: list(np.shape(value)) for name, value in call.values.items()}
    about = {
        "algorithm": call.handle.algorithm.name,
        "dtype": call.real,
        "shapes": shapes,
        "iterations": {**dict(call.handle.algorithm.iterations), **call.counts},
    }
    content = {"machine": facts, **about, "rows": [row.as_json() for row in found]}
    return json.dumps(content, indent=1) + "\n"


def rows(call: Call, *, compiled: bool = False, rounds: int = 21, seconds: float = 20.0) -> list[Row]:
    """Every usable target of the processor (or the one asked for) against torch eager, which is the interpreter; ``compiled`` adds torch.compile
    of the program's operations, its loops unrolled. Forward, then forward with backward if anything is differentiable."""
    if call.chosen.target and device_type(canonical(call.chosen.target)) != "cpu":
        raise DataError(f"dsl bench times targets of the processor, not {call.chosen.target}: python -m benchmarks.gpu times those of a GPU")
    wanted = [call.chosen.target] if call.chosen.target else [n for n in CPU_TARGETS if availability(n).usable]
    made = {f"target {n}": Runs(call, n) for n in wanted if n != "interpreter"}
    made[EAGER] = Runs(call, "interpreter")
    if compiled:
        made["torch.compile"] = Runs(call, "interpreter", compiled=True)
    exact = Runs(replace(call, real="f64"), "interpreter")
    found = []
    for mode in (FORWARD, GRADIENT) if exact.differentiable else (FORWARD,):
        functions = {name: run.forward if mode == FORWARD else run.gradient for name, run in made.items()}
        expected = [_exact(x) for x in (exact.forward if mode == FORWARD else exact.gradient)()]
        first, errors = {}, {}
        for name, function in functions.items():
            start = time.perf_counter()
            results = function()
            first[name] = made[name].first if mode == FORWARD else time.perf_counter() - start
            errors[name] = max((_deviation(_exact(x), e) for x, e in zip(results, expected)), default=0.0)
        timings = interleaved(functions, rounds=rounds, seconds=seconds)
        eager = timings[EAGER]
        for name, timing in timings.items():
            found.append(Row(name, mode, errors[name], first[name], timing, None if name == EAGER else ratio(eager, timing)))
    return found


class Runs:
    """The program as a layer of one target, with the call's data: forward and gradient as functions."""

    def __init__(self, call: Call, target: str, *, compiled: bool = False) -> None:
        algorithm = call.handle.algorithm
        real = torch_dtype(torch, call.real)
        values = {name: _lifted(torch.as_tensor(v), real) for name, v in call.values.items()}
        start = time.perf_counter()
        self.layer = _layer(call, target, values)
        self.inputs = [values[i.name] for i in algorithm.inputs if not i.given]
        self.inputs = [x.clone().requires_grad_() if _floating(x) else x for x in self.inputs]
        self.leaves = [*self.layer.parameters(), *(x for x in self.inputs if x.requires_grad)]
        self.function: Callable[..., Any] = _compiled(self.layer, self.inputs) if compiled else self.layer
        with torch.no_grad():
            sample = self._results()
        self.first = time.perf_counter() - start  # seconds, of building and of the first call
        random = torch.Generator().manual_seed(0)
        self.weights = [
            torch.randn(y.shape, generator=random, dtype=torch.float64).to(y.dtype) if _floating(y) else None for y in sample
        ]
        self.differentiable = bool(self.leaves) and any(y.requires_grad for y in self._results())

    def _results(self) -> list[Tensor]:
        found = self.function(*self.inputs)
        return list(found) if isinstance(found, tuple) else [found]

    def forward(self) -> list[Tensor]:
        """All results, without autograd."""
        with torch.no_grad():
            return self._results()

    def gradient(self) -> list[Tensor]:
        """Gradients of parameters and inputs, of a fixed random combination of all results."""
        pairs = [(y, w) for y, w in zip(self._results(), self.weights) if y.requires_grad and w is not None]
        found = torch.autograd.grad([y for y, _ in pairs], self.leaves, [w for _, w in pairs], allow_unused=True)
        return [x for x in found if x is not None]


def _layer(call: Call, target: str, values: Mapping[str, Tensor]) -> Layer:
    from ..backends.module import Layer

    algorithm = call.handle.algorithm
    given = {i.name: values[i.name] for i in algorithm.inputs if i.given}
    chosen = replace(call.chosen, target=target)
    return Layer(
        call.handle.routine(chosen), given, iterations=call.counts, sizes=call.sizes, modules={}, params={}, dtype=call.real
    )


def _compiled(layer: Layer, inputs: Sequence[Tensor]) -> Callable[..., Any]:
    """The operations that the interpreter makes for these inputs, loops unrolled, under torch.compile."""
    from torch.fx.experimental.proxy_tensor import make_fx

    names = [n for n, _ in layer.named_parameters()]

    def flat(*tensors: Tensor) -> Any:
        params = dict(zip(names, tensors))
        return torch.func.functional_call(layer, params, tensors[len(names) :])

    operands = [*layer.parameters(), *inputs]
    with torch.no_grad():
        traced = make_fx(flat)(*operands)
    optimized = torch.compile(traced, dynamic=False)
    return lambda *tensors: optimized(*layer.parameters(), *tensors)


def _lifted(value: Tensor, real: torch.dtype) -> Tensor:
    if value.is_floating_point():
        return value.to(real)
    return value.to(real.to_complex()) if value.is_complex() else value


def _floating(x: Tensor) -> bool:
    return x.is_floating_point() or x.is_complex()


def _exact(x: Tensor) -> Tensor:
    return x.detach().to(torch.complex128 if x.is_complex() else torch.float64)


def _deviation(got: Tensor, expected: Tensor) -> float:
    """max |got - expected| / max |expected|."""
    if not expected.numel():
        return 0.0
    return float((got - expected).abs().max() / expected.abs().max().clamp_min(1e-30))


def table(found: Sequence[Row], title: str, facts: Mapping[str, Any]) -> Table:
    """The rows for the console."""
    made = Table(title=title, caption=f"{facts['processor']}, {facts['threads']} threads, torch {facts['torch']}")
    made.add_column("mode")
    made.add_column("")
    for heading in ("median", "minimum", "eager / this", "first call", "error"):
        made.add_column(heading, justify="right", no_wrap=True)
    for row in found:
        factor = "" if row.ratio is None else f"{row.ratio:.2f}x"
        cells = (f"{1e3 * row.timing.median:.3g} ms", f"{1e3 * row.timing.minimum:.3g} ms", factor, f"{row.first:.2f} s")
        made.add_row(row.mode, row.name, *cells, f"{row.error:.0e}")
    return made


def suite(name: str, arguments: Sequence[str]) -> int:
    """Run a suite of the checkout that the library comes from; its exit code. Raises UnspoolError if there is none."""
    if name not in SUITES:
        raise DataError(f"no suite is called {name!r}; there is {', '.join(SUITES)}")
    root = options.stdlib_folder().parent
    module = root / "benchmarks" / name
    if not (module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()):
        raise UnspoolError("suites come with a checkout of the repository, not with the installed library: run it there")
    return subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments], cwd=root, check=False).returncode
