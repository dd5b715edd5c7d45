"""The dataflow graph: immutable nodes in execution order, loops as regions.

Values are in static single assignment form and referred to by name; names are unique in a
graph (``%`` in the printed form is not part of them). A region sees the values of the code
around it. Loop indices are names that sizes may use (``slice theta [k]``), not values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..diagnostics import Span
from .types import Size, SizeLike, Type, range_length

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class Value:
    """A named value of a type."""

    name: str
    type: Type

    def __str__(self) -> str:
        return f"%{self.name}: {self.type}"


@dataclass(frozen=True)
class Region:
    """Code inside a node: ``args`` are bound by the node, ``results`` are value names."""

    args: tuple[Value, ...]
    nodes: tuple[Node, ...]
    results: tuple[str, ...]


@dataclass(frozen=True)
class Node:
    """One operation. ``attrs`` are sorted (key, value) pairs of hashable values."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[Value, ...]
    attrs: tuple[tuple[str, Any], ...] = ()
    regions: tuple[Region, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)

    def attr(self, key: str, default: Any = None) -> Any:
        """The attribute, or ``default``."""
        return dict(self.attrs).get(key, default)

    def with_attrs(self, **changes: Any) -> Node:
        """A copy with some attributes set."""
        return replace(self, attrs=make_attrs({**dict(self.attrs), **changes}))

    @property
    def output(self) -> Value:
        """The only output. Raises ValueError if there are several."""
        (out,) = self.outputs
        return out


