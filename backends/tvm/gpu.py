"""Loop tree to TVMScript for a GPU: a problem to a block, its parallel loops dealt out to the threads of the block.

Iterations go to threads in turn, barriers of the tree are those of the block, what one thread of a team does alone the first thread does. Scratch
memory of problems and of threads is global memory. There are no batch tiles, and nothing is put into shared memory: this is text to be lowered
and compared, not the GPU target (see :mod:`.cuda.emit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...compiler.loops.tree import Array, Function, Int, Loop, Single
from ..affine import const, simple
from ..printer import COMPLEXES
from .emit import STORED, Body

#: Threads of a block.
THREADS = 128


@dataclass(frozen=True)
class GpuScript:
    """The text, the name of its entry, its run-time checks, and how many elements of scratch memory (by array, in the order of the entry's
    arguments) a problem takes, and a thread."""

    text: str
    name: str
    checks: tuple[str, ...]
    problem: tuple[tuple[Array, Int], ...]
    thread: tuple[tuple[Array, Int], ...]


class _GpuBody(Body):
    """The statements of one problem, as one thread of a block runs them."""

    def bounds(self, loop: Loop) -> tuple[str, str, int]:
        """First and end value of a loop for this thread, and its step."""
        first, last, step = super().bounds(loop)
        if "parallel" not in loop.kind:
            return first, last, step
        return f"{first} + thread{f' * {step}' if step > 1 else ''}", last, step * THREADS

    def single(self, tree: Single) -> None:
        """Print what one thread does alone."""
        self.text.if_("thread == 0")
        self.block(tree.body)
        self.text.close()

    def barrier(self) -> None:
        """The threads of a block wait for each other."""
        self.text.call('T.tvm_storage_sync("shared")')


def script(function: Function, *, strict: bool = False) -> GpuScript:
    """The TVMScript of a kernel for a GPU: the entry takes the problems, for each operand its address and the distance between problems in
    elements, the integers, for each array of scratch memory its address, and where the number of a failed check goes."""
    checks: list[str] = []
    body = _GpuBody(function, strict, checks, depth=2)
    name = f"{function.name}_gpu"
    out = ["# TVMScript. The words us_... are those of unspool/backends/tvm/library.py.", "@I.ir_module", "class Module:"]
    out += ["    @T.prim_func(s_tir=True)", f"    def {name}(", "        batch: T.int64,"]
    for a in body.passed:
        out += [f'        {body.array(a)}_data: T.handle("{STORED[a.dtype]}"),', f"        {body.array(a)}_problems: T.int64,"]
    out += [f"        {body.integer(n)}: T.int64," for n in function.integers]
    out += [f'        {body.array(a)}_data: T.handle("{STORED[a.dtype]}"),' for a in (*body.problem, *body.thread)]
    out += ['        failed_data: T.handle("int32"),', "    ):", '        """A block for each problem."""']
    out += ['        T.func_attr({"tirx.noalias": True})', "        problem = us_blocks(batch)", f"        thread = us_threads({THREADS})"]
    pad = " " * 8
    problem, thread = _sizes(body.problem), _sizes(body.thread)
    places = [(a, f"problem * {body.array(a)}_problems{' * 2' if a.dtype in COMPLEXES else ''}") for a in body.passed]
    places += [(a, f"problem * {body.factor(size)}") for a, size in problem]
    places += [(a, f"(problem * {THREADS} + thread) * {body.factor(size)}") for a, size in thread]
    for a, at in places:
        out.append(f'{pad}{body.array(a)} = us_array({body.array(a)}_data, {body.shape(a)}, "{a.dtype}", {at})  # {a.scope}')
    out += [f'{pad}failed = us_array(failed_data, (1,), "i32")', *body.text.lines]
    return GpuScript("\n".join(out) + "\n", name, tuple(checks), problem, thread)


def _sizes(arrays: Sequence[Array]) -> tuple[tuple[Array, Int], ...]:
    """Elements that arrays take, parts of complex numbers counted one by one."""
    out = []
    for a in arrays:
        total = const(2 if a.dtype in COMPLEXES else 1)
        for extent in a.shape:
            total = Int("*", (total, extent))
        out.append((a, simple(total)))
    return tuple(out)
