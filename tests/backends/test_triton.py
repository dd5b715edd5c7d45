"""Triton kernels without a GPU: run by Triton's interpreter against the reference, and compiled for two GPUs with no register spilled."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from math import prod
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import unspool as us
from tests.end_to_end.cases import CASES, PROGRAMS, Case, draw
from unspool.backends import registry
from unspool.backends.execute import FallbackWarning
from unspool.compiler import options
from unspool.compiler.diagnostics import CompileError, DataError, UnspoolError
from unspool.compiler.driver import Batching, compile_graph
from unspool.compiler.graph.batch import batch
from unspool.compiler.graph.batch_sum import sum_batch
from unspool.compiler.graph.graph import Builder, Graph, LoopBody, Value
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.ops.common import constant
from unspool.compiler.graph.problem import Problem
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.types import At, Range, Size, Type

pytestmark = pytest.mark.needs("triton")

DTYPES = {"f32": torch.float32, "f64": torch.float64}
#: Algorithms of the language page that the target refuses, with a part of the reason; docs/targets.md has the table.
REFUSED = {"alf_lb": "topk_mask has no form in Triton", "eggroll": "holds no key values"}
TAKEN = [c for c in CASES if c.algorithm not in REFUSED]
#: Whose kernels the interpreter takes long to run: they go through memory element by element.
LATER = {"seidel2d", "jacobi2d", "cholesky_lower", "tv", "unrolled_em", "gmm", "plug_and_play", "syrk", "iht", "hyperclean"}


def param(case: Case, *more: Any) -> Any:
    marks = [pytest.mark.slow] if case.algorithm in LATER else []
    return pytest.param(case, *more, id="-".join([str(case), *map(str, more)]), marks=marks)


@cache
def loaded(program: str) -> Any:
    return us.load(PROGRAMS / f"{program}.us")


class Shrink(torch.nn.Module):
    """A small learned operator."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.9 * torch.tanh(x)


def results(case: Case, target: str, dtype: torch.dtype, shape: tuple[int, ...], *, slopes: bool) -> list[torch.Tensor]:
    """What a layer gives, and the gradients of a weighted sum of it."""
    inputs = {n: t.to(dtype) if t.is_floating_point() else t for n, t in draw(case, 4, shape).items()}
    fixed = {n: inputs.pop(n) for n in case.given}
    modules = {"denoise": Shrink()} if case.modules else {}
    layer = getattr(loaded(case.program), case.algorithm).build(**fixed, **case.iterations, **modules, dtype=dtype, target=target)
    if not slopes:
        with torch.no_grad():
            found = layer(**inputs)
        return list(found if isinstance(found, tuple) else (found,))
    wrt = [*layer.parameters(), *(inputs[n].requires_grad_() for n in case.smooth if n in inputs)]
    found = layer(**inputs)
    outputs = [y for y in (found if isinstance(found, tuple) else (found,)) if y.requires_grad]
    loss = sum((y * torch.linspace(-1, 1, y.numel(), dtype=dtype).reshape(y.shape)).sum() for y in outputs)
    grads = torch.autograd.grad(loss, wrt, allow_unused=True)  # type: ignore[arg-type]
    return [*outputs, *[torch.zeros_like(w) if g is None else g for g, w in zip(grads, wrt, strict=True)]]


def error(got: torch.Tensor, want: torch.Tensor, scale: float) -> float:
    assert got.shape == want.shape
    return float((got.double() - want.double()).detach().abs().max()) / max(scale, 1e-3)


