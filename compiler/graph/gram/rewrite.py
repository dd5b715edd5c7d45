"""Gram: what a loop multiplies with two matrices that it does not change, it multiplies with their product, made before the loop.

    for k: g = A.T @ (A @ x - y); x = x - g     -->     G = A.T @ A; b = A.T @ y; for k: g = G @ x - b; x = x - g

Found by data flow: every product of the body is expanded to a sum of products of what the loop changes and what it does not
(:mod:`.multilinear`), and each is taken in its cheapest order (:mod:`.reassociate`); a loop that multiplies at the end of an iteration and at
the start of the next is rotated first (:mod:`.rotate`). Taken where the operations of all iterations, those before the loop included, are fewer by
a clear factor, and only after a check (:mod:`.check`). Results are rounded differently: off under ``numerics="strict"``. What is accepted, and
why, is in docs/decisions/014-gram.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from ... import options
from ...diagnostics import Span
from ..graph import Graph, Node, Region, region_captures, walk
from ..simplify import simplify
from ..tape import trip_count
from ..types import is_floating
from ..work import extent, operations
from .check import part, why_wrong
from .multilinear import LINEAR, Expander, Factor, Form, NoForm
from .phrase import phrase
from .reassociate import Emitter
from .rotate import can_rotate, rotate
from .sharing import Setting, common, loses_sharing, shared_values
from .squares import may_expand

#: Operations must become fewer by this factor, counting what changes, ...
FACTOR = 1.5
#: ... and what is saved must be this part of all operations of the graph.
SHARE = 0.1
#: Rewrites of one graph, at most.
ROUNDS = 4


@dataclass(frozen=True)
class Rewrite:
    """What was done to one loop: the ``products`` made before it, and the operations of what changed, of all iterations of a problem, before and
    after. ``refused``: why it was not done after all. ``once``: the values made before the loop."""

    loop: str
    span: Span | None
    products: tuple[str, ...]
    before: float
    after: float
    once: tuple[str, ...] = ()
    refused: str = ""


def gram(graph: Graph, setting: Setting) -> tuple[Graph, tuple[Rewrite, ...]]:
    """A graph in which products are made before loops where that pays, and what was done; the graph itself if nothing is."""
    if not any(_multiplies(n) for n in walk(graph.nodes)):
        return graph, ()
    current, done = simplify(graph), list[Rewrite]()
    for _ in range(ROUNDS):
        found = _step(current, setting)
        if found is None:
            break
        made, rewrite = found
        done.append(rewrite)
        if options.current.debug >= 5:
            print(f"unspool: {graph.name}: gram: {rewrite}", file=sys.stderr)
        if rewrite.refused:
            break
        current = made
    return (current if any(not r.refused for r in done) else graph), tuple(done)


def may_rewrite(graph: Graph) -> bool:
    """Whether some loop has products that could be taken in another order, whatever the sizes."""
    if not any(_multiplies(n) for n in walk(graph.nodes)):
        return False
    simple = simplify(graph)
    used, anything = _used(simple), Setting({})
    return any(
        _Loop(replace(simple, nodes=_exchanged(simple.nodes, loop, [*start, turned])), turned, around, anything).targets()
        for loop, around in _loops(simple.nodes)
        for start, turned in _variants(simple, loop, used)
    )


def _multiplies(node: Node) -> bool:
    """Whether a node is a loop whose iterations take products."""
    return node.op == "for" and not node.attr("until") and any(n.op == "einsum" for n in node.regions[0].nodes)


def _loops(nodes: Sequence[Node], around: tuple[Node, ...] = ()) -> Iterator[tuple[Node, tuple[Node, ...]]]:
    """Loops that multiply, and the loops around them, outermost first."""
    for node in nodes:
        if _multiplies(node):
            yield node, around
        for region in node.regions:
            yield from _loops(region.nodes, (*around, node) if node.op == "for" else around)


def _step(graph: Graph, setting: Setting) -> tuple[Graph, Rewrite] | None:
    """The first rewrite that pays, or None."""
    used, sizes = _used(graph), setting.sizes
    total = operations(graph.nodes, graph.types, sizes)
    for loop, around in _loops(graph.nodes):
        for start, turned in _variants(graph, loop, used):
            work = _Loop(replace(graph, nodes=_exchanged(graph.nodes, loop, [*start, turned])), turned, around, setting)
            for chosen in _trials(work.targets()):
                made = work.rewritten(chosen, start)
                if made is None:
                    continue
                body, emitter, pairs = made
                after = simplify(replace(graph, nodes=_exchanged(graph.nodes, loop, body)))
                saved = _saved(graph, after, setting)
                if saved is None or saved[0] - saved[1] < SHARE * total:
                    continue
                values = tuple(n for n in after.types if n in emitter.products)
                made_by = {v.name: n for n in walk(after.nodes) for v in n.outputs}
                products = tuple(dict.fromkeys(phrase(n, made_by) for n in values))
                span = next((p.span for p in chosen if p.span is not None), None)
                refused = why_wrong(graph, after, pairs, turned is not loop)
                return after, Rewrite(loop.attr("index"), span, products, *saved, once=values, refused=refused)
    return None


def _used(graph: Graph) -> frozenset[str]:
    """Names that some node, or the graph's results, read."""
    return region_captures(Region((), (), graph.results)).union(*(_reads(n) for n in walk(graph.nodes)))


