"""Kernels that can be tuned, and how to get at those that a program has: they are collected while it is compiled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...compiler.search.draft import Task
from .database import key_of
from .identity import machine_id


@dataclass(frozen=True)
class Job:
    """A kernel that can be tuned: the task, and the target it is for."""

    task: Task
    target: Any

    @cached_property
    def key(self) -> str:
        """Its key in the database: the hash of all its loops as text, which most compiles have no use for."""
        return key_of(self.task, self.target.name, machine_id())


_collected: ContextVar[list[Job] | None] = ContextVar("collected", default=None)


@contextmanager
def collecting() -> Iterator[list[Job]]:
    """The kernels whose schedules are chosen inside of the ``with`` block, each once; there the database is not asked."""
    found: list[Job] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def collect(job: Job) -> bool:
    """Hand a kernel to whoever collects; False if nobody does."""
    found = _collected.get()
    if found is not None and all(job.key != other.key for other in found):
        found.append(job)
    return found is not None
