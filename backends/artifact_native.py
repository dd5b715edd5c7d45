"""How the kernels of each target that makes native code are kept in a kernel file: machine code, and what a call needs to know.

Target c has a shared object, which the system loads. Target numba has an object file, which llvmlite loads; numba itself is not
needed, and nothing is compiled.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from ..compiler.diagnostics import DataError
from ..compiler.driver import Compiled
from ..compiler.loops.tree import Function
from ..compiler.loops.tree_text import parse_int, print_int
from ..compiler.target import Kernel
from . import build
from .cpu import BuiltKernel
from .cpu_target import operands

#: What the files of source and machine code end in, by target.
SUFFIXES = {"c": ("c", "so"), "numba": ("py", "o")}


def needs(target: str) -> dict[str, Any]:
    """What compiled the kernels of a target, for a manifest: the flags of the compiler, or the versions of packages."""
    if target == "c":
        return {"flags": list(build.flags(build.machine().vector_bytes))}
    from .numba_build import versions

    return {"packages": versions()}


def check(target: str, name: str) -> None:
    """Raises DataError if kernels of a target in the file ``name`` cannot be loaded here."""
    if target not in SUFFIXES:
        raise DataError(f"{name} holds kernels of target {target}, which this version does not load")
    if target == "numba" and importlib.util.find_spec("llvmlite") is None:
        raise DataError(
            f"{name} holds kernels of target numba, which llvmlite loads, and it is not installed here: pip install llvmlite"
        )


_ROOMS = ("problem_bytes", "thread_bytes")


def code(target: str, compiled: Compiled) -> tuple[bytes, dict[str, Any]]:
    """The machine code of a kernel, and what :func:`kernel` asks for besides. Raises CompileError."""
    if target == "c":
        return build.object_code(compiled.source, compiled.tree.name), {}
    from .numba_build import object_code

    source = compiled.kernel.source
    rooms = {name: [*map(print_int, getattr(source, name))] for name in _ROOMS}
    return object_code(source), {**rooms, "tile_from": source.tile_from, "meets": source.meets}


def kernel(
    target: str,
    binary: bytes,
    function: Function,
    text: str,
    integers: Sequence[str],
    checks: Sequence[str],
    found: Mapping[str, Any],
) -> Kernel:
    """A kernel from its machine code. Raises CompileError if it does not load here."""
    if target == "c":
        return BuiltKernel(build.load_object(binary, function.name), operands(function), len(integers), checks)
    from .numba_build import load_object
    from .numba_emit import NumbaSource
    from .numba_target import NumbaKernel

    problem, thread = ((parse_int(alone), parse_int(tiled)) for alone, tiled in (found[name] for name in _ROOMS))
    start, meets = int(found["tile_from"]), bool(found["meets"])
    source = NumbaSource(text, tuple(checks), function.name, tuple(integers), problem, thread, start, meets, ())
    return NumbaKernel(load_object(binary, function.name), source, operands(function))