def agree(case: Case, precision: str, shape: tuple[int, ...], *, slopes: bool, limit: float) -> None:
    """The two results are close, and no part fell back."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", FallbackWarning)
        got = results(case, "triton_interpreted", DTYPES[precision], shape, slopes=slopes)
    want = results(case, "interpreter", torch.float64, shape, slopes=slopes)
    scale = max(float(w.detach().abs().max()) for w in want)
    for g, w in zip(got, want, strict=True):
        assert g.dtype == DTYPES[precision]
        assert error(g, w, scale) <= limit


# -- whole programs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (3,), (2, 20)], ids=["single", "batch", "grid"])
@pytest.mark.parametrize("case", [param(c) for c in TAKEN])
def test_programs_agree_with_the_interpreter(case: Case, shape: tuple[int, ...]) -> None:
    """In both precisions; 40 problems are more than a tile."""
    for precision in ("f32",) if shape == (3,) else ("f32", "f64"):
        agree(case, precision, shape, slopes=False, limit=1e-12 if precision == "f64" else case.tolerance32)


@pytest.mark.parametrize("case", [param(c) for c in TAKEN if c.smooth])
def test_gradients_agree_with_the_interpreter(case: Case) -> None:
    """Those of parameters are sums over the problems of several tiles."""
    agree(case, "f64", (35,) if case.algorithm not in LATER else (3,), slopes=True, limit=1e-10)


@pytest.mark.parametrize("case", [c for c in CASES if c.algorithm in REFUSED], ids=str)
def test_what_is_refused_says_why_and_runs_elsewhere(case: Case) -> None:
    inputs = draw(case, 1)
    more = {"rng": us.key(3)} if case.algorithm == "eggroll" else {}
    algorithm = getattr(loaded(case.program), case.algorithm)
    with options.scope(target="triton_interpreted"), pytest.warns(FallbackWarning, match=REFUSED[case.algorithm]):
        got = algorithm(**inputs, **case.iterations, **more)
    with options.scope(target="interpreter"):
        want = algorithm(**inputs, **case.iterations, **more)
    for g, w in zip(*(x if isinstance(x, tuple) else (x,) for x in (got, want)), strict=True):
        assert torch.equal(g, w)


def lasso(name: str, m: int, n: int, target: str, dtype: torch.dtype = torch.float32) -> tuple[Any, torch.Tensor]:
    """A layer as the program is written, and data for 20 problems."""
    g = torch.Generator().manual_seed(0)
    A = torch.randn(m, n, generator=g, dtype=torch.float64) / m**0.5
    layer = getattr(loaded("lasso"), name).build(A=A.to(dtype), K=3, dtype=dtype, target=target, schedule="" if "triton" in target else None)
    return layer, torch.randn(20, m, generator=g, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize(("name", "m", "n"), [("ista", 60, 64), pytest.param("ista", 250, 500, marks=pytest.mark.slow), ("lista", 20, 40)])
def test_matrices_that_are_contracted_by_dot(name: str, m: int, n: int) -> None:
    """In pieces, where they are long: what is in registers goes through scratch memory."""
    found = []
    for target in ("triton_interpreted", "interpreter"):
        layer, y = lasso(name, m, n, target, torch.float32 if target != "interpreter" else torch.float64)
        y.requires_grad_()
        with warnings.catch_warnings():
            warnings.simplefilter("error", FallbackWarning)
            x = layer(y)
            found.append([x, *torch.autograd.grad(x.square().sum(), [y, *layer.parameters()])])
    for got, want in zip(*found, strict=True):
        assert error(got, want, float(want.detach().abs().max())) < 2e-5


def test_the_text_depends_on_neither_count_nor_batch_and_products_are_dots() -> None:
    algorithm = loaded("lasso").ista
    texts = {algorithm.compile(target="triton", schedule="", shapes={"m": 60, "n": 64}, K=k, dtype="f32").source for k in (3, 500)}
    (text,) = texts
    assert text.count("tl.dot(") == 2
    assert 'input_precision="ieee"' in text
    assert "for n_" in text


def test_tf32_only_where_torch_is_told_so() -> None:
    def text(numerics: str | None = None) -> str:
        shapes = {"m": 20, "n": 40}
        ista = us.load(PROGRAMS / "lasso.us").ista
        return str(ista.compile(target="triton", schedule="", shapes=shapes, dtype="f32", numerics=numerics).source)

    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        assert 'input_precision="tf32"' in text()
        assert 'input_precision="ieee"' in text("strict")
    finally:
        torch.set_float32_matmul_precision(before)


def test_one_kernel_for_every_batch_size_and_count() -> None:
    """And another text only where problems share other operands than is usual."""
    layer, y = lasso("lista", 6, 9, "triton_interpreted")
    with torch.no_grad():
        want = layer(y)
        for n in (1, 7, 20):
            assert torch.equal(layer(y[:n]), want[:n])
        assert torch.allclose(layer(y[0]), want[0])
    graph = _product()
    kernel = compile_graph(graph, _target(), batching=Batching((False, True), (True,))).kernel
    A, x = torch.randn(3, 4, 5), torch.randn(5)
    out = torch.empty(3, 4)
    kernel([A, x], [out], 3, [20, 0, 4], [0, 0, 0], [], 1, 1)
    torch.testing.assert_close(out, A @ x)
    assert len(kernel._variants) == 2


# -- half precision ---------------------------------------------------------------------------------------------------

HALVES = {"f16": (torch.float16, 1e-3), "bf16": (torch.bfloat16, 1e-2)}
PRODUCT = us.loads("algorithm product(given A: real[m, n], x: real[n]) -> real[m]:\n    return max(A @ x, 0)\n").product


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", ["lista", pytest.param("ista", marks=pytest.mark.slow)])
def test_layers_in_half_precision(name: str, half: str) -> None:
    """Parameters and operands are f16 or bf16 in memory, all else is f32, as in the interpreter; gradients, too."""
    dtype, limit = HALVES[half]
    found = []
    for target in ("triton_interpreted", "interpreter"):
        layer, y = lasso(name, 60, 64, target, dtype)
        y.requires_grad_()
        with warnings.catch_warnings():
            warnings.simplefilter("error", FallbackWarning)
            x = layer(y)
            found.append([x, *torch.autograd.grad(x.float().square().sum(), [y, *layer.parameters()])])
    for got, want in zip(*found, strict=True):
        assert got.dtype == dtype
        assert error(got, want, float(want.detach().abs().max())) < 2 * limit


@pytest.mark.parametrize("depth", [32, 200])
@pytest.mark.parametrize("half", HALVES)
def test_products_of_half_precision_run_on_tensor_cores(half: str, depth: int) -> None:
    """Where both factors are stored in it: added up in f32, also in pieces; not with strict numerics."""
    dtype, limit = HALVES[half]
    g = torch.Generator().manual_seed(0)
    A, x = torch.randn(20, depth, generator=g).to(dtype), torch.randn(40, depth, generator=g).to(dtype)
    for numerics in ("default", "strict"):
        with warnings.catch_warnings():
            warnings.simplefilter("error", FallbackWarning)
            got, want = (PRODUCT.build(A=A, dtype=dtype, target=t, numerics=numerics)(x).float() for t in ("triton_interpreted", "interpreter"))
            made = PRODUCT.compile(target="triton", shapes={"m": 20, "n": depth}, dtype=half, numerics=numerics)
        assert error(got, want, float(want.max())) < limit
        (dot,) = [line for line in made.source.splitlines() if "tl.dot(" in line]
        assert ("ieee" in dot) == (numerics == "strict")


@pytest.mark.parametrize(("half", "arch"), [("f16", 90), *(pytest.param(*x, marks=pytest.mark.slow) for x in (("bf16", 90), ("f16", 80), ("bf16", 80)))])
def test_half_precision_compiles_to_instructions_of_tensor_cores(half: str, arch: int) -> None:
    kernel = loaded("lasso").lista.compile(target="triton", shapes={"m": 20, "n": 40}, dtype=half)
    made = binaries(kernel.compiled[0][1].kernel, arch)
    assert re.search(rf"mma.*\.f32\.{half}\.{half}", made.kernel.asm["ptx"])


def test_tf32_where_the_program_is_told_so() -> None:
    shapes = {"m": 20, "n": 40}
    texts = [loaded("lasso").lista.compile(target="triton", shapes=shapes, dtype="f32", numerics=n).source for n in (None, "tf32", "strict")]
    assert [set(re.findall(r'input_precision="(\w+)"', text)) for text in texts] == [{"ieee"}, {"tf32"}, {"ieee"}]


# -- loops with `until` ------------------------------------------------------------------------------------------------

UNTIL = us.loads("""
algorithm each(x: real[n], tol: real) -> (real[n], real):
    iterations K = 30
    count = 0.0
    for k in 0..K until norm(x) < tol:
        x = x / 2 + 0.01 * sum(x)
        count = count + 1
    return x, count

