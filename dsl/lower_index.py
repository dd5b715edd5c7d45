"""Indexing and slicing: what ``A[i, 1:, None]`` selects, with NumPy's meaning and proofs instead of wraps."""

from __future__ import annotations

from dataclasses import dataclass

from ..compiler.graph.graph import Value
from ..compiler.graph.types import At, Item, Pick, Range, Size, is_integer
from . import syntax as s
from .builtins.compose import permute, reshape
from .context import Context, describe, lowers, noun
from .facts import max_size, min_size
from .operand import Array, ModuleOperand, NoneOperand, Operand, SizeOperand, TupleOperand, Weak


@dataclass(frozen=True)
class Selection:
    """Part of an array: ``items`` and ``picks`` of a slice node; ``shape`` of what it gives; then ``order`` (a
    permutation, negative axes) and ``new_axes`` (positions in the final shape) are applied."""

    items: tuple[Item, ...]
    picks: tuple[Value, ...]
    shape: tuple[Size, ...]
    order: tuple[int, ...]
    new_axes: tuple[int, ...]

    @property
    def final_shape(self) -> tuple[Size, ...]:
        """The shape after the permutation and with the new axes."""
        shape = [self.shape[axis] for axis in self.order]
        for axis in self.new_axes:
            shape.insert(axis, Size.of(1))
        return tuple(shape)


@lowers(s.Index)
def _index(ctx: Context, node: s.Index) -> Operand:
    value = ctx.expr(node.value)
    if isinstance(value, ModuleOperand):
        return _instance(ctx, value, node)
    if isinstance(value, TupleOperand):
        raise ctx.fault("US0206", "several values cannot be indexed", node.span, "take them apart: a, b = ...")
    x = ctx.as_value(value)
    return Array(read(ctx, x, select(ctx, x, node)))


def read(ctx: Context, x: Value, selection: Selection) -> Value:
    """The selected part of ``x``."""
    b = ctx.builder
    whole = all(isinstance(i, Range) and i == Range(Size.of(0), n, 1) for i, n in zip(selection.items, x.type.shape, strict=True))
    part: Value = x if whole else b.op("slice", x, *selection.picks, items=selection.items)
    return reshape(b, permute(b, part, selection.order), selection.final_shape)


def _instance(ctx: Context, module: ModuleOperand, node: s.Index) -> Operand:
    if module.count is None or module.index is not None:
        raise ctx.fault("US0413", f"the module {module.name} has one instance and takes no index", node.span)
    if len(node.items) != 1 or isinstance(node.items[0], (s.Slice, s.EllipsisItem)):
        raise ctx.fault("US0413", f"the module {module.name} takes one index", node.span, f"{module.name}[k]")
    item = node.items[0]
    with ctx.at(item.span):
        index = ctx.size_of(ctx.expr(item))
        return ModuleOperand(
            module.name, module.arguments, module.results, module.count, position(ctx, index, module.count, item)
        )


def select(ctx: Context, x: Value, node: s.Index) -> Selection:
    """What an index expression selects from ``x``."""
    operands = [_item(ctx, item) for item in node.items]
    count = sum(1 for o in operands if not isinstance(o, (NoneOperand, s.EllipsisItem)))
    ellipses = sum(isinstance(o, s.EllipsisItem) for o in operands)
    if count > x.type.rank:
        extra = [i for i, o in zip(node.items, operands, strict=True) if not isinstance(o, (NoneOperand, s.EllipsisItem))][
            x.type.rank
        ]
        axes = "no axis" if x.type.rank == 0 else f"{x.type.rank} ax{'is' if x.type.rank == 1 else 'es'}"
        raise ctx.fault("US0204", f"{describe(x.type)} has {axes}, but {count} indices came", extra.span)
    if ellipses > 1:
        raise ctx.fault("US0204", "an index has at most one `...`", node.span)
    rest = [s.Slice(node.span, None, None, None)] * (x.type.rank - count)
    at = next((n for n, o in enumerate(operands) if isinstance(o, s.EllipsisItem)), len(operands))
    full = [*operands[:at], *rest, *operands[at + ellipses :]]
    return _Selector(ctx, x, node).select(full)


