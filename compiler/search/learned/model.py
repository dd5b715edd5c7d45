"""The network: from accesses to statements, from statements to loops, from inner loops to outer ones, to a time for the whole.

What is in a loop is read in order by a gated recurrent unit. A program takes the sum of what its innermost loops take, and a rest; each of these is
what the analytic estimate gives it times a correction, which the network says. So a loop that takes no time cannot matter, and one that the
estimate is wrong about is mended where it is. Several networks from other seeds make an ensemble, whose spread tells how far it is to
be believed. Recursive embedding of loop trees: Baghdadi et al. 2021 (MLSys), there with LSTMs and without an analytic model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .features import TABLES, Tree
from .forest import Forest, plant

#: Numbers of an embedding; networks of an ensemble; what part of them is left out at random in training.
WIDTH, MEMBERS, DROPPED = 64, 3, 0.1
#: The part of a program's time that belongs to no innermost loop, before anything is learned; limits of a correction, as a logarithm.
REST, LEAST, MOST = 0.1, -6.0, 8.0


class Network(nn.Module):
    """One network. ``scales``: mean and deviation of every column, by table, as float32 of shape (2, columns)."""

    def __init__(self, scales: Mapping[str, Tensor], width: int = WIDTH) -> None:
        super().__init__()
        for name, table in scales.items():
            self.register_buffer(f"scale_{name}", table.float())
        sizes = {name: len(columns) for name, columns in TABLES.items()}
        self.access = _layers(sizes["access"], width, width)
        self.statement = _layers(sizes["statement"] + width, width, width)
        self.loop = _layers(sizes["loop"] + width, width, width)
        self.inside = nn.GRUCell(width, width)
        self.row = nn.GRUCell(width, width)
        self.part = _layers(sizes["program"] + 2 * width, width, 1)
        self.rest = _layers(sizes["program"] + width, width, 1)
        for parameter in (*self.part[-1].parameters(), *self.rest[-1].parameters()):
            nn.init.zeros_(parameter)  # before it has learned anything it says what the estimate says

    def forward(self, forest: Forest) -> Tensor:
        """Natural logarithms of seconds, float32, one for each tree."""
        numbers = {name: self._scaled(name, torch.as_tensor(rows)) for name, rows in forest.numbers.items()}
        accesses = self.access(numbers["access"])
        summed = accesses.new_zeros(len(numbers["statement"]), accesses.shape[1]).index_add(
            0, torch.as_tensor(forest.owner), accesses
        )
        known = self.statement(torch.cat([numbers["statement"], summed], 1))
        for level in forest.levels:
            below = _read(self.inside, known, torch.as_tensor(level.below))
            made = self.loop(torch.cat([numbers["loop"][torch.as_tensor(level.loops)], below], 1))
            known = torch.cat([known, made])
        whole = _read(self.row, known, torch.as_tensor(forest.roots))
        tree, shares = torch.as_tensor(forest.tree), (1 - REST) * torch.as_tensor(forest.shares)
        inner, program = known[torch.as_tensor(forest.loops)], numbers["program"]
        part = self.part(torch.cat([inner, whole[tree], program[tree]], 1))[:, 0].clamp(LEAST, MOST)
        rest = self.rest(torch.cat([whole, program], 1))[:, 0].clamp(LEAST, MOST)
        left = 1 - rest.new_zeros(rest.shape).index_add(0, tree, shares)
        times: Tensor = (left * rest.exp()).index_add(0, tree, shares * part.exp())
        return torch.as_tensor(np.log(forest.seconds), dtype=torch.float32) + times.log()

    def _scaled(self, name: str, rows: Tensor) -> Tensor:
        mean, deviation = getattr(self, f"scale_{name}")
        # A column that hardly varied when the scales were found tells nothing elsewhere either.
        return torch.where(deviation > 1e-4, (rows - mean) / deviation.clamp(min=1e-4), torch.zeros_like(rows)).clamp(-6.0, 6.0)


def _layers(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Dropout(DROPPED), nn.Linear(width, outputs))


def _read(cell: nn.GRUCell, known: Tensor, places: Tensor) -> Tensor:
    """Nodes at the places of each row, one after the other."""
    state = known.new_zeros(len(places), known.shape[1])
    for at in range(places.shape[1]):
        place = places[:, at]
        there = (place >= 0)[:, None]
        state = torch.where(there, cell(known[place.clamp(min=0)], state), state)
    return state


@contextmanager
def one_thread() -> Iterator[None]:
    """The matrices are small: threads would wait for each other longer than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Ensemble:
    """Networks that were trained apart. ``header`` is what the file of the weights says of them."""

    def __init__(self, members: Sequence[Network], header: Mapping[str, Any] | None = None) -> None:
        self.members, self.header = list(members), dict(header or {})

    def logarithms(self, trees: Sequence[Tree]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Mean and standard deviation among the members of the logarithms of seconds, float64, one for each tree."""
        if not trees:
            return np.zeros(0), np.zeros(0)
        forest = plant(trees)
        with torch.no_grad(), one_thread():
            said = torch.stack([member.eval()(forest) for member in self.members]).double().numpy()
        return said.mean(0), said.std(0)


def scales(trees: Sequence[Tree], without: Sequence[str] = ()) -> dict[str, Tensor]:
    """Mean and deviation of the columns over some trees, without those of some groups, for which an ablation asks: their deviation is 0."""
    found = {}
    for name, columns in TABLES.items():
        rows = np.concatenate([t.numbers[name] for t in trees]).astype(np.float64)
        deviation = rows.std(0) if len(rows) else np.zeros(len(columns))
        mean = rows.mean(0) if len(rows) else np.zeros(len(columns))
        kept = np.array([column.split(":")[0] not in without for column in columns])
        found[name] = torch.as_tensor(np.stack([mean, np.where(kept, deviation, 0.0)]), dtype=torch.float32)
    return found
