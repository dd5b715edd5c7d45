"""What notebooks show: the stages of an algorithm or a kernel, in a frame of their own, which no style of the notebook reaches."""

from __future__ import annotations

from ...backends.kernel import Kernel
from ..api import AlgorithmHandle
from . import host, stages
from .page import frame, page
from .section import Section, render
from .stages import Pane, algorithm_panes
from .subject import Subject

#: Pixels.
ALGORITHM, KERNEL = 350, 540


def algorithm_html(handle: AlgorithmHandle) -> str:
    """Program and graph of an algorithm."""
    kernels: list[tuple[str, list[Pane]]] = [(handle.algorithm.name, algorithm_panes(handle))]
    html = render("stages.html", kernels=kernels, what="a line of the program")
    return frame(page(repr(handle), [], [Section("stages", "Stages", html)], small=True), ALGORITHM)


def kernel_html(handle: AlgorithmHandle, kernel: Kernel) -> str:
    """All stages of a kernel."""
    subject = Subject(handle, kernel)
    sections = [s for s in (host.section(subject), stages.section(subject)) if s is not None]
    return frame(page(repr(kernel), [], sections, small=True), KERNEL)
