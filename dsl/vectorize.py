"""Turn the index of a comprehension into an axis.

    [f(A[i, j]) for i in 0..n]       slice A [i, j]  f      per i
    -->                              slice A [0:n, j]  f    with a leading axis of size n

Nodes that do not depend on the index stay as they are; a loop inside carries arrays with the new axis. What cannot
be turned (bounds and branches that depend on the index, updates at it, windows that move with it) raises
:class:`NotVectorizable`, and the caller writes a loop instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..compiler.graph.graph import Builder, Node, Region, Value, free_names, walk
from ..compiler.graph.ops.common import attr_names
from ..compiler.graph.ops.table import lookup
from ..compiler.graph.types import At, Item, Pick, Range, Size, SizeFn, Type
from .builtins.compose import broadcast, cast, iota, permute, reshape, size_scalar, whole


class NotVectorizable(Exception):
    """The body cannot be written with whole arrays."""


@dataclass(frozen=True)
class Axis:
    """An index that becomes an axis: ``name = start + step * t`` for ``t`` in ``0..count``."""

    name: str
    start: Size
    count: Size
    step: int = 1


def vectorize(
    b: Builder, nodes: Sequence[Node], results: Sequence[Value], axis: Axis, types: Mapping[str, Type]
) -> list[tuple[Value, bool]]:
    """Append ``nodes`` with ``axis`` as a leading axis of all that depends on it. Each result comes with whether it
    has the axis. ``types`` gives the types of values from outside. Raises NotVectorizable."""
    worker = _Vectorizer(b, axis, types)
    before = b.span
    for node in nodes:
        b.span = node.span
        worker.add(node)
    b.span = before
    return [(worker.lifted[v.name], True) if v.name in worker.lifted else (v, False) for v in results]


class _Vectorizer:
    def __init__(self, b: Builder, axis: Axis, types: Mapping[str, Type]) -> None:
        self.b, self.axis, self.types = b, axis, types
        self.lifted: dict[str, Value] = {}
        self.values: dict[str, Value] = {}
        self._positions: Value | None = None

    def add(self, node: Node) -> None:
        uses_index = self.axis.name in attr_names(tuple(v for _, v in node.attrs))
        inside = any(self.axis.name in attr_names(tuple(v for _, v in n.attrs)) for r in node.regions for n in walk(r.nodes))
        depends = any(n in self.lifted for n in free_names(node))
        self.values.update((v.name, v) for v in node.outputs)
        if not (uses_index or inside or depends):
            self.b.append(node)
            return
        if node.op == "for" and not uses_index:
            for old, new in zip(node.outputs, self.loop(node), strict=True):
                self.values[old.name] = new
                if new.type != old.type:
                    self.lifted[old.name] = new
            return
        if node.regions:
            raise NotVectorizable(node.op)
        if node.op == "size_value":
            made: tuple[Value, ...] = (cast(self.b, self.size(node.attr("value")), node.attr("dtype")),)
        elif node.op == "slice":
            made = (self.slice(node),)
        elif uses_index:
            raise NotVectorizable(node.op)
        else:
            rule = lookup(node.op).batch
            if rule is None:
                raise NotVectorizable(node.op)
            made = rule(
                self.b, node, tuple(map(self.value, node.inputs)), tuple(n in self.lifted for n in node.inputs), self.axis.count
            )
        self.lifted.update((v.name, m) for v, m in zip(node.outputs, made, strict=True))

    def value(self, name: str) -> Value:
        """A value as it is now: with the axis if it depends on the index."""
        found = self.lifted.get(name) or self.values.get(name)
        return found if found is not None else Value(name, self.types[name])

    # -- loops

    def loop(self, node: Node) -> tuple[Value, ...]:
        """A loop whose bounds do not depend on the index: carried values get the axis where they need it."""
        region = node.regions[0]
        if node.attr("stacked"):
            raise NotVectorizable("for")
        flags = [n in self.lifted for n in node.inputs]
        while True:
            results, nodes, grown = self._loop_body(node, flags)
            if grown == flags:
                break
            flags = grown
        start = tuple(self._with_axis(n).name if flag else n for n, flag in zip(node.inputs, flags, strict=True))
        args = tuple(self._typed(v, flag) for v, flag in zip(region.args, flags, strict=True))
        outputs = tuple(self._typed(v, flag) for v, flag in zip(node.outputs, flags, strict=True))
        self.b.append(Node("for", start, outputs, node.attrs, (Region(args, nodes, results),), node.span))
        return outputs

    def _typed(self, value: Value, flag: bool) -> Value:
        return Value(value.name, value.type.with_shape(self.axis.count, *value.type.shape)) if flag else value

    def _loop_body(self, node: Node, flags: Sequence[bool]) -> tuple[tuple[str, ...], tuple[Node, ...], list[bool]]:
        """Results and nodes of the body if carried values have the axis as ``flags`` say, and which then have it."""
        region = node.regions[0]
        names: list[str] = list(region.results)
        grown: list[bool] = []

        def body() -> Sequence[Value]:
            for arg, flag in zip(region.args, flags, strict=True):
                self.values[arg.name] = self._typed(arg, flag)
                self.lifted.pop(arg.name, None)
                if flag:
                    self.lifted[arg.name] = self.values[arg.name]
            for inner in region.nodes:
                self.add(inner)
            if node.attr("until") and names[-1] in self.lifted:
                raise NotVectorizable("until")
            grown[:] = [flag or r in self.lifted for flag, r in zip(flags, names, strict=False)]
            for n, flag in enumerate(flags):
                if flag:
                    names[n] = self._with_axis(names[n]).name
            return []

        positions = self._positions
        nodes = self.b.region([], body).nodes
        self._positions = positions  # those made inside the loop are not visible after it
        return tuple(names), nodes, grown

    def _with_axis(self, name: str) -> Value:
        value = self.value(name)
        return value if name in self.lifted else broadcast(self.b, value, (self.axis.count, *value.type.shape))

    # -- sizes as values

    @property
    def positions(self) -> Value:
        """The values of the index, i64, one per position of the axis."""
        if self._positions is None:
            at = iota(self.b, self.axis.count)
            if self.axis.step != 1:
                at = self.b.op("mul", at, size_scalar(self.b, self.axis.step, "i64"))
            if self.axis.start.constant != 0:
                at = self.b.op("add", at, size_scalar(self.b, self.axis.start, "i64"))
            self._positions = at
        return self._positions

    def size(self, size: Size) -> Value:
        """A size that mentions the index, as i64 per position."""
        total: Value | None = None
        free = Size.of(0)
        for monomial, c in size.terms:
            if self.axis.name not in Size(((monomial, 1),)).names():
                free = free + Size(((monomial, c),))
                continue
            product: Value | None = None
            factor = Size.of(c)
            for atom in monomial:
                if self.axis.name in Size((((atom,), 1),)).names():
                    one = self.positions if isinstance(atom, str) else self._function(atom)
                    product = one if product is None else self.b.op("mul", product, one)
                else:
                    factor = factor * Size((((atom,), 1),))
            assert product is not None
            if factor.constant != 1:
                product = self.b.op("mul", product, size_scalar(self.b, factor, "i64"))
            total = product if total is None else self.b.op("add", total, product)
        assert total is not None
        return total if free.constant == 0 else self.b.op("add", total, size_scalar(self.b, free, "i64"))

    def _function(self, atom: SizeFn) -> Value:
        op = {"//": "floordiv", "%": "mod", "min": "minimum", "max": "maximum"}[atom.op]
        parts = [self.size(a) if self.axis.name in a.names() else size_scalar(self.b, a, "i64") for a in atom.args]
        out = parts[0]
        for part in parts[1:]:
            out = self.b.op(op, out, part)
        return out

    # -- slices

    def slice(self, node: Node) -> Value:
        items: tuple[Item, ...] = node.attr("items")
        x = self.value(node.inputs[0])
        lifted = node.inputs[0] in self.lifted
        moving = [n for n, item in enumerate(items) if self.axis.name in attr_names(item)]
        if any(isinstance(items[n], Range) and self.axis.name in attr_names(items[n].size) for n in moving):  # type: ignore[union-attr]
            raise NotVectorizable("a slice whose length depends on the index")
        picks_lifted = any(n in self.lifted for n in node.inputs[1:])
        if not moving and not picks_lifted:
            picks = [self.value(n) for n in node.inputs[1:]]
            return self._lead_kept(x, picks, items)
        if not lifted and not picks_lifted and all(self._coefficient(items[n]) for n in moving):
            if len(moving) == 1:
                return self._strided(node, x, items, moving[0])
            if len(moving) == 2 and not any(isinstance(i, Pick) for i in items):
                return self._diagonal(x, items, moving)
        return self._gather(node, x, items, lifted)

    def _lead_kept(self, x: Value, picks: Sequence[Value], items: tuple[Item, ...]) -> Value:
        out: Value = self.b.op("slice", x, *picks, items=(whole(self.axis.count), *items))
        return out

    def _coefficient(self, item: Item) -> int:
        """The literal factor of the index in an ``At``, 0 if there is none."""
        if not isinstance(item, At):
            return 0
        affine = item.index.affine()
        if affine is None:
            return 0
        coefficient = affine[0].get(self.axis.name, 0)
        rest = item.index - Size.of(self.axis.name) * coefficient
        return 0 if self.axis.name in rest.names() else coefficient

    def _range(self, item: Item) -> Range:
        assert isinstance(item, At)
        start = item.index.substitute({self.axis.name: self.axis.start})
        return Range(start, self.axis.count, self._coefficient(item) * self.axis.step)

    def _strided(self, node: Node, x: Value, items: tuple[Item, ...], at: int) -> Value:
        """One index moves with the axis: a range in its place, then that axis in front."""
        new = tuple(self._range(item) if n == at else item for n, item in enumerate(items))
        picks = [self.value(n) for n in node.inputs[1:]]
        same = not picks and all(i == whole(s) for i, s in zip(new, x.type.shape, strict=True))
        out: Value = x if same else self.b.op("slice", x, *picks, items=new)
        rank = out.type.rank
        before = sum(isinstance(i, Range) for i in items[:at])
        first = next((n for n, i in enumerate(items) if isinstance(i, Pick)), None)
        if first is not None and first < at:
            before += max(p.type.rank for p in picks)
        order = [before, *(n for n in range(rank) if n != before)]
        return permute(self.b, out, [n - rank for n in order])

    def _diagonal(self, x: Value, items: tuple[Item, ...], at: Sequence[int]) -> Value:
        """Two indices move with the axis: two ranges, and the diagonal of them."""
        new = tuple(self._range(item) if n in at else item for n, item in enumerate(items))
        if any(i != whole(s) for i, s in zip(new, x.type.shape, strict=True)):
            x = self.b.op("slice", x, items=new)
        axes = [sum(isinstance(i, Range) for i in new[:n]) for n in at]
        rank = x.type.rank
        order = [n for n in range(rank) if n not in axes] + axes
        out: Value = self.b.op("diagonal", permute(self.b, x, [n - rank for n in order]))
        return permute(self.b, out, [-1, *range(-out.type.rank, -1)])

    def _gather(self, node: Node, x: Value, items: tuple[Item, ...], lifted: bool) -> Value:
        """The general case: positions as arrays with the axis in front, everything picked together."""
        old = [(self.value(n), n in self.lifted) for n in node.inputs[1:]]
        core = max((v.type.rank - f for v, f in old), default=0)
        picks: list[Value] = []
        new: list[Item] = []
        ranges = [item for item in items if isinstance(item, Range) and self.axis.name in attr_names(item)]
        if ranges:
            raise NotVectorizable("a slice that moves with the index")

        def picked(value: Value, has_axis: bool) -> Item:
            shape = value.type.shape[1:] if has_axis else value.type.shape
            if has_axis:
                gap = (Size.of(1),) * (core - len(shape))
                value = reshape(self.b, value, (value.type.shape[0], *gap, *shape))
            picks.append(value)
            return Pick(len(picks) - 1)

        if lifted:
            new.append(picked(iota(self.b, self.axis.count), True))
        for item in items:
            if isinstance(item, At) and self.axis.name in item.index.names():
                new.append(picked(self.size(item.index), True))
            elif isinstance(item, Pick):
                new.append(picked(*old[item.operand]))
            else:
                new.append(item)
        out: Value = self.b.op("slice", x, *picks, items=tuple(new))
        first = next(n for n, i in enumerate(new) if isinstance(i, Pick))
        before = sum(isinstance(i, Range) for i in new[:first])
        # now [before..., axis, picked core..., rest...]; the core must stand where the first Pick of the node stood
        place = next((n for n, i in enumerate(items) if isinstance(i, Pick)), None)
        ahead = before if place is None else sum(isinstance(i, Range) for i in items[:place])
        rank = out.type.rank
        mine = list(range(before + 1, before + 1 + core))
        others = [n for n in range(rank) if n != before and n not in mine]
        order = [before, *others[:ahead], *mine, *others[ahead:]]
        return permute(self.b, out, [n - rank for n in order])
