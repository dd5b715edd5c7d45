"""``solve_cg`` and ``cg``: solutions, their exact derivatives of every order, and that nothing is kept of the iterations."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import unspool as us
from tests.helpers import TVM_SLOW

TEXTS = us.loads(
    """
fn normal(v, A, ridge) = A.T @ (A @ v) + ridge * v
fn loss(w, A, y, ridge) = 0.5 * sum((A @ w - y)**2) + 0.5 * ridge * sum(w**2)
fn logistic(w, A, y, ridge) = mean(softplus(-y * (A @ w))) + 0.5 * ridge * sum(w**2)
fn soft(v, t) = sign(v) * max(abs(v) - t, 0)
fn laplace(u, c):
    v = (c + 4) * u
    v[1:, :] -= u[:-1, :]
    v[:-1, :] -= u[1:, :]
    v[:, 1:] -= u[:, :-1]
    v[:, :-1] -= u[:, 1:]
    return v

algorithm matrix(A: real[n, n], b: real[n], tol: real) -> real[n]:
    return solve_cg(A, b, tol=tol)

algorithm columns(A: real[n, n], B: real[n, k], tol: real) -> real[n, k]:
    return solve_cg(A, B, tol=tol)

algorithm pile(A: real[s, n, n], b: real[n], tol: real) -> real[s, n]:
    return solve_cg(A, b, tol=tol)

algorithm waves(A: complex[n, n], b: complex[n], tol: real) -> complex[n]:
    return solve_cg(A, b, tol=tol)

algorithm free(A: real[m, n], y: real[m], ridge: real, tol: real) -> real[n]:
    return cg(normal, v, tol=tol)(A.T @ y, A, ridge)

algorithm counted(A: real[m, n], y: real[m], ridge: real, tol: real) -> real[n]:
    iterations J = 40
    return cg(normal, v, maxiter=J, tol=tol)(A.T @ y, A, ridge)

algorithm newton(A: real[m, n], y: real[m], ridge: real, tol: real) -> real[n]:
    w = 0.1 * (A.T @ y)
    return w - cg(hvp(loss, w), v, tol=tol)(grad(loss, w)(w, A, y, ridge), w, A, y, ridge)

algorithm image(c: real[h, w], f: real[h, w], tol: real) -> real[h, w]:
    return cg(laplace, u, tol=tol)(f, c)

algorithm some(A: real[n, n], b: real[n], x: real[n], tol: real) -> real[n]:
    iterations J = 3
    return solve_cg(A, b, x0=x, maxiter=J, tol=tol)

algorithm admm(A: real[m, n], y: real[m], tol: real) -> real[n]:
    iterations K = 4
    iterations J = 50
    param rho: positive = 1.0
    param lam[K]: nonneg = 0.1
    x = zeros(n)
    z = x
    u = x
    for k in 0..K:
        x = cg(normal, v, x0=x, maxiter=J, tol=tol)(A.T @ y + rho * (z - u), A, rho)
        z = soft(x + u, lam[k] / rho)
        u = u + x - z
    return x

algorithm written(A: real[m, n], y: real[m], ridge: real, tol: real) -> real[n]:
    iterations J = 40
    x = zeros(n)
    r = A.T @ y
    p = r
    rr = dot(r, r)
    limit = tol**2 * rr
    for j in 0..J until rr < limit:
        q = normal(p, A, ridge)
        a = rr / dot(p, q)
        x += a * p
        r -= a * q
        s = dot(r, r)
        p = r + (s / rr) * p
        rr = s
    return x

algorithm hyper(A: real[m, n], y: real[m], Av: real[q, n], yv: real[q], ridge: real, tol: real) -> (real, real):
    iterations K = 6
    w = zeros(n)
    for k in 0..K:
        w = w - cg(hvp(logistic, w), v, tol=tol)(grad(logistic, w)(w, A, y, ridge), w, A, y, ridge)
    g = grad(logistic, w)(w, Av, yv, 0.0)
    h = zeros(n)
    r = g
    p = g
    rr = dot(g, g)
    for j in 0..30 until rr < tol**2:
        Hp = hvp(logistic, w)(p, w, A, y, ridge)
        a = rr / dot(p, Hp)
        h += a * p
        r -= a * Hp
        s = dot(r, r)
        p = r + (s / rr) * p
        rr = s
    return mean(softplus(-yv * (Av @ w))), -dot(h, w)