def _reads(node: Node) -> frozenset[str]:
    return frozenset(node.inputs).union(*(r.results for r in node.regions))


def _variants(graph: Graph, loop: Node, used: frozenset[str]) -> Iterator[tuple[list[Node], Node]]:
    """A loop as it is, and rotated: what then stands before it, and the loop."""
    yield [], loop
    for place in range(len(loop.regions[0].args)):
        if can_rotate(graph, loop, place, used) is None:
            start, turned, _ = rotate(graph, loop, place)
            yield start, turned


def _trials(targets: Sequence[Node]) -> Iterator[list[Node]]:
    """All products together, then one at a time, the last first: it holds the others."""
    if targets:
        yield list(targets)
    if len(targets) > 1:
        yield from ([t] for t in reversed(targets))


def _saved(before: Graph, after: Graph, setting: Setting) -> tuple[float, float] | None:
    """The operations of a problem that are gone and those that are new; None if those are not fewer by a clear factor."""
    sizes = setting.sizes
    once = common(after, setting) - before.types.keys()
    gone = operations(before.nodes, before.types, sizes, skip=after.types.keys())
    new = operations(after.nodes, after.types, sizes, skip=before.types.keys() | once)
    new += operations(after.nodes, after.types, sizes, skip=after.types.keys() - once) / setting.problems
    if not gone >= FACTOR * new or gone <= 0:
        return None
    if setting.problems > 1 and loses_sharing(before, after, setting):
        return None
    return gone, new


def _exchanged(nodes: Sequence[Node], loop: Node, by: Sequence[Node]) -> tuple[Node, ...]:
    """Nodes, at any depth, with others in place of a loop."""
    out: list[Node] = []
    for node in nodes:
        if node is loop:
            out += by
        else:
            out.append(replace(node, regions=tuple(replace(r, nodes=_exchanged(r.nodes, loop, by)) for r in node.regions)))
    return tuple(out)


