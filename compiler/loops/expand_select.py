"""Selection of few elements as statements: sorted lists of the largest so far, kept by maxima and minima.

    best[0..c] = lowest                                 the c largest, falling
    for i in 0..n:
        best[c-1] = max(best[c-1], min(x[i], best[c-2]))     from the last place on, so that each
        ..                                                   reads its neighbour as it was
        best[1] = max(best[1], min(x[i], best[0]))
        best[0] = max(best[0], x[i])

There is no branch and no index that depends on data, so rows, or problems of a batch, lie side by side in vectors. Elements are
compared by their *keys*, integers in the order of the values: NaN is the largest, -0 equals 0. Of equal elements those at the lowest
positions are taken: where several equal the last of the list, as many of them as stand in it.
Only what is used is made: the mask needs keys alone, values and positions move along with the keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..graph.graph import Node, Value
from ..graph.ops.select import FEW
from ..graph.types import BYTES, Size, Type, is_floating
from . import lazy as lz
from .expansion import expansion
from .isl import NotAffine
from .lazy import ZERO, Index, Lazy, stored
from .nest import Access, Apply, Dim, Expr, Leaf, LoopOrder, Order, SizeValue, Statement, Whole, sequence
from .storing import nominal
from .tree import Literal

if TYPE_CHECKING:
    from .lower import Lowering

#: Fewer rows are left to the routine, unless problems of a batch lie beside them; and so are longer lists than ``FEW``.
ROWS = 32
#: Places of all lists of a selection together: each is a statement, and many take long to schedule.
PLACES = 20


def lists_pay(low: Lowering, x: Type, axis: int, count: Size) -> bool:
    """Whether lists find the ``count`` largest elements along an axis, rather than the routine."""
    c, n = count.constant, x.shape[axis].constant
    if c is None or n is None or not 1 <= c <= min(FEW, n):
        return False
    return low.beside or nominal(x.numel) >= ROWS * n


@expansion("topk_mask")
def _topk_mask(low: Lowering, node: Node) -> None:
    values, count = (low.scope[n] for n in node.inputs)
    if count.type.rank:
        raise NotAffine("topk with a count for each row")
    axis, number = node.attr("axis") % values.type.rank, count.element(())
    if isinstance(number, Literal) and lists_pay(low, values.type, axis, Size.of(int(number.value.real))):
        _Lists(low, values, axis, int(number.value.real)).make({"mask": node.output})
        return
    count = low.in_array(count, node.inputs[1])
    _routine(low, node, values, axis, [Whole(_name(count), (), count.type.dtype)], [])


@expansion("topk")
def _topk(low: Lowering, node: Node) -> None:
    values = low.scope[node.inputs[0]]
    axis, count = node.attr("axis") % values.type.rank, low.size(Size.of(node.attr("count")))
    outputs = dict(zip(("values", "indices", "mask"), node.outputs, strict=True))
    wanted = {k: v for k, v in outputs.items() if low.uses.get(v.name, 0)}
    lists = 1 + len(wanted.keys() - {"mask"})
    if lists_pay(low, values.type, axis, count) and lists * (count.constant or 0) <= PLACES:
        _Lists(low, values, axis, count.constant or 0).make(wanted)
        return
    _routine(low, node, values, axis, [], [count])


def _routine(low: Lowering, node: Node, values: Lazy, axis: int, more: list[Whole], integers: list[Size]) -> None:
    """A call on whole rows, which lie in arrays of their own where the axis is not the last."""
    rank = values.type.rank
    last = [*(n for n in range(rank) if n != axis), axis]
    back = [last.index(n) for n in range(rank)]

    def turned(type: Type, axes: Sequence[int]) -> Type:
        return type.with_shape(*(type.shape[n] for n in axes))

    def moved(value: Lazy, axes: Sequence[int]) -> Lazy:
        return value if axis == rank - 1 else lz.permute(value, turned(value.type, axes), [n - rank for n in axes])

    rows = low.in_array(moved(values, last), node.inputs[0])
    blocks = []
    for v in node.outputs:
        out = turned(low.type(v.type), last)
        array = low.new_array(v.name, out)
        blocks.append(Whole(array, (), out.dtype))
        low.scope[v.name] = moved(stored(array, out), back)
    number = Size.of(1)
    for s in rows.type.shape[:-1]:
        number = number * s
    low.emit_call(node.op, blocks, [Whole(_name(rows), (), rows.type.dtype), *more], [number, rows.type.shape[-1], *integers])


def _name(value: Lazy) -> str:
    assert value.array is not None
    return value.array


#: A statement of a part: what it writes, from the indices of its row and the position in it.
Made = Callable[[Index, Size], tuple[Access, Expr]]


class _Lists:
    def __init__(self, low: Lowering, x: Lazy, axis: int, count: int) -> None:
        self.low, self.x, self.axis, self.count = low, x, axis, count
        self.real = is_floating(x.type.dtype)
        self.dtype = ("i64" if BYTES[x.type.dtype] == 8 else "i32") if self.real else x.type.dtype
        self.rows = tuple(s for n, s in enumerate(x.type.shape) if n != axis)
        self.extent = x.type.shape[axis]

    def make(self, outputs: dict[str, Value]) -> None:
        """Emit what the outputs need, as one loop over the rows, and bind them."""
        if not outputs:
            return
        low, dtype = self.low, self.dtype
        hint = next(iter(outputs.values())).name
        self.keys = low.new_array(f"{hint}_key", self.x.type.with_dtype(dtype))
        self.best = self._list(f"{hint}_best", dtype)
        moved: dict[str, tuple[str, str]] = {}
        if "values" in outputs and self.real:
            moved["values"] = ("value", self.x.type.dtype)
        if "indices" in outputs:
            moved["indices"] = ("place", "i32" if BYTES[dtype] <= 4 else "i64")
        lists = {k: (self._list(f"{hint}_{word}", t), t) for k, (word, t) in moved.items()}
        start: list[Made] = []
        for places, t in [(self.best, dtype), *lists.values()]:
            for j in range(self.count):
                start.append(lambda r, i, p=places, t=t, j=j: (Access(p[j], r, t), self._first(p, t, j)))  # type: ignore[misc]
        parts: list[list[Made]] = [start, self._insertion(lists)]
        end: list[Made] = []
        for what, (places, t) in {"values": (self.best, dtype), **lists}.items():
            if what in outputs:
                end += self._taken(outputs[what], places, t)
        if "mask" in outputs:
            mask = low.new_array(outputs["mask"].name, self.x.type.with_dtype("bool"))
            before, marks = self._masking(hint, mask)
            parts += [[*end, *before], marks]
            low.scope[outputs["mask"].name] = stored(mask, self.x.type.with_dtype("bool"))
        elif end:
            parts.append(end)
        self._emit(parts)

    def _list(self, name: str, dtype: str) -> list[str]:
        """An array for each place of the list, with an element for each row: so few statements touch one that its dependences are few."""
        return [self.low.new_array(f"{name}{j}", Type(dtype, self.rows)) for j in range(self.count)]

    def _taken(self, out: Value, places: list[str], dtype: str) -> list[Made]:
        """A list as a value whose axis stands where the elements' axis stood."""
        type = self.low.type(out.type)
        array = self.low.new_array(out.name, type)
        self.low.scope[out.name] = stored(array, type)

        def copy(row: Index, i: Size, j: int) -> tuple[Access, Expr]:
            found: Expr = Access(places[j], row, dtype)
            value = found if dtype == type.dtype else Apply("cast", (found,), type.dtype)
            return Access(array, self._along(row, Size.of(j)), type.dtype), value

        return [lambda r, i, j=j: copy(r, i, j) for j in range(self.count)]  # type: ignore[misc]

    def _first(self, places: list[str], dtype: str, place: int) -> Expr:
        if places is self.best:
            return Literal(-(2 ** (8 * BYTES[dtype] - 1)), dtype)
        return Literal(0 if is_floating(dtype) else place, dtype)

    def _along(self, row: Index, i: Size) -> Index:
        return (*row[: self.axis], i, *row[self.axis :])

    def _key(self, row: Index, i: Size) -> Expr:
        return Access(self.keys, self._along(row, i), self.dtype)

    def _insertion(self, lists: dict[str, tuple[list[str], str]]) -> list[Made]:
        dtype = self.dtype

        def key(row: Index, i: Size) -> tuple[Access, Expr]:
            x = self.x.element(self._along(row, i))
            return Access(self.keys, self._along(row, i), dtype), Apply("key", (x,), dtype) if self.real else x

        def larger(row: Index, i: Size, j: int) -> Expr:
            found: Expr = Apply("gt", (self._key(row, i), Access(self.best[j], row, dtype)), "bool")
            if self.real:
                return found
            empty = Apply("lt", (SizeValue(i, "i64"), Literal(j + 1, "i64")), "bool")  # the lowest integer may be an element
            return Apply("or", (found, empty), "bool")

        def move(row: Index, i: Size, what: str, j: int) -> tuple[Access, Expr]:
            places, t = lists[what]
            here = Access(places[j], row, t)
            new: Expr = SizeValue(i, t) if what == "indices" else self.x.element(self._along(row, i))
            out: Expr = Apply("where", (larger(row, i, j), new, here), t)
            if j:
                out = Apply("where", (larger(row, i, j - 1), Access(places[j - 1], row, t), out), t)
            return here, out

        def insert(row: Index, i: Size, j: int) -> tuple[Access, Expr]:
            here, new = Access(self.best[j], row, dtype), self._key(row, i)
            if j:
                new = Apply("minimum", (new, Access(self.best[j - 1], row, dtype)), dtype)
            return here, Apply("maximum", (here, new), dtype)

        made: list[Made] = [key]
        for j in reversed(range(self.count)):
            made += [lambda r, i, w=what, j=j: move(r, i, w, j) for what in lists]  # type: ignore[misc]
            made.append(lambda r, i, j=j: insert(r, i, j))  # type: ignore[misc]
        return made

    def _masking(self, hint: str, mask: str) -> tuple[list[Made], list[Made]]:
        """How many elements that equal the last of the list are to be taken; then the mask, which takes them from the lowest position on."""
        dtype, t = self.dtype, "i32"
        left = self.low.new_array(f"{hint}_left", Type(t, self.rows))

        def last(row: Index) -> Expr:
            return Access(self.best[-1], row, dtype)

        def equal(row: Index, i: Size) -> tuple[Access, Expr]:
            total: Expr = Literal(1, t)
            for j in range(self.count - 1):
                same = Apply("eq", (Access(self.best[j], row, dtype), last(row)), "bool")
                total = Apply("add", (total, Apply("cast", (same,), t)), t)
            return Access(left, row, t), total

        def chosen(row: Index, i: Size) -> tuple[Access, Expr]:
            key, some = self._key(row, i), Apply("gt", (Access(left, row, t), Literal(0, t)), "bool")
            tie = Apply("and", (Apply("eq", (key, last(row)), "bool"), some), "bool")
            return Access(mask, self._along(row, i), "bool"), Apply("or", (Apply("gt", (key, last(row)), "bool"), tie), "bool")

        def taken(row: Index, i: Size) -> tuple[Access, Expr]:
            hit = Apply("cast", (Apply("eq", (self._key(row, i), last(row)), "bool"),), t)
            return Access(left, row, t), Apply("sub", (Access(left, row, t), hit), t)

        return [equal], [chosen, taken]

    def _emit(self, parts: Sequence[Sequence[Made]]) -> None:
        """The parts in turn for each row: those of even number once, the others for every position."""
        low = self.low
        shared = [low.fresh("i") for _ in self.rows]
        values: list[list[tuple[str, Size]]] = [[] for _ in self.rows]
        orders: list[Order] = []
        for number, part in enumerate(parts):
            repeated = number % 2 == 1
            inside: list[tuple[str, Size]] = []
            placed: list[Order] = []
            for make in part:
                dims = [Dim(low.fresh("i"), e) for e in (*self.rows, *([self.extent] if repeated else []))]
                names = [Size.of(d.name) for d in dims]
                row, position = tuple(names[: len(self.rows)]), names[-1] if repeated else ZERO
                write, value = make(row, position)
                s = Statement(low.fresh("S"), (*low.dims, *dims), write, value, "", low.guards, span=low.span, values=low.making)
                low.statements.append(s)
                placed.append(Leaf(s.name))
                for found, at in zip(values, row, strict=True):
                    found.append((s.name, at))
                inside.append((s.name, position))
            orders += [LoopOrder(low.fresh("i"), tuple(inside), sequence(placed))] if repeated else placed
        order: Order = sequence(orders)
        for name, found in zip(reversed(shared), reversed(values), strict=True):
            order = LoopOrder(name, tuple(found), order)
        low.items.append(order)
