"""``stdlib/bilevel.us``: every algorithm against its equations in torch, with derivatives by autograd and Hessians as matrices; gradients; what
theory promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd.functional import hessian
from torch.func import functional_call
from torch.nn.functional import cross_entropy

import unspool as us
from tests.stdlib.harness import built, gradients_agree
from unspool.compiler.graph import interp_calls

BILEVEL = us.stdlib.bilevel
SEEDS = st.integers(0, 10**6)
SLOW = pytest.mark.slow
#: A compiled case without a search for a schedule is cheap; how schedules are found is no matter of the library's.
PLAIN = {"target": "c", "schedule": ""}
#: Cases whose kernels are many, or large, are compiled with the slow tests only.
HOWS = [
    pytest.param({"target": "interpreter"}, id="interpreter"),
    pytest.param(PLAIN, marks=SLOW, id="plain"),
    pytest.param({"target": "c"}, marks=SLOW, id="c"),
]
N, D, C, V = 8, 3, 2, 5


def one_hot(count: int, classes: int, random: torch.Generator) -> Tensor:
    return torch.eye(classes, dtype=torch.float64)[torch.randint(classes, (count,), generator=random)]


def samples(*lead: int, seed: int = 0) -> list[Tensor]:
    """Samples and labels to learn from, clean ones, and logits of the weights."""
    random = torch.Generator().manual_seed(seed)
    X, Xv = (torch.randn(*lead, n, D, generator=random, dtype=torch.float64) for n in (N, V))
    T, Tv = (one_hot(n, C, random) for n in (N, V))
    return [X, T, Xv, Tv, torch.randn(*lead, N, generator=random, dtype=torch.float64)]


def lower_clean(W: Tensor, X: Tensor, T: Tensor, s: Tensor, ridge: float) -> Tensor:
    return (torch.sigmoid(s) * cross_entropy(X @ W, T, reduction="none")).mean() + ridge * (W**2).sum()


def descended(W: Tensor, value: Any, step: float, count: int) -> Tensor:
    """With a graph of all steps."""
    for _ in range(count):
        W = W if W.requires_grad else W.clone().requires_grad_()
        W = W - step * torch.autograd.grad(value(W), W, create_graph=True)[0]
    return W


def cleaned(X: Tensor, T: Tensor, Xv: Tensor, Tv: Tensor, s: Tensor, K: int, J: int, eta: float) -> tuple[Tensor, Tensor]:
    zero = torch.zeros(D, C, dtype=torch.float64)
    for _ in range(K):
        s = s.detach().requires_grad_()
        W = descended(zero, lambda W, s=s: lower_clean(W, X, T, s, 0.01), 0.4, J)
        s = s - N * eta * torch.autograd.grad(cross_entropy(Xv @ W, Tv), s)[0]
    return s.detach(), descended(zero, lambda W: lower_clean(W, X, T, s.detach(), 0.01), 0.4, J).detach()


def cleaned_implicitly(X: Tensor, T: Tensor, Xv: Tensor, Tv: Tensor, s: Tensor, K: int, J: int, eta: float) -> tuple[Tensor, Tensor]:
    W = torch.zeros(D, C, dtype=torch.float64)
    for _ in range(K):
        s = s.detach().requires_grad_()
        W = descended(W, lambda W, s=s: lower_clean(W, X, T, s.detach(), 0.01), 0.4, J).detach().requires_grad_()
        H = hessian(lambda W, s=s: lower_clean(W, X, T, s.detach(), 0.01), W).reshape(D * C, D * C)
        (right,) = torch.autograd.grad(cross_entropy(Xv @ W, Tv), W)
        Z = torch.linalg.solve(H, right.flatten()).reshape(D, C)
        (down,) = torch.autograd.grad(lower_clean(W, X, T, s, 0.01), W, create_graph=True)
        s = s + N * eta * torch.autograd.grad((down * Z).sum(), s)[0]
    return s.detach(), W.detach()


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", ["hyperclean", "hyperclean_implicit"])
def test_cleaning(name: str, how: dict[str, Any]) -> None:
    inputs = samples(2)
    layer = built(BILEVEL, name, K=3, J=4, eta=0.6, step=0.4, ridge=0.01, **how)
    reference = cleaned if name == "hyperclean" else cleaned_implicitly
    tolerance = 1e-10 if name == "hyperclean" else 2e-3  # of the solves by conjugate gradients
    found = layer(*inputs)
    for i in range(2):
        one = [x[i] if x.dim() == given.dim() + 1 else x for x, given in zip(inputs, samples(), strict=True)]
        for got, want in zip(found, reference(*one, K=3, J=4, eta=0.6), strict=True):
            torch.testing.assert_close(got[i].detach(), want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["hyperclean", pytest.param("hyperclean_implicit", marks=SLOW)])
def test_gradients_of_cleaning(name: str) -> None:
    layer = built(BILEVEL, name, K=2, J=2, eta=0.2, step=0.4, ridge=0.1, target="interpreter")
    gradients_agree(layer, samples(), tolerance=1e-5 if name == "hyperclean" else 1e-2)


def test_both_gradients_are_the_same_in_the_limit() -> None:
    """One iteration of each, from the minimum of the lower objective: that of unrolling tends to the implicit one."""
    inputs = samples()
    far = {"K": 1, "eta": 0.1, "step": 0.5, "ridge": 0.1, "target": "interpreter"}
    s, _ = built(BILEVEL, "hyperclean", J=100, **far)(*inputs)
    implicit, _ = built(BILEVEL, "hyperclean_implicit", J=100, **far)(*inputs)
    moved = (s - inputs[-1]).detach()
    assert float(moved.norm()) > 1e-3
    torch.testing.assert_close((implicit - inputs[-1]).detach(), moved, rtol=2e-3, atol=2e-3 * float(moved.norm()))


# -- any objectives ----------------------------------------------------------------------------------------------------

P = 4


class Upper(nn.Module):
    """Of points x[batch, n], y[batch, p]; the draw moves the target."""

    def __init__(self) -> None:
        super().__init__()
        self.A = nn.Parameter(torch.randn(5, P, generator=torch.Generator().manual_seed(1), dtype=torch.float64))

    def forward(self, x: Tensor, y: Tensor, s: Tensor) -> Tensor:
        return ((y @ self.A.T - 1 - 0.1 * (s[:, None] % 3)) ** 2).sum(-1) + 0.1 * (x**4).sum(-1)


class Lower(nn.Module):
    """Strongly convex in y, and no quadratic form."""

    def __init__(self) -> None:
        super().__init__()
        self.B = nn.Parameter(torch.randn(P, D, generator=torch.Generator().manual_seed(2), dtype=torch.float64))

    def forward(self, x: Tensor, y: Tensor, s: Tensor) -> Tensor:
        pull = 0.5 * ((y - x @ self.B.T) ** 2).sum(-1) + 0.1 * (y**4).sum(-1)
        return pull + 0.05 * x.exp().sum(-1) * (y**2).sum(-1) + 0.01 * (s % 2) * y.sum(-1)


class Slopes:
    """Derivatives of both at a point, as vectors and matrices, for one problem."""

    def __init__(self, x: Tensor, y: Tensor, s: int) -> None:
        draw, (f, g) = torch.tensor([s]), (Upper(), Lower())
        x, y = x.detach().requires_grad_(), y.detach().requires_grad_()
        self.value = float(f(x[None], y[None], draw).detach())
        self.fx, self.fy = torch.autograd.grad(f(x[None], y[None], draw)[0], [x, y])
        (gy,) = torch.autograd.grad(g(x[None], y[None], draw)[0], y, create_graph=True)
        rows = [torch.autograd.grad(one, [x, y], retain_graph=True) for one in gy]
        self.gy, self.gyx, self.gyy = gy.detach(), torch.stack([r[0] for r in rows]), torch.stack([r[1] for r in rows])

    def towards(self, z: Tensor) -> Tensor:
        return self.fx - self.gyx.T @ z


def hypergradient(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    for k in range(6):
        y = y - 0.1 * Slopes(x, y, k).gy
    at = Slopes(x, y, 6)
    return torch.tensor(at.value, dtype=torch.float64), at.towards(torch.linalg.solve(at.gyy, at.fy)), y


def soba(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    z = torch.zeros(P, dtype=torch.float64)
    for k in range(6):
        at = Slopes(x, y, k)
        x, y, z = x - 0.02 * at.towards(z), y - 0.1 * at.gy, z - 0.1 * (at.gyy @ z - at.fy)
    return x, y


def bo_rep(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    for i in range(4):
        y = y - 0.1 * Slopes(x, y, i).gy
    z, m = torch.zeros(P, dtype=torch.float64), torch.zeros(D, dtype=torch.float64)
    for k in range(6):
        if k % 2 == 0:
            for i in range(3):
                y = y - 0.1 * Slopes(x, y, 4 + 3 * k + i).gy
        at = Slopes(x, y, k)
        z = z - 0.05 * (at.gyy @ z - at.fy)
        m = 0.8 * m + 0.2 * at.towards(z)
        x = x - 0.03 * m / m.norm()
    return x, y


GENERAL: dict[str, tuple[Any, dict[str, Any]]] = {
    "hypergradient": (hypergradient, {"step": 0.1}),
    "soba": (soba, {"eta": 0.02, "rho": 0.1}),
    "bo_rep": (bo_rep, {"N": 3, "period": 2, "warm": 4, "eta": 0.03, "gamma": 0.1, "nu": 0.05, "beta": 0.8}),
}


def general(name: str, **how: Any) -> tuple[us.Layer, list[Tensor]]:
    random = torch.Generator().manual_seed(3)
    points = [torch.randn(2, n, generator=random, dtype=torch.float64) for n in (D, P)]
    tolerance = [torch.tensor(1e-12, dtype=torch.float64)] if name == "hypergradient" else []
    return built(BILEVEL, name, f=Upper(), g=Lower(), K=6, **GENERAL[name][1], **how), [*points, *tolerance]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", GENERAL)
def test_general_objectives(name: str, how: dict[str, Any]) -> None:
    layer, (x, y, *more) = general(name, **how)
    found = layer(x, y, *more)
    for i in range(2):
        for got, want in zip(found, GENERAL[name][0](x[i], y[i]), strict=True):
            torch.testing.assert_close(got[i].detach(), want, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["hypergradient", pytest.param("soba", marks=SLOW), "bo_rep"])
def test_gradients_in_everything(name: str) -> None:
    """In points, rates, and the parameters of both modules."""
    layer, inputs = general(name, target="interpreter")
    gradients_agree(layer.with_iterations(K=2), inputs)


@settings(max_examples=10)
@given(seed=SEEDS)
def test_a_hypergradient_is_a_slope(seed: int) -> None:
    """Of quadratic objectives, whose F is known: y(x) = B x, f = |A y - 1|^2 + |x|^2 / 10."""
    random = torch.Generator().manual_seed(seed)
    A, B, x = (torch.randn(shape, generator=random, dtype=torch.float64) for shape in ((5, P), (P, D), (D,)))
    f = lambda x, y, s: ((y @ A.T - 1) ** 2).sum(-1) + 0.1 * (x**2).sum(-1)  # noqa: E731
    g = lambda x, y, s: 0.5 * ((y - x @ B.T) ** 2).sum(-1)  # noqa: E731
    value, h, y = BILEVEL.hypergradient(x, torch.zeros(P, dtype=torch.float64), 1e-12, f=f, g=g, K=1, step=1.0, target="interpreter")
    torch.testing.assert_close(y, B @ x, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(h.detach(), 2 * B.T @ A.T @ (A @ B @ x - 1) + 0.2 * x, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(value.detach(), f(x, B @ x, 0), rtol=1e-12, atol=1e-12)


def test_steps_of_bo_rep_have_one_length() -> None:
    layer, (x, y) = general("bo_rep", target="interpreter")
    _, path = layer(x, y, trace=["x"])
    moved = torch.cat([x[:, None], path.x.detach()], 1).diff(dim=1).norm(dim=-1)
    torch.testing.assert_close(moved, torch.full_like(moved, 0.03), rtol=1e-8, atol=1e-10)


# -- networks ----------------------------------------------------------------------------------------------------------

LAYERS = 3


class Gated(nn.Module):
    """The squared error of a sum of tanh layers, each times its gate."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(4)
        self.A = nn.Parameter(torch.randn(LAYERS, 2, D, generator=random, dtype=torch.float64))
        self.B = nn.Parameter(torch.randn(LAYERS, C, 2, generator=random, dtype=torch.float64) / 2)

    def forward(self, x: Tensor, t: Tensor, gate: Tensor) -> Tensor:
        out = torch.einsum("ni,lhi,lch->nlc", x, self.A, self.B).tanh()
        return ((torch.einsum("nl,nlc->nc", gate, out) - t) ** 2).sum(-1)


