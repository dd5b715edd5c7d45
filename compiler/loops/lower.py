"""Lower a graph to a nest: affine statements over integer sets, in program order.

    x = soft(x - step[k] * g, t)   -->   S7[t0, i3] : x[i3] = max(...)      0 <= t0 < K, 0 <= i3 < 500

Each value is stored or stays an expression inside its users; a loop's carried values live in one array
each, written in place where no reader of the old value is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..diagnostics import CompileError, Span
from ..graph.chosen import chosen_only
from ..graph.graph import Graph, Node, Region, Value, free_names, region_captures
from ..graph.reciprocal import shared_reciprocals
from ..graph.specialize import size_names
from ..graph.types import HALF, Size, Type, range_length, size_fn
from . import lazy as lz
from .expand import rule_for
from .isl import NotAffine, safe
from .lazy import Index, Lazy, stored
from .nest import (
    Access,
    Apply,
    ArrayInfo,
    Dim,
    Exit,
    Expr,
    Guard,
    Leaf,
    LoopOrder,
    Nest,
    Order,
    Statement,
    Whole,
    accesses,
    exits,
    leaves,
    sequence,
    size_values,
)
from .passed_over import PassedOver, passed_over
from .storing import note_uses, worth_storing
from .tree import Literal


class CannotExpand(CompileError):
    """An op has no expansion into affine statements; it runs on the host."""


def filled(node: Node) -> int:
    """How many of the stacks of a loop with ``until`` have rows after the last iteration that somebody reads."""
    return int(node.attr("stacked", 0)) - int(node.attr("loose", 0))


@dataclass
class Frame:
    """One region being lowered: which values it defines and where each is used last."""

    defined: set[str]
    last: dict[str, float]
    loop: bool
    position: int = -1

    def live(self, name: str) -> bool:
        """Whether a value is still needed after the node being lowered."""
        if name in self.defined:
            return self.last.get(name, -1) > self.position
        return name in self.last if self.loop else self.last.get(name, -1) > self.position


@dataclass
class Lowering:
    """The state of lowering one graph. The table in :mod:`.expansion` holds what is done per op."""

    graph: Graph
    accumulate: bool
    strict: bool = False
    beside: bool = False  # whether problems will lie side by side
    debug: bool = False  # whether operations and statements keep where they come from
    tests: tuple[Expr, ...] = ()  # what must hold for results here to be chosen
    scope: dict[str, Lazy] = field(default_factory=dict)
    arrays: dict[str, ArrayInfo] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    items: list[Order] = field(default_factory=list)
    dims: list[Dim] = field(default_factory=list)
    guards: tuple[Guard, ...] = ()
    env: dict[str, Size] = field(default_factory=dict)  # graph loop index -> expression over dims
    frames: list[Frame] = field(default_factory=list)
    targets: dict[str, str] = field(default_factory=dict)  # value -> array it should end in
    stacks: dict[str, list[tuple[str, Size]]] = field(default_factory=dict)  # value -> arrays and rows that record it
    wide: dict[str, float] = field(default_factory=dict)  # value -> elements of the widest use
    uses: dict[str, int] = field(default_factory=dict)
    handed: dict[str, str] = field(default_factory=dict)  # stacks that are results and nothing else -> their outputs
    counter: int = 0
    span: Span | None = None
    making: tuple[str, ...] = ()  # the outputs of the node that is lowered
    passing: dict[str, None] = field(default_factory=dict)  # values that were not stored and that a statement under construction computes

    @cached_property
    def chosen(self) -> frozenset[str]:
        """Values that only branches of ``where`` see."""
        return chosen_only(self.graph)

    # -- names and sizes ---------------------------------------------------------------------------------------

    def fresh(self, prefix: str) -> str:
        """A name not used before."""
        self.counter += 1
        return f"{prefix}{self.counter - 1}"

    def size(self, size: Size) -> Size:
        """A size of the graph over the dims of the nest."""
        return size.substitute(self.env)

    def type(self, type: Type) -> Type:
        """A type with its sizes over dims."""
        return type.substitute(self.env)

    def bound(self, size: Size) -> Size:
        """An upper bound of a size that names no dim."""
        for dim in reversed(self.dims):
            if dim.name not in size.names():
                continue
            affine = size.affine()
            if (
                affine is None
                or dim.name not in affine[0]
                or any(not isinstance(x, str) and dim.name in x.names() for x in affine[0])
            ):
                raise CannotExpand(f"no bound for the size {size} over {dim.name}")
            size = size.substitute({dim.name: dim.upper - 1 if affine[0][dim.name] > 0 else dim.lower})
        return size if size.constant is None else Size.of(max(0, size.constant))

    # -- arrays and statements ---------------------------------------------------------------------------------

    def new_array(self, hint: str, type: Type, scope: str = "problem") -> str:
        """Declare storage for a value of a type."""
        base = safe(hint) if hint and not hint[0].isdigit() else "v" + hint
        name = base if base not in self.arrays and not base.startswith("_") else self.fresh(base + "_")
        while name in self.arrays:
            name = self.fresh(base + "_")
        self.arrays[name] = ArrayInfo(name, type.dtype, tuple(self.bound(s) for s in type.shape), scope)
        return name

    def emit(self, extents: Sequence[Size], make: Callable[[Index], tuple[Access, Expr]], reduce: str = "",
             order: Callable[[Access, Expr, list[str]], list[str]] | None = None) -> None:  # fmt: skip
        """Append ``write reduce= value`` for all points of a box; ``order`` may permute its loops."""
        own = [Dim(self.fresh("i"), e) for e in extents]
        self.passing.clear()
        write, value = make(tuple(Size.of(d.name) for d in own))
        values = tuple(dict.fromkeys([*self.passing, *self.making]))
        names = [d.name for d in own]
        if order is not None:
            names = order(write, value, names)
        ranked = {d.name: d for d in own}
        dims = (*self.dims, *(ranked[n] for n in names))
        if dims and not reduce and not self.strict and dims[-1].name not in write.names():
            reduce, value = accumulation(write, value)
        around = tuple((n, i) for n, i in self.env.items() if i != Size.of(n)) if self.debug else None  # indices, not counts
        statement = Statement(self.fresh("S"), dims, write, value, reduce, self.guards, span=self.span, values=values, around=around,
                              tests=self.tests if self.debug else ())  # fmt: skip
        self._place(statement, names)

    def emit_call(self, routine: str, outputs: Sequence[Whole], inputs: Sequence[Whole], integers: Sequence[Size] = ()) -> None:
        """Append a call of a run-time routine."""
        first = Access(outputs[0].array, outputs[0].index, outputs[0].dtype)
        statement = Statement(self.fresh("S"), tuple(self.dims), first, Literal(0, first.dtype), "", self.guards, routine,
                              tuple(outputs), tuple(inputs), tuple(integers), span=self.span, values=self.making)  # fmt: skip
        self._place(statement, [])

    def _place(self, statement: Statement, own: list[str]) -> None:
        order: Order = Leaf(statement.name)
        for name in reversed(own):
            order = LoopOrder(name, ((statement.name, _aligned(statement.write.index, name)),), order)
        self.statements.append(statement)
        self.items.append(order)

    def store(self, value: Lazy, array: str, reduce: str = "") -> None:
        """Append ``array = value``, or an accumulation into it."""
        if value.array != array:
            self.emit(value.type.shape, lambda i: (Access(array, i, value.type.dtype), value.element(i)), reduce)

    def in_array(self, value: Lazy, hint: str = "") -> Lazy:
        """The value, stored in an array if it is not yet."""
        if value.array is not None:
            return value
        array = self.new_array(hint, value.type)
        making, self.making = self.making, (hint,) if hint in self.scope else self.making
        self.store(value, array)
        self.making = making
        return stored(array, value.type)

    # -- who still needs an array ------------------------------------------------------------------------------

    def protect(self, array: str, extra: Iterable[str] = ()) -> bool:
        """Make it safe to overwrite an array: expressions over it that are needed later are stored first.

        False if the old content itself is needed later (or what needs it was made outside this region).
        """
        info = self.arrays[array]
        if info.scope == "input":
            return False
        also = set(extra)
        readers = [n for n, v in self.scope.items() if array in v.reads]
        pending = [n for n in readers if n in also or any(f.live(n) for f in self.frames)]
        if any(self.scope[n].array == array or n not in self.frames[-1].defined for n in pending):
            return False
        for name in pending:
            self.scope[name] = self.in_array(self.scope[name], name)
        return True

    def reads_elsewhere(self, array: str, write: Index, value: Expr) -> bool:
        """Whether a value reads an array at another index than the one it is written to."""
        return any(a.array == array and a.index != write for a in accesses(value))

    # -- regions -----------------------------------------------------------------------------------------------

    def run_nodes(self, nodes: Sequence[Node], results: Sequence[str], defined: Iterable[str], loop: bool) -> None:
        """Lower the nodes of a region in order."""
        last: dict[str, float] = {}
        for position, node in enumerate(nodes):
            for name in free_names(node):
                last[name] = position
        for name in results:
            last[name] = float("inf")
        names = set(defined).union(*({v.name for v in n.outputs} for n in nodes))
        self.frames.append(Frame(names, last, loop))
        outer_span, outer = self.span, self.making
        note_uses(self, nodes, results, loop)
        for position, node in enumerate(nodes):
            self.frames[-1].position = position
            self.span, self.making = node.span or outer_span, tuple(v.name for v in node.outputs)
            self.expand(node)
            for out in node.outputs:
                if out.name in self.scope:  # nothing reads the others: they are not made
                    self.scope[out.name] = self._noting(out.name, self.scope[out.name])
                self._record(out.name)
        self.frames[-1].position = len(nodes)
        self.span, self.making = outer_span, outer

    def _noting(self, name: str, value: Lazy) -> Lazy:
        """A value that is an expression: statements which compute it in passing note its name."""
        if value.array is not None:
            return value
        element = value.element

        def noted(index: Index) -> Expr:
            self.passing[name] = None
            return element(index)

        return replace(value, element=noted)

    def end_region(self) -> None:
        """Forget the values of the region lowered last."""
        for name in self.frames.pop().defined:
            self.scope.pop(name, None)

    def expand(self, node: Node) -> None:
        """Lower one node."""
        rule = rule_for(node.op)
        if rule is None:
            raise CannotExpand(f"{node.op} has no expansion into loops")
        try:
            rule(self, node)
        except NotAffine as error:
            raise CannotExpand(f"{node.op}: {error}") from None

    def define(self, out: Value, value: Lazy) -> None:
        """Bind an output: store it if that pays, else keep the expression."""
        if self.debug and value.array is None:
            value = lz.placed(value, self.span)
            if out.name in self.chosen:  # computed where it is chosen
                self.scope[out.name] = value
                return
        if value.array is None and worth_storing(self, out.name, value):
            target = self.targets.get(out.name)
            if target is not None and not self._can_take(target, value):
                target = None
            if target is not None or value.cost:
                array = target or self.new_array(out.name, value.type)
                self.store(value, array)
                value = stored(array, value.type)
        self.scope[out.name] = value

    def _can_take(self, target: str, value: Lazy) -> bool:
        probe = tuple(Size.of(f"p{n}") for n in range(value.type.rank))
        if target in value.reads and self.reads_elsewhere(target, probe, value.element(probe)):
            return False
        return self.protect(target)

    def loop(self, node: Node) -> None:
        """Lower a ``for`` node; its index becomes ``lower + step * t``."""
        step = node.attr("step")
        lower, upper = self.size(node.attr("lower")), self.size(node.attr("upper"))
        trip = range_length(lower, upper, step)
        skipping = passed_over(node)
        if skipping is not None and self._known_outside(skipping):
            node = skipping.loop
        else:
            skipping = None
        region = node.regions[0]
        buffers = self._carry_buffers(node, region)
        t = Dim(self.fresh("t"), trip)
        count, total = len(region.args), len(node.outputs)
        until = region.results[total] if node.attr("until") else None
        exit = None
        ended = self._ended(trip, filled(node)) if until else ""
        if skipping is not None:
            env = {**self.env, node.attr("index"): lower + step * Size.of(t.name)}
            exit = Exit(Apply("not", (skipping.condition(self._scalar, env),), "bool"), False)
        if until:
            exit = Exit(Access(ended, (Size.of(t.name),), "bool"), True)
        stacks = []
        for out in node.outputs[count:]:
            stacks.append(self._new_stack(out.name, self.type(out.type), trip))
        saved_items, saved_env, saved_targets = self.items, dict(self.env), self.targets
        self.items, self.dims = [], [*self.dims, t]
        self.env[node.attr("index")] = lower + step * Size.of(t.name)
        self.targets = dict(zip(region.results, buffers, strict=False))
        for arg, buffer in zip(region.args, buffers, strict=True):
            self.scope[arg.name] = stored(buffer, self.type(arg.type))
        made = {v.name for n in region.nodes for v in n.outputs} | {a.name for a in region.args}
        late = []
        for name, stack in zip(region.results[count:total], stacks, strict=True):
            if name in made:
                self.stacks.setdefault(name, []).append((stack, Size.of(t.name)))
            else:
                late.append((name, stack))
        for arg in region.args:
            self._record(arg.name)
        results = [*region.results[:count], *([until] if until else [])]
        self.run_nodes(region.nodes, results, [a.name for a in region.args], True)
        if until:
            test = self.scope[until].element(())
            self.emit([], lambda i: (Access(ended, (Size.of(t.name) + 1,), "bool"), test))
        for name, stack in late:
            self.stacks[name] = [(stack, Size.of(t.name))]
            self._record(name)
        self._write_back(region.results[:count], buffers)
        self.end_region()
        body = sequence(self.items) if self.items else None
        self.items, self.env, self.targets = saved_items, saved_env, saved_targets
        self.dims = self.dims[:-1]
        if body is not None:
            values = tuple((s, Size.of(t.name)) for s in leaves(body))
            self.items.append(LoopOrder(t.name, values, body, "serial", exit))
        for out, array in list(zip(node.outputs[count:], stacks, strict=True))[: filled(node) if until else 0]:
            self._fill(array, self.type(out.type), trip, ended)
        for out, array in zip(node.outputs, [*buffers, *stacks], strict=True):
            self.scope[out.name] = stored(array, self.type(out.type))

    def _known_outside(self, skipping: PassedOver) -> bool:
        """Whether the condition of a loop's iterations looks at data, and of indices at that of the loop only."""
        index, lower = skipping.loop.attr("index"), skipping.loop.attr("lower")
        sizes = [self.size(Size.of(n)) for n in (skipping.sizes() | lower.names()) - {index}]
        values = [self.scope[n] for n in skipping.outer()]
        for value in (v.element(()) for v in values):
            sizes += size_values(value) + [i for a in accesses(value) for i in a.index]
        dims = {d.name for d in self.dims}
        return any(v.reads for v in values) and not any(s.names() & dims for s in sizes)

    def _scalar(self, name: str) -> Expr:
        """A scalar from outside of a loop, where the loop cannot change it."""
        value = self.scope[name]
        if value.reads:
            value = self.scope[name] = self.in_array(value, name)
        return value.element(())

    def _ended(self, trip: Size, stacks: int) -> str:
        """An array that tells before each iteration whether the loop has ended; after that of the last one, if rows of ``stacks`` go on."""
        array = self.new_array("ended", Type("bool", (size_fn("max", self.bound(trip), 0) + 1,)), "kept")
        self.emit([], lambda i: (Access(array, (Size.of(0),), "bool"), Literal(False, "bool")))
        if stacks:
            self.emit([trip], lambda i: (Access(array, (i[0] + 1,), "bool"), Literal(True, "bool")))
        return array

    def _fill(self, array: str, type: Type, trip: Size, ended: str) -> None:
        """Rows of a stack after the last iteration that ran are as the last one."""

        def row(i: Index) -> tuple[Access, Expr]:
            here, before = (Access(array, (at, *i[1:]), type.dtype) for at in (i[0] + 1, i[0]))
            return here, Apply("where", (Access(ended, (i[0] + 1,), "bool"), before, here), type.dtype)

        self.emit([trip - 1, *type.shape[1:]], row)

    def _new_stack(self, hint: str, type: Type, trip: Size) -> str:
        """An array for what a loop stacks. Rows beyond the last iteration are zeros, as in the interpreter."""
        array = self.handed.get(hint) or self.new_array(hint, type)
        written = size_fn("max", trip, 0)
        rest = type.shape[0] - written
        if rest.constant != 0:
            zero = Literal(0, type.dtype)
            self.emit([rest, *type.shape[1:]], lambda i: (Access(array, (i[0] + written, *i[1:]), type.dtype), zero))
        return array

    def _carry_buffers(self, node: Node, region: Region) -> list[str]:
        captured = region_captures(region)
        buffers: list[str] = []
        for name, arg in zip(node.inputs, region.args, strict=True):
            init = self.scope[name]
            own = init.array
            if own is not None and own not in buffers and self.arrays[own].shape == tuple(self.bound(s) for s in init.type.shape):
                others = {n for n in captured if n != name}
                mine = name in self.frames[-1].defined or own in self.targets.values()
                if mine and name not in captured and list(node.inputs).count(name) == 1 and self.protect(own, others):
                    buffers.append(own)
                    continue
            buffer = self.new_array(arg.name, self.type(arg.type))
            self.store(init, buffer)
            buffers.append(buffer)
        return buffers

    def _record(self, name: str) -> None:
        """Store a value that a loop stacks, as soon as it is known."""
        for stack, row in self.stacks.pop(name, ()):
            value = self.scope[name]
            if value.cost:
                value = self.scope[name] = self.in_array(value, name)
            self._emit_row(value, stack, row)

    def _emit_row(self, value: Lazy, stack: str, row: Size) -> None:
        self.emit(value.type.shape, lambda i: (Access(stack, (row, *i), value.type.dtype), value.element(i)))

    def _write_back(self, results: Sequence[str], buffers: Sequence[str]) -> None:
        moves = []
        for name, buffer in zip(results, buffers, strict=True):
            value = self.scope[name]
            if value.array == buffer:
                continue
            others = (value.reads & set(buffers)) - {buffer}
            probe = tuple(Size.of(f"p{n}") for n in range(value.type.rank))
            if others or self.reads_elsewhere(buffer, probe, value.element(probe)):
                array = self.new_array(name, value.type)  # a copy: the carried arrays change under it
                self.store(value, array)
                value = stored(array, value.type)
            moves.append((value, buffer))
        for value, buffer in moves:
            self.store(value, buffer)

    def _only_stacked(self, name: str) -> bool:
        """Whether a result is a stack of a loop that nothing else reads."""
        if self.graph.results.count(name) != 1 or any(name in free_names(n) for n in self.graph.nodes):
            return False
        loops = [n for n in self.graph.nodes if n.op == "for" and not n.attr("until")]
        return any(v.name == name for n in loops for v in n.outputs[len(n.regions[0].args) :])

    # -- the whole ---------------------------------------------------------------------------------------------

    def whole(self) -> Nest:
        """The nest of the graph."""
        graph = self.graph
        self.env = {n: Size.of(safe(n)) for n in size_names(graph)}
        for value in graph.inputs:
            name = self.new_array(value.name, self.type(value.type), "input")
            self.scope[value.name] = stored(name, self.type(value.type))
        types = [self.type(t) for t in graph.result_types]
        outputs = [self.new_array(f"out_{r}", t, "output") for r, t in zip(graph.results, types, strict=True)]
        if not self.accumulate and not self.debug:
            self.handed = {name: a for name, a in zip(graph.results, outputs, strict=True) if self._only_stacked(name)}
        self.run_nodes(graph.nodes, graph.results, [v.name for v in graph.inputs], False)
        for name, array in zip(graph.results, outputs, strict=True):
            self.making = (name,)
            self.store(self.scope[name], array, "add" if self.accumulate else "")
        self.end_region()
        shapes = {n for a in self.arrays.values() for s in a.shape for n in s.names()}
        params = sorted(shapes.union(*(s.params() for s in self.statements)))
        order = sequence(self.items)
        used = set().union(*(s.arrays() for s in self.statements))
        used |= {a.array for loop in exits(order).values() if loop.exit for a in accesses(loop.exit.test)}
        arrays = tuple(a for a in self.arrays.values() if a.name in used or not a.temporary)
        return Nest(safe(graph.name), tuple(params), arrays, tuple(self.statements), order)


