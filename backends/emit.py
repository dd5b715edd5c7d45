"""Loop tree to C text: one kernel with the interface of :mod:`.cpu`.

The text holds no batch size and no iteration count. Problems are taken in contiguous blocks by teams of threads; a
``parallel`` loop is split over its team. Contractions become register tiles (:mod:`.tile_text`), other vector loops
``#pragma omp simd`` loops. Routines of the run-time library that a ``LibraryCall`` may name (arrays contiguous):

    topk_mask  (mask: bool[r, n])                        (values[r, n], count: integer scalar)   rows, n
    topk       (values[r, c], indices: i64[r, c], mask)  (values[r, n])                          rows, n, count
    argsort    (indices: i64[r, n])                      (values[r, n])                          rows, n, descending (0, 1)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..compiler.diagnostics import CompileError
from ..compiler.loops.tree import Array, Barrier, Block, Call, Declare, Function, If, Int, LibraryCall, Loop, Single, Store, Tree
from .affine import constant, name, names, plus, simple
from .c_runtime import BITS, C_TYPES, prelude
from .expressions import Names, Printer, check_dtype
from .kernel_text import kernel_text
from .rewrite import expand_locals, int_names, walk
from .simd import SimdPlan, plan
from .text import Text
from .tile_text import Tile
from .tiles import Contraction, Machine, can_jam, match, rows, shared_tile, trip

#: Larger local arrays live in the scratch memory of a thread.
STACK_BYTES = 16384
LIBRARY = {"topk_mask": (1, 2, 2), "topk": (3, 1, 3), "argsort": (1, 1, 3)}


@dataclass(frozen=True)
class Source:
    """The C text of a kernel, and what each of its numbered run-time checks is about (number 1 first)."""

    text: str
    checks: tuple[str, ...]


def emit(function: Function, machine: Machine, *, strict: bool = False) -> Source:
    """The C source of a kernel. Raises CompileError for dtypes and ops that the target does not have."""
    writer = _Writer(function, machine, strict)
    writer.block(function.body)
    body = kernel_text(function, writer.printer, writer.scratch, [*writer.top.lines, *writer.text.lines])
    return Source(prelude(body) + "\n" + body, tuple(writer.printer.checks))


class _Writer:
    def __init__(self, function: Function, machine: Machine, strict: bool) -> None:
        for array in function.arrays:
            check_dtype(array.dtype)
        self.function = function
        self.printer = Printer({a.name: a for a in function.arrays})
        self.machine = machine
        self.strict = strict
        self.text = Text(1)
        self.top = Text(1)  # lines at the start of the function
        self.scratch: list[Array] = []
        self.used = (
            int_names(function.body) | {t.name for t in walk(function.body) if isinstance(t, Loop)} | set(function.integers)
        )
        self.shares: dict[tuple[Int, Int, int, int], tuple[Int, Int]] = {}
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
            self.store(tree)
        elif isinstance(tree, If):
            self.text.open(f"if ({self.printer.int(tree.condition)})")
            self.block(tree.then)
            if tree.orelse:
                self.text.depth -= 1
                self.text.open("} else")
                self.block(tree.orelse)
            self.text.close()
        elif isinstance(tree, Declare):
            self.declare(tree.array)
        elif isinstance(tree, Single):
            self.text.open("if (member == 0)")
            self.block(tree.body)
            self.text.close()
        elif isinstance(tree, Barrier):
            self.text.line("us_barrier(team, team_size);")
        else:
            self.library_call(tree)

    # -- storage and statements --------------------------------------------------------------------------------------

    def declare(self, array: Array) -> None:
        """Bring a local array into scope."""
        c_type, text = C_TYPES[check_dtype(array.dtype)], self.names.get("array", array.name)
        self.printer.arrays[array.name] = array
        extents = [constant(s) for s in array.shape]
        count = 1
        for extent in extents:
            count = count * extent if extent is not None else STACK_BYTES
        if not array.shape:
            self.text.line(f"{c_type} {text};")
        elif None not in extents and count * BITS[array.dtype] // 8 <= STACK_BYTES:
            self.text.line(f"{c_type} {text}[{count}] __attribute__((aligned(64)));  // {describe(array, self.printer)}")
        elif array not in self.scratch:
            self.scratch.append(array)

    def store(self, store: Store, target: str = "", fused: bool = True) -> None:
        """Print an assignment; ``target`` replaces the element by an accumulator."""
        place = target or self.printer.element(store.array, store.index)
        dtype, value = self.printer.arrays[store.array].dtype, store.value
        if (
            store.reduce == "add"
            and fused
            and not self.strict
            and dtype in ("f32", "f64")
            and isinstance(value, Call)
            and value.op == "mul"
        ):
            lines, text = self.printer.statement_value(Call("fma", value.args, dtype), "e")
            text = f"{text[:-1]}, {place})"
        else:
            lines, text = self.printer.statement_value(value, "e")
            text = combine(store.reduce, place, text, dtype)
        if lines:
            self.text.open("")
        for line in lines:
            self.text.line(line)
        self.text.line(f"{place} = {text};")
        if lines:
            self.text.close()

    def library_call(self, call: LibraryCall) -> None:
        """Print a call of a run-time routine."""
        expected = LIBRARY.get(call.name)
        if expected is None:
            raise CompileError(f"target c has no routine {call.name}")
        if expected != (len(call.outputs), len(call.inputs), len(call.integers)):
            raise CompileError(
                f"routine {call.name} takes {expected[0]} outputs, {expected[1]} inputs and {expected[2]} integers"
            )
        args = [self.printer.address(x) for x in call.outputs] + [self.printer.address(call.inputs[0])]
        args += ["*" + self.printer.address(x) for x in call.inputs[1:]]
        args += [self.printer.int(i) for i in call.integers]
        if call.name == "topk_mask":
            args += ["failed", str(self.printer.check("topk of more elements than there are, or of fewer than none"))]
        self.text.line(f"us_{call.name}_{call.inputs[0].dtype}({', '.join(args)});")

    # -- loops -------------------------------------------------------------------------------------------------------

    def loop(self, loop: Loop) -> None:
        """Print a loop in the best way it allows."""
        found = match(loop, self.printer.arrays)
        if found is not None:
            self.tile(found)
            return
        jam = can_jam(loop, self.printer.arrays)
        size = self.group_size(loop) if jam else 1
        lower, upper = self.range(loop, size)
        if size > 1:
            self.jammed(loop, lower, upper, size)
            return
        v = self.names.get("variable", loop.name)
        if trip(loop) == 1 and "parallel" not in loop.kind:
            self.text.open("")
            self.text.line(f"const int64_t {v} = {self.printer.int(lower)};")
            self.block(loop.body)
            self.text.close()
            return
        made = plan(loop, self.printer.arrays) if "vector" in loop.kind else None
        if made is None:
            self.head(loop, lower, upper)
            self.block(loop.body)
            self.text.close()
        else:
            self.simd(loop, lower, upper, made)

    def head(self, loop: Loop, lower: Int, upper: Int) -> None:
        """Open a ``for``."""
        v = self.names.get("variable", loop.name)
        step = f"{v} += {loop.step}" if loop.step > 1 else f"{v}++"
        self.text.open(f"for (int64_t {v} = {self.printer.int(lower)}; {v} < {self.printer.int(upper)}; {step})")

    def range(self, loop: Loop, grain: int) -> tuple[Int, Int]:
        """First and end value of a loop for this thread."""
        if "parallel" not in loop.kind:
            return simple(loop.lower), simple(loop.upper)
        if "vector" in loop.kind:
            known = self.printer.arrays
            stored = [t.array for t in walk(loop.body) if isinstance(t, Store)]  # locals of the body are not declared yet
            widest = max([BITS[known[a].dtype] // 8 for a in stored if a in known], default=8)
            grain = max(1, 64 // widest)
        key = (simple(loop.lower), simple(loop.upper), loop.step, grain)
        if key not in self.shares:
            lower, upper, step, _ = key
            fixed = (names(lower) | names(upper)) <= set(self.function.integers)
            first, last = self.unused(f"{loop.name}_first"), self.unused(f"{loop.name}_last")
            text = self.top if fixed else self.text
            a, b = (self.names.get("variable", n) for n in (first, last))
            count = self.printer.int(simple(Int("-", (upper, lower))))
            trips = f"({count} + {step - 1}) / {step}" if step > 1 else count
            trips = trips if constant(Int("-", (upper, lower))) is not None else f"us_imax({trips}, 0)"
            text.line(f"int64_t {a}, {b};")
            text.line(f"us_share({trips}, {grain}, member, team_size, &{a}, &{b});")
            made = []
            for n in (first, last):
                value = plus(lower, Int("*", (Int("const", value=step), name(n))) if step > 1 else name(n))
                made.append(simple(value))
            if step > 1:
                made[1] = Int("min", (made[1], upper))
            if not fixed:
                return made[0], made[1]
            self.shares[key] = (made[0], made[1])
        return self.shares[key]

    def unused(self, hint: str) -> str:
        """A variable name that the tree does not have."""
        found, number = hint, 0
        while found in self.used:
            number += 1
            found = f"{hint}{number}"
        self.used.add(found)
        return found

    # -- register tiles ----------------------------------------------------------------------------------------------

    def tile(self, found: Contraction, jammed: str = "", base: Int | None = None, size: int = 1) -> None:
        """Print a contraction."""
        lower, upper = self.range(found.vector, 1)
        Tile(found, self.printer, self.text, self.machine, self.strict, lower, upper, jammed, base or name(""), size).emit()

    def group_size(self, loop: Loop) -> int:
        """How many iterations of a loop to jam."""
        arrays = {**self.printer.arrays, **{t.array.name: t.array for t in walk(loop.body) if isinstance(t, Declare)}}
        tiles = [t for c in loop.body.children if (t := shared_tile(loop, c, arrays))]
        return min(rows(t, loop, self.machine) for t in tiles)

    def jammed(self, loop: Loop, lower: Int, upper: Int, size: int) -> None:
        """Print a loop in groups of ``size`` iterations, each part of its body for a whole group."""
        base = self.unused(f"{loop.name}_group")
        v = self.names.get("variable", base)
        count = trip(replace(loop, lower=lower, upper=upper))
        if count is not None:
            end = plus(lower, count - count % size)
            self.text.open(f"for (int64_t {v} = {self.printer.int(lower)}; {v} < {self.printer.int(end)}; {v} += {size})")
            self.group(loop, base, size)
            self.text.close()
            if count % size:
                self.text.open("")
                self.text.line(f"const int64_t {v} = {self.printer.int(end)};")
                self.group(loop, base, count % size)
                self.text.close()
            return
        self.text.line(f"int64_t {v} = {self.printer.int(lower)};")
        last = self.printer.int(upper)
        self.text.open(f"for (; {v} + {size} <= {last}; {v} += {size})")
        self.group(loop, base, size)
        self.text.close()
        self.text.open(f"for (; {v} < {last}; {v}++)")
        self.group(loop, base, 1)
        self.text.close()

    def group(self, loop: Loop, base: str, size: int) -> None:
        """One group of iterations."""
        first = name(base)
        body = expand_locals(loop.body, size, Int("-", (name(loop.name), first)))
        waiting: list[Tree] = []

        def flush() -> None:
            if waiting:
                self.head(loop, first, plus(first, size))
                self.block(Block(tuple(waiting)))
                self.text.close()
                waiting.clear()

        for child in body.children:
            if isinstance(child, Declare):
                self.declare(child.array)
                continue
            found = shared_tile(loop, child, self.printer.arrays)
            if found is None:
                waiting.append(child)
                continue
            flush()
            self.tile(found, loop.name, first, size)
        flush()

    # -- vector loops ------------------------------------------------------------------------------------------------

    def simd(self, loop: Loop, lower: Int, upper: Int, made: SimdPlan) -> None:
        """Print a vector loop; what it reduces into is held in variables around it."""
        accumulators: dict[Store, str] = {}
        clauses: dict[str, list[str]] = {}
        for store in made.reductions:
            dtype = self.printer.arrays[store.array].dtype
            same = next(
                (a for s, a in accumulators.items() if (s.array, s.index, s.reduce) == (store.array, store.index, store.reduce)),
                None,
            )
            accumulators[store] = same or self.names.fresh("sum")
            if same is None:
                clauses.setdefault(clause(store.reduce, dtype), []).append(accumulators[store])
        if accumulators:
            self.text.open(f"if ({self.printer.int(lower)} < {self.printer.int(upper)})")
        begun: dict[str, Store] = {a: s for s, a in reversed(accumulators.items())}
        for acc, store in sorted(begun.items()):
            self.text.line(
                f"{C_TYPES[self.printer.arrays[store.array].dtype]} {acc} = {self.printer.element(store.array, store.index)};"
            )
        listed = "".join(f" reduction({c}: {', '.join(a)})" for c, a in clauses.items())
        self.text.line(f"#pragma omp simd{listed}")
        self.head(loop, lower, upper)
        for child in loop.body.children:
            if isinstance(child, Store) and child in accumulators:
                self.store(child, accumulators[child], fused=False)
            else:
                self.tree(child)
        self.text.close()
        for acc, store in sorted(begun.items()):
            self.text.line(f"{self.printer.element(store.array, store.index)} = {acc};")
        if accumulators:
            self.text.close()


def describe(array: Array, printer: Printer) -> str:
    """The type of an array for a comment."""
    return f"{array.dtype}[{', '.join(printer.int(s) for s in array.shape)}]"


def clause(reduce: str, dtype: str) -> str:
    """The reduction operator of a simd loop."""
    if reduce in ("max", "min"):
        return f"us_reduce_{reduce}imum_{dtype}" if dtype in ("f32", "f64") else reduce
    return {"add": "+", "mul": "*", "and": "&", "or": "|"}[reduce]


def combine(reduce: str, place: str, value: str, dtype: str) -> str:
    """The right side of ``place reduce= value``."""
    if not reduce:
        return value
    if reduce in ("max", "min"):
        if dtype in ("c64", "c128"):
            raise CompileError(f"complex numbers have no {reduce}")
        return f"us_{reduce}imum_{dtype}({place}, {value})"
    if reduce in ("and", "or"):
        return f"{place} {'&' if reduce == 'and' else '|'} ({value})"
    if dtype in ("f32", "f64"):
        return (
            f"{place} {'+' if reduce == 'add' else '*'} ({value})"
            if " " in value
            else f"{place} {'+' if reduce == 'add' else '*'} {value}"
        )
    return f"us_{reduce}_{dtype}({place}, {value})"