def selected(X: Tensor, T: Tensor, Xv: Tensor, Tv: Tensor, J: int, unroll: bool) -> Tensor:
    f = Gated()
    names = [n for n, _ in f.named_parameters()]

    def risk(th: list[Tensor], x: Tensor, t: Tensor, alpha: Tensor) -> Tensor:
        gate = (LAYERS * alpha.softmax(0)).expand(len(x), LAYERS)
        return functional_call(f, dict(zip(names, th, strict=True)), (x, t, gate)).mean()

    alpha = nn.Parameter(torch.zeros(LAYERS, dtype=torch.float64))
    adam, th = torch.optim.Adam([alpha], lr=0.1, eps=1e-12), [p.detach() for p in f.parameters()]
    for _ in range(3):
        th = [p.detach().requires_grad_() for p in th]
        for _ in range(J):
            slopes = torch.autograd.grad(risk(th, X, T, alpha), th, create_graph=True)
            th = [p - 0.05 * g for p, g in zip(th, slopes, strict=True)]
        after = th if unroll else [p.detach() for p in th]
        (alpha.grad,) = torch.autograd.grad(risk(after, Xv, Tv, alpha), alpha)
        adam.step()
    return alpha.detach()


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", ["select_layers", "select_layers_direct"])
def test_selection_of_layers(name: str, how: dict[str, Any]) -> None:
    inputs = samples()[:4]
    found = built(BILEVEL, name, loss=Gated(), K=3, J=4, layers=LAYERS, step=0.05, eta=0.1, **how)(*inputs)
    want = selected(*inputs, J=4, unroll=name == "select_layers")
    torch.testing.assert_close(found.detach(), want, rtol=1e-6, atol=1e-8)


