"""Models as values: a network trained inside an algorithm, against plain torch and finite differences."""

# ruff: noqa: B007, F821, UP037  (embedded programs)

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import unspool as us
from tests.slopes import slope
from unspool.compiler.diagnostics import DataError, ProgramError

TEXT = """
fn loss(th, f, x, t) = mean((f(x, weights=th) - t)**2)

algorithm train(x: real[n, d], t: real[n, c], v: real[n, d]) -> (weights(f), real[n, c]):
    iterations K = 3
    param eta[K]: positive = 0.2
    param decay: nonneg = 0.1
    module f: (real[n, d]) -> real[n, c]
    th = f.weights
    m = zeros_like(th)
    for k in 0..K:
        g = grad(loss, th)(th, f, x, t)
        m = 0.5 * m + g / (1 + norm(g))
        th = th - eta[k] * (m + decay * th)
    return th, f(v, weights=th)

algorithm predict(th: weights(f), x: real[n, d]) -> real[n, c]:
    module f: (real[n, d]) -> real[n, c]
    return f(x, weights=th)

algorithm leaves(v: weights(f), x: real[n, d], t: real[n, c]) -> (weights(f), weights(f), real, real):
    module f: (real[n, d]) -> real[n, c]
    th = f.weights
    return hvp(loss, th)(v, th, f, x, t), sign(v) * max(th, v), dot(th, v), norm(v)

algorithm each(x: real[p, n, d]) -> real[p, n, c]:
    module f: (real[n, d]) -> real[n, c]
    return [f(x[i], weights=f.weights / (i + 1)) for i in 0..p]

algorithm layers(x: real[n]) -> real[n]:
    iterations K = 2
    module f[K]: (real[n]) -> real[n]
    for k in 0..K:
        x = f[k](x, weights=2 * f[k].weights) + norm(f[K-1].weights)
    return x

algorithm twice(x: real[n, d], t: real[n, c], v: real[n, d]) -> real[n, c]:
    module g: (real[n, c]) -> real[n, c]
    th, y = train(x, t, v)
    return g(y, weights=g.weights) + y
"""
PROGRAM = us.loads(TEXT)
N, D, C, K = 5, 3, 2, 3
TARGETS = ["interpreter", "c", pytest.param("numba", marks=pytest.mark.slow)]


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(D, 4), nn.Tanh(), nn.Linear(4, C)).double()


