"""Every program of the language page: every target, both precisions, single and batched, gradients, one kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

import unspool as us
from tests.end_to_end.cases import CASES, ONE_KERNEL, PROGRAMS, Case, draw
from tests.slopes import slope
from unspool.compiler import options

DTYPES = {"f32": torch.float32, "f64": torch.float64}
DIFFERENTIABLE = [c for c in CASES if c.smooth]

#: (case, precision, target). Numba takes seconds for a kernel: in f64 its kernels are those of the gradients, where there are any.
RUNS = [
    pytest.param(case, precision, target, marks=[pytest.mark.needs("tvm")] if target == "tvm" else [])
    for target in ("c", "numba", "tvm")
    for case in CASES
    for precision in ("f64", "f32")
    if (target, precision) != ("numba", "f64") or not case.smooth
]


@cache
def loaded(program: str) -> Any:
    return us.load(PROGRAMS / f"{program}.us")


def algorithm(case: Case) -> Any:
    return getattr(loaded(case.program), case.algorithm)


class Shrink(torch.nn.Module):
    """A small learned operator: contracts, so that fixed points exist."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.9, dtype=dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * torch.tanh(x)


def extras(case: Case, dtype: torch.dtype) -> dict[str, Any]:
    found: dict[str, Any] = dict(case.iterations)
    if case.algorithm == "eggroll":
        found["rng"] = us.key(3)
    if case.modules:
        found["denoise"] = Shrink(dtype)
    return found


def run(case: Case, inputs: dict[str, torch.Tensor], dtype: torch.dtype, target: str) -> tuple[torch.Tensor, ...]:
    cast = {n: t.to(dtype) if t.is_floating_point() else t for n, t in inputs.items()}
    with options.scope(target=target):
        found = algorithm(case)(**cast, **extras(case, dtype))
    return found if isinstance(found, tuple) else (found,)


def error(got: torch.Tensor, want: torch.Tensor) -> float:
    """Relative error in the maximum norm."""
    assert got.shape == want.shape
    return float((got.double() - want.double()).detach().abs().max() / want.detach().abs().max().clamp_min(1e-30))


@pytest.mark.parametrize("batch", [(), (3,), (2, 2)], ids=["single", "batch", "grid"])
@pytest.mark.parametrize(("case", "precision", "target"), RUNS, ids=str)
def test_targets_agree(case: Case, precision: str, batch: tuple[int, ...], target: str) -> None:
    inputs = draw(case, 1, batch)
    want = run(case, inputs, torch.float64, "interpreter")
    got = run(case, inputs, DTYPES[precision], target)
    limit = 1e-10 if precision == "f64" else case.tolerance32
    for g, w in zip(got, want, strict=True):
        assert g.dtype == DTYPES[precision] or not g.is_floating_point()
        assert error(g, w) <= limit


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_batch_is_one_problem_after_another(case: Case) -> None:
    inputs = draw(case, 2, (3,))
    fixed = (*case.shared, *case.given)
    many = run(case, inputs, torch.float64, "interpreter")
    for n in range(3):
        one = run(case, {k: v if k in fixed else v[n] for k, v in inputs.items()}, torch.float64, "interpreter")
        for a, b in zip(many, one, strict=True):
            assert error(a[n], b) <= 1e-10


def layer_and_inputs(case: Case, target: str) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    inputs = draw(case, 4, (2,))
    given = {n: inputs.pop(n) for n in case.given}
    more = extras(case, torch.float64)
    call = {n: more.pop(n) for n in ("rng",) if n in more}
    layer = algorithm(case).build(**given, **more, dtype=torch.float64, target=target)
    with torch.no_grad():
        for p in layer.parameters():
            p += 0.05  # off the bounds, where finite differences see both sides
    return layer, {**inputs, **call}


