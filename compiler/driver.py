"""The compiler, in order: graph -> nest -> schedule -> loop tree -> source -> kernel.

    compile_graph:   graph      (as given)
                     simplify   graph -> graph, solves by conjugate gradients as loops
                     lower      graph -> nest
                     schedule   nest  -> scheduled nest (chosen in search/, proved by isl)
                     scan       nest  -> loop tree
                     emit       tree  -> source
                     build      source -> kernel

Where problems of a batch gain from running side by side, schedule and scan are done a second time for a tile of them
(``batch_tile``), and the source has both.

A graph with library calls or modules is cut first: its affine parts become kernels and the rest is a
host program for the interpreter.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from . import options
from .graph.compare import compare
from .graph.conjugate_gradients import SOLVE, with_loops
from .graph.dense import is_large_product
from .graph.graph import Graph, Node, walk
from .graph.masked import masked
from .graph.ops.select import FEW
from .graph.ops.table import lookup
from .graph.partition import kernel_graph, kernels, own_names, partition
from .graph.problem import Problem
from .graph.simplify import simplify
from .graph.specialize import size_names
from .graph.substitution import substitute
from .graph.text import parse_graph, print_graph
from .graph.types import Pick, Size
from .graph.verify import verify
from .loops.account import instances_of_nest
from .loops.batch_tile import BatchTile, can_tile_batch, pays, tile_batch
from .loops.check import check_nest
from .loops.dependences import IllegalSchedule
from .loops.expand import rule_for
from .loops.isl import safe
from .loops.lower import CannotExpand, lower
from .loops.nest import Nest, exits
from .loops.scan import scan
from .loops.schedule import Schedule, apply, parse_schedule, prove
from .loops.schedule_parts import split_batch, split_kernels
from .loops.scheduled import Scheduled
from .loops.storing import nominal
from .loops.text import parse_nest, print_nest
from .loops.tree import Function, Tile
from .loops.tree_text import parse_tree, print_tree
from .search.choose import chosen
from .search.cost import team_saves
from .search.draft import Draft, Task
from .search.gpu_cost import best_blocks, tiles_from
from .stages import Form, StageError, Stages
from .target import ChoosingTarget, Gpu, GraphTarget, Target

GRAPH: Form[Graph] = Form("graph", print_graph, parse_graph, verify, compare)
NEST: Form[Nest] = Form("nest", print_nest, parse_nest, check_nest)
TREE: Form[Function] = Form("tree", print_tree, parse_tree)


@dataclass
class Compiled:
    """One kernel and every stage it went through.

    ``graph`` (simplified), ``nest`` (scheduled), ``schedule`` (text of the steps), ``tree``, ``source``; ``tile`` is the
    scheduled nest of a batch tile, if there is one; ``kernel`` is built on first use. ``times``: seconds per stage;
    ``lowered`` and ``tile_lowered``: the nests before their schedules (None: not kept); ``origin`` and
    ``tile_origin``: who made these. A target that takes graphs has a ``problem``; its nest
    and tree are in program order, to be looked at.
    """

    graph: Graph
    nest: Nest
    schedule: str
    tree: Function
    source: str
    target: Target
    times: tuple[tuple[str, float], ...] = ()
    tile: Nest | None = None
    lowered: Nest | None = None
    tile_lowered: Nest | None = None
    problem: Problem | None = None
    origin: str = ""
    tile_origin: str = ""

    @cached_property
    def integers(self) -> tuple[str, ...]:
        """Size names of the run-time integers, in the order of the kernel's arguments (the tree's are made fit for C)."""
        if self.problem is not None:
            return self.problem.integers
        names = {safe(n): n for n in size_names(self.graph)}
        return tuple(names[i] for i in self.tree.integers)

    @cached_property
    def kernel(self) -> Any:
        """The callable kernel (see the target)."""
        stages = Stages(self.graph.name, list(self.times))
        made = stages.last("build", self._build)
        self.times = tuple(stages.times)
        return made

    def _build(self) -> Any:
        if self.problem is not None and isinstance(self.target, GraphTarget):
            return self.target.build_graph(self.problem, self.source)
        return self.target.build(self.tree, self.source)

    @property
    def assembly(self) -> str:
        """What the source becomes. Raises CompileError if it does not compile."""
        if self.problem is not None and isinstance(self.target, GraphTarget):
            return self.target.assembly_of_graph(self.problem, self.source)
        return self.target.assembly(self.tree, self.source)

    @cached_property
    def team_saves(self) -> float:
        """Seconds per instance of a statement that a team of threads saves on one problem, by the estimate of the cost model."""
        counts = {name: nominal(Size.of(name)) for name in self.nest.params}
        return team_saves(self.nest, self.target.capabilities.machine) / max(1, instances_of_nest(self.nest, counts))


@dataclass(frozen=True)
class Batching:
    """What a call with many problems looks like: which inputs every problem has for itself, and which outputs."""

    per_problem: tuple[bool, ...]
    own: tuple[bool, ...]


@dataclass
class HostProgram:
    """A graph that runs on the host, with kernels by number for its ``kernel`` nodes; ``refused``: why others are none; ``batching``: what
    calls with many problems give to them, where problems do not share a kernel."""

    graph: Graph
    kernels: Mapping[int, Compiled] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)
    batching: Mapping[int, Batching] = field(default_factory=dict)


def compile_graph(
    graph: Graph,
    target: Target,
    *,
    accumulate: bool = False,
    strict: bool = False,
    schedule: str | None = None,
    batching: Batching | None = None,
) -> Compiled:
    """One kernel for a graph with concrete dtypes and core sizes; iteration counts may stay names.

    ``accumulate`` adds every output to what its array holds. ``schedule`` replaces our choice (the text of steps;
    ``""`` is program order). With ``batching`` the kernel has a second body for tiles of problems where that pays.
    Raises CannotExpand if a part does not expand to loops, IllegalSchedule for a bad schedule.
    """
    stages, machine, debug = Stages(graph.name), target.capabilities.machine, target.capabilities.debug
    if debug:  # every operation as it is written, one after the other
        strict, schedule, batching = True, "", None
    start = stages.run("graph", GRAPH, lambda: graph)
    simple = stages.run("simplify", GRAPH, lambda: simplify(with_loops(start)), before=start)
    if isinstance(target, GraphTarget):
        return _of_graph(stages, simple, target, batching, accumulate=accumulate, strict=strict, schedule=schedule)
    nest = stages.run("lower", NEST, lambda: lower(simple, accumulate=accumulate, strict=strict, debug=debug))
    alone, size, together = (None, machine.problems, None) if schedule is None else split_batch(schedule)
    scheduled, steps, origin = _order(stages, "schedule", Task(nest, machine, strict), alone, target)
    blocks = best_blocks(scheduled, machine) if isinstance(machine, Gpu) else 1
    tree = stages.run("scan", TREE, lambda: replace(scan(scheduled, f"us_{nest.name}"), blocks=blocks))
    text, tiled, tile_origin = steps, None, ""
    wide, stay = nest, False
    if batching is not None and size:
        ways = [loop.exit.leaves for loop in exits(nest.order).values() if loop.exit is not None]
        stay = bool(ways) and all(ways) and (schedule is not None or pays(nest, batching.per_problem, batching.own, size))
        if stay or any(s.routine for s in nest.statements):
            wide = lower(simplify(masked(simple)) if stay else simple, accumulate=accumulate, strict=strict, beside=True)
    made = _batch_tile(stages, wide, batching, size, forced=schedule is not None, stay=stay)
    if made is not None:
        task = Task(made.nest, machine, strict, tile=True, problems=made.size, counts=tuple(made.counts.items()))
        ordered, tile_steps, tile_origin = _order(stages, "tile-schedule", task, together, target)
        function = stages.run("tile-scan", TREE, lambda: scan(ordered, f"us_{nest.name}_tile"))
        least = 0
        if isinstance(machine, Gpu):
            function = replace(function, blocks=best_blocks(ordered, machine))
            least = tiles_from(scheduled, ordered, made.size, made.lanes, machine) or (2 if schedule is not None else 0)
        if least or not isinstance(machine, Gpu):
            tree = replace(tree, tile=Tile(made.size, made.lanes, made.strides, function, least))
            text, tiled = f"{steps}\nbatch {made.size}\n{tile_steps}", ordered
        else:
            made = None
    form: Form[str] = Form(target.suffix, str, str)
    source = stages.run("emit", form, lambda: target.emit(tree))
    return Compiled(
        simple,
        scheduled.nest,
        text,
        tree,
        source,
        target,
        tuple(stages.times),
        None if tiled is None else tiled.nest,
        nest,
        None if made is None else made.nest,
        origin=origin,
        tile_origin=tile_origin,
    )


def _of_graph(
    stages: Stages, graph: Graph, target: Any, batching: Batching | None, *, accumulate: bool, strict: bool, schedule: str | None
) -> Compiled:
    """The kernel of a target that takes graphs."""
    if schedule:
        raise IllegalSchedule(f"target {target.name} takes graphs and orders their loops itself: it has no schedule")
    per_problem = (False,) * len(graph.inputs) if batching is None else batching.per_problem
    own = (True,) * len(graph.results) if batching is None else batching.own
    problem = Problem(graph, per_problem, own, accumulate, strict)
    source = stages.run("emit", Form(target.suffix, str, str), lambda: target.emit_graph(problem))
    nest = stages.run("lower", NEST, lambda: lower(graph, accumulate=accumulate, strict=strict))
    scheduled = apply(nest, parse_schedule(""), strict=strict)
    tree = stages.run("scan", TREE, lambda: scan(scheduled, f"us_{nest.name}"))
    return Compiled(graph, scheduled.nest, "", tree, source, target, tuple(stages.times), lowered=nest, problem=problem)


def _order(stages: Stages, stage: str, task: Task, steps: str | None, target: Target) -> tuple[Scheduled, str, str]:
    """The nest in the order of given steps, or of our choice; the steps as text; who made them."""
    made: list[tuple[Scheduled, Schedule, str]] = []

    def order() -> Nest:
        if steps is None:
            best: Draft = target.choose(task) if isinstance(target, ChoosingTarget) else chosen(task)
            made.append((best.scheduled, best.schedule, best.origin))
        else:
            given = parse_schedule(steps)
            made.append((apply(task.nest, given, strict=task.strict, tf32=task.tf32), given, "given"))
        return made[0][0].nest

    ordered = stages.run(stage, NEST, order)
    scheduled, schedule, origin = made[0]
    if ordered != scheduled.nest:  # an edited dump: proved again
        scheduled = replace(scheduled, nest=ordered)
        try:
            prove(scheduled, strict=task.strict)
        except IllegalSchedule as error:
            raise StageError(f"the edited dump of stage {stage}: {error}") from None
    if options.current.debug >= 2:
        print(schedule, file=sys.stderr)
    return scheduled, str(schedule), origin


def _batch_tile(
    stages: Stages, nest: Nest, batching: Batching | None, size: int, *, forced: bool, stay: bool
) -> BatchTile | None:
    """The nest of a tile of problems, if it is possible and pays (or, ``forced``, a schedule asks for it); ``stay``: see
    :func:`~.loops.batch_tile.can_tile_batch`."""
    if batching is None or not size:
        if size and forced:
            raise IllegalSchedule(f"step `batch {size}` does not apply: the problems of a batch share this kernel")
        return None
    reason = can_tile_batch(nest, batching.per_problem, batching.own, stay=stay)
    if reason and forced:
        raise IllegalSchedule(f"step `batch {size}` does not apply: {reason}")
    if reason or not (forced or pays(nest, batching.per_problem, batching.own, size)):
        return None
    made = tile_batch(nest, batching.per_problem, batching.own, size, stay=stay)
    return replace(made, nest=stages.run("tile", NEST, lambda: made.nest))


def compile_host(
    graph: Graph, target: Target, *, strict: bool = False, schedule: str | None = None, shared: Set[str] = frozenset(),
    late: Set[str] = frozenset(),
) -> HostProgram:  # fmt: skip
    """The host program of any graph, its affine parts compiled where the target takes them. ``schedule`` is that of the kernels it
    names (see :func:`~.loops.schedule_parts.split_kernels`); ``shared`` are the inputs that problems of a batch usually share; what
    follows from inputs ``late`` stands behind all that does not. Raises IllegalSchedule for a bad schedule."""
    stages = Stages(graph.name)
    start = stages.run("graph", GRAPH, lambda: graph)
    simple = stages.run("simplify", GRAPH, lambda: simplify(start), before=start)
    machine, debug = target.capabilities.machine, target.capabilities.debug
    chosen_freely = not (strict or debug or schedule == "" or isinstance(target, GraphTarget) or isinstance(machine, Gpu))
    if chosen_freely:
        solved = substitute(simple, expands, own_names(simple, shared))
        if solved is not simple:
            simple = stages.run("substitute", GRAPH, lambda: simplify(solved))

    def in_kernel(node: Node) -> bool:
        return expands(node) and _held(node, simple, target) and not (chosen_freely and is_large_product(node, simple.types))

    cut = stages.run("partition", GRAPH, lambda: partition(simple, in_kernel, shared, late))
    made: dict[int, Compiled] = {}
    refused: dict[int, str] = {}
    parts = {f"{graph.name}_{node.attr('number')}": node for node in kernels(cut)}
    chosen = {} if schedule is None else split_kernels(schedule, list(parts))
    own, batching = own_names(cut, shared), dict[int, Batching]()
    for name, node in parts.items():
        number, flags = node.attr("number"), tuple([n in own for n in node.inputs])
        if any(flags):
            batching[number] = Batching(flags, (True,) * len(node.outputs))
        try:
            made[number] = compile_graph(
                kernel_graph(node, name), target, strict=strict, schedule=chosen.get(name), batching=batching.get(number)
            )
        except CannotExpand as error:  # the interpreter runs this part
            refused[number] = str(error)
    return HostProgram(cut, made, refused, batching)


def _held(node: Node, graph: Graph, target: Target) -> bool:
    """Whether the target has every dtype of a node and of what it reads."""
    names = {n for inner in walk([node]) for n in (*inner.inputs, *(v.name for v in inner.outputs))}
    return all(target.supports(graph.types[n].dtype) for n in names)


def is_one_kernel(graph: Graph) -> bool:
    """Whether the whole graph expands to loops."""
    return all(expands(node) for node in graph.nodes)


def expands(node: Node) -> bool:
    """Whether a node, with all inside it, can be part of a kernel."""
    return all(why_host(inner) is None for inner in walk([node]))


def why_host(node: Node) -> str | None:
    """Why a node itself, whatever is inside it, cannot be part of a kernel, or None."""
    if node.op == SOLVE:
        return None  # it becomes a loop
    if node.op == "module":
        return "a learned operator is a torch module"
    if node.op == "weights":
        return "weights are those of a torch module"
    if rule_for(node.op) is None:
        return "a library routine of torch" if lookup(node.op).library else "it has no expansion into loops"
    if any(isinstance(i, Pick) for i in node.attr("items", ())):
        return "an index comes from data"
    if node.op == "topk" and not 1 <= (Size.of(node.attr("count")).constant or 0) <= FEW:
        return f"it selects more than {FEW} elements, or a number known only when it runs"
    return None
