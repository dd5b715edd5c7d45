"""C source to loaded functions: find the compiler, compile, cache on disk, load.

A cached kernel is one file, ``KEY-DIGEST.so`` (``.o`` from numba): KEY stands for the source, the flags, the compiler and the processor, DIGEST
for the file's own bytes. Files appear by renaming, so that other processes see a whole one or none; a file whose
bytes do not match its name, or that does not load, is removed and built again.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from ..compiler import options
from ..compiler.diagnostics import CompileError
from ..compiler.target import Machine
from .caches import cache_sizes, usable_cores
from .scratch import Scratch, remove_old, write_whole

T = TypeVar("T")

FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared", "-w")


#: How long a compiler may take to say its version, and to compile one kernel.
VERSION_SECONDS, COMPILE_SECONDS = 60.0, 600.0
#: Lines of a compiler's message that an error shows.
SHOWN = 20


@dataclass
class Statistics:
    """What builds did in this process: kernels compiled, found on disk, found in memory, and files thrown away."""

    compiled: int = 0
    hits: int = 0
    loaded: int = 0
    corrupted: int = 0


@dataclass(frozen=True)
class Built:
    """The functions of a kernel (see :mod:`.cpu` for their interface) and the file they come from."""

    kernel: Any
    workspace: Any
    path: Path


statistics = Statistics()
_memory: dict[str, Built] = {}
_lock = threading.RLock()
_warned: set[str] = set()


@lru_cache(maxsize=1)
def processor() -> str:
    """The processor's model and features as text."""
    wanted = ("vendor_id", "cpu family", "model", "flags", "Features", "CPU implementer", "CPU part")
    found: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in wanted:
                found.setdefault(key.strip(), value.strip())
    except OSError:
        found["model"] = f"{platform.processor()} {platform.release()}"
    return f"{platform.machine()}; " + "; ".join(f"{k}: {v}" for k, v in sorted(found.items()))


@lru_cache(maxsize=1)
def machine() -> Machine:
    """This processor: its vector registers, the cores this process may use, its data caches (defaults where the system does not tell)."""
    features = set(processor().replace(":", " ").replace(";", " ").split())
    if "avx512f" in features:
        vectors = (64, 32)
    elif features & {"avx2", "avx"}:
        vectors = (32, 16)
    else:
        vectors = (16, 32 if platform.machine() in ("aarch64", "arm64") else 16)
    return Machine(*vectors, cores=usable_cores(), **{f"l{level}": size for level, size in cache_sizes().items() if level <= 3})


def find_compiler() -> str:
    """The C compiler: ``$CC``, else cc, gcc or clang. Raises CompileError if there is none."""
    wanted = options.current.compiler
    found = first_installed(wanted, "cc", "gcc", "clang")
    if found is not None:
        return found
    tried = f"the compiler {wanted!r} that CC names was not found" if wanted else "no C compiler found (tried cc, gcc, clang)"
    raise CompileError(f"{tried}; install one, set CC, or use target='numba' or target='interpreter'")


def first_installed(wanted: str, *names: str) -> str | None:
    """The first of some commands that there is; where one is ``wanted`` (with its options), that or none."""
    for name in [wanted] if wanted else names:
        words = shlex.split(name)
        if words and shutil.which(words[0]):
            return name
    return None


def said(*told: str) -> str:
    """The first lines of what a compiler that failed has told: of the first text that is not empty."""
    return "\n".join(next(filter(None, map(str.strip, told)), "").splitlines()[:SHOWN])


@lru_cache(maxsize=8)
def identity(compiler: str) -> str:
    """What a compiler says it is."""
    words = shlex.split(compiler)
    code, out, err = execute([*words, "--version"], None, VERSION_SECONDS)
    if code:
        raise CompileError(f"the C compiler {compiler!r} does not run: exit code {code} {err.strip()[:500]}".rstrip())
    return f"{shutil.which(words[0])} {out}"


def execute(command: list[str], folder: Path | None, seconds: float) -> tuple[int, str, str]:
    """Exit code, output and errors of a command, which is killed with all it has started when it takes too long.

    Raises CompileError if it does not start, or does not end in time.
    """
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    try:
        process = subprocess.Popen(command, cwd=folder, start_new_session=True, errors="replace", **streams)
    except OSError as error:
        raise CompileError(f"the C compiler {command[0]!r} does not run: {error.strerror}") from None
    try:
        out, err = process.communicate(timeout=seconds)
    except BaseException as error:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # a compiler is a driver: what it started holds our pipes
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise CompileError(f"the C compiler {command[0]!r} did not end within {seconds:.0f} s") from None
        raise
    return process.returncode, out, err


def flags(vector_bytes: int) -> tuple[str, ...]:
    """The compiler's options for this processor."""
    x86 = platform.machine() in ("x86_64", "AMD64")
    return (
        *FLAGS,
        "-march=native" if x86 else "-mcpu=native",
        *(["-mprefer-vector-width=512"] if x86 and vector_bytes >= 64 else []),
    )


def build(source: str, name: str) -> Built:
    """The functions ``name`` and ``name_workspace`` of a C source, compiled unless the cache has them.

    Raises CompileError if there is no compiler or it fails.
    """
    compiler = find_compiler()
    options_used = flags(machine().vector_bytes)
    text = "\0".join([source, name, *options_used, identity(compiler), processor()])
    key = hashlib.sha256(text.encode()).hexdigest()[:40]
    with _lock:
        if key in _memory:
            statistics.loaded += 1
            return _memory[key]
        made = fetch(key, ".so", lambda path: _load(path, name))
        if made is None:
            made = install(_compile(source, compiler, options_used), key, ".so", lambda path: _load(path, name))
        _memory[key] = made
        return made