class _Loop:
    """One loop of a graph, and the products of its body that could be taken in another order."""

    def __init__(self, graph: Graph, loop: Node, around: Sequence[Node], setting: Setting) -> None:
        self.graph, self.loop, self.around, self.setting = graph, loop, around, setting
        self.region = loop.regions[0]
        self.own = {v.name for n in self.region.nodes for v in n.outputs}
        self.inside = _changing(loop)
        self.producers = {v.name: n for n in walk(graph.nodes) for v in n.outputs}
        self.expander = Expander(self.producers, graph.types, self.inside, self.own)
        self.forms: dict[str, Form] = {}

    def targets(self) -> list[Node]:
        """Products of the body in which two things that the loop does not change meet."""
        found = []
        for node in self.region.nodes:
            if node.op not in ("einsum", "sum") or not is_floating(node.output.type.dtype):
                continue
            if not any(map(self.expander.is_rich, node.inputs)):
                continue
            try:
                form = self.expander.form(node)
            except NoForm:
                continue
            if any(self._meets(form, t.factors) for t in form.terms) and may_expand(node, form, self.region, self.expander):
                self.forms[node.output.name] = form
                found.append(node)
        return found

    def _meets(self, form: Form, factors: Sequence[Factor]) -> bool:
        """Whether two fixed factors share an index that only fixed ones have."""
        fixed = [f for f in factors if f.name not in self.inside]
        free = set(form.indices).union(*(f.letters for f in factors if f.name in self.inside))
        return any(a.letters & b.letters - free for n, a in enumerate(fixed) for b in fixed[:n])

    def rewritten(
        self, targets: Sequence[Node], start: Sequence[Node]
    ) -> tuple[list[Node], Emitter, list[tuple[Graph, Graph]]] | None:
        """What stands before the loop, then the loop with products in their best order; the graphs of each of them before and after, to be
        compared. None if one has no such order."""
        emitter = Emitter(dict(self.graph.types), self.inside, lambda s: extent(s, self.setting.sizes), self._weight())
        wanted = {t.output.name for t in targets}
        renamed: dict[str, str] = {}
        body: list[Node] = []
        changed: list[Node] = []
        for node in self.region.nodes:
            if not node.outputs or node.outputs[0].name not in wanted:
                body.append(renamed_inputs(node, renamed))
                continue
            emitter.span, emitter.here = node.span, []
            try:
                renamed[node.output.name] = emitter.value(_with_names(self.forms[node.output.name], renamed), node.output.type)
            except NoForm:
                return None
            body += emitter.here
            changed.append(node)
        results = tuple(renamed.get(r, r) for r in self.region.results)
        changed += self._start(start, emitter, renamed)
        before = [*emitter.before, *(renamed_inputs(n, renamed) for n in start)]
        inputs = tuple(renamed.get(n, n) for n in self.loop.inputs)
        loop = replace(self.loop, inputs=inputs, regions=(Region(self.region.args, tuple(body), results),))
        made = {v.name: n for n in [*emitter.before, *body] for v in n.outputs}
        pairs = []
        for node in changed:
            name = node.output.name
            atoms = sorted({f.name for t in self.forms[name].terms for f in t.factors})
            old = part(self.producers, self.graph.types, name, atoms)
            pairs.append((old, part(made, emitter.types, renamed[name], [renamed.get(a, a) for a in atoms])))
        return [*before, loop], emitter, pairs

    def _start(self, start: Sequence[Node], emitter: Emitter, renamed: dict[str, str]) -> list[Node]:
        """Of the products that a rotated loop starts with, those that are cheaper with products that are made by now; ``renamed`` grows."""
        chain = {v.name for n in start for v in n.outputs}
        changed = []
        for node in start:
            if node.op not in ("einsum", "sum"):
                continue
            follow = set[str]()
            todo = list(node.inputs)
            while todo:
                made = self.producers.get(todo.pop())
                if made is not None and made.op in LINEAR and made.op not in ("einsum", "sum") and made.output.name not in follow:
                    follow.add(made.output.name)
                    todo += made.inputs[:1] if made.op == "div" else made.inputs
            try:
                form = Expander(self.producers, self.graph.types, set(), set(), follow).form(node)
                if {f.name for t in form.terms for f in t.factors} & chain:
                    continue
                if emitter.cost(form) < operations([node], self.graph.types, self.setting.sizes):
                    renamed[node.output.name] = emitter.value(form, node.output.type)
                    self.forms[node.output.name] = form
                    changed.append(node)
            except NoForm:
                continue
        return changed


    def _weight(self) -> Callable[[Set[str]], float]:
        """How often a product of some values is taken, for one problem."""
        sizes, problems = self.setting.sizes, self.setting.problems
        same = shared_values(self.graph, self.setting) if problems > 1 else set()
        levels: list[tuple[Set[str], float]] = []
        trips = 1.0
        for loop in self.around:
            trips *= max(0, extent(trip_count(loop), sizes))
            levels.append((_changing(loop) - self.inside, trips))
        levels.append((self.inside, trips * max(0, extent(trip_count(self.loop), sizes))))

        def weight(names: Set[str]) -> float:
            for changing, count in reversed(levels):
                if names & changing:
                    return count
            return 1 / problems if names <= same else 1.0

        return weight


def _changing(loop: Node) -> set[str]:
    """What a loop carries and what its body makes."""
    inner = list(walk([loop]))
    return {a.name for n in inner for r in n.regions for a in r.args} | {v.name for n in inner[1:] for v in n.outputs}


def _with_names(form: Form, renamed: Mapping[str, str]) -> Form:
    terms = tuple(replace(t, factors=tuple(replace(f, name=renamed.get(f.name, f.name)) for f in t.factors)) for t in form.terms)
    return replace(form, terms=terms)


def renamed_inputs(node: Node, names: Mapping[str, str]) -> Node:
    """A node that reads other values, inside it, too."""
    regions = tuple(
        Region(r.args, tuple(renamed_inputs(n, names) for n in r.nodes), tuple(names.get(n, n) for n in r.results)) for r in node.regions
    )
    return replace(node, inputs=tuple(names.get(n, n) for n in node.inputs), regions=regions)
