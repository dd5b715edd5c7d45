"""Training: networks learn to put the schedules of each program into their order, and what their times are relative to each other.

Nothing is compared between programs: how long a program takes as a whole is of no use to a choice among its schedules. The loss of a
program has a term for each pair (logistic, RankNet, Burges et al. 2005; pairs that are apart by less than a tenth count less) and one for each
logarithm of seconds, both around their means. What is kept is a running mean of the weights, which overfits later than the weights do.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from ...diagnostics import DataError
from .examples import Example, Split
from .forest import Forest, plant
from .metrics import Figures, ceiling, figures
from .model import MEMBERS, WIDTH, Ensemble, Network, one_thread, scales

#: Programs in a batch, schedules of one program in it at most; the rate of learning and the decay of weights.
BATCH, SCHEDULES, RATE, DECAY = 8, 48, 2e-3, 5e-2
#: Rounds over the data, at most.
EPOCHS = 30
#: How much of the present weights goes into the running mean with each step, at least.
AVERAGED = 2e-3
#: Rounds without a better figure on the validation programs after which training stops, and rounds of warming up.
PATIENCE, WARMING = 12, 2


@dataclass(frozen=True)
class Round:
    """What is known after a round: of which network, the losses on the training and the validation programs, and figures on the latter."""

    member: int
    epoch: int
    loss: float
    validation_loss: float
    validation: Figures


#: Called after every round.
Watch = Callable[[Round], object]


@dataclass(frozen=True)
class Batch:
    """Schedules of some programs: their trees, logarithms of seconds, and the number of the program of each."""

    forest: Forest
    logs: Tensor
    program: Tensor
    programs: int


@dataclass
class Trained:
    """A model, its figures on the held-out programs, and what the header of its file says."""

    model: Ensemble
    figures: Figures
    header: dict[str, Any] = field(default_factory=dict)


def train(
    data: Split,
    *,
    epochs: int = EPOCHS,
    seed: int = 0,
    start: Ensemble | None = None,
    members: int = MEMBERS,
    width: int = WIDTH,
    without: Sequence[str] = (),
    watch: Watch = lambda round: None,
) -> Trained:
    """A model of the training programs, judged by the held-out ones. ``start``: go on from there (with its sizes and scales); ``without``:
    groups of features that are left out. The same seed gives the same model on the same machine. Raises DataError without enough programs."""
    for part, name in ((data.training, "training"), (data.validation, "validation"), (data.heldout, "held-out")):
        if not part:
            raise DataError(f"the dataset has too few programs: none is left as a {name} program")
    table = scales([tree for e in data.training for tree in e.trees], without)
    made = []
    with one_thread(), torch.random.fork_rng(devices=[]):  # what torch draws elsewhere stays as it was
        for n in range(members if start is None else len(start.members)):
            torch.manual_seed(1000 * seed + n)
            network = Network(table, width) if start is None else copy.deepcopy(start.members[n])
            made.append(_fit(network, data, epochs, Random(1000 * seed + n), n, watch, rate=RATE if start is None else RATE / 4))
        model = Ensemble(made)
        found = judge(model, data.heldout)
    everything = [*data.training, *data.validation, *data.heldout]
    header: dict[str, Any] = {
        "spearman_heldout": found.spearman,
        "spearman_ceiling": repeated(everything),
        "ndcg5_heldout": found.ndcg5,
        "mape_heldout": found.mape,
        "regret_heldout": found.regret,
        "programs_heldout": found.programs,
        "programs": len({e.program for e in everything}),
        "points": sum(len(e.trees) for e in everything),
        "machines": sorted({e.machine for e in everything}),
        "seed": seed,
        "without": list(without),
    }
    header = {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in header.items()}
    model.header.update(header)
    return Trained(model, found, header)


def judge(model: Ensemble, programs: Sequence[Example]) -> Figures:
    """The figures of a model on some programs."""
    return figures((e.seconds, np.exp(model.logarithms(e.trees)[0]), e.base) for e in programs)


def analytic(programs: Sequence[Example]) -> Figures:
    """The figures of the analytic estimate."""
    return figures((e.seconds, np.array([t.seconds for t in e.trees]), e.base) for e in programs)


def repeated(programs: Sequence[Example]) -> float:
    """Spearman's correlation between two measurements of the schedules that were measured twice; nan where there are too few."""
    twice = [(e, np.isfinite(e.again)) for e in programs]
    return ceiling((e.seconds[both], e.again[both]) for e, both in twice)


