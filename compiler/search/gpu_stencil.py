"""Stencils on a GPU: blocks of iterations on overlapping tiles, each in the shared memory of a block of threads.

    for t:                          for t_o:                            # blocks of iterations; all meet once in each
        for i: for j: ...   -->         block t_tile:                   # rows of the tile and what reaches into them, in shared memory
        for i: for j: ...                   for t_i in the block:
                                                thread i: thread j: ...

Where all that an iteration keeps fits into the memory of one block of threads nothing is to be gained. Else an iteration as it stands reads and
writes it in global memory, and all blocks meet after each sweep.
Source: J. Holewinski et al., High-performance code generation for stencil computations on GPU architectures, ICS 2012.
"""

from __future__ import annotations

from ..loops.nest import loops_of, outermost
from ..loops.steps.contract import can_contract, contract
from ..loops.steps.trapezoid import cone_of
from ..target import Gpu
from .draft import Draft
from .stencil import in_form, iterates, longest, state_bytes, sweeps_of
from .sweeps import contract_temporaries, fuse_sweeps

#: Iterations in a block, in the order in which they are tried; rows of a tile for each that its neighbours compute, too, at least.
_BLOCKS, _OWN = (8, 6, 4, 3, 2), 0.75


def contract_to_scalars(draft: Draft) -> None:
    """Let temporaries live in one iteration of a loop where that leaves single elements of them: these are registers. Rows of them would be
    memory of each thread, which is slower than that of a block."""
    for info in draft.scheduled.nest.arrays:
        if not info.temporary or info.scope != "problem":
            continue
        scheduled = draft.scheduled
        users = {s.name for s in scheduled.nest.statements if info.name in s.arrays()}
        common = [o for o in loops_of(scheduled.nest.order) if users <= {s for s, _ in o.values} and draft.is_open(o.name)]
        for loop in reversed(common):
            if can_contract(scheduled, info.name, loop.name) is None:
                made = contract(scheduled, info.name, loop.name).nest.array(info.name)
                if not made.shape:
                    draft.take("contract", info.name, loop.name)
                    break


def gpu_stencils(draft: Draft) -> bool:
    """Cut loops over iterations around stencil sweeps into blocks on tiles in shared memory; whether there was one."""
    fired = False
    if draft.task.tile:
        return False
    for name in [loop.name for loop in outermost(draft.scheduled.nest.order)]:
        if name in draft.scheduled.loops and draft.is_open(name) and iterates(draft, name):
            fired |= draft.trying(_tiles, name)
    return fired


def _tiles(draft: Draft, name: str) -> bool:
    """The steps; False where they do not fit. Raises IllegalSchedule where one does not apply."""
    machine = draft.task.machine
    assert isinstance(machine, Gpu)
    if state_bytes(draft, draft.scheduled.loop(name)) <= machine.shared_bytes:
        return False
    name = in_form(draft, name)
    if not name:
        return False
    fuse_sweeps(draft)
    loops = sweeps_of(draft, name)
    cone = cone_of(draft.scheduled, name, tuple(o.name for o in loops)) if loops else ""
    if isinstance(cone, str):
        return False
    lasting = draft.copy()
    contract_temporaries(lasting)
    rows = longest(draft, loops)
    row = state_bytes(lasting, lasting.scheduled.loop(name)) / rows
    room, reach = int(0.95 * machine.shared_bytes / row), cone.rise + cone.fall
    block = next((b for b in _BLOCKS if room - reach * b >= _OWN * reach * b), 0)
    if not block:
        return False
    tiles = -(-rows // (room - reach * block))
    before = set(draft.scheduled.nest.array_table)
    draft.take("overlap", name, block, -(-rows // tiles), *(o.name for o in loops))
    fuse_sweeps(draft)
    contract_to_scalars(draft)
    for array in [a for a in draft.scheduled.nest.array_table if a not in before and a.endswith(f"_{name}")]:
        if draft.scheduled.nest.array(array).scope == "problem":
            draft.attempt("contract", array, f"{name}_tile")
    draft.take("block", f"{name}_tile")
    return True
