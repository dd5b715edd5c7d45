"""Beam search: of all schedules seen the best few are edited, round by round. A schedule stays until better ones push it out, so that leaving a
program as it is is always one of the choices."""

from __future__ import annotations

from .moves import Moves
from .pool import Pool


class Beam:
    """One round makes some edits of each of the ``width`` best schedules of the pool."""

    def __init__(self, pool: Pool, moves: Moves, *, width: int = 6, edits: int = 4) -> None:
        self.pool, self.moves, self.width, self.edits = pool, moves, width, edits

    def round(self) -> None:
        """Bring new schedules into the pool."""
        for candidate in self.pool.ranked()[: self.width]:
            made = (self.moves.neighbour(candidate.draft) for _ in range(self.edits))
            self.pool.add([draft for draft in made if draft is not None], candidate)
