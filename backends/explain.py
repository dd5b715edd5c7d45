"""What a compiled algorithm does and why, as data: :func:`report`. A text is made of it in :mod:`.explain_text`.

A report holds nothing but dicts, lists, texts and numbers, so that it can be written as JSON. Counts of operations and bytes are
those of one problem, for the iteration counts that the kernel was compiled with.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..compiler.diagnostics import Span
from ..compiler.driver import Compiled, HostProgram, why_host
from ..compiler.graph.dense import is_large_product
from ..compiler.graph.gram.rewrite import Rewrite
from ..compiler.graph.graph import Node, walk
from ..compiler.graph.partition import CHEAP
from ..compiler.graph.segments import followed, stack_bytes, stacks
from ..compiler.graph.types import BYTES, Size
from ..compiler.loops.account import Work, array_bytes, fix, flops_of, instances, work_of_nest
from ..compiler.loops.carriers import Summary, summaries
from ..compiler.loops.infix import domain_text, infix
from ..compiler.loops.isl import safe
from ..compiler.loops.nest import Nest, Statement
from ..compiler.loops.schedule import STEPS, parse_schedule
from ..compiler.loops.schedule_parts import split_batch
from ..compiler.loops.scheduled import Scheduled
from ..compiler.loops.text import print_order
from ..compiler.loops.tree import Array, Declare, Function, Tile
from ..compiler.loops.tree_walk import walk as walk_tree
from ..compiler.search.cost import estimate
from ..compiler.search.gpu_cost import best_blocks, estimate_gpu
from ..compiler.target import Gpu, Machine
from .affine import constant
from .autograd import Call
from .roofline import Roofline
from .statements import GPU_STACK_BYTES, STACK_BYTES

Report = dict[str, Any]


def report(
    name: str,
    about: Mapping[str, Any],
    parts: Sequence[tuple[str, Compiled, Report | None]],
    host: HostProgram | None,
    roofline: Roofline | None = None,
) -> Report:
    """The report of an algorithm whose ``parts`` are kernels by name, gradients with their tape; ``about`` has at least its ``sizes``
    (iteration counts included), ``dtype`` and ``threads``. With a roofline, work is held against the limits of the machine."""
    limits = None if roofline is None else _limits(roofline, about["dtype"], about["threads"])
    made: Report = {"algorithm": name, **about, "kernels": [kernel_report(n, c, about["sizes"], limits, tape) for n, c, tape in parts]}
    if limits is not None:
        made["limits"] = limits
    if host is not None:
        made["host"] = host_report(host)
    return made


def _limits(roofline: Roofline, dtype: str, threads: int) -> Report:
    """What the threads in use can do at most; half precisions are computed in f32."""
    one = threads == 1
    return {
        "cores": 1 if one else roofline.cores,
        "flops_per_second": (roofline.flops_core if one else roofline.flops)["f64" if dtype == "f64" else "f32"],
        "bytes_per_second": dict(roofline.bandwidth_core if one else roofline.bandwidth),
    }


def kernel_report(
    name: str, compiled: Compiled, sizes: Mapping[str, int], limits: Report | None = None, tape: Report | None = None
) -> Report:
    """Everything about one kernel."""
    env = {safe(n): v for n, v in sizes.items()}
    alone, size, together = split_batch(compiled.schedule)
    made: Report = {
        "kernel": name,
        "run_time_integers": list(compiled.integers),
        **_body(compiled.lowered, compiled.nest, alone, compiled.origin, compiled.tree, env, compiled.target.capabilities.machine, limits),
        "compile_seconds": dict(compiled.times),
    }
    if tape is not None:
        made["tape"] = tape
    if compiled.tile is not None and compiled.tree.tile is not None:
        tile = compiled.tree.tile
        inside = tile_sizes(compiled, tile, size, env)
        machine = compiled.target.capabilities.machine
        body = _body(compiled.tile_lowered, compiled.tile, together, compiled.tile_origin, tile.function, inside, machine, limits)
        made["batch_tile"] = {"problems": size, **body}
    return made


def tile_sizes(compiled: Compiled, tile: Tile, size: int, env: Mapping[str, int]) -> dict[str, int]:
    """The sizes of a full batch tile: those of a problem, how many there are, and the elements of one problem for each operand whose
    distance between problems the tile is told."""
    operands = [a for scope in ("input", "output") for a in compiled.nest.arrays if a.scope == scope]
    found = {**env, tile.lanes: size}
    for array, stride in zip(operands, tile.strides, strict=True):
        if stride:
            found[stride] = array_bytes(array, env) // BYTES[array.dtype]
    return found


def _body(
    lowered: Nest | None,
    nest: Nest,
    schedule: str,
    origin: str,
    function: Function,
    env: Mapping[str, int],
    machine: Machine,
    limits: Report | None,
) -> Report:
    """A nest with its schedule: ``lowered`` before it, ``nest`` after it."""
    start = nest if lowered is None else lowered
    found = [] if lowered is None else summaries(Scheduled.start(lowered))
    work = work_of_nest(start, env)
    return {
        "statements": [_statement(s, env) for s in start.statements],
        "dependences": list(map(_dependence, found)),
        "schedule": [_step(str(s), s.name) for s in parse_schedule(schedule).steps],
        "chosen_by": origin,
        "loops": print_order(nest.order).splitlines(),
        "buffers": list(_buffers(nest, function, env, machine)),
        "work": _work(work, start, nest, env, machine, limits),
    }


def _statement(statement: Any, env: Mapping[str, int]) -> Report:
    count = instances(statement, env)
    return {
        "statement": statement.name,
        "domain": domain_text(statement),
        "text": infix(statement),
        "instances": count,
        "flops": count * flops_of(statement),
        **_place(statement.span),
    }


def _place(span: Span | None) -> Report:
    if span is None:
        return {}
    return {"file": span.source.name, "line": span.line, "source": span.source.line(span.line).strip()}


def _dependence(d: Summary) -> Report:
    return {
        "kind": d.kind,
        "array": d.array,
        "from": d.source,
        "to": d.sink,
        "loops": list(d.loops),
        "distances": [list(v) for v in d.distances],
        "carried_by": list(d.carried),
        "reduction": d.reduction,
        "text": str(d),
    }


def _step(text: str, name: str) -> Report:
    """A step, and in words what it does: the first sentence of the transformation's own description."""
    words = " ".join((STEPS[name][0].__doc__ or "").split("\n\n")[0].split())
    return {"step": text, "name": name, "words": re.split(r"\. |: ``", words)[0].rstrip(".").replace("``", "")}


