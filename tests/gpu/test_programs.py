"""Every program of the language page on a GPU, forward and gradients, against the interpreter in float64 on the processor."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.end_to_end.cases import CASES, Case, draw
from tests.end_to_end.test_programs import DTYPES, algorithm, error, extras, run

pytestmark = pytest.mark.gpu
DIFFERENTIABLE = [c for c in CASES if c.smooth]


def there(x: Any) -> Any:
    return x.to("cuda") if isinstance(x, (torch.Tensor, torch.nn.Module)) else x


@pytest.mark.parametrize("batch", [(), (3,), (40,)], ids=str)
@pytest.mark.parametrize("precision", ["f32", "f64"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(case: Case, precision: str, batch: tuple[int, ...]) -> None:
    inputs, dtype = draw(case, 1, batch), DTYPES[precision]
    want = run(case, inputs, torch.float64, "interpreter")
    cast = {n: there(t.to(dtype) if t.is_floating_point() else t) for n, t in inputs.items()}
    found = algorithm(case)(**cast, **{n: there(x) for n, x in extras(case, dtype).items()}, target="cuda")
    for g, w in zip(found if isinstance(found, tuple) else (found,), want, strict=True):
        assert g.is_cuda
        assert error(g.cpu(), w) <= (1e-10 if precision == "f64" else case.tolerance32)


@pytest.mark.parametrize("batch", [(2,), (40,)], ids=str)
@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)
def test_gradients(case: Case, batch: tuple[int, ...]) -> None:
    found = [_gradients(case, batch, target) for target in ("interpreter", "cuda")]
    for want, got in zip(*found, strict=True):
        assert error(got, want) <= 1e-8


def _gradients(case: Case, batch: tuple[int, ...], target: str) -> list[torch.Tensor]:
    inputs = draw(case, 4, batch)
    given = {n: inputs.pop(n) for n in case.given}
    more = extras(case, torch.float64)
    call = {n: more.pop(n) for n in ("rng",) if n in more}
    layer = algorithm(case).build(**given, **more, dtype=torch.float64, target=target)
    with torch.no_grad():
        for p in layer.parameters():
            p += 0.05  # off the bounds
    inputs = {**inputs, **call}
    if target == "cuda":
        layer, inputs = layer.to("cuda"), {n: there(x) for n, x in inputs.items()}
    wrt = [*layer.parameters(), *(inputs[n].requires_grad_() for n in case.smooth if n in inputs)]
    results = layer(**inputs)
    loss = 0.0
    for y in results if isinstance(results, tuple) else (results,):
        loss = loss + (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=y.device).reshape(y.shape)).sum()
    grads = torch.autograd.grad(loss, wrt, allow_unused=True)  # type: ignore[arg-type]
    return [torch.zeros_like(w).cpu() if g is None else g.cpu() for g, w in zip(grads, wrt, strict=True)]
