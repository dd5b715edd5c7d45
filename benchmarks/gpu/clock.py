"""Timing on a GPU: a sample is several calls between two CUDA events; where a peer has a stream of its own, between two waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from unspool.dsl.timing import Timing, in_turn

#: A sample of a short function is the mean of several calls, together this many seconds.
SAMPLE = 0.01
#: Fewer calls would be timed with what starting them costs.
CALLS = 200


def interleaved(functions: Mapping[str, Callable[[], object]], *, rounds: int = 15, seconds: float = 10.0) -> dict[str, Timing]:
    """As :func:`unspool.dsl.timing.interleaved`: seconds of a call of each, in turn, medians and minima."""
    expected = {name: _sample(function, 3) for name, function in functions.items() if _sample(function, 2)}
    calls = {name: max(1, min(CALLS, int(SAMPLE / expected[name]))) for name in functions}
    return in_turn(functions, expected, calls, _sample, rounds=rounds, seconds=seconds)


def _sample(function: Callable[[], object], calls: int) -> float:
    if "jax" in type(function()).__module__ or not torch.cuda.is_available():
        return _waited(function, calls)
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    for _ in range(calls):
        function()
    stop.record()
    stop.synchronize()
    return float(start.elapsed_time(stop)) / 1e3 / calls


def _waited(function: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / calls


def captured(make: Callable[[], Callable[[], Any]]) -> Callable[[], Callable[[], Any]]:
    """What a contestant does, captured in a CUDA graph and replayed."""

    def prepare() -> Callable[[], Any]:
        function = make()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                function()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = function()

        def run() -> Any:
            graph.replay()
            return result

        return run

    return prepare
