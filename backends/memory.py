"""The memory of a gradient: which tape policy keeps a call's scratch memory within a budget (see ``compiler/graph/segments.py``).

Scratch memory is all that a kernel needs besides its operands and results: the tape of the problems that are in work, one or
one tile of them per team of threads, and its temporaries. It does not grow with the number of problems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ..compiler.diagnostics import DataError
from ..compiler.graph.graph import Graph
from ..compiler.graph.live import live
from ..compiler.graph.segments import KEEP, Policy, tape_bytes
from ..compiler.graph.tape import trip_count
from . import devices
from .devices import shown


@dataclass(frozen=True)
class Budget:
    """Bytes of scratch memory. One that is not ``hard`` is ours: where nothing keeps it, the least is taken."""

    bytes: int
    hard: bool = True

    @staticmethod
    def of(memory: int | None, taken: int = 0, device: str = "cpu") -> Budget | None:
        """The budget that a user set, less what is ``taken`` already; else half of the machine's memory, or of the GPU's, where it tells."""
        if memory is not None:
            return Budget(memory - taken)
        whole = devices.memory(device)
        return None if whole is None else Budget(whole // 2, hard=False)


class Measured(Protocol):
    """A gradient, compiled, for operands of known shapes."""

    def scratch(self) -> int:
        """Bytes of scratch memory of a call."""


T = TypeVar("T", bound=Measured)


@dataclass(frozen=True)
class Choice:
    """A policy, what a call needs with it, and what it would need if all were kept (None: not looked at)."""

    policy: Policy
    bytes: int
    kept_bytes: int | None
    budget: Budget | None

    def report(self) -> dict[str, Any]:
        """The choice as data that JSON can hold."""
        limit = None if self.budget is None else {"bytes": self.budget.bytes, "set": self.budget.hard}
        return {"policy": str(self.policy), "peak_bytes": self.bytes, "keep_bytes": self.kept_bytes, "budget": limit}


def choose(
    budget: Budget | None,
    make: Callable[[Policy], T],
    graph: Callable[[Policy], Graph],
    sizes: Mapping[str, int],
    teams: int,
    name: str,
    device: str = "cpu",
) -> tuple[T, Choice]:
    """The gradient with the first policy that keeps the budget: keep, which computes nothing twice, recompute, segments.

    ``graph`` gives the graph of a policy, ``make`` compiles it; what is compiled is asked for its true size. ``teams`` are at work at once.
    Raises DataError where a budget of the user's cannot be kept.
    """
    least: tuple[int, T, Policy] | None = None
    kept: int | None = None
    for policy in _policies(budget, graph, sizes, teams):
        found = make(policy)
        size = found.scratch()
        if policy == KEEP:
            kept = size
        if budget is None or size <= budget.bytes:
            return found, Choice(policy, size, kept, budget)
        if least is None or size < least[0]:
            least = size, found, policy
    assert least is not None
    if budget is not None and budget.hard:
        where = " of memory of the GPU" if device == "cuda" else ""
        raise DataError(
            f"memory={shown(budget.bytes)} is not enough for the gradient of {name}: with the policy `{least[2]}` it needs {shown(least[0])}"
            f"{where}, for {teams} {'problem or tile of problems' if teams == 1 else 'problems, or tiles of problems,'} at a time"
        )
    return least[1], Choice(least[2], least[0], kept, budget)


def _policies(
    budget: Budget | None, graph: Callable[[Policy], Graph], sizes: Mapping[str, int], teams: int
) -> Iterator[Policy]:
    """Policies to try. What is over the budget by its tape alone is left out, but for the last."""
    if budget is None:
        yield KEEP
        return

    def size(policy: Policy) -> int:
        made = graph(policy)
        return teams * tape_bytes(Graph(made.name, made.inputs, tuple(live(made.nodes, set(made.results))), made.results), sizes)

    if not budget.hard:
        yield KEEP  # nearly always enough, so that nothing else need be looked at
    whole = size(KEEP)
    if budget.hard and whole <= budget.bytes:
        yield KEEP
    again = Policy(1)
    if size(again) <= min(budget.bytes, whole - 1):
        yield again
    count = max((trip_count(n).evaluate(dict(sizes)) for n in graph(KEEP).nodes if n.op == "for"), default=0)
    lengths = [1 << e for e in range(1, max(2, (count - 1).bit_length()))]
    yield min((Policy(s) for s in lengths), key=size)