def data(*lead: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    return [torch.randn(*lead, N, size, generator=random, dtype=torch.float64) for size in (D, C, D)]


def reference(f: nn.Module, x: Tensor, t: Tensor, v: Tensor, eta: Tensor, decay: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """``train`` in plain torch, with ``create_graph``."""
    th = dict(f.named_parameters())
    m = {n: torch.zeros_like(p) for n, p in th.items()}
    for step in eta:
        value = ((functional_call(f, th, (x,)) - t) ** 2).mean()
        g = dict(zip(th, torch.autograd.grad(value, list(th.values()), create_graph=True), strict=True))
        scale = 1 + sum((p**2).sum() for p in g.values()).sqrt()
        m = {n: 0.5 * m[n] + g[n] / scale for n in m}
        th = {n: th[n] - step * (m[n] + decay * th[n]) for n in th}
    return th, functional_call(f, th, (v,))


@pytest.mark.parametrize("target", TARGETS)
def test_training_inside_an_algorithm(target: str) -> None:
    f, inputs = net(), [x.requires_grad_() for x in data()]
    layer = PROGRAM.train.build(f=f, dtype="f64", target=target)
    eta, decay = (v.clone().requires_grad_() for v in (layer.values()["eta"], layer.values()["decay"]))
    wanted, out = reference(f, *inputs, eta, decay)
    th, got = layer(*inputs)
    assert list(th) == [n for n, _ in f.named_parameters()]
    for name, leaf in th.items():
        torch.testing.assert_close(leaf, wanted[name], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(got, out, rtol=1e-12, atol=1e-14)
    stored = layer.parameters_by_name()
    ours = [*f.parameters(), *inputs, stored["decay"]]
    theirs = [*f.parameters(), *inputs, decay]
    found = torch.autograd.grad((got**2).sum(), ours, retain_graph=True)
    for a, b in zip(found, torch.autograd.grad((out**2).sum(), theirs, retain_graph=True), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-13)

    leaves = [*f.parameters(), *inputs, *stored.values()]
    random = torch.Generator().manual_seed(2)
    for leaf, grad in zip(leaves, torch.autograd.grad((got**2).sum(), leaves), strict=True):
        direction = torch.randn(leaf.shape, generator=random, dtype=leaf.dtype)
        expected = slope(lambda: (layer(*inputs)[1] ** 2).sum(), leaf, direction)
        assert abs(float((grad * direction).sum()) - expected) < 1e-6 * max(1, abs(expected))


@pytest.mark.parametrize("target", ["interpreter", "c"])
def test_problems_of_a_batch_have_weights_of_their_own(target: str) -> None:
    f, (x, t, v) = net(), data(2, 2)
    layer = PROGRAM.train.build(f=f, dtype="f64", target=target)
    eta, decay = layer.values()["eta"], layer.values()["decay"]
    v = v[0, 0].requires_grad_()
    th, y = layer(x, t, v)
    total = []
    for i in range(2):
        for j in range(2):
            wanted, out = reference(f, x[i, j], t[i, j], v, eta, decay)
            torch.testing.assert_close(y[i, j], out, rtol=1e-12, atol=1e-14)
            for name, leaf in th.items():
                torch.testing.assert_close(leaf[i, j], wanted[name], rtol=1e-12, atol=1e-14)
            total.append((out**3).sum())
    leaves = [*f.parameters(), v]
    for a, b in zip(torch.autograd.grad((y**3).sum(), leaves), torch.autograd.grad(sum(total), leaves), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-13)
    again = PROGRAM.predict(th, v, f=f, c=C, target=target)
    torch.testing.assert_close(again, y)
    assert layer(x[:0], t[:0], v)[1].shape == (0, 2, N, C)


def test_weights_act_as_one_vector() -> None:
    f, g, (x, t, _) = net(), net(3), data()
    theirs = [p.detach() for p in g.parameters()]
    value = ((f(x) - t) ** 2).mean()
    slopes = torch.autograd.grad(value, list(f.parameters()), create_graph=True)
    curved = torch.autograd.grad(slopes, list(f.parameters()), theirs)
    product, other, inner, size = PROGRAM.leaves(g, x, t, f=f)
    for got, want in zip(product.values(), curved, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-13)
    for got, a, b in zip(other.values(), f.parameters(), theirs, strict=True):
        torch.testing.assert_close(got, b.sign() * torch.maximum(a, b))
    torch.testing.assert_close(inner, sum((a * b).sum() for a, b in zip(f.parameters(), theirs, strict=True)))
    torch.testing.assert_close(size, torch.stack([(b**2).sum() for b in theirs]).sum().sqrt())


@pytest.mark.parametrize("target", ["interpreter", "c"])
def test_modules_in_comprehensions(target: str) -> None:
    f, x = net(), torch.randn(3, 4, N, D, dtype=torch.float64)
    y = PROGRAM.each(x, f=f, c=C, target=target)
    for i in range(4):
        th = {n: p / (i + 1) for n, p in f.named_parameters()}
        torch.testing.assert_close(y[:, i], functional_call(f, th, (x[:, i],)), rtol=1e-12, atol=1e-14)


def test_instances_and_called_algorithms() -> None:
    fs, x = [nn.Linear(N, N).double() for _ in range(2)], torch.randn(4, N, dtype=torch.float64)
    offset = torch.cat([p.flatten() for p in fs[1].parameters()]).norm()
    want = x
    for f in fs:
        want = 2 * f(want) + offset - f.bias + f.bias * 1
    torch.testing.assert_close(PROGRAM.layers(x, f=fs), want)
    g, f, inputs = nn.Linear(C, C).double(), net(), data()
    y = PROGRAM.train(*inputs, f=f)[1]
    torch.testing.assert_close(PROGRAM.twice(*inputs, g=g, **{"train.f": f}), g(y) + y)


def test_numpy_comes_back_by_name_and_traces_too() -> None:
    f, inputs = net(), [x.numpy() for x in data()]
    (th, y), path = PROGRAM.train(*inputs, f=f, trace=["th"])
    assert all(isinstance(leaf, np.ndarray) for leaf in th.values())
    assert isinstance(y, np.ndarray)
    for name, leaf in th.items():
        assert path.th[name].shape == (K, *leaf.shape)
        np.testing.assert_array_equal(path.th[name][-1], leaf)
    np.testing.assert_allclose(PROGRAM.predict(th, inputs[2], f=f, c=C), y, rtol=1e-14)
    f.load_state_dict({n: torch.from_numpy(leaf) for n, leaf in th.items()})
    np.testing.assert_allclose(f(torch.from_numpy(inputs[2])).detach(), y, rtol=1e-14)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"f": lambda x: x}, r"weights\(f\) are the parameters of a torch.nn.Module: .*got a function"),
        ({"f": nn.Tanh()}, "without parameters"),
        ({"th": {}}, "'0.weight' is missing"),
        ({"th": {**dict(net().named_parameters()), "more": 1.0}}, "it has no 'more'"),
        ({"th": torch.zeros(26)}, r"th needs weights\(f\): the parameters of a module by name; got a Tensor"),
        ({"th": {**dict(net().named_parameters()), "0.bias": torch.zeros(7)}}, r"th\['0.bias'\] needs shape \(4,\); got shape \(7,\)"),
        ({"th": {n: torch.zeros(i + 1, *p.shape) for i, (n, p) in enumerate(net().named_parameters())}}, "leading dimensions"),
        ({"c": None}, "the size c is not known"),
    ],
)  # fmt: skip
def test_wrong_weights(changes: dict[str, Any], message: str) -> None:
    call = {"th": dict(net().named_parameters()), "x": data()[0], "f": net(), "c": C, **changes}
    with pytest.raises(DataError, match=message):
        PROGRAM.predict(**{n: v for n, v in call.items() if v is not None})


