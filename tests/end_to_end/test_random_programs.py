"""300 random programs: compiled = interpreted, gradients too, for one problem and for a batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.helpers import SIZES, STEPS, random_graphs, random_inputs
from unspool.backends.autograd import run_flat
from unspool.backends.cpu import CTarget
from unspool.backends.execute import KernelPlan
from unspool.backends.numba.target import NumbaTarget
from unspool.backends.tvm.target import TvmTarget
from unspool.compiler.driver import Batching, compile_graph
from unspool.compiler.graph.graph import Graph
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.batch_tile import can_tile_batch
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.schedule import parse_schedule
from unspool.compiler.loops.schedule_parts import split_batch
from unspool.compiler.target import Target

CORE = {n: v for n, v in SIZES.items() if n != "K"}


def plan(graph: Graph, target: Target | None = None, **options: Any) -> KernelPlan:
    fixed = specialize(graph, "f64", CORE)
    compiled = compile_graph(fixed, target or CTarget(), **options)
    STEPS["programs"] += 1
    alone, _, together = split_batch(compiled.schedule)
    STEPS.update(step.name for text in (alone, together) for step in parse_schedule(text).steps)
    return KernelPlan(fixed, compiled, strict=False)


def close(got: torch.Tensor, want: torch.Tensor) -> None:
    assert got.shape == want.shape
    got, want = got.detach(), want.detach()
    scale = max(1.0, float(want.abs().max()) if want.numel() else 1.0)
    assert float((got - want).abs().max() if want.numel() else 0.0) <= 1e-9 * scale


@settings(max_examples=200)
@given(graph=random_graphs(), seed=st.integers(0, 10**6))
def compiled_is_interpreted(graph: Graph, seed: int) -> None:
    kernel = plan(graph)
    inputs = random_inputs(graph, seed)
    for got, want in zip(run_flat(kernel, inputs, [False] * 6, None, {"K": 3}), interpret(graph, inputs, SIZES), strict=True):
        close(got, want)
    many = random_inputs(graph, seed, batch=3)
    flags = [n % 2 == 0 for n in range(6)]
    mixed = [m if f else s for m, s, f in zip(many, inputs, flags, strict=True)]
    found = run_flat(kernel, mixed, flags, 3, {"K": 3})
    for n in range(3):
        one = interpret(graph, [x[n] if f else x for x, f in zip(mixed, flags, strict=True)], SIZES)
        for got, want in zip(found, one, strict=True):
            close(got[n], want)


def test_compiled_is_interpreted() -> None:
    before = STEPS.copy()
    compiled_is_interpreted()
    fresh = STEPS - before
    assert fresh["programs"] >= 200
    assert {"fuse", "parallel", "vector", "contract"} <= fresh.keys()  # no proof of anything if they were never applied


@settings(max_examples=20)
@given(graph=random_graphs(), seed=st.integers(0, 10**6))
def test_numba_is_interpreted(graph: Graph, seed: int) -> None:
    kernel, inputs = plan(graph, NumbaTarget()), random_inputs(graph, seed)
    for got, want in zip(run_flat(kernel, inputs, [False] * 6, None, {"K": 3}), interpret(graph, inputs, SIZES), strict=True):
        close(got, want)


def tvm_is_interpreted(graph: Graph, seed: int) -> None:
    kernel, inputs = plan(graph, TvmTarget()), random_inputs(graph, seed)
    for got, want in zip(run_flat(kernel, inputs, [False] * 6, None, {"K": 3}), interpret(graph, inputs, SIZES), strict=True):
        close(got, want)


@pytest.mark.needs("tvm")
@pytest.mark.parametrize("examples", [5, pytest.param(200, marks=pytest.mark.slow)])
def test_tvm_is_interpreted(examples: int) -> None:
    settings(max_examples=examples)(given(graph=random_graphs(), seed=st.integers(0, 10**6))(tvm_is_interpreted))()


@settings(max_examples=20)
@given(graph=random_graphs(), seed=st.integers(0, 10**6), count=st.sampled_from([1, 2, 4, 7, 9]))
def test_tiles_of_problems_are_interpreted(graph: Graph, seed: int, count: int) -> None:
    """In program order: whether a tile pays, and what else is done to it, has other tests."""
    flags = [n % 2 == 0 for n in range(6)]
    batching = Batching(tuple(flags), (True,) * len(graph.results))
    nest = lower(simplify(specialize(graph, "f64", CORE)))
    assume(can_tile_batch(nest, batching.per_problem, batching.own) is None)
    kernel = plan(graph, schedule="batch 4", batching=batching)
    assert kernel.forward is not None
    assert kernel.forward.compiled.tile is not None
    own, many = random_inputs(graph, seed), random_inputs(graph, seed, batch=count)
    mixed = [m if f else s for m, s, f in zip(many, own, flags, strict=True)]
    found = run_flat(kernel, mixed, flags, count, {"K": 3})
    for n in range(count):
        one = interpret(graph, [x[n] if f else x for x, f in zip(mixed, flags, strict=True)], SIZES)
        for got, want in zip(found, one, strict=True):
            close(got[n], want)


@settings(max_examples=20)
@given(graph=random_graphs(results=1), seed=st.integers(0, 10**6))
def test_gradients_of_compiled_programs(graph: Graph, seed: int) -> None:
    inputs = [x.requires_grad_() for x in random_inputs(graph, seed)]
    outputs = interpret(graph, inputs, SIZES)
    if not outputs[0].requires_grad:
        return
    cotangent = torch.randn(outputs[0].shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    want = torch.autograd.grad(outputs[0], inputs, cotangent, allow_unused=True)
    got = torch.autograd.grad(run_flat(plan(graph), inputs, [False] * 6, None, {"K": 3})[0], inputs, cotangent, allow_unused=True)
    for g, w, x in zip(got, want, inputs, strict=True):
        close(torch.zeros_like(x) if g is None else g, torch.zeros_like(x) if w is None else w)


@settings(max_examples=8)
@given(graph=random_graphs(smooth=True, results=1), seed=st.integers(0, 10**6))
def test_second_derivatives_and_tangents_of_compiled_programs(graph: Graph, seed: int) -> None:
    kernel, flags = plan(graph), [n % 2 == 0 for n in range(6)]
    own, many = random_inputs(graph, seed), random_inputs(graph, seed + 1, batch=2)
    inputs = [(m if f else s).requires_grad_() for m, s, f in zip(many, own, flags, strict=True)]

    def compiled(*xs: torch.Tensor) -> torch.Tensor:
        return run_flat(kernel, xs, flags, 2, {"K": 3})[0]

    def reference(*xs: torch.Tensor) -> torch.Tensor:
        rows = [interpret(graph, [x[n] if f else x for x, f in zip(xs, flags, strict=True)], SIZES)[0] for n in range(2)]
        return torch.stack(rows)

    if not reference(*inputs).requires_grad:
        return
    found = []
    for function in (compiled, reference):
        first = torch.autograd.grad(function(*inputs).square().sum(), inputs, create_graph=True, allow_unused=True)
        reached = [g for g in first if g is not None]
        norm = torch.stack([g.square().sum() for g in reached]).sum()
        second = torch.autograd.grad(norm, inputs, allow_unused=True) if norm.requires_grad else [None] * 6
        found.append(
            [torch.zeros_like(x) if g is None else g for x, g in zip([*inputs, *inputs], [*first, *second], strict=True)]
        )
    for g, w in zip(*found, strict=True):
        close(g, w)
    tangents = tuple(x.detach().sin() for x in inputs)
    plain = tuple(x.detach() for x in inputs)
    _, push = torch.func.jvp(compiled, plain, tangents)
    close(push, torch.autograd.functional.jvp(reference, plain, tangents)[1])