def test_selection_goes_back_over_the_calls_that_it_has_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is recorded around it: a call in each step of training, and one of the other samples; where there is no room, one more for
    each step. One problem alone, and several."""
    inputs = samples(2)[:4]
    want = torch.stack([selected(*(x[n] if x.dim() == 3 else x for x in inputs), J=4, unroll=True) for n in range(2)])
    layer = built(BILEVEL, "select_layers", loss=Gated(), K=3, J=4, layers=LAYERS, step=0.05, eta=0.1, **PLAIN)
    counted: list[int] = []
    layer.loss.register_forward_hook(lambda *_: counted.append(1))
    with torch.no_grad():
        torch.testing.assert_close(layer(*inputs), want, rtol=1e-6, atol=1e-8)
        assert len(counted) == 3 * (4 + 1)
        for kept, calls in ((interp_calls.KEPT, 5), (0, 9)):
            monkeypatch.setattr(interp_calls, "KEPT", kept)
            counted.clear()
            torch.testing.assert_close(layer(*(x[0] if x.dim() == 3 else x for x in inputs)), want[0], rtol=1e-6, atol=1e-8)
            assert len(counted) == 3 * calls
    with torch.inference_mode():
        torch.testing.assert_close(layer(*inputs), want, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["select_layers", pytest.param("select_layers_direct", marks=SLOW)])
def test_gradients_of_selection(name: str) -> None:
    layer = built(BILEVEL, name, loss=Gated(), K=2, J=2, layers=LAYERS, step=0.05, eta=0.1, target="interpreter")
    gradients_agree(layer, samples()[:4], tolerance=1e-4)


class Entropy(nn.Module):
    """The cross-entropy of each sample under a small network."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.f = nn.Sequential(nn.Linear(D, 4), nn.Tanh(), nn.Linear(4, C)).double()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return cross_entropy(self.f(x), t, reduction="none")


