"""What the CUDA writer gives: the text of a kernel and all that a launch of it has to know.

The kernel is ``extern "C" __global__ void NAME(const us_call call)`` with ``us_call`` made of 8-byte fields, in this order::

    int64_t batch, teams, blocks;      problems; teams of blocks; blocks in a team
    char *scratch; int *failed;        scratch memory; where the number of a failed run-time check goes
    void *pointers[P];                 operands: inputs, then outputs
    int64_t batch_strides[P], team_strides[P], integers[M];

(arrays of length 1 where there are none). The grid has ``teams * blocks`` blocks of ``threads`` threads. Teams take
problems, or tiles of them, in turns. Scratch memory is laid out as: a counter of :data:`COUNTER` bytes for each team if ``meets``, what a problem needs
for each team, what a thread needs for each thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...compiler.loops.tree import Int
from ..statements import Source

#: Bytes of the place where the blocks of a team count each other.
COUNTER = 64
#: Nothing.
NONE = Int("const")
#: Fields of ``us_call`` before its arrays.
HEAD = ("batch", "teams", "blocks", "scratch", "failed")


def call_type(operands: int, integers: int) -> list[str]:
    """The lines that declare the argument of a kernel, ``us_call`` (see above)."""
    count, more = max(1, operands), max(1, integers)
    return [
        "struct us_call {",
        "  int64_t batch, teams, blocks;  // problems; teams of blocks; blocks in a team",
        "  char *scratch;",
        "  int *failed;",
        f"  void *pointers[{count}];",
        f"  int64_t batch_strides[{count}], team_strides[{count}], integers[{more}];",
        "};",
        "",
    ]


@dataclass(frozen=True)
class CudaSource(Source):
    """``name`` of the kernel function; ``threads`` of a block; ``shared``: bytes of dynamic shared memory of a block; ``meets``: blocks of a
    team wait for each other, so that all of the grid must run at once and the counters be zero when it begins; ``problem_bytes`` and
    ``thread_bytes`` of scratch memory without batch tiles and with them; ``tile_from``: how many problems it takes for these (0: there
    are none); ``blocks`` that one problem has work for, at most, and a tile of them; ``tile``: problems in a tile;
    ``largest``: elements of the largest array of a problem whose size is known only at run time, which must be below 2**31."""

    name: str
    threads: int
    shared: int
    meets: bool
    integers: tuple[str, ...]
    problem_bytes: tuple[Int, Int]
    thread_bytes: tuple[Int, Int]
    tile_from: int
    blocks: tuple[int, int] = (1, 1)
    tile: int = 0
    largest: Int = NONE
