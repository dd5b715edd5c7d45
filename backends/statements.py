"""Statements of a loop tree to lines of source: what the writers of all target languages share. Which form loops take is theirs.

Routines of the run-time library that a ``LibraryCall`` may name (arrays contiguous):

    topk_mask  (mask: bool[r, n])                        (values[r, n], count: integer scalar)   rows, n
    topk       (values[r, c], indices: i64[r, c], mask)  (values[r, n])                          rows, n, count
    argsort    (indices: i64[r, n])                      (values[r, n])                          rows, n, descending (0, 1)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass

from ..compiler.diagnostics import CompileError
from ..compiler.loops.tree import Array, Barrier, Block, Declare, Function, If, Int, LibraryCall, Load, Loop, Single, Store, Tree
from .affine import constant
from .c_runtime import BITS
from .printer import Names, Printer
from .text import Text

#: Bytes of a local array on the stack at most: of a thread of the processor, and of a GPU.
STACK_BYTES, GPU_STACK_BYTES = 16384, 4096
#: Outputs, inputs and integers of each routine.
LIBRARY = {"topk_mask": (1, 2, 2), "topk": (3, 1, 3), "argsort": (1, 1, 3)}


@dataclass(frozen=True)
class Source:
    """The text of a kernel, and what each of its numbered run-time checks is about (number 1 first)."""

    text: str
    checks: tuple[str, ...]


class Statements(ABC):
    """Prints the body of one function to ``text``; ``scratch`` are its local arrays that are too large for the stack."""

    #: Larger local arrays live in the scratch memory of a thread.
    stack_bytes = STACK_BYTES

    def __init__(self, function: Function, printer: Printer, text: Text) -> None:
        for array in function.arrays:
            printer.check_dtype(array.dtype)
        self.function = function
        self.printer = printer
        self.text = text
        self.scratch: list[Array] = []
        for n in function.integers:
            self.printer.names.get("variable", n)
        for a in function.arrays:
            self.printer.names.get("array", a.name)

    @property
    def names(self) -> Names:
        """Identifiers in use."""
        return self.printer.names

    def block(self, block: Block) -> None:
        """Print a sequence."""
        for child in block.children:
            self.tree(child)

    def tree(self, tree: Tree) -> None:
        """Print one node."""
        if isinstance(tree, Loop):
            self.loop(tree)
        elif isinstance(tree, Store):
            with self.of(tree):
                self.store(tree)
        elif isinstance(tree, If):
            self.branch(tree)
        elif isinstance(tree, Declare):
            self.declare(tree.array)
        elif isinstance(tree, Single):
            self.single(tree)
        elif isinstance(tree, Barrier):
            self.barrier()
        else:
            with self.of(tree):
                self.library_call(tree)

    def of(self, *trees: Store | LibraryCall) -> AbstractContextManager[None]:
        """Print lines for some statements, see :meth:`~.text.Text.of`; they are named with the function that they are in."""
        return self.text.of(f"{self.function.name}:{t.statement}" for t in trees if t.statement)

    @abstractmethod
    def loop(self, loop: Loop) -> None:
        """Print a loop."""

    @abstractmethod
    def store(self, store: Store) -> None:
        """Print an assignment."""

    @abstractmethod
    def barrier(self) -> None:
        """Print that the threads of a team wait for each other."""

    @abstractmethod
    def single(self, tree: Single) -> None:
        """Print what one thread of a team does alone."""

    def branch(self, tree: If) -> None:
        """Print what runs under a condition."""
        self.text.if_(self.condition(tree.condition))
        self.block(tree.then)
        if tree.orelse:
            self.text.otherwise()
            self.block(tree.orelse)
        self.text.close()

    def condition(self, e: Int) -> str:
        """A condition on indices."""
        return self.printer.int(e)

    def leaves(self, loop: Loop) -> None:
        """Print what a loop looks at before each iteration: whether to end, whether to pass over it."""
        for test, leave in ((loop.until, True), (loop.unless, False)):
            if test is not None:
                lines, text = self.printer.statement_value(test, "e")
                for line in lines:
                    self.text.let(*line)
                self.text.if_(text)
                self.text.leave() if leave else self.text.pass_over()
                self.text.close()

    def declare(self, array: Array) -> None:
        """Bring a local array into scope."""
        self.printer.check_dtype(array.dtype)
        self.printer.arrays[array.name] = array
        extents = [constant(s) for s in array.shape]
        count = 1
        for extent in extents:
            count = count * extent if extent is not None else self.stack_bytes
        if not array.shape:
            self.local(array)
        elif None not in extents and count * BITS[array.dtype] // 8 <= self.stack_bytes:
            self.local(array, count)
        elif array not in self.scratch:
            self.scratch.append(array)

    @abstractmethod
    def local(self, array: Array, count: int = 0) -> None:
        """Print the declaration of a variable, or of ``count`` elements on the stack."""

    def library_call(self, call: LibraryCall) -> None:
        """Print a call of a run-time routine."""
        expected = LIBRARY.get(call.name)
        if expected is None:
            raise CompileError(f"target {self.printer.target} has no routine {call.name}")
        if expected != (len(call.outputs), len(call.inputs), len(call.integers)):
            raise CompileError(
                f"routine {call.name} takes {expected[0]} outputs, {expected[1]} inputs and {expected[2]} integers"
            )
        args = [self.address(x) for x in (*call.outputs, call.inputs[0])] + [self.at(x) for x in call.inputs[1:]]
        args += [self.printer.int(i) for i in call.integers]
        if call.name == "topk_mask":
            args += ["failed", str(self.printer.check("topk of more elements than there are, or of fewer than none"))]
        self.text.call(f"us_{call.name}_{call.inputs[0].dtype}({', '.join(args)})")

    @abstractmethod
    def address(self, load: Load) -> str:
        """Where a block of an array begins."""

    def at(self, load: Load) -> str:
        """The element at the beginning of a block."""
        return self.printer.read(load.array, load.index)


def describe(array: Array, printer: Printer) -> str:
    """The type of an array for a comment."""
    return f"{array.dtype}[{', '.join(printer.int(s) for s in array.shape)}]"
