"""Loops for blocks of threads, each with temporaries of its own.

    for i:                                      block i:                            # t of each block in its shared memory
        for j: t[j] = ..                            thread j: t[j] = ..
        for j: y[i, j] = f(t[j], t[j + 1])  -->     thread j: y[i, j] = f(t[j], t[j + 1])
"""

from __future__ import annotations

from math import prod

from ..graph.types import BYTES
from ..loops.nest import Nest, loops_of
from ..loops.steps.deal import can_thread
from ..target import Gpu
from .draft import Draft

#: How many times as much as shared memory holds a block may have for itself.
MOST = 8


def apart(draft: Draft, name: str) -> bool:
    """The steps for one loop; whether they lead anywhere."""
    machine = draft.task.machine
    assert isinstance(machine, Gpu)
    loop = draft.scheduled.loop(name)
    if any(o.dealt for o in draft.scheduled.outer(name)):
        return False
    if not any(o.numbered or can_thread(draft.scheduled, o.name) is None for o in loops_of(loop.body)):
        return False
    below, table = {s for s, _ in loop.values}, draft.scheduled.nest.statement_table
    outside = set[str]().union(*(s.arrays() for s in table.values() if s.name not in below))
    own = [a for a in draft.scheduled.nest.arrays if a.scope == "problem" and a.name not in outside]
    room = MOST * machine.shared_bytes  # what shared memory does not hold is the block's in scratch memory
    for info in own:
        if draft.attempt("contract", info.name, name):
            size = bytes_of(draft.scheduled.nest, info.name)
            room -= room + 1 if size is None else size + 16
    return room >= 0 and draft.attempt("block", name)


def bytes_of(nest: Nest, array: str) -> int | None:
    """Bytes of an array; None if they are known only at run time."""
    info = nest.array(array)
    sizes = [s.constant for s in info.shape]
    return None if None in sizes else prod(s or 0 for s in sizes) * BYTES[info.dtype]


