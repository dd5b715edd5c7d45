"""CUDA texts on the processor: what sound kernels compute in every order of the threads, and that each planted fault is found."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unspool.backends.cuda.emulate import EmulationError, Manner, emulate
from unspool.compiler.diagnostics import CompileError, DataError

pytestmark = pytest.mark.needs("c++")

TEXT = (Path(__file__).parent / "cuda_cases.cu").read_text(encoding="utf-8")
BLOCKS, THREADS = 3, 64
SHARED = 8 * THREADS
ORDERS = [Manner("forward"), Manner("reverse"), Manner("random", 1), Manner("random", 2)]
TOGETHER = {5, 11, 12, 110, 111, 112}


def case(which: int, manner: Manner) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y after a case of the file; x is 0, 1, 2, ... before."""
    x = torch.arange(float(BLOCKS * THREADS))
    y = torch.zeros(BLOCKS * THREADS)
    counters, numbers = torch.zeros(8, dtype=torch.int32), torch.zeros(BLOCKS * THREADS, dtype=torch.int8)
    emulate(
        TEXT, "cases", [x, y, counters, numbers, which], grid=BLOCKS, threads=THREADS, shared=SHARED, together=which in TOGETHER, manner=manner
    )
    return x.view(BLOCKS, THREADS), y.view(BLOCKS, THREADS)


def expected(which: int) -> torch.Tensor:
    """y after a sound case, by torch."""
    x = torch.arange(float(BLOCKS * THREADS)).view(BLOCKS, THREADS)
    zero = torch.zeros_like(x)
    t = torch.arange(THREADS)
    if which == 0:
        return x.roll(-1, 1) + 2
    if which in (1, 4):
        return x.sum(1, keepdim=True).expand_as(x)
    if which == 2:
        return x[:, t ^ 1]
    if which == 3:
        return x[:, t ^ 15] + 1
    if which == 5:
        return x.roll(-1, 0)
    if which == 6:
        zero[0, :BLOCKS] = torch.cat([x.sum()[None], x.sum(1)[1:]])
        return zero
    if which == 7:
        return torch.stack([t[:16], *(torch.full((16,), k) for k in (1, 2, 3))], 1).flatten().expand_as(x).float()
    if which == 8:
        return x.roll(-4, 1)
    if which == 9:
        return 2 * x.roll(-1, 1)
    if which == 10:
        return torch.cat([2 * x[:, :32].sum(1, keepdim=True).expand(-1, 32), 2 * x[:, 32:40], zero[:, 40:]], 1)
    if which == 11:
        zero[0, 1:BLOCKS] = 5
        return zero
    if which == 12:
        return torch.arange(float(BLOCKS))[:, None].expand_as(x)
    if which == 14:
        return x[:, [9, 41]].repeat_interleave(32, 1)
    votes = torch.stack([(t[:32] % 3 == 0).sum() + 31, (t[32:] % 3 == 0).sum() + 63])
    return (votes.repeat_interleave(32) + 100 * 32 + 10000).float().expand_as(x)


@pytest.mark.parametrize("races", [False, True])
@pytest.mark.parametrize("which", range(15))
def test_sound_kernels_compute_the_same_in_every_order(which: int, races: bool) -> None:
    for manner in ORDERS:
        _, y = case(which, replace(manner, races=races))
        torch.testing.assert_close(y, expected(which), rtol=0, atol=0)


@pytest.mark.parametrize("which", range(17))
def test_a_planted_race_is_found_in_every_order(which: int) -> None:
    for manner in ORDERS:
        with pytest.raises(EmulationError, match="race") as caught:
            case(100 + which, replace(manner, races=True))
        assert caught.value.kind == "race"
        assert caught.value.other not in (None, (caught.value.block, caught.value.thread))


@pytest.mark.parametrize("which", [0, 1, 5])
def test_without_the_detector_a_missing_barrier_changes_results_in_some_order(which: int) -> None:
    found = [case(100 + which, manner)[1] for manner in ORDERS]
    assert any(not torch.equal(y, found[0]) or bool(y.isnan().any()) for y in found)


FAULTS = {
    0: "barrier", 1: "barrier", 2: "barrier", 3: "deadlock", 4: "deadlock", 5: "warp", 6: "warp", 7: "bounds", 8: "misuse", 9: "alignment",
    10: "fault", 11: "division", 12: "fault", 13: "bounds", 14: "alignment", 15: "stale",
}  # fmt: skip


@pytest.mark.parametrize("which", FAULTS)
def test_a_fault_is_an_error_that_says_who(which: int) -> None:
    for manner in [Manner("forward", races=True), Manner("reverse", races=True), *([] if which > 12 else [Manner()])]:
        with pytest.raises(EmulationError) as caught:
            case(200 + which, manner)
        assert caught.value.kind == FAULTS[which], caught.value
        assert 0 <= caught.value.block < BLOCKS
        assert 0 <= caught.value.thread < THREADS
    _, y = case(0, Manner())
    torch.testing.assert_close(y, expected(0), rtol=0, atol=0)  # the process goes on


def test_shared_memory_begins_as_nan() -> None:
    _, y = case(216, Manner())
    assert y[:, 0].eq(1).all()
    assert y[:, 1:].isnan().all()