algorithm nested(A: real[n, n], x: real[n], tol: real) -> (real[n], real):
    iterations K = 4
    iterations J = 9
    total = 0.0
    for k in 0..K until norm(x) < tol:
        y = x
        for j in 0..J until norm(y) < 10 * tol:
            y = 0.6 * y - 0.02 * A @ y
            total = total + 1
        x = x / 3 + y / 5
    return x, total

algorithm solved(A: real[n, n], b: real[n]) -> real[n]:
    return solve_cg(A @ A.T + eye(n), b, tol=1e-12)
""")


def of_sizes(count: int) -> torch.Tensor:
    """Problems that need more and more iterations, no two alike."""
    g = torch.Generator().manual_seed(0)
    return torch.randn(count, 7, generator=g, dtype=torch.float64) * torch.logspace(-2, 3, count, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("count", [1, 40])
def test_every_problem_leaves_a_loop_by_itself(count: int) -> None:
    """40 are more than a tile; rows of a trace stay as the last one was, and gradients go through the iterations that ran."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", FallbackWarning)
        for target in ("triton_interpreted", "interpreter"):
            x, tol = of_sizes(count).requires_grad_(), torch.tensor(0.05, dtype=torch.float64)
            (y, n), path = UNTIL.each(x, tol, target=target, trace=["x"])
            found.append((y, n, path.x, *torch.autograd.grad(y.square().sum() + path.x[:, 3].sum(), x)))
    assert len(found[1][1].unique()) > min(count, 2) - 1
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("single", [True, False])
def test_loops_in_loops_that_problems_leave(single: bool) -> None:
    A = torch.randn(7, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x, tol = of_sizes(37), torch.tensor(0.05, dtype=torch.float64)
    operands = (A, x[30], tol) if single else (A, x, tol)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FallbackWarning)
        got, want = (UNTIL.nested(*operands, target=t) for t in ("triton_interpreted", "interpreter"))
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def test_a_loop_that_all_problems_leave_together() -> None:
    """Its test is of what they share; the rows of its stack behind the last iteration are as that one's."""
    b = Builder("together")
    x, limit = b.input("x", Type.of("f64", 5)), b.input("limit", Type.of("f64"))

    def body(y: Value) -> LoopBody:
        new = b.op("mul", y, constant(b, 0.5, "f64"))
        return LoopBody((new,), (new,), b.op("lt", b.op("sum", new, axes=(-1,)), limit))

    graph = b.finish(b.loop("k", 0, "K", [x], body))
    for K in (1, 6):
        for limit_at in (3.0, -1.0):
            check(graph, (True, True), [torch.ones(5, dtype=torch.float64), torch.tensor(limit_at, dtype=torch.float64)], 3, {"K": K})
    for own in (False, True):
        text = _target().emit_graph(Problem(graph, (own, own), (True, True)))
        assert ("going" in text) == own
        assert hazards(text) == []


