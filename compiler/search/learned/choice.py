"""The learned model in its place: whether it has a say in a task, and what it says.

Without weights, for a GPU and for tiles of a batch the analytic estimate decides. torch is loaded only where the model is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ... import options
from ...diagnostics import DataError
from ...loops.scheduled import Scheduled
from ...target import Gpu
from ..draft import Task

if TYPE_CHECKING:
    from .model import Ensemble

#: How many deviations of the ensemble a prediction is taken to be too short when one schedule is chosen and nothing measured.
CAUTION = 0.5


def model_for(task: Task, scheduler: str = "") -> Ensemble | None:
    """The model that ranks the schedules of a task, or None where the analytic estimate does. ``scheduler`` is the switch by default. Raises
    DataError for weights that cannot be read, and if there are none although the learned model is asked for."""
    wanted, path = scheduler or options.current.scheduler, options.current.weights
    if wanted == "analytic":
        return None
    if path is None or not path.is_file():
        if wanted == "learned":
            place = "UNSPOOL_WEIGHTS is off" if path is None else f"there is no {path}"
            raise DataError(f"the learned scheduler has no weights: {place} (dsl train-model makes them)")
        return None
    if isinstance(task.machine, Gpu) or task.tile:
        return None
    stat = path.stat()
    return _loaded(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _loaded(path: Path, changed: int, size: int) -> Ensemble:
    from .weights import read

    return read(path)


def predicted(model: Ensemble, programs: Sequence[Scheduled], task: Task, *, caution: float = 0.0) -> list[float]:
    """Seconds of some programs as the model has them, longer by so many deviations of its networks."""
    from .features import represent

    mean, spread = model.logarithms([represent(program, task.machine) for program in programs])
    return [float(seconds) for seconds in np.exp(mean + caution * spread)]


def learned_guide(task: Task, scheduler: str = "", *, caution: float = 0.0) -> Callable[[Sequence[Scheduled]], Sequence[float]] | None:
    """The model as the guide of a search, or None; ``caution`` as in :func:`predicted`, less than 0 for a search that measures what is
    unsure. Raises as :func:`model_for`."""
    model = model_for(task, scheduler)
    return None if model is None else lambda programs: predicted(model, programs, task, caution=caution)
