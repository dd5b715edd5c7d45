"""Which calls of modules, and derivatives of them, are of one call: what torch records of it can serve all.

    for j: d = vjp(f; x, 1); stack x                            one call of f in each iteration, its gradient, and a derivative of that
    for j, backwards: e = vjp(vjp(f); row j of the stack, 1, g)

Two nodes are of one call if they stand in one region and have the same operands, or in two loops over the same index, the later one of which
reads rows that the earlier one has stacked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .graph import Node
from .types import At, Range, Size

#: Nodes that rearrange one value.
_VIEWS = ("broadcast", "permute", "reshape", "slice")
#: What the cotangents are, ``wrt`` and ``given``.
Level = tuple[tuple[object, ...], tuple[int, ...], tuple[int, ...]]


@dataclass(eq=False)
class Derivative:
    """A derivative of a call of a module: from the cotangents of results ``given`` of the one ``before`` it (None: of the call) those of
    ``wrt``, which counts the operands of the call and the cotangents of those before."""

    before: Derivative | None
    wrt: tuple[int, ...]
    given: tuple[int, ...]
    further: set[int] = field(default_factory=set)  # what is differentiated in those behind it
    last: bool = True  # whether nobody needs torch's graph afterwards


@dataclass(eq=False)
class Call:
    """A call of a module, with all derivatives of it, in the order in which they are made. ``tape`` names what keeps the calls of all iterations
    of a loop for a later one."""

    name: str
    wrt: set[int] = field(default_factory=set)  # operands that are differentiated
    derivatives: dict[tuple[object, ...], Derivative] = field(default_factory=dict)
    tape: str = ""

    @property
    def shares(self) -> bool:
        """Whether the graph is worth keeping: there is one derivative, or a second one. Code that torch has compiled has no second
        derivatives, and frees its graph with the first."""
        return len(self.derivatives) == 1 or any(d.further for d in self.derivatives.values())

    def add(self, levels: Sequence[Level], operands: int) -> list[Derivative]:
        """The derivatives of these levels, the lowest first, each one of that before it."""
        found: list[Derivative] = []
        for depth, (_, wrt, given) in enumerate(levels):
            self.wrt |= {n for n in wrt if n < operands}
            for lower in found:
                lower.further |= set(wrt)
            key = tuple(levels[: depth + 1])
            if key not in self.derivatives:
                for other in self.derivatives.values():
                    other.last = False
                self.derivatives[key] = Derivative(found[-1] if found else None, wrt, given)
            found.append(self.derivatives[key])
        return found


@dataclass(frozen=True)
class Member:
    """A node of a call: its attributes, the names of the operands, and the derivatives up to it with the names of their cotangents. What is
    recorded goes by the name ``record`` in its region; ``index`` is that of the loop around, whose iterations the tape keeps apart."""

    call: Call
    attrs: tuple[tuple[str, Any], ...]
    names: tuple[str, ...]
    path: tuple[tuple[Derivative, tuple[str, ...]], ...]
    record: str
    index: str
    takes: bool  # from the tape, what an earlier loop has put there

    @property
    def tape(self) -> str:
        """The name of the tape, if there is one."""
        return self.call.tape if self.index else ""


class Calls:
    """The calls of a graph: ``members`` by the identity of nodes, and ``done``, the tapes that nobody needs behind a loop."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.members: dict[int, Member] = {}
        self.done: dict[int, list[str]] = {}
        self._same: dict[str, object] = {}  # what a value is by, where that is not its own name
        self._makers: dict[str, Node] = {}
        self._rows: dict[str, tuple[str, str]] = {}  # stacks of loops: what is stacked, and by which index
        self._region(nodes, "", {})
        self.members = {place: one for place, one in self.members.items() if one.call.shares}

    def _region(self, nodes: Sequence[Node], index: str, before: Mapping[object, Call]) -> dict[object, Call]:
        """Calls by what tells them apart; ``before``: those of earlier loops over the same index, which the region may go on with."""
        known: dict[object, Call] = {}
        loops: dict[str, dict[object, Call]] = {}
        for node in nodes:
            self._makers.update((v.name, node) for v in node.outputs)
            if node.op in _VIEWS:
                self._same[node.output.name] = self._row(node, index) or (node.op, node.attrs, *map(self._value, node.inputs))
            elif node.op == "for":
                self._loop(node, loops)
            elif node.op != "kernel":
                for region in node.regions if node.op == "if" else ():
                    self._region(region.nodes, "", {})
                self._called(node, index, known, before)
        return known

    def _loop(self, node: Node, loops: dict[str, dict[object, Call]]) -> None:
        (region,) = node.regions
        index, plain = node.attr("index"), not node.attr("until")
        earlier = loops.get(index, {}) if plain else {}
        made = self._region(region.nodes, index if plain else "", earlier)
        if not plain:
            return
        loops[index] = earlier | made
        count = len(region.args)
        for row, output in zip(region.results[count:], node.outputs[count:], strict=True):
            self._rows[output.name] = row, index
        taken = {m.call.tape for n in region.nodes if (m := self.members.get(id(n))) is not None and m.takes}
        for places in self.done.values():
            places[:] = [p for p in places if p not in taken]
        self.done[id(node)] = sorted(taken)

    def _value(self, name: str) -> object:
        return self._same.get(name, name)

    def _row(self, node: Node, index: str) -> object | None:
        """What an iteration of an earlier loop has stacked, if a slice is that row of it which belongs to the iteration at hand."""
        if node.op != "slice" or not index:
            return None
        axes: list[int] | None = None
        source = node.inputs[0]
        maker = self._makers.get(source)
        if maker is not None and maker.op == "permute":
            rank = len(maker.attr("axes"))
            axes = [a + rank for a in maker.attr("axes")]
            source = maker.inputs[0]
        if source not in self._rows or self._rows[source][1] != index:
            return None
        items = list(node.attr("items"))
        at = axes.index(0) if axes is not None else 0
        rest = axes[:at] + axes[at + 1 :] if axes is not None else []
        if items.pop(at) != At(Size.of(index)) or rest != sorted(rest):
            return None
        whole = all(isinstance(i, Range) and i == Range(Size.of(0), s) for i, s in zip(items, node.output.type.shape, strict=True))
        return self._value(self._rows[source][0]) if whole else None

    def _called(self, node: Node, index: str, known: dict[object, Call], before: Mapping[object, Call]) -> None:
        op, attrs, names = node.op, node.attrs, node.inputs
        cotangents: list[tuple[str, ...]] = []
        levels: list[Level] = []
        while op == "vjp":
            outer = dict(attrs)
            cotangents.insert(0, names[outer["inputs"] :])
            levels.insert(0, (tuple(map(self._value, cotangents[0])), outer["wrt"], outer["given"]))
            op, attrs, names = outer["op"], outer["op_attrs"], names[: outer["inputs"]]
        if op != "module":
            return
        key = (attrs, tuple(map(self._value, names)))
        takes = key in before
        call = known[key] = known.get(key) or before.get(key) or Call(node.outputs[0].name)
        if takes:
            call.tape = f"tape of {call.name}"
        path = tuple(zip(call.add(levels, len(names)), cotangents, strict=True))
        record = f"{'copy' if takes else 'record'} of {call.name}"
        self.members[id(node)] = Member(call, attrs, names, path, record, index, takes)
