"""Loop tree to lines of source, in any target language: which form each loop takes, and in what order things are printed.

The text holds no batch size and no iteration count. Problems are taken in contiguous blocks by teams of threads; a
``parallel`` loop is split over its team. Contractions become register tiles (:mod:`.tile_text`). What a language writes
differently is in the printer of its expressions, its :class:`~.text.Text`, and the abstract methods here and in :mod:`.statements`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

from ..compiler.diagnostics import CompileError
from ..compiler.loops.tree import Array, Block, Call, Declare, Function, Int, Load, Loop, Single, Store, Tree
from ..compiler.loops.tree_walk import guarded, loads, walk
from ..compiler.target import Machine
from .affine import constant, name, names, plus, simple
from .c_runtime import BITS
from .printer import Printer
from .rewrite import counted, expand_locals, int_names, substitute_loads
from .shares import uneven
from .simd import SimdPlan, plan
from .statements import Statements
from .text import Text
from .tile_text import Tile, factors
from .tiles import Contraction, can_jam, match, moves, rows, shared_tile, trip
from .whole_vectors import parts


class Writer(Statements):
    """Prints the body of one function; the lines are in ``top`` (what stands at its start) and ``text``."""

    def __init__(self, function: Function, printer: Printer, make: Callable[[int], Text], machine: Machine, strict: bool) -> None:
        super().__init__(function, printer, make(1))
        self.machine = machine
        self.strict = strict
        self.top = make(1)
        self.used = (
            int_names(function.body) | {t.name for t in walk(function.body) if isinstance(t, Loop)} | set(function.integers)
        )
        self.shares: dict[tuple[Int, Int, int, int, float | None], tuple[Int, Int]] = {}
        self.alike: dict[int, tuple[int, float | None]] = {}  # grain and unevenness of loops that are dealt out alike, by their share

    @cached_property
    def uneven(self) -> dict[int, float]:
        """Loops whose iterations differ in work, as :func:`~.shares.uneven` has them."""
        return uneven(self.function.body, self.function.integers)

    # -- statements --------------------------------------------------------------------------------------------------

    def single(self, tree: Single) -> None:
        """Print what one thread of a team does alone."""
        self.text.if_("member == 0")
        self.block(tree.body)
        self.text.close()

    def barrier(self) -> None:
        """Print that the threads of a team wait for each other."""
        self.text.call("us_barrier(team, team_size)")

    def store(self, store: Store, target: str = "", fused: bool = True) -> None:
        """Print an assignment; ``target`` replaces the element by an accumulator."""
        place = target or self.printer.element(store.array, store.index)
        held = target or self.printer.read(store.array, store.index)
        dtype, value = self.printer.arrays[store.array].dtype, store.value
        if (
            store.reduce == "add"
            and fused
            and not self.strict
            and dtype in ("f32", "f64")
            and (product := factors(value))
        ):
            lines, text = self.printer.statement_value(Call("fma", product, dtype), "e")
            text = f"{text[:-1]}, {held})"
        else:
            lines, text = self.printer.statement_value(value, "e")
            text = self.combine(store.reduce, held, text, dtype, bool(target))
        if lines:
            self.text.scope()
        for line in lines:
            self.text.let(*line)
        self.text.assign(place, text if target else self.printer.stored(store.array, text))
        if lines:
            self.text.close()

    @abstractmethod
    def combine(self, reduce: str, held: str, value: str, dtype: str, vector: bool) -> str:
        """The new value of an element that holds ``held``; ``vector`` if it is the sum of a vector loop."""

    # -- loops -------------------------------------------------------------------------------------------------------

    def loop(self, loop: Loop) -> None:
        """Print a loop in the best way it allows."""
        if "parallel" not in loop.kind and (loop.dealt or loop.lanes > 1):
            raise CompileError(f"target {self.printer.target} has no loops of kind {loop.kind}, which are for GPUs")
        if loop.tests:
            self.tested(loop)
            return
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
        if trip(loop) == 1 and not loop.dealt:
            self.text.scope()
            self.text.let(self.printer.value_type("i64"), v, self.printer.int(lower))
            self.block(loop.body)
            self.text.close()
            return
        made = plan(loop, self.printer.arrays) if "vector" in loop.kind else None
        if made is None:
            self.head(loop, lower, upper)
            self.block(loop.body)
            self.text.close()
        else:
            self.vector(loop, lower, upper, made)

    def tested(self, loop: Loop) -> None:
        """Print a loop that looks at data before each iteration."""
        self.head(loop, *self.range(loop, 1))
        self.leaves(loop)
        self.block(loop.body)
        self.text.close()

    def head(self, loop: Loop, lower: Int, upper: Int) -> None:
        """Open a ``for``."""
        self.text.count(self.names.get("variable", loop.name), self.printer.int(lower), self.printer.int(upper), loop.step)

    def range(self, loop: Loop, grain: int) -> tuple[Int, Int]:
        """First and end value of a loop for this thread."""
        if not loop.dealt:
            return simple(loop.lower), simple(loop.upper)
        if "vector" in loop.kind:
            known = self.printer.arrays
            stored = [t.array for t in walk(loop.body) if isinstance(t, Store)]  # locals of the body are not declared yet
            widest = max([BITS[known[a].dtype] // 8 for a in stored if a in known], default=8)
            grain = max(1, 64 // widest)
        how = grain, self.uneven.get(id(loop))
        if loop.share:
            how = self.alike.setdefault(loop.share, how)
        key = (simple(loop.lower), simple(loop.upper), loop.step, *how)
        if key not in self.shares:
            lower, upper, step, *_ = key
            fixed = (names(lower) | names(upper)) <= set(self.function.integers)
            first, last = self.unused(f"{loop.name}_first"), self.unused(f"{loop.name}_last")
            text = self.top if fixed else self.text
            a, b = (self.names.get("variable", n) for n in (first, last))
            count = self.printer.int(simple(Int("-", (upper, lower))))
            trips = self.ceiling(count, step) if step > 1 else count
            trips = trips if constant(Int("-", (upper, lower))) is not None else self.positive(trips)
            self.share(text, a, b, trips, grain, key[-1])
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

    @abstractmethod
    def share(self, text: Text, first: str, last: str, trips: str, grain: int, uneven: float | None) -> None:
        """Print what gives this thread its part of ``trips`` iterations, in whole multiples of ``grain``. Where their work is uneven: what the
        first one has of that of the first and the last one (:mod:`.shares`)."""

    @abstractmethod
    def ceiling(self, count: str, step: int) -> str:
        """``count / step``, rounded up."""

    @abstractmethod
    def positive(self, count: str) -> str:
        """A number, or 0 where it is negative."""

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
        with self.of(*found.stores):
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
            self.text.count(v, self.printer.int(lower), self.printer.int(end), size)
            self.group(loop, base, size)
            self.text.close()
            if count % size:
                self.text.scope()
                self.text.let(self.printer.value_type("i64"), v, self.printer.int(end))
                self.group(loop, base, count % size)
                self.text.close()
            return
        self.text.variable(self.printer.value_type("i64"), v, self.printer.int(lower))
        last = self.printer.int(upper)
        while size >= 1:  # what is left over goes in smaller groups
            self.text.advance(v, last, size)
            self.group(loop, base, size)
            self.text.close()
            size = 1 if 1 < size < 6 else size // 3

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

    def vector(self, loop: Loop, lower: Int, upper: Int, made: SimdPlan) -> None:
        """Print a vector loop; what it reads at one place, and compilers cannot know that they may read it once, is held in variables around it."""
        held = self.held(loop)
        if not held:
            self.simd(loop, lower, upper, made)
            return
        self.text.if_(f"{self.printer.int(lower)} < {self.printer.int(upper)}")
        for load, array in held.items():
            self.declare(array)
            self.store(Store(array.name, (), load, ""))
        body = substitute_loads(loop.body, {load: Load(array.name, (), load.dtype) for load, array in held.items()})
        loop = replace(loop, body=body)
        self.simd(loop, lower, upper, plan(loop, self.printer.arrays) or made)
        self.text.close()

    def simd(self, loop: Loop, lower: Int, upper: Int, made: SimdPlan) -> None:
        """Print a vector loop; what it reduces into is held in variables around it."""
        if not made.reductions and loop.step == 1 and constant(lower) is None and trip(replace(loop, lower=lower, upper=upper)) is not None:
            if all(isinstance(t, (Store, Declare)) for t in loop.body.children):
                loop = counted(loop, lower, upper, self.unused("n"))
                lower, upper = loop.lower, loop.upper
        accumulators: dict[Store, str] = {}
        begun: dict[str, Store] = {}
        for store in made.reductions:
            same = next(
                (a for a, s in begun.items() if (s.array, s.index, s.reduce) == (store.array, store.index, store.reduce)), None
            )
            accumulators[store] = same or self.names.fresh("sum")
            begun.setdefault(accumulators[store], store)
        if begun:
            self.text.if_(f"{self.printer.int(lower)} < {self.printer.int(upper)}")
        for acc, store in sorted(begun.items()):
            dtype = self.printer.arrays[store.array].dtype
            self.text.variable(self.printer.storage_type(dtype), acc, self.printer.read(store.array, store.index))
        for first, end in [(lower, upper)] if begun else parts(loop, lower, upper, self.printer.arrays, self.machine):
            self.vector_hint([(s.reduce, self.printer.arrays[s.array].dtype, acc) for acc, s in begun.items()])
            self.head(loop, first, end)
            for child in loop.body.children:
                if isinstance(child, Store) and child in accumulators:
                    with self.of(child):
                        self.store(child, accumulators[child], fused=False)
                else:
                    self.tree(child)
            self.text.close()
        for acc, store in sorted(begun.items()):
            self.text.assign(self.printer.element(store.array, store.index), self.printer.stored(store.array, acc))
        if begun:
            self.text.close()

    def held(self, loop: Loop) -> dict[Load, Array]:
        """What a vector loop reads at one place and compilers would read again and again, or not make a vector loop of: with a variable for each.

        In a loop of one assignment, elements of the array that it writes: its iterations are independent, so none writes there. In any, what it
        reads under a condition (`where`), if it reads it without one, too, or if it is a fixed element of an array.
        """
        arrays, children = self.printer.arrays, loop.body.children
        stores = [t for t in children if isinstance(t, Store)]
        own = {t.array.name for t in children if isinstance(t, Declare)}
        memory = {a.name for a in arrays.values() if a.shape or a.scope != "local"} - own
        written = {t.array for t in walk(loop.body) if isinstance(t, Store)}
        found: list[Load] = []
        if len(children) == 1 and stores and not stores[0].reduce:
            found += [x for x in loads(stores[0].value) if x.array == stores[0].array]
        reads = {pair for s in stores for pair in guarded(s.value)}
        always = {x for x, under in reads if not under}
        found += [x for s in stores for x, under in guarded(s.value) if under and x.array not in written and (x in always or self._fixed(x))]
        still = [x for x in found if x.array in memory and moves(x, arrays, loop.name) == 0]
        return {x: Array(self.unused("held"), arrays[x.array].dtype, (), "local") for x in dict.fromkeys(still)}

    def _fixed(self, load: Load) -> bool:
        """Whether a load is of an element that is the same in the whole function, and exists."""
        shape = self.printer.arrays[load.array].shape if load.array in self.printer.arrays else ()
        places = [(constant(i), constant(n)) for i, n in zip(load.index, shape)]
        return load.array in self.printer.arrays and all(i is not None and n is not None and 0 <= i < n for i, n in places)

    @abstractmethod
    def vector_hint(self, reductions: Sequence[tuple[str, str, str]]) -> None:
        """Print what tells the compiler that a loop is a vector loop, with its (reduction, dtype, variable) triples."""
