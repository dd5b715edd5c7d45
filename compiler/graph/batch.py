"""Batch a graph: some inputs get a leading axis, and so does what depends on them; loops stay rolled.

    f(A, y: f32[m]) -> f32[n]      -->      f(A, y: f32[batch, m]) -> f32[batch, n]

Operands shared by all problems stay as they are (NumPy's rule for generalized ufuncs). How an op takes the axis is in its row of
the op table.
"""

from __future__ import annotations

from collections.abc import Sequence

from .graph import Builder, Graph, LoopBody, Node, Region, Value, free_names, region_captures, walk
from .ops.common import add_batch, constant
from .ops.table import lookup
from .types import Size, Type, is_complex, is_floating, is_integer


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


#: Ops that fail on data: an index out of range, at operands from this position on.
PICKING = {"slice": 1, "update": 2, "take_along": 1, "scatter_add": 1}


def guarded(node: Node) -> Sequence[int]:
    """Operands on which a node may fail; where a problem does not take its branch they get harmless values (0, 1, true)."""
    if node.op == "assert":
        return (0,)
    if node.op in ("floordiv", "mod"):
        return (1,) if is_integer(node.output.type.dtype) else ()
    first = PICKING.get(node.op, len(node.inputs))
    return range(first, len(node.inputs) if node.op in ("slice", "update") else min(first + 1, len(node.inputs)))


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
            elif not any(self.flags[n] for n in free_names(node)) and not (self.taken and (node.regions or guarded(node))):
                self.copy(node)
            elif node.op == "if":
                self.branch(node)
            elif node.op == "solve_cg":
                self.solve(node)
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
        if self.taken is not None:
            for n in guarded(node):
                harmless = constant(self.b, 0 if node.op in PICKING else 1, operands[n].type.dtype)
                operands[n], flags[n] = self.choose(self.taken, (operands[n], flags[n]), (harmless, False)), True
        found = rule(self.b, node, tuple(operands), tuple(flags), self.size)
        for old, new in zip(node.outputs, found, strict=True):
            self.bind(old.name, new, True)

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
        found = self.mark_loop(node, dict(self.flags), self.taken is not None)
        carried, stack_flags = found[:count], found[count:]
        start = [self.spread(n, f) for n, f in zip(node.inputs, carried, strict=True)]

        def body(*args: Value) -> LoopBody:
            for arg, value, flag in zip(region.args, args, carried, strict=True):
                self.bind(arg.name, value, flag)
            self.nodes(region.nodes)
            ends = [self.spread(r, f) for r, f in zip(region.results, carried, strict=False)]
            rows = [self.spread(r, f) for r, f in zip(region.results[count : count + stacked], stack_flags, strict=True)]
            return LoopBody(tuple(ends), tuple(rows), self.values[region.results[-1]] if node.attr("until") else None)

        bounds = (node.attr("lower"), node.attr("upper"))
        finals = self.b.loop(node.attr("index"), *bounds, start, body, step=node.attr("step"), names=node.attr("names", ()),
                            stack_size=tuple(v.type.shape[0] for v in node.outputs[count:]))  # fmt: skip
        for out, value, flag in zip(node.outputs, finals, found, strict=True):
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
                outside = [(name, self.values[name], self.flags[name]) for name in self.shielded(region)]
                for name, value, flag in outside:
                    kept = self.b.op("stop_gradient", value)
                    self.bind(name, self.choose(side_test, (value, flag), (kept, flag)), True)
                self.nodes(region.nodes)
                sides.append([(self.values[r], self.flags[r]) for r in region.results])
                for name, value, flag in outside:
                    self.bind(name, value, flag)
            self.taken = around
            for out, then, otherwise in zip(node.outputs, *sides, strict=True):
                self.bind(out.name, self.choose(test, then, otherwise), True)
            return
        flags = dict(self.flags)
        self.mark([node], flags, self.taken is not None)
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

    def shielded(self, region: Region) -> list[str]:
        """What a branch reads with a derivative, but for shared weights of modules: a problem that does not take the branch reads the same
        values without one. Its cotangents are zero, which an infinite derivative inside would make NaN."""
        weights = {n for node in walk(region.nodes) if node.op in ("module", "vjp") for n in node.inputs if not self.flags.get(n, True)}
        types = {name: self.values[name].type.dtype for name in sorted(region_captures(region) - weights)}
        return [name for name, dtype in types.items() if is_floating(dtype) or is_complex(dtype)]

    def solve(self, node: Node) -> None:
        """A solve: the problems are further systems side by side."""
        region = node.regions[0]
        operands = [self.spread(n, True) for n in node.inputs]

        def operator(x: Value) -> list[Value]:
            self.bind(region.args[0].name, x, True)
            self.nodes(region.nodes)
            return [self.spread(region.results[0], True)]

        made = self.b.region([(region.args[0].name, operands[0].type)], operator)
        self.bind(node.output.name, self.b.op(node.op, *operands, regions=(made,), **dict(node.attrs)), True)

    def mark(self, nodes: Sequence[Node], flags: dict[str, bool], inside: bool) -> None:
        """Extend ``flags`` to the outputs of ``nodes``: batched if anything they read is. ``inside`` a branch that not every
        problem takes, so is what may fail."""
        for node in nodes:
            if node.op == "for":
                self.mark_loop(node, flags, inside)
            elif node.op == "if":
                split = inside or flags[node.inputs[0]]
                for region in node.regions:
                    self.mark(region.nodes, flags, split)
                for n, out in enumerate(node.outputs):
                    flags[out.name] = flags[node.inputs[0]] or any(flags[r.results[n]] for r in node.regions)
            else:
                found = any(flags[n] for n in free_names(node)) or (inside and len(guarded(node)) > 0)
                flags.update((v.name, found) for v in node.outputs)

    def mark_loop(self, node: Node, flags: dict[str, bool], inside: bool) -> list[bool]:
        """Which of a loop's outputs are batched; a carried value is if it is in any iteration."""
        region = node.regions[0]
        carried = [flags[n] for n in node.inputs]
        while True:
            flags.update((a.name, f) for a, f in zip(region.args, carried, strict=True))
            self.mark(region.nodes, flags, inside)
            stop = bool(node.attr("until")) and flags[region.results[-1]]  # problems stop one by one
            after = [f or flags[r] or stop for f, r in zip(carried, region.results, strict=False)]
            if after == carried:
                break
            carried = after
        found = carried + [flags[r] or stop for r in region.results[len(carried) : len(node.outputs)]]
        flags.update((v.name, f) for v, f in zip(node.outputs, found, strict=True))
        return found
