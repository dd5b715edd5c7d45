"""All schedules that a search has seen: what the guide predicts for each, and what was measured.

Measurements correct predictions. The guide ranks schedules that are near to each other better than it tells seconds, so what a schedule is
worth is what its nearest measured ancestor takes, times the ratio that the guide sees between the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ...loops.scheduled import Scheduled
from ...loops.text import print_nest
from ..draft import Draft

#: Predicted seconds of each of some programs.
Guide = Callable[[Sequence[Scheduled]], Sequence[float]]
#: Measured seconds of each of some programs; infinity for one that cannot be measured.
Measure = Callable[[Sequence[Scheduled]], Sequence[float]]


@dataclass(eq=False)
class Candidate:
    """A schedule, what it was made from, and its seconds: as the guide has it, and as they were measured (None: not yet)."""

    draft: Draft
    predicted: float
    parent: Candidate | None = None
    measured: float | None = None

    @property
    def worth(self) -> float:
        """The seconds it is believed to take."""
        if self.measured is not None:
            return self.measured
        known = self.parent
        while known is not None and (known.measured is None or math.isinf(known.measured)):
            known = known.parent
        if known is None or known.measured is None:
            return self.predicted
        return known.measured * self.predicted / known.predicted


@dataclass
class Pool:
    """The candidates by the text of their loops; of schedules that make the same loops there is the first."""

    guide: Guide
    known: dict[str, Candidate] = field(default_factory=dict)

    def add(self, drafts: Iterable[Draft], parent: Candidate | None = None) -> list[Candidate]:
        """Candidates for the drafts that are new."""
        fresh: dict[str, Draft] = {}
        for draft in drafts:
            text = print_nest(draft.scheduled.nest)
            if text not in self.known:
                fresh.setdefault(text, draft)
        predicted = self.guide([draft.scheduled for draft in fresh.values()]) if fresh else []
        made = [Candidate(draft, max(float(seconds), 1e-12), parent) for draft, seconds in zip(fresh.values(), predicted, strict=True)]
        self.known.update(zip(fresh, made))
        return made

    def measure(self, chosen: Iterable[Candidate], measure: Measure) -> None:
        """Measure some of them; of one that was measured before the lesser time counts. What could not be measured then is not tried again."""
        tried = [c for c in chosen if c.measured is None or math.isfinite(c.measured)]
        if tried:
            for candidate, seconds in zip(tried, measure([c.draft.scheduled for c in tried]), strict=True):
                candidate.measured = min(float(seconds), math.inf if candidate.measured is None else candidate.measured)

    def ranked(self) -> list[Candidate]:
        """All of them, the best first; of equals the one that was seen first."""
        return sorted(self.known.values(), key=lambda c: c.worth)

    def waiting(self) -> list[Candidate]:
        """Those that were not measured, the most promising first."""
        return [c for c in self.ranked() if c.measured is None]

    @property
    def best(self) -> Candidate:
        """The fastest of those that were measured; where nothing was, the one that is believed to be the fastest."""
        measured = [c for c in self.known.values() if c.measured is not None and math.isfinite(c.measured)]
        return min(measured or self.known.values(), key=lambda c: c.worth)
