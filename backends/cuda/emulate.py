"""CUDA kernels run on the processor: the very text, with blocks, warps, barriers and shared memory as they are on a GPU.

Each CUDA thread is a fiber (``fibers.cpp``, compiled once), which runs until it waits. What a GPU would answer with wrong numbers, a hang
or a crash is an :class:`EmulationError` here, and with ``races`` on, so is every pair of accesses that no barrier orders (``races.h``).
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import shlex
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...compiler import options
from ...compiler.diagnostics import CompileError, DataError
from ..build import COMPILE_SECONDS, execute, fetch, first_installed, identity, install, processor, said
from ..scratch import Scratch
from .source import COUNTER, HEAD, CudaSource

HERE = Path(__file__).parent
HEADERS = ("on_cpu.h", "pointers_on_cpu.h", "math_on_cpu.h")
RUNTIME = ("fibers.cpp", "stacks.h", "warps.h", "races.h", HEADERS[0])
FLAGS = (
    "-march=native" if platform.machine() in ("x86_64", "AMD64") else "-mcpu=native", "-std=c++17", "-fPIC", "-shared", "-w",
    "-ffp-contract=off", "-fno-strict-aliasing", "-fno-exceptions", "-fstack-clash-protection",
)  # fmt: skip

#: What can go wrong, by the runtime's numbers.
KINDS = ("", "race", "barrier", "deadlock", "bounds", "warp", "alignment", "fault", "division", "stale", "misuse")
ORDERS = ("forward", "reverse", "random")


class EmulationError(RuntimeError):
    """A kernel did what a GPU does not forgive. ``kind`` is one of ``race barrier deadlock bounds warp alignment fault division stale misuse``;
    ``block`` and ``thread`` say who (-1: nobody in particular), ``other`` is the second thread of a race, as (block, thread)."""

    def __init__(self, message: str, kind: str, block: int, thread: int, other: tuple[int, int] | None) -> None:
        super().__init__(message)
        self.kind = kind
        self.block = block
        self.thread = thread
        self.other = other


@dataclass(frozen=True)
class Manner:
    """How kernels are run: the order in which the threads of a block take their turns (``forward``, ``reverse``, or ``random``, with the seed of
    the random one), and whether races and accesses beyond arrays are looked for."""

    order: str = "forward"
    seed: int = 0
    races: bool = False

    @classmethod
    def parse(cls, text: str) -> Manner:
        """From words with commas between, in any order: ``races,reverse``, ``random:7``. Raises DataError."""
        found = cls()
        for word in filter(None, (w.strip() for w in text.split(","))):
            name, _, number = word.partition(":")
            if word == "races":
                found = replace(found, races=True)
            elif name in ORDERS and (not number or (name == "random" and number.isdecimal())):
                found = replace(found, order=name, seed=int(number or 0))
            else:
                raise DataError(f"a manner of emulation is races, forward, reverse, random or random:SEED, not {word!r}")
        return found


class EmulatedLauncher:
    """Runs kernels as ``manner`` says; by default as the switch ``emulate`` does at the time of the launch."""

    def __init__(self, manner: Manner | None = None) -> None:
        self.manner = manner

    def launch(self, source: CudaSource, grid: int, call: Any, keep: Any) -> None:
        """Run ``grid`` blocks with the struct ``call`` (see :mod:`.source`). With races on, a kernel may touch nothing but the tensors in
        ``keep``, if there are any, and scratch memory begins as NaN. Raises EmulationError, and CompileError if there is no C++ compiler or it fails."""
        manner = self.manner or Manner.parse(options.current.emulate)
        together = source.meets and call[HEAD.index("blocks")] > 1
        names, extents = _operand_names(source, call), tuple(_extents(keep))
        if manner.races:
            _spoil(source, call, extents)
        run(source.text, source.name, [call], grid, source.threads, source.shared, together, manner, extents, names)


def emulate(
    text: str,
    name: str,
    arguments: Sequence[Any],
    *,
    grid: int,
    threads: int,
    shared: int = 0,
    together: bool = False,
    manner: Manner = Manner(),
) -> None:
    """Run the kernel ``name`` of a CUDA text on ``grid`` blocks of ``threads`` threads with ``shared`` bytes of dynamic shared memory.

    ``arguments`` are CPU tensors (for pointers), ctypes values, and Python numbers (``int`` is ``int64_t``, ``float`` is ``double``). With
    ``together`` all blocks of the grid run at once. Raises EmulationError, and CompileError if the text does not compile.
    """
    values: list[Any] = []
    for value in arguments:
        if hasattr(value, "data_ptr"):
            values.append(ctypes.c_void_p(value.data_ptr()))
        elif isinstance(value, (bool, int)):
            values.append(ctypes.c_int64(value))
        else:
            values.append(ctypes.c_double(value) if isinstance(value, float) else value)
    names = {v.data_ptr(): f"argument {n}" for n, v in enumerate(arguments) if hasattr(v, "data_ptr")}
    run(text, name, values, grid, threads, shared, together, manner, tuple(_extents(arguments)), names)


def run(
    text: str,
    name: str,
    arguments: Sequence[Any],
    grid: int,
    threads: int,
    shared: int,
    together: bool,
    manner: Manner,
    extents: Sequence[tuple[int, int]],
    names: Mapping[int, str],
) -> None:
    """As :func:`emulate`, with ctypes values as arguments, address ranges of global memory, and names of arrays by their addresses."""
    runtime, kernel = _runtime(), compiled(text, name, manner.races)
    parameters = (ctypes.c_void_p * max(1, len(arguments)))(*[ctypes.addressof(a) for a in arguments])
    bounds = (ctypes.c_int64 * max(1, 2 * len(extents)))(*[end for extent in extents for end in extent])
    report = _Report()
    wanted = _Options(
        ctypes.addressof(kernel.text), ctypes.addressof(parameters), grid, threads, shared, together, ORDERS.index(manner.order), manner.seed,
        manner.races, len(extents), ctypes.addressof(bounds),
    )  # fmt: skip
    if runtime(ctypes.byref(wanted), ctypes.byref(report)):
        raise _error(report, kernel, name, names)


# -- the interface of the runtime ------------------------------------------------------------------------------------------------


class _Options(ctypes.Structure):
    """``us_launch_options``."""

    _fields_ = (
        ("text", ctypes.c_void_p),
        ("parameters", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in "grid threads shared together order seed races ranges".split()),
        ("bounds", ctypes.c_void_p),
    )


class _Report(ctypes.Structure):
    """``us_report``."""

    _fields_ = (
        *((name, ctypes.c_int) for name in "kind block thread other_block other_thread line how other_how".split()),
        *((name, ctypes.c_int64) for name in ("address", "code", "other_code")),
        ("text", ctypes.c_char * 512),
    )


class _Text(ctypes.Structure):
    """``us_text``."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("kernel", "statics", "statics_end", "code"))


