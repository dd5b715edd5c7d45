"""What a call takes on a GPU that is not at hand: ours by the estimate that schedules are chosen by, peers by the kernels that they start.

A peer starts a kernel for every sweep of an iteration, fused as ours are, and one more for each product, which it takes from a library. In a CUDA graph a
kernel takes :data:`KERNEL` seconds at least; else what is slower of its operations, at :data:`PRODUCT` or :data:`SWEEP` of the peak, and its bytes,
from the second-level cache if all that an iteration touches fits there. These are assumptions, and favour the peer: no kernel of a peer is faster.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from unspool.backends.autograd import Call
from unspool.backends.cuda.target import generic
from unspool.compiler.graph.types import BYTES
from unspool.compiler.loops.account import array_bytes, flops_of, instances
from unspool.compiler.loops.nest import LoopOrder, Nest, Order, children, leaves, loops_of
from unspool.compiler.loops.scheduled import Scheduled
from unspool.compiler.search.draft import Draft, Task
from unspool.compiler.search.gpu import finish_gpu
from unspool.compiler.search.gpu_cost import START, Estimate, estimate_gpu

from .limits import Limits, bytes_of, problems_of, sizes_of

#: Seconds that a kernel in a CUDA graph takes at least; what a library's product and a sweep reach of the peak and of the bandwidth.
KERNEL, PRODUCT, SWEEP = 2e-6, 0.7, 0.8
#: Bytes per second out of the second-level cache.
CACHE = 5.5e12
#: Terms that make a sum of products one that a library computes.
TERMS = 16


@dataclass(frozen=True)
class Kernel:
    """What a peer starts: how often, operations and bytes of one problem, bytes that all problems share, whether it is a product."""

    times: float
    flops: float
    own: float
    shared: float
    product: bool


def ours(call: Call, limits: Limits) -> float:
    """Seconds of a call of ours."""
    compiled, gpu = call.plan.compiled, generic()
    assert compiled is not None
    sizes, problems = sizes_of(call), problems_of(call)
    alone, tile = Scheduled(compiled.nest, ()), compiled.tree.tile
    parts, blocks, one, known = problems, compiled.tree.blocks, alone, sizes
    if tile is not None and compiled.tile is not None and problems >= tile.least:
        parts, blocks, one = -(-problems // tile.size), tile.function.blocks, Scheduled(compiled.tile, ())
        known = {**sizes, tile.lanes: tile.size}
    blocks = max(1, min(blocks, gpu.cores // min(parts, gpu.cores)))
    least = -(-parts // gpu.cores) * estimate_gpu(one, gpu, blocks, known)
    return max(least, bytes_of(call) / limits.bytes) + START


def peer(call: Call, limits: Limits) -> float:
    """Seconds of the same computation by kernels one after the other, in a CUDA graph."""
    compiled = call.plan.compiled
    assert compiled is not None
    sizes, problems = sizes_of(call), problems_of(call)
    outside = [a.name for scope in ("input", "output") for a in compiled.nest.arrays if a.scope == scope]
    same = {name for name, own in zip(outside, [*call.flags, *call._own], strict=True) if not own}
    found = list(kernels(compiled.lowered or compiled.nest, sizes, same))
    touched = sum(k.own * problems + k.shared for k in found)
    bandwidth = CACHE if touched < generic().l3 else limits.bytes
    total = START
    for k in found:
        share = PRODUCT if k.product else SWEEP
        seconds = max(k.flops * problems / limits.flops, (k.own * problems + k.shared) / bandwidth) / share
        total += k.times * max(KERNEL, seconds)
    return total


def kernels(nest: Nest, sizes: dict[str, int], same: set[str]) -> Iterator[Kernel]:
    """The kernels of a peer, in order; ``same``: arrays that all problems share."""
    draft = Draft.of(Task(nest, generic()))
    finish_gpu(draft)
    counted = Estimate(draft.scheduled, generic(), sizes)

    def visit(order: Order, times: float) -> Iterator[Kernel]:
        if isinstance(order, LoopOrder) and not order.dealt and any(o.dealt for o in loops_of(order.body)):
            for part in children(order.body):
                yield from visit(part, times * counted.trips(order))
        elif isinstance(order, LoopOrder) and order.kind == "block":
            for part in children(order.body):
                yield from visit(part, times)  # its iterations side by side
        else:
            yield from _kernels(draft.scheduled.nest, list(dict.fromkeys(leaves(order))), times, sizes, same)

    for part in children(draft.scheduled.nest.order):
        yield from visit(part, 1.0)


def _kernels(nest: Nest, names: list[str], times: float, sizes: dict[str, int], same: set[str]) -> Iterator[Kernel]:
    """Those of one sweep: each product, and the rest in one."""
    table = nest.statement_table
    products = [n for n in names if _terms(nest, n, sizes) >= TERMS]
    for group, product in (*(([n], True) for n in products), ([n for n in names if n not in products], False)):
        flops = sum(instances(table[n], sizes) * flops_of(table[n]) for n in group) / times
        arrays = {a.array: a for n in group for a in (table[n].write, *table[n].reads())}
        kept = {a: x for a, x in arrays.items() if not nest.array(a).scope.startswith("local")}
        most = max((instances(table[n], sizes) for n in group), default=0) / times
        size = {a: min(float(array_bytes(nest.array(a), sizes)), most * BYTES[x.dtype]) for a, x in kept.items()}
        if group and (kept or flops):
            shared = sum(v for a, v in size.items() if a in same)
            yield Kernel(times, flops, sum(size.values()) - shared, shared, product)


def _terms(nest: Nest, name: str, sizes: dict[str, int]) -> float:
    """Terms of a statement's sum of products; 0 for other statements."""
    s = nest.statement_table[name]
    if s.reduce != "add" or len({a.array for a in s.reads()}) < 2:
        return 0.0
    kept = s.write.names()
    wide = [d for d in s.dims if d.name not in kept and d.upper.constant is not None]
    return float(prod((d.upper.constant or 1) for d in wide)) if wide else 0.0

