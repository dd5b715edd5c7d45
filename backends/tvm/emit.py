"""Loop tree to TVMScript: a second way to print it, plain loops over arrays with their own axes.

Nothing is decided here that the other targets decide, too: there are no register tiles, no jammed loops, no shares of a team. A problem runs
in one thread, so barriers are nothing; problems of a batch are split over the threads of TVM's pool. The text is a module of

    NAME_problem   one problem; NAME_tile several side by side, if there is a batch tile
    NAME_team      a team's share of the batch
    NAME           the entry: one team, or all of them in parallel
"""

from __future__ import annotations

from dataclasses import dataclass

from ...compiler.diagnostics import CompileError
from ...compiler.graph.types import HALF
from ...compiler.loops.tree import Array, Function, Int, Load, Loop, Single, Store, Tile
from ..affine import const, constant
from ..c_runtime import BITS
from ..kernel_text import least
from ..printer import COMPLEXES, strip
from ..rooms import rooms
from ..statements import Source, Statements
from .expressions import ScriptPrinter
from .text import KINDS, ScriptText, stored

#: What an element is in memory, in TVM's words.
STORED = {dtype: KINDS[stored(dtype)] for dtype in BITS}


@dataclass(frozen=True)
class TvmSource(Source):
    """Also the name of the entry, the bytes of scratch memory of a problem and of a thread, without batch tiles and with them, and the tile."""

    name: str
    integers: tuple[str, ...]
    problem_bytes: tuple[Int, Int]
    thread_bytes: tuple[Int, Int]
    tile: Tile | None
    outputs: tuple[bool, ...]

    @property
    def tile_from(self) -> int:
        """How many problems it takes for a tile; 0: there is none."""
        return 0 if self.tile is None else least(self.tile)

    def tiled(self, batch: int, batch_strides: tuple[int, ...]) -> bool:
        """Whether a call runs in tiles: operands are shared as the tile takes them to be, and every problem has its own results."""
        if self.tile is None or batch < self.tile_from:
            return False
        found = zip(batch_strides, self.tile.strides, self.outputs, strict=True)
        return all((stride != 0 or not output) if name else stride == 0 for stride, name, output in found)


def emit(function: Function, *, strict: bool = False) -> TvmSource:
    """The TVMScript of a kernel. Raises CompileError for dtypes and ops that the target does not have."""
    checks: list[str] = []
    bodies = [Body(function, strict, checks)]
    if function.tile:
        bodies.append(Body(function.tile.function, strict, checks))
    return _Frame(function, bodies).source(tuple(checks))


