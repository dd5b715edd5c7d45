"""Programs whose products are taken before their loops: on both targets, batched or not, with gradients, from files, and off under strict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import unspool as us
from tests.graph.gram_programs import REWRITTEN
from unspool.backends.executor import Executor

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
EM = us.load(PROGRAMS / "em.us").unrolled_em
#: A learned step, a given matrix, a loss.
FIT = """
algorithm fit(given A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 40
    param step[K]: positive = 0.02
    x = zeros(n)
    for k in 0..K:
        x = x - step[k] * (A.T @ (A @ x - y)) - 0.001 * sign(x)
    return x

fn square(x, t) = sum((x - t)**2)
"""
DATA = us.loads(FIT)
M, N = 40, 5
#: Programs of the ordinary run; the others, whose rewritten graphs the interpreter checks, are like them.
COMPILED = ("weighted, regularized", "several right-hand sides", "in an inner loop", "means, another way")
#: numba takes seconds for a kernel.
NUMBA_LATER = {
    "test_rewritten_programs": COMPILED[1:],
    "test_expectation_maximization_as_written": (),
    "test_a_shared_matrix_is_multiplied_once": (),
}


def executor(handle: Any) -> Executor:
    main: Executor = handle._routine.main
    return main


def few_shot(*lead: int) -> list[torch.Tensor]:
    torch.manual_seed(1)
    labels = torch.eye(3, dtype=torch.float64).repeat(2, 1)[:5].expand(*lead, 5, 3)
    return [torch.randn(*lead, 5, 60, dtype=torch.float64) / 8, labels, torch.randn(*lead, 12, 60, dtype=torch.float64) / 8]


@pytest.mark.parametrize("name", [n if n in COMPILED else pytest.param(n, marks=pytest.mark.slow) for n in REWRITTEN])
def test_rewritten_programs(name: str, target: str) -> None:
    (handle,) = us.loads(REWRITTEN[name])
    torch.manual_seed(0)
    sizes = {"m": 40, "n": 6, "p": 2, "s": 5, "q": 12, "d": 60, "c": 3}
    inputs = []
    for v in handle.algorithm.graph.inputs:
        if v.name not in {p.name for p in handle.algorithm.params}:
            inputs.append(torch.rand([s.evaluate(sizes) for s in v.type.shape], dtype=torch.float64) / 4)
    got = handle(*inputs, K=30, target=target)
    want = handle(*inputs, K=30, target="interpreter")
    for x, y in zip(*[r if isinstance(r, tuple) else (r,) for r in (got, want)], strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("lead", [(), (5,)])
def test_expectation_maximization_as_written(lead: tuple[int, ...], target: str) -> None:
    inputs = few_shot(*lead)
    found = []
    for where in (target, "interpreter"):
        layer = EM.build(K=10, target=where, dtype="f64")
        result = layer(*inputs)
        found.append([result.detach(), *torch.autograd.grad((result**2).sum(), list(layer.parameters()))])
        if where != "interpreter":
            assert all(p.rewrites for p in executor(layer).plans.values())
    for x, y in zip(*found, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-8, atol=1e-9)


def test_precision_of_single_precision() -> None:
    """Squares of means by products are as exact as the distances of the program need."""
    inputs = few_shot()
    layers = {n: EM.build(K=10, numerics=n, dtype="f32", target="c") for n in ("default", "strict")}
    exact = EM.build(K=10, dtype="f64", target="interpreter")(*inputs)
    error = {n: float((layer(*[x.float() for x in inputs]) - exact).detach().abs().max()) for n, layer in layers.items()}
    assert error["default"] < 1e-5
    assert error["default"] < 20 * error["strict"] + 1e-6


def test_strict_and_program_order_keep_the_program() -> None:
    inputs = few_shot()
    for options in ({"numerics": "strict"}, {"schedule": ""}):
        layer = EM.build(K=10, target="c", dtype="f64", **options)
        layer(*inputs)
        assert not any(p.rewrites for p in executor(layer).plans.values())


def test_explain_tells() -> None:
    shapes = {"s": 5, "q": 12, "d": 60, "c": 3}
    done = EM.compile(shapes=shapes, target="c")
    (entry,) = done.report()["rewrites"]
    assert entry["state"] == "done"
    assert entry["flops_before"] > 1.5 * entry["flops_after"]
    assert "query @ query.T" in entry["products"]
    assert "products taken before a loop" in done.explain()
    (entry,) = EM.compile(shapes=shapes, target="c", numerics="strict").report()["rewrites"]
    assert entry["state"] == 'off: numerics="strict"'
    assert "rewrites" not in us.load(PROGRAMS / "lasso.us").ista.compile(shapes={"m": 4, "n": 6}, target="c").report()


def test_iteration_counts_share_kernels() -> None:
    """One kernel where the product pays, one where it does not, whatever the count."""
    torch.manual_seed(0)
    A, y = torch.randn(M, N, dtype=torch.float64) / 8, torch.randn(M, dtype=torch.float64)
    layer = us.loads(FIT).fit.build(A=A, K=1, target="c", dtype="f64")  # with kernels of its own
    for count, kernels in ((1, 1), (2, 1), (30, 2), (40, 2), (3, 2), (300, 2)):
        found = layer.with_iterations(count)(y)
        torch.testing.assert_close(found, DATA.fit(A, y, K=count, target="interpreter"))
        assert len(executor(layer).plans) == kernels
    assert sorted(bool(p.rewrites) for p in executor(layer).plans.values()) == [False, True]


@pytest.mark.parametrize("count", [3, 40])
def test_a_shared_matrix_is_multiplied_once(count: int, target: str) -> None:
    torch.manual_seed(0)
    A, y = torch.randn(M, N, dtype=torch.float64) / 8, torch.randn(count, M, dtype=torch.float64)
    found = []
    for where in (target, "interpreter"):
        layer = us.loads(FIT).fit.build(A=A, K=40, target=where, dtype="f64")
        leaf = y.clone().requires_grad_()
        result = layer(leaf)
        found.append([result.detach(), *torch.autograd.grad((result**2).sum(), [leaf, *layer.parameters()])])
        if where != "interpreter":
            assert [p.graph.name for p in executor(layer).plans.values()] == ["fit_once", "fit"]
    for x, z in zip(*found, strict=True):
        torch.testing.assert_close(x, z, rtol=1e-9, atol=1e-10)


def test_gradients_reach_a_shared_matrix() -> None:
    torch.manual_seed(0)
    A, y = torch.randn(M, N, dtype=torch.float64) / 8, torch.randn(6, M, dtype=torch.float64)
    found = []
    for where in ("c", "interpreter"):
        leaf = A.clone().requires_grad_()
        result = DATA.fit(leaf, y, K=40, target=where)
        found.append(torch.autograd.grad((result**2).sum(), leaf)[0])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("lead", [(), (20,)])
def test_loss_inside_the_kernel(lead: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    A, y = torch.randn(M, N, dtype=torch.float64) / 8, torch.randn(*lead, M, dtype=torch.float64)
    target = torch.randn(*lead, N, dtype=torch.float64)
    found = []
    for where in ("c", "interpreter"):
        layer = DATA.fit.build(A=A, K=40, target=where, dtype="f64")
        value, grads = layer.value_and_grad(DATA.square)(y, target)
        found.append([value, *grads.values()])
    for x, z in zip(*found, strict=True):
        torch.testing.assert_close(x, z, rtol=1e-9, atol=1e-10)


def test_first_called_inside_a_transform() -> None:
    torch.manual_seed(0)
    A, y = torch.randn(M, N, dtype=torch.float64) / 8, torch.randn(3, M, dtype=torch.float64)
    layer = us.loads(FIT).fit.build(A=A, K=40, target="c", dtype="f64")
    found = torch.vmap(layer)(y)
    assert any(p.rewrites for p in executor(layer).plans.values())
    torch.testing.assert_close(found, DATA.fit(A, y, K=40, target="interpreter"))


@pytest.mark.slow
def test_transforms_and_compiled_models() -> None:
    torch.manual_seed(0)
    A, y = torch.randn(M, N, dtype=torch.float64) / 8, torch.randn(7, M, dtype=torch.float64)
    layer = us.loads(FIT).fit.build(A=A, K=40, target="c", dtype="f64")
    found = torch.vmap(layer)(y)
    want = layer(y).detach()
    torch.testing.assert_close(found, want)
    torch.testing.assert_close(torch.compile(layer, backend="eager")(y).detach(), want)
    jacobian = torch.func.jacrev(layer)(y[0])
    torch.testing.assert_close(torch.func.jacfwd(layer)(y[0]), jacobian)


def test_kernel_files(tmp_path: Path) -> None:
    inputs = few_shot()
    kernel = EM.compile(shapes={"s": 5, "q": 12, "d": 60, "c": 3}, target="c", dtype="f64")
    kernel.save(tmp_path / "em.unspool", backward=True)
    loaded = us.load_kernel(tmp_path / "em.unspool")
    torch.testing.assert_close(loaded(*inputs), EM(*inputs, target="interpreter"), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(loaded(*inputs, K=2), EM(*inputs, K=2, target="interpreter"), rtol=1e-9, atol=1e-10)
