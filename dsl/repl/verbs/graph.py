"""``graph``: the dataflow graph."""

from __future__ import annotations

from collections.abc import Sequence

from ....compiler.diagnostics import UnspoolError
from ..command import Command, Reply
from ..session import Session


def run(session: Session, words: Sequence[str]) -> Reply:
    """That of the kernel; where none can be made, the one that the program was lowered to."""
    from ....compiler.graph.text import print_graph

    try:
        text = session.bench.kernel(session.state).graph
    except UnspoolError:
        text = print_graph(session.state.handle.algorithm.graph)
    return Reply(text.rstrip("\n"), "graph")


COMMAND = Command("graph", "graph", "The dataflow graph, simplified for the present sizes.", "graph", run)
