"""A bar that shows how much of the budget of a search is used, and the best schedule so far."""

from __future__ import annotations

import math
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ...compiler.search.explore.budget import Budget
from ...compiler.search.explore.pool import Pool


class Bar:
    """A context, whose :meth:`watch` goes to :func:`~...compiler.search.explore.explore.explore`. Where standard error is no terminal nothing is shown."""

    def __init__(self, name: str, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        columns = (TextColumn("tune {task.description}"), BarColumn(), TextColumn("{task.fields[best]}"), TimeElapsedColumn())
        self._progress = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self._bar = self._progress.add_task(name, total=1.0, best="")

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def watch(self, budget: Budget, pool: Pool) -> None:
        """Show where the search is."""
        measured = [c.measured for c in pool.known.values() if c.measured is not None and math.isfinite(c.measured)]
        best = f"{len(measured)} measured" + (f", best {1e3 * min(measured):.4g} ms" if measured else "")
        self._progress.update(self._bar, completed=budget.part, best=best)
