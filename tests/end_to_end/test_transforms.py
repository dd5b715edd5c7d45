"""Kernels under torch's own machinery: derivatives of any order, ``torch.func``, forward mode, ``torch.compile``, autocast."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

import unspool as us
from unspool.backends.cpu import CTarget
from unspool.backends.execute import FallbackWarning
from unspool.compiler.loops.tree import Function
from unspool.dsl.compile_options import CompileOptions

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
LASSO = us.load(PROGRAMS / "lasso.us")
TEXTS = us.loads(
    """
algorithm smooth(given A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 3
    param step[K]: positive = 0.2
    param lam[K]: nonneg = 0.1
    param share[n]: simplex
    objective J(z) = sum((A @ z - y)**2)
    x = zeros(n)
    for k in 0..K:
        x = tanh(x - step[k] * (A.T @ (A @ x - y)) + share) * exp(-lam[k])
    return x

algorithm pair(x: real[n], c: i64[n]) -> (real, i64[n], real[n]):
    return sum(x**3), 2 * c, sin(x)

algorithm factor(M: real[n, n], x: real[n]) -> real[n]:
    iterations K = 2
    for k in 0..K:
        x = sin(x + inv(M) @ x)
    return x

algorithm halve(x: real[n], tol: real) -> real[n]:
    iterations K = 50
    for k in 0..K until sum(x * x) < tol:
        x = x / 2
    return x

algorithm weigh(w: real, x: real[n]) -> real[n]:
    iterations J = 2
    iterations K = 3
    param gain[J, K]: positive = 0.5
    for j in 0..J:
        for k in 0..K:
            x = sin(gain[j, k] * w * x)
    return x
"""
)
F64 = torch.float64


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def smooth(target: str = "c", **options: Any) -> us.Layer:
    return TEXTS.smooth.build(A=randn(3, 4, seed=1), target=target, dtype="f64", **options)


def stored(layer: nn.Module) -> dict[str, Tensor]:
    return {n: p.detach() for n, p in layer.named_parameters()}


def run(layer: us.Layer) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    return lambda params, y: functional_call(layer, params, (y,))


def same(got: Any, want: Any) -> None:
    got, want = (torch.utils._pytree.tree_leaves(t) for t in (got, want))
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-9, atol=1e-11)


# -- higher derivatives ------------------------------------------------------------------------------------------------


@pytest.mark.slow  # like test_second_derivatives_in_shared_and_broadcast_operands, by finite differences
@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_gradgradcheck(lead: tuple[int, ...]) -> None:
    layer = smooth()
    names = list(stored(layer))
    inputs = [randn(*lead, 3).requires_grad_(), *[p.requires_grad_() for p in stored(layer).values()]]
    inputs[1 + names.index("lam")].data.add_(0.3)

    def f(y: Tensor, *params: Tensor) -> Tensor:
        return functional_call(layer, dict(zip(names, params, strict=True)), (y,))

    assert torch.autograd.gradcheck(f, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(f, inputs)


def test_second_derivatives_in_shared_and_broadcast_operands() -> None:
    """A leading dimension of 1 in the middle, a shared matrix, a batched weight: against the interpreter."""
    A, y, step = randn(2, 1, 3, 4), randn(3, 3, seed=2), randn(1, 3, 3, seed=3).abs()
    found = []
    for target in ("c", "interpreter"):
        given = [t.clone().requires_grad_() for t in (A, y, step)]
        x = TEXTS.smooth(given[0], given[1], step=given[2], target=target)
        first = torch.autograd.grad(x.sin().sum(), given, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), given, create_graph=True)
        third = torch.autograd.grad(sum(g.square().sum() for g in second), given)
        found.append((x, first, second, third))
    same(*found)


def test_second_derivative_of_what_is_piecewise_linear() -> None:
    """ISTA is piecewise linear in y, and its second derivative there is zero; in A it is not."""
    A, y = randn(3, 4).requires_grad_(), randn(2, 3, seed=1).requires_grad_()
    found = []
    for target in ("c", "interpreter"):
        x = LASSO.ista(A, y, K=4, target=target)
        first = torch.autograd.grad(x.pow(2).sum(), (A, y), create_graph=True)
        found.append((first, torch.autograd.grad(sum(g.pow(2).sum() for g in first), (A, y))))
    same(*found)


def test_several_results_of_which_some_are_integers() -> None:
    x, c = randn(2, 3).requires_grad_(), torch.arange(3)
    total, counts, waves = TEXTS.pair(x, c, target="c")
    assert not counts.requires_grad
    (only_waves,) = torch.autograd.grad(waves.sum(), x, retain_graph=True, create_graph=True)
    same(only_waves, x.cos())
    (only_total,) = torch.autograd.grad(total.sum(), x, create_graph=True)
    same(only_total, 3 * x**2)
    same(torch.autograd.grad((only_total + only_waves).sum(), x)[0], 6 * x - x.sin())


def test_library_calls_between_kernels() -> None:
    M, x = (randn(3, 3) + 4 * torch.eye(3, dtype=F64)).requires_grad_(), randn(2, 3, seed=1).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda M, x: TEXTS.factor(M, x, target="c"), (M, x))
    assert torch.autograd.gradcheck(lambda M, x: TEXTS.factor(M, x, target="c"), (M, x), check_forward_ad=True)


def test_derivatives_that_do_not_compile_are_interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    emit = CTarget.emit

    def refuse(self: CTarget, function: Function) -> str:
        if "backward" in function.name or "tangent" in function.name:
            raise us.CompileError("no such loops, please")
        return emit(self, function)

    fresh = us.loads("algorithm f(A: real[n, n], x: real[n]) -> real[n]:\n    return sin(A @ sin(x))\n").f
    A, x = randn(3, 3).requires_grad_(), randn(2, 3, seed=1).requires_grad_()

    def hessian_product(target: str) -> Any:
        first = torch.autograd.grad(fresh(A, x, target=target).sum(), (A, x), create_graph=True)
        return first, torch.autograd.grad(sum(g.square().sum() for g in first), (A, x))

    want = hessian_product("interpreter")
    monkeypatch.setattr(CTarget, "emit", refuse)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FallbackWarning)
        got = hessian_product("c")
    told = [str(w.message) for w in caught if issubclass(w.category, FallbackWarning)]
    assert "the backward of f runs in the interpreter: no such loops, please" in told
    assert "the backward of f_backward runs in the interpreter: no such loops, please" in told
    same(got, want)
    with pytest.warns(FallbackWarning, match="the tangent of f runs in the interpreter"):
        _, tangent = jvp(lambda x: fresh(A.detach(), x, target="c"), (x.detach(),), (x.detach(),))
    same(tangent, (jacrev(lambda x: fresh(A.detach(), x, target="interpreter"))(x.detach()) * x.detach()).sum((2, 3)))


# -- torch.func and forward mode ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["c", "interpreter"])
def test_functional_call(target: str) -> None:
    layer, y = smooth(target), randn(2, 3)
    other = {n: p + 0.1 for n, p in stored(layer).items()}
    with torch.no_grad():
        changed = smooth(target)
        for n, p in changed.named_parameters():
            p.copy_(other[n])
    same(functional_call(layer, other, (y,)), changed(y))
    same(functional_call(layer, stored(layer), (y,)), layer(y))


@pytest.mark.parametrize("target", ["c", "interpreter"])
def test_vmap_is_a_leading_dimension(target: str) -> None:
    layer, ys = smooth(target), randn(5, 2, 3)
    same(vmap(layer)(ys), layer(ys))
    same(vmap(vmap(layer))(ys), layer(ys))
    same(vmap(layer, in_dims=1)(ys), layer(ys.movedim(1, 0)))
    same(vmap(layer, in_dims=2, out_dims=1)(ys.permute(1, 2, 0)), layer(ys).movedim(0, 1))
    many = {n: torch.stack([p, p + 0.1, p - 0.2, p, p]) for n, p in stored(layer).items()}
    want = torch.stack([run(layer)({n: p[i] for n, p in many.items()}, ys[i]) for i in range(5)])
    same(vmap(run(layer))(many, ys), want)
    want = torch.stack([run(layer)({n: p[i] for n, p in many.items()}, ys[0]) for i in range(5)])
    same(vmap(run(layer), in_dims=(0, None))(many, ys[0]), want)


def test_vmap_of_plain_calls() -> None:
    A, y = randn(4, 3, 5), randn(4, 2, 3, seed=1)
    want = torch.stack([LASSO.ista(a, b, K=3) for a, b in zip(A, y, strict=True)])
    same(vmap(lambda a, b: LASSO.ista(a, b, K=3, target="c"))(A, y), want)
    same(vmap(lambda b: LASSO.ista(A[0], b, K=3, target="c"))(y), LASSO.ista(A[0], y, K=3))


@pytest.mark.parametrize("target", ["c", "interpreter"])
def test_gradients_per_sample(target: str) -> None:
    layer, ys = smooth(target), randn(4, 3)

    def loss(params: dict[str, Tensor], y: Tensor) -> Tensor:
        return functional_call(layer, params, (y,)).square().sum()

    got = vmap(grad(loss), in_dims=(None, 0))(stored(layer), ys)
    for i, y in enumerate(ys):
        layer.zero_grad()
        layer(y).square().sum().backward()
        same({n: g[i] for n, g in got.items()}, {n: p.grad for n, p in layer.named_parameters()})


@pytest.mark.parametrize("target", ["c", "interpreter"])
def test_jacobians_and_hessians(target: str) -> None:
    layer, y = smooth(target), randn(3)
    reference = smooth("interpreter")

    def loss(y: Tensor) -> Tensor:
        return layer(y).sin().sum()

    want = torch.autograd.functional.jacobian(reference, y)
    same(jacrev(layer)(y), want)
    same(jacfwd(layer)(y), want)
    second = torch.autograd.functional.hessian(lambda y: reference(y).sin().sum(), y)
    same(hessian(loss)(y), second)
    same(jacrev(grad(loss))(y), second)
    same(jacfwd(jacfwd(loss))(y), second)
    same(vmap(hessian(loss))(torch.stack([y, y])), torch.stack([second, second]))
    params = stored(layer)
    per_parameter = jacrev(run(layer))(params, y)
    same(per_parameter, jacfwd(run(layer))(params, y))
    assert {n: tuple(j.shape) for n, j in per_parameter.items()} == {"step": (4, 3), "lam": (4, 3), "share": (4, 4)}


@pytest.mark.parametrize("target", ["c", "interpreter"])
def test_products_with_jacobians(target: str) -> None:
    layer, y, t = smooth(target), randn(2, 3), randn(2, 3, seed=5)
    matrix = jacrev(smooth("interpreter"))(y)
    value, pull = vjp(layer, y)
    same(value, layer(y))
    same(pull(value)[0], torch.einsum("bi,bicj->cj", value, matrix))
    value, push = jvp(layer, (y,), (t,))
    same(value, layer(y))
    same(push, torch.einsum("bicj,cj->bi", matrix, t))
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(layer(forward_ad.make_dual(y, t)))
        same(dual.tangent, push)


def test_transforms_of_several_results() -> None:
    x, c = randn(3, 2), torch.arange(2)
    total, counts, waves = vmap(lambda x: TEXTS.pair(x, c, target="c"))(x)
    same((total, counts, waves), (x.pow(3).sum(-1), (2 * c).expand(3, 2), x.sin()))
    same(jacfwd(lambda x: TEXTS.pair(x, c, target="c")[2])(x[0]), torch.diag(x[0].cos()))
    same(hessian(lambda x: TEXTS.pair(x, c, target="c")[0])(x[0]), torch.diag(6 * x[0]))


def test_transforms_around_library_calls() -> None:
    M, x = randn(4, 3, 3) + 4 * torch.eye(3, dtype=F64), randn(4, 3, seed=1)
    want = torch.stack([TEXTS.factor(m, v, target="interpreter") for m, v in zip(M, x, strict=True)])
    same(vmap(lambda m, v: TEXTS.factor(m, v, target="c"))(M, x), want)
    same(jacrev(lambda v: TEXTS.factor(M[0], v, target="c"))(x[0]), jacfwd(lambda v: TEXTS.factor(M[0], v, target="c"))(x[0]))


def test_target_numba() -> None:
    """One small layer through all of them: numba takes its time for each kernel."""
    program = us.loads(
        "algorithm wave(x: real[n]) -> real[n]:\n    param gain[n]: positive = 0.5\n    return sin(gain * x)\n"
    )
    x, tangent, found = randn(2, 3), randn(2, 3, seed=1), []
    for target in ("numba", "interpreter"):
        layer = program.wave.build(target=target, dtype="f64", n=3)

        def loss(params: dict[str, Tensor], x: Tensor, layer: us.Layer = layer) -> Tensor:
            return run(layer)(params, x).square().sum()

        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        found.append(
            (
                vmap(layer)(x),
                vmap(grad(loss), in_dims=(None, 0))(stored(layer), x),
                jacrev(layer)(x[0]),
                hessian(lambda x: loss(stored(layer), x))(x[0]),  # noqa: B023
                jvp(layer, (x,), (tangent,)),
                trained(compiled, layer, x),
            )
        )
    same(*found)


# -- modes -------------------------------------------------------------------------------------------------------------


def test_no_grad_and_inference_mode() -> None:
    layer, y = smooth(), randn(2, 3)
    want = layer(y)
    assert want.requires_grad
    with torch.no_grad():
        assert not layer(y).requires_grad
    with torch.inference_mode():
        found = layer(y)
        same(layer(randn(2, 3)), want)  # an input that is an inference tensor
    assert found.is_inference()
    same(found, want)
    same(layer(y).sum().backward(), None)


def test_autocast_leaves_a_layer_its_precision() -> None:
    first, layer = nn.Linear(5, 6), LASSO.ista.build(A=randn(6, 9).float(), K=3)
    x = randn(4, 5).float()
    found = {}
    for enabled in (False, True):
        first.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            y = first(x)
            assert y.dtype == (torch.bfloat16 if enabled else torch.float32)
            out = layer(y)
            assert out.dtype == torch.float32
            same(LASSO.ista(layer.A, y, K=3), LASSO.ista(layer.A, y.float(), K=3))
            if enabled:
                assert LASSO.ista(layer.A.bfloat16(), y, K=3).dtype == torch.float32
            same(out, layer(y.float()))
        out.square().sum().backward()
        found[enabled] = first.weight.grad
    torch.testing.assert_close(found[True], found[False], rtol=0.1, atol=0.05)
    with pytest.raises(us.DataError, match="mixed precisions: the layer is f32 and y is bf16"):
        layer(y)
    interpreted = LASSO.ista.build(A=layer.A, K=3, target="interpreter")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(interpreted(x @ first.weight.T), layer(x @ first.weight.T))


# -- torch.compile -----------------------------------------------------------------------------------------------------


def trained(model: Callable[..., Any], parameters: nn.Module, *inputs: Tensor) -> Any:
    parameters.zero_grad()
    inputs = tuple(x.clone().requires_grad_(x.is_floating_point()) for x in inputs)
    found = model(*inputs)
    torch.utils._pytree.tree_leaves(found)[0].square().sum().backward()
    return found, [x.grad for x in inputs], {n: p.grad.clone() for n, p in parameters.named_parameters() if p.grad is not None}


@pytest.fixture(autouse=True)
def fresh_compiler() -> Any:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


@pytest.mark.parametrize(
    ("backend", "target"), [("eager", "c"), ("aot_eager", "c"), ("inductor", "c"), ("aot_eager", "interpreter")]
)
def test_layer_in_a_compiled_model(backend: str, target: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 3), smooth(target), nn.Linear(4, 2)).double()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    slow = backend == "inductor"  # which compiles C++ for every graph
    for size in (7, 7) if slow else (7, 7, 3, 9, 1, 3):
        same(trained(compiled, model, randn(size, 5)), trained(model, model, randn(size, 5)))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 3  # one size, any size, size 1
    if slow:
        return
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.step()
    with torch.no_grad():
        model[1].get_parameter("lam").sub_(1.0)  # beyond its bound
        same(compiled(randn(3, 5)), model(randn(3, 5)))
    assert model[1].lam.min().item() == 0
    same(trained(compiled, model, randn(7, 5)), trained(model, model, randn(7, 5)))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 5


def test_plain_call_in_compiled_code() -> None:
    def f(A: Tensor, y: Tensor) -> Tensor:
        return LASSO.ista(A, y, K=3, target="c") + TEXTS.smooth(A, y, step=0.1 * y.abs()).sin()

    compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
    nothing = nn.Module()
    for lead in ((), (2,), (3,)):
        A, y = randn(3, 4), randn(*lead, 3, seed=1)
        same(trained(compiled, nothing, A, y), trained(f, nothing, A, y))


def test_several_results_and_traces_in_compiled_code() -> None:
    def f(x: Tensor, c: Tensor) -> Any:
        total, counts, waves = TEXTS.pair(x, c, target="c")
        return total * waves.sum(-1), counts

    compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
    c = torch.arange(2)
    same(trained(compiled, nn.Module(), randn(3, 2), c), trained(f, nn.Module(), randn(3, 2), c))
    layer = smooth()

    def traced(y: Tensor) -> Any:
        x, path = layer(y, trace=["x"])
        return x, path.x

    same(torch.compile(traced, fullgraph=True, backend="aot_eager")(randn(2, 3)), traced(randn(2, 3)))


def test_objective_in_compiled_code() -> None:
    layer = smooth()

    def loss(y: Tensor) -> Tensor:
        return layer.objective(layer(y), y)

    same(trained(torch.compile(loss, fullgraph=True, backend="aot_eager"), layer, randn(2, 3)), trained(loss, layer, randn(2, 3)))


def test_programs_that_run_on_the_host_in_compiled_code() -> None:
    """A loop with ``until`` and a library call between kernels are one operator, too."""
    halve = torch.compile(lambda x: TEXTS.halve(x, 0.01, target="c") * 2, fullgraph=True, backend="aot_eager")
    factor = torch.compile(lambda M, x: TEXTS.factor(M, x, target="c"), fullgraph=True, backend="aot_eager")
    M = randn(3, 3) + 4 * torch.eye(3, dtype=F64)
    for size in (2, 4, 5):
        x = randn(size, 3)
        same(trained(halve, nn.Module(), x), trained(lambda x: TEXTS.halve(x, 0.01, target="c") * 2, nn.Module(), x))
        same(trained(factor, nn.Module(), M, x), trained(lambda M, x: TEXTS.factor(M, x, target="c"), nn.Module(), M, x))


def test_learned_operators_cut_a_compiled_model() -> None:
    program = us.load(PROGRAMS / "proxgrad.us")
    layer = program.plug_and_play.build(A=randn(3, 4).float(), denoise=nn.Linear(4, 4), K=3)
    y = randn(2, 3).float()
    torch.testing.assert_close(torch.compile(lambda y: layer(y, 1e-6), backend="eager")(y), layer(y, 1e-6))
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported, match="learned operators inside a program run outside of compiled code"):
        torch.compile(lambda y: layer(y, 1e-6), backend="eager", fullgraph=True)(y)


def test_wrong_shapes_in_compiled_code_are_named() -> None:
    compiled = torch.compile(smooth(), fullgraph=True, backend="eager")
    with pytest.raises(Exception, match=r"y is real\[m\] and needs shape \(3,\) in its last axis; got shape \(2, 5\)"):
        compiled(randn(2, 5))


def test_the_operator_keeps_torchs_rules() -> None:
    from unspool.backends.compiled import call, program_site

    routine = TEXTS.smooth.routine(CompileOptions(target="c"))
    binding = routine.base({}, {})
    site = program_site(routine.algorithm, routine.main, binding, "f64", ())
    operands = [randn(3, 4), randn(2, 3), randn(3).abs(), randn(3).abs(), randn(4)]
    torch.library.opcheck(call, (site, [x.requires_grad_() for x in operands]))


def test_a_backward_pass_that_torch_kept_on_disk_finds_its_program() -> None:
    """A later process takes the compiled backward pass from torch's cache, and has traced only the forward one."""
    from unspool.backends import compiled

    def name(text: str, **options: Any) -> str:
        routine = us.loads(text).f.routine(CompileOptions(target="interpreter", **options))
        return compiled.program_site(routine.algorithm, routine.main, routine.base({}, {}), "f64", ())

    text = "algorithm f(x: real[n]) -> real[n]:\n    return sin(x)\n"
    site, x, g = name(text), randn(2, 3), randn(2, 3, seed=1)
    backward = compiled.derived(site, (0,), (True,))
    assert backward not in compiled._sites
    same(compiled.call(backward, [x, g])[0], g * x.cos())
    same(compiled.call(compiled.derived(backward, (0,), (True,)), [x, g, g])[0], -g * g * x.sin())
    assert name(text) == site  # in every process
    assert len({site, name(text.replace("sin", "cos")), name(text, numerics="strict"), name(text.replace(":\n", " where n >= 2:\n"))}) == 4
    with pytest.raises(us.DataError, match="a program that this process has not traced"):
        compiled.call("0" * 64, [x])


@pytest.mark.parametrize("name", ["vmap", "grad", "per sample", "jvp"])
def test_transforms_inside_a_compiled_model_run_as_without_it(name: str) -> None:
    """The operator has no batching rule, and torch would lose tangents; one piece is refused with the reason."""
    layer = smooth()

    def loss(y: Tensor) -> Tensor:
        return layer(y).square().sum()

    models: dict[str, Callable[[Tensor], Any]] = {
        "vmap": lambda y: torch.func.vmap(layer)(2 * y),
        "grad": lambda y: torch.func.grad(loss)(2 * y),
        "per sample": lambda y: torch.func.vmap(torch.func.grad(loss))(2 * y),
        "jvp": lambda y: torch.func.jvp(layer, (y,), (y.sin(),))[1],
    }
    model = models[name]
    y = randn(5, 2, 3)
    same(torch.compile(model, backend="aot_eager")(y), model(y))
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported, match=r"torch\.func transforms an unspool program inside torch.compile"):
        torch.compile(model, backend="aot_eager", fullgraph=True)(y)
