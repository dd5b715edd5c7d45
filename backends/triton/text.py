"""The text of a Triton kernel under construction: scopes of lines, index vectors, masks, and sizes as expressions.

Scope 0 is the kernel, 1 the loop over tiles of problems, deeper ones are loops of the program. A line may be put into an outer scope
while an inner one is open: it then stands before the inner loop.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...compiler.diagnostics import CompileError
from ...compiler.graph.types import Size, SizeFn
from .values import BATCH, Tile, View, extent

#: The scope of the loop over tiles.
TILES = 1


class KernelText:
    """Scopes of lines; ``rows`` is how many problems a tile has."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.scopes: list[list[str]] = [[], []]
        self.loaded: list[dict[View, Tile]] = [{}, {}]
        self.levels: dict[str, int] = {}  # of integer variables: the scope that fixes them
        self._count = 0
        self._indices: dict[int, str] = {}
        self._masks: dict[Size, str] = {}

    @property
    def level(self) -> int:
        """The innermost scope that is open."""
        return len(self.scopes) - 1

    def line(self, text: str, level: int | None = None) -> None:
        """A line at the end of a scope (default: the innermost)."""
        self.scopes[self.level if level is None else level].append(text)

    def open(self) -> None:
        """A further scope."""
        self.scopes.append([])
        self.loaded.append({})

    def close(self, head: str) -> None:
        """End the innermost scope, as the body of a statement."""
        body = self.scopes.pop()
        self.loaded.pop()
        self.scopes[-1] += [head, *[f"    {line}" for line in body or ["pass"]]]

    def fresh(self, hint: str = "t") -> str:
        """A name of a variable not used before."""
        self._count += 1
        plain = re.sub(r"[^A-Za-z0-9]", "_", hint)
        return f"{plain if plain[:1].isalpha() else f'v{plain}'}_{self._count}"

    def let(self, text: str, hint: str = "t", level: int | None = None) -> str:
        """A new variable with a value."""
        name = self.fresh(hint)
        self.line(f"{name} = {text}", level)
        return name

    def index(self, size: Size) -> str:
        """The vector 0, 1, ... along an axis of a tile."""
        count = extent(size, self.rows)
        if count not in self._indices:
            self._indices[count] = f"i{count}"
            self.line(f"i{count} = tl.arange(0, {count})", 0)
        return self._indices[count]

    def mask(self, size: Size) -> str | None:
        """Which positions along an axis are no padding; None where there is none."""
        if size == BATCH:
            return "live"
        if size.constant == extent(size, self.rows):
            return None
        if size not in self._masks:
            self._masks[size] = f"m{size}"
            self.line(f"m{size} = {self.index(size)} < {size}", 0)
        return self._masks[size]

    def masks(self, shape: Sequence[Size], axes: Sequence[int] | None = None) -> str | None:
        """Which elements of a tile are no padding along some axes (default: all)."""
        rank = len(shape)
        parts = [(n, self.mask(shape[n])) for n in (range(rank) if axes is None else axes)]
        return " & ".join([along(m, n, rank) for n, m in parts if m is not None]) or None

    def extents(self, shape: Sequence[Size]) -> str:
        """The shape of a tile, as a tuple."""
        found = [str(extent(s, self.rows)) for s in shape]
        return f"({', '.join(found)}{',' if len(found) == 1 else ''})"

    def size(self, size: Size) -> str:
        """A size as an expression of integers."""
        out = ""
        for monomial, c in size.terms:
            atoms = [a if isinstance(a, str) else self._function(a) for a in monomial]
            body = " * ".join(atoms if abs(c) == 1 and atoms else [*atoms, str(abs(c))])
            out += (f" - {body}" if c < 0 else f" + {body}") if out else (f"-{body}" if c < 0 else body)
        return out or "0"

    def _function(self, atom: SizeFn) -> str:
        args = [self.size(a) for a in atom.args]
        if atom.op == "//":
            return f"(({args[0]}) // ({args[1]}))"
        if atom.op in ("min", "max"):
            found = args[0]
            for other in args[1:]:
                found = f"tl.{atom.op}imum({found}, {other})"
            return found
        raise CompileError(f"a size has a remainder: {atom}")

    def level_of(self, *sizes: Size) -> int:
        """The innermost scope that fixes a name in some sizes."""
        return max((self.levels.get(n, 0) for s in sizes for n in s.names()), default=0)


def along(vector: str, axis: int, rank: int) -> str:
    """A vector as a tile that is 1 wide in all axes but one."""
    if rank == 1:
        return vector
    items = ", ".join(":" if n == axis else "None" for n in range(rank))
    return f"{vector}[{items}]" if vector.isidentifier() else f"({vector})[{items}]"
