"""``report``: what the program became under the present steps, as an HTML file. Ctrl-C ends its measurements."""

from __future__ import annotations

from collections.abc import Sequence

from ....compiler.diagnostics import UnspoolError
from ...stages import write
from ..command import Command, Reply, path_of
from ..interrupt import Measurement
from ..session import Session
from .time import prepared


def run(session: Session, words: Sequence[str]) -> Reply:
    """Raises UnspoolError if it cannot be written."""
    from ...report.report import filled, report, uncalled
    from ...report.subject import Subject

    path = path_of(words[0] if words else "", COMMAND.example)
    if words[1:] not in ([], ["time"]):
        raise UnspoolError(f"report is written `{COMMAND.usage}`, as in `{COMMAND.example}`")
    state, measure = session.state, len(words) > 1
    kernel = session.bench.kernel(state)
    why = uncalled(state.handle, state.chosen) if measure else ""

    def work() -> str:
        subject = Subject(state.handle, kernel, measure=measure, strict=state.options.numerics == "strict")
        if measure and not why:
            subject = filled(subject, prepared(state))
        return report(subject, f"{state.program.path}:{state.algorithm}")

    write(path, Measurement().result(work))
    return Reply("\n".join([*([why] if why else []), f"wrote {path}"]))


COMMAND = Command(
    "report", "report FILE.html [time]", "Write all stages as one HTML file, their lines linked; with `time` also what is measured.", "report ista.html",
    run, ("path", "time"), 2,
)  # fmt: skip
