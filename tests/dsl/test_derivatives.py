"""``grad``, ``value_and_grad``, ``jvp``, ``vjp`` and ``hvp`` inside programs, against torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from unspool.compiler.diagnostics import ProgramError
from unspool.compiler.graph.adjoint import backward
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.specialize import specialize
from unspool.dsl.program import load_text

from .language_harness import evaluate, only

_rng = np.random.default_rng(3)
A, y, w, v, g = (_rng.standard_normal(s) for s in ((5, 3), 5, 3, 3, 5))
tA, ty, tw, tv, tg = map(torch.from_numpy, (A, y, w, v, g))
DATA = {"A": A, "y": y, "w": w, "v": v, "g": g}

FUNCTIONS = """
fn residual(w, A, y) = tanh(A @ w) - y
fn loss(w, A, y) = sum(residual(w, A, y)**2) + norm(w)
fn loop(w, A, y):
    u = w
    for k in 0..4:
        u = u - 0.1 * (A.T @ (tanh(A @ u) - y))
    return sum(u**2)
"""


def residual(w: torch.Tensor) -> torch.Tensor:
    return torch.tanh(tA @ w) - ty


def loss(w: torch.Tensor) -> torch.Tensor:
    return (residual(w) ** 2).sum() + torch.linalg.norm(w)


def loop(w: torch.Tensor) -> torch.Tensor:
    u = w
    for _ in range(4):
        u = u - 0.1 * (tA.T @ (torch.tanh(tA @ u) - ty))
    return (u**2).sum()


def torch_grad(f: Any) -> torch.Tensor:
    return torch.func.grad(f)(tw)


def results(body: str, result: str) -> list[np.ndarray]:
    text = f"{FUNCTIONS}\nalgorithm f(A: real[m, n], y: real[m], w: real[n], v: real[n], g: real[m]) -> {result}:\n"
    return evaluate(only(text + "".join(f"    {line}\n" for line in body.splitlines())), DATA)


def check(body: str, result: str, *expected: torch.Tensor) -> None:
    for found, wanted in zip(results(body, result), expected, strict=True):
        np.testing.assert_allclose(found, wanted.detach().numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("name", "function"), [("loss", loss), ("loop", loop)])
def test_grad(name: str, function: Any) -> None:
    check(f"return grad({name}, w)(w, A, y)", "real[n]", torch_grad(function))
    check(f"return value_and_grad({name}, w)(w, A, y)", "(real, real[n])", function(tw), torch_grad(function))
    check(
        f"value, slope = value_and_grad({name}, w)(w, A, y=y)\nreturn slope * value",
        "real[n]",
        torch_grad(function) * function(tw),
    )


@pytest.mark.parametrize(("name", "function"), [("loss", loss), ("loop", loop)])
def test_hvp(name: str, function: Any) -> None:
    check(f"return hvp({name}, w)(v, w, A, y)", "real[n]", torch.autograd.functional.hvp(function, tw, tv)[1])


def test_jvp_and_vjp() -> None:
    check("return jvp(residual, w)(v, w, A, y)", "(real[m], real[m])", *torch.func.jvp(residual, (tw,), (tv,)))
    check("return vjp(residual, w)(g, w, A, y)", "real[n]", torch.func.vjp(residual, tw)[1](tg)[0])
    check("return jvp(residual, w)(1, w, A, y)", "(real[m], real[m])", *torch.func.jvp(residual, (tw,), (torch.ones_like(tw),)))
    check("return jvp(loop, w)(v, w, A, y)", "(real, real)", *torch.func.jvp(loop, (tw,), (tv,)))


def test_in_another_argument() -> None:
    check("return grad(loss, A)(w, A, y)", "real[m, n]", torch.func.grad(lambda a: ((torch.tanh(a @ tw) - ty) ** 2).sum())(tA))


def test_several_results() -> None:
    text = "fn pair(w, A):\n    return A @ w, sum(w)\n"
    body = "a, b, p, q = jvp(pair, w)(v, w, A)\nreturn p, q"
    program = f"{text}\nalgorithm f(A: real[m, n], y: real[m], w: real[n], v: real[n], g: real[m]) -> (real[m], real):\n"
    found = evaluate(only(program + "".join(f"    {line}\n" for line in body.splitlines())), DATA)
    np.testing.assert_allclose(found[0], A @ v)
    np.testing.assert_allclose(found[1], v.sum())


def test_nested() -> None:
    inner = "fn slope(w, A, y) = sum(grad(loss, w)(w, A, y)**2)\n"
    head = f"{FUNCTIONS}{inner}\nalgorithm f(A: real[m, n], y: real[m], w: real[n]) -> real[n]:\n"
    text = f"{head}    return grad(slope, w)(w, A, y)\n"
    wanted = torch.func.grad(lambda x: (torch.func.grad(loss)(x) ** 2).sum())(tw)
    np.testing.assert_allclose(evaluate(only(text), DATA)[0], wanted.numpy(), rtol=1e-9)


def test_derivative_of_a_derivative() -> None:
    text = "fn cube(t, c) = c * t**3\n\nalgorithm f(t: real, c: real) -> (real, real):\n"
    text += "    return grad(grad(cube, t), t)(t, c), grad(grad(cube, c), t)(t, c)\n"
    found = evaluate(only(text), {"t": 2.0, "c": 5.0})
    assert [float(x) for x in found] == pytest.approx([60.0, 12.0])


def test_outer_derivative_goes_through() -> None:
    """A step of gradient descent inside, differentiated from outside: the bilevel case."""
    text = f"{FUNCTIONS}\nalgorithm f(A: real[m, n], y: real[m], w: real[n]) -> real:\n    u = w\n    for k in 0..3:\n"
    text += "        u = u - 0.1 * grad(loss, w)(u, A, y)\n    return sum(u**2)\n"
    algorithm = only(text)
    graph = specialize(backward(algorithm.graph, [0, 1, 2]), "f64")
    found = interpret(graph, [tA, ty, tw, torch.tensor(1.0, dtype=torch.float64)], {"m": 5, "n": 3})

    def outer(a: torch.Tensor, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            x = x - 0.1 * torch.func.grad(lambda u: ((torch.tanh(a @ u) - t) ** 2).sum() + torch.linalg.norm(u))(x)
        return (x**2).sum()

    for one, other in zip(found, torch.func.grad(outer, (0, 1, 2))(tA, ty, tw), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_sizes_and_literals_are_built_in() -> None:
    text = "fn f2(x, n, s) = sum(x * arange(n)) * s + x[0]**n\n\n"
    text += "algorithm f(x: real[n]) -> real[n]:\n    return grad(f2, x)(x, n, 0.5)\n"
    x = np.array([0.5, 1.0, 2.0])
    np.testing.assert_allclose(evaluate(only(text), {"x": x})[0], np.array([3 * 0.25, 0.5, 1.0]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("grad(loss, q)(w, A, y)", "loss has no parameter q; its parameters are w, A, y"),
        ("grad(w, w)(w, A, y)", "grad takes a fn first"),
        ("grad(residual, w)(w, A, y)", "needs a function whose value is one real number, and this one gives real[m]"),
        ("grad(loss, w)(w, A)", "missing: y"),
        ("grad(loss, w)(w, A, y, y)", "takes 3 arguments (w, A, y), not 4"),
        ("grad(loss, w)(arange(3), A, y)", "needs w as real numbers, not i64[3]"),
        ("hvp(loss, w)(y, w, A, y)", "hvp(loss, w) needs v of the type real[n], not real[m]"),
        ("vjp(residual, w)((g, g), w, A, y)", "needs one weight per real result of the function, 1, not 2"),
    ],
)
def test_errors(call: str, message: str) -> None:
    text = f"{FUNCTIONS}\nalgorithm f(A: real[m, n], y: real[m], w: real[n], g: real[m]) -> real[n]:\n    return {call}\n"
    with pytest.raises(ProgramError) as caught:
        load_text(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("<string>:")