def capped(v: np.ndarray, total: float) -> np.ndarray:
    """The projection by Dykstra's alternation, which is no bisection."""
    x, box, plane = v, np.zeros_like(v), np.zeros_like(v)
    for _ in range(4000):
        y = np.clip(x + box, 0, 1)
        box = x + box - y
        x = y + plane + (total - (y + plane).sum()) / len(v)
        plane = y + plane - x
    return np.asarray(np.clip(x, 0, 1))


def hardest(X: Tensor, T: Tensor, count: int, ascent: float) -> tuple[np.ndarray, np.ndarray]:
    w = np.full(N, count / N)
    for k in range(5):
        if k in (2, 4):
            w = (np.argsort(np.argsort(-w, kind="stable")) < count).astype(float)
        f = Entropy()
        for _ in range(3):
            loss = ((1 - (1 + ascent) * torch.as_tensor(w)) * f(X, T)).sum()
            slopes = torch.autograd.grad(loss, list(f.parameters()))
            with torch.no_grad():
                for p, g in zip(f.parameters(), slopes, strict=True):
                    p -= 0.05 * torch.sign(g)
        w = capped(w - 0.4 * (f(X, T).detach().numpy() + 0.02 * w), count)
    return (np.argsort(np.argsort(-w, kind="stable")) < count).astype(float), w


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("ascent", [0.0, 1.0])
def test_worst_forget(ascent: float, how: dict[str, Any]) -> None:
    X, T = samples()[:2]
    layer = built(BILEVEL, "worst_forget", loss=Entropy(), K=5, J=3, period=2, rate=0.4, step=0.05, gamma=0.01, **how)
    chosen, w = layer(X, T, 3, torch.tensor(ascent, dtype=torch.float64))
    mask, relaxed = hardest(X, T, 3, ascent)
    np.testing.assert_array_equal(chosen.detach(), mask)
    np.testing.assert_allclose(w.detach(), relaxed, rtol=1e-5, atol=1e-6)