def test_a_race_names_the_array_the_element_and_the_lines() -> None:
    lines = TEXT.splitlines()
    with pytest.raises(EmulationError) as caught:
        case(102, Manner(races=True))
    assert "writes argument 1, 0 bytes behind its start (element 0)" in str(caught.value)
    with pytest.raises(EmulationError) as caught:
        case(100, Manner(races=True))
    found = [int(n) for n in re.findall(r"in line (\d+)", str(caught.value))]
    assert [lines[n - 1].strip() for n in found] == ["c.s[c.t] = c.x[c.i];", "c.y[c.i] = c.s[next];"]
    with pytest.raises(EmulationError, match="thread 39 of block 2: it waits at a barrier"):
        case(200, Manner("reverse"))


MATMUL = """
// One warp multiplies a 16 x 2K by a 2K x 8 matrix, both row by row, twice K deep.
extern "C" __global__ void matmul(US_POINTER(const float) a, US_POINTER(const float) b, US_POINTER(float) c, int64_t kind) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4, K = kind == 2 ? 8 : 16;
  float d[4] = {0, 0, 0, 0};
  for (int k = 0; k < 2 * K; k += K) {
    unsigned p[4], q[2];
    for (int r = 0; r < 4; ++r) {
      const int i = g + 8 * (r % 2);
      if (kind == 2) p[r] = us_tf32(a[i * 2 * K + k + t + 4 * (r / 2)]);
      else {
        const int j = i * 2 * K + k + 2 * t + 8 * (r / 2);
        p[r] = kind ? us_pack_f16(a[j], a[j + 1]) : us_pack_bf16(a[j], a[j + 1]);
      }
    }
    for (int r = 0; r < 2; ++r) {
      if (kind == 2) q[r] = us_tf32(b[(k + t + 4 * r) * 8 + g]);
      else {
        const int j = (k + 2 * t + 8 * r) * 8 + g;
        q[r] = kind ? us_pack_f16(b[j], b[j + 8]) : us_pack_bf16(b[j], b[j + 8]);
      }
    }
    if (kind == 0) us_mma_m16n8k16_bf16(d, p, q);
    else if (kind == 1) us_mma_m16n8k16_f16(d, p, q);
    else us_mma_m16n8k8_tf32(d, p, q);
  }
  for (int r = 0; r < 4; ++r) c[(g + 8 * (r / 2)) * 8 + 2 * t + r % 2] = d[r];
}
"""


def to_tf32(x: torch.Tensor) -> torch.Tensor:
    """Rounded to 10 bits behind the point, ties away from zero."""
    bits = (x.view(torch.int32) + 0x1000) & ~0x1FFF
    return bits.view(torch.float32)


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_tensor_cores(kind: int) -> None:
    generator = torch.Generator().manual_seed(kind)
    deep = 16 if kind == 2 else 32
    a, b, c = torch.randn(16, deep, generator=generator), torch.randn(deep, 8, generator=generator), torch.full((16, 8), float("nan"))
    for manner in (Manner(races=True), Manner("random", 3, races=True)):
        emulate(MATMUL, "matmul", [a, b, c, kind], grid=1, threads=32, manner=manner)
        rounded = [to_tf32(x) if kind == 2 else x.to(torch.float16 if kind else torch.bfloat16).float() for x in (a, b)]
        torch.testing.assert_close(c, rounded[0] @ rounded[1], rtol=1e-6, atol=1e-5)


HALF = """
extern "C" __global__ void half(US_POINTER(const float) x, US_POINTER(int) bits, US_POINTER(float) back, int64_t n, int64_t brain) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    bits[i] = brain ? us_bf16_bits(x[i]) : us_f16_bits(x[i]);
    back[i] = brain ? us_bf16_value(bits[i]) : us_f16_value(bits[i]);
  }
}
"""


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_as_16_bits(dtype: torch.dtype) -> None:
    every = torch.arange(-32768, 32768, dtype=torch.int32).to(torch.int16).view(dtype).float()
    every = torch.cat([every, every * 1.0001, every * 1.00049, every * 1.003])  # values between, ties among them
    every = every[~every.isnan()].contiguous()
    bits, back = torch.zeros(len(every), dtype=torch.int32), torch.zeros(len(every))
    emulate(HALF, "half", [every, bits, back, len(every), int(dtype == torch.bfloat16)], grid=1, threads=32)
    assert torch.equal(back, every.to(dtype).float())
    assert torch.equal(bits.to(torch.int16), every.to(dtype).view(torch.int16))


def test_what_does_not_compile_is_an_error() -> None:
    with pytest.raises(CompileError, match=r"(?s)the C\+\+ compiler failed.*nothing"):
        emulate('extern "C" __global__ void f() { nothing; }', "f", [], grid=1, threads=1)


def test_manners() -> None:
    assert Manner.parse("") == Manner()
    assert Manner.parse("races, random:7") == Manner("random", 7, True)
    for text in ("backwards", "reverse:3", "random:x"):
        with pytest.raises(DataError, match="a manner of emulation is"):
            Manner.parse(text)