""",
    "conjugate_gradients.us",
)
NUMBA_LATER = {
    "test_solutions_and_gradients": ("columns", "pile", "newton", "image", "matrix"),
    "test_a_loop_written_out": (),
    "test_hyperparameters": (),
    "test_what_cannot_be_solved_spoils_no_other": (),
}
F64 = torch.float64
TIGHT = 1e-13


def dice(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def definite(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    x = dice(*shape, shape[-1], seed=seed, dtype=dtype)
    return x @ x.mH / shape[-1] + torch.eye(shape[-1], dtype=dtype)


def plain(A: Tensor, b: Tensor, steps: int, tol: float = 0.0, x0: Tensor | None = None) -> Tensor:
    """Conjugate gradients as in a textbook."""
    x = torch.zeros_like(b) if x0 is None else x0.clone()
    r = b - A @ x
    p, rr, limit = r, r @ r, tol**2 * (b @ b)
    for _ in range(steps):
        q = A @ p
        a = rr / (p @ q)
        x, r = x + a * p, r - a * q
        rr, before = r @ r, rr
        p = r + rr / before * p
        if rr < limit:
            break
    return x


def ridge(A: Tensor, y: Tensor, c: Tensor) -> Tensor:
    return torch.linalg.solve(A.mT @ A + c * torch.eye(A.shape[-1], dtype=F64), (A.mT @ y.unsqueeze(-1))).squeeze(-1)


def five_points(c: Tensor, f: Tensor) -> Tensor:
    h, w = c.shape
    line, other = (2 * torch.eye(n, dtype=F64) - torch.ones(n, n, dtype=F64).tril(1).triu(-1).fill_diagonal_(0) for n in (h, w))
    matrix = torch.kron(line, torch.eye(w, dtype=F64)) + torch.kron(torch.eye(h, dtype=F64), other)
    return torch.linalg.solve(matrix + torch.diag(c.reshape(-1)), f.reshape(-1, h * w).T).T.reshape(f.shape)


CASES: dict[str, tuple[list[Tensor], Callable[..., Tensor]]] = {
    "matrix": ([definite(5), dice(3, 5, seed=1)], lambda A, b: torch.linalg.solve(A, b.unsqueeze(-1)).squeeze(-1)),
    "columns": ([definite(5), dice(2, 5, 3, seed=1)], torch.linalg.solve),
    "pile": ([definite(2, 4), dice(3, 4, seed=1)],
              lambda A, b: torch.linalg.solve(A, b[:, None, :, None]).squeeze(-1)),
    "waves": ([definite(4, dtype=torch.complex128), dice(2, 4, seed=1, dtype=torch.complex128)],
              lambda A, b: torch.linalg.solve(A, b.unsqueeze(-1)).squeeze(-1)),
    "free": ([dice(6, 4), dice(3, 6, seed=1), torch.tensor(0.3, dtype=F64)], ridge),
    "newton": ([dice(6, 4), dice(3, 6, seed=1), torch.tensor(0.3, dtype=F64)], ridge),
    "image": ([dice(4, 3).abs(), dice(2, 4, 3, seed=1)], five_points),
}  # fmt: skip


def leaves(tensors: list[Tensor]) -> list[Tensor]:
    return [x.clone().requires_grad_() for x in tensors]


def gradients(function: Callable[..., Tensor], tensors: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    xs = leaves(tensors)
    y = function(*xs)
    weights = torch.linspace(-1, 2, y.numel(), dtype=F64).reshape(y.shape)
    loss = (y * weights).sum()
    return y.detach(), list(torch.autograd.grad(loss.real if loss.is_complex() else loss, xs))


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in ("newton", "pile") else n for n in CASES])
def test_solutions_and_gradients(name: str, target: str) -> None:
    if name == "waves" and target == "numba":
        pytest.skip("like matrix")
    tensors, reference = CASES[name]
    got = gradients(lambda *xs: TEXTS[name](*xs, TIGHT, target=target), tensors)
    torch.testing.assert_close(got, gradients(reference, tensors), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_the_interpreter_is_right(name: str) -> None:
    tensors, reference = CASES[name]
    run = lambda *xs: TEXTS[name](*xs, TIGHT, target="interpreter")  # noqa: E731
    (y, slopes), (want, wanted) = gradients(run, tensors), gradients(reference, tensors)
    torch.testing.assert_close([y, *slopes], [want, *wanted], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("target", ["interpreter", "c"])
def test_second_derivatives_and_tangents(target: str) -> None:
    tensors, reference = CASES["matrix"]
    (M, b), g = leaves([dice(5, 5), tensors[1]]), dice(3, 5, seed=2)
    found = []
    for solve in (lambda A, b: TEXTS.matrix(A, b, TIGHT, target=target), reference):

        def run(M: Tensor, b: Tensor, solve: Any = solve) -> Tensor:
            return solve(M @ M.T + torch.eye(5, dtype=F64), b)  # type: ignore[no-any-return]

        slopes = torch.autograd.grad((run(M, b) * g).sum(), (M, b), create_graph=True)
        second = torch.autograd.grad(sum(s.sin().sum() for s in slopes), (M, b))
        found.append([*second, torch.func.jvp(run, (M.detach(), b.detach()), (dice(5, 5, seed=4), g))[1]])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-10)


def test_in_single_precision() -> None:
    tensors = [x.float() for x in CASES["columns"][0]]
    got = gradients(lambda *xs: TEXTS.columns(*xs, 1e-6, target="c"), tensors)
    want = gradients(torch.linalg.solve, CASES["columns"][0])
    torch.testing.assert_close(got[0], want[0].float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got[1], [w.float() for w in want[1]], rtol=1e-4, atol=1e-5)


def test_too_few_iterations_give_the_iterate_and_a_derivative_by_as_few() -> None:
    A, b, x0 = leaves([definite(6), dice(6, seed=1), dice(6, seed=2)])
    for steps in (1, 3):
        x = TEXTS.some(A, b, x0, 0, J=steps, target="c")
        torch.testing.assert_close(x, plain(A, b, steps, x0=x0), rtol=1e-12, atol=1e-12)
        g = dice(6, seed=3)
        dA, db = torch.autograd.grad((x * g).sum(), (A, b))
        w = plain(A, g, steps)
        torch.testing.assert_close([dA, db], [-torch.outer(w, x), w], rtol=1e-12, atol=1e-12)


def test_every_problem_stops_at_its_tolerance() -> None:
    A, b = definite(8), dice(5, 8, seed=1)
    tol = torch.logspace(-0.3, -8, 5, dtype=F64)
    x = TEXTS.matrix(A, b, tol, target="c")
    for p in range(5):
        torch.testing.assert_close(x[p], plain(A, b[p], 80, float(tol[p])), rtol=1e-10, atol=1e-12)
    assert ((b - x @ A).norm(dim=1) < tol * b.norm(dim=1)).all()
    torch.testing.assert_close(x, TEXTS.matrix(A, b, tol, target="interpreter"), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("target", ["interpreter", "c", "numba", TVM_SLOW])
def test_what_cannot_be_solved_spoils_no_other(target: str) -> None:
    """A right side 0, one that is NaN or infinite, as problems of a batch and as columns."""
    A, b = definite(4), dice(4, 4, seed=1)
    b[1], b[2, 0], b[3, 1] = 0, torch.nan, torch.inf
    x = TEXTS.matrix(A, b, 1e-12, target=target)
    torch.testing.assert_close(x[0], torch.linalg.solve(A, b[0]))
    assert (x[1] == 0).all()
    assert not x[2:].isfinite().all(dim=1).any()
    if target != "numba":
        together = TEXTS.columns(A, b.T.contiguous(), 1e-12, target=target).T
        torch.testing.assert_close(together[:2], x[:2])
        assert not together[2:].isfinite().all(dim=1).any()


def test_a_start_that_is_the_solution_stays() -> None:
    A, b = torch.eye(3, dtype=F64) * 2, torch.tensor([2.0, 4.0, 6.0], dtype=F64)
    for target in ("interpreter", "c"):
        assert torch.equal(TEXTS.some(A, b, b / 2, 1e-9, target=target), b / 2)


def test_nothing_breaks_when_the_residual_has_become_nothing() -> None:
    A, b = definite(6, dtype=torch.float32), dice(6, dtype=torch.float32, seed=1)
    x = TEXTS.some(A, b, torch.zeros(6), 0.0, J=400, target="c")
    torch.testing.assert_close(x, torch.linalg.solve(A, b), rtol=1e-4, atol=1e-5)


def test_nothing_is_kept_of_the_iterations(asked: list[int]) -> None:
    """Scratch memory grows by the flags of the loops, a byte for an iteration, for each thread: not by what an iteration computes. That of
    a loop written out does."""
    A, y, c = leaves([dice(6, 4), dice(3, 6, seed=1), torch.tensor(0.3, dtype=F64)])
    most = {}
    for name, steps in itertools.product(("counted", "written"), (400, 700)):
        x = TEXTS[name](A, y, c, 0 if name == "counted" else 1e-9, J=steps, target="c")
        asked.clear()
        torch.autograd.grad(x.sum(), (A, y, c))
        most[name, steps] = max(asked)
    threads = torch.get_num_threads()
    assert most["counted", 700] - most["counted", 400] <= 2 * 300 * threads + 256
    assert most["written", 700] - most["written", 400] >= 300 * 2 * 4 * 8


def test_problems_of_a_tile_stop_by_themselves() -> None:
    """With a shared matrix 16 problems are gone through side by side, each to its tolerance; gradients, too."""
    program = us.loads("algorithm f(given A: real[n, n], b: real[n], tol: real) -> real[n]:\n    return solve_cg(A, b, tol=tol)\n").f
    assert "\nbatch 16\n" in program.compile(shapes={"n": 16, "batch": 37}, dtype="f64", target="c").schedule
    A, b, tol = definite(16), dice(37, 16, seed=1), torch.logspace(-0.2, -12, 37, dtype=F64)
    b[3], b[20, 1], tol[30] = 0, torch.nan, 0
    found = []
    for target in ("c", "interpreter"):
        (z,) = leaves([b])
        x = program.build(A=A, dtype="f64", target=target)(z, tol)
        g = torch.autograd.grad((x * dice(37, 16, seed=2)).sum(), z)[0]
        found.append([x.detach(), g])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-10, equal_nan=True)
    for p in (0, 15, 16, 36):
        torch.testing.assert_close(found[0][0][p], plain(A, b[p], 160, float(tol[p])), rtol=1e-9, atol=1e-10)


def test_an_implicit_layer_inside_of_an_iteration() -> None:
    """ADMM whose inner solve starts from the last one: the start has no derivative, and needs none."""
    A, y = leaves([dice(6, 4), dice(2, 6, seed=1)])
    rho, lam = torch.tensor(0.7, dtype=F64, requires_grad=True), torch.full((4,), 0.1, dtype=F64, requires_grad=True)
    got = torch.autograd.grad(TEXTS.admm(A, y, TIGHT, rho=rho, lam=lam, target="c").square().sum(), (A, y, rho, lam))
    x = z = u = torch.zeros(2, 4, dtype=F64)
    for k in range(4):
        x = torch.linalg.solve(A.T @ A + rho * torch.eye(4, dtype=F64), (y @ A + rho * (z - u)).T).T
        z = torch.sign(x + u) * torch.relu((x + u).abs() - lam[k] / rho)
        u = u + x - z
    torch.testing.assert_close(got, torch.autograd.grad(x.square().sum(), (A, y, rho, lam)), rtol=1e-9, atol=1e-10)


def test_a_loop_written_out(target: str) -> None:
    """Its gradient is that of the iterations that ran: with so many that it has converged that of the solution."""
    tensors, reference = CASES["free"]
    got = gradients(lambda *xs: TEXTS.written(*xs, 1e-9, target=target), tensors)
    want = gradients(reference, tensors)
    torch.testing.assert_close(got[0], want[0], rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(got[1], want[1], rtol=1e-5, atol=1e-6)


def test_hyperparameters(target: str) -> None:
    """The gradient of a validation loss in the strength of the ridge: by a loop written out with Hessian products, and by the adjoint."""
    A, Av = dice(30, 4), dice(20, 4, seed=1)
    y, yv = torch.sign(A @ torch.ones(4, dtype=F64) + dice(30, seed=2)), torch.sign(Av @ torch.ones(4, dtype=F64))
    c = torch.tensor(0.05, dtype=F64, requires_grad=True)
    value, slope = TEXTS.hyper(A, y, Av, yv, c, 1e-12, target=target)
    (got,) = torch.autograd.grad(value, c)
    torch.testing.assert_close(got, slope.detach(), rtol=1e-8, atol=1e-10)
    ends = [TEXTS.hyper(A, y, Av, yv, c.detach() + s * 1e-5, 1e-12, target=target)[0] for s in (1, -1)]
    assert float(got) == pytest.approx(float(ends[0] - ends[1]) / 2e-5, rel=1e-6)


def test_under_transforms_of_torch() -> None:
    A, b = definite(4), dice(3, 4, seed=1)
    want = torch.linalg.solve(A, b.T).T
    for target in ("interpreter", "c"):
        run = lambda b, t=target: TEXTS.matrix(A, b, TIGHT, target=t)  # noqa: E731
        torch.testing.assert_close(torch.func.vmap(run)(b), want)
        torch.testing.assert_close(torch.func.jacrev(run)(b[0]), torch.linalg.inv(A))
        torch.testing.assert_close(torch.func.jvp(run, (b[0],), (b[1],))[1], want[1])


def test_an_operator_with_a_library_call_runs_in_the_interpreter() -> None:
    text = """
