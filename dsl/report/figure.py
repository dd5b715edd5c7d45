"""Plots by matplotlib as SVG that takes its colours from the page, so that it is light or dark as the page is."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours of a plot and the variables of style.css that take their place.
COLOURS: Mapping[str, str] = {
    "#010101": "ink", "#020202": "second", "#030303": "muted", "#040404": "grid", "#050505": "surface", "#060606": "line",
    **{f"#0707{n:02x}": f"c{n}" for n in range(8)},
}  # fmt: skip
INK, SECOND, MUTED, GRID, SURFACE, LINE = list(COLOURS)[:6]
SERIES = list(COLOURS)[6:]
_STYLE: Mapping[str, Any] = {
    "svg.fonttype": "none", "text.color": INK, "axes.edgecolor": LINE, "axes.labelcolor": SECOND, "xtick.color": MUTED, "ytick.color": MUTED,
    "axes.facecolor": "none", "figure.facecolor": "none", "grid.color": GRID, "axes.grid": True, "axes.axisbelow": True, "axes.spines.top": False,
    "axes.spines.right": False, "font.size": 9, "legend.frameon": False, "lines.linewidth": 1.6,
    "axes.titlesize": 10, "axes.titlelocation": "left",
}  # fmt: skip


def drawable() -> str:
    """Why plots cannot be drawn; empty if they can."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return "plots are drawn with matplotlib, which is not installed: pip install 'unspool[demo]'"
    return ""


def plot(name: str, draw: Callable[[Axes], object], *, width: float = 5.6, height: float = 3.4) -> Markup:
    """A plot of one pair of axes, in inches; ``name`` is its own on the page."""

    def into(figure: Figure) -> None:
        draw(figure.subplots())

    return drawn(name, into, width=width, height=height)


def drawn(name: str, draw: Callable[[Figure], object], *, width: float, height: float) -> Markup:
    """What ``draw`` puts into a figure, as SVG."""
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure

    style: Any = {**_STYLE, "svg.hashsalt": name, "axes.prop_cycle": cycler(color=SERIES)}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = out.getvalue()
    return Markup(_themed(text[text.index("<svg") :], name))


def _themed(svg: str, name: str) -> str:
    """An SVG with the page's colours and fonts; what it names is told apart from what others on the page do."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font: (\d+(?:\.\d+)?)px [^;\"]*", r"font: \1px system-ui, sans-serif", svg)
    for colour, variable in COLOURS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg
