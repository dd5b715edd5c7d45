"""CUDA texts to machine code: NVRTC (packages of the extra ``cuda``) or ``nvcc``, and what the assembler says of registers and spills.

Neither needs a GPU, the network or headers. What was compiled is kept in the build cache, like kernels of the other targets: a file there
is one line of JSON, the report, and then the cubin.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import os
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ...compiler.diagnostics import CompileError
from ..build import COMPILE_SECONDS, execute, fetch, identity, install, said
from ..scratch import Scratch

#: Options of both compilers.
FLAGS = ("--std=c++17",)


@dataclass(frozen=True)
class Cubin:
    """Machine code of one kernel. ``registers`` of a thread; ``spills``: bytes of registers that are stored to and loaded from local memory;
    ``local_bytes`` of a thread's stack frame; ``shared_bytes``: static shared memory of a block, in bytes."""

    data: bytes
    registers: int
    spills: int
    local_bytes: int
    shared_bytes: int


@dataclass(frozen=True)
class Compiler:
    """``compile(text, arch, ptx)`` gives the cubin, or the PTX, and the compiler's messages; ``name`` says which it is, and its version."""

    name: str
    compile: Callable[[str, str, bool], tuple[bytes, str]]


_memory: dict[str, Cubin] = {}
_lock = threading.RLock()


def cubin(text: str, name: str, arch: str) -> Cubin:
    """The kernel ``name`` of a CUDA text for an architecture, ``sm_80`` or newer, compiled unless the cache has it.

    Raises CompileError if the text does not compile, the compiler does not know the architecture, or there is no compiler.
    """
    found = compiler()
    key = hashlib.sha256("\0".join([text, name, arch, *FLAGS, found.name]).encode()).hexdigest()[:40]
    with _lock:
        if key in _memory:
            return _memory[key]
        made = fetch(key, ".cubin", _load)
        if made is None:
            data, log = found.compile(text, _checked(arch), False)
            report = Cubin(data, *_report(log, name, found.name))
            head = json.dumps({k: v for k, v in asdict(report).items() if k != "data"}).encode()
            made = install(head + b"\n" + data, key, ".cubin", _load)
        _memory[key] = made
        return made


def ptx(text: str, arch: str) -> str:
    """The PTX of a CUDA text for an architecture. Raises CompileError as :func:`cubin`."""
    data, _ = compiler().compile(text, _checked(arch), True)
    return data.rstrip(b"\0").decode()


@cache
def compiler() -> Compiler:
    """NVRTC, or nvcc where that is missing. Raises CompileError if neither is there."""
    reason = "cuda-bindings is not installed"
    if _installed("cuda.bindings.nvrtc"):
        try:
            return _nvrtc(importlib.import_module("cuda.bindings.nvrtc"))
        except Exception as error:  # what is raised where the library is missing differs between versions
            reason = f"NVRTC does not load: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise CompileError(f"nothing compiles CUDA here ({reason}, and no nvcc is on the PATH): pip install 'unspool[cuda]'")
    return _nvcc(nvcc)


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a package it is in
        return False


def _checked(arch: str) -> str:
    if not re.fullmatch(r"sm_\d+[af]?", arch):
        raise CompileError(f"an architecture of NVIDIA's is written sm_80, not {arch!r}")
    return arch


def _nvrtc(api: Any) -> Compiler:
    _, *version = api.nvrtcVersion()

    def call(function: str, *arguments: Any) -> Any:
        code, *found = getattr(api, function)(*arguments)
        if int(code):
            raise CompileError(f"NVRTC fails: {api.nvrtcGetErrorString(code)[1].decode()} ({function})")
        return found[0] if found else None

    def text_of(program: Any, what: str) -> bytes:
        data = b" " * int(call(f"nvrtcGet{what}Size", program))
        call(f"nvrtcGet{what}", program, data)
        return data

    def compile_text(text: str, arch: str, ptx: bool) -> tuple[bytes, str]:
        wanted = [*FLAGS, f"--gpu-architecture={arch.replace('sm', 'compute') if ptx else arch}"]
        wanted += [] if ptx else ["--ptxas-options=-v"]
        program = call("nvrtcCreateProgram", text.encode(), b"kernel.cu", 0, [], [])
        try:
            (code,) = api.nvrtcCompileProgram(program, len(wanted), [option.encode() for option in wanted])
            log = text_of(program, "ProgramLog").rstrip(b"\0 \n").decode(errors="replace")
            if int(code):
                raise CompileError(_message("NVRTC", wanted, log or api.nvrtcGetErrorString(code)[1].decode()))
            return text_of(program, "PTX" if ptx else "CUBIN"), log
        finally:
            api.nvrtcDestroyProgram(program)

    return Compiler(f"NVRTC {'.'.join(map(str, version))}", compile_text)


def _nvcc(path: str) -> Compiler:
    def compile_text(text: str, arch: str, ptx: bool) -> tuple[bytes, str]:
        wanted = [*FLAGS, f"-arch={arch}", "-ptx" if ptx else "-cubin", *([] if ptx else ["-Xptxas=-v"])]
        with Scratch("build") as folder:
            (folder / "kernel.cu").write_text(text, encoding="utf-8")
            code, out, err = execute([path, *wanted, "kernel.cu", "-o", "kernel.out"], folder, COMPILE_SECONDS)
            if code:
                raise CompileError(_message("nvcc", wanted, err, out, f"exit code {code}"))
            return (folder / "kernel.out").read_bytes(), err + out

    return Compiler(identity(path), compile_text)


def _message(compiler: str, wanted: list[str], *told: str) -> str:
    return f"{compiler} failed ({' '.join(wanted)}):\n{said(*told)}"


def _report(log: str, name: str, compiler: str) -> tuple[int, int, int, int]:
    """Registers, bytes spilled, bytes of the stack frame, bytes of static shared memory, as the assembler tells of a kernel."""
    _, found, part = log.partition(f"Compiling entry function '{name}'")
    part = part.partition("Compiling entry function")[0]
    frame = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part)
    registers = re.search(r"Used (\d+) registers", part)
    if not found:
        raise CompileError(f"the text has no kernel called {name!r}")
    if frame is None or registers is None:
        raise CompileError(f"{compiler} does not tell of the registers of {name}:\n{log[:500]}")
    shared = re.search(r"(\d+) bytes smem", part)
    local, stored, loaded = map(int, frame.groups())
    return int(registers[1]), stored + loaded, local, int(shared[1]) if shared else 0


def _load(path: Path) -> Cubin | None:
    try:
        head, _, data = path.read_bytes().partition(b"\n")
        return Cubin(data, **json.loads(head))
    except (OSError, ValueError, TypeError):
        return None


def _after_fork() -> None:
    """In a forked process: a lock that another thread of the parent held would stay locked for ever."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
