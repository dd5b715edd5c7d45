"""The C files of ``c/`` and plain C of ours through other compilers: who there is, building, and how a function is called."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .references import Inputs, Kernel, Sizes

SOURCES = Path(__file__).parent / "c"
COMMON = ("-O3", "-march=native", "-fPIC", "-shared", "-w")
#: Compilers may take this long; Polly and Graphite need seconds.
SECONDS = 600

#: Arrays that hold the results, in the order of the program's; those that are inputs are changed in place.
RESULTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("gemm", "symm", "syrk", "syr2k"), ("C",)),
    **dict.fromkeys(("doitgen", "cholesky", "seidel_2d"), ("A",)),
    **dict.fromkeys(("jacobi_1d", "jacobi_2d"), ("A", "B")),
    **dict.fromkeys(("atax", "gesummv"), ("y",)),
    "k2mm": ("D",),
    "k3mm": ("G",),
    "bicg": ("s", "q"),
    "mvt": ("x1", "x2"),
    "trisolv": ("x",),
    "gramschmidt": ("Q", "R"),
    "correlation": ("corr",),
    "covariance": ("cov",),
    "adi": ("u",),
    "gemver": ("A", "x", "w"),
    "trmm": ("B",),
    "durbin": ("y",),
    "lu": ("A",),
    "ludcmp": ("x",),
    "deriche": ("smooth",),
    "floyd_warshall": ("paths",),
    "nussinov": ("table",),
    "fdtd_2d": ("ex", "ey", "hz"),
    "heat_3d": ("A", "B"),
}


@dataclass(frozen=True)
class Tool:
    """A compiler, the newest of its ``command``, with its flags. ``alternatives``: flags of which the first that compile and link are used."""

    name: str
    heading: str
    command: str
    alternatives: tuple[tuple[str, ...], ...]
    threads: bool = False


_POLLY = ("-mllvm", "-polly", "-mllvm", "-polly-parallel", "-mllvm", "-polly-vectorizer=stripmine", "-mllvm")
_GRAPHITE = ("-floop-nest-optimize", "-floop-parallelize-all", "-ftree-parallelize-loops={threads}", "-fopenmp")

TOOLS = {
    tool.name: tool
    for tool in (
        Tool("gcc", "gcc", "gcc", ((),)),
        Tool("clang", "clang", "clang", ((),)),
        Tool(
            "polly",
            "Polly",
            "clang",
            ((*_POLLY, "-polly-omp-backend=LLVM", "-fopenmp"), (*_POLLY, "-polly-omp-backend=GNU", "-fopenmp=libgomp", "-lgomp")),
            threads=True,
        ),
        Tool("graphite", "Graphite", "gcc", (_GRAPHITE,), threads=True),
        Tool("threads", "gcc, parallel for", "gcc", (("-fopenmp", "-DTHREADS"),), threads=True),
    )
}

_PROBE = """
void probe(int n, double a[restrict 64][64], const double b[restrict 64][64]) {
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++)
      a[i][j] += 2 * b[j][i];
}
"""


@cache
def program(command: str) -> str | None:
    """The newest of ``command`` and ``command-N`` on the path; None if there is none."""
    found: dict[str, int] = {}
    for name in (command, *(f"{command}-{number}" for number in range(10, 60))):
        if shutil.which(name):
            done = subprocess.run([name, "-dumpversion"], capture_output=True, text=True, timeout=60, check=False)
            major = done.stdout.strip().partition(".")[0]
            if major.isdigit():
                found.setdefault(name, int(major))
    return max(found, key=found.__getitem__) if found else None


class BuildError(Exception):
    """A compiler failed; the text is its first words."""


@cache
def flags(tool: str, threads: int) -> tuple[str, ...]:
    """The flags a tool is run with here. Raises BuildError if it is absent or has none of its alternatives."""
    found, reason = TOOLS[tool], ""
    command = program(found.command)
    if command is None:
        raise BuildError(f"{found.heading} is absent: no command {found.command!r}")
    with TemporaryDirectory(prefix="unspool-probe-") as folder:
        source = Path(folder) / "probe.c"
        source.write_text(_PROBE, encoding="utf-8")
        for choice in found.alternatives:
            used = tuple(f.format(threads=threads) for f in choice)
            try:
                said = compile_c(source, source.with_suffix(".so"), (command, *COMMON, *used))
            except BuildError as error:
                reason = str(error)
                continue
            if "sorry" not in said:  # gcc without isl takes the flags, says that it is sorry, and goes on
                return used
            reason = said.strip().splitlines()[0]
    raise BuildError(f"{found.heading} is absent: {reason}")


def version(tool: str) -> str:
    """The first line of what the tool's compiler says it is."""
    done = subprocess.run(
        [str(program(TOOLS[tool].command)), "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.partition("\n")[0]


def compile_c(source: Path, library: Path, command: Sequence[str]) -> str:
    """Compile a file to a shared object; what the compiler said. Raises BuildError."""
    line = [*command, str(source), "-o", str(library), "-lm"]
    try:
        done = subprocess.run(line, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise BuildError(f"{command[0]} did not end within {SECONDS} s") from None
    if done.returncode:
        words = [x for x in done.stderr.splitlines() if "error" in x] or done.stderr.strip().splitlines() or ["it says nothing"]
        raise BuildError(f"{command[0]} failed with exit code {done.returncode}: {words[0].strip()[:200]}")
    return done.stderr


def build(tool: str, source: Path, folder: Path, *, sizes: Sizes, threads: int) -> Path:
    """The shared object that a tool makes of a file at these sizes. Raises BuildError."""
    used = flags(tool, threads)
    macros = [f"-D{name.upper()}={value}" for name, value in sizes.items() if name != "T"]
    library = folder / f"{source.stem}-{tool}.so"
    compile_c(source, library, (str(program(TOOLS[tool].command)), *COMMON, *used, *macros))
    return library


# -- calling ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parameter:
    """Of a C function: ``kind`` is ``int``, ``double`` or ``array`` (or pointer)."""

    kind: str
    name: str
    const: bool


_FUNCTION = re.compile(r"^(?:static )?void (\w+)\(([^)]*)\)", re.MULTILINE)
_PARAMETER = re.compile(r"(const )?(int|double) (\*restrict )?(\w+)((?:\[[^\]]*\])*)$")


def parameters(text: str, function: str) -> tuple[Parameter, ...]:
    """The parameters of a function of a C file. Raises ValueError if it is not there or has others than numbers and arrays."""
    for name, inside in _FUNCTION.findall(text):
        if name == function:
            return tuple(map(_parameter, re.sub(r"\s+", " ", inside).split(", ")))
    raise ValueError(f"no function {function} in this C file")


def _parameter(text: str) -> Parameter:
    found = _PARAMETER.match(text)
    if found is None:
        raise ValueError(f"{text!r} is no parameter that can be passed")
    const, kind, pointer, name, axes = found.groups()
    return Parameter("array" if pointer or axes else kind, name, bool(const))


def fixed(kernel: Kernel, source: Path, sizes: Sizes) -> str:
    """A C file with a function ``call`` that calls that of ``source`` with its sizes as constants, which the compiler passes on into its loops."""
    found = parameters(source.read_text(encoding="utf-8"), kernel.name)
    declared = [f"{'double ' if p.kind == 'double' else 'void *'}{p.name}" for p in found if p.kind != "int"]
    passed = [str(sizes["T" if p.name == "steps" else p.name]) if p.kind == "int" else p.name for p in found]
    return f'#include "{source}"\n\nvoid call({", ".join(declared)}) {{ {kernel.name}({", ".join(passed)}); }}\n'


def call_ordered(kernel: Kernel, text: str, inputs: Inputs, shapes: Sequence[Sequence[int]]) -> dict[str, Any]:
    """How the function of :func:`fixed` is called, as the worker takes it: the program's inputs by name, then arrays for results."""
    results = RESULTS[kernel.name]
    found = [p for p in parameters(text, kernel.name) if p.kind != "int"]
    arguments = [["double", float(inputs[p.name])] if p.kind == "double" else ["array", p.name] for p in found]
    changed = [p.name for p in found if p.kind == "array" and not p.const and p.name in inputs]
    outputs = {n: list(s) for n, s in zip(results, shapes, strict=True) if n not in inputs}
    return {"function": "call", "arguments": arguments, "changed": changed, "outputs": outputs, "results": list(results)}


def call_plain(name: str, text: str, order: Sequence[str], shapes: Sequence[Sequence[int]]) -> dict[str, Any]:
    """How our plain C is called: the inputs in ``order``, then the results, all as pointers."""
    outputs = {f"result{i}": list(shape) for i, shape in enumerate(shapes)}
    names = [*order, *outputs]
    if len(parameters(text, name)) != len(names):
        raise ValueError(f"{name} takes {len(parameters(text, name))} arrays, not {len(names)}")
    arguments = [["array", n] for n in names]
    return {"function": name, "arguments": arguments, "changed": [], "outputs": outputs, "results": list(outputs)}


def environment(threads: int) -> dict[str, str]:
    """What every contestant's process gets besides our own environment. Pages are of the usual size, also NumPy's: large ones make walks
    down columns twice as fast, and nobody else's arrays have them."""
    threaded = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads))
    return {**threaded, "NUMPY_MADVISE_HUGEPAGE": "0"}
