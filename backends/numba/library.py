"""What generated modules import: dtypes, intrinsics, the work that threads share, and the run-time library, by name.

The functions of the run-time library are made when they are first asked for.
"""

from __future__ import annotations

from functools import cache
from math import inf, nan
from typing import Any

import numba
import numpy as np

from . import scalars, vectors
from .memory import VIEW
from .pipeline import Pipeline
from .runtime import lookup
from .threads import (
    atomic_add,
    atomic_exchange,
    atomic_load,
    atomic_store,
    call_integer,
    go_elsewhere,
    patience,
    pause,
    processor,
    sleep,
    ticks,
    wake,
)

del scalars, vectors  # importing them filled the table

_ROUTINES = ("us_topk_", "us_argsort_")

__all__ = ["c64", "c128", "compiled", "f32", "f64", "i8", "i16", "i32", "i64", "inf", "nan", "u8"]

f32, f64, c64, c128 = np.float32, np.float64, np.complex64, np.complex128
i8, i16, i32, i64, u8 = np.int8, np.int16, np.int32, np.int64, np.uint8

#: How generated functions are compiled.
compiled: Any = numba.njit(
    error_model="numpy", nogil=True, boundscheck=False, fastmath=False, no_cpython_wrapper=True, no_cfunc_wrapper=True,
    pipeline_class=Pipeline,
)


@compiled  # type: ignore[untyped-decorator]
def us_share(trips: Any, grain: Any, member: Any, size: Any) -> Any:
    """The part of ``trips`` iterations that thread ``member`` of ``size`` takes, in whole multiples of ``grain``."""
    grains = (trips + grain - 1) // grain
    return min(grains * member // size * grain, trips), min(grains * (member + 1) // size * grain, trips)


@compiled  # type: ignore[untyped-decorator]
def us_part(grains: Any, member: Any, size: Any, first: Any) -> Any:
    """How many of the grains the threads before one have, by the share of the work that they have."""
    if member == 0 or member == size:
        return grains if member else 0
    part = member / size
    return i64(grains * (part / (first + np.sqrt(first * first + (1.0 - 2.0 * first) * part))) + 0.5)


@compiled  # type: ignore[untyped-decorator]
def us_share_uneven(trips: Any, grain: Any, member: Any, size: Any, first: Any) -> Any:
    """As :func:`us_share`, where the work of iterations goes evenly from ``first`` for the first one to ``1 - first`` for the last one."""
    grains = (trips + grain - 1) // grain
    low, high = us_part(grains, member, size, first), us_part(grains, member + 1, size, first)
    return min(low * grain, trips), min(high * grain, trips)


@compiled  # type: ignore[untyped-decorator]
def us_wait(team: Any, phase: Any) -> None:
    """Wait for the end of a phase. A thread watches for about as long as waking one takes, then sleeps, so that on a busy machine those who
    are waited for get the processor."""
    begin, limit = ticks(), patience()
    while atomic_load(team, 16) == phase and ticks() - begin < limit:
        pause()
    if atomic_load(team, 16) == phase:
        atomic_add(team, 17, 1)
        while atomic_load(team, 16) == phase:
            sleep(team, 16, phase)
        atomic_add(team, 17, -1)


@compiled  # type: ignore[untyped-decorator]
def us_open(team: Any) -> None:
    """End a phase: those who wait for that go on."""
    atomic_add(team, 16, 1)  # before it looks for sleepers, who look at the phase once they are counted
    if atomic_load(team, 17) != 0:
        wake(team, 16)


@compiled  # type: ignore[untyped-decorator]
def us_meet(team: Any) -> None:
    """Note where a thread comes to a meeting; go apart from who came before (see c_team.h, us_apart)."""
    here = processor()
    if here != 0 and atomic_exchange(team, 1, here) == here and atomic_exchange(team, 2, 1) == 0:
        go_elsewhere(here)


@compiled  # type: ignore[untyped-decorator]
def us_barrier(team: Any, size: Any) -> None:
    """Wait for the team. ``team[0]`` counts who has arrived, ``team[1]`` is the processor of the last one, ``team[2]`` whether two had
    the same, ``team[16]`` counts the meetings, ``team[17]`` who sleeps."""
    if size > 1:
        phase = atomic_load(team, 16)
        us_meet(team)
        if atomic_add(team, 0, 1) == size - 1:
            atomic_store(team, 0, 0)
            atomic_store(team, 1, 0)
            us_open(team)
        else:
            us_wait(team, phase)


@compiled  # type: ignore[untyped-decorator]
def us_leave(end: Any, thread: Any, size: Any) -> None:
    """The end of a call: the first thread waits until the others are done. What OpenMP does there would keep the processor busy for much
    longer, and they could not become done if they wait for that one."""
    if size > 1:
        us_meet(end)
        if thread == 0:
            us_wait(end, 0)
        elif atomic_add(end, 0, 1) == size - 2:
            us_open(end)


@compiled  # type: ignore[untyped-decorator]
def us_threads(get_num_threads: Any, get_thread_num: Any) -> Any:
    """How many threads have come and which one this is, by OpenMP's functions; address 0 stands for one thread."""
    if get_num_threads == 0:
        return 1, 0
    return call_integer(get_num_threads), call_integer(get_thread_num)


@cache
def _routine(name: str) -> Any:
    """A routine on rows of arrays, of which kernels have pointers."""
    routine, view = lookup(name), VIEW

    def us_topk_mask(mask: Any, values: Any, count: Any, rows: Any, n: Any, failed: Any, number: Any) -> None:
        routine(view(mask, rows * n, None), view(values, rows * n, None), count, rows, n, failed, number)

    def us_topk(best: Any, index: Any, mask: Any, values: Any, rows: Any, n: Any, count: Any) -> None:
        found = view(best, rows * count, None), view(index, rows * count, None)
        routine(*found, view(mask, rows * n, None), view(values, rows * n, None), rows, n, count)

    def us_argsort(index: Any, values: Any, rows: Any, n: Any, descending: Any) -> None:
        routine(view(index, rows * n, None), view(values, rows * n, None), rows, n, descending)

    made = {f.__name__: f for f in (us_topk_mask, us_topk, us_argsort)}
    return compiled(made[name.rpartition("_")[0]])


def __getattr__(name: str) -> Any:
    try:
        return _routine(name) if name.startswith(_ROUTINES) else lookup(name)
    except KeyError:
        raise AttributeError(f"the run-time library of target numba has no {name}") from None
