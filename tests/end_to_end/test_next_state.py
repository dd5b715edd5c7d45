"""Gradients that read what an iteration has made as the state of the next one: compiled, with every policy, one problem and many."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import unspool as us
from tests.graph.carried import PROGRAMS
from tests.helpers import TVM_SLOW
from unspool.compiler.graph import adjoint

SIZES = {"n": 6, "m": 4}
#: Names of inputs that differ from problem to problem, where there are several.
OWN = "x"
NUMBA_LATER = {"test_compiled_gradients_are_the_interpreters": ("relu", "heavy ball", "down", "inner", "2", "40")}


def gradients(name: str, target: str, count: int, batch: int | None, memory: str | None = None) -> tuple[Tensor, ...]:
    """Of a weighted sum of results, in all inputs."""
    handle = us.loads(PROGRAMS[name]).f
    random = torch.Generator().manual_seed(count)
    leaves = []
    for value in handle.algorithm.graph.inputs:
        shape = tuple(s.evaluate({**SIZES, "K": count}) for s in value.type.shape)
        lead = (batch,) if batch is not None and value.name == OWN else ()
        leaves.append((torch.rand(*lead, *shape, generator=random, dtype=torch.float64) - 0.4).requires_grad_())
    options = {} if memory is None else {"memory": memory}
    y = handle(*leaves, K=count, target=target, **options)
    return torch.autograd.grad((y * torch.linspace(1, 2, y.numel(), dtype=y.dtype).reshape(y.shape)).sum(), leaves)


@pytest.mark.parametrize("batch", [None, 3, 40])
@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("target", ["c", "numba", TVM_SLOW])
@pytest.mark.parametrize("name", PROGRAMS)
def test_compiled_gradients_are_the_interpreters(name: str, target: str, count: int, batch: int | None) -> None:
    for got, want in zip(gradients(name, target, count, batch), gradients(name, "interpreter", count, batch), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("batch", [None, 40])
@pytest.mark.parametrize("name", ["tanh", "dual", "heavy ball"])
def test_budgets_are_kept_and_gradients_stay(name: str, batch: int | None, asked: list[int]) -> None:
    want = gradients(name, "c", 200, batch)
    budget = max(asked) * 2 // 3
    asked.clear()
    got = gradients(name, "c", 200, batch, f"{budget}B")
    assert max(asked) <= budget
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "share"), [("tanh", 0.75), ("relu", 0.75), ("heavy ball", 0.85), ("dual", 1.0)])
def test_scratch_memory_is_no_more_than_without(name: str, share: float, asked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    gradients(name, "c", 64, 40)
    least = max(asked)
    asked.clear()
    monkeypatch.setattr(adjoint, "steps", lambda node: [])
    gradients(name, "c", 64, 40)
    assert least <= share * max(asked)


def test_explain_tells_what_is_read_as_the_next_state() -> None:
    kernel = us.loads(PROGRAMS["dual"]).f.compile({"n": 50}, K=9, target="c")
    values = {v["type"]: v["read"] for v in kernel.report(gradients=True)["kernels"][1]["tape"]["values"]}
    assert values == {"f32[K + 1, 50]": "before and after", "f32[K, 50]": "in"}
    assert "the next row is what an iteration makes of it: read, not computed again" in kernel.explain(gradients=True)