# -- storage --------------------------------------------------------------------------------------------------------------


def _buffers(nest: Nest, function: Function, env: Mapping[str, int], machine: Machine) -> Iterator[Report]:
    local = {t.array.name: t.array for t in walk_tree(function.body) if isinstance(t, Declare)}
    kept = {a.name: a for a in function.arrays}
    for info in nest.arrays:
        size = array_bytes(info, env)
        array = local.get(info.name) or kept.get(info.name)
        if array is None:
            continue
        yield {
            "array": info.name,
            "dtype": info.dtype,
            "shape": [str(s) for s in info.shape],
            "bytes": size,
            "place": _storage(array, size, machine),
            "fits": level(size, machine),
        }


def _storage(array: Array, size: int, machine: Machine) -> str:
    """Where an array lives."""
    if array.scope in ("input", "output"):
        return f"{array.scope}, memory of the caller"
    if array.scope == "problem":
        return "scratch that the threads of a problem share"
    if array.scope == "shared":
        return "shared memory, or scratch where several blocks work on a problem"
    if array.scope == "block":
        return "shared memory of a block"
    if array.scope == "thread":
        return "scratch of a thread"
    if not array.shape or array.scope == "held":
        return "registers" if array.shape else "register"
    fixed = all(constant(s) is not None for s in array.shape)
    stack = GPU_STACK_BYTES if isinstance(machine, Gpu) else STACK_BYTES
    return "stack of a thread" if fixed and size <= stack else "scratch of a thread"


def level(size: int, machine: Machine) -> str:
    """The nearest cache that holds so many bytes, or DRAM."""
    near = (("L1", machine.l1), ("L2", machine.l2), ("L3", machine.l3))
    return next((name for name, capacity in near if size <= capacity), "DRAM")


def rewrites_report(found: Sequence[Rewrite], *, once: bool, strict: bool) -> list[Report]:
    """What was done to the graph before it was compiled (:mod:`~..compiler.graph.gram.rewrite`); operations are of one problem."""
    return [
        {
            "rewrite": "gram",
            "loop": r.loop,
            "products": list(r.products),
            "flops_before": r.before,
            "flops_after": r.after,
            "state": f"not done: {r.refused}" if r.refused else 'off: numerics="strict"' if strict else "done",
            "once_for_all_problems": once,
            **_place(r.span),
        }
        for r in found
    ]


def tape_report(call: Call) -> Report | None:
    """What a gradient records of its forward pass, where, and why so; None where the interpreter runs it."""
    choice, compiled = call.choice, call.plan.compiled
    if choice is None or compiled is None:
        return None
    problems = compiled.tree.tile.size if compiled.tree.tile is not None and (call.count or 1) > call.teams else 1
    machine = compiled.target.capabilities.machine
    values: list[Report] = []
    both = followed(compiled.graph.nodes)
    for value in stacks(compiled.graph.nodes):
        size = problems * stack_bytes(value, call.sizes)
        shown = {"value": value.name, "type": str(value.type), "bytes": size, "fits": level(size, machine)}
        values.append({**shown, "read": "before and after" if value.name in both else "in"})
    total = sum(v["bytes"] for v in values)
    return {
        **choice.report(),
        "values": values,
        "handed_bytes": call.handed,
        "problems_at_once": problems,
        "bytes": total,
        "fits": level(total, machine),
        "teams": call.teams,
        "problems": call.count or 1,
    }