fn filtered(v, h) = re(ifft(h * fft(cast(v, complex)))) + v
algorithm f(h: complex[n], b: real[n]) -> real[n]:
    return tanh(cg(filtered, v, tol=1e-13)(sin(b), h))
"""
    run = us.loads(text).f
    h, b = dice(6).abs().to(torch.complex128), dice(2, 6, seed=1).requires_grad_()
    h = h + h[[0, 5, 4, 3, 2, 1]]
    assert torch.autograd.gradcheck(lambda b: run(h, b, target="c"), (b,))
    torch.testing.assert_close(run(h, b, target="c"), torch.tanh(torch.fft.ifft(torch.fft.fft(torch.sin(b)) / (1 + h)).real))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(0, 3), st.integers(0, 2**31), st.floats(-3, 3))
def test_random_systems(n: int, batch: int, seed: int, scale: float) -> None:
    A, b = definite(n, seed=seed) * 10**scale, dice(batch, n, seed=seed + 1) if batch else dice(n, seed=seed + 1)
    got, want = (gradients(f, [A, b]) for f in (lambda A, b: TEXTS.matrix(A, b, 1e-13, target="interpreter"), CASES["matrix"][1]))
    torch.testing.assert_close(got, want, rtol=1e-7, atol=1e-7 * 10 ** max(0, -scale))


REFUSED: list[tuple[str, str]] = [
    ("cg(affine, v)(b, A)", "cg(affine, v) needs affine to be linear in v, and it has a term without v (line 1)"),
    ("cg(bent, v)(b, A)", "cg(bent, v) needs bent to be linear in v, and it takes `tanh` of what depends on v (line 2)"),
    ("cg(square, v)(b, A)", "cg(square, v) needs square to be linear in v, and it takes `mul` of what depends on v (line 3)"),
    ("cg(tall, v)(b, A)", "cg(tall, v) needs a function that gives what v is, real[n], and tall gives real[m]"),
    ("cg(normal, u)(b, A)", "normal has no parameter u; its parameters are v, A"),
    ("cg(normal, v)(b)", "cg(normal, v) takes the arguments (v, A); missing: A"),
    ("cg(normal, v)(0, A)", "cg(normal, v) needs the right side as an array in the place of v, not the number 0"),
    ("cg(normal, v, maxiter=0)(b, A)", "maxiter of cg must be at least 1, not 0"),
    ("cg(normal, v, tol=b)(b, A)", "tol of cg is one number, not real[n]"),
    ("cg(normal, v, x0=y)(b, A)", "x0 of cg has the shape of the right side, real[n], not real[m]"),
    ("cg(normal, v, steps=3)(b, A)", "cg has no argument steps; its arguments are f, v, x0, maxiter and tol"),
    ("cg(A, v)(b, A)", "cg takes a fn first, not real[m, n]"),
    ("solve_cg(A, b)", "solve_cg takes a square matrix, not m by n"),
    ("solve_cg(A.T @ A, y)", "solve_cg of a n by n matrix needs a right side of n rows, not m"),
    ("solve_cg(A.T @ A, b, tol=True)", "solve_cg takes integer or real values, not the number True"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[call for call, _ in REFUSED])
def test_what_is_refused(call: str, message: str) -> None:
    text = f"""fn affine(v, A) = A.T @ (A @ v) - sum(A)
fn bent(v, A) = A.T @ tanh(A @ v)
fn square(v, A) = v * (A.T @ (A @ v))
fn tall(v, A) = A @ v
fn normal(v, A) = A.T @ (A @ v)
algorithm f(A: real[m, n], b: real[n], y: real[m]) -> real[n]:
    return {call}
"""
    with pytest.raises(us.ProgramError) as caught:
        us.loads(text)
    (found,) = caught.value.diagnostics
    assert found.message == message
    assert found.span is not None
    assert found.span.line == 7
