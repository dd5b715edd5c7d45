"""`memory=`: the budget of a gradient is kept, the gradient stays the same, and what cannot keep it is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import unspool as us
from tests.helpers import TVM_SLOW
from unspool.dsl.compile_options import CompileOptions

LASSO = us.load(Path(__file__).parents[1] / "programs" / "lasso.us")
LOSS = us.loads("fn squares(x, z) = mean((x - z)**2)").squares
M, N, K = 20, 30, 48


def layer(target: str, memory: Any, dtype: str = "f64") -> torch.nn.Module:
    A = torch.randn(M, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 5
    return LASSO.ista.build(A=A, K=K, target=target, memory=memory, dtype=dtype)


def data(*lead: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.randn(*lead, M, generator=random, dtype=torch.float64), torch.randn(*lead, N, generator=random, dtype=torch.float64)


def gradients(built: Any, y: Tensor, z: Tensor, forms: int = 2) -> list[list[Tensor]]:
    """The loss in torch, and in the kernel, too, if in two forms."""
    outside = torch.autograd.grad(((built(y) - z) ** 2).mean(), list(built.parameters()))
    if forms == 1:
        return [list(outside)]
    _, inside = built.value_and_grad(LOSS)(y, z)
    return [list(outside), [inside[n] for n, _ in built.named_parameters()]]


@pytest.mark.parametrize("lead", [(), (3,), pytest.param((64,), marks=pytest.mark.slow)], ids=str)
def test_the_budget_is_kept_and_gradients_are_the_same(lead: tuple[int, ...], asked: list[int]) -> None:
    y, z = data(*lead)
    forms = 2 if len(lead) and lead[0] > 16 else 1
    want = gradients(layer("c", None), y, z, forms)
    budget = max(asked) // 2
    asked.clear()
    got = gradients(layer("c", budget), y, z, forms)
    assert max(asked) <= budget
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("target", ["c", "numba", TVM_SLOW])
def test_every_target_keeps_it(target: str, asked: list[int]) -> None:
    text = "algorithm f(x: real[n], w: real[K]) -> real[n]:\n    iterations K = 99\n    for k in 0..K:\n        x = sin(w[k] * x)\n    return x\n"
    program = us.loads(text)
    x, w = torch.rand(3, 50, dtype=torch.float64), torch.rand(99, dtype=torch.float64, requires_grad=True)
    budget = 99 * 50 * 8 // 2
    (want,), (got,) = (torch.autograd.grad(program.f(x, w, target=target, memory=m).sum(), w) for m in (None, budget))
    assert asked[1] > 2 * budget
    assert asked[-1] <= budget
    torch.testing.assert_close(got, want, rtol=0, atol=0)


def test_a_gradient_within_a_budget_is_that_of_finite_differences() -> None:
    built = layer("c", 12 << 10)
    y, _ = data()
    names = [n for n, _ in built.named_parameters()]

    def run(*values: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(built, dict(zip(names, values)), (y,))
        return found

    built.eval()  # parameters stay where they are put
    values = [(p.detach() + 0.01).requires_grad_() for p in built.parameters()]
    assert torch.autograd.gradcheck(run, values)
    (call,) = [k.prepared.call for k in built._known.values()]  # type: ignore[union-attr,attr-defined]
    assert {str(d.choice.policy) for d in call._derived.values()} == {"every 4"}


def test_what_cannot_be_kept_is_refused_with_what_it_takes() -> None:
    y, _ = data()
    told = r"^memory=2 KiB is not enough for the gradient of ista: with the policy `every 4` it needs .* KiB, for 1 problem"
    with pytest.raises(us.DataError, match=told):
        layer("c", "2KiB")(y).sum().backward()


def test_programs_with_parts_on_the_host_and_the_interpreter_take_no_budget() -> None:
    solve = us.loads("algorithm f(A: real[n, n], b: real[n]) -> real[n]:\n    return inv(A) @ b\n").f
    with pytest.raises(us.DataError, match=r"^memory= takes a program that is one kernel, and a part of f runs on the host: a library"):
        solve(torch.eye(3), torch.ones(3), memory="1GB", target="c")
    with pytest.raises(us.DataError, match=r"^the interpreter keeps every value"):
        layer("interpreter", "1GB")(data()[0])


@pytest.mark.parametrize(
    ("written", "size"),
    [("64MiB", 64 << 20), ("1.5GB", 1_500_000_000), ("1 kB", 1000), ("100", 100), (7, 7), ("2kib", 2048), (None, None), ("3B", 3)],
)
def test_sizes_as_people_write_them(written: Any, size: int | None) -> None:
    assert CompileOptions(memory=written).memory == size


@pytest.mark.parametrize("written", ["", "MiB", "-1GB", 0, -5, "1XB", "iB", "5iB", 1.5, True, "nan", "0"])
def test_what_is_no_size_is_refused(written: Any) -> None:
    with pytest.raises(us.DataError, match=r'^memory is a number of bytes, or a text like "64MiB" or "1.5GB", not '):
        CompileOptions(memory=written)


def test_explain_tells_the_policy_why_and_the_peak(asked: list[int]) -> None:
    sizes = {"m": M, "n": N, "batch": 64}
    free = LASSO.ista.compile(sizes, K=K, dtype="f64", target="c")
    told = free.report(gradients=True)["kernels"][1]["tape"]
    assert (told["policy"], told["problems"], told["problems_at_once"], told["budget"]["set"]) == ("keep", 64, 16, False)
    assert told["bytes"] == 16 * K * (M + 2 * N) * 8  # A x - y, A.T r and x, as gradients of A and y are wanted, too
    assert told["fits"] in ("L2", "L3")
    assert "tape: keep: what the adjoint needs of every iteration is kept" in free.explain(gradients=True)
    tight = LASSO.ista.compile(sizes, K=K, dtype="f64", target="c", memory=told["peak_bytes"] // 2)
    told = tight.report(gradients=True)["kernels"][1]["tape"]
    assert told["policy"].startswith("every ")
    assert told["peak_bytes"] <= told["budget"]["bytes"]
    assert told["budget"]["set"]
    text = tight.explain(gradients=True)
    assert f"tape: {told['policy']}: the state before a segment" in text
    assert "memory=; keeping all would take" in text
    y = torch.randn(64, M, dtype=torch.float64, requires_grad=True)
    A, step, lam = (torch.rand(*shape, dtype=torch.float64, requires_grad=True) for shape in ((M, N), (K,), (K,)))
    asked.clear()
    tight(A, y, step=step, lam=lam).sum().backward()
    assert asked[-1] == told["peak_bytes"]


def test_a_kernel_file_keeps_the_policy(tmp_path: Path, asked: list[int]) -> None:
    y, z = data()
    want = gradients(layer("c", None), y, z, 1)[0]
    built = layer("c", 24 << 10)
    built.save(tmp_path / "x.usk", backward=True)  # type: ignore[operator]
    loaded = us.load_kernel(tmp_path / "x.usk")
    asked.clear()
    got = torch.autograd.grad(((loaded(y) - z) ** 2).mean(), list(loaded.parameters()))
    assert max(asked) <= 24 << 10
    torch.testing.assert_close(list(got), want, rtol=1e-12, atol=1e-12)


PEAK = """
import re, sys, torch
import unspool as us
torch.set_num_threads(1)
text = '''algorithm f(x: real[n], w: real[K]) -> real[n]:
    iterations K = 400
    for k in 0..K:
        x = sin(w[k] * x)
    return x
'''
def resident(key):
    return int(re.search(key + r":\\s+(\\d+)", open("/proc/self/status").read()).group(1)) << 10
x, w = torch.rand(50_000), torch.rand(400)
for w_ in (w[:3], w):  # first few iterations: compiled by then
    w_.requires_grad_()
    f = us.loads(text).f
    y = f(x, w_, K=len(w_), target=sys.argv[1], memory=eval(sys.argv[2]))
    if len(w_) == 3:
        y.sum().backward()
before = resident("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
y.sum().backward()
print(resident("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_the_peak_of_a_process_stays_below_the_budget() -> None:
    def peak(memory: str) -> int:
        done = subprocess.run([sys.executable, "-c", PEAK, "c", memory], capture_output=True, text=True, check=True)
        return int(done.stdout)

    tape, slack = 400 * 50_000 * 4, 24 << 20  # what compiling another policy and torch take on their own
    assert peak("None") > 0.9 * tape
    assert peak("'16MiB'") < (16 << 20) + slack