# -- work -----------------------------------------------------------------------------------------------------------------


def _work(work: Work, start: Nest, nest: Nest, env: Mapping[str, int], machine: Machine, limits: Report | None) -> Report:
    live = sum(array_bytes(a, env) for a in nest.arrays)
    made: Report = {
        "flops": work.flops,
        "bytes_read": work.read,
        "bytes_written": work.written,
        "intensity": work.intensity,
        "data_bytes": live,
        "data_fits": level(live, machine),
    }
    made["estimate"] = estimated(nest, env, machine)
    iteration = _iteration(start, env)
    if iteration is not None:
        made["iteration"] = {**iteration, "data_fits": level(iteration["bytes"], machine)}
    if limits is not None:
        made["prediction"] = _prediction(made, limits)
    return made


def _iteration(nest: Nest, env: Mapping[str, int]) -> Report | None:
    """One iteration of the outermost loop of the program that does most of the work, if it does half of it."""
    spent: Counter[str] = Counter()
    inside: dict[str, list[Statement]] = {}
    total = 0
    for s in nest.statements:
        total += instances(s, env) * flops_of(s)
        if s.dims and s.dims[0].name.startswith("t"):
            spent[s.dims[0].name] += instances(s, env) * flops_of(s)
            inside.setdefault(s.dims[0].name, []).append(s)
    if not spent:
        return None
    loop, flops = spent.most_common(1)[0]
    dim = inside[loop][0].dims[0]
    names = dim.upper.names() | dim.lower.names()
    values = {**dict.fromkeys(names, 1), **{n: v for n, v in env.items() if n in names}}
    count = dim.upper.evaluate(values) - dim.lower.evaluate(values)
    if count < 2 or 2 * flops < total:
        return None
    touched = set().union(*(s.arrays() for s in inside[loop]))
    moved = sum(
        array_bytes(a, env) // (count if _per_iteration(a.name, loop, inside[loop]) else 1)
        for a in nest.arrays
        if a.name in touched
    )
    return {"loop": loop, "count": count, "flops": flops / count, "bytes": moved}


def _per_iteration(array: str, loop: str, statements: Sequence[Statement]) -> bool:
    """Whether every iteration touches a part of its own of an array: one place of an axis."""
    places = [a.index for s in statements for a in (s.write, *s.reads()) if a.array == array]
    return bool(places) and all(any((i - Size.of(loop)).constant is not None for i in index) for index in places)


def estimated(nest: Nest, env: Mapping[str, int], machine: Machine) -> Report:
    """What the model that chose the schedule expects of it, for these counts (:mod:`~..compiler.search.cost`)."""
    scheduled = Scheduled(fix(nest, env), ())
    if isinstance(machine, Gpu):
        blocks = best_blocks(scheduled, machine)
        return {"seconds": estimate_gpu(scheduled, machine, blocks), "bytes": {}, "blocks": blocks}
    found = estimate(scheduled, machine)
    return {"seconds": found.seconds, "bytes": dict(zip(("l2", "l3", "dram"), found.bytes, strict=True))}


def _prediction(work: Report, limits: Report) -> Report:
    """The least time for the operations and for the traffic out of each level: the most of it is the bound."""
    speed = limits["bytes_per_second"]
    seconds = {"compute": work["flops"] / limits["flops_per_second"]}
    for place, count in work["estimate"]["bytes"].items():
        if place in speed:
            seconds[place] = count / speed[place]
    bound = max(seconds, key=lambda place: seconds[place])
    return {"seconds": seconds, "bound": bound, "least_seconds": seconds[bound]}


# -- host programs --------------------------------------------------------------------------------------------------------


def host_report(host: HostProgram) -> Report:
    """What runs outside kernels: every operation with its line and the reason."""
    operations = []
    for node in _outside(host.graph.nodes):
        reason = why_host(node)
        if node.op == "kernel":
            refused = host.refused.get(node.attr("number"))
            reason = None if refused is None else f"no kernel: {refused}"
        elif reason is None and node.regions:
            inner = next((n for n in walk(list(node.regions[0].nodes)) if n.op != "kernel" and why_host(n)), None)
            reason = None if inner is None else f"it holds {inner.op}"
        elif reason is None and is_large_product(node, host.graph.types):
            reason = "the library is faster at a product of this size"
        elif reason is None and node.op not in CHEAP:
            reason = "this target has no kernel for it"
        if reason is not None:
            operations.append({"operation": node.op, "reason": reason, **_place(node.span)})
    return {"operations": operations, "nodes": len(list(_outside(host.graph.nodes)))}


def _outside(nodes: Sequence[Node]) -> Iterator[Node]:
    """Nodes that the host runs, those inside its loops too, but not what kernels hold."""
    for node in nodes:
        yield node
        if node.op != "kernel":
            for region in node.regions:
                yield from _outside(region.nodes)
