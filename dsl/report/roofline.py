"""The roofline of the machine, and where the measured call lies below it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from ...backends.explain_text import scaled
from ..explain import Position, position
from . import figure
from .section import Section, render
from .subject import Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def section(subject: Subject) -> Section | None:
    """The measured call, if it was measured where limits can be."""
    found, figures = subject.explained, subject.figures
    if figures is None:
        return None
    place = position(found, figures)
    missing, svg = figure.drawable(), Markup("")
    if place is not None and not missing:
        svg = figure.plot("roofline", lambda axes: _draw(axes, found["limits"], place, figures), width=7.4, height=3.8)
    said = "" if subject.call is None else subject.call.said
    html = render("roofline.html", figures=figures, place=place, svg=svg, missing=missing if place is not None else "", said=said)
    return Section("roofline", "Time and roofline", html)


def _draw(axes: Axes, limits: Mapping[str, Any], place: Position, figures: Mapping[str, Any]) -> None:
    """Roofs of each level of memory and of the arithmetic, log-log; the call as a point, and the way up to its roof."""
    from matplotlib.ticker import EngFormatter

    peak, speeds = limits["flops_per_second"], limits["bytes_per_second"]
    ridges = [peak / speed for speed in speeds.values()]
    low, high = min([place.intensity, *ridges]) / 4, max([place.intensity, *ridges]) * 4
    for n, (name, speed) in enumerate(speeds.items()):
        axes.plot(
            [low, peak / speed], [low * speed, peak], color=figure.SERIES[n], label=f"{name.upper()}, {scaled(speed, 'B/s')}"
        )
    axes.plot([min(ridges), high], [peak, peak], color=figure.INK, label=f"arithmetic, {scaled(peak, 'flop/s')}")
    rate = figures["flops_per_second"]
    axes.plot([place.intensity] * 2, [rate, place.roof], color=figure.MUTED, linestyle=":", linewidth=1)
    axes.plot([place.intensity], [rate], marker="o", markersize=8, color=figure.INK, markeredgecolor=figure.SURFACE)
    left = place.intensity * 30 > high
    axes.annotate(f"measured: {scaled(rate, 'flop/s')}, {100 * place.reached:.2g}% of the roof", (place.intensity, rate),
                  xytext=(-8 if left else 8, -4), textcoords="offset points", ha="right" if left else "left", color=figure.INK)  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="flop/B from and to memory", ylabel="flop/s", xlim=(low, high))
    axes.set_ylim(min(rate, low * min(speeds.values())) / 2, peak * 2)
    axes.yaxis.set_major_formatter(EngFormatter())
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
