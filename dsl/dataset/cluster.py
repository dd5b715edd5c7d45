"""Batches on the machines of a Ray cluster: one worker on each, which has all of its cores, so that nothing else is measured beside it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from ...compiler.search.dataset.records import DatasetError, MachineFacts
from .facts import machine_facts
from .measure import Batch, collect


class Worker:
    """What runs on a machine."""

    def __init__(self) -> None:
        self.facts = machine_facts()

    def collect(self, seeds: list[int], count: int) -> tuple[MachineFacts, Batch]:
        """Programs of some seeds, and the machine."""
        return self.facts, collect(seeds, count, self.facts.id)


def on_ray(seeds: Iterator[int], count: int, per_core: int) -> Iterator[tuple[MachineFacts, Batch]]:
    """What the machines measure, as it comes. Raises DatasetError without Ray, or once no machine is left. A machine that fails is left out
    from there on, with its seeds."""
    try:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
    except ImportError:
        raise DatasetError("--workers ray needs Ray: pip install 'unspool[ray]'") from None
    ray.init(ignore_reinit_error=True, log_to_driver=False, logging_level="warning")
    running: dict[Any, tuple[Any, int]] = {}
    remote: Any = ray.remote(Worker)

    def begin(actor: Any, cores: int) -> None:
        running[actor.collect.remote([next(seeds) for _ in range(per_core * cores)], count)] = (actor, cores)

    try:
        for node in ray.nodes():
            cores = int(node["Resources"].get("CPU", 0))
            if node["Alive"] and cores:
                place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                begin(remote.options(num_cpus=cores, scheduling_strategy=place).remote(), cores)
        while running:
            (done, *_), _ = ray.wait(list(running), num_returns=1)
            actor, cores = running.pop(done)
            try:
                found = ray.get(done)
            except ray.exceptions.RayError as error:
                print(f"warning: a machine is left out from here on: {str(error).strip().splitlines()[-1]}", file=sys.stderr)
                continue
            begin(actor, cores)
            yield found
    finally:
        for actor, _ in running.values():
            ray.kill(actor)
    raise DatasetError("no machine of the Ray cluster is left")
