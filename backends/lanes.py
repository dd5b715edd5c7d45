"""How a vector loop that reduces is cut: whole vectors, what is left in shorter ones, then single elements.

    for j in 0 .. 23 vector: s += x[j]     -->     16 lanes over 0 .. 16; 4 lanes over 16 .. 20; 20 .. 23 one by one

C compilers join the lanes of a sum one after the other, as nobody allows them another order; so they get loops over arrays of lanes, whose
halves are added in turn. Lanes that were written one by one and are then read as one vector would wait for all the writes.
"""

from __future__ import annotations

from dataclasses import dataclass

#: A loop of at least so many vectors takes half as many at once: one sum into the same lanes after the other waits for the one before.
SEVERAL = 8
#: Fewer elements are not worth lanes of their own.
FEWEST = 4


@dataclass(frozen=True)
class Piece:
    """``lanes`` at a time, from iteration ``first`` until before ``end`` (None: as many whole vectors as there are, then what is left)."""

    lanes: int
    first: int
    end: int | None


def pieces(trips: int | None, size: int, several: bool = True) -> list[Piece]:
    """The parts of a loop of so many iterations (None: not known) for vectors of ``size`` lanes; after the last one, fewer than FEWEST are left.
    ``several``: many at once where there are many.

    >>> pieces(23, 16)
    [Piece(lanes=16, first=0, end=16), Piece(lanes=4, first=16, end=20)]
    >>> pieces(140, 16)
    [Piece(lanes=64, first=0, end=128), Piece(lanes=8, first=128, end=136), Piece(lanes=4, first=136, end=140)]
    """
    if trips is None:
        return [Piece(size, 0, None)] if size >= FEWEST else []
    found: list[Piece] = []
    done, lanes = 0, size * (SEVERAL // 2 if several and trips >= SEVERAL * size else 1)
    while lanes >= FEWEST:
        end = done + (trips - done) // lanes * lanes
        if end > done:
            found.append(Piece(lanes, done, end))
        done, lanes = end, size if lanes > size else lanes // 2
    return found
