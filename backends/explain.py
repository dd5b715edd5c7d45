"""What a compiled algorithm does and why, as data: :func:`report`; :func:`lines` makes a text of it.

A report holds nothing but dicts, lists, texts and numbers, so that it can be written as JSON. Counts of operations and bytes are
those of one problem, for the iteration counts that the kernel was compiled with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from ..compiler.diagnostics import Span
from ..compiler.driver import Compiled, HostProgram, why_host
from ..compiler.graph.graph import Node, walk
from ..compiler.graph.partition import CHEAP
from ..compiler.loops.account import WIDTHS, Work, array_bytes, flops_of, instances, work_of_nest
from ..compiler.loops.carriers import Summary, summaries
from ..compiler.loops.infix import domain_text, infix
from ..compiler.loops.isl import safe
from ..compiler.loops.nest import Nest, Statement
from ..compiler.loops.schedule import STEPS, parse_schedule
from ..compiler.loops.schedule_parts import split_batch
from ..compiler.loops.scheduled import Scheduled
from ..compiler.loops.text import print_order
from ..compiler.loops.tree import Array, Declare, Function, Tile
from ..compiler.target import Machine
from .affine import constant
from .rewrite import walk as walk_tree
from .roofline import Roofline
from .writer import STACK_BYTES

Report = dict[str, Any]


def report(
    name: str,
    about: Mapping[str, Any],
    parts: Sequence[tuple[str, Compiled]],
    host: HostProgram | None,
    roofline: Roofline | None = None,
) -> Report:
    """The report of an algorithm; ``about`` has at least its ``sizes`` (iteration counts included), ``dtype`` and ``threads``. With a
    roofline, work is held against the limits of the machine."""
    limits = None if roofline is None else _limits(roofline, about["dtype"], about["threads"])
    made: Report = {"algorithm": name, **about, "kernels": [kernel_report(n, c, about["sizes"], limits) for n, c in parts]}
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


def kernel_report(name: str, compiled: Compiled, sizes: Mapping[str, int], limits: Report | None = None) -> Report:
    """Everything about one kernel."""
    env = {safe(n): v for n, v in sizes.items()}
    alone, size, together = split_batch(compiled.schedule)
    made: Report = {
        "kernel": name,
        "run_time_integers": list(compiled.integers),
        **_body(compiled.lowered, compiled.nest, alone, compiled.tree, env, compiled.target.capabilities.machine, limits),
        "compile_seconds": dict(compiled.times),
    }
    if compiled.tile is not None and compiled.tree.tile is not None:
        tile = compiled.tree.tile
        inside = {**env, tile.lanes: size, **_strides(compiled, tile, env)}
        machine = compiled.target.capabilities.machine
        body = _body(compiled.tile_lowered, compiled.tile, together, tile.function, inside, machine, limits)
        made["batch_tile"] = {"problems": size, **body}
    return made


def _strides(compiled: Compiled, tile: Tile, env: Mapping[str, int]) -> dict[str, int]:
    """Elements of one problem, for each operand whose distance between problems the tile is told."""
    operands = [a for scope in ("input", "output") for a in compiled.nest.arrays if a.scope == scope]
    found = {}
    for array, stride in zip(operands, tile.strides, strict=True):
        if stride:
            found[stride] = array_bytes(array, env) // WIDTHS.get(array.dtype, 4)
    return found


def _body(
    lowered: Nest | None,
    nest: Nest,
    schedule: str,
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
        "loops": print_order(nest.order).splitlines(),
        "buffers": list(_buffers(nest, function, env, machine)),
        "work": _work(work, start, env, machine, limits),
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
    words = (STEPS[name][0].__doc__ or "").strip().splitlines()[0]
    return {"step": text, "name": name, "words": words.split(": ``")[0].rstrip(".").replace("``", "")}


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
            "place": _storage(array, size),
            "fits": level(size, machine),
        }


def _storage(array: Array, size: int) -> str:
    """Where an array lives."""
    if array.scope in ("input", "output"):
        return f"{array.scope}, memory of the caller"
    if array.scope == "problem":
        return "scratch that the threads of a problem share"
    if array.scope == "thread":
        return "scratch of a thread"
    if not array.shape:
        return "register"
    fixed = all(constant(s) is not None for s in array.shape)
    return "stack of a thread" if fixed and size <= STACK_BYTES else "scratch of a thread"


def level(size: int, machine: Machine) -> str:
    """The nearest cache that holds so many bytes, or DRAM."""
    near = (("L1", machine.l1), ("L2", machine.l2), ("L3", machine.l3))
    return next((name for name, capacity in near if size <= capacity), "DRAM")


# -- work -----------------------------------------------------------------------------------------------------------------


def _work(work: Work, nest: Nest, env: Mapping[str, int], machine: Machine, limits: Report | None) -> Report:
    live = sum(array_bytes(a, env) for a in nest.arrays)
    made: Report = {
        "flops": work.flops,
        "bytes_read": work.read,
        "bytes_written": work.written,
        "intensity": work.intensity,
        "data_bytes": live,
        "data_fits": level(live, machine),
    }
    iteration = _iteration(nest, env)
    if iteration is not None:
        made["iteration"] = {**iteration, "data_fits": level(iteration["bytes"], machine)}
    if limits is not None:
        made["prediction"] = _prediction(made, limits)
    return made


def _iteration(nest: Nest, env: Mapping[str, int]) -> Report | None:
    """One iteration of the outermost loop of the program that does most of the work."""
    spent: Counter[str] = Counter()
    inside: dict[str, list[Statement]] = {}
    for s in nest.statements:
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
    if count < 2:
        return None
    touched = set().union(*(s.arrays() for s in inside[loop]))
    moved = sum(array_bytes(a, env) // (count if _per_iteration(a.name, loop, inside[loop]) else 1) for a in nest.arrays if a.name in touched)
    return {"loop": loop, "count": count, "flops": flops / count, "bytes": moved}


def _per_iteration(array: str, loop: str, statements: Sequence[Statement]) -> bool:
    """Whether every iteration touches a part of its own of an array."""
    places = [a.index for s in statements for a in (s.write, *s.reads()) if a.array == array]
    return bool(places) and all(any(loop in i.names() for i in index) for index in places)


def _prediction(work: Report, limits: Report) -> Report:
    """The least time for the operations, for the least traffic with memory, and for an untiled loop over iterations, whose
    arrays come out of the cache that holds them once in each."""
    speed = limits["bytes_per_second"]
    seconds = {"compute": work["flops"] / limits["flops_per_second"]}
    moved = Counter({"dram": work["bytes_read"] + work["bytes_written"]})
    if "iteration" in work:
        near = work["iteration"]["data_fits"].lower()
        moved[near] = max(moved[near], work["iteration"]["bytes"] * work["iteration"]["count"])
    for place, count in moved.items():
        known = place if place in speed else "dram"
        seconds[known] = max(seconds.get(known, 0.0), count / speed[known])
    bound = max(seconds, key=lambda place: seconds[place])
    return {"bytes": dict(moved), "seconds": seconds, "bound": bound, "least_seconds": seconds[bound]}


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


# -- text -----------------------------------------------------------------------------------------------------------------


def lines(found: Report) -> Iterator[str]:
    """A report as text."""
    sizes = ", ".join(f"{n} = {v}" for n, v in sorted(found["sizes"].items()))
    kind = "a host program" if "host" in found else "one kernel"
    yield f"{found['algorithm']}: {kind} for target {found['target']}, {found['dtype']}" + (f", {sizes}" if sizes else "")
    if "limits" in found:
        top = found["limits"]
        speeds = ", ".join(f"{place.upper()} {scaled(v, 'B/s')}" for place, v in top["bytes_per_second"].items())
        yield f"this machine, {_several(top['cores'], 'core')}: {scaled(top['flops_per_second'], 'flop/s')}, {speeds}"
    if "host" in found:
        yield ""
        yield from _host_lines(found["host"], len(found["kernels"]))
    for kernel in found["kernels"]:
        yield ""
        yield from _kernel_lines(kernel)
    if "measured" in found:
        yield ""
        yield from _measured_lines(found["measured"])


def _host_lines(host: Report, kernels: int) -> Iterator[str]:
    operations = _several(host["nodes"], "operation")
    yield f"on the host, by the interpreter: {operations}, of them {_several(kernels, 'kernel')}; what is none, and why"
    rows = [(o["operation"], f"line {o['line']}" if "line" in o else "", o["reason"], o.get("source", "")) for o in host["operations"]]
    yield from _table(list(dict.fromkeys(rows))) if rows else ["  nothing: no part was left over for a kernel"]


def _kernel_lines(kernel: Report) -> Iterator[str]:
    counts = f"; run-time integers {', '.join(kernel['run_time_integers'])}" if kernel["run_time_integers"] else ""
    spent = ", ".join(f"{stage} {1e3 * t:.0f} ms" for stage, t in kernel["compile_seconds"].items())
    total = sum(kernel["compile_seconds"].values())
    yield f"kernel {kernel['kernel']}: {_several(len(kernel['statements']), 'statement')}{counts}"
    yield f"compiled in {total:.2f} s: {spent}" if spent else "from a kernel file"
    yield from _body_lines(kernel)
    if "batch_tile" in kernel:
        tile = kernel["batch_tile"]
        yield ""
        yield f"kernel {kernel['kernel']}, a second body for {tile['problems']} problems side by side; its figures are of all of them"
        yield from _body_lines(tile)


def _body_lines(body: Report) -> Iterator[str]:
    yield "statements"
    rows = []
    for s in body["statements"]:
        where = f"line {s['line']}" if "line" in s else ""
        rows.append((s["statement"], s["text"], s["domain"], f"{s['instances']} times", where))
    yield from _table(rows) if rows else ["  none: nothing is computed"]
    yield from _dependence_lines(body["dependences"])
    yield "schedule" if body["schedule"] else "schedule: none, program order"
    steps = []
    for _, group in groupby(body["schedule"], lambda s: s["name"]):
        steps += [(s["step"], "" if n else s["words"]) for n, s in enumerate(group)]
    yield from _table(steps)
    yield "loops"
    yield from (f"  {line}" for line in body["loops"])
    yield "storage"
    rows = [
        (b["array"], f"{b['dtype']}[{', '.join(b['shape'])}]", scaled(b["bytes"], "B"), b["place"], "" if b["place"] == "register" else b["fits"])
        for b in body["buffers"]
    ]
    yield from _table(rows)
    yield "work"
    yield from _work_lines(body["work"])


#: What limits a kernel, in words.
_BOUNDS = {"compute": "arithmetic", "l1": "L1", "l2": "L2", "l3": "L3", "dram": "memory"}


def _dependence_lines(found: Sequence[Report]) -> Iterator[str]:
    if not found:
        yield "dependences: none"
        return
    kinds = Counter("reduction" if d["reduction"] else d["kind"] for d in found)
    counted = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
    yield f"dependences: {counted}; of them flow and reductions (--emit dependences has all)"
    rows = []
    for d in found:
        if d["kind"] != "flow" and not d["reduction"]:
            continue
        distance = ", ".join(f"({', '.join(v)})" for v in d["distances"][:4]) + (", ..." if len(d["distances"]) > 4 else "")
        carried = f"carried by {', '.join(d['carried_by'])}" if d["carried_by"] else ""
        kind = "reduction" if d["reduction"] else d["kind"]
        over = f"({', '.join(d['loops'])}) = {distance}" if d["loops"] else ""
        rows.append((kind, d["array"], f"{d['from']} -> {d['to']}", over, carried))
    yield from _table(rows)


def _work_lines(work: Report) -> Iterator[str]:
    rows = [("operations", scaled(work["flops"], "flop"), "")]
    if "iteration" in work:
        i = work["iteration"]
        where = f"in each of {i['count']} iterations of {i['loop']}, which touches {scaled(i['bytes'], 'B')} ({i['data_fits']})"
        rows.append(("", scaled(i["flops"], "flop"), where))
    rows.append(("traffic", scaled(work["bytes_read"] + work["bytes_written"], "B"), "at least: inputs once, results once"))
    rows.append(("intensity", f"{work['intensity']:.3g} flop/B", "at most, for that traffic"))
    rows.append(("data", scaled(work["data_bytes"], "B"), f"all arrays together: {_fits(work['data_fits'])}"))
    if "prediction" in work:
        p = work["prediction"]
        each = ", ".join(f"{place} {scaled(t, 's')}" for place, t in p["seconds"].items())
        rows.append(("at best", scaled(p["least_seconds"], "s"), f"bound by {_BOUNDS[p['bound']]} ({each})"))
    yield from _table(rows)


def _measured_lines(found: Report) -> Iterator[str]:
    median, least = (scaled(found[key], "s") for key in ("median_seconds", "minimum_seconds"))
    problems = f" of {found['problems']} problems" if found["problems"] > 1 else ""
    yield f"measured: a call{problems} takes {median} (median; at best {least})"
    if found["flops"]:
        part = 100 * found.get("least_seconds", 0.0) / found["median_seconds"]
        share = f": {part:.2g}% of what the limits allow" if part else ""
        rates = f"{scaled(found['flops_per_second'], 'flop/s')}, {scaled(found['bytes_per_second'], 'B/s')} from and to the caller"
        yield f"  {rates}{share}"


def _several(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _fits(place: str) -> str:
    return "more than the caches hold" if place == "DRAM" else f"{place} holds them"


def scaled(value: float, unit: str) -> str:
    """A number with three digits and a decimal prefix."""
    for prefix, factor in (("n", 1e9), ("u", 1e6), ("m", 1e3)):
        if 0 < abs(value) * factor < 999.5:
            return f"{value * factor:.3g} {prefix}{unit}"
    for prefix in ("", "k", "M", "G", "T"):
        if abs(value) < 999.5:
            return f"{value:.3g} {prefix}{unit}"
        value /= 1000
    return f"{value:.3g} P{unit}"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows in columns; a cell longer than 60 characters does not widen its column."""
    widths = [max((len(r[c]) for r in rows if len(r[c]) <= 60), default=0) for c in range(len(rows[0]))] if rows else []
    for row in rows:
        yield ("  " + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths))).rstrip()
