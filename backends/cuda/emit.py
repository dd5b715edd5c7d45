"""Loop tree to CUDA C++: one kernel with the interface of :mod:`.source`.

Iterations of loops that are dealt to threads go round: neighbouring threads have neighbouring ones, so that they read memory together.
Threads that have an iteration in common (``lane`` loops) compute all that is beside the lane loops, each for itself; what others can see
the first of them stores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from math import prod

from ...compiler.loops.tree import Array, Block, Declare, Function, If, Int, LibraryCall, Load, Loop, Single, Store, Tree
from ...compiler.loops.tree_walk import loads, walk, writes
from ...compiler.target import Gpu
from ..affine import ONE, const, constant, linear, offset, plus, simple
from ..c_runtime import BITS
from ..emit import combine
from ..shares import work
from ..simd import plan
from ..statements import GPU_STACK_BYTES, describe
from ..text import Text
from ..tiles import trip
from ..writer import Writer
from .dealt import Dealt, dealt, dealt_chain, lanes_of
from .expressions import CudaPrinter
from .held import numbered_threads, own_registers
from .runtime import prelude
from .source import CudaSource
from .staging import Staged, ahead, further, staged, with_places
from .tensor import Tiles
from .text import LIMIT, CudaBody, cuda_text, entry, index_type, placed_for_certain

#: Iterations of a loop whose count is known only at run time.
MANY = 1024
#: Threads of a warp.
WARP = 32
#: Elements that one load brings, the most first.
VECTOR = {"f32": (4, 2), "f64": (2,)}
#: Elements that a copy that goes on beside the thread brings, the most first.
AHEAD = {"f32": (4, 2, 1), "i32": (4, 2, 1), "f64": (2, 1), "i64": (2, 1), "f16": (8, 4, 2), "bf16": (8, 4, 2)}
#: What sums over lanes start from; None: the least or greatest value of an integer type.
_NEUTRAL = {"add": "0", "mul": "1", "max": "-INFINITY", "min": "INFINITY", "and": "1", "or": "0"}


def emit(function: Function, gpu: Gpu, *, strict: bool = False) -> CudaSource:
    """The CUDA source of a kernel. Raises CompileError for dtypes and ops that the target does not have."""
    checks: list[str] = []
    threads = threads_of(function, gpu)
    main = _body(function, gpu, threads, strict, checks)
    tile = None
    if function.tile is not None:
        tile = _body(function.tile.function, gpu, threads, strict, checks, most={function.tile.lanes: function.tile.size})
    made = cuda_text(main, tile, gpu, threads)
    return CudaSource(
        prelude(made.text) + made.text, tuple(checks), entry(function), threads, made.shared, made.meets, tuple(function.integers),
        made.problem_bytes, made.thread_bytes, made.tile_from, made.blocks, function.tile.size if function.tile else 0, made.largest,
    )  # fmt: skip


def threads_of(function: Function, gpu: Gpu) -> int:
    """Threads of a block, whole warps: so many that few of them wait for the rest in the last turn of the loops that are dealt to them, but more
    than half of what there is work for and the GPU is set to."""
    widths = [w for f in (function, *([function.tile.function] if function.tile else [])) for w in widths_of(f)]
    fixed = max(numbered_threads(f.body, alone=True) for f in (function, *([function.tile.function] if function.tile else [])))
    if fixed:  # threads that have registers for what others do not
        return -(-fixed // WARP) * WARP
    most = min(gpu.threads, max(WARP, *(-(-wide // WARP) * WARP for wide, _ in widths))) if widths else WARP

    def cost(threads: int) -> tuple[float, int]:
        turns = sum(-(-wide // threads) * (threads + WARP) * each for wide, each in widths)
        return round(turns / (1 + sum(wide * each for wide, each in widths)), 2), -threads

    return min(range(most // WARP // 2 * WARP + WARP, most + 1, WARP), key=cost, default=WARP)


def widths_of(function: Function) -> list[tuple[int, float]]:
    """How many threads the loops that are dealt to them have work for, and how many assignments for each; a count known only at run time is
    many."""
    found, inside, env = [], set[int](), dict.fromkeys(function.integers, MANY)
    for loop in walk(function.body):
        if isinstance(loop, Loop) and id(loop) not in inside and loop.kind != "block" and (loop.dealt or loop.lanes > 1):
            chain = dealt_chain(loop)
            inside |= {id(one) for one in walk(loop)}
            wide = max(lanes_of(chain[-1].loop.body), loop.lanes) * prod(one.count or MANY for one in chain if one.loop.dealt)
            found.append((wide, max(1.0, work(loop, env) / wide)))
    return found


def _body(
    function: Function, gpu: Gpu, threads: int, strict: bool, checks: list[str], most: Mapping[str, int] | None = None
) -> CudaBody:
    """The body of one function; its run-time checks are added to ``checks``. ``most``: values that integers have at most."""
    printer = CudaPrinter({a.name: a for a in function.arrays}, checks, strict=strict)
    function, variables = own_registers(function)
    shared = placed_for_certain(function, gpu)
    function = with_places(function, shared)
    shared = placed_for_certain(function, gpu)
    printer.arrays.update({a.name: a for a in function.arrays})
    writer = CudaWriter(function, printer, Text, gpu, strict)
    writer.threads, writer.shared = threads, shared
    writer.most = most or {}
    for variable in variables:
        writer.declare(writer.tiles.own(variable, function))
    writer.block(function.body)
    return CudaBody(function, printer, writer.scratch, [*writer.top.lines, *writer.text.lines], function.blocks)


class CudaWriter(Writer):
    printer: CudaPrinter
    threads = 0
    stack_bytes = GPU_STACK_BYTES

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.most: Mapping[str, int] = {}
        self.in_block = False  # inside of a loop over blocks: the threads are those of one block
        self.common = 0  # threads that have what is printed in common; 0: each runs it for itself
        self.split = False  # inside of a loop that is dealt to threads
        self.guarded = False  # what is printed runs on the first lane alone
        self.shared = frozenset[str]()  # arrays that lie in shared memory
        self.ahead = False  # copies go on beside the threads
        self.tiles = Tiles(self)
        self.index = index_type(self.function)

    # -- what is read together ---------------------------------------------------------------------------------------------

    def block(self, block: Block) -> None:
        """Print a sequence; what assignments in a row read of neighbouring elements is loaded together."""
        for stores, run in groupby(block.children, lambda c: isinstance(c, Store)):
            children = list(run)
            if stores and self.ahead:
                self.copy_ahead([c for c in children if isinstance(c, Store)])
                continue
            if stores and len(children) > 1 and not self.common:
                self.together([c for c in children if isinstance(c, Store)])
            for child in children:
                self.tree(child)
            self.printer.loaded.clear()
        self.tiles.forget()

    def together(self, stores: Sequence[Store]) -> None:
        """Print vector loads of what assignments read, where none of them writes it."""
        written = {s.array for s in stores}
        found = dict.fromkeys(x for s in stores for x in loads(s.value) if x.array not in written and x.dtype in VECTOR)
        lines: dict[tuple[object, ...], dict[int, Load]] = {}
        for x in found:
            info = self.printer.arrays[x.array]
            if info.scope != "local" and info.shape:
                form = linear(offset(x.index, info.shape))
                lines.setdefault((x.array, *sorted((str(a), c) for a, c in form.items() if a != ONE)), {})[form.get(ONE, 0)] = x
        for line in lines.values():
            places = sorted(line)
            while places:
                first = places[0]
                x = line[first]
                size = next((n for n in VECTOR[x.dtype] if all(first + i in line for i in range(n))), 1)
                if size > 1:
                    name = self.names.fresh("near")
                    array, at = self.printer.position(x)
                    form = linear(offset(x.index, self.printer.arrays[x.array].shape))
                    own = self.printer.arrays[x.array].scope not in ("input", "output")
                    call = "whole" if own and not any(c % size for c in form.values()) else "near"
                    self.text.let(f"us_vector_{x.dtype}x{size}", name, f"us_{call}_{x.dtype}x{size}({array}, {at})")
                    for i in range(size):
                        self.printer.loaded[line[first + i].array, line[first + i].index] = f"{name}.v[{i}]"
                places = [p for p in places if p >= first + size]

    def copy_ahead(self, stores: Sequence[Store]) -> None:
        """Print copies that go on beside the thread, of neighbouring elements at once."""
        waiting = list(stores)
        while waiting:
            first = waiting[0]
            assert isinstance(first.value, Load)
            sizes = AHEAD.get(first.value.dtype, ()) if first.array in self.shared else ()
            size = next((n for n in sizes if _neighbours(waiting[:n], n, self.printer.arrays)), 0)
            if not size:
                with self.of(first):
                    self.store(waiting.pop(0))
                continue
            array, at = self.printer.position(Load(first.array, first.index, first.value.dtype))
            source, place = self.printer.position(first.value)
            with self.of(*waiting[:size]):
                self.text.call(f"us_ahead_{first.value.dtype}x{size}({array}, {at}, {source}, {place})")
            del waiting[:size]

    # -- where things run ------------------------------------------------------------------------------------------------

    def tree(self, tree: Tree) -> None:
        """Print one node."""
        if isinstance(tree, (Store, LibraryCall)):
            with self.by_first(tree.array if isinstance(tree, Store) else tree.outputs[0].array):
                super().tree(tree)
        else:
            super().tree(tree)

    def barrier(self) -> None:
        """Print that the threads that have something in common wait for each other."""
        self.text.call("__syncthreads()" if self.in_block else "us_team_barrier(team)")

    def single(self, tree: Single) -> None:
        """Print what one thread does alone, or with lanes the first ones. All wait until it is done, so that rows of a routine may go to all."""
        (first, *others) = tree.body.children
        if isinstance(first, LibraryCall) and not others and not self.common:
            with self.of(first):
                self.over_rows(first)
            return
        lanes = lanes_of(tree.body)
        self.text.if_(f"{self.member} < {lanes}" if lanes > 1 else f"{self.member} == 0")
        with self.as_group(lanes):
            self.block(tree.body)
        self.text.close()

    def over_rows(self, call: LibraryCall) -> None:
        """Print a routine of the run-time library whose rows are dealt to threads: each row is one call."""
        rows, n, *more = call.integers
        width = more[0] if call.name == "topk" else n
        row = Int("name", name=self.unused("row"))
        self.open(Loop(row.name, const(0), rows, 1, Block(())), const(0), simple(rows), self.member, self.members)
        last = call.outputs[-1] if call.name == "topk" else None

        def at(load: Load, each: Int) -> Load:
            """The place of the row in an array, whose last axes are its own."""
            info = self.printer.arrays[load.array]
            lead = len(info.shape) - len(load.index)
            place = (*load.index, row) if lead == 2 else (*load.index, *(const(0) for _ in range(lead - 1)), Int("*", (row, each)))
            return Load(load.array, place, load.dtype) if lead else load

        outputs = tuple(at(x, n if x is last else width) for x in call.outputs)
        inputs = (at(call.inputs[0], n), *call.inputs[1:])
        self.library_call(LibraryCall(call.name, outputs, inputs, (const(1), *call.integers[1:])))
        self.text.close()

    @property
    def member(self) -> str:
        """The number of this thread among those that loops are dealt to here."""
        return "(int)threadIdx.x" if self.in_block else "member"

    @property
    def members(self) -> str:
        """How many these are."""
        return str(self.threads) if self.in_block else "team_size"

    @contextmanager
    def as_group(self, lanes: int) -> Iterator[None]:
        """Print code that so many threads have in common."""
        before = self.common
        self.common = lanes if lanes > 1 else self.common
        yield
        self.common = before

    @contextmanager
    def by_first(self, array: str) -> Iterator[None]:
        """Print an assignment: by the first lane, if others can see the array. The lanes meet before and after it."""
        if not self.common or self.guarded or not self.seen(array):
            yield
            return
        self.meet()
        self.text.if_(f"{self.lane} == 0")
        self.guarded = True
        yield
        self.guarded = False
        self.text.close()
        self.meet()

    def seen(self, array: str) -> bool:
        """Whether other threads can see an array."""
        return self.printer.arrays[array].scope not in ("local", "thread")

    def meet(self) -> None:
        """Print that the lanes of a group wait for each other."""
        line = f"__syncwarp({self.mask});"
        if self.text.lines and self.text.lines[-1].strip() == line:
            return
        self.text.line(line)

    @property
    def lane(self) -> str:
        """The number of this thread in its group."""
        return f"(int)(threadIdx.x % {self.common})"

    @property
    def mask(self) -> str:
        """The lanes of the group."""
        return f"us_lanes({self.common})"

    # -- storage and statements ------------------------------------------------------------------------------------------

    def local(self, array: Array, count: int = 0) -> None:
        """Print the declaration of a variable, or of ``count`` elements of a thread's own."""
        kind, text = self.printer.storage_type(array.dtype), self.names.get("array", array.name)
        self.text.line(f"{kind} {text}[{count}];  // {describe(array, self.printer)}" if count else f"{kind} {text};")

    def combine(self, reduce: str, held: str, value: str, dtype: str, vector: bool) -> str:
        """The right side of ``held reduce= value``."""
        if self.strict and reduce in ("add", "mul") and dtype in ("f32", "f64"):
            return f"us_{reduce}_rn_{dtype}({held}, {value})"
        return combine(reduce, held, value, dtype)

    def address(self, load: Load) -> str:
        """Where a block of an array begins."""
        return self.printer.address(load)

    def share(self, text: Text, first: str, last: str, trips: str, grain: int, uneven: float | None) -> None:
        raise AssertionError("iterations go round")

    def ceiling(self, count: str, step: int) -> str:
        """``count / step``, rounded up."""
        return f"({count} + {step - 1}) / {step}"

    def positive(self, count: str) -> str:
        """A number, or 0 where it is negative."""
        return f"({self.index})us_imax({count}, 0)"

    def vector_hint(self, reductions: Sequence[tuple[str, str, str]]) -> None:
        """Threads are the lanes."""

    # -- loops -----------------------------------------------------------------------------------------------------------

    def loop(self, loop: Loop) -> None:
        """Print a loop as its kind says."""
        if loop.tests:
            self.tested(loop)
        elif loop.kind == "block":
            self.over_blocks(loop)
        elif loop.places > 1 and (parts := staged(loop, self.shared)):
            self.over_staged(loop, parts)
        elif loop.kind == "tensor":
            self.tiles.print(loop)
        elif loop.numbered:
            self.over_numbered(loop)
        elif loop.dealt and not self.split:
            self.over_threads(loop)
        elif loop.lanes > 1:
            self.over_lanes(loop)
        else:
            self.serial(loop)

    def open(self, loop: Loop, lower: Int, upper: Int, first: str = "", stride: str = "") -> None:
        """Open a ``for``; with ``first`` and ``stride`` from the first-th iteration on, so many on each time."""
        v, kind = self.names.get("variable", loop.name), self.index
        start, end = self.printer.int(lower), self.printer.int(upper)
        if not first:
            move = f"{v}++" if loop.step == 1 else f"{v} += {loop.step}"
        else:
            times = "" if loop.step == 1 else f" * {loop.step}"
            start, move = first + times if start == "0" else f"{start} + {first}{times}", f"{v} += {stride}{times}"
        self.text.open(f"for ({kind} {v} = {start}; {v} < {end}; {move})")

    def head(self, loop: Loop, lower: Int, upper: Int) -> None:
        """Open a plain ``for``."""
        self.open(loop, lower, upper)

    def range(self, loop: Loop, grain: int) -> tuple[Int, Int]:
        """First and end value of a loop."""
        return simple(loop.lower), simple(loop.upper)

    def serial(self, loop: Loop) -> None:
        """Print a loop that every thread runs; what it adds up in one place it holds in a variable."""
        lower, upper = self.range(loop, 1)
        if trip(loop) == 1:
            self.text.scope()
            self.text.let(self.index, self.names.get("variable", loop.name), self.printer.int(lower))
            self.block(loop.body)
            self.text.close()
            return
        inner = any(isinstance(t, Loop) for t in walk(loop.body))
        made = None if inner else plan(loop, self.printer.arrays, self.stack_bytes)
        if made is not None and made.reductions:
            self.reducing(loop, made.reductions, "", "")
            return
        self.open(loop, lower, upper)
        self.block(loop.body)
        self.text.close()

    def over_blocks(self, loop: Loop) -> None:
        """Print a loop whose iterations are dealt to the blocks of a team."""
        chain = [loop]
        while len(chain[-1].body.children) == 1 and isinstance(inner := chain[-1].body.children[0], Loop) and inner.kind == "block":
            chain.append(inner)
        if len(chain) == 1:
            self.open(loop, *self.range(loop, 1), "block", "team.blocks")
        else:
            self.unrank([dealt(one) for one in chain], "block", "team.blocks")
        self.in_block = True
        self.block(chain[-1].body)
        self.in_block = False
        self.text.close()

    def over_staged(self, loop: Loop, parts: Staged) -> None:
        """Print a loop whose copies are begun iterations ahead. At the start of an iteration its own are there, for all threads, and what the
        one before it has used may be overwritten."""
        lower, upper, lead = simple(loop.lower), simple(loop.upper), loop.places - 1
        for n in range(lead):
            self.text.if_(f"{self.printer.int(plus(lower, n))} < {self.printer.int(upper)}")
            self.begin(ahead(parts.copies, loop.name, plus(lower, n)))
            self.text.close()
            if n < lead - 1:
                self.text.call("us_copy_commit()")
        self.open(loop, lower, upper)
        self.text.call("us_copy_commit()")
        self.text.call(f"us_copy_wait({lead - 1})")
        self.text.call("__syncthreads()")
        self.text.if_(f"{self.printer.int(further(loop, lead))} < {self.printer.int(upper)}")
        self.begin(ahead(parts.copies, loop.name, further(loop, lead)))
        self.text.close()
        self.block(parts.rest)
        self.text.close()
        self.text.call("us_copy_wait(0)")
        self.text.call("__syncthreads()")

    def begin(self, copies: Block) -> None:
        """Print copies that go on beside the threads."""
        self.ahead = True
        self.block(copies)
        self.ahead = False

    def over_threads(self, loop: Loop) -> None:
        """Print loops whose iterations are dealt to threads, or to groups of them."""
        chain = dealt_chain(loop)
        body = chain[-1].loop.body
        lanes = lanes_of(body)
        first = self.member if lanes == 1 else f"{self.member} / {lanes}"
        stride = self.members if lanes == 1 else f"{self.members} / {lanes}"
        if len(chain) == 1:
            self.open(loop, *self.range(loop, 1), first, stride if lanes == 1 else f"({stride})" if loop.step > 1 else stride)
        else:
            self.unrank(chain, first, stride)
        self.split = True
        with self.as_group(lanes):
            self.block(body)
        self.split = False
        self.text.close()

    def over_numbered(self, loop: Loop) -> None:
        """Print a loop whose iterations go to threads by number, ``i`` to that of the number ``i % count`` along the loop."""
        outermost, lanes, count, inside = not self.split, lanes_of(loop.body), loop.numbered, numbered_threads(loop.body)
        first, opened = self.member if lanes == 1 else f"{self.member} / {lanes}", 0
        if outermost and (count * inside * lanes < self.threads or not self.in_block):
            self.text.if_(f"{first} < {count * inside}")
            opened += 1
        kind, v, low = self.index, self.names.get("variable", loop.name), self.printer.int(simple(loop.lower))
        end = self.printer.int(simple(loop.upper))
        number = f"{first} / {inside} % {count}" if inside > 1 else f"{first} % {count}"
        aligned = all(c % count == 0 for c in linear(loop.lower).values())
        place = number if aligned else f"({kind})us_fmod({number} - ({low}), {count})"
        start, room = place if low == "0" else f"{low} + {place}", _room(loop.lower, loop.upper)
        if room is not None and room <= count:
            self.text.scope()
            self.text.let(kind, v, start)
            opened += 1
            if constant(Int("-", (loop.upper, loop.lower))) != count:
                self.text.if_(f"{v} < {end}")
                opened += 1
        else:
            self.text.open(f"for ({kind} {v} = {start}; {v} < {end}; {v} += {count})")
            opened += 1
        before, self.split = self.split, True
        with self.as_group(lanes):
            self.numbered(loop.body, f"{first} % {inside} == 0" if inside > 1 else "")
        self.split = before
        for _ in range(opened):
            self.text.close()

    def numbered(self, block: Block, first: str) -> None:
        """Print what is in a loop that is dealt out by number: what is in no further one, the first of the threads that share it does."""
        for beside, run in groupby(block.children, lambda child: numbered_threads(Block((child,)), alone=True) == 0):
            part = Block(tuple(run))
            if beside and first:
                self.text.if_(first)
            if beside:
                self.block(part)
            for child in () if beside else part.children:
                if isinstance(child, If):
                    self.text.if_(self.printer.int(child.condition))
                    self.numbered(child.then, first)
                    if child.orelse:
                        self.text.otherwise()
                        self.numbered(child.orelse, first)
                    self.text.close()
                else:
                    self.tree(child)
            if beside and first:
                self.text.close()

    def unrank(self, chain: Sequence[Dealt], first: str, stride: str) -> None:
        """Open a loop over the iterations of several loops, and tell which one of each it is at."""
        known = [one.count or (self.most.get(one.upper.name) if one.upper.op == "name" and constant(one.lower) == 0 else None) for one in chain]
        total = prod(n or 0 for n in known) if None not in known else None
        kind = "int64_t" if total is not None and total >= LIMIT else self.index
        counts = []
        for one, count in zip(chain, known, strict=True):
            if count is None:
                text = self.names.fresh("count")
                trips = self.printer.int(simple(Int("-", (one.upper, one.lower))))
                self.text.let(kind, text, self.positive(self.ceiling(f"({trips})", one.loop.step) if one.loop.step > 1 else trips))
                counts.append(text)
            else:
                counts.append(str(count))  # to divide by numbers is fast
        turn = self.names.fresh("turn")
        end = " * ".join(counts) if total is None else str(total)
        self.text.open(f"for ({kind} {turn} = {first}; {turn} < {end}; {turn} += {stride})")
        rest = turn
        for n, one in reversed(list(enumerate(chain))):
            place = rest
            if n:
                place = f"{rest} % {counts[n]}" if " " not in rest else f"({rest}) % {counts[n]}"
                rest = f"{rest} / {counts[n]}"
            lower = self.printer.int(one.lower)
            scaled = place if one.loop.step == 1 else f"({place}) * {one.loop.step}"
            value = scaled if lower == "0" else f"{lower} + {scaled}"
            self.text.let(kind, self.names.get("variable", one.loop.name), value)
        for one, count in zip(chain, known, strict=True):
            v = self.names.get("variable", one.loop.name)
            outside = [f"{v} >= {self.printer.int(one.upper)}"] if one.count is None and count is not None else []
            if one.ragged:
                outside = [f"{v} >= {self.printer.int(simple(one.loop.upper))}"]
                outside += [f"{v} < {self.printer.int(simple(one.loop.lower))}"] if constant(one.loop.lower) is None else []
            if outside:
                self.text.line(f"if ({' || '.join(outside)}) continue;")

    def over_lanes(self, loop: Loop) -> None:
        """Print a loop whose iterations are dealt to the threads of a group."""
        if self.guarded:
            self.serial(loop)
            return
        if not self.common:  # outside of loops that are dealt out: every warp computes the same
            with self.as_group(loop.lanes):
                self.over_lanes(loop)
            return
        made = plan(loop, self.printer.arrays, self.stack_bytes)
        if made is None:
            self.serial(loop)
            return
        inside = {t.array.name for t in walk(loop.body) if isinstance(t, Declare)}
        visible = any(self.seen(array) for array in writes(loop.body) - inside)
        if visible:
            self.meet()
        if made.reductions:
            self.reducing(loop, made.reductions, self.lane, str(self.common))
        else:
            self.open(loop, *self.range(loop, 1), self.lane, str(self.common))
            self.apart(loop.body.children)
            self.text.close()
        if visible:
            self.meet()

    def apart(self, children: Sequence[Tree]) -> None:
        """Print what each lane does for itself, on its own elements."""
        before, self.guarded = self.guarded, True
        for child in children:
            self.tree(child)
        self.guarded = before

    def reducing(self, loop: Loop, reductions: tuple[Store, ...], first: str, stride: str) -> None:
        """Print a loop that adds up in variables, one for each place; over lanes these are joined after it."""
        places: dict[tuple[str, tuple[Int, ...], str], tuple[str, Store]] = {}
        lower, upper = self.range(loop, 1)
        self.text.if_(f"{self.printer.int(lower)} < {self.printer.int(upper)}")
        for store in reductions:
            key = (store.array, store.index, store.reduce)
            if key in places:
                continue
            dtype = self.printer.arrays[store.array].dtype
            places[key] = self.names.fresh("sum"), store
            start = _neutral(store.reduce, dtype) if first else self.printer.read(store.array, store.index)
            self.text.variable(self.printer.storage_type(dtype), places[key][0], start)
        self.open(loop, lower, upper, first, stride)
        before, self.guarded = self.guarded, self.guarded or bool(first)
        for child in loop.body.children:
            found = places.get((child.array, child.index, child.reduce)) if isinstance(child, Store) else None
            if isinstance(child, Store) and found is not None:
                with self.of(child):
                    self.store(child, found[0], fused=True)
            else:
                self.tree(child)
        self.guarded = before
        self.text.close()
        for text, store in places.values():
            if first:
                self.join(text, store)
            with self.by_first(store.array):
                dtype = self.printer.arrays[store.array].dtype
                held = self.printer.read(store.array, store.index)
                value = self.combine(store.reduce, held, text, dtype, False) if first else text
                self.text.assign(self.printer.element(store.array, store.index), self.printer.stored(store.array, value))
        self.text.close()

    def join(self, text: str, store: Store) -> None:
        """Print the sum of what all lanes have, which then all of them have."""
        dtype, distance = self.printer.arrays[store.array].dtype, self.common // 2
        kind = "i64" if dtype == "key" else dtype
        while distance:
            other = f"us_other_{kind}({self.mask}, {text}, {distance})"
            self.text.assign(text, self.combine(store.reduce, text, other, dtype, False))
            distance //= 2