def object_code(source: str, name: str) -> bytes:
    """The bytes of the shared object of a source, built unless the cache has it."""
    return read_back(lambda: build(source, name).path, forget, name)


def read_back(built: Callable[[], Path], forget: Callable[[], None], name: str) -> bytes:
    """The bytes of the file of a kernel, as they were written to the cache. Raises CompileError."""
    for _ in range(2):
        path = built()
        try:
            binary = path.read_bytes()
        except OSError:
            binary = b""
        if path.stem.endswith(f"-{_digest(binary)}"):
            return binary
        forget()  # the file was removed or damaged while its code is loaded: once more
    raise CompileError(f"the compiled kernel {name} cannot be read back from {path}")


def load_object(binary: bytes, name: str) -> Built:
    """The functions of a shared object that was built before. Raises CompileError if it does not load here."""
    reason = "it has not the functions of a kernel"
    for place in (_private_folder(), options.current.cache):
        if place is None:
            continue
        try:
            path = _write(binary, place, "stored", ".so")
            ctypes.CDLL(str(path))
        except OSError as error:  # nothing may be executed there, or a library is missing
            reason = str(error)
            continue
        found = _load(path, name)
        if found is not None:
            return found
    raise CompileError(f"its shared object does not load: {reason}")


def forget() -> None:
    """Drop the kernels held in memory, so that the next build looks on disk."""
    with _lock:
        _memory.clear()


# -- the cache -------------------------------------------------------------------------------------------------------


def _cache_folder(key: str) -> Path | None:
    cache = options.current.cache
    return None if cache is None else cache / "kernels" / key[:2]


def fetch(key: str, suffix: str, load: Callable[[Path], T | None]) -> T | None:
    """A kernel from the cache; None if it is not there. A damaged file is removed. ``load`` gives None for what is no kernel."""
    folder = _cache_folder(key)
    try:
        paths = sorted(folder.glob(f"{key}-*{suffix}")) if folder else []
    except OSError:
        return None  # a folder that cannot be read: build
    for path in paths:
        try:
            sound = path.stem.removeprefix(f"{key}-") == _digest(path.read_bytes())
        except OSError:
            continue  # gone, or not readable: build
        found = load(path) if sound else None
        if found is not None:
            statistics.hits += 1
            return found
        statistics.corrupted += 1
        with suppress(OSError):  # in a folder that cannot be written it stays, and is passed over again
            path.unlink()
    return None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:40]


def _load(path: Path, name: str) -> Built | None:
    """The functions in a file; None if it is no kernel."""
    try:
        library = ctypes.CDLL(str(path))
        kernel, workspace = library[name], library[f"{name}_workspace"]
    except (OSError, AttributeError):
        return None
    integer, pointer = ctypes.c_int64, ctypes.c_void_p
    kernel.argtypes = [integer, integer, integer, *[pointer] * 5]
    kernel.restype = ctypes.c_int
    workspace.argtypes = [integer, integer, integer, pointer]
    workspace.restype = integer
    return Built(kernel, workspace, path)


def install(binary: bytes, key: str, suffix: str, load: Callable[[Path], T | None]) -> T:
    """Put a compiled kernel into the cache, or into a temporary folder where that fails, and load it."""
    statistics.compiled += 1
    folder = _cache_folder(key)
    for place in ([folder] if folder else []) + [_private_folder()]:
        try:
            path = _write(binary, place, key, suffix)
        except OSError as error:
            if place is not folder:
                raise CompileError(f"cannot write a compiled kernel: {error}") from None
            _warn(
                f"the kernel cache {options.current.cache} cannot be written ({error.strerror}); kernels of this process are kept in a temporary folder"
            )
            continue
        found = load(path)
        if found is not None:
            return found
        with suppress(OSError):
            path.unlink()
    raise CompileError("the compiled kernel does not load")


def _write(binary: bytes, folder: Path, key: str, suffix: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    remove_old(folder, ".new-*")
    path = folder / f"{key}-{_digest(binary)}{suffix}"
    write_whole(path, binary)
    return path


@lru_cache(maxsize=1)
def _private_folder() -> Path:
    return Scratch("kernels").path


def _warn(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, stacklevel=4)


# -- the compiler ----------------------------------------------------------------------------------------------------


def _compile(source: str, compiler: str, options_used: tuple[str, ...]) -> bytes:
    """The shared object of a source; without threads if the compiler has no OpenMP."""
    with Scratch("build") as folder:
        made = folder / "kernel.so"
        try:
            (folder / "kernel.c").write_text(source, encoding="utf-8")
        except OSError as error:
            raise CompileError(f"cannot write the source of a kernel: {error}; set TMPDIR to a folder with room") from None
        for threads in (["-fopenmp"], []):
            command = [*shlex.split(compiler), *options_used, *threads, "kernel.c", "-o", "kernel.so", "-lm"]
            code, out, err = execute(command, folder, COMPILE_SECONDS)
            if code == 0:
                try:
                    return made.read_bytes()
                except OSError:
                    raise CompileError(f"the C compiler made no file ({shlex.join(command)})") from None
            if "openmp" not in err.lower() and "omp.h" not in err:
                break
        raise CompileError(f"the C compiler failed ({shlex.join(command)}):\n{said(err, out, f'exit code {code}')}")


def assembly(source: str) -> str:
    """What the C compiler makes of a source. Raises CompileError if it fails."""
    used = [f for f in flags(machine().vector_bytes) if f != "-shared"]
    command = [*shlex.split(find_compiler()), *used, "-fopenmp", "-S", "-x", "c", "-", "-o", "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CompileError(f"the C compiler failed: {done.stderr.strip()}")
    return done.stdout


def _after_fork() -> None:
    """In a forked process: a lock that another thread of the parent held would stay locked for ever."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
