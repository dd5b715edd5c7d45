"""Calls in processes of their own, some at a time: what crashes or does not end costs only itself."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any


@dataclass(frozen=True)
class Failed:
    """Why a call gave nothing."""

    why: str


def apart(function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], *, processes: int, seconds: float) -> list[Any]:
    """What ``function`` gives for each of the ``calls``, or :class:`Failed`: it raised, its process ended, or took longer than ``seconds``."""
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload([function.__module__])  # imported once, not by each process
    waiting = list(enumerate(calls))[::-1]
    running: dict[Connection, tuple[int, Any, float]] = {}
    results: list[Any] = [None] * len(calls)
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                number, arguments = waiting.pop()
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_call, args=(theirs, function, arguments), daemon=True)
                process.start()
                theirs.close()
                running[ours] = (number, process, time.monotonic() + seconds)
            ready = wait(list(running), max(0.0, min(end for _, _, end in running.values()) - time.monotonic()))
            for pipe, (number, process, end) in list(running.items()):
                if pipe in ready:
                    try:
                        results[number] = pipe.recv()
                    except EOFError:
                        process.join()
                        results[number] = Failed(f"its process ended with exit code {process.exitcode}")
                elif time.monotonic() > end:
                    process.kill()
                    results[number] = Failed(f"it took more than {seconds:.0f} s")
                else:
                    continue
                process.join()
                pipe.close()
                del running[pipe]
    finally:
        for pipe, (_, process, _) in running.items():
            process.kill()
            process.join()
            pipe.close()
    return results


def _call(pipe: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the process that waits for us
    try:
        result = function(*arguments)
    except Exception as error:
        result = Failed(f"{type(error).__name__}: {error}")
    pipe.send(result)
    pipe.close()
