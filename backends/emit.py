"""Loop tree to C text: one kernel with the interface of :mod:`.cpu`. The loops are :mod:`.writer`'s; this is what C adds:
declarations, ``#pragma omp simd`` before vector loops, and the functions around the body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..compiler.diagnostics import CompileError
from ..compiler.graph.types import HALF
from ..compiler.loops.tree import Array, Function, Int, Load, Loop, Store
from ..compiler.target import Machine
from .c_runtime import prelude
from .expressions import Printer
from .kernel_text import Body, kernel_text
from .printer import REALS
from .simd import SimdPlan
from .statements import Source, describe
from .text import Text
from .tiles import trip
from .writer import Writer

#: What reductions of real numbers start from.
NEUTRAL = {"add": "0", "mul": "1", "max": "-INFINITY", "min": "INFINITY"}


def emit(function: Function, machine: Machine, *, strict: bool = False) -> Source:
    """The C source of a kernel. Raises CompileError for dtypes and ops that the target does not have."""
    checks: list[str] = []
    main = _body(function, machine, strict, checks)
    text = kernel_text(main, _body(function.tile.function, machine, strict, checks) if function.tile else None)
    return Source(prelude(text) + "\n" + text, tuple(checks))


def emit_together(functions: Sequence[Function], machine: Machine, *, strict: bool = False) -> str:
    """The C source of several kernels in one file. Raises CompileError like :func:`emit`."""
    text = "\n".join(kernel_text(_body(function, machine, strict, []), None) for function in functions)
    return prelude(text) + "\n" + text


def _body(function: Function, machine: Machine, strict: bool, checks: list[str]) -> Body:
    """The body of one function; its run-time checks are added to ``checks``."""
    printer = Printer({a.name: a for a in function.arrays}, checks)
    writer = CWriter(function, printer, Text, machine, strict)
    writer.block(function.body)
    return Body(function, printer, writer.scratch, [*writer.top.lines, *writer.text.lines])


class CWriter(Writer):
    printer: Printer

    def local(self, array: Array, count: int = 0) -> None:
        """Print the declaration of a variable, or of ``count`` elements on the stack."""
        c_type, text = self.printer.storage_type(array.dtype), self.names.get("array", array.name)
        if not count:
            self.text.line(f"{c_type} {text};")
        else:
            self.text.line(f"{c_type} {text}[{count}] __attribute__((aligned(64)));  // {describe(array, self.printer)}")

    def combine(self, reduce: str, held: str, value: str, dtype: str, vector: bool) -> str:
        """The right side of ``held reduce= value``."""
        return combine(reduce, held, value, dtype)

    def address(self, load: Load) -> str:
        """Where a block of an array begins."""
        return self.printer.address(load)

    def at(self, load: Load) -> str:
        """The element at the beginning of a block."""
        return "*" + self.printer.address(load)

    def share(self, text: Text, first: str, last: str, trips: str, grain: int, uneven: float | None) -> None:
        """Print what gives this thread its part of ``trips`` iterations, in whole multiples of ``grain``."""
        text.line(f"int64_t {first}, {last};")
        how, more = ("us_share", "") if uneven is None else ("us_share_uneven", f"{uneven:.4f}, ")
        text.line(f"{how}({trips}, {grain}, member, team_size, {more}&{first}, &{last});")

    def ceiling(self, count: str, step: int) -> str:
        """``count / step``, rounded up."""
        return f"({count} + {step - 1}) / {step}"

    def positive(self, count: str) -> str:
        """A number, or 0 where it is negative."""
        return f"us_imax({count}, 0)"

    def simd(self, loop: Loop, lower: Int, upper: Int, made: SimdPlan) -> None:
        """Print a vector loop. Where it has maxima or minima of real numbers, which compilers join one lane after the other, it reduces
        into an array of lanes, whose halves are joined in turn."""
        places = {(s.array, s.index, s.reduce): s for s in made.reductions}
        dtypes = {self.printer.arrays[s.array].dtype for s in made.reductions}
        dtype = min(dtypes, default="")
        size, trips = self.machine.lanes(dtype), trip(replace(loop, lower=lower, upper=upper))
        real = len(dtypes) == 1 and dtype in REALS and loop.step == 1
        if not real or size < 4 or not any(r in ("max", "min") for _, _, r in places) or (trips is not None and trips < 2 * size):
            super().simd(loop, lower, upper, made)
            return
        c_type = self.printer.storage_type(dtype)
        lanes = {key: self.names.fresh("lanes") for key in places}
        base, lane = self.names.fresh("base"), self.names.fresh("lane")
        v, end = self.names.get("variable", loop.name), self.printer.int(upper)
        self.text.if_(f"{self.printer.int(lower)} < {end}")
        for key, text in lanes.items():
            self.text.line(f"{c_type} {text}[{size}] __attribute__((aligned(64)));")
            self.text.line("#pragma omp simd")
            self.text.line(f"for (int64_t {lane} = 0; {lane} < {size}; {lane}++) {text}[{lane}] = {NEUTRAL[key[2]]};")
        self.text.variable("int64_t", base, self.printer.int(lower))
        self.text.advance(base, end, size)
        self.text.line("#pragma omp simd")
        self.text.count(lane, "0", str(size))
        self.text.let("int64_t", v, f"{base} + {lane}")
        self._reducing(loop, lanes, lane)
        self.text.close()
        self.text.close()
        if trips is None or trips % size:
            self.text.line("#pragma omp simd")
            self.text.count(v, base, end)
            self._reducing(loop, lanes, f"{v} - {base}")
            self.text.close()
        for key, store in places.items():
            text, width = lanes[key], size // 2
            while width:
                self.text.line("#pragma omp simd")
                joined = combine(key[2], f"{text}[{lane}]", f"{text}[{lane} + {width}]", dtype)
                self.text.line(f"for (int64_t {lane} = 0; {lane} < {width}; {lane}++) {text}[{lane}] = {joined};")
                width //= 2
            self.text.assign(
                self.printer.element(store.array, store.index),
                combine(key[2], self.printer.read(store.array, store.index), f"{text}[0]", dtype),
            )
        self.text.close()

    def _reducing(self, loop: Loop, lanes: Mapping[tuple[str, tuple[Int, ...], str], str], lane: str) -> None:
        """The body of a vector loop that reduces into arrays of lanes."""
        for child in loop.body.children:
            text = lanes.get((child.array, child.index, child.reduce)) if isinstance(child, Store) else None
            if isinstance(child, Store) and text is not None:
                with self.of(child):
                    self.store(child, f"{text}[{lane}]", fused=False)
            else:
                self.tree(child)

    def vector_hint(self, reductions: Sequence[tuple[str, str, str]]) -> None:
        """Print what tells the compiler that a loop is a vector loop, with its (reduction, dtype, variable) triples."""
        clauses: dict[str, list[str]] = {}
        for reduce, dtype, variable in reductions:
            clauses.setdefault(clause(reduce, dtype), []).append(variable)
        listed = "".join(f" reduction({c}: {', '.join(a)})" for c, a in clauses.items())
        self.text.line(f"#pragma omp simd{listed}")


def clause(reduce: str, dtype: str) -> str:
    """The reduction operator of a simd loop."""
    if reduce in ("max", "min"):
        return f"us_reduce_{reduce}imum_{dtype}" if dtype in ("f32", "f64") else reduce
    return {"add": "+", "mul": "*", "and": "&", "or": "|"}[reduce]


def combine(reduce: str, place: str, value: str, dtype: str) -> str:
    """The right side of ``place reduce= value``."""
    if not reduce:
        return value
    if dtype in HALF:
        raise CompileError(f"target c has no sums in {dtype}: f16 and bf16 are storage, add up in f32")
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
