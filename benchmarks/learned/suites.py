"""The kernels that models and searches are judged by: those of PolyBench and of the unrolled suite, at the suites' sizes.

None of them is in the data that a model is trained on (dsl/dataset/prepare.py leaves them out, by their structure).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

import unspool as us
from unspool.backends.tuning.jobs import Job, collecting

from ..plan import Plan
from ..polybench.references import KERNELS, Kernel
from ..workloads import workloads

SUITES = ("polybench", "unrolled")


@dataclass(frozen=True)
class Case:
    """A kernel of a suite: who it belongs to, and the job that its compile collected."""

    suite: str
    name: str
    job: Job


def cases(suite: str, only: frozenset[str] = frozenset(), *, quick: bool = False) -> Iterator[Case]:
    """The kernels of a suite, each once; ``only``: of these kernels of PolyBench, or workloads."""
    seen: set[str] = set()
    for name, jobs in _polybench(only, quick=quick) if suite == "polybench" else _unrolled(only, quick=quick):
        fresh = [job for job in jobs if job.key not in seen]
        seen.update(job.key for job in fresh)
        for number, job in enumerate(fresh):
            yield Case(suite, f"{name}, kernel {number + 1}" if len(fresh) > 1 else name, job)


def _polybench(only: frozenset[str], *, quick: bool) -> Iterator[tuple[str, list[Job]]]:
    for kernel in KERNELS.values():
        if not only or kernel.name in only:
            yield kernel.title, _called(kernel, quick=quick)


def _called(kernel: Kernel, *, quick: bool) -> list[Job]:
    sizes = kernel.small if quick else kernel.sizes
    inputs = {name: torch.as_tensor(x) for name, x in kernel.inputs(np.random.default_rng(0), sizes).items()}
    steps = {name: n for name, n in sizes.items() if name == "T"}
    with torch.no_grad(), collecting() as jobs:
        us.load(kernel.file)[kernel.name](**inputs, **steps, target="c")
    return jobs


def _unrolled(only: frozenset[str], *, quick: bool) -> Iterator[tuple[str, list[Job]]]:
    plan = Plan("quick" if quick else "default", frozenset())
    for workload, contests in workloads().items():
        if only and workload not in only:
            continue
        for contest in contests(plan):
            ours = next(c for c in contest.contestants if c.peer == "unspool")
            with collecting() as jobs:
                ours.make()()
            yield f"{contest.program} {contest.size}, {contest.mode}", jobs
