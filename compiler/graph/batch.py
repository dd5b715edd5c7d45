"""Batch a graph: some inputs get a leading axis, and so does what depends on them; loops stay rolled.

    f(A, y: f32[m]) -> f32[n]      -->      f(A, y: f32[batch, m]) -> f32[batch, n]

Operands shared by all problems stay as they are (NumPy's rule for generalized ufuncs). How an op takes the axis is in its row of
the op table.
"""

from __future__ import annotations

from collections.abc import Sequence

from .graph import Builder, Graph, LoopBody, Node, Region, Value, free_names
from .ops.common import add_batch, constant
from .ops.table import lookup
from .types import Size, Type, is_integer


def batch(graph: Graph, batched: Sequence[bool], size: str = "batch") -> Graph:
    """The graph for a batch of ``size`` problems; ``batched`` says which inputs have the axis. Every result has it."""
    length = Size.of(size)
    inputs = [_with_axis(v, length) if flag else v for v, flag in zip(graph.inputs, batched, strict=True)]
    b = Builder(graph.name, inputs)
    work = _Batcher(b, length)
    for value, flag in zip(inputs, batched, strict=True):
        work.bind(value.name, value, flag)
    work.nodes(graph.nodes)
    return b.finish([add_batch(b, work.values[r], work.flags[r], length) for r in graph.results])


def _with_axis(value: Value, size: Size) -> Value:
    return Value(value.name, value.type.with_shape(size, *value.type.shape))


