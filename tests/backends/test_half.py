"""f16 and bf16 as storage with f32 arithmetic: kernels, gradients, the interpreter, targets that lack them, and complex dtypes."""

from __future__ import annotations

import ctypes
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unspool as us
from unspool.backends import build, registry
from unspool.backends.c_runtime import prelude
from unspool.backends.cpu import CTarget
from unspool.backends.execute import FallbackWarning
from unspool.compiler.graph.half import wide_results
from unspool.compiler.graph.text import parse_graph, print_graph
from unspool.compiler.graph.verify import verify

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
ISTA, TV, SINKHORN = (us.load(PROGRAMS / f"{f}.us")[a] for f, a in (("lasso", "ista"), ("tv", "tv"), ("balance", "sinkhorn")))
HALVES = {"f16": torch.float16, "bf16": torch.bfloat16}
#: Half a unit in the last place, relative; a little more for arithmetic in f32 before.
EPS = {"f16": 2.0**-11, "bf16": 2.0**-8}
TEXTS = us.loads(
    """
algorithm learned(y: real[n]) -> real[n]:
    iterations K = 2
    module f: (real[n]) -> real[n]
    x = y
    for k in 0..K:
        x = f(x) + y
    return x

algorithm library(A: real[n, n]) -> real[n, n]:
    return cholesky(A @ A.T + eye(n)) @ A

algorithm sums(x: real[n]) -> real:
    return sum(x)

algorithm waves(z: complex[n], W: complex[n, n], t: real) -> (complex[n], real):
    iterations K = 3
    param g[K]: positive = 0.5
    for k in 0..K:
        r = W.H @ (W @ z) - z
        z = z - g[k] * r / (1 + abs(r)**2) + exp(0.1 * z) * sin(z) * t
    return sqrt(z) * conj(z), sum(re(z) * im(z)) + sum(angle(z))
"""
)


