"""Loop tree to C text: one kernel with the interface of :mod:`.cpu`. The loops are :mod:`.writer`'s; this is what C adds:
declarations, ``#pragma omp simd`` before vector loops, and the functions around the body.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..compiler.diagnostics import CompileError
from ..compiler.graph.types import HALF
from ..compiler.loops.tree import Array, Function, Load
from ..compiler.target import Machine
from .c_runtime import prelude
from .expressions import Printer
from .kernel_text import Body, kernel_text
from .text import Text
from .writer import Source, Writer, describe


def emit(function: Function, machine: Machine, *, strict: bool = False) -> Source:
    """The C source of a kernel. Raises CompileError for dtypes and ops that the target does not have."""
    checks: list[str] = []
    main = _body(function, machine, strict, checks)
    text = kernel_text(main, _body(function.tile.function, machine, strict, checks) if function.tile else None)
    return Source(prelude(text) + "\n" + text, tuple(checks))


def _body(function: Function, machine: Machine, strict: bool, checks: list[str]) -> Body:
    """The body of one function; its run-time checks are added to ``checks``."""
    printer = Printer({a.name: a for a in function.arrays}, checks)
    writer = _CWriter(function, printer, Text, machine, strict)
    writer.block(function.body)
    return Body(function, printer, writer.scratch, [*writer.top.lines, *writer.text.lines])


class _CWriter(Writer):
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
