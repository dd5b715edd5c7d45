"""Loop tree to C text of a debug build: every access is checked against the sizes of its array, and every operation of real or complex
numbers for a result that is not finite though its operands are. Loops run as the program has them, by one thread.

What a failed check was about goes to ``us_note`` (``c_debug.h``); :mod:`.debug_target` makes the message of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from ..compiler.diagnostics import Span
from ..compiler.loops.tree import Array, Call, Expr, Function, Int, Literal, Loop, Origin, Store
from ..compiler.target import Machine
from .affine import constant, simple
from .c_runtime import prelude
from .emit import CWriter, combine
from .expressions import Printer
from .kernel_text import Body, kernel_text
from .printer import COMPLEXES, INTEGERS, RANDOM, REALS, strip
from .text import Text

FLOATS = (*REALS, *COMPLEXES)
#: Operations whose result is finite wherever their operands are.
_HARMLESS = frozenset({"where", "stop_gradient", "neg", "conj", "re", "im", "abs", "maximum", "minimum", "sign", "relu", "isfinite", *RANDOM})
#: More parts of one expression than this are named first, as in other builds, so that its text stays small.
_LARGEST = 400
#: What an expression with checks begins with: one that is a block.
_CHECKED = "__extension__"


@dataclass(frozen=True)
class Site:
    """What a numbered check is about: ``kind`` is ``index`` (of axis ``axis`` of ``what``), ``number`` (a result of operation ``what``, with
    so many ``operands``), ``division`` (of integers) or ``other``, of the run-time library, which notes no places (``what`` is the message).
    ``around`` names the loops, ``rank`` is that of the element."""

    kind: str
    what: str
    span: Span | None
    around: tuple[str, ...]
    rank: int
    axis: int = 0
    operands: int = 0


def emit_debug(function: Function, machine: Machine) -> tuple[str, tuple[Site, ...]]:
    """The C source of a debug build, and its checks. Raises CompileError for dtypes and ops that the target does not have."""
    printer = DebugPrinter({a.name: a for a in function.arrays})
    writer = DebugWriter(function, printer, Text, machine, True)
    writer.block(function.body)
    text = kernel_text(Body(function, printer, writer.scratch, [*writer.top.lines, *writer.text.lines]))
    return prelude(f"us_note {text}") + "\n" + text, tuple(printer.sites)  # the caller looks for it, though nothing may be checked


class DebugPrinter(Printer):
    """Prints expressions of C with checks. ``origin`` and ``place``: of the assignment that is being printed."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        super().__init__(arrays)
        self.sites: list[Site] = []
        self.origin = Origin(None)
        self.place: tuple[Int, ...] = ()
        self.span: Span | None = None
        self.chosen = ""  # what must hold for a fault to matter

    def enter(self, origin: Origin | None, place: tuple[Int, ...]) -> None:
        """Begin to print an assignment."""
        self.origin, self.place, self.chosen = Origin(None), (), ""
        tests = [] if origin is None else [self.plain.value(test) for test in origin.tests]
        if origin is not None:
            self.origin, self.place = origin, place
        self.chosen = "".join(f" && ({test})" for test in tests)

    @cached_property
    def plain(self) -> Printer:
        """A printer without checks for the same names."""
        made = Printer(self.arrays)
        made.arrays, made.names = self.arrays, self.names
        return made

    def check(self, what: str) -> int:
        """The number of a new check that the run-time library makes."""
        return self.site("other", what)

    def site(self, kind: str, what: str, axis: int = 0, operands: int = 0) -> int:
        """The number of a new check."""
        around = tuple(name for name, _ in self.origin.around)
        self.sites.append(Site(kind, what, self.span or self.origin.span, around, len(self.place), axis, operands))
        return len(self.sites)

    def note(self, number: int, numbers: Iterable[str]) -> str:
        """A call that keeps what a failed check was about."""
        listed = list(numbers)
        places = [self.int(i) for _, i in self.origin.around] + [self.int(i) for i in self.place]
        return (
            f"us_note(failed, {number}, {len(listed)}, (const double[]){{{', '.join(listed) or '0'}}}, "
            f"{len(places)}, (const int64_t[]){{{', '.join(places) or '0'}}})"
        )

    # -- elements ------------------------------------------------------------------------------------------------

    def element(self, array: str, index: Iterable[Int]) -> str:
        """One element as an lvalue, each index checked."""
        info = self.arrays[array]
        indices = tuple(self._checked(array, axis, i, size) for axis, (i, size) in enumerate(zip(index, info.shape, strict=True)))
        if not info.shape:
            return super().element(array, ())
        text = indices[0]
        for i, size in zip(indices[1:], info.shape[1:], strict=True):
            text = f"({text}) * ({self.int(size)}) + {i}"
        return f"{self.names.get('array', array)}[{text}]"

    def _checked(self, array: str, axis: int, index: Int, size: Int) -> str:
        """An index, or 0 where it is out of range, which is noted."""
        known, length = constant(simple(index)), constant(simple(size))
        text, extent = self.int(index), self.int(size)
        if known is not None and length is not None and 0 <= known < length:
            return text
        i, n = self.names.fresh("at"), self.names.fresh("of")
        number = self.site("index", array, axis=axis)
        return (
            f"{_CHECKED} ({{ int64_t {i} = {text}, {n} = {extent}; "
            f"{self._out_of_range(number, i, n)} {i}; }})"
        )

    def _out_of_range(self, number: int, i: str, n: str) -> str:
        """What notes an index that is out of range, and makes it 0."""
        noted = self.note(number, [f"(double){i}", f"(double){n}"])
        return f"if ({i} < 0 || {i} >= {n}) {{ {f'if (1{self.chosen}) ' if self.chosen else ''}{noted}; {i} = 0; }}"

    # -- values --------------------------------------------------------------------------------------------------

    def statement_value(self, e: Expr, prefix: str) -> tuple[list[tuple[str, str, str]], str]:
        """Each part of an expression where it stands: what is not selected is not computed."""
        return super().statement_value(e, prefix) if _parts(e) > _LARGEST else ([], strip(self.value(e)))

    def value(self, e: Expr) -> str:
        """An expression in one piece, in the place of its outermost operation."""
        before = self.span
        if isinstance(e, Call):
            self.span = e.span or before
        try:
            return super().value(e)
        finally:
            self.span = before

    def call(self, e: Call, args: list[str]) -> str:
        """One op on the texts of its operands, its result checked."""
        if e.op == "check_index":
            return self._data_index(args)
        if e.op in ("floordiv", "mod") and e.dtype in INTEGERS and not isinstance(e.args[1], Literal):
            return self._division(e, args)
        unchecked = e.dtype not in FLOATS or e.op in _HARMLESS or (e.op == "cast" and e.args[0].dtype not in FLOATS)
        if unchecked and (e.op == "where" or sum(_CHECKED in a for a in args) < 2):
            return super().call(e, args)
        lines, names = [], []  # operands in the order they are written
        for operand, text in zip(e.args, args, strict=True):
            if isinstance(operand, Literal):
                names.append(text)
                continue
            names.append(self.names.fresh("p"))
            lines.append(f"{self.value_type(operand.dtype)} {names[-1]} = {strip(text)};")
        if unchecked:
            return f"{_CHECKED} ({{ {' '.join(lines)} {strip(super().call(e, names))}; }})"
        result = strip(super().call(e, names))
        dtypes = [a.dtype for a in e.args]
        return self.seen(e.op, e.dtype, result, list(zip(names, dtypes, strict=True)), lines)

    def seen(self, op: str, dtype: str, result: str, operands: list[tuple[str, str]], lines: Iterable[str]) -> str:
        """A result, noted if it is not finite though its operands are."""
        out = self.names.fresh("r")
        number = self.site("number", op, operands=len(operands))
        finite = [self.finite(name, d) for name, d in operands if d in FLOATS]
        shown = [self.shown(name, d) for name, d in ((out, dtype), *operands)]
        test = " && ".join([f"!{self.finite(out, dtype)}", *finite]) + self.chosen
        return (
            f"{_CHECKED} ({{ {' '.join(lines)} {self.value_type(dtype)} {out} = {result}; "
            f"if (__builtin_expect({test}, 0)) {self.note(number, shown[:4])}; {out}; }})"
        )

    @staticmethod
    def finite(name: str, dtype: str) -> str:
        """A test."""
        if dtype in COMPLEXES:
            return f"(__builtin_isfinite({name}.re) && __builtin_isfinite({name}.im))"
        return f"__builtin_isfinite({name})"

    @staticmethod
    def shown(name: str, dtype: str) -> str:
        """A number for the message; the modulus of a complex one would say less than its real part."""
        return f"(double){name}.re" if dtype in COMPLEXES else f"(double){name}"

    def _division(self, e: Call, args: list[str]) -> str:
        """A division of integers, by 1 where it is by zero, which is noted."""
        divisor, dtype = self.names.fresh("p"), "i64" if e.dtype == "key" else e.dtype
        noted = self.note(self.site("division", "integer division by zero"), [])
        return (
            f"{_CHECKED} ({{ {self.value_type(dtype)} {divisor} = {strip(args[1])}; "
            f"if ({divisor} == 0) {{ {f'if (1{self.chosen}) ' if self.chosen else ''}{noted}; {divisor} = 1; }} "
            f"us_{e.op}_{dtype}({strip(args[0])}, {divisor}); }})"
        )

    def _data_index(self, args: list[str]) -> str:
        """An index from data."""
        i, n = self.names.fresh("at"), self.names.fresh("of")
        number = self.site("index", "")
        return (
            f"{_CHECKED} ({{ int64_t {i} = {strip(args[0])}, {n} = {strip(args[1])}; "
            f"{self._out_of_range(number, i, n)} {i}; }})"
        )