def _item(ctx: Context, item: s.Expr | s.Slice | s.EllipsisItem) -> object:
    if isinstance(item, (s.Slice, s.EllipsisItem)):
        return item
    return (item, operand) if not isinstance(operand := ctx.expr(item), NoneOperand) else operand


class _Selector:
    def __init__(self, ctx: Context, x: Value, node: s.Index) -> None:
        self.ctx, self.x, self.node = ctx, x, node
        self.items: list[Item] = []
        self.picks: list[Value] = []
        self.advanced: list[int] = []  # positions, among all entries, of At and Pick
        self.first_pick = -1  # result axes before the first Pick

    def select(self, entries: list[object]) -> Selection:
        layout: list[str] = []  # per entry: new, range, at, pick
        shape: list[Size] = []
        axis = 0
        for entry in entries:
            if isinstance(entry, NoneOperand):
                layout.append("new")
                continue
            size = self.x.type.shape[axis]
            axis += 1
            if isinstance(entry, s.Slice):
                item: Item = slice_range(self.ctx, entry, size)
            else:
                assert isinstance(entry, tuple)
                item = self._one(entry[0], entry[1], size)
            self.items.append(item)
            if isinstance(item, Range):
                layout.append("range")
                shape.append(item.size)
            else:
                layout.append("at" if isinstance(item, At) else "pick")
                if isinstance(item, Pick) and self.first_pick < 0:
                    self.first_pick = len(shape)
        picked = self.ctx.broadcast_shapes(*(p.type.shape for p in self.picks))
        if self.picks:
            shape[self.first_pick : self.first_pick] = picked
        return self._arranged(layout, tuple(shape), len(picked))

    def _arranged(self, layout: list[str], shape: tuple[Size, ...], picked: int) -> Selection:
        """Picked axes stand in their place if the indices are neighbours, else in front (NumPy's rule)."""
        rank = len(shape)
        order = list(range(rank))
        indexed = [n for n, kind in enumerate(layout) if kind in ("at", "pick")]
        front = picked > 0 and indexed != list(range(indexed[0], indexed[0] + len(indexed)))
        if picked and front:
            mine = list(range(self.first_pick, self.first_pick + picked))
            order = mine + [n for n in order if n not in mine]
        new_axes = []
        position, placed = (picked if front else 0), front
        for kind in layout:
            if kind == "new":
                new_axes.append(position)
            if kind in ("new", "range"):
                position += 1
            elif kind == "pick" and not placed:
                position += picked
                placed = True
        return Selection(tuple(self.items), tuple(self.picks), shape, tuple(n - rank for n in order), tuple(new_axes))

    def _one(self, node: s.Expr, operand: Operand, size: Size) -> Item:
        ctx = self.ctx
        if isinstance(operand, SizeOperand) or (isinstance(operand, Weak) and type(operand.number) is int):
            return At(position(ctx, ctx.size_of(operand), size, node))
        if isinstance(operand, TupleOperand):
            raise ctx.fault("US0206", "an index is an integer, not several values", node.span)
        value = ctx.as_value(operand)
        if value.type.dtype == "bool":
            raise ctx.fault(
                "US0206",
                "a bool array cannot select: how much it selects is not known",
                node.span,
                "where(mask, x, 0), or multiply with cast(mask, real)",
            )
        if not is_integer(value.type.dtype):
            raise ctx.fault("US0206", f"an index is an integer, not {noun(operand)}", node.span, "cast it first: cast(i, i64)")
        self.picks.append(value)
        return Pick(len(self.picks) - 1)


