"""A session: the state, and those before it."""

from __future__ import annotations

from .state import State
from .workbench import Workbench


class Session:
    """What lines are said to. ``past`` has earlier states, each with the line that left it; ``failed``: whether a line was refused."""

    def __init__(self) -> None:
        self.state = State()
        self.past: list[tuple[str, State]] = []
        self.bench = Workbench()
        self.failed = False

    @property
    def prompt(self) -> str:
        """What stands before a line."""
        state = self.state
        name = state.kernel or state.algorithm or (state.opened.path.name if state.opened else "dsl")
        return f"{name}{' batch' if state.tile else ''}> "