@dataclass(frozen=True)
class Emulated:
    """A kernel compiled for the processor, and the file it comes from."""

    text: _Text
    library: Any
    path: Path


_memory: dict[tuple[str, str, bool, str], Emulated] = {}
_lock = threading.RLock()


def compiled(text: str, name: str, races: bool) -> Emulated:
    """The kernel ``name`` of a CUDA text for the processor, compiled unless the cache has it. Raises CompileError."""
    compiler = find_compiler()
    place = (text, name, races, compiler)
    with _lock:
        found = _memory.get(place)
        if found is None:
            found = _memory[place] = _compiled(text, name, races, compiler)
        return found


def _compiled(text: str, name: str, races: bool, compiler: str) -> Emulated:
    # with races most of the time goes to compiling, else to running
    flags = [*FLAGS, *(["-O0", "-DUS_RACES", "-g1"] if races else ["-O1"]), f"-I{HERE}", "-DUS_ON_CPU", "-include", HEADERS[0]]
    whole = f"{text}\nUS_KERNEL({name})\n"
    key = _key(compiler, whole, " ".join([*FLAGS, str(races)]), *(_header(h) for h in HEADERS))
    found: Emulated = _cached(key, whole, flags, compiler, _load)
    return found


@lru_cache(maxsize=1)
def _runtime() -> Any:
    """The runtime's ``us_launch``, compiled once for this machine."""
    compiler = find_compiler()
    key = _key(compiler, " ".join(FLAGS), *(_header(h) for h in RUNTIME))
    return _cached(key, _header(RUNTIME[0]), [*FLAGS, "-O2", f"-I{HERE}"], compiler, _load_runtime)


def _key(compiler: str, *parts: str) -> str:
    return hashlib.sha256("\0".join([*parts, identity(compiler), processor()]).encode()).hexdigest()[:40]


def _cached(key: str, text: str, flags: Sequence[str], compiler: str, load: Any) -> Any:
    found = fetch(key, ".so", load)
    return install(_compile(text, flags, compiler), key, ".so", load) if found is None else found