class _Batcher:
    def __init__(self, b: Builder, size: Size) -> None:
        self.b = b
        self.size = size
        self.values: dict[str, Value] = {}
        self.flags: dict[str, bool] = {}
        self.taken: Value | None = None  # inside a branch that only some problems take: which

    def bind(self, name: str, value: Value, flag: bool) -> None:
        self.values[name] = value
        self.flags[name] = flag

    def nodes(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            self.b.span = node.span
            if node.op == "for":
                self.loop(node)
            elif not any(self.flags[n] for n in free_names(node)):
                self.copy(node)
            elif node.op == "if":
                self.branch(node)
            else:
                self.op(node)

    def copy(self, node: Node) -> None:
        copied = self.b.copy(node, {n: self.values[n].name for n in free_names(node)})
        self.b.append(copied)
        for old, new in zip(node.outputs, copied.outputs, strict=True):
            self.bind(old.name, new, False)

    def op(self, node: Node) -> None:
        rule = lookup(node.op).batch
        assert rule is not None, f"{node.op} takes no batch"
        operands = [self.values[n] for n in node.inputs]
        flags = [self.flags[n] for n in node.inputs]
        for n in self._guarded(node):
            operands[n], flags[n] = self._where_taken(operands[n], flags[n]), True
        found = rule(self.b, node, tuple(operands), tuple(flags), self.size)
        for old, new in zip(node.outputs, found, strict=True):
            self.bind(old.name, new, True)

    def _guarded(self, node: Node) -> list[int]:
        """Operands on which a node may fail, if it is in a branch that its problem may not have taken."""
        if self.taken is None:
            return []
        if node.op == "assert":
            return [0]
        picks = {"slice": 1, "update": 2}.get(node.op)
        if picks is not None:
            return list(range(picks, len(node.inputs)))
        if node.op in ("take_along", "scatter_add") or (node.op in ("floordiv", "mod") and is_integer(node.output.type.dtype)):
            return [1]
        return []

    def _where_taken(self, value: Value, flag: bool) -> Value:
        """``value``, harmless (true, index 0, divisor 1) in problems that do not take the branch."""
        assert self.taken is not None
        harmless = constant(self.b, 1 if value.type.dtype == "bool" else 0, value.type.dtype)
        return self.choose(self.taken, (value, flag), (harmless, False))

    def choose(self, test: Value, then: tuple[Value, bool], otherwise: tuple[Value, bool]) -> Value:
        """``where`` on a batched bool scalar."""
        rule = lookup("where").batch
        assert rule is not None
        core = then[0].type.with_shape(*then[0].type.shape[then[1] :])
        where = Node("where", (test.name, then[0].name, otherwise[0].name), (Value("", core),))
        (out,) = rule(self.b, where, (test, then[0], otherwise[0]), (True, then[1], otherwise[1]), self.size)
        return out

    def spread(self, name: str, flag: bool) -> Value:
        """A value with the axis if ``flag``."""
        value = self.values[name]
        return add_batch(self.b, value, self.flags[name], self.size) if flag else value

    def loop(self, node: Node) -> None:
        region, count, stacked = node.regions[0], len(node.regions[0].args), node.attr("stacked", 0)
        carried = [self.flags[n] for n in node.inputs]
        while True:
            flags = dict(self.flags) | {a.name: f for a, f in zip(region.args, carried, strict=True)}
            _mark(region.nodes, flags)
            own_stop = bool(node.attr("until")) and flags[region.results[-1]]
            after = [f or flags[r] or own_stop for f, r in zip(carried, region.results, strict=False)]
            if after == carried:
                break
            carried = after
        stack_flags = [flags[r] or own_stop for r in region.results[count : count + stacked]]
        start = [self.spread(n, f) for n, f in zip(node.inputs, carried, strict=True)]

        def body(*args: Value) -> LoopBody:
            for arg, value, flag in zip(region.args, args, carried, strict=True):
                self.bind(arg.name, value, flag)
            self.nodes(region.nodes)
            ends = [self.spread(r, f) for r, f in zip(region.results, carried, strict=False)]
            rows = [self.spread(r, f) for r, f in zip(region.results[count : count + stacked], stack_flags, strict=True)]
            return LoopBody(tuple(ends), tuple(rows), self.values[region.results[-1]] if node.attr("until") else None)

        bounds = (node.attr("lower"), node.attr("upper"))
        found = self.b.loop(node.attr("index"), *bounds, start, body, step=node.attr("step"), names=node.attr("names", ()),
                            stack_size=node.attr("stack_size"))  # fmt: skip
        for out, value, flag in zip(node.outputs, found, [*carried, *stack_flags], strict=True):
            if flag and out in node.outputs[count:]:
                rank = value.type.rank
                value = self.b.op("permute", value, axes=(1 - rank, -rank, *range(2 - rank, 0)))
            self.bind(out.name, value, flag)

    def branch(self, node: Node) -> None:
        condition = node.inputs[0]
        if self.flags[condition]:
            test, around = self.values[condition], self.taken
            sides: list[list[tuple[Value, bool]]] = []
            for region, side_test in zip(node.regions, (test, self.b.op("not", test)), strict=True):
                self.taken = side_test if around is None else self.b.op("and", around, side_test)
                self.nodes(region.nodes)
                sides.append([(self.values[r], self.flags[r]) for r in region.results])
            self.taken = around
            for out, then, otherwise in zip(node.outputs, *sides, strict=True):
                self.bind(out.name, self.choose(test, then, otherwise), True)
            return
        flags = dict(self.flags)
        _mark([node], flags)
        wanted = [flags[v.name] for v in node.outputs]

        def side(region: Region) -> list[Value]:
            self.nodes(region.nodes)
            return [self.spread(r, f) for r, f in zip(region.results, wanted, strict=True)]

        regions = tuple(self.b.region([], lambda r=r: side(r)) for r in node.regions)
        types = tuple(
            v.type if not f else Type(v.type.dtype, (self.size, *v.type.shape)) for v, f in zip(node.outputs, wanted, strict=True)
        )
        found = self.b.op("if", self.values[condition], regions=regions, types=types)
        for out, value, flag in zip(node.outputs, found if isinstance(found, tuple) else (found,), wanted, strict=True):
            self.bind(out.name, value, flag)


def _mark(nodes: Sequence[Node], flags: dict[str, bool]) -> None:
    """Extend ``flags`` to the outputs of ``nodes``: batched if anything they read is."""
    for node in nodes:
        if node.op == "for":
            region = node.regions[0]
            carried = [flags[n] for n in node.inputs]
            while True:
                flags.update((a.name, f) for a, f in zip(region.args, carried, strict=True))
                _mark(region.nodes, flags)
                stop = bool(node.attr("until")) and flags[region.results[-1]]
                after = [f or flags[r] or stop for f, r in zip(carried, region.results, strict=False)]
                if after == carried:
                    break
                carried = after
            stacked = [flags[r] or stop for r in region.results[len(carried) : len(node.outputs)]]
            flags.update((v.name, f) for v, f in zip(node.outputs, [*carried, *stacked], strict=True))
        elif node.op == "if":
            for region in node.regions:
                _mark(region.nodes, flags)
            for n, out in enumerate(node.outputs):
                flags[out.name] = flags[node.inputs[0]] or any(flags[r.results[n]] for r in node.regions)
        else:
            found = any(flags[n] for n in free_names(node))
            flags.update((v.name, found) for v in node.outputs)