class Body(Statements):
    """The statements of one function."""

    printer: ScriptPrinter
    #: For the processor.
    device = "llvm"

    def __init__(self, function: Function, strict: bool, checks: list[str], depth: int = 2) -> None:
        printer = ScriptPrinter({a.name: a for a in function.arrays}, checks)
        printer.strict, printer.device = strict, self.device
        self.declared: set[str] = set()
        super().__init__(function, printer, ScriptText(depth))
        self.block(function.body)

    @property
    def passed(self) -> list[Array]:
        """Inputs and outputs."""
        return [a for a in self.function.arrays if a.scope in ("input", "output")]

    @property
    def problem(self) -> list[Array]:
        """Scratch of a problem."""
        return [a for a in self.function.arrays if a.scope == "problem"]

    @property
    def thread(self) -> list[Array]:
        """Scratch of a thread."""
        return [a for a in self.function.arrays if a.scope == "thread"] + self.scratch

    @property
    def arrays(self) -> list[Array]:
        """All that have a pointer."""
        return [*self.passed, *self.problem, *self.thread]

    def array(self, a: Array) -> str:
        """The identifier of an array."""
        return self.names.get("array", a.name)

    def integer(self, name: str) -> str:
        """The identifier of an integer argument."""
        return self.names.get("variable", name)

    def shape(self, a: Array) -> str:
        """The extents of an array in memory."""
        extents = [self.printer.int(s) for s in a.shape or (const(1),)]
        return f"({', '.join(extents)}{',' if len(extents) == 1 else ''})"

    def factor(self, value: Int) -> str:
        """An integer as a factor."""
        text = self.printer.int(value)
        return f"({text})" if " " in text else text

    # -- statements ----------------------------------------------------------------------------------------------------

    def condition(self, e: Int) -> str:
        """A condition on indices."""
        known = constant(e)
        return strip(self.printer.int(e)) if known is None else f"T.bool({bool(known)})"

    def single(self, tree: Single) -> None:
        """Print what one thread does alone: all of it, there is one."""
        self.block(tree.body)

    def barrier(self) -> None:
        """Nobody waits."""

    def loop(self, loop: Loop) -> None:
        """Print a loop; what it looks at before each iteration stands at the start of its body."""
        self.text.count(self.names.get("variable", loop.name), *self.bounds(loop))
        self.leaves(loop)
        self.block(loop.body)
        self.text.close()

    def bounds(self, loop: Loop) -> tuple[str, str, int]:
        """First and end value of a loop, and its step."""
        return self.printer.int(loop.lower), self.printer.int(loop.upper), loop.step

    def local(self, array: Array, count: int = 0) -> None:
        """Print the declaration of an array on the stack; what is declared again gets another name."""
        name = self.names.renew("array", array.name, "local") if array.name in self.declared else self.array(array)
        self.declared.add(array.name)
        self.text.line(f'{name} = us_local({self.shape(array)}, "{array.dtype}")')

    def store(self, store: Store) -> None:
        """Print an assignment."""
        array = self.printer.arrays[store.array]
        lines, value = self.printer.statement_value(store.value, "e")
        for line in lines:
            self.text.let(*line)
        value = self.combine(store, array.dtype, value)
        if array.dtype == "bool" or array.dtype in COMPLEXES:
            index = ", ".join([self.array(array), *self.printer.indices(array, store.index)])
            self.text.call(f"us_put_{array.dtype}({value}, {index})")
        else:
            self.text.assign(self.printer.element(store.array, store.index), value)

    def combine(self, store: Store, dtype: str, value: str) -> str:
        """The new value of an element."""
        if not store.reduce:
            return value
        held, reduce = self.printer.read(store.array, store.index), store.reduce
        if dtype in HALF:
            raise CompileError(f"target tvm has no sums in {dtype}: f16 and bf16 are storage, add up in f32")
        if reduce in ("and", "or"):
            return f"us_{reduce}({held}, {value})"
        if reduce in ("max", "min") and dtype in COMPLEXES:
            raise CompileError(f"complex numbers have no {reduce}")
        if dtype in ("f32", "f64") and (reduce == "add" or (reduce == "mul" and not self.printer.strict)):
            return f"{held} {'+' if reduce == 'add' else '*'} {f'({value})' if ' ' in value else value}"
        name = {"max": "maximum", "min": "minimum"}.get(reduce, reduce)
        return f"us_{name}_{'i64' if dtype == 'key' else dtype}({held}, {value})"

    def address(self, load: Load) -> str:
        """Where a block of an array begins."""
        return self.printer.block(load)


