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
        return prepare(state.handle, {}, dict(state.sizes), state.lead, dict(state.counts), state.chosen)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, UnspoolError):
            raise
        raise DataError(f"data of these sizes cannot be made: {str(error).splitlines()[0] if str(error) else 'memory is full'}") from None


def roofline_lines(found: Mapping[str, Any], figures: Mapping[str, Any]) -> list[str]:
    """Where a measured call lies below the roofline: its operations per byte, the rate that the limits allow there, and the one it has."""
    from ....backends.explain_text import scaled
    from ...explain import position

    place = position(found, figures)
    if place is None:
        return []
    allows = f"{place.intensity:.3g} flop/B, where {place.bound} allows {scaled(place.roof, 'flop/s')}"
    return [f"roofline: {allows}: {100 * place.reached:.2g}% of it"]


COMMAND = Command("time", "time", "Measure a call on made-up data, against the limits of this machine; Ctrl-C stops it.", "time", run)
