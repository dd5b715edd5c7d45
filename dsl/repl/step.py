"""A step of a schedule, typed: whether it is legal, what it changes, and the predicted time.

    tile i0 i1 32 32                 two loops
    tile S4 t3,t4 8,32               commas may stand between names or numbers; a statement may be named before its loops
    skew i t 1; interchange t i      several steps are proved together
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from ...compiler.diagnostics import UnspoolError
from .command import Reply
from .session import Session
from .state import State, Steps

if TYPE_CHECKING:
    from ...compiler.loops.schedule import Step

#: Names or integers with commas between them.
_LIST = re.compile(r"[\w+-]+(?:,[\w+-]*)*")
_STATEMENT = re.compile(r"S\d+\w*")


def take_steps(session: Session, line: str) -> Reply:
    """Apply the steps of a line. Raises IllegalSchedule with the reason why one does not apply, and UnspoolError."""
    from ...backends.replay import changes
    from ...compiler.loops.dependences import IllegalSchedule
    from ...compiler.loops.schedule import prove, refused
    from ...compiler.loops.schedule_parts import step_lines

    words = [spread(part) for _, part in step_lines(line)]
    if any(part[0] == "batch" for part in words):
        return _batch(session, words)
    before = session.bench.part(session.state)
    try:
        steps = tuple(_read(session, part) for part in words)
        state = added(session, tuple(map(str, steps)))
        after = session.bench.part(state)
        try:
            prove(after.scheduled, strict=after.scheduled.strict)
        except IllegalSchedule as error:
            raise refused(after.scheduled.nest, steps[-1], error.reason) from None
    except IllegalSchedule as error:
        if session.state.plan is not None:
            raise
        raise UnspoolError(f"{error}\n  these are the loops of the compiler's schedule: `schedule none` begins at program order") from None
    said = [f"{'; '.join(map(str, steps))}: legal", *changes(before.scheduled.nest, after.scheduled.nest)]
    return Reply("\n".join([*said, prediction(after.predicted, before.predicted)]), "loops", state)


def spread(words: list[str]) -> list[str]:
    """The words of a step, those with commas taken apart."""
    return [part for word in words for part in (word.split(",") if _LIST.fullmatch(word) else [word]) if part]


def added(session: Session, steps: tuple[str, ...]) -> State:
    """The state with more steps in the part that is worked on."""
    state = session.state
    plan = session.bench.plan(state) or ()
    name, old = next(((n, s) for n, s in plan if n == state.kernel), plan[0])
    return replace(state, plan=plan).set_part(name, old.add(steps, tile=state.tile and old.problems > 0))


def prediction(seconds: float, before: float | None = None) -> str:
    """The predicted time of a nest in words, against what it was."""
    from ...backends.explain_text import scaled

    text = f"predicted {scaled(seconds, 's')}"
    return text if before is None or not seconds else f"{text}, before {scaled(before, 's')}: {before / seconds:.2f} times as fast"


def _read(session: Session, words: list[str]) -> Step:
    """A step of which the statement that may stand before its loops is checked and left out."""
    from ...compiler.loops.arguments import role
    from ...compiler.loops.nest import loop_path
    from ...compiler.loops.schedule import STEPS, parse_schedule

    (step,) = parse_schedule(" ".join(words)).steps
    scheduled = session.bench.part(session.state).scheduled
    nest, named = scheduled.nest, str(step.args[0]) if step.args else ""
    if len(step.args) < 2 or named in scheduled.loops or not _STATEMENT.fullmatch(named) or role(STEPS[step.name][1], 0) != "loop":
        return replace(step, line=0)
    if named not in nest.statement_table:
        raise UnspoolError(f"there is no statement `{named}`; there are {', '.join(nest.statement_table)}")
    around = [loop.name for loop in loop_path(nest.order, named)]
    for arg in step.args[1:]:
        if isinstance(arg, str) and arg not in around:
            raise UnspoolError(f"{named} is not in a loop `{arg}`; it is in {', '.join(around) or 'none'}")
    return replace(step, args=step.args[1:], line=0)


def _batch(session: Session, words: list[list[str]]) -> Reply:
    """``batch 16``: steps go to a tile of so many problems from here on."""
    from .workbench import steps_of

    size = steps_of(" ".join(words[0])).problems
    if len(words) > 1:
        raise UnspoolError("`batch SIZE` stands alone on its line")
    state = session.state
    plan = session.bench.plan(state) or ()
    name, old = next(((n, s) for n, s in plan if n == state.kernel), plan[0] if plan else ("", Steps()))
    if old.together and old.problems != size:
        raise UnspoolError(f"the schedule has steps for a tile of {old.problems} problems: `batch {old.problems}` goes there")
    state = replace(state, plan=plan, tile=True).set_part(name, replace(old, problems=size))
    part = session.bench.part(state)
    from ...compiler.loops.text import print_order

    return Reply(f"{print_order(part.scheduled.nest.order)}\n{prediction(part.predicted)} for {size} problems", "loops", state)
