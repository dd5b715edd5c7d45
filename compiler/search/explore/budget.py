"""How long a search may go on: seconds, or a number of schedules that are measured (looked at, where nothing is measured)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ...diagnostics import DataError


@dataclass
class Budget:
    """What is left of it. With ``candidates`` alone a search with a seed does the same each time. Raises DataError for one without an end."""

    seconds: float | None = None
    candidates: int | None = None
    used: int = 0
    _start: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if self.seconds is None and self.candidates is None:
            raise DataError("a search needs a budget: seconds, or a number of schedules")
        for value in (self.seconds, self.candidates):
            if value is not None and not value > 0:
                raise DataError(f"the budget of a search is more than nothing, not {value}")

    @property
    def elapsed(self) -> float:
        """Seconds since it was opened."""
        return time.monotonic() - self._start

    @property
    def part(self) -> float:
        """What part of it is used, between 0 and 1."""
        parts = [0.0]
        if self.seconds is not None:
            parts.append(self.elapsed / self.seconds)
        if self.candidates is not None:
            parts.append(self.used / self.candidates)
        return min(1.0, max(parts))

    @property
    def left(self) -> bool:
        """Whether anything is left."""
        return self.part < 1