def gradients(case: Case, target: str) -> tuple[Callable[[], torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
    layer, inputs = layer_and_inputs(case, target)
    wrt = [*layer.parameters(), *(inputs[n].requires_grad_() for n in case.smooth if n in inputs)]

    def loss() -> torch.Tensor:
        found = layer(**inputs)
        outputs = found if isinstance(found, tuple) else (found,)
        return sum((o * torch.linspace(-1, 1, o.numel(), dtype=o.dtype).reshape(o.shape)).sum() for o in outputs)  # type: ignore[return-value]

    grads = torch.autograd.grad(loss(), wrt, allow_unused=True)
    return loss, wrt, [torch.zeros_like(w) if g is None else g for g, w in zip(grads, wrt, strict=True)]


#: Programs like others on the list, whose gradients numba takes long to compile.
LATER = {"lasso.iht", "lasso.fista", "em.gmm", "em.unrolled_em", "es.eggroll", "tv.tv", "bilevel.hyperclean", "balance.sinkhorn", "lasso.lista"}
#: Those that target tvm does at once; the rest is slow.
TVM_GRADIENTS = {"lasso.ista", "balance.sinkhorn", "proxgrad.plug_and_play", "stencils.seidel2d", "triangular.cholesky_lower"}
#: One precision and one batch of every program; the rest is slow.
TVM_LATER = {"test_targets_agree": ["f32", (), (2, 2)]}
NUMBA_LATER = {"test_targets_agree": [case for case in CASES if str(case) in ("lasso.fista", "lasso.iht", "em.unrolled_em")]}


def marks(case: Case, target: str) -> list[pytest.MarkDecorator]:
    slow = (target == "numba" and str(case) in LATER) or (target == "tvm" and str(case) not in TVM_GRADIENTS)
    return [*([pytest.mark.slow] if slow else []), *([pytest.mark.needs("tvm")] if target == "tvm" else [])]


GRADIENTS = [
    pytest.param(case, target, id=f"{target}-{case}", marks=marks(case, target))
    for target in ("c", "numba", "tvm")
    for case in DIFFERENTIABLE
]


@pytest.mark.parametrize(("case", "target"), GRADIENTS)
def test_gradients_of_targets_agree(case: Case, target: str) -> None:
    loss, _, compiled = gradients(case, target)
    want, _, interpreted = gradients(case, "interpreter")
    assert float(loss()) == pytest.approx(float(want()), rel=1e-10, abs=1e-10)
    scale = max(float(g.abs().max()) for g in interpreted)
    for a, b in zip(compiled, interpreted, strict=True):
        assert float((a - b).abs().max()) <= 1e-8 * max(scale, 1e-3)


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)
def test_gradients_agree_with_finite_differences(case: Case) -> None:
    """On target c; those of numba agree with the interpreter's as closely, see above."""
    loss, wrt, grads = gradients(case, "c")
    g = torch.Generator().manual_seed(5)
    for w, grad in zip(wrt, grads, strict=True):
        direction = torch.randn(w.shape, generator=g, dtype=w.dtype)
        assert float((grad * direction).sum()) == pytest.approx(slope(loss, w, direction), rel=2e-4, abs=2e-5)


def stages(name: str, target: str, **iterations: int) -> Any:
    case = next(c for c in CASES if c.algorithm == name)
    more = extras(case, torch.float32)
    more.pop("rng", None)
    inputs = {n: t for n, t in draw(case).items() if n not in case.shared}
    shapes: dict[str, int] = {}
    for declared in algorithm(case).algorithm.inputs:
        if declared.name in inputs:
            shapes |= {str(s): extent for s, extent in zip(declared.type.shape, inputs[declared.name].shape, strict=True)}
    return algorithm(case).compile(target=target, shapes=shapes, **{**more, **iterations})


@pytest.mark.parametrize(("name", "target"), [*((name, "c") for name in ONE_KERNEL), *((name, "numba") for name in ONE_KERNEL[:3])])
def test_no_library_call_in_the_loop_and_a_source_without_k(name: str, target: str) -> None:
    kernel = stages(name, target, K=5)
    assert [part for part, _ in kernel.compiled] == [name]  # all of it is one kernel, nothing is left to the host
    assert "host program" not in kernel.explain()
    assert "call " not in kernel.loops  # nor is a routine called in it
    assert kernel.source == stages(name, target, K=500).source


def test_alf_lb_calls_one_routine_where_its_count_is_not_known(target: str) -> None:
    """For the counts that come, kernels are made without it: tests/backends/test_topk.py."""
    kernel = stages("alf_lb", target)
    assert [part for part, _ in kernel.compiled] == ["alf_lb"]
    assert kernel.loops.count("call ") == kernel.loops.count("call topk_mask") == 1


REPEATED = [c for c in CASES if c.iterations and not c.modules]


@pytest.mark.parametrize(
    ("case", "target"), [*((c, "c") for c in REPEATED), *((c, "numba") for c in REPEATED if c.algorithm == "ista")], ids=str
)
def test_other_batch_sizes_and_iteration_counts_compile_nothing(case: Case, target: str) -> None:
    """Nothing is built, and nothing is even lowered again; gradients included, once there were few problems and a tile of them: what the forward
    pass hands over may differ."""
    from unspool.backends import build

    def all_of(case: Case, batch: tuple[int, ...]) -> None:
        inputs = {n: t.requires_grad_() if n in case.smooth else t for n, t in draw(case, 1, batch).items()}
        found = [y for y in run(case, inputs, torch.float64, target) if y.requires_grad]
        if found:
            torch.autograd.grad([y.sum() for y in found], [inputs[n] for n in case.smooth], allow_unused=True)

    def built() -> int:
        return build.statistics.compiled + build.statistics.hits + build.statistics.loaded

    for batch in ((3,), (20,)):
        all_of(case, batch)
    before = built()
    for batch in ((1,), (5,), (2, 3), (40,), ()):
        all_of(case, batch)
    first = next(iter(case.iterations))
    all_of(replace(case, iterations={**case.iterations, first: case.iterations[first] + 4}), (3,))
    assert built() == before