def _neighbours(stores: Sequence[Store], count: int, arrays: Mapping[str, Array]) -> bool:
    """Whether so many assignments copy neighbours to neighbours, from a whole multiple of their number on."""
    if len(stores) < count or len({(s.array, s.value.array) for s in stores if isinstance(s.value, Load)}) != 1:
        return False
    first = stores[0]
    assert isinstance(first.value, Load)
    if arrays[first.array].dtype != first.value.dtype or arrays[first.value.array].scope == "local":
        return False
    to, source = offset(first.index, arrays[first.array].shape), offset(first.value.index, arrays[first.value.array].shape)
    if any(c % count for atom, c in linear(to).items()):
        return False
    for n, s in enumerate(stores):
        assert isinstance(s.value, Load)
        here, there = offset(s.index, arrays[s.array].shape), offset(s.value.index, arrays[s.value.array].shape)
        if constant(Int("-", (here, to))) != n or constant(Int("-", (there, source))) != n:
            return False
    return True


def _room(lower: Int, upper: Int) -> int | None:
    """How many iterations there are at most between bounds; None if that is not known."""
    if upper.op == "min":
        found = [room for a in upper.args if (room := _room(lower, a)) is not None]
        return min(found, default=None)
    return constant(Int("-", (upper, lower)))


def _neutral(reduce: str, dtype: str) -> str:
    """What a reduction starts from."""
    if dtype in ("f32", "f64") or reduce not in ("max", "min"):
        return _NEUTRAL[reduce]
    if dtype == "bool":
        return "0" if reduce == "max" else "1"
    bits = BITS[dtype]
    least = f"(-INT64_C({2 ** (bits - 1) - 1}) - 1)"
    return least if reduce == "max" else f"INT64_C({2 ** (bits - 1) - 1})"

