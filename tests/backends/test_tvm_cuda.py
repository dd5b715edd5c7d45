"""Targets tvm_cuda and tvm_emulated: what TVM makes of a script for a GPU, compiled for one, and run on the processor against the interpreter."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

import unspool as us
from tests.end_to_end.cases import CASES, PROGRAMS, Case, draw
from tests.end_to_end.test_programs import DTYPES, error, gradients, run, stages
from unspool.backends import registry
from unspool.backends.cuda.compile import cubin
from unspool.backends.tvm import tir
from unspool.backends.tvm.gpu_kernel import kernel as kernel_of
from unspool.backends.tvm.gpu_target import TvmCudaTarget, TvmEmulatedTarget
from unspool.compiler import options
from unspool.compiler.diagnostics import CompileError, DataError
from unspool.compiler.loops.tree import Barrier, Block, Call, Function, Literal, Single

from . import trees
from .trees import array, function, load, loop, store

pytestmark = [pytest.mark.needs("tvm"), pytest.mark.needs("c++")]

#: Programs that the default run takes, and with gradients; the others are slow.
FIRST = {"lasso.ista", "balance.sinkhorn", "stencils.seidel2d", "es.eggroll"}
FIRST_GRADIENTS = {"balance.sinkhorn"}


def params(first: set[str], cases: list[Case] = CASES) -> list[Any]:
    return [pytest.param(c, id=str(c), marks=[] if str(c) in first else [pytest.mark.slow]) for c in cases]


@pytest.mark.needs("nvcc")
@pytest.mark.parametrize("case", params(FIRST))
def test_texts_compile_for_a_gpu_without_spills(case: Case) -> None:
    for _, compiled in stages(case.algorithm, "tvm_cuda").compiled:
        made = cubin(compiled.assembly, compiled.tree.name, "sm_90")
        assert made.data.startswith(b"\x7fELF")
        assert made.spills == 0


@cache
def gradients_and_sources(case: Case) -> tuple[list[torch.Tensor], list[Any]]:
    """The gradients of a case, and the sources of the kernels that were made for them: a process makes them once."""
    made: list[Any] = []
    cuda = TvmCudaTarget.cuda

    def kept(self: TvmCudaTarget, f: Function, source: str) -> Any:
        made.append(cuda(self, f, source))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TvmCudaTarget, "cuda", kept)
        return gradients(case, "tvm_emulated")[2], made


@pytest.mark.needs("nvcc")
@pytest.mark.parametrize("case", params(FIRST_GRADIENTS, [c for c in CASES if c.smooth]))
def test_gradients_compile_for_a_gpu_without_spills(case: Case) -> None:
    """Log-domain Sinkhorn did not while its loops were unrolled."""
    made = gradients_and_sources(case)[1]
    assert len(made) > 1
    for source in made:
        assert cubin(source.text, source.name, "sm_90").spills == 0, source.name


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("case", params(FIRST - {"es.eggroll"}))
def test_programs_agree_with_the_interpreter(case: Case, precision: str) -> None:
    """Seven problems are more than the blocks that the emulator runs at once."""
    inputs = draw(case, 1, (7,))
    want = run(case, inputs, torch.float64, "interpreter")
    with options.scope(emulate="random:3" if precision == "f32" else ""):
        got = run(case, inputs, DTYPES[precision], "tvm_emulated")
    for g, w in zip(got, want, strict=True):
        assert error(g, w) <= (1e-10 if precision == "f64" else case.tolerance32)


@pytest.mark.parametrize("case", params(FIRST_GRADIENTS, [c for c in CASES if c.smooth]))
def test_gradients_agree_with_the_interpreter(case: Case) -> None:
    compiled, _ = gradients_and_sources(case)
    _, _, interpreted = gradients(case, "interpreter")
    scale = max(float(g.abs().max()) for g in interpreted)
    for a, b in zip(compiled, interpreted, strict=True):
        assert float((a - b).abs().max()) <= 1e-8 * max(scale, 1e-3)


LASSO = us.loads("""
algorithm shrunk(x: real[n], lam: real) -> real[n]:
    return sign(x) * max(abs(x) - lam, 0)

algorithm small(x: real[n]) -> real[n]:
    return 1e-20 * x + x / 3 + 0.333333333333333333

algorithm picked(x: real[n], p: i64[m]) -> real[m]:
    y = zeros(m)
    for i in 0..m:
        y[i] = x[p[i]]
    return y
