"""``time``: a measurement, and where it lies below the roofline. Ctrl-C ends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ....compiler.diagnostics import DataError, UnspoolError
from ..command import Command, Reply
from ..interrupt import Measurement
from ..session import Session
from ..state import State
from ..step import prediction

if TYPE_CHECKING:
    from ...session import Call


def run(session: Session, words: Sequence[str]) -> Reply:
    """A call on made-up data; one that takes the compiler long is waited for, too."""
    from ....backends.explain_text import measured_lines
    from ...explain import measured

    state, measurement = session.state, Measurement()
    kernel = session.bench.kernel(state)

    def work() -> list[str]:
        call = prepared(state)
        found = kernel.report(limits=kernel.on_processor)
        figures = measured(call, found, measurement.stoppable(call.run))
        return [call.said, *measured_lines(figures), *roofline_lines(found, figures)]

    return Reply("\n".join([*(line for line in measurement.result(work) if line), *_predicted(session)]))


def _predicted(session: Session) -> list[str]:
    """What the model says of the part that steps go to, where there is one."""
    try:
        return [f"{prediction(session.bench.part(session.state).predicted)} of one problem"]
    except UnspoolError:
        return []  # the target orders loops itself, or has none


def prepared(state: State) -> Call:
    """A call of the state's kernel on made-up data. Raises DataError, also for data that does not fit into memory."""
    from ...session import prepare

    try:
        return prepare(state.handle, [], dict(state.sizes), state.lead, dict(state.counts), state.chosen)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, UnspoolError):
            raise
        raise DataError(f"data of these sizes cannot be made: {str(error).splitlines()[0] if str(error) else 'memory is full'}") from None


def roofline_lines(found: Mapping[str, Any], figures: Mapping[str, Any]) -> list[str]:
    """Where a measured call lies below the roofline: its operations per byte, the rate that the limits allow there, and the one it has."""
    from ....backends.explain_text import scaled

    forward = [k["work"] for k in found["kernels"] if "prediction" in k["work"]]
    moved = figures["flops"] and sum(w["bytes_read"] + w["bytes_written"] for w in forward) * figures["problems"]
    if not moved or "limits" not in found:
        return []
    limits = found["limits"]
    intensity, peak = figures["flops"] / moved, limits["flops_per_second"]
    roof = min(peak, intensity * limits["bytes_per_second"]["dram"])
    bound = "the peak of arithmetic" if roof == peak else "the bandwidth of memory"
    reached = figures["flops_per_second"] / roof
    return [f"roofline: {intensity:.3g} flop/B, where {bound} allows {scaled(roof, 'flop/s')}: {100 * reached:.2g}% of it"]


COMMAND = Command("time", "time", "Measure a call on made-up data, against the limits of this machine; Ctrl-C stops it.", "time", run)
