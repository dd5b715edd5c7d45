"""The frame of a CUDA kernel: the functions of one problem and of a tile of them, the problems of a team, where arrays lie.

Arrays of scope ``shared`` lie in shared memory where one block works on a problem, else in the scratch memory of the problem; those of
scope ``block`` in shared memory. What does not fit there lies in scratch memory, and the source says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from ...compiler.loops.tree import Array, Function, Int, Tile
from ...compiler.target import Gpu
from ..affine import const, constant, plus, simple
from ..c_runtime import BITS, C_TYPES
from ..kernel_text import conditions, least
from ..rooms import elements
from ..rooms import rooms as rooms_of
from .expressions import CudaPrinter
from .source import call_type
from .staging import staged_arrays

#: Elements of an array that indices of 32 bits can tell apart.
LIMIT = 2**31
#: Arrays begin at multiples of so many bytes.
ALIGNED = 16


@dataclass(frozen=True)
class CudaBody:
    """A function and the lines of its body; ``scratch`` are locals that live in a thread's memory; ``blocks`` of threads that
    it has work for."""

    function: Function
    printer: CudaPrinter
    scratch: list[Array]
    lines: list[str]
    blocks: int

    def of(self, *scopes: str) -> list[Array]:
        """The arrays of some scopes."""
        found = [a for a in self.function.arrays if a.scope in scopes]
        return [*found, *self.scratch] if "thread" in scopes else found

    @property
    def passed(self) -> list[Array]:
        """Inputs and outputs."""
        return self.of("input", "output")

    @property
    def meets(self) -> bool:
        """Whether blocks of a team wait for each other."""
        return any("us_team_barrier(" in line for line in self.lines)

    @property
    def spreads(self) -> bool:
        """Whether several blocks may work on one problem: all that they share is in memory that they have in common."""
        return self.meets or any("team_size" in line or "team.blocks" in line for line in self.lines)

    def array(self, a: Array) -> str:
        """The identifier of an array."""
        return self.printer.names.get("array", a.name)

    def integer(self, name: str) -> str:
        """The identifier of an integer argument."""
        return self.printer.names.get("variable", name)


@dataclass(frozen=True)
class Framed:
    """A text and what launches of it have to know (see :class:`~.source.CudaSource`)."""

    text: str
    shared: int
    meets: bool
    problem_bytes: tuple[Int, Int]
    thread_bytes: tuple[Int, Int]
    tile_from: int
    blocks: tuple[int, int]
    largest: Int


def size_of(a: Array) -> int | None:
    """Bytes of an array, whole multiples of :data:`ALIGNED`; None if they are known only at run time."""
    extents = [constant(s) for s in a.shape]
    if None in extents:
        return None
    return -(-prod(e or 0 for e in extents) * BITS[a.dtype] // 8 // ALIGNED) * ALIGNED or ALIGNED


def index_type(function: Function) -> str:
    """The type of indices: 32 bits are enough unless an array of known size is larger."""
    return "int64_t" if any((constant(elements(a)) or 0) >= LIMIT for a in function.arrays) else "int"


def rooms(arrays: Sequence[Array]) -> Int:
    """Bytes of arrays one behind the other in scratch memory."""
    return rooms_of(arrays, ALIGNED, 0)


def entry(function: Function) -> str:
    """The name of the kernel of a function, which nothing in the run-time library has."""
    return f"{function.name}_gpu"


def cuda_text(main: CudaBody, tile: CudaBody | None, gpu: Gpu, threads: int) -> Framed:
    """The CUDA functions of a kernel around the lines of its bodies; ``tile`` is the body of a batch tile."""
    return _Frame(main, tile, gpu, threads).framed()


def placed_for_certain(function: Function, gpu: Gpu) -> frozenset[str]:
    """Arrays of a block that lie in shared memory, whether one block works on a problem or several."""
    own = [a.name for a in function.arrays if a.scope == "block"]
    together, apart = (_in_shared(function.arrays, scopes, gpu)[0] for scopes in (("block", "shared"), ("block",)))
    return frozenset(a for a in own if a in together and a in apart)


def _in_shared(arrays: Sequence[Array], scopes: Sequence[str], gpu: Gpu) -> tuple[dict[str, int], int]:
    """Where arrays of some scopes lie in shared memory, the smallest first as long as there is room; and the bytes of all of them."""
    found: dict[str, int] = {}
    total = 0
    for a in sorted((a for a in arrays if a.scope in scopes), key=lambda a: size_of(a) or 0):
        size = size_of(a)
        if size is not None and total + size <= gpu.shared_bytes:
            found[a.name] = total
            total += size
    return found, total


class _Placed:
    """Where the arrays of a body lie: offsets in shared memory, the rest in scratch memory of a problem or of threads."""

    def __init__(self, body: CudaBody, gpu: Gpu, threads: int, *, alone: bool) -> None:
        scopes = ("block", "shared") if alone else ("block",)
        self.shared, self.bytes = _in_shared(body.function.arrays, scopes, gpu)
        self.left = [a for a in body.of(*scopes) if a.name not in self.shared]
        self.problem = [a for a in body.of("problem", "shared") if a.name not in self.shared]
        self.block = [a for a in body.of("block") if a.name not in self.shared]
        self.thread = body.of("thread")
        share = Int("//", (plus(rooms(self.block), threads * ALIGNED - 1), const(threads * ALIGNED)))
        self.thread_bytes = simple(plus(rooms(self.thread), Int("*", (const(ALIGNED), share)) if self.block else 0))


class _Frame:
    def __init__(self, main: CudaBody, tile: CudaBody | None, gpu: Gpu, threads: int) -> None:
        self.main, self.tile, self.gpu, self.threads = main, tile, gpu, threads
        self.bodies = [main] if tile is None else [main, tile]
        self.staged = set[str]().union(*(staged_arrays(b.function) for b in self.bodies))
        self.name = main.function.name
        self.most = [min(b.blocks, gpu.cores) if b.spreads else 1 for b in self.bodies]  # blocks of a problem, and of a tile
        self.blocks = max(self.most)
        self.meets = self.blocks > 1 and any(b.meets for b in self.bodies)

    def framed(self) -> Framed:
        """All of it."""
        alone = [_Placed(b, self.gpu, self.threads, alone=True) for b in self.bodies]
        spread = [_Placed(b, self.gpu, self.threads, alone=False) if self.blocks > 1 else alone[n] for n, b in enumerate(self.bodies)]
        self.placed = [*alone, *spread]
        function = self.main.function
        declared = call_type(len(self.main.passed), len(self.main.function.integers))
        lines = [*declared, *(line for b in self.bodies for line in self._function(b)), *self._kernel()]
        problem, thread = _most([rooms(p.problem) for p in self.placed]), _most([p.thread_bytes for p in self.placed])
        return Framed(
            "\n".join(lines) + "\n",
            max(p.bytes for p in self.placed),
            self.meets,
            (problem, problem),
            (thread, thread),
            0 if function.tile is None else self._from(function.tile),
            (self.most[0], self.most[-1]),
            _most([const(0), *(elements(a) for a in function.arrays if constant(elements(a)) is None)]),
        )

    def _called(self, body: CudaBody) -> str:
        return f"{self.name}_{'problem' if body is self.main else 'tile'}"

    def _kind(self, body: CudaBody, name: str) -> str:
        """The type of an integer argument: distances between problems are long."""
        tile = self.main.function.tile
        return "int64_t" if body is not self.main and tile is not None and name in tile.strides else index_type(body.function)

    def _arrays(self, body: CudaBody) -> list[Array]:
        return [*body.passed, *body.of("problem", "shared"), *body.of("block"), *body.of("thread")]

    def _function(self, body: CudaBody) -> list[str]:
        what = "One problem" if body is self.main else "Several problems side by side"
        out = [f"// {what}, by thread `member` of a team of `team_size` threads."]
        out.append(f"US_FUNCTION void {self._called(body)}(")
        params = [("const int member", ""), ("const int team_size", ""), ("const int block", ""), ("const us_team team", "")]
        params += [("int *failed", "")]
        params += [(f"const {self._kind(body, n)} {body.integer(n)}", "") for n in body.function.integers]
        for a in self._arrays(body):
            shape = ", ".join(body.printer.int(s) for s in a.shape)
            params.append((f"{self._pointer(a)} {body.array(a)}", f"  // {a.dtype}[{shape}] {a.scope}"))
        out += [f"    {p}{',' if n + 1 < len(params) else ')'}{note}" for n, (p, note) in enumerate(params)]
        return [*out, "{", *body.lines, "}", ""]

    def _pointer(self, a: Array) -> str:
        plain = "PLAIN_" if a.name in self.staged else ""
        return f"US_{plain}POINTER({'const ' if a.scope == 'input' else ''}{C_TYPES[a.dtype]})"

    def _kernel(self) -> list[str]:
        function, tile = self.main.function, self.main.function.tile
        checks = bool(self.main.printer.checks)
        out = [
            # at least one block on a multiprocessor: else the assembler spills registers to have more of them there
            f'extern "C" __global__ void __launch_bounds__({self.threads}, 1) {entry(self.main.function)}(const us_call call) {{',
            *(["  const int block = (int)(blockIdx.x % (unsigned)call.blocks);"] if self.blocks > 1 else []),
            "  const int64_t number = blockIdx.x / (unsigned)call.blocks;",
            "  int status = 0, *failed = &status;",
        ]
        begin = "call.scratch"
        if self.meets:
            out.append("  const us_team team = {(unsigned *)(call.scratch + number * 64), (int)call.blocks};")
            begin += " + call.teams * 64"
        elif self.blocks > 1:
            out.append("  const us_team team = {nullptr, (int)call.blocks};")
        kind = index_type(function)
        out += [f"  const {kind} {self.main.integer(n)} = ({kind})call.integers[{i}];" for i, n in enumerate(function.integers)]
        printer = self.main.printer
        sizes = (_most([rooms(p.problem) for p in self.placed]), _most([p.thread_bytes for p in self.placed]))
        if sizes[0] != const(0):
            out.append(f"  char *const scratch = {begin} + number * ({printer.int(sizes[0])});")
        if sizes[1] != const(0):
            after = f"{begin} + call.teams * ({printer.int(sizes[0])})" if sizes[0] != const(0) else begin
            out.append(f"  char *const own = {after} + (int64_t)blockIdx.x * {self.threads} * ({printer.int(sizes[1])});")
        one, again = self._work(self.main), f"{'us_team_barrier(team)' if self.meets else '__syncthreads()'};"
        if tile is None or self.tile is None:
            out += ["  for (int64_t problem = number; problem < call.batch; problem += call.teams) {"]
            out += [f"    if (problem > number) {again}", "    {", *one, "    }"]
        else:
            lanes = self.tile.integer(tile.lanes)
            out += [
                f"  const bool tiled = {' && '.join(conditions(function, self._from(tile), 'call.'))};",
                f"  const int grain = tiled ? {tile.size} : 1;",
                "  for (int64_t begin = number * grain; begin < call.batch; begin += call.teams * grain) {",
                f"    const int {lanes} = (int)us_imin(call.batch - begin, grain);",
                f"    if (begin > number * grain) {again}",
                f"    if (tiled && {lanes} >= {least(tile)}) {{",
                "      const int64_t problem = begin;",
            ]
            out += [
                f"      const int64_t {self.tile.integer(s)} = call.batch_strides[{n}];"
                for n, s in enumerate(tile.strides)
                if s in self.tile.function.integers
            ]
            out += [*self._work(self.tile), "    } else {"]
            out += [f"      for (int64_t problem = begin; problem < begin + {lanes}; problem++) {{"]
            out += [f"        if (problem > begin) {again}", *one, "      }", "    }"]
        out.append("  }")
        if checks:
            out.append("  if (status != 0 && call.failed) atomicMax(call.failed, status);")
        return [*out, "}"]

    def _work(self, body: CudaBody) -> list[str]:
        """One problem, or a tile of them, by one block or by several."""
        place, count = self.bodies.index(body), len(self.bodies)
        alone, spread = self.placed[place], self.placed[count + place]
        if self.most[place] == 1 and self.blocks == 1:
            return self._invoke(body, alone, alone=True)
        if not body.of("shared"):
            return self._invoke(body, spread, alone=False)
        return [
            "      if (call.blocks == 1) {",
            *("  " + line for line in self._invoke(body, alone, alone=True)),
            "      } else {",
            *("  " + line for line in self._invoke(body, spread, alone=False)),
            "      }",
        ]

    def _from(self, tile: Tile) -> int:
        """How many problems it takes for tiles of them."""
        return max(least(tile), tile.least)

    def _invoke(self, body: CudaBody, placed: _Placed, *, alone: bool) -> list[str]:
        out = []
        if placed.left:
            out.append(f"      // in scratch memory, as shared memory is full: {', '.join(body.array(a) for a in placed.left)}")
        at: dict[str, str] = {n: f"US_DYNAMIC_SHARED + {offset}" for n, offset in placed.shared.items()}
        for base, arrays in (("scratch", placed.problem), ("own", placed.block)):
            for n, a in enumerate(arrays):
                at[a.name] = f"{base} + {self.main.printer.int(rooms(arrays[:n]))}" if n else base
        behind = f" + {self.threads} * ({body.printer.int(simple(Int('-', (placed.thread_bytes, rooms(placed.thread)))))})"
        each = f"(int64_t)threadIdx.x * ({body.printer.int(rooms(placed.thread))})"
        for n, a in enumerate(placed.thread):
            at[a.name] = f"own{behind if placed.block else ''} + {each} + {body.printer.int(rooms(placed.thread[:n]))}"
        member = "(int)threadIdx.x" if alone else f"block * {self.threads} + (int)threadIdx.x"
        size = str(self.threads) if alone else f"(int)call.blocks * {self.threads}"
        place = ["0", "us_team{nullptr, 1}"] if alone else ["block", "team"]
        args = [member, size, *place, "failed", *(body.integer(n) for n in body.function.integers)]
        for n, a in enumerate(body.passed):
            kind = ("const " if a.scope == "input" else "") + C_TYPES[a.dtype]
            args.append(f"({kind} *)call.pointers[{n}] + (number * call.team_strides[{n}] + problem * call.batch_strides[{n}])")
        args += [f"({C_TYPES[a.dtype]} *)({at[a.name]})" for a in self._arrays(body)[len(body.passed) :]]
        return [f"      {self._called(body)}({', '.join(args[:5])},", *(f"        {a}," for a in args[5:-1]), f"        {args[-1]});"]


def _most(values: Sequence[Int]) -> Int:
    """The largest of expressions."""
    out = values[0]
    for value in dict.fromkeys(values[1:]):
        if value != out:
            x, y = constant(out), constant(value)
            out = Int("max", (out, value)) if x is None or y is None else const(max(x, y))
    return out
