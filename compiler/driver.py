"""The compiler, in order: graph -> nest -> schedule -> loop tree -> source -> kernel.

    compile_graph:   simplify   graph -> graph
                     lower      graph -> nest
                     schedule   nest  -> scheduled nest (proved by isl)
                     scan       nest  -> loop tree
                     emit       tree  -> source
                     build      source -> kernel

A graph with library calls, modules or `until` loops is cut first: its affine parts become kernels and the rest is a
host program for the interpreter.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from . import options
from .graph.graph import Graph, Node, walk
from .graph.partition import kernel_graph, kernels, partition
from .graph.simplify import simplify
from .graph.text import parse_graph, print_graph
from .graph.types import Pick
from .graph.verify import verify
from .loops import expand
from .loops.isl import safe
from .loops.lower import CannotExpand, free_sizes, lower
from .loops.nest import Nest
from .loops.recipe import recipe
from .loops.scan import scan
from .loops.schedule import apply, parse_schedule, prove
from .loops.text import parse_nest, print_nest
from .loops.tree import Function
from .stages import Form, Stages
from .target import Target

GRAPH: Form[Graph] = Form("graph", print_graph, parse_graph, verify)
NEST: Form[Nest] = Form("nest", print_nest, parse_nest)
TREE: Form[Function] = Form("tree", repr)
SOURCE: Form[str] = Form("c", str)


@dataclass
class Compiled:
    """One kernel and every stage it went through.

    ``graph`` (simplified), ``nest`` (scheduled), ``schedule`` (text of the steps), ``tree``, ``source``; ``kernel``
    is built on first use. ``work``: additions per problem, roughly, with run-time counts at a nominal value;
    ``times``: seconds per stage.
    """

    graph: Graph
    nest: Nest
    schedule: str
    tree: Function
    source: str
    target: Target
    work: float
    times: tuple[tuple[str, float], ...] = ()

    @cached_property
    def integers(self) -> tuple[str, ...]:
        """Size names of the run-time integers, in the order of the kernel's arguments (the tree's are made fit for C)."""
        names = {safe(n): n for n in free_sizes(self.graph)}
        return tuple(names[i] for i in self.tree.integers)

    @cached_property
    def kernel(self) -> Any:
        """The callable kernel (see the target)."""
        return self.target.build(self.tree)


@dataclass
class HostProgram:
    """A graph that runs on the host, with kernels by number for its ``kernel`` nodes."""

    graph: Graph
    kernels: Mapping[int, Compiled] = field(default_factory=dict)


def compile_graph(
    graph: Graph, target: Target, *, accumulate: bool = False, strict: bool = False, schedule: str | None = None
) -> Compiled:
    """One kernel for a graph with concrete dtypes and core sizes; iteration counts may stay names.

    ``accumulate`` adds every output to what its array holds. ``schedule`` replaces the recipe (the text of steps;
    ``""`` is program order). Raises CannotExpand if a part does not expand to loops, IllegalSchedule for a bad schedule.
    """
    stages = Stages(graph.name)
    simple = stages.run("simplify", GRAPH, lambda: simplify(graph))
    nest = stages.run("lower", NEST, lambda: lower(simple, accumulate=accumulate, strict=strict))
    steps = None if schedule is None else parse_schedule(schedule)
    scheduled, steps = recipe(nest, strict=strict) if steps is None else (apply(nest, steps, strict=strict), steps)
    ordered = stages.run("schedule", NEST, lambda: scheduled.nest)
    if ordered != scheduled.nest:  # an edited dump: proved again
        prove(replace(scheduled, nest=ordered), strict=strict)
    if options.current.debug >= 2:
        print(steps, file=sys.stderr)
    tree = stages.run("scan", TREE, lambda: scan(replace(scheduled, nest=ordered), f"us_{nest.name}"))
    source = stages.run("emit", SOURCE, lambda: target.emit(tree))
    return Compiled(simple, ordered, str(steps), tree, source, target, work_of(simple), tuple(stages.times))


def compile_host(graph: Graph, target: Target, *, strict: bool = False) -> HostProgram:
    """The host program of any graph, its affine parts compiled where the target takes them."""
    cut = partition(simplify(graph), expands)
    made = {}
    for node in kernels(cut):
        try:
            made[node.attr("number")] = compile_graph(
                kernel_graph(node, f"{graph.name}_{node.attr('number')}"), target, strict=strict
            )
        except CannotExpand:
            continue  # the interpreter runs this part
    return HostProgram(cut, made)


def is_one_kernel(graph: Graph) -> bool:
    """Whether the whole graph expands to loops."""
    return all(expands(node) for node in graph.nodes)


def expands(node: Node) -> bool:
    """Whether a node, with all inside it, can be part of a kernel."""
    for inner in walk([node]):
        if inner.attr("until") or expand.rule_for(inner.op) is None:
            return False
        if any(isinstance(i, Pick) for i in inner.attr("items", ())):
            return False
        if inner.op == "topk_mask" and inner.attr("axis") != -1:
            return False
    return True


def work_of(graph: Graph) -> float:
    """Additions per problem, roughly."""
    total = 0.0

    def visit(nodes: tuple[Node, ...], times: float) -> None:
        nonlocal total
        for node in nodes:
            trips = times
            if node.op == "for":
                trip = (
                    (node.attr("upper") - node.attr("lower"))
                    if node.attr("step") > 0
                    else (node.attr("lower") - node.attr("upper"))
                )
                trips *= max(1, trip.evaluate(dict.fromkeys(trip.names(), 16)))
            elif node.outputs:
                widths = [expand.elements(v.type) for v in node.outputs]
                widths += [expand.elements(graph.types[n]) for n in node.inputs]
                total += times * max(widths)
            for region in node.regions:
                visit(region.nodes, trips)

    visit(graph.nodes, 1.0)
    return total
