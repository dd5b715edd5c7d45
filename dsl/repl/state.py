"""What a session of the REPL looks at: a program, an algorithm in it, sizes, options, a schedule. States never change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...compiler.diagnostics import Diagnostic, ProgramError, UnspoolError
from .. import syntax as s
from ..api import AlgorithmHandle, Program
from ..compile_options import CompileOptions
from ..program import examine_file
from ..uses import read_source


@dataclass(frozen=True, eq=False)
class Opened:
    """A program as far as it got: its ``text``, the algorithms that have no error, the names of those that have, and the errors."""

    path: Path
    text: str
    handles: Mapping[str, AlgorithmHandle]
    functions: tuple[str, ...]
    faulty: tuple[str, ...]
    errors: tuple[Diagnostic, ...]


def open_program(path: Path) -> Opened:
    """Read a program. Raises ProgramError if it cannot be read at all; one that cannot be parsed is its text and its errors."""
    text = read_source(path).text
    try:
        checked, errors = examine_file(path)
    except ProgramError as error:
        return Opened(path, text, {}, (), (), error.diagnostics)
    program = Program(checked, path.stem)
    written = [item.name.text for item in checked.scope.own if isinstance(item, s.AlgorithmDecl)]
    faulty = tuple(name for name in written if name not in checked.algorithms)
    return Opened(path, text, {name: program[name] for name in checked.algorithms}, tuple(checked.functions), faulty, tuple(errors))


@dataclass(frozen=True)
class Steps:
    """The schedule of a kernel: the steps for one problem, and behind ``batch SIZE`` those for a tile of so many ``problems`` (0: none)."""

    alone: tuple[str, ...] = ()
    problems: int = 0
    together: tuple[str, ...] = ()

    def __str__(self) -> str:
        tile = (f"batch {self.problems}", *self.together) if self.problems else ()
        return "\n".join([*self.alone, *tile])

    def add(self, steps: tuple[str, ...], *, tile: bool) -> Steps:
        """With more steps at the end of one of the two parts."""
        return replace(self, together=(*self.together, *steps)) if tile else replace(self, alone=(*self.alone, *steps))


#: The schedules of kernels by name. None stands for the compiler's choice.
Plan = tuple[tuple[str, Steps], ...] | None
#: What stands for program order where a text without any step would ask for the program as it is written, products before loops included.
NO_STEPS = "# program order"


def plan_text(plan: Plan) -> str | None:
    """The text of a plan, as ``dsl compile --schedule`` takes it."""
    if plan is None:
        return None
    if len(plan) < 2:
        return "".join(str(steps) for _, steps in plan) or NO_STEPS
    return "\n".join(f"kernel {name}\n{steps}".rstrip() for name, steps in plan)


@dataclass(frozen=True)
class State:
    """What is looked at. ``sizes``, ``counts`` and ``lead`` are what was asked for; ``kernel`` and ``tile`` say which part of the plan steps go to
    (an empty name: the first kernel)."""

    opened: Opened | None = None
    algorithm: str = ""
    sizes: tuple[tuple[str, int], ...] = ()
    counts: tuple[tuple[str, int], ...] = ()
    lead: tuple[int, ...] = ()
    options: CompileOptions = field(default_factory=CompileOptions)
    plan: Plan = None
    kernel: str = ""
    tile: bool = False

    @property
    def program(self) -> Opened:
        """The program. Raises UnspoolError if none is loaded."""
        if self.opened is None:
            raise UnspoolError("no program is loaded: `load FILE`")
        return self.opened

    @property
    def handle(self) -> AlgorithmHandle:
        """The algorithm that is looked at. Raises UnspoolError if there is none."""
        opened = self.program
        if self.algorithm in opened.handles:
            return opened.handles[self.algorithm]
        if opened.errors:
            raise UnspoolError(f"{self.algorithm or opened.path} has errors: `check` shows them, `program` the text")
        raise UnspoolError(f"{opened.path} has no algorithm")

    @property
    def chosen(self) -> CompileOptions:
        """The options, the schedule among them."""
        return replace(self.options, schedule=plan_text(self.plan))

    def set_part(self, name: str, steps: Steps) -> State:
        """With the schedule of one kernel replaced; the plan must not be the compiler's choice."""
        return replace(self, plan=tuple((n, steps if n == name else old) for n, old in self.plan or ()))
