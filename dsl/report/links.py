"""Which lines of the stages of a kernel belong together.

A statement of the nest is what links them: it knows the values of the graph that it was made for, these know their places in the program,
and lines of the source know the statements that they are printed for (:mod:`~...backends.origins`). A value that no statement computes has a
link of its own, between the graph and the program.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from ...compiler.diagnostics import Source
from ...compiler.driver import Compiled
from ...compiler.graph.graph import Graph, Node, walk
from ...compiler.loops.nest import Nest

#: Nodes that stand for no work; equal ones are one node.
_LITERALS = ("const", "size_value")
#: Colours that statements are told apart by; they are reused.
COLOURS = 8


@dataclass(frozen=True)
class Tag:
    """What a line is linked by: numbers that it shares with others. ``wide``: they are those of lines inside, as of a loop; ``colours`` are
    those of its statements, else."""

    numbers: tuple[int, ...] = ()
    wide: bool = False
    colours: tuple[int, ...] = ()


class Links:
    """Numbers for what lines are linked by."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, ...], int] = {}
        self._colours: dict[int, int] = {}

    def number(self, *key: str) -> int:
        """The number of what a key names."""
        return self._numbers.setdefault(key, len(self._numbers))

    def colour(self, number: int, colour: int) -> None:
        """Say which colour a statement has."""
        self._colours[number] = colour % COLOURS

    def tag(self, numbers: Iterable[int], *, wide: bool = False) -> Tag:
        """A tag with the colours of its statements."""
        found = tuple(dict.fromkeys(numbers))
        colours = dict.fromkeys(self._colours[n] for n in found if n in self._colours and not wide)
        return Tag(found, wide, tuple(colours))


class GraphLinks:
    """The links between a graph and the program: what a value of the graph became, here nothing but itself."""

    def __init__(self, links: Links, name: str, graph: Graph) -> None:
        self.links, self.name, self.graph = links, name, graph

    def of_node(self, node: Node) -> Tag:
        """The tag of a node of the graph: what it became, with all that is inside it."""
        return self.links.tag((n for inner in walk([node]) for n in self._of(inner)), wide=bool(node.regions))

    def _of(self, node: Node) -> list[int]:
        return [self.links.number(self.name, "%", v.name) for v in node.outputs]

    def colour_lines(self) -> None:
        """Give what comes from one line of the program one colour."""
        lines: dict[tuple[Source, int], int] = {}
        for node in walk(self.graph.nodes):
            if node.span is not None and node.op not in _LITERALS:
                colour = lines.setdefault((node.span.source, node.span.line), len(lines))
                for number in self._of(node):
                    self.links.colour(number, colour)

    @cached_property
    def places(self) -> dict[Source, dict[int, Tag]]:
        """The tags of the program's lines that became something, by source."""
        found: dict[Source, dict[int, dict[int, None]]] = {}
        heads: dict[Source, dict[int, dict[int, None]]] = {}
        for node in walk(self.graph.nodes):
            span = node.span
            if span is None or node.op in _LITERALS:
                continue
            into, last = (heads, span.line) if node.regions else (found, span.end_line)  # of a loop or a condition, its head
            numbers = dict.fromkeys(self.of_node(node).numbers)
            for line in range(span.line, last + 1):
                into.setdefault(span.source, {}).setdefault(line, {}).update(numbers)
        self._add_statements(found)
        tags = {source: {n: self.links.tag(numbers) for n, numbers in lines.items()} for source, lines in found.items()}
        for source, lines in heads.items():
            for line, numbers in lines.items():
                tags.setdefault(source, {}).setdefault(line, self.links.tag(numbers, wide=True))
        return tags

    def _add_statements(self, found: dict[Source, dict[int, dict[int, None]]]) -> None:
        """Add what lines became beside the nodes of the graph."""


class PartLinks(GraphLinks):
    """The links of one kernel."""

    def __init__(self, links: Links, name: str, compiled: Compiled) -> None:
        super().__init__(links, name, compiled.graph)
        self.compiled = compiled
        self.tile_function = "" if compiled.tree.tile is None else compiled.tree.tile.function.name
        main = compiled.tree.name
        both = (
            (compiled.lowered, main),
            (compiled.nest, main),
            (compiled.tile_lowered, self.tile_function),
            (compiled.tile, self.tile_function),
        )
        #: Program order and schedule, and the same of a batch tile, each with the function that it becomes.
        self.nests = [(nest, function) for nest, function in both if nest is not None]
        self._of_value: dict[str, dict[int, None]] = {}
        names = list(dict.fromkeys(s.name for nest, _ in self.nests for s in nest.statements))
        for nest, function in self.nests:
            for s in nest.statements:
                number = self.statement(function, s.name)
                links.colour(number, names.index(s.name))
                for value in s.values:
                    self._of_value.setdefault(value, {})[number] = None

    def statement(self, function: str, statement: str) -> int:
        """The number of a statement of a function of the source."""
        return self.links.number(self.name, function, statement)

    def of_statements(self, function: str, statements: Iterable[str], *, wide: bool = False) -> Tag:
        """The tag of a line that is about some statements."""
        return self.links.tag((self.statement(function, s) for s in statements), wide=wide)

    def of_words(self, nest: Nest, function: str, words: Iterable[str], *, wide: bool = False) -> Tag:
        """The tag of a line that names statements among other words."""
        return self.of_statements(function, [w for w in words if w in nest.statement_table], wide=wide)

    def _of(self, node: Node) -> list[int]:
        return [n for v in node.outputs for n in self._of_value.get(v.name, ())] or super()._of(node)

    def _add_statements(self, found: dict[Source, dict[int, dict[int, None]]]) -> None:
        loops = {v.name for node in walk(self.graph.nodes) if node.regions for v in node.outputs}
        for nest, function in self.nests:
            for s in nest.statements:
                if s.span is not None and loops.isdisjoint(s.values):  # what is made for a loop itself belongs to its head
                    found.setdefault(s.span.source, {}).setdefault(s.span.line, {})[self.statement(function, s.name)] = None
