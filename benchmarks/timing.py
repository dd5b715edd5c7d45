"""Timing several functions against each other fairly: interleaved, warmed up, medians."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch


def interleaved(
    functions: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 15,
    seconds: float = 20.0,
    on_round: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """The median time in seconds of one call of each function.

    Every round calls each function for at least 10 ms, one after the other, so that a slow moment of
    the machine hits all of them. Stops after ``rounds``, or, with three rounds at least, after ``seconds``.
    """
    calls = {name: _calls(function) for name, function in functions.items()}
    samples: dict[str, list[float]] = {name: [] for name in functions}
    end = time.perf_counter() + seconds
    for number in range(rounds):
        if number >= 3 and time.perf_counter() > end:
            break
        for name, function in functions.items():
            time.sleep(0.002)  # threads of the function before go idle
            start = time.perf_counter()
            for _ in range(calls[name]):
                function()
            samples[name].append((time.perf_counter() - start) / calls[name])
        on_round()
    return {name: statistics.median(times) for name, times in samples.items()}


def _calls(function: Callable[[], object]) -> int:
    function()
    start = time.perf_counter()
    function()
    return max(1, min(100, int(0.01 / (time.perf_counter() - start))))


def machine() -> dict[str, object]:
    """What a figure is worth nothing without."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def caution(facts: dict[str, object]) -> str:
    """A sentence to print when the machine was already busy before we began (``facts`` taken then), else nothing."""
    load, cores = facts["load"], facts["cores"]
    if isinstance(load, float) and isinstance(cores, int) and load > 0.75 * cores:
        return f"Caution: the machine was busy (load {load} on {cores} cores); these times are not worth quoting."
    return ""


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
