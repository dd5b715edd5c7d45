"""How the kernels of each target that makes native code are kept in a kernel file: machine code, and what a call needs to know.

Target c has a shared object, which the system loads. Target numba has an object file, which llvmlite loads; numba itself is not
needed, and nothing is compiled. Target cuda has a cubin for each of some architectures, which the driver loads.
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
from .base_target import operands
from .cpu import BuiltKernel

#: What the files of source and machine code end in, by target.
SUFFIXES = {"c": ("c", "so"), "numba": ("py", "o"), "cuda": ("cu", "cubin")}
#: What kernels of target cuda are stored for: each runs on later GPUs of its generation, too.
ARCHITECTURES = ("sm_80", "sm_90")


def needs(target: str) -> dict[str, Any]:
    """What compiled the kernels of a target, for a manifest: the flags of the compiler, or the versions of packages."""
    if target == "c":
        return {"flags": list(build.flags(build.machine().vector_bytes))}
    if target == "cuda":
        return {"architectures": list(ARCHITECTURES)}
    from .numba.build import versions

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


def code(target: str, compiled: Compiled) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The machine code of a kernel, by architecture (on the processor there is one, without a name), and what :func:`kernel` asks for
    besides. Raises CompileError."""
    if target == "c":
        return {"": build.object_code(compiled.source, compiled.tree.name)}, {}
    source = compiled.kernel.source
    rooms = {name: [*map(print_int, getattr(source, name))] for name in _ROOMS}
    about = {**rooms, "tile_from": source.tile_from, "meets": source.meets}
    if target == "cuda":
        from .cuda.compile import cubin

        about |= {"threads": source.threads, "shared": source.shared, "blocks": list(source.blocks), "largest": print_int(source.largest)}
        return {arch: cubin(source.text, source.name, arch).data for arch in ARCHITECTURES}, about
    from .numba.build import object_code

    return {"": object_code(source)}, about


def kernel(
    target: str,
    binaries: Mapping[str, bytes],
    function: Function,
    text: str,
    integers: Sequence[str],
    checks: Sequence[str],
    found: Mapping[str, Any],
) -> Kernel:
    """A kernel from its machine code. Raises CompileError if it does not load here; one of a GPU is loaded when it is called."""
    if target == "c":
        return BuiltKernel(build.load_object(binaries[""], function.name), checks)
    if target == "cuda":
        from .cuda.launch import DeviceLauncher
        from .cuda.source import CudaSource
        from .cuda.target import CudaKernel, CudaTarget
        from .cuda.text import entry

        problem, thread = ((parse_int(alone), parse_int(tiled)) for alone, tiled in (found[name] for name in _ROOMS))
        made = CudaSource(
            text, tuple(checks), entry(function), int(found["threads"]), int(found["shared"]), bool(found["meets"]), tuple(integers), problem,
            thread, int(found["tile_from"]), (int(found["blocks"][0]), int(found["blocks"][1])), 0 if function.tile is None else function.tile.size,
            parse_int(found["largest"]),
        )  # fmt: skip
        return CudaKernel(made, operands(function), CudaTarget.device, DeviceLauncher(dict(binaries)))
    from .numba.build import load_object
    from .numba.emit import NumbaSource
    from .numba.target import NumbaKernel

    problem, thread = ((parse_int(alone), parse_int(tiled)) for alone, tiled in (found[name] for name in _ROOMS))
    start, meets = int(found["tile_from"]), bool(found["meets"])
    source = NumbaSource(text, tuple(checks), function.name, tuple(integers), problem, thread, start, meets, ())
    return NumbaKernel(load_object(binaries[""], function.name), source, operands(function))
