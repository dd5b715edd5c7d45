"""Loop tree to C text: one kernel with the interface of :mod:`.cpu`. The loops are :mod:`.writer`'s; this is what C adds:
declarations, ``#pragma omp simd`` before vector loops, and the functions around the body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..compiler.diagnostics import CompileError
from ..compiler.graph.types import HALF
from ..compiler.loops.tree import Array, Function, Int, Load, Loop, Store
from ..compiler.loops.tree_walk import loads
from ..compiler.target import Machine
from .c_runtime import prelude
from .expressions import Printer
from .kernel_text import Body, kernel_text
from .lanes import FEWEST, Piece, pieces
from .printer import REALS
from .simd import SimdPlan
from .statements import Source, describe
from .text import Text
from .tiles import moves, trip
from .writer import Writer

#: What reductions of real numbers start from.
NEUTRAL = {"add": "0", "mul": "1", "max": "-INFINITY", "min": "INFINITY"}
#: What a vector loop reduces into: an element of an array, and how.
Place = tuple[str, tuple[Int, ...], str]


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
        """Print a vector loop. What it reduces of real numbers goes into arrays of lanes (see :mod:`.lanes`), whose halves are joined in turn."""
        places = {(s.array, s.index, s.reduce): s for s in made.reductions}
        dtypes = {self.printer.arrays[s.array].dtype for s in made.reductions}
        dtype, trips = min(dtypes, default=""), trip(replace(loop, lower=lower, upper=upper))
        real = len(dtypes) == 1 and dtype in REALS and loop.step == 1 and all(reduce in NEUTRAL for _, _, reduce in places)
        size = self.machine.lanes(dtype) if real else 0
        strided = real and trips is not None and self._strided(loop)
        size = FEWEST if strided else size
        found = pieces(trips, size, not strided)
        if not found:
            super().simd(loop, lower, upper, made)
            return
        begin, end = self.printer.int(lower), self.printer.int(upper)
        self.text.if_(f"{begin} < {end}")
        totals: list[dict[Place, str]] = []
        for piece in found:
            lanes = {key: self.names.fresh("lanes") for key in places}
            for key, text in lanes.items():
                self.text.line(f"{self.printer.storage_type(dtype)} {text}[{piece.lanes}] __attribute__((aligned(64)));")
                self._each_lane(text, piece.lanes, NEUTRAL[key[2]])
            self._lanes(loop, begin, end, piece, lanes, strided)
            totals.append({key: self._joined(text, piece.lanes, size, key[2], dtype) for key, text in lanes.items()})
        done = found[-1].end
        if done is not None and done != trips:
            totals.append({key: self.names.fresh("rest") for key in places})
            for key, text in totals[-1].items():
                self.text.variable(self.printer.storage_type(dtype), text, NEUTRAL[key[2]])
            self.text.count(self.names.get("variable", loop.name), _sum(begin, done), end)
            self._reducing(loop, totals[-1], "")
            self.text.close()
        for key, store in places.items():
            value = self.printer.read(store.array, store.index)
            for total in totals:
                value = combine(key[2], value, total[key], dtype)
            self.text.assign(self.printer.element(store.array, store.index), value)
        self.text.close()

    def _lanes(self, loop: Loop, begin: str, end: str, piece: Piece, lanes: Mapping[Place, str], strided: bool) -> None:
        """Print a part of a vector loop that reduces into arrays of lanes, or into as many variables, one after the other."""
        base, lane, v = self.names.fresh("base"), self.names.fresh("lane"), self.names.get("variable", loop.name)
        self.text.variable("int64_t", base, _sum(begin, piece.first))
        self.text.advance(base, end if piece.end is None else _sum(begin, piece.end), piece.lanes)
        if strided:
            for number in range(piece.lanes):
                self.text.scope()
                self.text.let("int64_t", v, f"{base} + {number}")
                self._reducing(loop, lanes, f"[{number}]")
                self.text.close()
        else:
            self.text.line("#pragma omp simd")
            self.text.count(lane, "0", str(piece.lanes))
            self.text.let("int64_t", v, f"{base} + {lane}")
            self._reducing(loop, lanes, f"[{lane}]")
            self.text.close()
        self.text.close()
        if piece.end is None:
            self.text.line("#pragma omp simd")
            self.text.count(v, base, end)
            self._reducing(loop, lanes, f"[{v} - {base}]")
            self.text.close()

    def _strided(self, loop: Loop) -> bool:
        """Whether a vector loop reads elements that are further apart: C compilers load and store those one by one, so lanes are variables."""
        loaded = [x for t in loop.body.children if isinstance(t, Store) for x in loads(t.value)]
        known = self.printer.arrays  # but for those of an iteration, which are in registers
        return any(abs(moves(x, known, loop.name) or 0) > 1 for x in loaded if x.array in known)

    def _joined(self, lanes: str, count: int, size: int, reduce: str, dtype: str) -> str:
        """Print what joins an array of lanes, all but the last vector of a sum; the value."""
        lane = self.names.fresh("lane")
        while count > (size if reduce == "add" else 1):
            count //= 2
            self._each_lane(lanes, count, combine(reduce, f"{lanes}[{lane}]", f"{lanes}[{lane} + {count}]", dtype), lane)
        return f"us_sum_{dtype}x{count}(us_load_{dtype}x{count}({lanes}))" if reduce == "add" else f"{lanes}[0]"

    def _each_lane(self, lanes: str, count: int, value: str, lane: str = "") -> None:
        """Print an assignment to each of the first ``count`` lanes."""
        lane = lane or self.names.fresh("lane")
        self.text.line("#pragma omp simd")
        self.text.line(f"for (int64_t {lane} = 0; {lane} < {count}; {lane}++) {lanes}[{lane}] = {value};")

    def _reducing(self, loop: Loop, places: Mapping[Place, str], lane: str) -> None:
        """The body of a vector loop that reduces into variables, or into a lane of arrays."""
        for child in loop.body.children:
            text = places.get((child.array, child.index, child.reduce)) if isinstance(child, Store) else None
            if isinstance(child, Store) and text is not None:
                with self.of(child):
                    self.store(child, f"{text}{lane}", fused=False)
            else:
                self.tree(child)

    def vector_hint(self, reductions: Sequence[tuple[str, str, str]]) -> None:
        """Print what tells the compiler that a loop is a vector loop, with its (reduction, dtype, variable) triples."""
        clauses: dict[str, list[str]] = {}
        for reduce, dtype, variable in reductions:
            clauses.setdefault(clause(reduce, dtype), []).append(variable)
        listed = "".join(f" reduction({c}: {', '.join(a)})" for c, a in clauses.items())
        self.text.line(f"#pragma omp simd{listed}")


def _sum(base: str, more: int) -> str:
    """The text of a sum."""
    return f"{base} + {more}" if more else base


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
