"""From a dataset to what a model learns: programs, each with the trees of its schedules and what they took.

Held-out programs are told by the hash of their key and a seed, so that a dataset that grows never moves a program from one side to the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any

import numpy as np

from ...loops.account import fix
from ...loops.text import parse_nest
from ...target import Machine
from ..dataset.records import Dataset, MachineFacts
from .features import Tree, represent_nest

Array = np.ndarray[Any, Any]
#: Parts of the programs that are held out, and that tell when to stop.
HELD_OUT, VALIDATION = 0.15, 0.1


@dataclass(frozen=True)
class Example:
    """One program on one machine: trees of its schedules, least seconds of each, those of a second measurement (nan: there was none), and which
    schedule is the untransformed program (the first where that was not measured)."""

    program: str
    machine: str
    trees: tuple[Tree, ...]
    seconds: Array
    again: Array
    base: int


@dataclass(frozen=True)
class Split:
    """Programs to learn from, to stop by, and to be judged by."""

    training: list[Example]
    validation: list[Example]
    heldout: list[Example]


def examples(dataset: Dataset, watch: Callable[[int], object] = lambda done: None) -> list[Example]:
    """The programs of a dataset of which at least two schedules ran, with the iteration counts that they were measured with. ``watch`` gets
    the number of points done so far. What cannot be read as a nest is passed over, and told in ``dataset.faults``."""
    machines = {name: machine_of(facts) for name, facts in dataset.machines.items()}
    made: dict[tuple[str, str], list[tuple[Tree, float, float, bool]]] = {}
    for done, point in enumerate(dataset.points):
        watch(done)
        machine = machines.get(point.machine)
        if point.status != "ok" or not point.seconds or not point.seconds[0] > 0 or machine is None:
            continue
        try:
            counts = dataset.programs[point.program].sizes if point.program in dataset.programs else {}
            tree = represent_nest(fix(parse_nest(point.nest), counts), machine)
        except (ValueError, KeyError, IndexError) as error:
            dataset.faults.append(f"a schedule of program {point.program} is passed over: its nest cannot be read: {error}")
            continue
        second = point.again[0] if point.again else np.nan
        made.setdefault((point.program, point.machine), []).append((tree, point.seconds[0], second, not point.schedule.strip()))
    found = []
    for (program, name), rows in made.items():
        if len(rows) < 2:
            continue
        trees, seconds, again, base = zip(*rows)
        found.append(Example(program, name, trees, np.array(seconds), np.array(again), base.index(True) if True in base else 0))
    return found


def machine_of(facts: MachineFacts) -> Machine:
    """The machine that a dataset describes. Raises ValueError for one without what schedules are cut for."""
    said = facts.facts.get("machine", facts.facts)
    known = {f.name: said[f.name] for f in fields(Machine) if f.name in said}
    try:
        return Machine(**known)
    except TypeError:
        raise ValueError(f"machine {facts.id} is described without vectors and registers") from None


def split(found: Iterable[Example], seed: int) -> Split:
    """Programs by the hash of key and seed; a program is on one side only, on whatever machine it was measured."""
    sides: tuple[list[Example], list[Example], list[Example]] = ([], [], [])
    for example in found:
        place = _place(example.program, seed)
        sides[2 if place < HELD_OUT else 1 if place < HELD_OUT + VALIDATION else 0].append(example)
    return Split(*sides)


def _place(program: str, seed: int) -> float:
    return int.from_bytes(sha256(f"{seed} {program}".encode()).digest()[:8], "big") / 2**64


def flat(tree: Tree) -> Array:
    """A tree as one row, for models without trees: the program's numbers; of loops, statements and accesses the sum, the mean and the
    greatest of each column; and the estimate."""
    columns: list[Sequence[float] | Array] = [tree.numbers["program"][0], [np.log(tree.seconds)]]
    for name in ("loop", "statement", "access"):
        rows = tree.numbers[name]
        rows = rows if len(rows) else np.zeros((1, rows.shape[1]), np.float32)
        columns += [rows.sum(0), rows.mean(0), rows.max(0)]
    return np.concatenate(columns)
