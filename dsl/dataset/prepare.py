"""A seed becomes a program with schedules, compiled and ready to be measured."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from random import Random

from ...backends.build import machine
from ...backends.measuring.unit import Built, Refused, build_all
from ...compiler import options
from ...compiler.graph.graph import Graph
from ...compiler.graph.simplify import simplify
from ...compiler.graph.specialize import specialize
from ...compiler.loops.lower import lower
from ...compiler.loops.nest import Nest
from ...compiler.loops.text import print_nest
from ...compiler.search.dataset.programs import draw
from ...compiler.search.dataset.records import Point, Program, program_key
from ...compiler.search.dataset.schedules import schedules
from ...compiler.search.dataset.structure import structure
from ...compiler.search.draft import Task
from ..api import load, loads

#: Candidates in one C file.
TOGETHER = 8
#: Seconds in which schedules are drawn.
SECONDS = 10.0
#: The folders of a checkout that hold the suites models are judged by.
SUITES = ("benchmarks/polybench", "benchmarks/programs", "tests/programs")


@dataclass(frozen=True)
class Prepared:
    """A program, its schedules as points without times, and what was compiled of each, in the same order; program order is the first."""

    program: Program
    nest: Nest
    points: tuple[Point, ...]
    built: tuple[Built | Refused, ...]


def prepare(seed: int, count: int, folder: str, held_out: Set[str], machine_id: str) -> Prepared | None:
    """The program of a seed with up to ``count`` schedules, compiled into ``folder``; None for one that is in ``held_out``, by its structure."""
    drawn = draw(seed)
    nest = nest_of(next(iter(loads(drawn.source))).algorithm.graph, drawn.dtype, dict(drawn.sizes))
    if structure(nest) in held_out:
        return None
    task = Task(nest, machine())
    found = schedules(task, count, Random(seed), seconds=SECONDS)
    text, counts = print_nest(nest), {name: drawn.counts[name] for name in nest.params}
    program = Program(program_key(text, counts), seed, drawn.family, text, counts, drawn.dtype, drawn.source)
    points = [Point(program.key, machine_id, str(d.schedule), print_nest(d.scheduled.nest), origin=d.origin) for d in found]
    place = Path(folder) / str(seed)
    place.mkdir(parents=True)
    built = build_all([(f"us_k{n}", d.scheduled) for n, d in enumerate(found)], task.machine, place, together=TOGETHER)
    return Prepared(program, nest, tuple(points), tuple(built))


def nest_of(graph: Graph, dtype: str, sizes: dict[str, int]) -> Nest:
    """The untransformed nest of a graph as the driver makes it."""
    return lower(simplify(specialize(graph, dtype, sizes)))


@lru_cache(maxsize=1)
def suite_structures() -> frozenset[str]:
    """The structures of all programs of the suites, in each precision; none where there is no checkout beside the library."""
    root = options.stdlib_folder().parent
    found = set()
    for path in (p for folder in SUITES for p in sorted((root / folder).glob("*.us"))):
        for handle in load(path):
            algorithm = handle.algorithm
            counts = {name for name, _ in algorithm.iterations}
            sizes = {name: 100 + n for n, name in enumerate(algorithm.size_names) if name not in counts}
            nest = _lowered(algorithm.graph, sizes)
            if nest is not None:
                found.add(structure(replace(nest, name="suite")))
    return frozenset(found)


def _lowered(graph: Graph, sizes: dict[str, int]) -> Nest | None:
    """A nest; None for what is no single kernel."""
    from ...compiler.driver import is_one_kernel

    return nest_of(graph, "f64", sizes) if is_one_kernel(graph) else None
