"""Loop tree to TVMScript for a GPU: one problem by the threads of a block, to which its parallel loops are dealt out.

Iterations go to threads in turn, barriers of the tree are those of the block, what one thread of a team does alone the first thread does. Scratch
memory of problems and of threads is global memory. There are no batch tiles, and nothing is put into shared memory: this is text to be lowered
and compared, not a GPU target to be fast (see :mod:`..cuda.emit`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...compiler.loops.tree import Array, Barrier, Block, Function, Loop, Single
from ...compiler.loops.tree_walk import walk
from ..statements import Source
from .emit import STORED, Body

#: Threads of a block.
THREADS = 128


@dataclass(frozen=True)
class GpuScript(Source):
    """``entry``: the name of the function. Names that its arguments have: arrays that are ``passed``, then the arrays of scratch memory
    of a ``problem`` and of a ``thread``, each with its name; ``integers`` likewise, by their names in the tree."""

    name: str
    entry: str
    passed: tuple[tuple[Array, str], ...]
    problem: tuple[tuple[Array, str], ...]
    thread: tuple[tuple[Array, str], ...]
    integers: tuple[tuple[str, str], ...]


class _GpuBody(Body):
    """The statements of one problem, as one thread of a block runs them."""

    stack_bytes, device = 1024, "cuda"

    dealt: Loop | None = None  # the loop around whose iterations are dealt out

    @property
    def problem(self) -> list[Array]:
        """Scratch of a problem: one block works on it."""
        return [a for a in self.function.arrays if a.scope in ("problem", "block", "shared")]

    def loop(self, loop: Loop) -> None:
        """Print a loop; the iterations of the outermost loop that is dealt out go to the threads in turn, those of blocks are not."""
        outermost = self.dealt is None and loop.dealt and loop.kind != "block"
        self.dealt = loop if outermost else self.dealt
        super().loop(loop)
        self.dealt = None if outermost else self.dealt

    def bounds(self, loop: Loop) -> tuple[str, str, int]:
        """First and end value of a loop for this thread, and its step."""
        first, last, step = super().bounds(loop)
        if loop is not self.dealt:
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
    """The TVMScript of a kernel for a GPU: the entry takes the address of each array, the integers, and where the number of a failed check goes.
    Raises CompileError for dtypes and ops that the target does not have."""
    checks: list[str] = []
    if not any(isinstance(t, (Single, Barrier)) or (isinstance(t, Loop) and t.dealt) for t in walk(function.body)):  # written for one thread
        function = replace(function, body=Block((Single(function.body),)))
    body = _GpuBody(function, strict, checks)
    entry = f"{function.name}_gpu"
    out = ["# TVMScript. The words us_... are those of unspool/backends/tvm/library.py.", "@I.ir_module", "class Module:"]
    out += ["    @T.prim_func(s_tir=True)", f"    def {entry}("]
    out += [f'        {body.array(a)}_data: T.handle("{STORED[a.dtype]}"),' for a in body.arrays]
    out += [f"        {body.integer(n)}: T.int64," for n in function.integers]
    out += ['        failed_data: T.handle("int32"),', "    ):", '        """One problem, by the threads of a block."""']
    out += ['        T.func_attr({"tirx.noalias": True})', f"        thread = us_threads({THREADS})"]
    out += [f'        {body.array(a)} = us_array({body.array(a)}_data, {body.shape(a)}, "{a.dtype}")  # {a.scope}' for a in body.arrays]
    out += ['        failed = us_array(failed_data, (1,), "i32")', *body.text.lines]
    named = [tuple([(a, f"{body.array(a)}_data") for a in part]) for part in (body.passed, body.problem, body.thread)]
    integers = tuple([(n, body.integer(n)) for n in function.integers])
    return GpuScript("\n".join(out) + "\n", tuple(checks), function.name, entry, named[0], named[1], named[2], integers)