class _Frame:
    """The functions around the bodies."""

    def __init__(self, function: Function, bodies: list[Body]) -> None:
        self.function = function
        self.name = function.name
        self.bodies = bodies
        self.main = bodies[0]

    def source(self, checks: tuple[str, ...]) -> TvmSource:
        """All of it."""
        lines = [
            "# TVMScript. The words us_... are those of unspool/backends/tvm/library.py.",
            "@I.ir_module",
            "class Module:",
        ]
        for body in self.bodies:
            lines += self._body(body)
        lines += [*self._team(), *self._entry()]
        sums = [[rooms(part) for part in (b.problem, b.thread)] for b in self.bodies]
        problem, thread = ((x, Int("max", (x, y))) for x, y in zip(sums[0], sums[-1], strict=True))
        outputs = tuple(a.scope == "output" for a in self.main.passed)
        return TvmSource(
            "\n".join(lines).rstrip() + "\n",
            checks,
            self.name,
            tuple(self.function.integers),
            problem,
            thread,
            self.function.tile,
            outputs,
        )

    def _called(self, body: Body) -> str:
        return f"{self.name}_{'problem' if body is self.main else 'tile'}"

    def _body(self, body: Body) -> list[str]:
        what = "One problem." if body is self.main else "Several problems side by side."
        out = ["    @T.prim_func(private=True, s_tir=True)", f"    def {self._called(body)}("]
        out += [f"        {body.integer(n)}: T.int64," for n in body.function.integers]
        out += [f'        {body.array(a)}_data: T.handle("{STORED[a.dtype]}"),' for a in body.arrays]
        out += [
            '        failed_data: T.handle("int32"),',
            "    ):",
            f'        """{what}"""',
            '        T.func_attr({"tirx.noalias": True})',
        ]
        for a in body.arrays:
            out.append(f'        {body.array(a)} = us_array({body.array(a)}_data, {body.shape(a)}, "{a.dtype}")  # {a.scope}')
        out.append('        failed = us_array(failed_data, (1,), "i32")')
        return [*out, *body.text.lines, ""]

    def _parameters(self) -> list[str]:
        """What the entry and a team take."""
        out = ["batch: T.int64", "teams: T.int64", "tiled: T.int64"]
        for a in self.main.passed:
            name = self.main.array(a)
            out += [f'{name}_data: T.handle("{STORED[a.dtype]}")', f"{name}_problems: T.int64", f"{name}_teams: T.int64"]
        out += [f"{self.main.integer(n)}: T.int64" for n in self.function.integers]
        out += [
            'scratch_data: T.handle("uint8")',
            "problem_bytes: T.int64",
            "thread_bytes: T.int64",
            'failed_data: T.handle("int32")',
        ]
        return out

    def _team(self) -> list[str]:
        out = ["    @T.prim_func(private=True, s_tir=True)", f"    def {self.name}_team("]
        out += [f"        {p}," for p in ("team: T.int64", *self._parameters())]
        out += ["    ):", '        """The problems of one team."""']
        for a in self.main.passed:
            name = self.main.array(a)
            out.append(f'        {name} = us_array({name}_data, (1,), "{a.dtype}")')
        out.append('        scratch = us_array(scratch_data, (1,), "i8")')
        tile = self.function.tile
        if tile is None:
            out += [*self._share("1", 8), "        for problem in us_range(first, last):", *self._call(self.main, "problem", 12)]
            return [*out, ""]
        out += [
            "        if tiled != 0:",
            *self._share(str(tile.size), 12, "tiled_"),
            f"            for problem in us_range(tiled_first, tiled_last, {tile.size}):",
        ]
        out += [
            f"                lanes: T.let = us_least(tiled_last - problem, {tile.size})",
            f"                if lanes >= {least(tile)}:",
        ]
        out += [*self._call(self.bodies[1], "problem", 20), "                else:"]
        out += ["                    for single in us_range(problem, problem + lanes):", *self._call(self.main, "single", 24)]
        out += ["        else:", *self._share("1", 12), "            for problem in us_range(first, last):"]
        return [*out, *self._call(self.main, "problem", 16), ""]

    @staticmethod
    def _share(grain: str, depth: int, prefix: str = "") -> list[str]:
        pad, groups = " " * depth, "batch" if grain == "1" else f"((batch + {int(grain) - 1}) // {grain})"
        times = "" if grain == "1" else f" * {grain}"
        return [
            f"{pad}{prefix}first: T.let = team * {groups} // teams{times}",
            f"{pad}{prefix}last: T.let = us_least((team + 1) * {groups} // teams{times}, batch)",
        ]

    def _call(self, body: Body, problem: str, depth: int) -> list[str]:
        tile, known = self.function.tile, self.function.integers
        strides = {s: n for n, s in enumerate(tile.strides)} if tile else {}
        names = [self.main.array(a) for a in self.main.passed]
        args = []
        for n in body.function.integers:
            args.append(self.main.integer(n) if n in known else f"{names[strides[n]]}_problems" if n in strides else "lanes")
        for name, a in zip(names, self.main.passed, strict=True):
            at = f"team * {name}_teams + {problem} * {name}_problems"
            args.append(f"T.address_of({name}[{f'{at}, 0' if a.dtype in COMPLEXES else at}])")
        shared, own = "team * problem_bytes", "teams * problem_bytes + team * thread_bytes"
        for base, arrays in ((shared, body.problem), (own, body.thread)):
            for count in range(len(arrays)):
                before = self.main.printer.int(rooms(arrays[:count]))
                args.append(f"T.address_of(scratch[{base if before == '0' else f'{base} + {before}'}])")
        pad = " " * depth
        return [f"{pad}Module.{self._called(body)}(", *(f"{pad}    {arg}," for arg in (*args, "failed_data")), f"{pad})"]

    def _entry(self) -> list[str]:
        parameters = self._parameters()
        args = [p.partition(":")[0] for p in parameters]
        out = ["    @T.prim_func(s_tir=True)", f"    def {self.name}(", *(f"        {p}," for p in parameters), "    ):"]
        out += [
            '        """All problems."""',
            "        if teams == 1:",
            f"            Module.{self.name}_team(T.int64(0), {', '.join(args)})",
        ]
        out += ["        else:", "            for team in us_parallel(0, teams):"]
        return [*out, f"                Module.{self.name}_team(team, {', '.join(args)})"]