""")


def test_the_source_is_a_script_and_becomes_cuda() -> None:
    """One that was edited builds."""
    made = LASSO.shrunk.compile({"n": 6}, target="tvm_cuda")
    ((_, compiled),) = made.compiled
    assert "thread = us_threads(128)" in made.source
    assert 'extern "C" __global__ void __launch_bounds__(128, 1) us_shrunk(const us_call call)' in compiled.assembly
    f = function("scale", [array("x", "f32", 6), array("y", "f32", 6, scope="output")],
                 loop("i", 0, 6, store("y", ["i"], Call("mul", (load("x", "i"), Literal(2.0, "f32")), "f32"))))  # fmt: skip
    target, x, y = TvmEmulatedTarget(), torch.arange(6.0), torch.empty(6)
    target.build(f, target.emit(f).replace("T.float32(2.0)", "T.float32(5.0)"))([x], [y], 1, [0, 0], [0, 0], [], 1, 1)
    assert torch.equal(y, 5 * x)
    with pytest.raises(CompileError, match="TVM does not take"):
        target.build(f, target.emit(f).replace("x[i]", "x[i, i]"))
    with pytest.raises(CompileError, match="TVM cannot compile the source"):
        target.build(f, target.emit(f).replace("thread = us_threads(128)", "thread = 0"))
    with pytest.raises(CompileError, match="TVM makes no functions of scale_gpu for the GPU"):
        kernel_of(target.printed(f), "// nothing")


def test_numbers_of_double_precision_keep_their_bits() -> None:
    """TVM writes 15 digits behind the point: 1e-20 was 0."""
    x = torch.tensor([3e19, 1.0, -7e20], dtype=torch.float64)
    want = 1e-20 * x + x / 3 + 0.333333333333333333
    assert torch.equal(LASSO.small(x, target="tvm_emulated"), want)


def test_a_failed_check_is_told() -> None:
    x, p = torch.arange(4.0), torch.tensor([3, 0, 1])
    assert LASSO.picked(x, p, target="tvm_emulated").tolist() == [3, 0, 1]
    with pytest.raises(DataError, match="out of range"):
        LASSO.picked(x, torch.tensor([3, 4, 1]), target="tvm_emulated")


@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_threads_take_parallel_loops_in_turn_and_wait_for_each_other(order: str) -> None:
    """300 iterations for 128 threads, a step, what one thread does alone, and arrays of a thread's own."""
    arrays = [array("x", "f64", 300), array("y", "f64", 300, scope="output"), array("t", "f64", 300, scope="problem")]
    arrays += [array("own", "f64", 2, scope="thread"), array("sum", "f64", 1, scope="problem")]
    at = trees.op("-", 299, "i")
    fill = loop("i", 0, 300, store("own", [1], load("x", "i", dtype="f64")), store("t", ["i"], load("own", 1, dtype="f64")), kind="parallel")
    alone = Single(Block((store("sum", [0], Literal(0.0, "f64")), loop("k", 0, 300, store("sum", [0], load("t", "k", dtype="f64"), "add")))))
    last = loop("i", 0, 300, store("y", [at], Call("add", (load("t", "i", dtype="f64"), load("sum", 0, dtype="f64")), "f64")), kind="parallel", step=2)
    f = function("turns", arrays, fill, Barrier(), alone, Barrier(), last)
    target, x = TvmEmulatedTarget(), torch.arange(900.0, dtype=torch.float64).view(3, 300)
    y = torch.zeros_like(x)
    with options.scope(emulate=order):
        target.build(f, target.emit(f))([x], [y], 3, [300, 300], [0, 0], [], 2, 1)
    want = torch.zeros_like(x)
    want[:, 1::2] = (x + x.sum(1, keepdim=True)).flip(1)[:, 1::2]
    assert torch.equal(y, want)


def test_without_a_generator_of_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tir.tvm, "get_global_func", lambda *_, **__: None)
    tir.cuda.cache_clear()
    with pytest.raises(CompileError, match=r"this build of TVM \(0.27.*\) has no generator of CUDA"):
        tir.cuda()


@pytest.mark.skipif(torch.cuda.is_available(), reason="where there is no GPU")
def test_without_a_gpu_it_compiles_and_a_call_says_why_not() -> None:
    found = registry.availability("tvm_cuda")
    assert not found.usable
    assert "CUDA" in found.reason
    with pytest.raises(CompileError, match=r"target tvm_cuda cannot be used here: torch .* CUDA"):
        LASSO.shrunk(torch.ones(3), torch.tensor(0.5), target="tvm_cuda")


def test_schedules_of_target_cuda() -> None:
    """Its loops over threads are dealt out, too; lanes and what is in shared memory change nothing."""
    handle, case = stages("ista", "emulated"), next(c for c in CASES if c.algorithm == "ista")
    ((_, compiled),) = handle.compiled
    schedule = str(compiled.schedule)
    assert "thread" in schedule
    inputs = draw(case, 1, (7,))
    algorithm = us.load(PROGRAMS / "lasso.us").ista
    want, got = (
        algorithm.build(A=inputs["A"], K=5, dtype="f64", target=target, schedule=steps)(inputs["y"])
        for target, steps in (("interpreter", None), ("tvm_emulated", schedule))
    )
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