def test_a_module_that_torch_cannot_map() -> None:
    class Branching(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if float(x.sum()) > 0 else x[..., :C]

    x, t, v = data(2)
    with pytest.raises(DataError, match="module f cannot be called with weights of its own for each problem"):
        PROGRAM.train(x, t, v, f=Branching(D, C).double())


@pytest.mark.parametrize(
    ("line", "code", "column"),
    [
        ("th: weights(f) = f.weights", "", 0), ("th = f.weight", "US0210", 12), ("th = g.weights", "US0413", 10), ("th = g[0].weights", "", 0),
        ("y = f(x, weights=x)", "US0413", 14), ("y = f(x, w=f.weights)", "US0413", 14), ("y = f(x, weights=g[0].weights)", "US0413", 14),
        ("y = f.weights + x", "US0301", 9), ("y = f.weights + g[0].weights", "US0301", 9), ("y: weights(x) = 0", "US0509", 16),
        ("y: weights = 0", "US0509", 8), ("y: real(f) = 0", "US0509", 8), ("y = x.weights", "US0210", 11),
    ],
)  # fmt: skip
def test_diagnostics(line: str, code: str, column: int) -> None:
    text = (
        "algorithm a(x: real[n]) -> real[n]:\n    iterations K = 2\n    module f: (real[n]) -> real[n]\n"
        f"    module g[K]: (real[n]) -> real[n]\n    {line}\n    return x\n"
    )
    if not code:
        us.loads(text)
        return
    with pytest.raises(ProgramError) as caught:
        us.loads(text)
    (found,) = caught.value.diagnostics
    assert (found.code, found.span.line, found.span.column) == (code, 5, column)


def test_the_embedding_gives_the_same_graph() -> None:
    @us.fn
    def loss(th, f, x, t):  # type: ignore[no-untyped-def]
        return us.mean((f(x, weights=th) - t) ** 2)

    @us.algorithm
    def fit(x: us.real["n", "d"], t: us.real["n", "c"], th: us.weights("f")) -> us.weights("f"):  # type: ignore[name-defined]
        K = us.iterations(4)
        f = us.module("(real[n, d]) -> real[n, c]")
        for k in range(K):
            th = th - us.grad(loss, th)(th, f, x, t) + 0 * f.weights
        return th

    written = us.loads(
        "fn loss(th, f, x, t) = mean((f(x, weights=th) - t)**2)\n"
        "algorithm fit(x: real[n, d], t: real[n, c], th: weights(f)) -> weights(f):\n    iterations K = 4\n"
        "    module f: (real[n, d]) -> real[n, c]\n    for k in 0..K:\n        th = th - grad(loss, th)(th, f, x, t) + 0 * f.weights\n    return th\n"
    )
    assert fit.algorithm.graph == written.fit.algorithm.graph
    assert "th: weights(f)) -> weights(f)" in repr(fit)


def test_a_layer_in_a_kernel_file(tmp_path: Path) -> None:
    f, inputs = net(), data()
    layer = PROGRAM.train.build(f=f, dtype="f64", target="c")
    layer.save(tmp_path / "train.usk", shapes={"n": N, "d": D, "c": C})
    again = us.load_kernel(tmp_path / "train.usk", f=f)
    torch.testing.assert_close(again(*inputs)[1], layer(*inputs)[1], rtol=0, atol=0)