@pytest.mark.parametrize("name", ["each", pytest.param("nested", marks=pytest.mark.slow)])
@pytest.mark.parametrize("arch", [pytest.param(80, marks=pytest.mark.slow), 90])
def test_such_loops_compile_for_gpus_without_spilling(arch: int, name: str) -> None:
    kernel = getattr(UNTIL, name).compile(target="triton", shapes={"n": 7}, dtype="f64")
    assert "while some" in kernel.source
    binaries(kernel.compiled[0][1].kernel, arch)


def test_conjugate_gradients_are_a_kernel() -> None:
    A = torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    b = of_sizes(20)[:, :6].contiguous()
    with warnings.catch_warnings():
        warnings.simplefilter("error", FallbackWarning)
        x = UNTIL.solved(A, b, target="triton_interpreted")
    torch.testing.assert_close(x, torch.linalg.solve(A @ A.T + torch.eye(6, dtype=torch.float64), b.T).T, rtol=1e-8, atol=1e-8)


# -- compiled ahead of time ------------------------------------------------------------------------------------------


def binaries(kernel: Any, arch: int) -> Any:
    from unspool.backends.triton.run import SHARED, compiled

    found = compiled(kernel.source, arch)
    assert found.spilled == 0
    assert 0 < found.registers <= 255
    assert found.shared <= SHARED[arch]
    return found


