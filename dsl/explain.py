"""What ``dsl explain`` prints: tables on a terminal, the text of ``kernel.explain()`` elsewhere, JSON on request."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape

from ..backends.explain_text import lines
from ..backends.kernel import Kernel
from .session import Call
from .timing import interleaved

#: Headings of a report, which a terminal shows in bold.
_HEADINGS = (
    "products taken",
    "statements",
    "dependences",
    "schedule",
    "loops",
    "storage",
    "work",
    "kernel ",
    "this machine",
    "on the host",
    "measured",
)


def show(kernel: Kernel, call: Call | None, *, gradients: bool, as_json: bool) -> None:
    """Print the report of a kernel, with the time of a call if there is one."""
    found = kernel.report(gradients=gradients, limits=kernel.on_processor)
    if call is not None:
        print(call.said, file=sys.stderr)
        found["measured"] = measured(call, found)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    console = Console(soft_wrap=True, highlight=False)
    for line in lines(found):
        text = escape(line)
        console.print(f"[bold]{text}[/]" if line.startswith(_HEADINGS) else text)


@dataclass(frozen=True)
class Position:
    """Where a measured call lies below the roofline: operations per byte from and to memory, the operations per second that the limits allow there,
    what part of them it ``reached``, and what ``bound`` them."""

    intensity: float
    roof: float
    reached: float
    bound: str


def position(found: Mapping[str, Any], figures: Mapping[str, Any]) -> Position | None:
    """The place of a call, from a report with limits and what :func:`measured` gave; None without limits or operations."""
    forward = [k["work"] for k in found["kernels"] if "prediction" in k["work"]]
    moved = figures["flops"] and sum(w["bytes_read"] + w["bytes_written"] for w in forward) * figures["problems"]
    if not moved or "limits" not in found:
        return None
    limits = found["limits"]
    intensity, peak = figures["flops"] / moved, limits["flops_per_second"]
    roof = min(peak, intensity * limits["bytes_per_second"]["dram"])
    bound = "the peak of arithmetic" if roof == peak else "the bandwidth of memory"
    return Position(intensity, roof, figures["flops_per_second"] / roof, bound)


def measured(call: Call, found: Mapping[str, Any], run: Callable[[], object] | None = None) -> dict[str, Any]:
    """The time of a call, and its operations and least traffic per second; a host program's kernels count as called once. ``run``: what is
    called in place of ``call.run``."""
    timing = interleaved({"call": run or call.run}, rounds=11, seconds=10.0)["call"]
    forward = [k for k in found["kernels"] if not k["kernel"].endswith("_backward")]
    flops, moved = (call.problems * sum(sum(k["work"][n] for n in names) for k in forward)
                    for names in (("flops",), ("bytes_read", "bytes_written")))  # fmt: skip
    known = [k["work"]["prediction"]["least_seconds"] for k in forward if "prediction" in k["work"]]
    return {
        "problems": call.problems,
        "median_seconds": timing.median,
        "minimum_seconds": timing.minimum,
        "runs": timing.runs,
        "flops": flops,
        "flops_per_second": flops / timing.median,
        "bytes_per_second": moved / timing.median,
        **({"least_seconds": call.problems * sum(known)} if len(known) == len(forward) else {}),
    }