@lru_cache(maxsize=8)
def _header(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _load(path: Path) -> Emulated | None:
    try:
        library = ctypes.CDLL(str(path))
        describe = library["us_describe"]
    except (OSError, AttributeError):
        return None
    text = _Text()
    describe(ctypes.byref(text))
    return Emulated(text, library, path)


def _load_runtime(path: Path) -> Any:
    try:
        launch = ctypes.CDLL(str(path))["us_launch"]
    except (OSError, AttributeError):
        return None
    launch.restype = ctypes.c_int
    return launch


def find_compiler() -> str:
    """The C++ compiler: ``$CXX``, else c++, g++ or clang++. Raises CompileError if there is none."""
    wanted = options.current.cxx
    found = first_installed(wanted, "c++", "g++", "clang++")
    if found is not None:
        return found
    tried = f"the compiler {wanted!r} that CXX names was not found" if wanted else "no C++ compiler found (tried c++, g++, clang++)"
    raise CompileError(f"target emulated needs a C++ compiler: {tried}")


def _compile(text: str, flags: Sequence[str], compiler: str) -> bytes:
    """The shared object of a C++ text."""
    with Scratch("build") as folder:
        (folder / "kernel.cpp").write_text(text, encoding="utf-8")
        command = [*shlex.split(compiler), *flags, "kernel.cpp", "-o", "kernel.so"]
        code, out, err = execute(command, folder, COMPILE_SECONDS)
        if code == 0:
            return (folder / "kernel.so").read_bytes()
    raise CompileError(f"the C++ compiler failed ({shlex.join(command)}):\n{said(err, out, f'exit code {code}')}")


# -- errors -------------------------------------------------------------------------------------------------------------------------


def _error(report: _Report, kernel: Emulated, name: str, names: Mapping[int, str]) -> EmulationError:
    """What the runtime tells, in words: who, where, which array and element, in which lines of the text."""
    kind = KINDS[report.kind]
    other = (report.other_block, report.other_thread) if report.other_thread >= 0 else None
    who = f"thread {report.thread} of block {report.block}" if report.thread >= 0 else "the launch"
    what = report.text.decode(errors="replace")
    lines = _lines(kernel, [report.code, report.other_code]) if report.code else ["", ""]
    if kind == "race":
        verbs = {0: "reads", 1: "writes", 2: "changes by an atomic"}
        where = _place(report.address, report.line, report.how, names)
        assert other is not None
        message = (
            f"race: {who} {verbs[report.how & 3 if report.how & 3 < 3 else 0]} {where}{lines[0]}, which thread {other[1]} of block {other[0]} "
            f"{verbs[report.other_how & 3]}{lines[1]}; nothing orders the two"
        )
    else:
        place = f" (line {report.line})" if report.line else lines[0]
        if kind in ("bounds", "stale", "alignment") and report.address:
            place += f" ({_place(report.address, 0, report.how, names)})"
        message = f"{kind}: {who}: {what}{place}"
        if other is not None:
            message += f"; the other is thread {other[1]} of block {other[0]}"
    return EmulationError(f"kernel {name}: {message}", kind, report.block, report.thread, other)


def _place(address: int, size: int, how: int, names: Mapping[int, str]) -> str:
    """An address in words: the array that begins last before it."""
    if how & 4:
        return f"shared memory, {address} bytes behind its start" + (f" (element {address // size})" if size else "")
    before = [start for start in names if start <= address]
    if not before:
        return f"address {address:#x}"
    start = max(before)
    return f"{names[start]}, {address - start} bytes behind its start" + (f" (element {(address - start) // size})" if size else "")


def _lines(kernel: Emulated, codes: Sequence[int]) -> list[str]:
    """``" in line 12"`` for places in the code, as offsets; empty where that cannot be found out."""
    tool = shutil.which("addr2line") or shutil.which("llvm-addr2line")
    base = _base(kernel.path)
    if tool is None or base is None:
        return ["" for _ in codes]
    addresses = [hex(kernel.text.code + code - base - 1) for code in codes]
    status, out, _ = execute([tool, "-a", "-i", "-e", str(kernel.path), *addresses], None, 60.0)
    found = [re.search(r"kernel\.cpp:(\d+)", part) for part in re.split(r"^0x[0-9a-f]+$", out, flags=re.M)[1:]]
    return [f" in line {m[1]}" if m else "" for m in found] if status == 0 and len(found) == len(codes) else ["" for _ in codes]


def _base(path: Path) -> int | None:
    """Where a library is loaded: its first mapping."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    starts = [int(line.split("-")[0], 16) for line in maps.splitlines() if line.endswith(str(path.resolve()))]
    return min(starts, default=None)


def _extents(keep: Any) -> Iterator[tuple[int, int]]:
    """Address ranges of the tensors in nested sequences."""
    if hasattr(keep, "untyped_storage"):
        if keep.numel():
            last = sum((size - 1) * stride for size, stride in zip(keep.shape, keep.stride()))
            yield keep.data_ptr(), keep.data_ptr() + (last + 1) * keep.element_size()
    elif isinstance(keep, Iterable) and not isinstance(keep, (str, bytes, ctypes.Array)):
        for part in keep:
            yield from _extents(part)


def _operand_names(source: CudaSource, call: Any) -> dict[int, str]:
    """Names of the arrays of a call by their addresses."""
    scratch = call[HEAD.index("scratch")]
    count = (len(call) - len(HEAD) - max(1, len(source.integers))) // 3
    return {**{call[len(HEAD) + n]: f"operand {n}" for n in range(count)}, **({scratch: "scratch memory"} if scratch else {})}


def _spoil(source: CudaSource, call: Any, extents: Sequence[tuple[int, int]]) -> None:
    """Bytes that are no number in the scratch memory of a call, counters aside."""
    start, flag = call[HEAD.index("scratch")], call[HEAD.index("failed")]
    for begin, end in extents:
        if begin <= start < end:
            start += call[HEAD.index("teams")] * COUNTER if source.meets else 0
            ctypes.memset(start, 0xFF, max(0, (flag if start <= flag < end else end) - start))


def _after_fork() -> None:
    """In a forked process: a lock that another thread of the parent held would stay locked for ever."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