def kernels(case: Case, dtype: torch.dtype) -> list[Any]:
    """Every kernel that a call and its gradient make."""
    from unspool.backends.triton.target import TritonKernel

    made: list[Any] = []
    first = TritonKernel.__init__

    def init(self: Any, *args: Any, **named: Any) -> None:
        first(self, *args, **named)
        made.append(self)

    loaded.cache_clear()  # what was made before would not be made again
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TritonKernel, "__init__", init)
        results(case, "triton_interpreted", dtype, (3,), slopes=bool(case.smooth))
    assert made
    return made


@pytest.mark.parametrize("arch", [80, 90])
def test_a_kernel_compiles_for_gpus_without_spilling(arch: int) -> None:
    kernel = loaded("lasso").lista.compile(target="triton", shapes={"m": 20, "n": 40}, dtype="f32")
    (_, compiled) = kernel.compiled[0]
    binary = binaries(compiled.kernel, arch)
    assert f".target sm_{arch}" in binary.kernel.asm["ptx"]
    assert binary.kernel.asm["cubin"][:4] == b"\x7fELF"


def test_tensor_cores_where_they_are_allowed() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        kernel = us.load(PROGRAMS / "lasso.us").lista.compile(target="triton", shapes={"m": 20, "n": 40}, dtype="f32")
    finally:
        torch.set_float32_matmul_precision(before)
    (_, compiled) = kernel.compiled[0]
    assert "mma" in binaries(compiled.kernel, 80).kernel.asm["ptx"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("case", TAKEN, ids=str)
def test_every_kernel_compiles_for_gpus_without_spilling(case: Case, precision: str) -> None:
    for kernel in kernels(case, DTYPES[precision]):
        for arch in (80, 90):
            binaries(kernel, arch)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "m", "n"), [("ista", 60, 64), ("ista", 250, 500), ("lista", 60, 64), ("fista", 100, 200)])
def test_large_kernels_compile_for_gpus_without_spilling(name: str, m: int, n: int) -> None:
    kernel = getattr(loaded("lasso"), name).compile(target="triton", schedule="", shapes={"m": m, "n": n}, dtype="f32")
    for arch in (80, 90):
        binaries(kernel.compiled[0][1].kernel, arch)


def test_a_text_that_is_no_triton_is_an_error() -> None:
    graph = _product()
    compiled = compile_graph(graph, registry.target("triton"), batching=Batching((False, True), (True,)))  # type: ignore[arg-type]
    broken = replace(compiled, source=compiled.source.replace("tl.store", "tl.stor"))
    with pytest.raises(CompileError, match="Triton does not compile us_product for sm_90"):
        _ = broken.assembly
    with pytest.raises(CompileError, match="does not load"):
        _ = replace(compiled, source="def f(:").assembly


# -- memory that threads share ---------------------------------------------------------------------------------------


def unrolled(lines: list[str]) -> Iterator[str]:
    """The lines of a body, each loop gone through twice."""
    at = 0
    while at < len(lines):
        indent = len(lines[at]) - len(lines[at].lstrip())
        end = at + 1
        while end < len(lines) and len(lines[end]) - len(lines[end].lstrip()) > indent:
            end += 1
        yield lines[at]
        for _ in range(2 if end > at + 1 else 0):
            yield from unrolled(lines[at + 1 : end])
        at = end


def hazards(text: str) -> list[str]:
    """Loads and stores of memory that the threads of a program share, with no barrier since other threads may have stored or loaded there."""
    body = [line for line in text.split("def us_")[1].splitlines()[1:] if line.strip()]
    pointers = dict.fromkeys(re.findall(r"\b(?:room_\d+|a\d+_\w+)", text))
    stored = {p for line in body if "tl.store" in line or line.lstrip().startswith("place") for p in pointers if re.search(rf"\b{p}\b", line)}
    places: dict[str, str] = {}
    since: dict[str, set[str]] = {p: set() for p in stored}
    found = []
    for line in unrolled(body):
        if "tl.debug_barrier()" in line:
            since = {p: set() for p in stored}
            continue
        made = re.match(r"\s*(place_\d+) = (\w+)", line)
        if made:
            places[made[1]] = made[2]
            continue
        for kind, before in (("load", "store"), ("store", "load")):
            for name in re.findall(rf"tl\.{kind}\((\w+)", line):
                pointer = places.get(name, name)
                if pointer in stored:
                    if before in since[pointer] and not ("tl.load" in line and "tl.store" in line):
                        found.append(line.strip())
                    since[pointer].add(kind)
    return found


