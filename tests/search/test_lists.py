"""Selections of few elements: lists in vector lanes, however the program is written."""

from __future__ import annotations

import pytest

from tests.search.programs import chosen, graph_of, proposed
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.lower import lower
from unspool.compiler.search.lanes import lanes
from unspool.compiler.target import Machine

MACHINE = Machine(32, 16, cores=2)
ROUTER = """algorithm route(s: real[t, e]) -> real[e]:
    iterations K = 2
    b = zeros(e)
    for k in 0..K:
        load = sum(cast(topk(s + b, 3, axis=1).mask, real), axis=0)
        b = b - 0.1 * (load / mean(load) - 1)
    return b
"""
RENAMED = """algorithm queue(price: real[lots, traders]) -> real[traders]:
    iterations rounds = 2
    fee = zeros(traders)
    for r in 0..rounds:
        offers = price * 2 - fee
        winners = topk(offers, 3).mask
        fee = fee + 0.25 * sum(where(winners, offers, 0), axis=0) / lots
    return fee
"""
TRANSPOSED = """algorithm route(s: real[e, t]) -> real[e]:
    iterations K = 2
    b = zeros(e)
    for k in 0..K:
        b = b - 0.1 * sum(cast(topk(s + b[:, None], 3, axis=0).mask, real), axis=1)
    return b
"""
THRESHOLD = """algorithm largest(s: real[t, e]) -> real[t]:
    return topk(s, 4).values[:, 3]
"""
PLACES = """algorithm places(s: real[t, e]) -> (i64[t, 3], real[t, 3]):
    found = topk(abs(s), 3)
    return found.indices, found.values
"""
SIZES = {"t": 150, "e": 9, "lots": 150, "traders": 9, "K": 2, "rounds": 2}
TEXTS = {"router": ROUTER, "renamed": RENAMED, "transposed": TRANSPOSED, "threshold": THRESHOLD, "places": PLACES}


def sizes(text: str) -> dict[str, int]:
    return {n: v for n, v in SIZES.items() if n in graph_text(text)}


def graph_text(text: str) -> str:
    return text.split("return")[0]


@pytest.mark.parametrize("name", TEXTS)
def test_rows_lie_side_by_side(name: str) -> None:
    """The tree of the schedule runs as the interpreter does (in ``proposed``)."""
    text = TEXTS[name].replace("rounds", "K")
    schedule = proposed(lanes, graph_of(text), {n: v for n, v in SIZES.items() if n != "rounds"}, MACHINE)
    assert "tile " in schedule
    assert "vector " in schedule


def test_what_is_read_in_every_iteration_is_turned_once() -> None:
    schedule = chosen(graph_of(ROUTER), {**SIZES, "t": 4096, "e": 32}, MACHINE)
    assert "pack s " in schedule
    assert "layout " in schedule  # the mask, which the sum reads along the rows
    assert "pack " not in chosen(graph_of(TRANSPOSED), {**SIZES, "t": 4096, "e": 32}, MACHINE)  # rows are side by side already


@pytest.mark.parametrize(
    ("text", "made", "not_made"),
    [
        (THRESHOLD, {"best", "value"}, {"place", "left"}),
        (ROUTER, {"best", "left"}, {"value", "place"}),
        (PLACES, {"best", "value", "place"}, {"left"}),
        ("algorithm f(s: i32[t, e]) -> i32[t, 2]:\n    return topk(s, 2).values\n", {"best"}, {"value", "place", "left"}),
    ],
)
def test_only_what_is_used_is_made(text: str, made: set[str], not_made: set[str]) -> None:
    graph = simplify(specialize(graph_of(text), "f32", {"t": 150, "e": 9}))
    ends = {a.name.rsplit("_", 1)[-1].rstrip("0123456789") for a in lower(graph).arrays}
    assert made <= ends
    assert not ends & not_made


def test_few_rows_are_left_to_the_routine_unless_problems_lie_beside_them() -> None:
    graph = simplify(specialize(graph_of(THRESHOLD), "f32", {"t": 3, "e": 50}))
    assert [s.routine for s in lower(graph).statements if s.routine] == ["topk"]
    assert not any(s.routine for s in lower(graph, beside=True).statements)
