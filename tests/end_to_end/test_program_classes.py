"""Random programs of each class with the schedule the compiler chooses, at sizes beyond the caches of a tiny machine: values, gradients
and second derivatives are the interpreter's, on both targets."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
import torch

from tests.end_to_end.program_classes import CLASSES, MACHINES, Program
from tests.helpers import STEPS, TVM_SLOW
from unspool.backends.autograd import run_flat
from unspool.backends.cpu import CTarget
from unspool.backends.execute import KernelPlan
from unspool.backends.numba.target import NumbaTarget
from unspool.backends.tvm.target import TvmTarget
from unspool.compiler.driver import compile_graph
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.schedule import parse_schedule, prove
from unspool.compiler.search.choose import PROPOSERS
from unspool.compiler.search.draft import Draft, Task
from unspool.compiler.target import Machine

TARGETS = {"c": CTarget, "numba": NumbaTarget, "tvm": TvmTarget}
TOLERANCE = 1e-9


def planned(program: Program, target: str, dice: Random, **options: Any) -> KernelPlan:
    compiled = compile_graph(program.graph, TARGETS[target](machine=dice.choice(MACHINES)), **options)
    STEPS["programs"] += 1
    STEPS.update(step.name for step in parse_schedule(compiled.schedule.partition("batch")[0]).steps)
    return KernelPlan(program.graph, compiled, strict=False)


def call(plan: KernelPlan, program: Program, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return run_flat(plan, inputs, [False] * len(inputs), None, program.counts)


def reference(program: Program, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return interpret(program.graph, inputs, {**program.sizes, **program.counts})


def close(got: torch.Tensor, want: torch.Tensor, program: Program) -> None:
    assert got.shape == want.shape
    error = (got.detach() - want.detach()).abs().max() / want.detach().abs().max().clamp_min(1.0)
    assert torch.isfinite(want).all(), program.text
    assert float(error) <= TOLERANCE, f"{program.text}\n{program.sizes} {program.counts}: {float(error)}"


def forward(kind: str, seed: int, target: str) -> None:
    dice = Random(seed)
    program = CLASSES[kind](dice)
    inputs = program.inputs(seed)
    for got, want in zip(call(planned(program, target, dice), program, inputs), reference(program, inputs), strict=True):
        close(got, want, program)


def gradients(kind: str, seed: int, target: str, *, second: bool) -> None:
    dice = Random(seed)
    program = CLASSES[kind](dice)
    plan, found = planned(program, target, dice), []
    for function in (lambda x: call(plan, program, x), lambda x: reference(program, x)):
        inputs = [x.requires_grad_() for x in program.inputs(seed)]
        loss = torch.stack([(y.sin() * y).sum() for y in function(inputs)]).sum()
        first = torch.autograd.grad(loss, inputs, create_graph=second, allow_unused=True)
        grads = [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, first, strict=True)]
        if second:
            norm = torch.stack([g.square().sum() for g in grads]).sum()
            more = torch.autograd.grad(norm, inputs, allow_unused=True)
            grads += [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, more, strict=True)]
        found.append(grads)
    for got, want in zip(*found, strict=True):
        close(got, want, program)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", CLASSES)
def test_forward(kind: str, seed: int) -> None:
    forward(kind, seed, "c")


@pytest.mark.parametrize("kind", CLASSES)
def test_forward_on_target_numba(kind: str) -> None:
    forward(kind, 4, "numba")


@pytest.mark.parametrize("target", ["c", "numba", TVM_SLOW])
@pytest.mark.parametrize("kind", CLASSES)
def test_gradients(kind: str, target: str) -> None:
    gradients(kind, 7 if target == "c" else 8, target, second=False)


@pytest.mark.parametrize(
    ("kind", "target"), [*((kind, "c") for kind in ("stencil", "contraction", "reduction", "chain")), ("stencil", "numba"), ("chain", "numba")]
)
def test_second_derivatives(kind: str, target: str) -> None:
    gradients(kind, 9 if target == "c" else 10, target, second=True)


@pytest.mark.parametrize("target", ["c", "numba", TVM_SLOW])
def test_strict_programs(target: str) -> None:
    """Without re-association."""
    for n, kind in enumerate(CLASSES):
        dice = Random(20 + n)
        program = CLASSES[kind](dice)
        inputs = program.inputs(n)
        plan = planned(program, target, dice, strict=True)
        for got, want in zip(call(plan, program, inputs), reference(program, inputs), strict=True):
            close(got, want, program)
        if target == "numba" and n == 1:
            return


@pytest.mark.slow
@pytest.mark.needs("tvm")
@pytest.mark.parametrize("seed", range(200, 204))
@pytest.mark.parametrize("kind", CLASSES)
def test_programs_on_target_tvm(kind: str, seed: int) -> None:
    forward(kind, seed, "tvm")
    gradients(kind, seed + 1000, "tvm", second=False)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 200))
@pytest.mark.parametrize("kind", CLASSES)
def test_many_programs(kind: str, seed: int) -> None:
    forward(kind, seed, "c")
    if seed % 5 == 0:
        forward(kind, seed + 1000, "numba")
        gradients(kind, seed + 2000, "c", second=kind not in ("factorization", "triangular"))
        gradients(kind, seed + 3000, "numba", second=False)


@pytest.mark.parametrize(
    ("proposer", "kind"),
    [("contractions", "contraction"), ("contractions", "triangular"), ("stencils", "stencil"), ("reduction", "reduction")],
)
def test_proposers_fire_at_sizes_that_pay(proposer: str, kind: str) -> None:
    """Names and forms differ in each program; every draft is legal. Nothing is run."""
    (propose,) = [p for p in PROPOSERS if p.__name__ == proposer]
    fired = 0
    for seed in range(6):
        small = CLASSES[kind](Random(seed))
        size = 1400 if "," in small.text.splitlines()[0] else 400_000
        nest = lower(simplify(replace(small, sizes=dict.fromkeys(small.sizes, size)).graph))
        draft = Draft.of(Task(nest, Machine(64, 32, l2=1 << 18, l3=1 << 20)))
        if propose(draft):
            prove(draft.scheduled)
            fired += 1
    assert fired


@pytest.mark.parametrize("kind", ["contraction", "triangular", "stencil"])
def test_what_proposers_make_of_small_programs(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the least sizes that pay set lower, so that what is run is more than program order and sweeps."""
    for name, value in {"contraction.WORK": 100, "contraction.LEAST": 4, "stencil._POINTS": 16}.items():
        monkeypatch.setattr(f"unspool.compiler.search.{name}", value)
    for seed in range(30, 34):
        forward(kind, seed, "c")
