"""How long a problem takes on a GPU, estimated: for comparing candidates, and for figures where there is no GPU.

Loops that are dealt to threads are phases, with a meeting after each. A phase takes as long as the slowest of: its operations, its accesses to shared
memory and the nearest cache, its bytes from beyond, and one thread's share with nothing to wait for but itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, prod

from ..graph.types import BYTES, HALF, Size
from ..loops.account import flops_of, instances
from ..loops.nest import Access, Apply, LoopOrder, Order, Statement, children, leaves, loop_path, loops_of
from ..loops.nest import Sequence as SequenceOrder
from ..loops.scheduled import Scheduled, extent, once
from ..loops.scopes import settle
from ..loops.steps.contract import division
from ..loops.steps.stage import staged_copies
from ..loops.storing import nominal
from ..target import Gpu

#: Cycles of a second; operations and accesses of a cycle, and bytes from beyond the nearest cache, of a multiprocessor.
CLOCK, OPERATIONS, ACCESSES, BYTES_BEYOND = 1.7e9, 128, 32, 24
#: Cycles until the result of an operation, of a read of shared memory or the nearest cache, of one beyond, is there, when others are under way.
WAIT, WAIT_NEAR, WAIT_BEYOND = 2.0, 2.0, 8.0
#: Multiplications and additions on tensor cores for each operation beside them.
TENSOR = 8
#: Elements that one access brings; of half precision, for tensor cores, which take so many times as many as of f32.
VECTOR, PAIR = 4, 2
#: How much longer than the least fewer blocks may take.
ENOUGH = 1.15
#: Operations of one thread that wait for their results at the same time.
TOGETHER = 4
#: Seconds until the first results of a phase are there: from beyond the nearest cache, from shared memory.
FIRST, FIRST_NEAR = 3e-7, 3e-8
#: Seconds that the threads of a block take to meet, and the blocks of a team; that a kernel takes to start.
MEET, MEET_TEAM, START = 3e-8, 1.5e-6, 3e-6


def estimate_gpu(scheduled: Scheduled, gpu: Gpu, blocks: int = 1, counts: Mapping[str, int] | None = None) -> float:
    """Seconds of one problem on so many blocks of threads, each with a multiprocessor to itself. ``counts``: values of run-time integers."""
    return _estimate_of(scheduled, gpu, tuple(sorted((counts or {}).items()))).order(scheduled.nest.order, blocks)


@once
def _estimate_of(scheduled: Scheduled, gpu: Gpu, counts: tuple[tuple[str, int], ...]) -> Estimate:
    """What is counted for a program, for all numbers of blocks."""
    return Estimate(scheduled, gpu, dict(counts))


@once
def best_blocks(scheduled: Scheduled, gpu: Gpu) -> int:
    """Blocks of threads that one problem had better have if it is the only one: as few as take hardly longer than more of them."""
    counts = [n for n in (1, 2, 4, 8, 16, 32, 64, 128, 256) if n < gpu.cores] + [gpu.cores]
    found = {n: estimate_gpu(scheduled, gpu, n) for n in counts}
    return next(n for n in counts if found[n] <= ENOUGH * min(found.values()))


def tiles_from(alone: Scheduled, tile: Scheduled, size: int, lanes: str, gpu: Gpu) -> int:
    """How many problems it takes for tiles of them to be faster than each problem by itself, from there on; 0: they never are."""
    most = best_blocks(alone, gpu), best_blocks(tile, gpu)

    def seconds(problems: int, side: int) -> float:
        """Of so many problems, ``side`` of them side by side."""
        parts = -(-problems // side)
        blocks = max(1, min(most[side > 1], gpu.cores // min(parts, gpu.cores)))
        return -(-parts // gpu.cores) * estimate_gpu(tile if side > 1 else alone, gpu, blocks, {lanes: size} if side > 1 else None)

    found = 0
    for n in sorted({*(1 << e for e in range(1, 12)), *(m * gpu.cores + 1 for m in (1, 2, 4, 8, 16))}, reverse=True):
        if seconds(n, size) > seconds(n, 1):
            break
        found = n
    return found


class Estimate:
    """What is counted of a program for an estimate; :func:`estimate_gpu` has the outcome."""

    def __init__(self, scheduled: Scheduled, gpu: Gpu, counts: dict[str, int]) -> None:
        self.scheduled, self.gpu = scheduled, gpu
        self.phases: dict[str, _Phase] = {}
        self.counts = {name: counts.get(name, nominal(Size.of(name))) for name in scheduled.nest.params}
        self.statements = scheduled.nest.statement_table
        self.arrays = {a.name: a for a in settle(scheduled, frozenset())}

    def trips(self, loop: LoopOrder) -> int:
        """Iterations of a loop, in the mean over what is around it where that is not known."""
        span, (name, value) = extent(self.scheduled, loop), loop.values[0]
        whole, size = division(value) or (value, 1)
        dims = {d.name: d for d in self.statements[name].dims}
        known = [] if span is None else [max(0, span[1] - span[0] + 1)]
        for around in self.scheduled.outer(loop.name):
            found = division(around.value(name))
            if found is not None and found[0] == whole and found[1] % size == 0:
                known.append(found[1] // size)  # blocks of a block
        if whole.is_name and (one := dims.get(next(iter(whole.names())))) and (length := (one.upper - one.lower).constant) is not None:
            known.append(-(-length // size))
        if known:
            return min(known)
        if value.is_name and (dim := dims.get(next(iter(value.names())))) is not None:
            env = {n: self.counts.get(n, 0) for n in dim.upper.names() | dim.lower.names()}
            return max(1, dim.upper.evaluate(env) - dim.lower.evaluate(env))
        return max([1, *self.counts.values()])

    def order(self, order: Order, blocks: int) -> float:
        """Seconds of a part, by so many blocks."""
        if isinstance(order, SequenceOrder):
            return sum(self.order(c, blocks) for c in order.children)
        if not isinstance(order, LoopOrder):
            return self.alone([order.statement], blocks)
        if order.kind == "block":
            tiles, inner = self.trips(order), order
            while isinstance(inner.body, LoopOrder) and inner.body.kind == "block":  # dealt out in one go
                inner = inner.body
                tiles *= self.trips(inner)
            return -(-tiles // blocks) * self.order(inner.body, 1) + self.meeting(blocks)
        if order.dealt:
            return self.phase(order, blocks) + self.meeting(blocks)
        if any(o.dealt for o in loops_of(order.body)):
            if order.places > 1:
                return self.staged(order)
            return self.trips(order) * self.order(order.body, blocks)
        return self.alone(list(leaves(order)), blocks, order)

    def staged(self, loop: LoopOrder) -> float:
        """A loop of one block whose copies are begun iterations ahead: in each it waits for the slower of these and the rest."""
        copies = set(staged_copies(self.scheduled, loop.name))
        parts = [self.phase(o, 1) if isinstance(o, LoopOrder) and o.dealt else self.order(o, 1) for o in children(loop.body)]
        begun = [p - FIRST for p, o in zip(parts, children(loop.body)) if set(leaves(o)) <= copies]
        rest = sum(parts) - sum(begun) - FIRST * len(begun)
        return FIRST + sum(begun) + self.trips(loop) * (max(sum(begun), rest, FIRST / (loop.places - 1)) + MEET)

    def meeting(self, blocks: int) -> float:
        """Seconds until all threads have met."""
        return MEET if blocks == 1 else MEET_TEAM

    def alone(self, names: list[str], blocks: int, loop: LoopOrder | None = None) -> float:
        """What one thread does while the others wait, or a warp."""
        cycles = 0.0
        for name in names:
            path = loop_path(self.scheduled.nest.order, name)
            below = path[path.index(loop) :] if loop is not None else ()
            runs = prod(self.trips(o) for o in below)
            lanes = max([o.lanes for o in below], default=1)
            cycles += runs / lanes * self.latency(self.statements[name])
        return cycles / CLOCK + self.meeting(blocks)

    def latency(self, s: Statement) -> float:
        """Cycles of one instance with nothing to wait for but itself."""
        found = WAIT * operations_of(s)
        return found + sum(WAIT_NEAR if self.near(a) else WAIT_BEYOND for a in s.reads() if not self.register(a))

    def register(self, a: Access) -> bool:
        """Whether an access needs no memory."""
        return self.arrays[a.array].scope.startswith("local")

    def near(self, a: Access) -> bool:
        """Whether an access is to shared memory."""
        return self.arrays[a.array].scope in ("shared", "block")

    def phase(self, loop: LoopOrder, blocks: int) -> float:
        """A loop that is dealt to threads, with those directly inside of it."""
        if loop.name not in self.phases:
            self.phases[loop.name] = self.counted(loop)
        found = self.phases[loop.name]
        turns = ceil(found.width / (self.gpu.threads * blocks))
        active = min(blocks, max(1, ceil(found.width / self.gpu.threads)))
        each, beyond = active * CLOCK, found.beyond + active * found.everywhere
        operations, accesses = found.operations / (OPERATIONS * each), found.accesses / (ACCESSES * each)
        first = FIRST if found.beyond or found.everywhere else FIRST_NEAR if found.accesses else 0.0
        return max(operations, accesses, beyond / (BYTES_BEYOND * each), turns * found.latency / CLOCK) + first

    def counted(self, loop: LoopOrder) -> _Phase:
        """What one run of a loop that is dealt to threads does."""
        chain = [loop]
        while isinstance(chain[-1].body, LoopOrder) and "thread" in chain[-1].body.kind:
            chain.append(chain[-1].body)
        lanes = max([o.lanes for o in loops_of(chain[-1].body)], default=1)
        operations = accesses = latency = width = 0.0
        seen: dict[tuple[str, tuple[Size, ...]], float] = {}
        everywhere: dict[tuple[str, tuple[Size, ...]], float] = {}
        for name in dict.fromkeys(leaves(loop)):
            s = self.statements[name]
            path = loop_path(self.scheduled.nest.order, name)
            outer, below = path[: path.index(loop)], path[path.index(loop) :]
            runs = instances(s, self.counts) / prod([self.trips(o) for o in outer] or [1])  # of one run of the loop
            inner = prod([self.trips(o) for o in below if o not in chain] or [1])
            width = max(width, runs / inner)
            tile = [o for o in below if o.kind == "tensor"]
            rate = (PAIR if any(a.dtype in HALF for a in s.reads()) else 1) if s.reduce and tile else 0
            each = operations_of(s) / (TENSOR / PAIR * rate or 1)
            operations += runs * each
            copies = prod([self.trips(o) for o in below if "unroll" in o.kind] or [1])
            wait = WAIT * each / min(copies, TOGETHER)
            for a in (s.write, *s.reads()):
                if self.register(a):
                    continue
                moving = [o for o in below if o.value(name).names() & set[str]().union(*(i.names() for i in a.index))]
                held = [o for o in below if ("unroll" in o.kind or o in tile) and o not in moving]  # one read serves all copies
                near = [o for o in below if "unroll" in o.kind and a.index and o.value(name).names() & a.index[-1].names()]
                serves = prod([self.trips(o) for o in held] or [1]) * (VECTOR if near and self.trips(near[0]) >= VECTOR else 1)
                serves *= rate or 1
                accesses += runs / serves
                wait += (WAIT_NEAR if self.near(a) else WAIT_BEYOND) / serves if a is not s.write else 0.0
                if not self.near(a):
                    distinct = prod([self.trips(o) for o in moving] or [1])
                    (seen if chain[0] in moving else everywhere)[a.array, a.index] = min(runs, distinct) * BYTES[a.dtype]
            latency += inner / lanes * wait
        return _Phase(operations, accesses, sum(seen.values()), sum(everywhere.values()), latency, width * lanes)


def operations_of(s: Statement) -> float:
    """Operations of one instance; a product that is added to a sum is one."""
    fused = s.reduce == "add" and isinstance(s.value, Apply) and s.value.op == "mul"
    return max(1.0, flops_of(s) - fused)


@dataclass(frozen=True)
class _Phase:
    """What one run of loops that are dealt to threads does: operations, accesses to shared memory and the nearest cache, bytes from beyond that
    blocks of threads share and those that each of them reads, cycles that one thread takes for its part, and how many threads there is work for."""

    operations: float
    accesses: float
    beyond: float
    everywhere: float
    latency: float
    width: float