def position(ctx: Context, index: Size, size: Size, node: s.Expr) -> Size:
    """An index of sizes, loop indices and literals as a position within ``0..size``; an error if it can leave it."""
    facts = ctx.facts
    index, size = facts.canonical(index), facts.canonical(size)
    loops = sorted(index.names() & facts.indices)
    if facts.is_nonneg(index):
        if facts.less(index, size):
            return index
    elif facts.less(index, Size.of(0)) and not loops and facts.is_nonneg(index + size):
        return index + size
    if loops:
        low, high = facts.is_nonneg(index), facts.less(index, size)
        which = "below 0" if high else f"to {size} or beyond" if low else f"out of 0..{size}"
        raise ctx.fault(
            "US0203",
            f"the index {index} can go {which}, and the axis has size {size}",
            node.span,
            "tighten the loop's bounds, or add a `where` on the sizes",
        )
    needed = f"{size} >= {index + 1}" if facts.is_nonneg(index) else f"{size} >= {-index}"
    if facts.is_nonneg(index) or facts.less(index, Size.of(0)):
        known = _never(ctx, index, size)
        raise ctx.fault(
            "US0203",
            f"the index {index} {'is' if known else 'can be'} outside an axis of size {size}",
            node.span,
            None if known else f"add `where {needed}`",
        )
    raise ctx.fault(
        "US0203",
        f"the index {index} can be negative or not, and the axis has size {size}",
        node.span,
        f"add `where {index} >= 0` or the like",
    )


def _never(ctx: Context, index: Size, size: Size) -> bool:
    return ctx.at_most(size, index) or ctx.facts.less(index + size, Size.of(0))


# -- slices --------------------------------------------------------------------------------------------------------


def slice_range(ctx: Context, node: s.Slice, size: Size) -> Range:
    """``start:stop:step`` on an axis of ``size``, clamped as NumPy does."""
    size = ctx.facts.canonical(size)
    step = literal_step(ctx, node.step, "US0205", "slice") if node.step is not None else 1
    zero, facts = Size.of(0), ctx.facts
    start, from_end = _bound(ctx, node.start) if node.start else (zero if step > 0 else size - 1, False)
    stop, to_end = _bound(ctx, node.stop) if node.stop else (size if step > 0 else Size.of(-1), False)
    if step > 0:  # only what makes the length too large is clamped: a slice of length 0 may start anywhere
        start = max_size(facts, start + size, zero) if from_end else start
        stop = stop + size if to_end else min_size(facts, stop, size)
    else:
        start = start + size if from_end else min_size(facts, start, size - 1)
        stop = max_size(facts, stop + size, Size.of(-1)) if to_end else stop
    width = max_size(facts, stop - start if step > 0 else start - stop, zero)
    count = width if abs(step) == 1 else facts.canonical((width + (abs(step) - 1)) // abs(step))
    return Range(start, count, step)


def literal_step(ctx: Context, node: s.Expr, code: str, what: str) -> int:
    """The step of a range or slice."""
    operand = ctx.expr(node)
    number = operand.number if isinstance(operand, Weak) else None
    if type(number) is not int or number == 0 or abs(number) >= 2**31:
        raise ctx.fault(code, f"the step of a {what} is a literal integer other than 0, not {noun(operand)}", node.span)
    return number


def _bound(ctx: Context, node: s.Expr) -> tuple[Size, bool]:
    """A bound of a slice, and whether it is negative: counted from the end."""
    operand = ctx.expr(node)
    if isinstance(operand, NoneOperand):
        raise ctx.fault("US0205", "None as a bound of a slice", node.span, "leave the bound out")
    if isinstance(operand, Array):
        raise ctx.fault("US0205", f"a bound of a slice is made of sizes and literals, not {noun(operand)}", node.span)
    with ctx.at(node.span):
        bound = ctx.facts.canonical(ctx.size_of(operand))
    if ctx.facts.is_nonneg(bound):
        return bound, False
    if ctx.facts.less(bound, Size.of(0)):
        return bound, True
    raise ctx.fault("US0205", f"the slice bound {bound} can be negative or not", node.span, f"add `where {bound} >= 0`")
