"""What a target that takes graphs makes a kernel of."""

from __future__ import annotations

from dataclasses import dataclass

from .graph import Graph
from .specialize import size_names


@dataclass(frozen=True)
class Problem:
    """The graph of one problem, which inputs every problem of a batch usually has for
    itself, which results are its ``own`` (others are summed over the problems), whether results are added to what is there, and whether factors of f32
    products may be rounded to TF32 (``tf32``)."""

    graph: Graph
    per_problem: tuple[bool, ...]
    own: tuple[bool, ...]
    accumulate: bool = False
    strict: bool = False
    tf32: bool = False

    @property
    def integers(self) -> tuple[str, ...]:
        """Size names of the run-time integers, in the order of the kernel's arguments."""
        return tuple(sorted(size_names(self.graph)))