@settings(max_examples=8)
@given(seed=SEEDS, count=st.integers(1, N - 1))
def test_a_forget_set_is_one(seed: int, count: int) -> None:
    X, T = samples(seed=seed)[:2]
    chosen, w = BILEVEL.worst_forget(X, T, count, 1.0, loss=Entropy(), K=3, J=2, rate=1.0, target="interpreter")
    chosen, w = chosen.detach(), w.detach()
    assert set(chosen.tolist()) <= {0.0, 1.0}
    assert float(chosen.sum()) == count
    assert float(w.sum()) == pytest.approx(count)
    assert float(w.min()) >= 0
    assert float(w.max()) <= 1 + 1e-12
    assert float(w[chosen == 1].min()) >= float(w[chosen == 0].max()) - 1e-12


SIGNS = us.loads("""
use bilevel: losses, unlearned

fn forgotten(w, th, loss, X, T, n, step, J) = sum(w * losses(unlearned(w, th, loss, X, T, 1, n, step, J), loss, X, T, n))

algorithm slopes(X: real[n, d], T: real[n, c], w: real[n]) -> (real[n], real[n]):
    iterations J = 3
    module loss: (real[d], real[c]) -> real
    th = loss.weights
    return grad(forgotten, w)(w, th, loss, X, T, n, 0.05, J), losses(unlearned(w, th, loss, X, T, 1, n, 0.05, J), loss, X, T, n)
""")


def test_through_signs_goes_no_derivative() -> None:
    """The theorem of the paper: the gradient in w is that of w alone, to the bit."""
    X, T, _, _, s = samples()
    total, direct = SIGNS.slopes(X, T, torch.sigmoid(s), loss=Entropy(), target="interpreter")
    torch.testing.assert_close(total, direct, rtol=0, atol=0)


def test_gradients_of_worst_forget() -> None:
    layer = built(BILEVEL, "worst_forget", loss=Entropy(), K=2, J=2, rate=0.2, step=0.05, target="interpreter")
    gradients_agree(layer, [*samples()[:2], torch.tensor(3), torch.tensor(1.0, dtype=torch.float64)])
