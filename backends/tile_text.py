"""Prints a contraction as register tiles: vectors from :mod:`.tiles`, text through the printer of the target language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..compiler.loops.tree import Call, Expr, Int, Load, Loop, Store
from ..compiler.target import Machine
from .affine import name, plus, substitute
from .printer import INFIX, Printer
from .rewrite import expr_names, substitute_expr
from .text import Text
from .tiles import Contraction, is_square, pieces, tile_lanes, trip, width


@dataclass
class _Body:
    """The innermost statements of a tile: each load and each splat is named once."""

    tile: Tile
    named: dict[str, str] = field(default_factory=dict)

    def atom(self, text: str, lanes: int) -> str:
        if text not in self.named:
            self.named[text] = self.tile.printer.names.fresh("u")
            self.tile.text.let(self.tile.printer.value_type(self.tile.dtype, lanes), self.named[text], text)
        return self.named[text]

    def value(self, e: Expr, env: Mapping[str, Int], lanes: int) -> str:
        """An expression over ``lanes`` iterations of the vector loop."""
        variable, printer = self.tile.contraction.vector.name, self.tile.printer
        if lanes == 1:
            return printer.value(substitute_expr(e, env))
        if variable not in expr_names(e):
            return self.atom(f"us_splat_{self.tile.dtype}x{lanes}({printer.value(substitute_expr(e, env))})", lanes)
        if isinstance(e, Load):
            return self.atom(printer.vector_load(place_of(e.array, e.index, env), self.tile.dtype, lanes), lanes)
        assert isinstance(e, Call), f"{e} is no part of a tile"
        if is_square(e):
            base = self.atom(self.value(e.args[0], env, lanes), lanes)
            return f"({base} * {base})"
        args = [self.value(a, env, lanes) for a in e.args]
        return f"(-{args[0]})" if e.op == "neg" else f"({args[0]} {INFIX[e.op]} {args[1]})"

    def accumulate(self, store: Store, accumulator: str, env: Mapping[str, Int], lanes: int) -> None:
        """``accumulator += value``."""
        self.add(store.value, accumulator, env, lanes)

    def add(self, value: Expr, accumulator: str, env: Mapping[str, Int], lanes: int) -> None:
        """``accumulator += value``; of a sum, unless strict, one term after the other."""
        suffix = f"{self.tile.dtype}x{lanes}" if lanes > 1 else self.tile.dtype
        if not self.tile.strict and isinstance(value, Call) and value.op == "add":
            for term in value.args:
                self.add(term, accumulator, env, lanes)
        elif not self.tile.strict and (product := factors(value)):
            a, b = (self.value(x, env, lanes) for x in product)
            self.tile.text.assign(accumulator, f"us_fma_{suffix}({a}, {b}, {accumulator})")
        else:
            self.tile.text.add(accumulator, self.value(value, env, lanes))


@dataclass
class Tile:
    """One contraction for iterations ``base``, ..., ``base + rows - 1`` of a jammed loop (``jammed`` is its variable).

    The vector loop runs from ``lower`` to ``upper``; ``count`` is the number of its iterations if that is a literal.
    """

    contraction: Contraction
    printer: Printer
    text: Text
    machine: Machine
    strict: bool
    lower: Int
    upper: Int
    jammed: str = ""
    base: Int = field(default_factory=lambda: name(""))
    rows: int = 1

    @property
    def dtype(self) -> str:
        """The dtype of the sums."""
        return self.contraction.dtype

    @property
    def count(self) -> int | None:
        """The number of iterations of the vector loop, if it is a literal."""
        return trip(Loop("", self.lower, self.upper, 1, self.contraction.vector.body))

    def row_env(self, row: int) -> dict[str, Int]:
        """The jammed variable at a row."""
        return {self.jammed: plus(self.base, row)} if self.jammed else {}

    def emit(self) -> None:
        """Print the tile."""
        self.text.scope()
        self._outer() if self.contraction.style == "outer" else self._dot()
        self.text.close()

    def _open_reductions(self) -> None:
        for loop in self.contraction.reductions:
            v = self.printer.names.get("variable", loop.name)
            self.text.count(v, self.printer.int(loop.lower), self.printer.int(loop.upper), loop.step)

    def _close_reductions(self) -> None:
        for _ in self.contraction.reductions:
            self.text.close()

    # -- sums that move with the vector loop -------------------------------------------------------------------------

    def _outer(self) -> None:
        lanes, variable = tile_lanes(self.contraction, self.machine), self.contraction.vector.name
        wide = width(self.contraction, self.rows, self.machine)
        v, upper = self.printer.names.get("variable", variable), self.printer.int(self.upper)
        if self.count is None:
            self.text.variable(self.printer.value_type("i64"), v, self.printer.int(self.lower))
            for size in dict.fromkeys((wide * lanes, lanes)):
                self.text.advance(v, upper, size)
                self._block([lanes] * (size // lanes))
                self.text.close()
            while lanes > 1:
                lanes //= 2
                self.text.if_(f"{v} + {lanes} <= {upper}")
                self._block([lanes])
                self.text.add(v, str(lanes))
                self.text.close()
            return
        full, rest = divmod(self.count, wide * lanes)
        end = plus(self.lower, full * wide * lanes)
        if full:
            self.text.count(v, self.printer.int(self.lower), self.printer.int(end), wide * lanes)
            self._block([lanes] * wide)
            self.text.close()
        parts = pieces(rest, lanes)
        room = self.machine.accumulators // (self.rows * len(self.contraction.stores))
        while parts:
            take = parts if len(parts) <= max(1, room) else parts[: max(1, room)]
            parts = parts[len(take) :]
            self.text.scope()
            self.text.let(self.printer.value_type("i64"), v, self.printer.int(end))
            self._block(take)
            self.text.close()
            end = plus(end, sum(take))

    def _block(self, parts: list[int]) -> None:
        variable = self.contraction.vector.name
        cells: list[tuple[Store, dict[str, Int], int, str]] = []
        for row in range(self.rows):
            for store in self.contraction.stores:
                at = 0
                for lanes in parts:
                    env = {**self.row_env(row), variable: plus(name(variable), at)}
                    cells.append((store, env, lanes, self.printer.names.fresh("acc")))
                    at += lanes
        for store, env, lanes, acc in cells:
            place = place_of(store.array, store.index, env)
            value = self.printer.vector_load(place, self.dtype, lanes) if lanes > 1 else self.printer.value(place)
            self.text.variable(self.printer.value_type(self.dtype, lanes), acc, value)
        self._open_reductions()
        body = _Body(self)
        for store, env, lanes, acc in cells:
            body.accumulate(store, acc, env, lanes)
        self._close_reductions()
        for store, env, lanes, acc in cells:
            place = place_of(store.array, store.index, env)
            if lanes > 1:
                self.text.call(self.printer.vector_store(place, self.dtype, lanes, acc))
            else:
                self.text.assign(self.printer.element(place.array, place.index), acc)

    # -- sums of lanes -----------------------------------------------------------------------------------------------

    def _dot(self) -> None:
        lanes, variable = tile_lanes(self.contraction, self.machine), self.contraction.vector.name
        wide = width(self.contraction, self.rows, self.machine)
        cells = [(store, self.row_env(row)) for row in range(self.rows) for store in self.contraction.stores]
        sums: list[dict[tuple[int, int], str]] = [{} for _ in cells]

        def declare(size: int, column: int) -> None:
            for found in sums:
                found[size, column] = self.printer.names.fresh("acc")
                kind = self.printer.value_type(self.dtype, size)
                self.text.variable(kind, found[size, column], self.printer.zero(self.dtype, size))

        def step(size: int, columns: int) -> None:
            body = _Body(self)
            for (store, env), found in zip(cells, sums, strict=True):
                for column in range(columns):
                    place = {**env, variable: plus(name(variable), column * size)}
                    body.accumulate(store, found[size, column], place, size)

        rest = [] if self.count is None else pieces(self.count % (wide * lanes), lanes)
        for column in range(wide):
            declare(lanes, column)
        for size in dict.fromkeys([1] if self.count is None and lanes > 1 else [p for p in rest if p != lanes]):
            declare(size, 0)
        self._open_reductions()
        self._dot_loops(lanes, wide, rest, step)
        self._close_reductions()
        for (store, env), found in zip(cells, sums, strict=True):
            place = place_of(store.array, store.index, env)
            vectors = [acc for (size, _), acc in found.items() if size == lanes]
            parts = [_tree_sum(vectors) if lanes == 1 else f"us_sum_{self.dtype}x{lanes}({_tree_sum(vectors)})"]
            parts += [
                acc if size == 1 else f"us_sum_{self.dtype}x{size}({acc})" for (size, _), acc in found.items() if size != lanes
            ]
            self.text.add(self.printer.element(place.array, place.index), _tree_sum(parts))

    def _dot_loops(self, lanes: int, wide: int, rest: list[int], step) -> None:  # type: ignore[no-untyped-def]
        variable = self.contraction.vector.name
        v, lower, upper = self.printer.names.get("variable", variable), self.printer.int(self.lower), self.printer.int(self.upper)
        if self.count is None:
            self.text.variable(self.printer.value_type("i64"), v, lower)
            for columns in dict.fromkeys((wide, 1)):
                self.text.advance(v, upper, columns * lanes)
                step(lanes, columns)
                self.text.close()
            if lanes > 1:
                self.text.advance(v, upper, 1)
                step(1, 1)
                self.text.close()
            return
        end = plus(self.lower, self.count - sum(rest))
        if self.count > sum(rest):
            self.text.count(v, lower, self.printer.int(end), wide * lanes)
            step(lanes, wide)
            self.text.close()
        full = sum(1 for p in rest if p == lanes)
        for size, columns in ([(lanes, full)] if full else []) + [(p, 1) for p in rest[full:]]:
            self.text.scope()
            self.text.let(self.printer.value_type("i64"), v, self.printer.int(end))
            step(size, columns)
            self.text.close()
            end = plus(end, size * columns)


def factors(value: Expr) -> tuple[Expr, Expr] | None:
    """The factors of a product, the sign of a negated one in the first; None of anything else."""
    if isinstance(value, Call) and value.op == "neg" and (product := factors(value.args[0])):
        return Call("neg", (product[0],), product[0].dtype), product[1]
    return (value.args[0], value.args[1]) if isinstance(value, Call) and value.op == "mul" else None


def place_of(array: str, index: Sequence[Int], env: Mapping[str, Int]) -> Load:
    """An element with variables replaced in its index."""
    return Load(array, tuple(substitute(i, env) for i in index), "")


def _tree_sum(parts: list[str]) -> str:
    """Pairwise, so that the additions do not wait for each other."""
    while len(parts) > 1:
        parts = [f"({parts[n]} + {parts[n + 1]})" if n + 1 < len(parts) else parts[n] for n in range(0, len(parts), 2)]
    return parts[0]
