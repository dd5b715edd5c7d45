"""What runs outside of the kernels: the program of the host, and why parts of it are no kernel."""

from __future__ import annotations

from .dataflow import drawing
from .links import GraphLinks
from .section import Section, render
from .stages import graph_panes
from .subject import Subject


def section(subject: Subject) -> Section | None:
    """Program and graph of the host, linked, and its operations; None where the whole is one kernel."""
    host = subject.kernel.host
    if host is None:
        return None
    links = GraphLinks(subject.links, "host", host.graph)
    links.colour_lines()
    operations = subject.explained["host"]["operations"]
    html = render(
        "host.html",
        panes=graph_panes(subject.handle, links),
        svg=drawing(links, "host"),
        operations=operations,
        kernels=len(subject.parts),
    )
    return Section("host", "On the host", html)