#: Ops that are accumulations, and what is accumulated in their place.
_ACCUMULATE = {"add": "add", "sub": "add", "mul": "mul", "maximum": "max", "minimum": "min"}


def accumulation(write: Access, value: Expr) -> tuple[str, Expr]:
    """The operator and the value of ``write op= value``, where a statement is one; else no operator and the value as it is.

    a[i] = a[i] - x     -->     a[i] add= -x
    """
    kind = _ACCUMULATE.get(value.op, "") if isinstance(value, Apply) else ""
    if not kind or not isinstance(value, Apply) or value.dtype != write.dtype or value.dtype in HALF:
        return "", value
    first, second = value.args
    if second == write and value.op != "sub":
        first, second = second, first
    if first != write or second.dtype != write.dtype or write.array in {a.array for a in accesses(second)}:
        return "", value
    return kind, Apply("neg", (second,), value.dtype) if value.op == "sub" else second


def _aligned(index: Index, name: str) -> Size:
    """The loop value of a dim: the position it writes, so that loops over one array line up."""
    for size in index:
        shift = (size - Size.of(name)).constant
        if shift is not None:
            return size
    return Size.of(name)


def lower(graph: Graph, *, accumulate: bool = False, strict: bool = False, beside: bool = False, debug: bool = False) -> Nest:
    """The nest of a graph with concrete dtypes and core sizes (iteration counts may stay names).

    With ``accumulate`` every output is added to what its array holds. With ``beside`` it will be that of several problems side by side:
    selections of few elements are statements even in a single row. With ``debug`` operations and statements keep their place in the program, and
    their loops there. Unless ``strict``, divisions by one root share its
    reciprocal. Raises CannotExpand for ops that are library calls and data-dependent indices.
    """
    return Lowering(graph if strict else shared_reciprocals(graph), accumulate, strict, beside, debug).whole()
