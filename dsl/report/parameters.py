"""What can be learned, and with data: its values per iteration, and how the iteration converges."""

from __future__ import annotations

from typing import Any

import torch
from markupsafe import Markup

from ...backends.learning.plots import plot_curves, plot_parameters
from ...backends.module import Layer
from ...compiler.graph.trace import traceable
from ...compiler.graph.types import is_floating
from ..described import parameter_rows
from . import figure
from .section import Section, render
from .subject import Subject


def section(subject: Subject) -> Section | None:
    """A table of parameters and learned operators; with data of the user's also plots."""
    rows = parameter_rows(subject.handle.algorithm)
    plots: list[tuple[Markup, str]] = []
    note = figure.drawable() if subject.given else ""
    if subject.given and subject.data is not None and not note:
        layer, inputs = subject.data.layer, subject.data.inputs
        count = len(layer.values())
        if count:
            svg = figure.drawn(
                "parameters",
                lambda f: plot_parameters(layer, axes=list(_axes(f, count))),
                width=min(4.0 * count, 12.0),
                height=3.2,
            )
            plots.append((svg, "Values of the parameters at every iteration; dashed, those that the program starts from."))
        states = traced(subject)
        if states:
            objective = layer.has_objective and subject.handle.algorithm.objective_arguments == (states[0],)
            drawn = curves(layer, states, inputs, objective=objective)
            svg = figure.plot("convergence", lambda axes: plot_curves(drawn, layer, *inputs, axes=axes), width=6.0, height=3.4)
            what = "The objective and the change" if objective else "The change"
            plots.append((svg, f"{what} of {', '.join(states)} at every iteration, on a logarithmic scale."))
    if not rows and not plots:
        return None
    return Section("parameters", "Parameters and convergence", render("parameters.html", rows=rows, plots=plots, note=note))


def _axes(found: Any, count: int) -> Any:
    axes = found.subplots(1, count, squeeze=False)
    return axes[0]


def traced(subject: Subject) -> list[str]:
    """The states of real numbers that loops carry; first the one that the objective is of."""
    algorithm = subject.handle.algorithm
    nodes = algorithm.graph.nodes
    found = [name for name, (at, n) in traceable(algorithm.graph).items() if is_floating(nodes[at].outputs[n].type.dtype)]
    return sorted(found, key=lambda name: (name,) != algorithm.objective_arguments)


def curves(layer: Layer, states: list[str], inputs: list[Any], *, objective: bool) -> Any:
    """What is drawn of the traced states: a path, or without an objective of one state the changes alone."""
    with torch.no_grad():
        *_, path = layer(*inputs, trace=states)
    if objective or not layer.has_objective:
        return path
    ranks = layer.traced_ranks(tuple(states))
    changes = {}
    for name in states:
        value = vars(path)[name]
        axis = value.dim() - ranks[name]
        steps = value.diff(dim=axis)
        changes[f"change of {name}"] = steps.flatten(axis + 1).norm(dim=-1) if ranks[name] > 1 else steps.abs()
    return changes