def kernel_texts(case: Case) -> list[str]:
    return [k.source.text for k in kernels(case, torch.float64)]


@pytest.mark.parametrize("case", [param(c) for c in TAKEN])
def test_a_barrier_stands_between_stores_and_loads_of_other_threads(case: Case) -> None:
    for text in kernel_texts(case):
        assert hazards(text) == []


def test_a_planted_missing_barrier_is_found() -> None:
    """A value that goes through memory in each iteration has two: one behind its store, and one before, as others may still read."""
    b = Builder("turning")

    def body(x: Value) -> LoopBody:
        return LoopBody((b.op("tanh", b.op("flip", x, axes=(-1,))),))

    graph = b.finish(b.loop("k", 0, "K", [b.input("x", Type.of("f32", 5))], body))
    lines = _target().emit_graph(Problem(graph, (True,), (True,))).splitlines()
    barriers = [n for n, line in enumerate(lines) if "tl.debug_barrier()" in line]
    assert len(barriers) == 2
    assert hazards("\n".join(lines)) == []
    for n in barriers:
        assert hazards("\n".join(lines[:n] + lines[n + 1 :]))


# -- graphs ----------------------------------------------------------------------------------------------------------


def _target() -> Any:
    return registry.target("triton_interpreted")


def _product() -> Graph:
    b = Builder("product")
    A, x = b.input("A", Type.of("f32", 4, 5)), b.input("x", Type.of("f32", 5))
    return b.finish([b.op("einsum", A, x, spec="ij,j->i")])


def run(graph: Graph, own: tuple[bool, ...], tensors: list[torch.Tensor], count: int, sizes: dict[str, int], teams: int = 2) -> list[torch.Tensor]:
    """Results of a graph for a batch, summed over the problems (by two programs) where they are not each problem's own."""
    flags = tuple(t.dim() > v.type.rank for t, v in zip(tensors, graph.inputs, strict=True))
    compiled = compile_graph(graph, _target(), accumulate=True, batching=Batching(flags, own))
    shapes = [tuple(s.evaluate(sizes) for s in t.shape) for t in graph.result_types]
    outs = [torch.zeros((count if mine else teams, *s), dtype=DTYPES[t.dtype]) for s, t, mine in zip(shapes, graph.result_types, own, strict=True)]
    inner = [prod(t.shape[1:]) if f else 0 for t, f in zip(tensors, flags, strict=True)]
    strides = [*inner, *(prod(s) if mine else 0 for s, mine in zip(shapes, own, strict=True))]
    steps = [*(0 for _ in tensors), *(0 if mine else prod(s) for s, mine in zip(shapes, own, strict=True))]
    compiled.kernel(tensors, outs, count, strides, steps, [sizes[n] for n in compiled.integers], teams, 1)
    return [y if mine else y.sum(0) for y, mine in zip(outs, own, strict=True)]


def check(graph: Graph, own: tuple[bool, ...], tensors: list[torch.Tensor], count: int, sizes: dict[str, int]) -> None:
    flags = [t.dim() > v.type.rank for t, v in zip(tensors, graph.inputs, strict=True)]
    want = interpret(batch(graph, flags), tensors, {**sizes, "batch": count})
    for g, w, mine in zip(run(graph, own, tensors, count, sizes), want, own, strict=True):
        torch.testing.assert_close(g, w if mine else w.sum(0), rtol=1e-9, atol=1e-9, equal_nan=True)


