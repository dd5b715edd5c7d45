"""Loop tree to Python text that numba compiles: the same loops as in C (:mod:`..writer`), in another language.

The text is a module: the function of one problem, the loop over the problems of a team, and the entry of one thread, which
takes the address of a call (:data:`CALL`). It is called in as many threads as there are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...compiler.diagnostics import CompileError
from ...compiler.loops.tree import Array, Function, Int, Load
from ...compiler.target import Machine
from ..kernel_text import Body, conditions, least
from ..rooms import rooms
from ..statements import Source, describe
from ..text import Text
from ..writer import Writer
from .expressions import NumbaPrinter
from .text import PythonText

#: What a call consists of, each 8 bytes: counts, addresses, the scratch memory, OpenMP's functions (0: one thread), the result.
CALL = (
    "batch", "teams", "team_size", "pointers", "batch_strides", "team_strides", "integers", "workspace", "problem_bytes", "thread_bytes",
    "get_num_threads", "get_thread_num", "status", "end",
)  # fmt: skip
#: What a source uses of its library.
_USED = re.compile(r"\b(?:us_\w+|u8|f32|f64|i8|i16|i32|i64)(?=\()|\b(?:compiled|inf|nan)\b")
#: Bytes of the place where the threads of a team meet.
MEETING = 128


@dataclass(frozen=True)
class NumbaSource(Source):
    """Also the name of the entry, the bytes of scratch memory of a problem and of a thread, without batch tiles and with them, how many
    problems it takes for a tile (0: there is none), and whether threads meet."""

    name: str
    integers: tuple[str, ...]
    problem_bytes: tuple[Int, Int]
    thread_bytes: tuple[Int, Int]
    tile_from: int
    meets: bool
    pointers: tuple[str, ...]


def emit(function: Function, machine: Machine, *, strict: bool = False) -> NumbaSource:
    """The Python source of a kernel. Raises CompileError for dtypes and ops that the target does not have."""
    checks: list[str] = []
    main = _body(function, machine, strict, checks)
    return _Frame(main, _body(function.tile.function, machine, strict, checks) if function.tile else None).source(tuple(checks))


def _body(function: Function, machine: Machine, strict: bool, checks: list[str]) -> Body:
    """The body of one function; its run-time checks are added to ``checks``."""
    printer = NumbaPrinter({a.name: a for a in function.arrays}, checks)
    writer = _NumbaWriter(function, printer, PythonText, machine, strict)
    writer.block(function.body)
    return Body(function, printer, writer.scratch, [*writer.top.lines, *writer.text.lines])


class _NumbaWriter(Writer):
    printer: NumbaPrinter

    def local(self, array: Array, count: int = 0) -> None:
        """Print the declaration of ``count`` elements on the stack; a variable needs none."""
        if count:
            name, made = self.names.get("array", array.name), f"us_local_{array.dtype}({count})"
            self.text.line(f"{name} = {made}  # {describe(array, self.printer)}")

    def combine(self, reduce: str, held: str, value: str, dtype: str, vector: bool) -> str:
        """The right side of ``held reduce= value``."""
        if not reduce:
            return value
        if reduce in ("max", "min") and dtype in ("c64", "c128"):
            raise CompileError(f"complex numbers have no {reduce}")
        if reduce in ("and", "or"):
            return f"{held} {'&' if reduce == 'and' else '|'} ({value})"
        if dtype in ("f32", "f64") and vector:
            return f"us_reduce_{reduce}({held}, {value})"
        if dtype in ("f32", "f64") and reduce in ("add", "mul"):
            return (
                f"{held} {'+' if reduce == 'add' else '*'} ({value})"
                if " " in value
                else f"{held} {'+' if reduce == 'add' else '*'} {value}"
            )
        if dtype == "bool":
            return f"{held} {'|' if reduce == 'max' else '&'} ({value})"
        name = {"max": "maximum", "min": "minimum"}.get(reduce, reduce)
        return f"us_{name}_{'i64' if dtype == 'key' else dtype}({held}, {value})"

    def address(self, load: Load) -> str:
        """Where a block of an array begins."""
        array = self.printer.arrays[load.array]
        if array.scope == "local" and not array.shape:
            raise CompileError(f"target numba has no address of {load.array}")
        return f"us_offset({self.printer.place(load)})"

    def share(self, text: Text, first: str, last: str, trips: str, grain: int, uneven: float | None) -> None:
        """Print what gives this thread its part of ``trips`` iterations, in whole multiples of ``grain``."""
        how, more = ("us_share", "") if uneven is None else ("us_share_uneven", f", {uneven:.4f}")
        text.line(f"{first}, {last} = {how}({trips}, {grain}, member, team_size{more})")

    def ceiling(self, count: str, step: int) -> str:
        """``count / step``, rounded up."""
        return f"({count} + {step - 1}) // {step}"

    def positive(self, count: str) -> str:
        """A number, or 0 where it is negative."""
        return f"max({count}, 0)"

    def vector_hint(self, reductions: Sequence[tuple[str, str, str]]) -> None:
        """LLVM finds vector loops itself."""


class _Frame:
    """The functions around the bodies; ``tile`` is the body of a batch tile."""

    def __init__(self, main: Body, tile: Body | None) -> None:
        self.main = main
        self.tile = tile
        self.bodies = [main] if tile is None else [main, tile]
        self.name = main.function.name
        self.meets = any(b.meets for b in self.bodies)

    def source(self, checks: tuple[str, ...]) -> NumbaSource:
        """All of it."""
        lines = [line for b in self.bodies for line in self._function(b)]
        lines += [*self._run(), *self._entry()]
        own = {self.name, *(f"{self.name}_{part}" for part in ("problem", "tile", "run"))}
        used = sorted(set(_USED.findall("\n".join(lines))) - own)
        head = ["from unspool.backends.numba.library import (", *(f"    {u}," for u in used), ")", ""]
        sums = [[rooms(part) for part in (b.problem, b.thread)] for b in self.bodies]
        tile = self.main.function.tile
        problem, thread = ((x, Int("max", (x, y))) for x, y in zip(sums[0], sums[-1], strict=True))
        names = {b.array(a) for b in self.bodies for a in (*b.passed, *b.problem, *b.thread)}
        return NumbaSource(
            "\n".join([*head, *lines]) + "\n", checks, self.name, tuple(self.main.function.integers), problem, thread,
            0 if tile is None else least(tile), self.meets,
            tuple(sorted(names)),
        )  # fmt: skip

    def _function(self, body: Body) -> list[str]:
        what = "One problem" if body is self.main else "Several problems side by side"
        out = ["", "@compiled", f"def {self._called(body)}("]
        params = ["member", "team_size", "failed", *(["team"] if body.meets else [])]
        out += [f"    {', '.join([*params, *(body.integer(n) for n in body.function.integers)])},"]
        for a in (*body.passed, *body.problem, *body.thread):
            out.append(f"    {body.array(a)},  # {describe(a, body.printer)} {a.scope}")
        out += ["):", f'    """{what}, by member ``member`` of a team of ``team_size`` threads."""']
        if body.meets:
            out += [f"    us_publish({body.array(a)})" for a in (*body.passed, *body.problem) if a.scope != "input"]
        return [*out, *body.lines, ""]

    def _called(self, body: Body) -> str:
        return f"{self.name}_{'problem' if body is self.main else 'tile'}"

    def _run(self) -> list[str]:
        out = [
            "",
            "@compiled",
            f"def {self.name}_run(call, team_number, member, teams, team_size):",
            '    """The problems of one team, by one of its threads: the number of a failed check, or 0."""',
            "    batch, pointers, integers = call[0], us_pointer_i64(call[3]), us_pointer_i64(call[6])",
            "    batch_strides, team_strides = us_pointer_i64(call[4]), us_pointer_i64(call[5])",
            "    failed = us_local_i32(1)",
            "    failed[0] = 0",
            f"    shared = call[7]{f' + call[1] * {MEETING}' if self.meets else ''} + team_number * call[8]",
            f"    own = call[7]{f' + call[1] * {MEETING}' if self.meets else ''} + teams * call[8] + (team_number * team_size + member) * call[9]",
        ]
        out += [f"    {self.main.integer(n)} = integers[{i}]" for i, n in enumerate(self.main.function.integers)]
        if self.meets:
            out.append(f"    meeting = us_pointer_i32(call[7] + team_number * {MEETING})")
        tile = self.main.function.tile
        grain = "1"
        if tile is not None:
            out.append(f"    tiled = {' and '.join(conditions(self.main.function, least(tile)))}")
            grain = f"{tile.size} if tiled else 1"
        out += [
            f"    first, last = us_share(batch, {grain}, team_number, teams)",
            "    problem = first",
            "    while problem < last:",
        ]
        if self.meets:
            out += ["        if problem > first:", "            us_barrier(meeting, team_size)"]
        if tile is None or self.tile is None:
            return [*out, *self._call(self.main, "1", 8), "    return failed[0]", ""]
        out += [f"        if tiled and last - problem >= {least(tile)}:", f"            lanes = min(last - problem, {tile.size})"]
        out += [*self._call(self.tile, "lanes", 12), "        else:", *self._call(self.main, "1", 12)]
        return [*out, "    return failed[0]", ""]

    def _call(self, body: Body, problems: str, depth: int) -> list[str]:
        tile, known = self.main.function.tile, self.main.function.integers
        strides = {s: n for n, s in enumerate(tile.strides)} if tile else {}
        args = ["member, team_size, failed", *(["meeting"] if body.meets else [])]
        for name in body.function.integers:
            if name in known:
                args.append(self.main.integer(name))
            else:
                args.append(f"batch_strides[{strides[name]}]" if name in strides else "lanes")
        for n, a in enumerate(body.passed):
            place = f"team_number * team_strides[{n}] + problem * batch_strides[{n}]"
            args.append(f"us_offset(us_pointer_{a.dtype}(pointers[{n}]), {place})")
        for base, arrays in (("shared", body.problem), ("own", body.thread)):
            for n, a in enumerate(arrays):
                before = self.main.printer.int(rooms(arrays[:n]))
                args.append(f"us_pointer_{a.dtype}({base if before == '0' else f'{base} + {before}'})")
        pad = " " * depth
        return [f"{pad}{self._called(body)}(", *(f"{pad}    {arg}," for arg in args), f"{pad})", f"{pad}problem += {problems}"]

    def _entry(self) -> list[str]:
        return [
            "",
            f"def {self.name}(call):",
            '    """One thread of a call; fewer than asked for may come."""',
            "    came, thread = us_threads(call[10], call[11])",
            "    teams = min(came, call[1])",
            "    team_size = min(came // teams, call[2])",
            "    if thread < teams * team_size:",
            f"        status = {self.name}_run(call, thread // team_size, thread % team_size, teams, team_size)",
            "        if status != 0:",
            "            call[12] = status",
            "    us_leave(us_pointer_i32(call[13]), thread, came)",
        ]
