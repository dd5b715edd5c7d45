"""Timing several functions against each other fairly: warmed up, interleaved, medians and minima.

One round takes a sample of every function, one after the other, so that a slow moment of the machine hits all of
them. What a figure is worth nothing without (processor, versions, threads, load) is in :func:`machine`.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

#: A sample of a short function is the mean of several calls, together this many seconds, and two at least.
SAMPLE = 0.004
#: A short function is called this long, and once at least, before each sample, so that caches and threads are as in steady use: after another
#: function has run, the first call of a program of Python's and several kernels takes 3 ms more, be it in one thread.
WARM = 0.004
#: Functions of more seconds are not short.
LONG = 0.02
#: Pause before each function, until waiting threads of the one before have gone to sleep.
PAUSE = 0.002


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: median and minimum over ``runs`` samples of ``calls`` calls each."""

    median: float
    minimum: float
    runs: int
    calls: int


def interleaved(
    functions: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 21,
    seconds: float = 30.0,
    on_round: Callable[[], object] = lambda: None,
) -> dict[str, Timing]:
    """How long one call of each function takes; the order of samples is function by function, round by round.

    Every function is called at least twice before. After ``seconds``, a function slower than 50 ms sits out once it has 7
    samples, one slower than 2 s once it has 3; faster ones always get all ``rounds``.
    """
    expected = {name: _expected(function) for name, function in functions.items()}
    calls = {name: max(1 if expected[name] > LONG else 2, min(100, int(SAMPLE / expected[name]))) for name in functions}
    return in_turn(functions, expected, calls, _sample, rounds=rounds, seconds=seconds, on_round=on_round)


def in_turn(
    functions: Mapping[str, Callable[[], object]],
    expected: Mapping[str, float],
    calls: Mapping[str, int],
    sample: Callable[[Callable[[], object], int], float],
    *,
    rounds: int,
    seconds: float,
    on_round: Callable[[], object] = lambda: None,
) -> dict[str, Timing]:
    """As :func:`interleaved`, for functions whose call is ``expected`` to take so many seconds: ``sample(function, calls)`` gives the seconds of a
    call."""
    samples: dict[str, list[float]] = {name: [] for name in functions}
    end = time.perf_counter() + seconds
    for _ in range(rounds):
        late = time.perf_counter() > end
        for name, function in functions.items():
            if late and len(samples[name]) >= enough(expected[name], rounds):
                continue
            samples[name].append(sample(function, calls[name]))
        on_round()
    return {name: summary(times, calls[name]) for name, times in samples.items()}


def enough(seconds: float, rounds: int) -> int:
    """How many samples of a function that takes ``seconds`` are enough when time has run out."""
    return min(rounds, 3 if seconds > 2 else 7 if seconds > 0.05 else rounds)


def summary(times: Iterable[float], calls: int = 1) -> Timing:
    """Median and minimum of samples."""
    found = list(times)
    return Timing(statistics.median(found), min(found), len(found), calls)


def ratio(other: Timing, ours: Timing) -> float:
    """How many times longer ``other`` takes: the better of the ratio of medians and that of minima."""
    return max(other.median / ours.median, other.minimum / ours.minimum)


def _expected(function: Callable[[], object]) -> float:
    times = []
    for _ in range(2):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return max(min(times), 1e-7)


def _sample(function: Callable[[], object], calls: int) -> float:
    time.sleep(PAUSE)
    if calls > 1:
        start = time.perf_counter()
        while time.perf_counter() - start < WARM:
            function()
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


# -- the machine -----------------------------------------------------------------------------------------------------


def machine(packages: Iterable[str] = ("torch", "numpy", "islpy")) -> dict[str, object]:
    """Processor, caches, system, versions, threads, the load before we began, and the date (UTC), as JSON has it."""
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "caches": _caches(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "compiler": _compiler(),
        **{name: version(name) for name in packages},
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def version(package: str) -> str | None:
    """The version of an installed package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def caution(facts: Mapping[str, object]) -> str:
    """A sentence to print when the machine was already busy before we began (``facts`` taken then), else nothing."""
    load, cores = facts["load"], facts["cores"]
    if isinstance(load, float) and isinstance(cores, int) and load > 0.75 * cores:
        return f"Caution: the machine was busy (load {load} on {cores} cores); these times are not worth quoting."
    return ""


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _caches() -> dict[str, str]:
    """Sizes of the caches that the first core sees, as ``{"L1d": "32K", "L2": "1024K"}``; empty where the system does not say."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = ((index / part).read_text(encoding="ascii").strip() for part in ("level", "type", "size"))
        except OSError:
            continue
        letter = {"Data": "d", "Instruction": "i"}.get(kind, "")
        found[f"L{level}{letter}"] = size
    return found


def _compiler() -> str | None:
    """The first line of what the C compiler says it is; None without one."""
    from ..backends.build import find_compiler
    from ..compiler.diagnostics import CompileError

    try:
        command = find_compiler().split()
        said = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (CompileError, OSError, subprocess.SubprocessError):
        return None
    return said.partition("\n")[0]