def _fit(network: Network, data: Split, epochs: int, random: Random, member: int, watch: Watch, *, rate: float) -> Network:
    """Rounds over the batches until the loss on the validation programs gets no better; the best of them, which may be the start."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=DECAY)
    averaged = AveragedModel(network, avg_fn=_average)
    batches = _batches(data.training, random)
    judges = _batches(data.validation, Random(0))
    best, state, since = _loss(network, judges), copy.deepcopy(network.state_dict()), 0
    for epoch in range(epochs):
        slope = (
            (1 + epoch) / WARMING
            if epoch < WARMING
            else 0.5 * (1 + math.cos(math.pi * (epoch - WARMING) / max(1, epochs - WARMING)))
        )
        for group in optimiser.param_groups:
            group["lr"] = rate * slope
        random.shuffle(batches)
        network.train()
        losses = []
        for batch in batches:
            optimiser.zero_grad()
            found = loss(network(batch.forest), batch)
            found.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            averaged.update_parameters(network)
            losses.append(float(found.detach()))
        mean: Any = averaged.module
        now = _loss(mean, judges)
        better = now < best
        since = 0 if better else since + 1
        if better:
            best, state = now, copy.deepcopy(mean.state_dict())
        watch(Round(member, epoch, float(np.mean(losses)), now, _validation(mean, data.validation)))
        if since > PATIENCE:
            break
    network.load_state_dict(state)
    return network.eval()


def _average(mean: Tensor, now: Tensor, steps: Tensor | int) -> Tensor:
    """The running mean after another step; over fewer steps at the beginning."""
    return mean + (now - mean) * max(AVERAGED, 9 / (10 + float(steps)))


def _loss(network: Network, batches: Sequence[Batch]) -> float:
    """The mean loss over the programs of some batches."""
    network.eval()
    with torch.no_grad():
        found = [float(loss(network(batch.forest), batch)) * batch.programs for batch in batches]
    return sum(found) / sum(batch.programs for batch in batches)


def _validation(network: Network, programs: Sequence[Example]) -> Figures:
    """Figures on the validation programs, those with few schedules included."""
    said = Ensemble([network]).logarithms([t for e in programs for t in e.trees])[0]
    ends = np.cumsum([len(e.trees) for e in programs])
    return figures(((e.seconds, np.exp(s), e.base) for e, s in zip(programs, np.split(said, ends[:-1]))), least=2)


def _batches(programs: Sequence[Example], random: Random) -> list[Batch]:
    order = list(programs)
    random.shuffle(order)
    return [_batch(order[at : at + BATCH], random) for at in range(0, len(order), BATCH)]


def _batch(programs: Sequence[Example], random: Random) -> Batch:
    trees, logs, numbers = [], [], []
    for n, example in enumerate(programs):
        rows = list(range(len(example.trees)))
        if len(rows) > SCHEDULES:
            rows = random.sample(rows, SCHEDULES)
        trees += [example.trees[r] for r in rows]
        logs += [math.log(example.seconds[r]) for r in rows]
        numbers += [n] * len(rows)
    return Batch(plant(trees), torch.tensor(logs), torch.tensor(numbers), len(programs))


def loss(said: Tensor, batch: Batch) -> Tensor:
    """What is minimised: a scalar, the mean over the programs of a batch. ``said``: predicted logarithms of seconds."""
    total = said.new_zeros(())
    for n in range(batch.programs):
        here = (batch.program == n).nonzero()[:, 0]
        s, y = said[here], batch.logs[here]
        centred = torch.nn.functional.smooth_l1_loss(s - s.mean(), y - y.mean(), beta=0.5)
        apart = y[:, None] - y[None, :]
        weight = (apart.abs() / 0.1).clamp(max=1.0)
        wrong = torch.nn.functional.softplus(-4.0 * apart.sign() * (s[:, None] - s[None, :]))
        pairs = (weight * wrong).sum() / weight.sum().clamp(min=1e-6)
        total = total + pairs + 0.5 * centred
    return total / batch.programs