def make_attrs(attrs: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Attributes in canonical order, None dropped, every NaN the same object (so that equal graphs compare equal)."""
    kept = {k: math.nan if isinstance(v, float) and v != v else v for k, v in attrs.items() if v is not None}
    return tuple(sorted(kept.items(), key=lambda item: item[0]))


@dataclass(frozen=True)
class Graph:
    """A function: ``inputs`` to ``results`` (names of inputs or of node outputs)."""

    name: str
    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    results: tuple[str, ...]

    @cached_property
    def types(self) -> dict[str, Type]:
        """The type of every value, those inside regions included."""
        found = {v.name: v.type for v in self.inputs}
        for node in walk(self.nodes):
            found.update((v.name, v.type) for v in node.outputs)
            for region in node.regions:
                found.update((v.name, v.type) for v in region.args)
        return found

    @cached_property
    def used(self) -> frozenset[str]:
        """The names of what nodes read, and of the results: inputs that are none of these might as well not be there."""
        return frozenset(self.results).union(*map(free_names, self.nodes))

    @cached_property
    def result_types(self) -> tuple[Type, ...]:
        """Types of the results, in order."""
        return tuple(self.types[r] for r in self.results)

    @cached_property
    def dataflow(self) -> nx.DiGraph:
        """Top-level dataflow on networkx: nodes are positions in ``nodes``, edges carry value names."""
        import networkx as nx  # slow to import, and a program is checked without it

        digraph = nx.DiGraph()
        producer: dict[str, int] = {}
        for position, node in enumerate(self.nodes):
            digraph.add_node(position, node=node)
            for name in sorted(free_names(node)):
                if name in producer:
                    digraph.add_edge(producer[name], position, value=name)
            producer.update((v.name, position) for v in node.outputs)
        return digraph


def walk(nodes: Sequence[Node]) -> Iterator[Node]:
    """Every node, outer ones before the ones in their regions."""
    for node in nodes:
        yield node
        for region in node.regions:
            yield from walk(region.nodes)


def loop_indices(graph: Graph) -> list[str]:
    """The names of the indices of its loops, outer ones first."""
    return [node.attr("index") for node in walk(graph.nodes) if node.op == "for"]


def free_names(node: Node) -> frozenset[str]:
    """Names of values a node reads, through its regions too, that it does not define itself."""
    used = set(node.inputs)
    for region in node.regions:
        used |= region_captures(region)
    return frozenset(used)


def region_captures(region: Region) -> frozenset[str]:
    """Names of outer values that a region reads or returns."""
    defined = {v.name for v in region.args}
    used: set[str] = set()
    for node in region.nodes:
        used |= free_names(node) - defined
        defined.update(v.name for v in node.outputs)
    used.update(r for r in region.results if r not in defined)
    return frozenset(used)


@dataclass(frozen=True)
class LoopBody:
    """What the body of a loop under construction returns (see :meth:`Builder.loop`)."""

    carried: tuple[Value, ...]
    stacked: tuple[Value, ...] = ()
    until: Value | None = None


class Builder:
    """Builds a graph node by node; types come from the op table.

    >>> b = Builder("double")
    >>> x = b.input("x", Type.of("real", "n"))
    >>> y = b.op("add", x, x)
    >>> b.finish([y]).result_types[0]
    Type(dtype='real', shape=(n,))
    """

    def __init__(self, name: str, inputs: Sequence[Value] = ()) -> None:
        self.name = name
        self.inputs = list(inputs)
        self.span: Span | None = None  # the default span of nodes built from here on
        self._nodes: list[Node] = []
        self._used = {v.name for v in inputs}
        self.types = {v.name: v.type for v in inputs}  # of every value made so far
        self._counter = 0

    def fresh(self, hint: str = "") -> str:
        """A value name not used before; ``hint`` keeps it readable (``x``, ``x_1``, ...)."""
        if hint and hint not in self._used:
            self._used.add(hint)
            return hint
        while True:
            name = f"{hint}_{self._counter}" if hint else str(self._counter)
            self._counter += 1
            if name not in self._used:
                self._used.add(name)
                return name

    def input(self, name: str, type: Type) -> Value:
        """Declare the next input."""
        value = Value(self.fresh(name), type)
        self.inputs.append(value)
        self.types[value.name] = type
        return value

    def op(self, op: str, /, *inputs: Value, hint: str = "", regions: tuple[Region, ...] = (), **attrs: Any) -> Any:
        """Append a node; its output :class:`Value`, or a tuple of them. Raises ``OpTypeError`` (ops.table)."""
        from .ops.table import infer

        kept = make_attrs(attrs)
        types = infer(op, tuple(v.type for v in inputs), dict(kept))
        outputs = tuple(Value(self.fresh(hint), t) for t in types)
        self.append(Node(op, tuple(v.name for v in inputs), outputs, kept, regions, self.span))
        return outputs[0] if len(outputs) == 1 else outputs

    def append(self, node: Node) -> None:
        """Append a finished node (names of its values must be free)."""
        self._nodes.append(node)
        for inner in walk([node]):
            for value in (*inner.outputs, *(v for region in inner.regions for v in region.args)):
                self._used.add(value.name)
                self.types[value.name] = value.type

    def inline(self, graph: Graph, args: Sequence[Value]) -> list[Value]:
        """Append a copy of ``graph`` applied to ``args`` under fresh names; its results."""
        names = {v.name: a.name for v, a in zip(graph.inputs, args, strict=True)}
        types = {a.name: a.type for a in args}
        for node in graph.nodes:
            copied = self.copy(node, names)
            types.update((v.name, v.type) for v in copied.outputs)
            self.append(copied)
        return [Value(names[r], types[names[r]]) for r in graph.results]

    def copy(self, node: Node, names: dict[str, str]) -> Node:
        """A copy of ``node`` with outputs under fresh names; ``names`` (old to new) grows."""
        inputs = tuple(names.get(n, n) for n in node.inputs)
        regions = []
        for region in node.regions:
            args = tuple(self._renamed(v, names) for v in region.args)
            nodes = tuple(self.copy(inner, names) for inner in region.nodes)
            regions.append(Region(args, nodes, tuple(names.get(r, r) for r in region.results)))
        outputs = tuple(self._renamed(v, names) for v in node.outputs)
        return Node(node.op, inputs, outputs, node.attrs, tuple(regions), node.span)

    def _renamed(self, value: Value, names: dict[str, str]) -> Value:
        base = value.name.rstrip("0123456789").rstrip("_")
        names[value.name] = self.fresh(base)
        return Value(names[value.name], value.type)

    def region(self, args: Sequence[tuple[str, Type]], body: Callable[..., Sequence[Value]]) -> Region:
        """A region built by calling ``body`` with one :class:`Value` per (hint, type) of ``args``."""
        bound = tuple(Value(self.fresh(hint), t) for hint, t in args)
        self.types.update((v.name, v.type) for v in bound)
        outer, self._nodes = self._nodes, []
        try:
            results = tuple(v.name for v in body(*bound))
            return Region(bound, tuple(self._nodes), results)
        finally:
            self._nodes = outer

    def keep(self, live: Callable[[Sequence[Node], set[str]], list[Node]], results: Sequence[Value]) -> None:
        """Of the nodes appended to the region under construction, keep what ``live`` says ``results`` need."""
        self._nodes[:] = live(self._nodes, {v.name for v in results})

    def loop(
        self,
        index: str,
        lower: SizeLike,
        upper: SizeLike,
        carried: Sequence[Value],
        body: Callable[..., LoopBody],
        *,
        step: int = 1,
        names: Sequence[str] = (),
        stack_size: SizeLike | tuple[Size, ...] | None = None,
    ) -> tuple[Value, ...]:
        """Append ``for index in lower..upper by step`` carrying values; returns finals, then stacks.

        ``body(*carried)`` returns a :class:`LoopBody`: next carried values (same types), values
        to stack along a new leading axis, one row per iteration, and for ``until`` a bool scalar
        tested after each body. ``stack_size`` is the length of the stacks, or that of each (default: trip count).
        """
        low, high = Size.of(lower), Size.of(upper)
        trip = range_length(low, high, step)
        made: list[LoopBody] = []

        def build(*args: Value) -> tuple[Value, ...]:
            made.append(body(*args))
            return made[0].carried + made[0].stacked + ((made[0].until,) if made[0].until else ())

        hints = list(names) + [""] * (len(carried) - len(names))
        region = self.region([(h, v.type) for h, v in zip(hints, carried, strict=True)], build)
        result = made[0]
        one = trip if stack_size is None or isinstance(stack_size, tuple) else Size.of(stack_size)
        lengths = stack_size if isinstance(stack_size, tuple) else (one,) * len(result.stacked)
        outputs = [Value(self.fresh(h), v.type) for h, v in zip(hints, carried, strict=True)]
        outputs += [Value(self.fresh(), v.type.with_shape(s, *v.type.shape)) for s, v in zip(lengths, result.stacked, strict=True)]
        attrs = make_attrs(
            {
                "index": index,
                "lower": low,
                "upper": high,
                "step": step,
                "stacked": len(result.stacked),
                "stack_size": lengths[0] if lengths else None,
                "until": True if result.until else None,
                "names": tuple(names) or None,
            }
        )
        self.append(Node("for", tuple(v.name for v in carried), tuple(outputs), attrs, (region,), self.span))
        return tuple(outputs)

    def taken(self) -> list[Node]:
        """The nodes appended since the last time, which go elsewhere."""
        nodes, self._nodes = self._nodes, []
        return nodes

    def finish(self, results: Sequence[Value]) -> Graph:
        """The graph with these results."""
        return Graph(self.name, tuple(self.inputs), tuple(self._nodes), tuple(v.name for v in results))
