"""Tiles for tensor cores: 16 x 8 elements that the 32 lanes of a warp have in registers, four each.

    thread i by 2: thread j by 4: for 16 i: for 8 j: for 16 k: s[i, j] += A[i, k] * B[k, j]     one instruction of a warp
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ..nest import Access, Apply, Expr, LoopOrder, Statement, leaves
from ..scheduled import Scheduled, block_of, conflict, once
from .mark import can_parallel, mark

#: Rows and columns of a tile; its terms, by the dtype of what is multiplied.
ROWS, COLUMNS, TERMS = 16, 8, {"f16": 16, "bf16": 16, "f32": 8}


@dataclass(frozen=True)
class Factors:
    """What a sum of products multiplies: what it reads along its rows, and along its columns."""

    rows: Access
    columns: Access


@once
def can_tensor(scheduled: Scheduled, rows: str, columns: str, terms: str = "") -> str | None:
    """Why loops over rows and columns of a tile, and over the terms of products that it adds up, cannot run on a warp in one go, or None."""
    names = (rows, columns, *((terms,) if terms else ()))
    if any(name not in scheduled.loops for name in names):
        return "no such loop"
    loops = [scheduled.loop(name) for name in names]
    if any(a.body != b for a, b in pairwise(loops)) or not loops[-1].innermost:
        return f"{', '.join(names)} are not directly inside of each other, and innermost"
    if any(o.kind not in ("serial", "tensor") or o.exit is not None for o in loops):
        return f"{next(o.name for o in loops if o.kind not in ('serial', 'tensor') or o.exit is not None)} is no plain loop"
    if not any(o.numbered for o in scheduled.outer(rows)):
        return f"{rows} is in no loop that is dealt to warps by number, as in `thread i 4`"
    if any(scheduled.nest.statement_table[s].routine for s in leaves(loops[0])):
        return f"{rows} calls a routine"
    sizes = [ROWS, COLUMNS]
    if terms:
        found = factors_of(scheduled, loops)
        if isinstance(found, str):
            return found
        sizes.append(TERMS[found.rows.dtype])
        if scheduled.strict:
            return "numerics are strict"
    for loop, size in zip(loops, sizes, strict=True):
        block = block_of(scheduled, loop)
        if block is None or block[1] != size:
            return f"{loop.name} is no block of {size}: `tile {loop.name} {size}` first"
    return can_parallel(scheduled, rows) or can_parallel(scheduled, columns) or (terms and conflict(scheduled, terms, reductions=True)) or None


def factors_of(scheduled: Scheduled, loops: list[LoopOrder]) -> Factors | str:
    """What is multiplied in loops over rows, columns and terms; or why that is nothing for tensor cores."""
    inside = list(leaves(loops[-1]))
    s = scheduled.nest.statement_table[inside[0]]
    if len(inside) > 1 or s.reduce != "add" or s.write.dtype != "f32" or not isinstance(s.value, Apply) or s.value.op != "mul" or s.guards:
        return f"{loops[-1].name} does not add up products in f32, and nothing else"
    reads = [_element(e) for e in s.value.args]
    if any(r is None for r in reads):
        return f"{s.name} does not multiply elements"
    if not scheduled.tf32 and any(r is not None and r.dtype == "f32" for r in reads):
        return f'{s.name} does not multiply elements in half precision, and rounding those of f32 takes numerics="tf32"'
    left, right = (r for r in reads if r is not None)
    if left.dtype != right.dtype:
        return f"{s.name} multiplies {left.dtype} by {right.dtype}"
    own = [o.value(s.name).names() for o in loops]
    for one, other in ((left, right), (right, left)):
        if _follow(s, one, other, own):
            return Factors(one, other)
    return f"{s.name} is no product of rows and columns"


def _element(e: Expr) -> Access | None:
    """The element that an expression is the value of in f32."""
    inner = e.args[0] if isinstance(e, Apply) and e.op == "cast" and e.dtype == "f32" else e
    return inner if isinstance(inner, Access) and inner.dtype in TERMS else None


def _follow(s: Statement, left: Access, right: Access, own: list[frozenset[str]]) -> bool:
    rows, columns, terms = own
    return (
        bool(left.names() & rows and left.names() & terms and right.names() & columns and right.names() & terms)
        and not left.names() & columns
        and not right.names() & rows
        and bool(s.write.names() & rows and s.write.names() & columns)
        and not s.write.names() & terms
    )


def tensor(scheduled: Scheduled, rows: str, columns: str, terms: str = "") -> Scheduled:
    """A tile of 16 rows and 8 columns is one warp's, whose 32 lanes have four elements each; a sum of products over 16 terms runs on tensor cores.

    thread i by 2: .. for 16 i: for 8 j: for 16 k: s[i, j] += f32(A[i, k]) * f32(B[k, j])      -->      one instruction for all 2048 products
    """
    reason = can_tensor(scheduled, rows, columns, terms)
    if reason:
        raise ValueError(f"cannot run {rows}, {columns} on a warp: {reason}")
    for name in (rows, columns, *((terms,) if terms else ())):
        scheduled = mark(scheduled, name, "tensor")
    return scheduled


def misplaced(scheduled: Scheduled, name: str) -> str | None:
    """Why a loop that is marked ``tensor`` cannot be one, or None."""
    loop = scheduled.loop(name)
    if any(o.kind == "tensor" for o in scheduled.outer(name)):
        return None  # asked for with the outermost
    names = [name]
    while isinstance(inner := loop.body, LoopOrder):
        names.append(inner.name)
        loop = inner
    if len(names) not in (2, 3):
        return "tensor loops are two or three directly inside of each other"
    return can_tensor(scheduled, *names)