@st.composite
def graphs(draw: Any) -> tuple[Graph, tuple[bool, ...], list[tuple[tuple[int, ...], bool]]]:
    """Loops over elementwise ops, reductions, contractions and moves on small arrays, some shared, with results summed or not."""
    m, n = draw(st.integers(1, 5)), draw(st.integers(2, 6))
    b = Builder("random")
    shapes = [(m, n), (n,), (m,), (n, n), ()]
    inputs = [b.input(f"x{i}", Type.of("f64", *s)) for i, s in enumerate(shapes)]
    shared = [draw(st.booleans()) for _ in shapes]
    w = b.input("w", Type.of("f64", "K", n))

    def step(matrix: Value, row: Value, k: Size | None) -> tuple[Value, Value]:
        for _ in range(draw(st.integers(1, 4))):
            kind = draw(st.sampled_from(["mix", "dot", "outer", "sum", "max", "shift", "set", "flip", "weight", "turn", "join", "where"]))
            if kind == "mix":
                matrix = b.op("tanh", b.op(draw(st.sampled_from(["add", "sub", "mul", "maximum"])), matrix, row))
            elif kind == "dot":
                row = b.op("tanh", b.op("einsum", inputs[3], row, spec="ij,j->i"))
            elif kind == "outer":
                matrix = b.op("sigmoid", b.op("einsum", inputs[2], row, matrix, spec="i,j,ij->ij"))
            elif kind == "sum":
                row = b.op("add", row, b.op("sum", matrix, axes=(-2,)))
            elif kind == "max":
                row = b.op("sub", row, b.op("max", b.op("einsum", matrix, inputs[3], spec="ij,jk->ki"), axes=(-1,)))
            elif kind == "shift":
                part = b.op("slice", row, items=(Range(Size.of(1), Size.of(n - 1)),))
                row = b.op("update", row, part, items=(Range(Size.of(0), Size.of(n - 1)),), mode=draw(st.sampled_from(["set", "add"])))
            elif kind == "set":
                at = draw(st.integers(0, n - 1))
                matrix = b.op("update", matrix, inputs[2], items=(Range(Size.of(0), Size.of(m)), At(Size.of(at))), mode="set")
            elif kind == "flip":
                row = b.op("flip", row, axes=(-1,))
            elif kind == "weight" and k is not None:
                row = b.op("mul", row, b.op("slice", w, items=(At(k), Range(Size.of(0), Size.of(n)))))
            elif kind == "turn":
                flat = b.op("reshape", b.op("permute", matrix, axes=(-1, -2)), shape=(Size.of(n * m),))
                matrix = b.op("reshape", flat, shape=(Size.of(m), Size.of(n)))
            elif kind == "join":
                both = b.op("concat", row, row, axis=-1)
                row = b.op("slice", both, items=(Range(Size.of(1), Size.of(n)),))
            elif kind == "where":
                row = b.op("where", b.op("gt", row, inputs[4]), row, b.op("abs", row))
        return matrix, row

    def body(matrix: Value, row: Value) -> LoopBody:
        new = step(matrix, row, Size.of("k"))
        return LoopBody(new, (new[1],))

    if draw(st.booleans()):
        matrix, row, rows = b.loop("k", 0, "K", [inputs[0], inputs[1]], body, names=["a", "b"])
        back = draw(st.booleans())
        bounds = (Size.of("K") - 1, -1, -1) if back else (Size.of(0), "K", 1)

        def collect(total: Value) -> LoopBody:
            one = b.op("slice", rows, items=(At(Size.of("j")), Range(Size.of(0), Size.of(n))))
            return LoopBody((b.op("add", total, one),))

        (row,) = b.loop("j", bounds[0], bounds[1], [row], collect, step=bounds[2], names=["t"])
    else:
        matrix, row = step(inputs[0], inputs[1], None)
    results = [matrix, row, b.op("sum", b.op("mul", matrix, row), axes=(-2, -1))]
    own = tuple(draw(st.booleans()) for _ in results)
    return b.finish(results), own, [*zip(shapes, shared, strict=True)]


@settings(max_examples=12)
@given(graphs(), st.integers(1, 40), st.integers(0, 3), st.integers(0, 1000))
def test_random_graphs(made: Any, count: int, K: int, seed: int) -> None:
    graph, own, kinds = made
    g = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(s if same else (count, *s), generator=g, dtype=torch.float64) for s, same in kinds]
    n = kinds[1][0][0]
    check(graph, own, [*tensors, torch.randn(K, n, generator=g, dtype=torch.float64)], count, {"K": K})


