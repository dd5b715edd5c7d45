"""Pictures of what was learned and of how an algorithm converges, drawn with matplotlib (extra ``demo``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...compiler.diagnostics import DataError
from ...compiler.nearest import did_you_mean
from ..call import Path
from ..module import Layer
from .history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Curves of one parameter that are told apart by a legend.
_CURVES = 8


def plot_parameters(layer: Layer, names: Sequence[str] | None = None, *, axes: Sequence[Axes] | None = None) -> Figure:
    """Values of a layer's parameters against the iteration, with the values before training dashed.

    A parameter with one value per iteration is a curve, with more axes a curve for each of its first entries; one that all iterations
    share is a line. ``names`` chooses some; ``axes`` draws into those of a figure, one for each. Raises DataError for a name that the layer has not.
    """
    values, before, along = layer.values(), layer.initial_values(), layer.per_iteration()
    chosen = list(values) if names is None else list(names)
    for name in chosen:
        if name not in values:
            raise DataError(
                f"the layer has no parameter {name!r}; there are {', '.join(values) or 'none'}{did_you_mean(name, values)}"
            )
    if not chosen:
        raise DataError("the layer has no parameters")
    figure, places = _axes(len(chosen), axes)
    for place, name in zip(places, chosen):
        now, then = _curves(values[name], along[name]), _curves(before[name], along[name])
        for n, (after, start) in enumerate(zip(now, then)):
            color = f"C{n}"
            if len(after) == 1:
                place.axhline(after[0], color=color, label="now" if n == 0 else None)
                place.axhline(start[0], color=color, linestyle="--", alpha=0.6, label="before training" if n == 0 else None)
                continue
            place.plot(after, color=color, marker="o", markersize=3, label="now" if n == 0 else None)
            place.plot(start, color=color, linestyle="--", alpha=0.6, label="before training" if n == 0 else None)
        place.set(title=name, xlabel="iteration")
        place.legend(fontsize="small")
    return figure


def plot_curves(
    trace: History | Path | Mapping[str, Any],
    layer: Layer | None = None,
    *inputs: Tensor,
    metrics: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    log: bool = True,
    axes: Axes | None = None,
) -> Figure:
    """Curves against the iteration, averaged over problems.

    ``trace``: what ``trace=`` gave, with the ``layer`` and the ``inputs`` that it was called with: the layer's objective at every iteration,
    if it declares one, the norm of the change of every traced state, and of each of ``metrics`` what it makes of the first state,
    [..., iterations, axes of the state] to [..., iterations]. Or a mapping from names to such curves, of any kind, [..., iterations].
    Or a :class:`History`: its losses against the epoch. ``log`` scales the second axis
    logarithmically. Raises DataError for what is no curve.
    """
    figure, (place,) = _axes(1, None if axes is None else [axes])
    curves: dict[str, Any] = {}
    if isinstance(trace, History):
        curves = {"loss": trace.loss} | ({"validation": trace.validation} if trace.validation else {})
    elif isinstance(trace, Path):
        if layer is None:
            raise DataError("plot_curves(path, layer, *inputs): a path alone does not say what its axes are")
        curves = _of_path(trace, layer, inputs, metrics or {})
    else:
        curves = dict(trace)
    rows: dict[str, Any] = {}
    for name, curve in curves.items():
        values = np.asarray(curve.detach().cpu() if isinstance(curve, Tensor) else curve, dtype=float)
        if values.ndim == 0 or not values.size:
            raise DataError(f"{name} is no curve: its shape is {values.shape}")
        rows[name] = values.reshape(-1, values.shape[-1]).mean(0)
    longest = max(map(len, rows.values()), default=0)
    for name, row in rows.items():  # a change belongs to the iteration that made it
        place.plot(range(longest - len(row), longest), row, label=name)
    if log:
        place.set_yscale("log")
    place.set(xlabel="epoch" if isinstance(trace, History) else "iteration")
    place.legend(fontsize="small")
    return figure


def _of_path(path: Path, layer: Layer, inputs: Sequence[Tensor], metrics: Mapping[str, Callable[[Tensor], Tensor]]) -> dict[str, Any]:
    """The curves of traced states."""
    states = {name: value.detach() for name, value in vars(path).items()}
    core = {name: rank - 1 for name, rank in layer.traced_ranks(tuple(states)).items()}
    first = next(iter(states))
    curves: dict[str, Any] = {}
    if layer.has_objective:
        with torch.no_grad():
            lead = states[first].dim() - core[first] - 1
            wide = [x.unsqueeze(lead) if x.dim() >= lead else x for x in inputs]
            curves["objective"] = layer.objective(states[first], *wide)
    for name, value in states.items():
        steps = value.diff(dim=value.dim() - core[name] - 1)
        curves[f"change of {name}"] = steps.flatten(value.dim() - core[name]).norm(dim=-1) if core[name] else steps.abs()
    return curves | {name: metric(states[first]) for name, metric in metrics.items()}


def _axes(count: int, axes: Sequence[Axes] | None) -> tuple[Figure, list[Axes]]:
    if axes is not None:
        if len(axes) != count:
            raise DataError(f"{count} axes are needed, not {len(axes)}")
        return axes[0].figure, list(axes)  # type: ignore[return-value]
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DataError("plots are drawn with matplotlib, which is not installed: pip install 'unspool[demo]'") from None
    figure = Figure(figsize=(4.2 * count, 3.2), layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(1, count)))


def _curves(value: Tensor, axis: int | None) -> list[list[float]]:
    """The first entries of a parameter as lists over the iterations (of one value, where iterations share it)."""
    flat = value.double().cpu()
    flat = flat.reshape(-1, 1) if axis is None else flat.movedim(axis, -1).reshape(-1, flat.shape[axis])
    return [row.tolist() for row in flat[:_CURVES]]
