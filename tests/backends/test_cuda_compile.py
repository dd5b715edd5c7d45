"""CUDA texts compiled for GPUs that are not here: machine code, what it takes of a GPU, errors, the cache."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from unspool.backends import build
from unspool.backends.cuda import compile as cuda_compile
from unspool.backends.cuda.compile import Compiler, cubin, ptx
from unspool.compiler import options
from unspool.compiler.diagnostics import CompileError

from .test_cuda_emulate import MATMUL, TEXT

pytestmark = pytest.mark.needs("nvcc")

SCALE = """
extern "C" __global__ void __launch_bounds__(128) scale(float *x, float by) {
  __shared__ float s[128];
  s[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = by * s[(threadIdx.x + 1) % 128];
}
"""
DEVICE = """
#define US_POINTER(T) T *__restrict__
#define US_SHARED(T) T *
#define US_SHARED_ARRAY(T, NAME, N) __shared__ T NAME[N]
extern __shared__ char us_memory[];
#define US_DYNAMIC_SHARED us_memory
typedef signed char us_int8;
typedef long long us_int64;
#define int8_t us_int8
#define int64_t us_int64
template <class V, class T> __device__ __forceinline__ V *us_as(T *p) { return reinterpret_cast<V *>(p); }
"""
DEVICE += (Path(cuda_compile.__file__).parent / "mma.cuh").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path) -> Iterator[None]:
    """A cache of the test's own, and nothing in memory."""
    cuda_compile._memory.clear()
    with options.scope(cache=tmp_path):
        yield
    cuda_compile._memory.clear()


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_a_kernel_tells_what_it_takes(arch: str) -> None:
    found = cubin(SCALE, "scale", arch)
    assert found.data.startswith(b"\x7fELF")
    assert 0 < found.registers < 64
    assert (found.spills, found.local_bytes, found.shared_bytes) == (0, 0, 512)


def test_registers_that_do_not_suffice_are_spills() -> None:
    body = "".join(f"  float v{i} = x[{i}];\n" for i in range(100)) + "  __syncthreads();\n  float s = x[threadIdx.x];\n"
    body += "".join(f"  x[{i}] = v{i} * s; s = s * v{99 - i};\n" for i in range(100))
    found = cubin(f'extern "C" __global__ void __launch_bounds__(1024, 2) many(volatile float *x) {{\n{body}}}', "many", "sm_90")
    assert found.spills > 0
    assert found.local_bytes > 0
    assert found.registers <= 32


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_tensor_cores_and_copies_compile(arch: str) -> None:
    assert cubin(DEVICE + MATMUL, "matmul", arch).spills == 0
    assert "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32" in ptx(DEVICE + MATMUL, arch)


def test_the_cases_of_the_emulator_are_cuda() -> None:
    assert cubin(DEVICE + TEXT, "cases", "sm_90").registers > 0


def test_what_was_compiled_is_found_again() -> None:
    before = build.statistics.compiled
    first = cubin(SCALE, "scale", "sm_90")
    cuda_compile._memory.clear()
    assert cubin(SCALE, "scale", "sm_90") == first
    assert build.statistics.compiled == before + 1


def test_errors_say_what_the_compiler_says() -> None:
    with pytest.raises(CompileError, match=r"(?s)failed .*sm_90.*nothing.*undefined"):
        cubin('extern "C" __global__ void f() { nothing; }', "f", "sm_90")
    with pytest.raises(CompileError, match="no kernel called 'g'"):
        cubin(SCALE, "g", "sm_90")
    with pytest.raises(CompileError, match="failed"):
        cubin(SCALE, "scale", "sm_10")
    with pytest.raises(CompileError, match="written sm_80, not 'hopper'"):
        cubin(SCALE, "scale", "hopper")


def test_where_nothing_compiles_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_compile, "_installed", lambda module: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(CompileError, match=r"pip install 'unspool\[cuda\]'"):
        cuda_compile.compiler.__wrapped__()


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc on the PATH")
def test_nvcc_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    found: Compiler = cuda_compile._nvcc(shutil.which("nvcc") or "")
    monkeypatch.setattr(cuda_compile, "compiler", lambda: found)
    assert "nvcc" in found.name
    assert cubin(SCALE, "scale", "sm_80").shared_bytes == 512
    assert ".target sm_80" in ptx(SCALE, "sm_80")
    with pytest.raises(CompileError, match=r"(?s)nvcc failed .*nothing"):
        cubin('extern "C" __global__ void f() { nothing; }', "f", "sm_90")
