"""The workloads: what unrolled algorithms are used for, at the sizes their users have. Each module yields contests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import typer

from ..contest import Contest
from ..plan import Plan

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
TEST_PROGRAMS = Path(__file__).resolve().parents[2] / "tests" / "programs"


GROUPS = ("suite", "library")


def workloads(group: str = "suite") -> Mapping[str, Callable[[Plan], Iterator[Contest]]]:
    """The workloads of a group by the name that ``--only`` takes: the suite, or the programs of the standard library as they stand."""
    from . import admm, balance, bilevel, em, es, ista, library, tv

    if group == "library":
        return library.contests()
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


def named(only: str, group: str = "suite") -> list[str]:
    """The names in a list with commas, or all of them. Raises typer.BadParameter for one that there is not."""
    known = list(workloads(group))
    wanted = [word.strip() for word in only.split(",") if word.strip()]
    for name in wanted:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(known)}", param_hint="--only")
    return wanted or known