class DebugWriter(CWriter):
    """Prints loops one after the other as they are, and assignments with checks."""

    printer: DebugPrinter

    def loop(self, loop: Loop) -> None:
        """Print a loop."""
        if loop.tests:
            self.tested(loop)
            return
        self.head(loop, *self.range(loop, 1))
        self.block(loop.body)
        self.text.close()

    def store(self, store: Store, target: str = "", fused: bool = True) -> None:
        """Print an assignment."""
        printer = self.printer
        printer.enter(store.origin, store.index)
        dtype = printer.arrays[store.array].dtype
        place = target or printer.element(store.array, store.index)
        lines, text = printer.statement_value(store.value, "e")
        if store.reduce in ("add", "mul") and dtype in FLOATS:
            held, value = printer.names.fresh("p"), printer.names.fresh("p")
            kind = printer.value_type(dtype)
            read = target or printer.read(store.array, store.index)
            before = [f"{kind} {held} = {read};", f"{kind} {value} = {text};"]
            both, name = [(held, dtype), (value, dtype)], "sum" if store.reduce == "add" else "prod"
            text = printer.seen(name, dtype, combine(store.reduce, held, value, dtype), both, before)
        elif store.reduce:
            text = combine(store.reduce, target or printer.read(store.array, store.index), text, dtype)
        if lines:
            self.text.scope()
        for line in lines:
            self.text.let(*line)
        self.text.assign(place, text)
        if lines:
            self.text.close()
        printer.enter(None, ())


def _parts(e: Expr) -> int:
    """How many operations an expression has, as its text has them; stops counting above the limit."""
    stack, count = [e], 0
    while stack and count <= _LARGEST:
        top = stack.pop()
        if isinstance(top, Call):
            count += 1
            stack.extend(top.args)
    return count
