"""The CUDA C++ that TVM makes of one problem, in a kernel that is launched as those of target ``cuda`` are (:mod:`..cuda.source`).

TVM's function takes an address for each array and knows nothing of a batch. Around it stands a kernel whose blocks, one to a team, take problems in
turns::

    extern "C" __global__ void us_ista(const us_call call) {
      for (int64_t problem = blockIdx.x; problem < call.batch; problem += call.teams)
        us_ista_gpu_kernel((float *)call.pointers[0] + ..., ...);
    }

So TVM's own runtime, whose packages have no CUDA, takes no part in a launch.
"""

from __future__ import annotations

import re

from ...compiler.diagnostics import CompileError
from ...compiler.loops.tree import Array, Int
from ..affine import const
from ..c_runtime import C_TYPES
from ..cuda.expressions import CudaPrinter
from ..cuda.runtime import prelude
from ..cuda.source import CudaSource, call_type
from ..rooms import rooms
from .gpu import THREADS, GpuScript

_HEAD = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\(\d+\) )?(\w+)\(([^()]*)\)')
#: Loops stay as they are: unrolled, the gradient of log-domain Sinkhorn spilled 1476 bytes of registers in each thread.
_LOOP = re.compile(r"^( *)for \(", re.M)
#: Words of TVM's texts that headers of CUDA explain, or its own.
_WORDS = {
    "uchar": "typedef unsigned char uchar;", "ushort": "typedef unsigned short ushort;", "uint": "typedef unsigned int uint;",
    "CUDART_INF_F": "#define CUDART_INF_F INFINITY", "CUDART_INF": "#define CUDART_INF ((double)INFINITY)",
    "CUDART_NAN_F": "#define CUDART_NAN_F NAN", "CUDART_NAN": "#define CUDART_NAN ((double)NAN)",
}  # fmt: skip


def kernel(script: GpuScript, made: str) -> CudaSource:
    """The source of a kernel from TVM's text. Raises CompileError if that has no function for the GPU, or several."""
    heads = list(_HEAD.finditer(made))
    if len({m[1] for m in heads}) != 1:
        raise CompileError(f"TVM makes {len({m[1] for m in heads}) or 'no'} functions of {script.entry} for the GPU; a kernel takes one")
    name, parameters = heads[0].groups()
    text = _HEAD.sub(r"US_FUNCTION void \1(\2)", made[heads[0].start() :])
    text = _LOOP.sub(r"\1#pragma unroll 1\n\1for (", text)
    problem, thread = (rooms([a for a, _ in part]) for part in (script.problem, script.thread))
    lines = [meaning for word, meaning in _WORDS.items() if re.search(rf"\b{word}\b", text)]
    lines += [text.strip(), "", *call_type(len(script.passed), len(script.integers)), *_entry(script, name, _names(parameters), problem, thread)]
    whole = "\n".join(lines) + "\n"
    integers = tuple([n for n, _ in script.integers])
    return CudaSource(
        prelude(whole) + whole, script.checks, script.name, THREADS, 0, False, integers, (problem, problem), (thread, thread), 0
    )  # fmt: skip


def _names(parameters: str) -> list[str]:
    """The names of parameters."""
    return [p.split()[-1].lstrip("*") for p in parameters.split(",") if p.strip()]


def _entry(script: GpuScript, function: str, parameters: list[str], problem: Int, thread: Int) -> list[str]:
    """The kernel around TVM's function, which takes the ``parameters`` of these names; bytes of scratch memory of a problem and of a thread."""
    printer = CudaPrinter({})
    given = {"failed_data": "&status"}
    given |= {name: printer.names.get("variable", n) for n, name in script.integers}
    for n, (a, name) in enumerate(script.passed):
        kind = _pointed(a)
        at = f"blockIdx.x * call.team_strides[{n}] + problem * call.batch_strides[{n}]"
        given[name] = f"({kind} *)call.pointers[{n}] + {f'2 * ({at})' if a.dtype in ('c64', 'c128') else f'({at})'}"
    for base, part in (("scratch", script.problem), ("own", script.thread)):
        for n, (a, name) in enumerate(part):
            given[name] = f"({_pointed(a)} *)({base} + {printer.int(rooms([b for b, _ in part[:n]]))})"
    out = [f'extern "C" __global__ void __launch_bounds__({THREADS}, 1) {script.name}(const us_call call) {{', "  int status = 0;"]
    out += [f"  const int64_t {given[name]} = call.integers[{n}];" for n, (_, name) in enumerate(script.integers)]
    shared, own = printer.int(problem), printer.int(thread)
    if problem != const(0):
        out.append(f"  char *const scratch = call.scratch + (int64_t)blockIdx.x * ({shared});")
    if thread != const(0):
        place = f"((int64_t)blockIdx.x * {THREADS} + threadIdx.x) * ({own})"
        out.append(f"  char *const own = call.scratch + call.teams * ({shared}) + {place};")
    out += ["  for (int64_t problem = blockIdx.x; problem < call.batch; problem += call.teams) {"]
    out += ["    if (problem != blockIdx.x) __syncthreads();  // scratch memory is used again"]
    out += [f"    {function}({', '.join(given[p] for p in parameters)});", "  }"]
    if script.checks:
        out.append("  if (status != 0 && call.failed) atomicMax(call.failed, status);")
    return [*out, "}"]


def _pointed(array: Array) -> str:
    """The type that TVM's parameters point to."""
    kinds = {"c64": "float", "c128": "double", "bool": "uint8_t", "f16": "uint16_t", "bf16": "uint16_t", "key": "int64_t"}
    return kinds.get(array.dtype) or C_TYPES[array.dtype]
