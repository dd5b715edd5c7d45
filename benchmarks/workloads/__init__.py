"""The workloads: what unrolled algorithms are used for, at the sizes their users have. Each module yields contests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ..contest import Contest
from ..plan import Plan

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
TEST_PROGRAMS = Path(__file__).resolve().parents[2] / "tests" / "programs"


def workloads() -> Mapping[str, Callable[[Plan], Iterator[Contest]]]:
    """The workloads by the name that ``--only`` takes."""
    from . import admm, balance, bilevel, em, es, ista, tv

    return {
        "ista": ista.contests,
        "admm": admm.contests,
        "em": em.contests,
        "moe": balance.moe,
        "scaling": balance.scaling,
        "sinkhorn": balance.sinkhorn,
        "tv": tv.contests,
        "es": es.contests,
        "bilevel": bilevel.contests,
    }