@pytest.fixture(scope="module")
def conversions(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The generated conversions over arrays."""
    loops = ""
    for dtype in HALVES:
        loops += f"void widen_{dtype}(const uint16_t *a, float *b, int64_t n) {{ for (int64_t i = 0; i < n; i++) b[i] = us_widen_{dtype}(a[i]); }}\n"
        loops += f"void narrow_{dtype}(const float *a, uint16_t *b, int64_t n) {{ for (int64_t i = 0; i < n; i++) b[i] = us_narrow_{dtype}(a[i]); }}\n"
    folder = tmp_path_factory.mktemp("half")
    (folder / "c.c").write_text(prelude(loops) + loops)
    command = [
        build.find_compiler(),
        *build.flags(build.machine().vector_bytes),
        str(folder / "c.c"),
        "-o",
        str(folder / "c.so"),
        "-lm",
    ]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(folder / "c.so"))


@pytest.mark.parametrize("dtype", HALVES)
def test_conversions_are_those_of_torch(dtype: str, conversions: Any) -> None:
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    found = torch.empty(2**16)
    getattr(conversions, f"widen_{dtype}")(
        ctypes.c_void_p(bits.data_ptr()), ctypes.c_void_p(found.data_ptr()), ctypes.c_int64(2**16)
    )
    wanted = bits.view(HALVES[dtype]).float()
    assert torch.equal(found.isnan(), wanted.isnan())
    assert torch.equal(found.nan_to_num(0, 1e38, -1e38), wanted.nan_to_num(0, 1e38, -1e38))
    generator = np.random.default_rng(0)
    words = generator.integers(0, 2**32, 2**20, dtype=np.uint32).view(np.int32)
    exact = wanted.numpy().view(np.int32)
    near = np.concatenate([exact + d for d in (-1, 0, 1)] + [exact + d for d in (0x1000, 0xFFF, 0x1001, 0x8000, 0x7FFF, 0x8001)])
    edges = np.array([65504, 65519.99, 65520, 3e38, -3e38, 2.0**-24, 2.0**-25, 2.0**-25 * 1.0001, 0, -0.0], np.float32).view(
        np.int32
    )
    values = torch.from_numpy(np.concatenate([words, near, edges]).view(np.float32).copy())
    narrow = torch.empty(len(values), dtype=torch.int16)
    getattr(conversions, f"narrow_{dtype}")(
        ctypes.c_void_p(values.data_ptr()), ctypes.c_void_p(narrow.data_ptr()), ctypes.c_int64(len(values))
    )
    found, wanted = narrow.view(HALVES[dtype]), values.to(HALVES[dtype])
    assert torch.equal(found.isnan(), wanted.isnan())
    assert torch.equal(found.view(torch.int16)[~found.isnan()], wanted.view(torch.int16)[~wanted.isnan()])


def operands(name: str, dtype: torch.dtype) -> tuple[Any, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(2)

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator).to(dtype)

    if name == "ista":
        return ISTA, [random(12, 20) - 0.5, random(5, 12)]
    if name == "tv":
        return TV, [random(3, 9, 17), torch.tensor(0.1).to(dtype)]
    values = []
    for i in SINKHORN.algorithm.inputs:
        shape = [s.evaluate(dict.fromkeys(s.names(), 8)) for s in i.type.shape]
        values.append(random(*shape) + 0.1)
    return SINKHORN, values


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", ["ista", "tv", "sinkhorn"])
def test_programs_and_their_gradients(name: str, dtype: str) -> None:
    """Against f64 from the same rounded inputs: what comes out is that, rounded once."""
    handle, values = operands(name, HALVES[dtype])
    given = [v for v, i in zip(values, handle.algorithm.inputs) if i.given]
    params = handle.build(*given, K=4, dtype=dtype).values()  # rounded, as the kernel has them
    double = [v.double().requires_grad_() for v in values]
    wanted = handle(*double, K=4, target="interpreter", **{n: v.double() for n, v in params.items()})
    scale = wanted.detach().abs().max().item()
    weights = torch.linspace(-1, 1, wanted.numel(), dtype=torch.float64).reshape(wanted.shape).to(HALVES[dtype])
    (wanted * weights.double()).sum().backward()
    for target in ("c", "interpreter"):
        half = [v.clone().requires_grad_() for v in values]
        with warnings.catch_warnings():
            warnings.simplefilter("error", FallbackWarning)
            found = handle(*half, K=4, target=target, **params)
        assert found.dtype == HALVES[dtype]
        assert (found.double() - wanted).abs().max().item() <= 1.1 * EPS[dtype] * scale + 1e-5 * scale, target
        found.backward(weights)
        for x, y in zip(half, double):
            assert x.grad is not None
            assert x.grad.dtype == HALVES[dtype]
            size = y.grad.abs().max().item()
            assert (x.grad.double() - y.grad).abs().max().item() <= 1.1 * EPS[dtype] * size + 1e-4 * size, target


@pytest.mark.parametrize("dtype", HALVES)
def test_kernels_hold_half_precision_and_compute_in_f32(dtype: str) -> None:
    kernel = ISTA.compile({"m": 5, "n": 7}, dtype=dtype, target="c")
    assert "const uint16_t *restrict A" in kernel.source
    assert f"us_narrow_{dtype}(" in kernel.source
    assert kernel.graph.startswith(f"graph ista(%A: {dtype}[5, 7], %y: {dtype}[5]")
    assert " : f32[7]" in kernel.graph
    ones = torch.full((4000,), 1.0, dtype=HALVES[dtype])  # the sum in half precision would stop at 2048 or 256
    assert (
        TEXTS.sums(ones, target="c").item()
        == TEXTS.sums(ones, target="interpreter").item()
        == torch.tensor(4000.0).to(HALVES[dtype]).item()
    )


def test_special_values() -> None:
    program = us.loads("algorithm f(x: real[n]) -> real[n]:\n    return x * 2\n")
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 40000.0, -0.0, 6e-8], dtype=torch.float16)
    for target in ("c", "interpreter"):
        found = program.f(x, target=target)
        assert torch.equal(found.nan_to_num(7), (x * 2).nan_to_num(7))
        assert found[0].isnan()
    assert program.f(x.numpy(), target="c").dtype == np.float16


def test_gradients_add_up_in_f32() -> None:
    program = us.loads("algorithm f(a: real, x: real[n]) -> real[n]:\n    return a * x\n")
    a = torch.tensor(1.0, dtype=torch.bfloat16, requires_grad=True)
    program.f(a, torch.ones(3000, 2, dtype=torch.bfloat16), target="c").sum().backward()
    assert a.grad is not None
    assert a.grad.item() == torch.tensor(6000.0).bfloat16().item()


@pytest.mark.parametrize("dtype", HALVES)
def test_a_half_layer_trains(dtype: str) -> None:
    A, y = torch.randn(6, 9) / 3, torch.randn(4, 6)
    layer = ISTA.build(A=A, K=3, dtype=dtype, target="c")
    assert {p.dtype for p in layer.parameters()} == {HALVES[dtype]}
    single = ISTA.build(A=A, K=3, target="c").to(HALVES[dtype])
    value = layer(y.to(HALVES[dtype]))
    torch.testing.assert_close(
        value, single(y.to(HALVES[dtype])), rtol=0.05, atol=0.02
    )  # its parameters were rounded in f32 first
    value.float().pow(2).sum().backward()
    assert all(p.grad is not None and p.grad.dtype == p.dtype for p in layer.parameters())
    x, path = layer(y.to(HALVES[dtype]), trace=["x"])
    assert (path.x.dtype, path.x.shape) == (HALVES[dtype], (4, 3, 9))
    assert torch.equal(path.x[:, -1], x)


def test_learned_operators_and_library_calls() -> None:
    f = torch.nn.Linear(3, 3).half()
    y = torch.randn(2, 3).half().requires_grad_()
    for target in ("c", "interpreter"):
        layer = TEXTS.learned.build(f=f, n=3, dtype="f16", target=target)
        found = layer(y)
        x = y.detach().float()
        for _ in range(2):
            x = f(x.half()).float() + y.float()
        torch.testing.assert_close(found, x.half(), rtol=2e-3, atol=2e-3)
        found.sum().backward()
        A = torch.randn(4, 4).bfloat16()
        assert TEXTS.library(A, target=target).dtype == torch.bfloat16  # torch has no cholesky in half precision


def test_a_target_without_half_precision_gets_it_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lacking(CTarget):
        def supports(self, dtype: str) -> bool:
            return dtype not in ("f16", "bf16", "c64") and super().supports(dtype)

    monkeypatch.setattr(registry, "target", lambda name, *, strict=False, **_: Lacking(strict=strict))
    handle = us.load(PROGRAMS / "lasso.us").ista
    A, y = torch.randn(5, 7).half() / 3, torch.randn(2, 5).half().requires_grad_()
    kernel = handle.compile({"m": 5, "n": 7}, dtype="f16", K=3, target="c")
    assert "uint16_t" not in kernel.source
    found, wanted = kernel(A, y), ISTA(A, y, K=3, target="interpreter")
    torch.testing.assert_close(found, wanted, rtol=2e-3, atol=1e-3)
    found.sum().backward()
    assert y.grad is not None
    z = torch.randn(3, dtype=torch.complex64)
    program = us.loads("algorithm f(z: complex[n]) -> complex[n]:\n    return z * z\n")
    with pytest.warns(FallbackWarning, match="f runs in the interpreter: target c holds no c64 values"):
        assert torch.equal(program.f(z, target="c"), z * z)


def test_values_declared_in_half_precision_are_refused_by_name() -> None:
    program = us.loads("algorithm f(x: f16[n], y: f16[n]) -> f16[n]:\n    return x + y\n")
    x = torch.randn(4).half()
    with pytest.warns(FallbackWarning, match="f16 and bf16 are storage"):
        assert torch.equal(program.f(x, x, target="c"), x + x)


def test_wide_results() -> None:
    text = (
        "graph f(%x: f16[n]) {\n  %a = cast(%x) {dtype='f32'} : f32[n]\n  %b = cast(%a) {dtype='f16'} : f16[n]\n"
        "  return %b, %x, %a\n}\n"
    )
    graph = wide_results(parse_graph(text))
    verify(graph)
    assert [t.dtype for t in graph.result_types] == ["f32"] * 3
    assert parse_graph(print_graph(graph)) == graph
    assert graph.results[0] == "a"


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_complex_kernels_and_their_gradients(dtype: str) -> None:
    real, twin = (torch.float32, torch.complex64) if dtype == "f32" else (torch.float64, torch.complex128)
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(2, 4, dtype=twin, generator=generator)
    W = torch.randn(4, 4, dtype=twin, generator=generator) / 2
    g, t = torch.full((3,), 0.2, dtype=real), torch.tensor(0.3, dtype=real)
    results = []
    for target in ("c", "interpreter"):
        own = [v.clone().requires_grad_() for v in (z, W, t, g)]
        with warnings.catch_warnings():
            warnings.simplefilter("error", FallbackWarning)
            first, second = TEXTS.waves(*own[:3], g=own[3], target=target)
            (first.abs().pow(2).sum() + second.sum()).backward()
        results.append([first.detach(), second.detach(), *[v.grad for v in own]])
    for a, b in zip(*results):
        size = b.abs().max().item()
        assert (a - b).abs().max().item() <= (1e-4 if dtype == "f32" else 1e-10) * size
    if dtype == "f64":
        own = [v.clone().requires_grad_() for v in (z, W, t, g)]
        assert torch.autograd.gradcheck(lambda z, W, t, g: TEXTS.waves(z, W, t, g=g, target="c"), own)
