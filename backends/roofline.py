"""What this machine can do at most: fused multiply-adds per second, and bytes per second out of each level of memory.

Measured, in about a second, when somebody asks (``dsl explain``, the benchmarks), never when a program is compiled. The figures are kept in the
cache folder for the processor and the cores in use. Williams, Waterman and Patterson, Roofline, CACM 52(4), 2009.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..compiler import options
from ..compiler.diagnostics import CompileError
from ..compiler.target import Machine
from .build import build, machine, processor
from .c_runtime import C_TYPES, prelude
from .scratch import write_whole

#: Of the form of the file; another form is measured anew.
FORMAT = 1
DTYPES = ("f64", "f32")
#: From near to far. A level that the machine has not is left out.
LEVELS = ("l1", "l2", "l3", "dram")
#: Seconds of one sample, and how many of which the best counts.
SAMPLE, SAMPLES = 0.006, 4
#: Bytes that surely lie in memory.
LEAST_DRAM, MOST_DRAM = 64 << 20, 512 << 20


@dataclass(frozen=True)
class Roofline:
    """The limits of ``cores`` cores together, and of one: ``flops`` and ``flops_core``, operations per second by dtype (a fused
    multiply-add counts as two); ``bandwidth`` and ``bandwidth_core``, bytes per second by level (``l1``, ``l2``, ``l3``, ``dram``).
    ``source`` is what measured: ``c``, or ``torch`` where there is no C compiler (then the flops are a matrix product's)."""

    cores: int
    flops: Mapping[str, float]
    flops_core: Mapping[str, float]
    bandwidth: Mapping[str, float]
    bandwidth_core: Mapping[str, float]
    source: str

    def seconds(self, flops: float, traffic: Mapping[str, float], dtype: str = "f64", *, one_core: bool = False) -> float:
        """The least time for so many operations and so many bytes out of each level: the greatest of the single times.

        A level that this machine has not counts as the next farther one. Raises KeyError for an unknown dtype or level.
        """
        peak, speed = (self.flops_core, self.bandwidth_core) if one_core else (self.flops, self.bandwidth)
        return max([flops / peak[dtype], *(count / speed[self.level(name)] for name, count in traffic.items())])

    def level(self, name: str) -> str:
        """The level itself, or the next farther one that this machine has."""
        return (
            next(known for known in LEVELS[LEVELS.index(name) :] if known in self.bandwidth) if name in LEVELS else _unknown(name)
        )

    def ridge(self, dtype: str = "f64", level: str = "dram") -> float:
        """Operations per byte above which the arithmetic is the limit."""
        return self.flops[dtype] / self.bandwidth[self.level(level)]


def _unknown(name: str) -> str:
    raise KeyError(f"{name!r} is none of {', '.join(LEVELS)}")


_memory: dict[str, Roofline] = {}


def roofline(*, fresh: bool = False) -> Roofline:
    """The machine's limits: as measured before in this process or on disk, else measured now; ``fresh``: measured now."""
    key = hashlib.sha256(f"{processor()}\0{machine()}".encode()).hexdigest()[:40]
    path = None if options.current.cache is None else options.current.cache / f"roofline-{key}.json"
    if not fresh:
        found = _memory.get(key) or _read(path)
        if found is not None:
            _memory[key] = found
            return found
    _memory[key] = measured = measure(machine())
    if path is not None:
        try:
            write_whole(path, json.dumps({"format": FORMAT, **asdict(measured)}, indent=1).encode())
        except OSError as error:
            warnings.warn(f"the measured limits of this machine cannot be kept in {path.parent}: {error.strerror}", stacklevel=2)
    return measured


def _read(path: Path | None) -> Roofline | None:
    """What was kept; None if there is nothing, or something else."""
    if path is None:
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            return None
        found = Roofline(**content)
        tables = ((found.flops, DTYPES), (found.flops_core, DTYPES), (found.bandwidth, LEVELS), (found.bandwidth_core, LEVELS))
        sound = all(t and set(t) <= set(names) and all(0 < v < math.inf for v in t.values()) for t, names in tables)
        return found if sound and set(found.flops) == set(found.flops_core) == set(DTYPES) and "dram" in found.bandwidth else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None  # damaged, or of another version


# -- measuring -------------------------------------------------------------------------------------------------------

#: A function ``(thread, repeats)`` that does something ``repeats`` times.
Work = Callable[[int, int], object]


def measure(m: Machine) -> Roofline:
    """Measure now."""
    try:
        lab: _Lab = _Lab(m)
    except CompileError:
        return _by_torch(m)
    with _Team(m.cores) as team:
        flops = [{d: lab.peak(team, threads, d) for d in DTYPES} for threads in (m.cores, 1)]
        bandwidth = [{level: lab.bandwidth(team, threads, level) for level in lab.levels} for threads in (m.cores, 1)]
    return Roofline(m.cores, flops[0], flops[1], bandwidth[0], bandwidth[1], "c")


class _Team:
    """Threads that are bound to a core each, where the system knows of binding: two on one core would measure half of the machine."""

    def __init__(self, size: int) -> None:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
        self.threads = [ThreadPoolExecutor(1, initializer=self._bind, initargs=(cores[i : i + 1],)) for i in range(size)]

    @staticmethod
    def _bind(cores: list[int]) -> None:
        if cores:
            os.sched_setaffinity(0, cores)

    def seconds(self, count: int, work: Work, repeats: int) -> float:
        """How long ``count`` threads need for ``work(thread, repeats)`` each, side by side."""
        start = time.perf_counter()
        for done in [thread.submit(work, number, repeats) for number, thread in enumerate(self.threads[:count])]:
            done.result()
        return time.perf_counter() - start

    def __enter__(self) -> _Team:
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self.threads:
            thread.shutdown()


def rate(seconds: Callable[[int], float]) -> float:
    """Repetitions per second, the best of some samples, of what needs ``seconds(repeats)``."""
    repeats = 1
    while (spent := min(seconds(repeats), seconds(repeats))) < SAMPLE:  # one alone may have been interrupted
        repeats = max(2 * repeats, min(16 * repeats, int(1.5 * repeats * SAMPLE / max(spent, 1e-9))))
    return repeats / min(spent, *(seconds(repeats) for _ in range(SAMPLES)))


class _Lab:
    """The generated functions and the memory they walk over. Raises CompileError without a C compiler."""

    def __init__(self, m: Machine) -> None:
        self.machine = m
        self.function = build(source(m), "roofline").kernel
        most = m.l3 if m.l3 > m.l2 else 0
        self.bytes = max(LEAST_DRAM, min(MOST_DRAM, 4 * most))
        self.memory = torch.ones(self.bytes // 8, dtype=torch.float64)
        self.sink = torch.zeros(64 * m.cores, dtype=torch.float64)
        self.levels = [level for level in LEVELS if level != "l3" or most]

    def call(self, what: int, offset: int, elements: int, thread: int, repeats: int) -> None:
        """Run one of the functions on a part of the memory."""
        pointers = (ctypes.c_void_p * 2)(self.memory.data_ptr() + 8 * offset, self.sink.data_ptr() + 512 * thread)
        self.function(what, elements, repeats, pointers, None, None, None, None)

    def peak(self, team: _Team, threads: int, dtype: str) -> float:
        """Operations per second in registers."""
        steps = 1000
        operations = 2 * steps * self.machine.accumulators * self.machine.lanes(dtype)
        what = DTYPES.index(dtype)

        def work(thread: int, repeats: int) -> None:
            self.call(what, 0, steps, thread, repeats)

        return operations * threads * rate(partial(team.seconds, threads, work))

    def bandwidth(self, team: _Team, threads: int, level: str) -> float:
        """Bytes per second: of reading alone, or of reading two arrays and writing one, whichever is more."""
        m, share = self.machine, self.bytes // threads
        within = {"l1": m.l1 // 2, "l2": m.l2 // 2, "l3": max(m.l3 // 2 // threads, 3 * m.l2 // 2), "dram": share}[level]
        elements = min(within, share) // 8 // 192 * 192  # in whole vectors, and in three parts
        best = 0.0
        for what in (2, 3):

            def work(thread: int, repeats: int, what: int = what) -> None:
                self.call(what, thread * (share // 8 // 192 * 192), elements, thread, repeats)

            best = max(best, 8 * elements * threads * rate(partial(team.seconds, threads, work)))
        return best


def source(m: Machine) -> str:
    """The C file: sums in registers by fused multiply-adds, reading an array, and a = b + s c over thirds of it."""
    body = "\n".join([*(_peak(m, dtype) for dtype in DTYPES), _memory_functions(m), _ENTRY])
    return prelude(body) + body


def _peak(m: Machine, dtype: str) -> str:
    kind, lanes = C_TYPES[dtype], m.lanes(dtype)
    vector, names = (f"us_{dtype}x{lanes}", range(m.accumulators))
    lines = [f"static void peak_{dtype}(int64_t steps, double *sink) {{"]
    lines += [
        f"  const {vector} a = us_splat_{dtype}x{lanes}(({kind})0.9999), b = us_splat_{dtype}x{lanes}(({kind})0.0001 + ({kind})sink[0]);"
    ]
    lines += [f"  {vector} s{i} = us_splat_{dtype}x{lanes}(({kind}){i});" for i in names]
    lines += ["  for (int64_t k = 0; k < steps; k++) {"]
    lines += [f"    s{i} = us_fma_{dtype}x{lanes}(s{i}, a, b);" for i in names]
    lines += [
        "  }",
        f"  const {vector} sum = {' + '.join(f's{i}' for i in names)};",
        f"  for (int i = 0; i < {lanes}; i++) sink[1] += 1e-30 * sum[i];",
    ]
    return "\n".join([*lines, "}"])


def _memory_functions(m: Machine) -> str:
    lanes, sums = m.lanes("f64"), range(8)
    load, vector = f"us_load_f64x{lanes}", f"us_f64x{lanes}"
    lines = ["static void read(const double *x, int64_t n, double *sink) {"]
    lines += [f"  {vector} s{i} = us_splat_f64x{lanes}(0);" for i in sums]
    lines += [f"  for (int64_t k = 0; k < n; k += {8 * lanes}) {{"]
    lines += [f"    s{i} += {load}(x + k + {i * lanes});" for i in sums]
    lines += [
        "  }",
        f"  const {vector} sum = {' + '.join(f's{i}' for i in sums)};",
        f"  for (int i = 0; i < {lanes}; i++) sink[1] += sum[i];",
        "}",
    ]
    lines += ["static void triad(double *restrict a, const double *restrict b, const double *restrict c, int64_t n, double s) {"]
    lines += [f"  const {vector} t = us_splat_f64x{lanes}(s);", f"  for (int64_t k = 0; k < n; k += {lanes})"]
    lines += [f"    us_store_f64x{lanes}(a + k, us_fma_f64x{lanes}({load}(c + k), t, {load}(b + k)));", "}"]
    return "\n".join(lines)


_ENTRY = """
int roofline(int64_t what, int64_t n, int64_t repeats, void *const *pointers, const int64_t *b, const int64_t *t, const int64_t *i, void *w) {
  double *memory = pointers[0], *sink = pointers[1];
  for (int64_t r = 0; r < repeats; r++) {
    if (what == 0) peak_f64(n, sink);
    else if (what == 1) peak_f32(n, sink);
    else if (what == 2) read(memory, n, sink);
    else triad(memory, memory + n / 3, memory + 2 * (n / 3), n / 3, sink[0]);
  }
  return 0;
}
int64_t roofline_workspace(int64_t teams, int64_t size, const int64_t *integers) { return 0; }
"""


def _by_torch(m: Machine) -> Roofline:
    """Without a C compiler: a matrix product of torch, and sums over arrays of the sizes of the levels; for one core the share of it."""
    flops, bandwidth = {}, {}
    for dtype, kind in (("f64", torch.float64), ("f32", torch.float32)):
        a = torch.ones(1024, 1024, dtype=kind)
        flops[dtype] = 2 * 1024**3 * rate(partial(_repeated, partial(torch.mm, a, a)))
    threads = torch.get_num_threads()
    for level, size in (("l1", m.l1 // 2), ("l2", m.l2 // 2), ("l3", m.l3 // 2), ("dram", min(MOST_DRAM, 4 * m.l3))):
        x = torch.ones(max(1024, (size * threads if level in ("l1", "l2") else size) // 8), dtype=torch.float64)
        bandwidth[level] = 8 * len(x) * rate(partial(_repeated, x.sum))
    one = 1 / max(1, min(m.cores, threads))
    return Roofline(
        m.cores, flops, {d: v * one for d, v in flops.items()}, bandwidth, {n: v * one for n, v in bandwidth.items()}, "torch"
    )


def _repeated(function: Callable[[], Any], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return time.perf_counter() - start
