"""The stages side by side: program, graph, loops, schedule, source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ...backends.origins import lines_of
from ...backends.replay import nest_lines
from ...compiler.diagnostics import Source
from ...compiler.graph.text import graph_lines
from ...compiler.loops.dependences import paths
from ...compiler.loops.nest import Nest
from ...compiler.loops.schedule import apply_step, parse_schedule
from ...compiler.loops.schedule_parts import split_batch
from ...compiler.loops.scheduled import Scheduled
from ..api import AlgorithmHandle
from ..repl.verbs.source import LANGUAGES
from .code import Line, code
from .links import GraphLinks, Links, PartLinks, Tag
from .section import Section, render
from .subject import Subject

#: A file up to so many lines is shown whole; of others the lines that became something, and so many around them.
WHOLE, AROUND = 120, 3


@dataclass(frozen=True)
class Tab:
    """A text of a pane. ``folded``: lines before it that are shown on demand."""

    title: str
    lines: list[Line]
    folded: list[Line]


@dataclass(frozen=True)
class Pane:
    """A stage: its name and texts, of which one is seen at a time."""

    name: str
    title: str
    tabs: list[Tab]


def section(subject: Subject) -> Section | None:
    """The stages of every kernel."""
    if not subject.parts:
        return None
    html = render("stages.html", kernels=[(p.name, panes(subject.handle, p)) for p in subject.parts], what="a statement")
    return Section("stages", "Stages", html)


def panes(handle: AlgorithmHandle, part: PartLinks) -> list[Pane]:
    """The stages of a kernel."""
    return [
        Pane("program", "Program", program(handle, part.places)),
        Pane("schedule", "Schedule", [_schedule(part)]),
        Pane("graph", "Graph", [_graph(part)]),
        Pane("loops", "Loops", list(_loops(part))),
        Pane("source", f"Source (.{part.compiled.target.suffix})", [_source(part)]),
    ]


def _graph(links: GraphLinks) -> Tab:
    lines = ((text, Tag() if node is None else links.of_node(node)) for text, node in graph_lines(links.graph))
    return Tab("", code(lines, "graph"), [])


# -- the program ------------------------------------------------------------------------------------------------------


def program(handle: AlgorithmHandle, places: dict[Source, dict[int, Tag]]) -> list[Tab]:
    """The files that an algorithm is written in, its own first."""
    own = handle.written[0].span if handle.written is not None else handle.algorithm.span
    sources = dict.fromkeys([*([] if own is None else [own.source]), *places])
    tabs = []
    for source in sources:
        tags = places.get(source, {})
        wanted = set(tags)
        if own is not None and source == own.source:
            wanted |= set(range(own.line, own.end_line + 1))
        texts, numbers = _excerpt(source, wanted)
        embedded = source.name.endswith(".py") or (
            handle.written is not None and own is not None and source == own.source and handle.written[1].python
        )
        lines = ((text, tags.get(n, Tag())) for text, n in zip(texts, numbers))
        tabs.append(Tab(source.name, code(lines, "python" if embedded else "us", numbers), []))
    return tabs


def _excerpt(source: Source, wanted: set[int]) -> tuple[list[str], list[int]]:
    """Lines of a file and their numbers: all, or those that are wanted with some around."""
    texts = source.text.rstrip("\n").split("\n")
    shown = range(1, len(texts) + 1)
    if len(texts) > WHOLE:
        near = {n + d for n in wanted for d in range(-AROUND, AROUND + 1)}
        numbers = [n for n in shown if n in near]
    else:
        numbers = list(shown)
    return [texts[n - 1] for n in numbers], numbers


# -- schedule and loops ------------------------------------------------------------------------------------------------


def _schedule(part: PartLinks) -> Tab:
    """The steps, each linked to the statements whose loops it changed."""
    compiled = part.compiled
    if compiled.problem is not None:
        return Tab(
            "",
            code(
                [(f"# target {compiled.target.name} takes graphs", Tag()), ("# and orders their loops itself", Tag())], "schedule"
            ),
            [],
        )
    alone, size, together = split_batch(compiled.schedule)
    lines = list(_steps(part, compiled.lowered, alone, compiled.tree.name)) or [("# program order", Tag())]
    if compiled.tile_lowered is not None:
        lines += [("", Tag()), (f"batch {size}", Tag()), *_steps(part, compiled.tile_lowered, together, part.tile_function)]
    return Tab("", code(lines, "schedule"), [])


def _steps(part: PartLinks, nest: Nest | None, text: str, function: str) -> Iterator[tuple[str, Tag]]:
    steps = parse_schedule(text).steps
    if nest is None:
        yield from ((str(step), Tag()) for step in steps)
        return
    now = Scheduled.start(nest)
    places = _places(nest)
    for step in steps:
        now = apply_step(now, step)
        before, places = places, _places(now.nest)
        changed = [name for name, place in places.items() if before.get(name) != place]
        yield str(step), part.of_statements(function, changed, wide=len(changed) > 1)


def _places(nest: Nest) -> dict[str, object]:
    """What a step may change of each statement: itself, the loops around it, the arrays it touches."""
    found: dict[str, object] = {}
    for name, above in paths(nest.order).items():
        statement = nest.statement_table[name]
        loops = [(loop.name, loop.kind, loop.value(name)) for kind, loop in above if kind == "loop"]
        found[name] = statement, loops, [nest.array_table.get(a) for a in sorted(statement.arrays())]
    return found


def _loops(part: PartLinks) -> Iterator[Tab]:
    """The nest in program order and as scheduled, that of a batch tile behind it."""
    compiled = part.compiled
    size = 0 if compiled.tree.tile is None else compiled.tree.tile.size
    for title, nest, function in (
        ("scheduled", compiled.nest, compiled.tree.name),
        ("program order", compiled.lowered, compiled.tree.name),
        (f"{size} problems", compiled.tile, part.tile_function),
    ):
        if nest is not None and not (title == "program order" and nest == compiled.nest):
            yield Tab(title, code(((line, _of_loops(part, nest, function, line)) for line in nest_lines(nest)), "loops"), [])


def _of_loops(part: PartLinks, nest: Nest, function: str, line: str) -> Tag:
    """The tag of a line of a nest: an array is linked to what writes it, a loop to what is in it."""
    text = line.strip()
    if text.startswith("array "):
        name = text[6:].partition(":")[0]
        return part.of_statements(function, [s.name for s in nest.statements if s.write.array == name], wide=True)
    if text.startswith("for "):
        return part.of_words(nest, function, re.findall(r"\w+(?=: )", text), wide=True)
    return part.of_words(nest, function, [text.partition(":")[0]])


def _source(part: PartLinks) -> Tab:
    """The generated source; what comes before its first function that is the program's is folded."""
    found = lines_of(part.compiled)
    lines = [(line.text, part.links.tag((part.statement(*pair) for pair in line.statements), wide=line.inside)) for line in found]
    first = next((n for n, line in enumerate(found) if line.statements), 0)
    while first and found[first - 1].text.strip():
        first -= 1
    made = code(lines, LANGUAGES[part.compiled.target.suffix])
    return Tab("", made[first:], made[:first])


def algorithm_panes(handle: AlgorithmHandle) -> list[Pane]:
    """Program and graph of an algorithm that is not compiled."""
    links = GraphLinks(Links(), handle.algorithm.name, handle.algorithm.graph)
    links.colour_lines()
    return graph_panes(handle, links)


def graph_panes(handle: AlgorithmHandle, links: GraphLinks) -> list[Pane]:
    """Program and graph."""
    return [Pane("program", "Program", program(handle, links.places)), Pane("graph", "Graph", [_graph(links)])]