def test_a_transposed_operand_in_another_shape() -> None:
    """It is copied, whether problems share it or not."""
    b = Builder("turned")
    x = b.input("x", Type.of("f64", 2, 3))
    graph = b.finish([b.op("reshape", b.op("permute", x, axes=(-1, -2)), shape=(Size.of(2), Size.of(3)))])
    for lead in ((), (5,)):
        check(graph, (True,), [torch.randn(*lead, 2, 3, dtype=torch.float64)], 5, {})


def test_a_sum_over_problems_moves_into_the_loop_that_makes_it() -> None:
    """The loop carries one array for all, and products of each problem become a contraction over the batch."""
    b = Builder("outer")
    x, w = b.input("x", Type.of("f64", 3)), b.input("w", Type.of("f64", "K", 3))
    zero = b.op("broadcast", constant(b, 0.0, "f64"), shape=(Size.of("K"), Size.of(3), Size.of(3)))

    def body(total: Value) -> LoopBody:
        row = b.op("slice", w, items=(At(Size.of("k")), Range(Size.of(0), Size.of(3))))
        product = b.op("einsum", x, b.op("mul", row, x), spec="i,j->ij")
        items = (At(Size.of("k")), Range(Size.of(0), Size.of(3)), Range(Size.of(0), Size.of(3)))
        return LoopBody((b.op("update", total, product, items=items, mode="add"),))

    graph = b.finish(b.loop("k", 0, "K", [zero], body))
    moved = simplify(sum_batch(simplify(batch(graph, (True, False))), (False,)))
    (loop,) = [n for n in moved.nodes if n.op == "for"]
    assert [str(v.type) for v in loop.outputs] == ["f64[K, 3, 3]"]
    assert any(n.op == "einsum" and n.attr("spec").endswith("->ij") for n in loop.regions[0].nodes)
    check(graph, (False,), [torch.randn(37, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)], 37, {"K": 4})


def _scan() -> Graph:
    b = Builder("scan")
    return b.finish([b.op("cumsum", b.input("x", Type.of("f32", 5)), axis=-1)])


def _complex() -> Graph:
    b = Builder("complex")
    x = b.input("x", Type.of("c64", 5))
    return b.finish([b.op("mul", x, x)])


def _gather() -> Graph:
    from unspool.compiler.graph.types import Pick

    b = Builder("gather")
    return b.finish([b.op("slice", b.input("x", Type.of("f32", 5)), b.input("i", Type.of("i64", 3)), items=(Pick(0),))])


def _large() -> Graph:
    b = Builder("large")
    x = b.input("x", Type.of("f32", 300, 300))
    return b.finish([b.op("exp", x)])


def _long() -> Graph:
    b = Builder("long")
    x = b.input("x", Type.of("f32", "K"))
    return b.finish([b.op("exp", x)])


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (_scan(), "cumsum has no form in Triton here"),
        (_complex(), "c64 values"),
        (_gather(), "an index comes from data"),
        (_large(), "take 2048 KiB of registers at once"),
        (_long(), "only a call knows"),
    ],
    ids=lambda x: x.name if isinstance(x, Graph) else "",
)
def test_refusals(graph: Graph, reason: str) -> None:
    problem = Problem(graph, (True,) * len(graph.inputs), (True,))
    with pytest.raises(CompileError, match=reason):
        _target().emit_graph(problem)


def test_steps_of_a_schedule_are_refused() -> None:
    with pytest.raises(UnspoolError, match="target triton takes graphs and orders their loops itself"):
        loaded("lasso").ista.compile(target="triton", schedule="parallel i0", shapes={"m": 4, "n": 6})


def test_tensors_of_the_processor_are_not_for_a_gpu() -> None:
    kernel = compile_graph(_product(), registry.target("triton"), batching=Batching((False, True), (True,))).kernel  # type: ignore[arg-type]
    with pytest.raises(DataError, match="runs on an NVIDIA GPU, and its tensors are on device cpu"):
        kernel([torch.ones(4, 5), torch.ones(3, 5)], [torch.empty(3, 4)], 3, [0, 5, 4], [0, 0, 0], [], 1, 1)


def test_triton_is_imported_when_it_is_used() -> None:
    script = "import sys, unspool.backends.registry as r; r.canonical('triton'); r._has_triton(); sys.exit('triton' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=PROGRAMS.parents[1], env={**os.environ, "PYTHONPATH": "."})
