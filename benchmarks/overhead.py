"""What compiling, calling, importing, talking and editing cost: rows of the suite's second table, each measured in a fresh process.

``python -m benchmarks.overhead`` prints all rows; with ``compile TARGET FILE ALGORITHM``, ``call TARGET no_grad|autograd``, ``import``, ``editor``
or ``repl`` it is one of the fresh processes, and prints what it measured as JSON.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
#: Sizes at which the programs of tests/programs are compiled.
SIZES = {
    "m": 64, "n": 128, "h": 64, "w": 64, "T": 256, "E": 16, "s": 25, "q": 75, "c": 5, "d": 64, "v": 64, "o": 32, "b": 16,
}  # fmt: skip


def programs() -> list[tuple[Path, str]]:
    """Every algorithm of tests/programs that needs no learned operator."""
    import unspool as us

    found = []
    for path in sorted((ROOT / "tests" / "programs").glob("*.us")):
        found += [(path, handle.algorithm.name) for handle in us.load(path) if not handle.algorithm.modules]
    return found


def rows(*, quick: bool = False, say: Callable[[str], object] = lambda _: None) -> list[dict[str, Any]]:
    """The rows: what, target, value, unit, note."""
    from .problem import targets

    found = []
    for target in targets():
        everything = programs()[:2] if quick else programs()
        times = []
        for path, name in everything:
            say(f"compiling {name} for target {target}")
            times.append(_fresh("compile", target, str(path), name)["seconds"])
        note = f"{len(times)} algorithms of tests/programs, forward, no cache, fresh processes; slowest {max(times):.2f} s"
        found.append(_row("cold compile, median", target, statistics.median(times), "s", note))
        for mode, what in (("no_grad", "under no_grad"), ("autograd", "with autograd")):
            say(f"calling a layer {what}")
            runs = [_fresh("call", target, mode) for _ in range(1 if quick else 5)]
            best = min(runs, key=lambda r: r["call"] - r["kernel"])
            note = f"layer(y) takes {best['call']:.1f} us, its kernel {best['kernel']:.1f} us; five tensors"
            found.append(_row(f"layer call less the kernel, {what}", target, best["call"] - best["kernel"], "us", note))
    say("importing")
    runs = [_fresh("import") for _ in range(3 if quick else 9)]
    torch, alone, load = (statistics.median(r[part] for r in runs) for part in ("torch", "unspool", "load"))
    found.append(_row("import unspool beyond torch", "-", alone, "s", f"torch alone {torch:.2f} s; the first program is loaded in {load:.2f} s"))
    if importlib.util.find_spec("pty") is not None:
        say("talking")
        run = _fresh("repl")
        found.append(_row("repl: started to the first prompt, median", "-", run["prompt"], "s", "at a terminal; torch comes while one types"))
        note = f"{run['steps']} steps on {run['kernels']} kernels of PolyBench; slowest {run['slowest']:.3f} s; within 0.2 s {run['within']:.1%}"
        found.append(_row("repl: an answer to a step, median", "-", run["step"], "s", note))
    if importlib.util.find_spec("pygls") is None:
        say("no pygls: nothing is measured of the language server")
        return found
    say("editing")
    run = _fresh("editor")
    note = f"300 lines; slowest {run['slowest']:.3f} s, processor {run.get('processor', math.nan):.3f} s; a completion {run['completion']:.3f} s"
    found.append(_row("editor: an edit to its diagnostics, median", "-", run["edit"], "s", note))
    found.append(_row("editor: the server started to the first diagnostics", "-", run["first"], "s", "300 lines; no torch is loaded"))
    return found


def _row(what: str, target: str, value: float, unit: str, note: str) -> dict[str, Any]:
    return {"what": what, "target": target, "value": value, "unit": unit, "note": note}


def _fresh(*arguments: str) -> dict[str, Any]:
    """One measurement in a process of its own, without the kernel cache."""
    environment = {**os.environ, "UNSPOOL_CACHE": "off"}
    command = [sys.executable, "-m", "benchmarks.overhead", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr.strip()[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# -- in the fresh process --------------------------------------------------------------------------------------------


def measure_compile(target: str, path: str, name: str) -> dict[str, float]:
    """Seconds from the loaded program to the kernel."""
    import torch

    import unspool as us

    torch.zeros(2).add_(1)
    handle = us.load(path)[name]
    counts = {n for n, _ in handle.algorithm.iterations}
    sizes = {n: SIZES[n] for n in handle.algorithm.size_names if n not in counts}
    start = time.perf_counter()
    handle.compile({**sizes, "batch": 8}, target=target)
    return {"seconds": time.perf_counter() - start}


def measure_call(target: str, mode: str) -> dict[str, float]:
    """Microseconds of a call on five tensors (one input, one given, three parameters), and of the kernel within it."""
    import torch

    import unspool as us

    torch.set_num_threads(1)
    A = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    layer = us.load(ROOT / "tests" / "programs" / "lasso.us").fista.build(A=A, K=4, target=target)
    y = torch.randn(4)
    with torch.set_grad_enabled(mode == "autograd"):
        return {"call": _microseconds(lambda: layer(y)), "kernel": _kernel(lambda: layer(y))}


def _kernel(function: Callable[[], object], calls: int = 2000) -> float:
    """Microseconds that native code takes in a call that runs one kernel."""
    from unspool.backends.execute import Runner

    runners: list[Any] = []
    run = Runner.run

    def seen(self: Any, *operands: Any, **named: Any) -> Any:
        runners.append(self)
        return run(self, *operands, **named)

    Runner.run = seen  # type: ignore[method-assign]
    try:
        function()
    finally:
        Runner.run = run  # type: ignore[method-assign]
    (runner,) = runners
    kernel, spent = runner.kernel, []

    def timed(*operands: Any) -> Any:
        start = time.perf_counter()
        result = kernel(*operands)
        spent.append(time.perf_counter() - start)
        return result

    runner.compiled.kernel = timed
    for _ in range(calls):
        function()
    runner.compiled.kernel = kernel
    return 1e6 * statistics.median(spent)


def _microseconds(function: Callable[[], object], calls: int = 2000, rounds: int = 9) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            function()
        times.append((time.perf_counter() - start) / calls)
    return 1e6 * statistics.median(times)


def measure_import() -> dict[str, float]:
    """Seconds of importing torch, of importing unspool after it, which imports nothing, and of loading the first program."""
    start = time.perf_counter()
    import torch  # noqa: F401

    middle = time.perf_counter()
    import unspool as us

    end = time.perf_counter()
    us.load(ROOT / "tests" / "programs" / "lasso.us")
    return {"torch": middle - start, "unspool": end - middle, "load": time.perf_counter() - end}


if __name__ == "__main__":
    from .editor import measure as measure_editor
    from .repl import measure as measure_repl

    kinds: dict[str, Callable[..., Mapping[str, float | str]]] = {
        "editor": measure_editor,
        "compile": measure_compile,
        "call": measure_call,
        "import": measure_import,
        "repl": measure_repl,
    }
    if sys.argv[1:]:
        print(json.dumps(kinds[sys.argv[1]](*sys.argv[2:])))
    else:
        for row in rows(say=lambda what: print(what, file=sys.stderr)):
            print(f"{row['what']}, {row['target']}: {row['value']:.3g} {row['unit']} ({row['note']})")
