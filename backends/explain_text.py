"""The report of :mod:`.explain` as text, in columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from .explain import Report

#: What limits a kernel, in words.
_BOUNDS = {"compute": "arithmetic", "l1": "L1", "l2": "L2", "l3": "L3", "dram": "memory"}


def lines(found: Report) -> Iterator[str]:
    """A report as text."""
    sizes = ", ".join(f"{n} = {v}" for n, v in sorted(found["sizes"].items()))
    kind = "a host program" if "host" in found else "one kernel"
    yield f"{found['algorithm']}: {kind} for target {found['target']}, {found['dtype']}" + (f", {sizes}" if sizes else "")
    if "limits" in found:
        top = found["limits"]
        speeds = ", ".join(f"{place.upper()} {scaled(v, 'B/s')}" for place, v in top["bytes_per_second"].items())
        yield f"this machine, {_several(top['cores'], 'core')}: {scaled(top['flops_per_second'], 'flop/s')}, {speeds}"
    if "rewrites" in found:
        yield ""
        yield from _rewrite_lines(found["rewrites"])
    if "host" in found:
        yield ""
        yield from _host_lines(found["host"], len(found["kernels"]))
    for kernel in found["kernels"]:
        yield ""
        yield from _kernel_lines(kernel)
    if "measured" in found:
        yield ""
        yield from measured_lines(found["measured"])


def _rewrite_lines(rewrites: Sequence[Report]) -> Iterator[str]:
    yield "products taken before a loop, and its operations with them (flops of one problem)"
    rows = []
    for r in rewrites:
        shared = ", once for all problems" if r["once_for_all_problems"] else ""
        flops = f"{scaled(r['flops_after'], 'flop')} in place of {scaled(r['flops_before'], 'flop')}"
        place = f"line {r['line']}" if "line" in r else ""
        rows.append((f"{r['state']}{shared}", f"loop over {r['loop']}", place, flops, "; ".join(r["products"])))
    yield from table(rows)


def _host_lines(host: Report, kernels: int) -> Iterator[str]:
    operations = _several(host["nodes"], "operation")
    yield f"on the host, by the interpreter: {operations}, of them {_several(kernels, 'kernel')}; what is none, and why"
    rows = [(o["operation"], f"line {o['line']}" if "line" in o else "", o["reason"], o.get("source", "")) for o in host["operations"]]
    yield from table(list(dict.fromkeys(rows))) if rows else ["  nothing: no part was left over for a kernel"]


def _kernel_lines(kernel: Report) -> Iterator[str]:
    counts = f"; run-time integers {', '.join(kernel['run_time_integers'])}" if kernel["run_time_integers"] else ""
    spent = ", ".join(f"{stage} {1e3 * t:.0f} ms" for stage, t in kernel["compile_seconds"].items())
    total = sum(kernel["compile_seconds"].values())
    yield f"kernel {kernel['kernel']}: {_several(len(kernel['statements']), 'statement')}{counts}"
    yield f"compiled in {total:.2f} s: {spent}" if spent else "from a kernel file"
    if "tape" in kernel:
        yield from _tape_lines(kernel["tape"])
    yield from _body_lines(kernel)
    if "batch_tile" in kernel:
        tile = kernel["batch_tile"]
        yield ""
        yield f"kernel {kernel['kernel']}, a second body for {tile['problems']} problems side by side; its figures are of all of them"
        yield from _body_lines(tile)


#: What a tape policy does.
_POLICIES = {
    "keep": "what the adjoint needs of every iteration is kept, and nothing is computed twice",
    "recompute": "the state before every iteration is kept, and the rest is computed again",
    "every": "the state before a segment of iterations is kept, and each segment is run again, with a tape, before its adjoint",
}


#: How an iteration reads a value of a tape.
_READ = {"in": "", "before and after": "the next row is what an iteration makes of it: read, not computed again"}
_HANDED = "what the adjoint needs of every iteration comes from the forward pass, and nothing is computed twice"


def _tape_lines(tape: Report) -> Iterator[str]:
    told = _POLICIES[tape["policy"].split()[0]] if tape["values"] or not tape["handed_bytes"] else _HANDED
    yield f"tape: {tape['policy']}: {told}"
    owner = "a problem" if tape["problems_at_once"] == 1 else f"{tape['problems_at_once']} problems side by side"
    rows = [(v["value"], v["type"], scaled(v["bytes"], "B"), _READ[v["read"]]) for v in tape["values"]]
    if tape["handed_bytes"]:
        rows.append(("handed", "", scaled(tape["handed_bytes"], "B"), "values of all problems that the forward pass hands over"))
    rows.append(("together", "", scaled(tape["bytes"], "B"), f"of {owner}: {_fits(tape['fits'])}"))
    at_work = f"{_several(tape['problems'], 'problem')}, of them {tape['teams']} at work at once" if tape["problems"] > 1 else "one problem"
    rows.append(("peak", "", scaled(tape["peak_bytes"], "B"), f"all scratch memory of the gradient, for {at_work}"))
    if tape["budget"] is not None:
        limit = scaled(tape["budget"]["bytes"], "B")
        whose = "memory=" if tape["budget"]["set"] else "half of this machine's memory, as none is set"
        more = "more" if tape["keep_bytes"] is None else scaled(tape["keep_bytes"], "B")
        held = "" if tape["policy"] == "keep" else f"; keeping all would take {more}"
        rows.append(("budget", "", limit, whose + held))
    yield from table(rows)


def _body_lines(body: Report) -> Iterator[str]:
    yield "statements"
    rows = []
    for s in body["statements"]:
        where = f"line {s['line']}" if "line" in s else ""
        rows.append((s["statement"], s["text"], s["domain"], f"{s['instances']} times", where))
    yield from table(rows) if rows else ["  none: nothing is computed"]
    yield from _dependence_lines(body["dependences"])
    told = f", {body['chosen_by']}" if body["chosen_by"].startswith(("tuned", "learned")) else ""
    yield f"schedule{told}" if body["schedule"] else f"schedule: none, program order{told}"
    steps = []
    for _, group in groupby(body["schedule"], lambda s: s["name"]):
        steps += [(s["step"], "" if n else s["words"]) for n, s in enumerate(group)]
    yield from table(steps)
    yield "loops"
    yield from (f"  {line}" for line in body["loops"])
    yield "storage"
    rows = [
        (b["array"], f"{b['dtype']}[{', '.join(b['shape'])}]", scaled(b["bytes"], "B"), b["place"], "" if b["place"] == "register" else b["fits"])
        for b in body["buffers"]
    ]
    yield from table(rows)
    yield "work"
    yield from _work_lines(body["work"])


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
    yield from table(rows)


def _work_lines(work: Report) -> Iterator[str]:
    rows = [("operations", scaled(work["flops"], "flop"), "")]
    if "iteration" in work:
        i = work["iteration"]
        where = f"in each of {i['count']} iterations of {i['loop']}, which touches {scaled(i['bytes'], 'B')} ({i['data_fits']})"
        rows.append(("", scaled(i["flops"], "flop"), where))
    rows.append(("traffic", scaled(work["bytes_read"] + work["bytes_written"], "B"), "at least: inputs once, results once"))
    rows.append(("intensity", f"{work['intensity']:.3g} flop/B", "at most, for that traffic"))
    rows.append(("data", scaled(work["data_bytes"], "B"), f"all arrays together: {_fits(work['data_fits'])}"))
    moved = work["estimate"]["bytes"]
    among = ", ".join(f"{scaled(count, 'B')} out of {_BOUNDS[place]}" for place, count in moved.items())
    blocks = work["estimate"].get("blocks")
    how = f"moving {among}" if blocks is None else f"on {blocks} block{'s' * (blocks != 1)} of threads, if there is no other problem"
    rows.append(("estimated", scaled(work["estimate"]["seconds"], "s"), how))
    if "prediction" in work:
        p = work["prediction"]
        each = ", ".join(f"{place} {scaled(t, 's')}" for place, t in p["seconds"].items())
        rows.append(("at best", scaled(p["least_seconds"], "s"), f"bound by {_BOUNDS[p['bound']]} ({each})"))
    yield from table(rows)


def measured_lines(found: Report) -> Iterator[str]:
    """The time of a call, and what that is of the limits."""
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


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows in columns; a cell longer than 60 characters does not widen its column."""
    widths = [max((len(r[c]) for r in rows if len(r[c]) <= 60), default=0) for c in range(len(rows[0]))] if rows else []
    for row in rows:
        yield ("  " + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths))).rstrip()
