"""Large products on a GPU: tiles with operands in shared memory, copied ahead, and sums in registers."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

import unspool as us
from unspool.backends.cuda.compile import cubin
from unspool.backends.cuda.emulate import EmulationError
from unspool.backends.cuda.target import generic
from unspool.backends.kernel import Kernel
from unspool.compiler import options
from unspool.compiler.loops.dependences import IllegalSchedule
from unspool.compiler.search import gpu_product
from unspool.compiler.search.draft import Draft, Task
from unspool.compiler.search.gpu import finish_gpu
from unspool.compiler.search.gpu_product import gpu_products, gpu_products_apart

GEMM = "algorithm f(A: real[m, p], B: real[p, n]) -> real[m, n]:\n    return A @ B\n"
#: Programs, sizes that no tile divides, and shapes of the operands.
PROGRAMS = {
    "A B": (GEMM, {"m": 70, "n": 45, "p": 67}),
    "A^T B, fused": (
        "algorithm f(A: real[p, m], B: real[p, n], c: real[n]) -> real[m, n]:\n    return relu(A.T @ B + c)\n",
        {"m": 40, "n": 36, "p": 34},
    ),
    "A B^T": ("algorithm f(A: real[m, p], B: real[n, p]) -> real[m, n]:\n    return A @ B.T\n", {"m": 33, "n": 40, "p": 36}),
    "several": ("algorithm f(A: real[b, m, p], B: real[b, p, n]) -> real[b, m, n]:\n    return A @ B\n", {"b": 3, "m": 33, "n": 40, "p": 36}),
    "Gram": ("algorithm f(A: real[p, m]) -> real[m, m]:\n    return A.T @ A\n", {"m": 50, "p": 64}),
    "in a loop": (
        "algorithm f(X: real[m, n], W: real[n, n]) -> real[m, n]:\n    iterations K = 2\n    for t in 0..K:\n        X = tanh(X @ W)\n    return X\n",
        {"m": 33, "n": 40},
    ),
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small products are tiled, too."""
    monkeypatch.setattr(gpu_product, "WORK", 1000)


def tiled(source: str, shapes: dict[str, int], dtype: str = "f32", *, tf32: bool = False, make: Callable[[Draft], bool] = gpu_products) -> str:
    """The schedule with tiles, whether it pays or not."""
    made = us.loads(source).f.compile(shapes=shapes, target="emulated", dtype=dtype).compiled[0][1]
    assert made.lowered is not None
    draft = Draft.of(Task(made.lowered, replace(generic(), tf32=tf32)))
    assert make(draft)
    finish_gpu(draft)
    return str(draft.schedule)


def operands(made: Kernel) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    arrays = [a for a in made.compiled[0][1].nest.arrays if a.scope == "input"]
    return [torch.randn([s.constant or 0 for s in a.shape], generator=g) / 4 for a in arrays]


def agree(program: Any, made: Any, schedule: str, most: float) -> None:
    """Assert that a schedule gives what the interpreter gives, but for ``most``, in two orders of the threads, without a race."""
    given = operands(made)
    with options.scope(target="interpreter"):
        wanted = program(*(x.double() for x in given))
    for manner in ("races,reverse", "races,random:3"):
        with options.scope(emulate=manner):
            found = program(*given, target="emulated", schedule=schedule)
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=most)


@pytest.mark.needs("c++")
@pytest.mark.parametrize("name", PROGRAMS)
def test_tiles_compute_the_same_and_race_for_nothing(name: str) -> None:
    source, shapes = PROGRAMS[name]
    schedule, program = tiled(source, shapes), us.loads(source).f
    assert {"stage", "register", "pack", "block"} <= {line.split()[0] for line in schedule.splitlines()}
    made = program.compile(shapes=shapes, target="emulated", schedule=schedule)
    agree(program, made, schedule, 1e-5)


@pytest.mark.needs("c++")
@pytest.mark.parametrize(("name", "dtype"), [("A B", "bf16"), ("A^T B, fused", "f16"), ("A B^T", "bf16"), ("several", "f16")])
def test_products_in_half_precision_run_on_tensor_cores(name: str, dtype: str) -> None:
    source, shapes = PROGRAMS[name]
    schedule, program = tiled(source, shapes, dtype), us.loads(source).f
    assert {"inline", "tensor", "stage"} <= {line.split()[0] for line in schedule.splitlines()}
    made = program.compile(shapes=shapes, target="emulated", dtype=dtype, schedule=schedule)
    assert f"us_mma_m16n8k16_{dtype}(" in made.source
    given = [x.to(torch.float16 if dtype == "f16" else torch.bfloat16) for x in operands(made)]
    with options.scope(target="interpreter"):
        wanted = program(*(x.double() for x in given))
    for manner in ("races,reverse", "races,random:3"):
        with options.scope(emulate=manner):
            found = program(*given, target="emulated", schedule=schedule)
        torch.testing.assert_close(found, wanted.to(found.dtype))


@pytest.mark.needs("c++")
@pytest.mark.parametrize("name", ["A B", "in a loop"])
def test_products_of_f32_run_on_tensor_cores_if_they_may_be_rounded(name: str) -> None:
    source, shapes = PROGRAMS[name]
    schedule, program = tiled(source, shapes, tf32=True), us.loads(source).f
    with pytest.raises(IllegalSchedule, match='rounding those of f32 takes numerics="tf32"'):
        program.compile(shapes=shapes, target="emulated", schedule=schedule)
    with pytest.raises(IllegalSchedule, match="numerics"):
        program.compile(shapes=shapes, target="emulated", schedule=schedule, numerics="strict")
    made = program.compile(shapes=shapes, target="emulated", schedule=schedule, numerics="tf32")
    assert "us_mma_m16n8k8_tf32(" in made.source
    given = operands(made)
    with options.scope(target="interpreter"):
        wanted = program(*(x.double() for x in given))
    with options.scope(emulate="races,random:3"):
        found = program(*given, target="emulated", schedule=schedule, numerics="tf32")
    assert 1e-6 < float((found - wanted).abs().max()) < 2e-3, "factors are rounded to 10 bits behind the point"


def test_only_what_is_exact_in_half_precision_runs_on_tensor_cores() -> None:
    """What an iteration has made is f32: rounding it would be another program."""
    source, shapes = PROGRAMS["in a loop"]
    assert "tensor" not in tiled(source, shapes, "bf16")


@pytest.mark.needs("c++")
def test_products_of_members_run_on_a_block_each() -> None:
    source = """
algorithm f(X: real[m, p], B: real[q, p, n], y: real[m, n]) -> real[q]:
    s = zeros(q)
    for i in 0..q:
        h = X @ B[i]
        s[i] = sum(h * y) + max(h)
    return s
"""
    shapes, program = {"m": 33, "n": 40, "p": 36, "q": 3}, us.loads(source).f
    schedule = tiled(source, shapes, make=gpu_products_apart)
    (member,) = [line.split()[1] for line in schedule.splitlines() if line.startswith("block ")]
    made = program.compile(shapes=shapes, target="emulated", schedule=schedule)
    assert re.findall(r"for c\d in 0 \.\. (\d+) block:", made.tree) == ["3"], f"{member} goes to blocks, and tiles are in turn"
    assert "staged2:" in made.tree
    agree(program, made, schedule, 1e-4)


def test_copies_are_begun_ahead_and_sums_stay_in_registers() -> None:
    made = us.loads(GEMM).f.compile(shapes={"m": 1024, "n": 1024, "p": 1024}, target="cuda")
    assert "stage i5_o" in made.schedule.splitlines(), "tiles are estimated to pay"
    assert re.search(r"array v0: f32\[\d+, \d+, \d+, \d+\] held", made.tree)
    assert re.search(r"for c\d in 0 \.\. 32 staged2:", made.tree)
    assert re.search(r"us_ahead_f32x4\(A_i5, [^;]*\);", made.source)
    assert "us_whole_f32x4(B_i4, " in made.source


#: What is done to a correct text, and what the emulated device says of it.
PLANTED = {
    "a missing wait": (r"us_copy_wait\(0\);\n( *)__syncthreads", r"\1__syncthreads", "race|misuse"),
    "a missing barrier": (r"(us_copy_wait\(0\);\n) *__syncthreads\(\);", r"\1", "race"),
    "one place for both copies": (r"\* \(\(c\d \+ 1\) & 1\)", "* 0", "race"),
}


@pytest.mark.needs("c++")
@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault: str) -> None:
    source, shapes = PROGRAMS["A B"]
    made = us.loads(source).f.compile(shapes=shapes, target="emulated", schedule=tiled(source, shapes)).compiled[0][1]
    pattern, instead, said = PLANTED[fault]
    text, count = re.subn(pattern, instead, made.source, count=1)
    assert count == 1
    inputs = [torch.randn(shapes["m"], shapes["p"]), torch.randn(shapes["p"], shapes["n"])]
    call = (inputs, [torch.empty(shapes["m"], shapes["n"])], 1, [0] * 3, [0] * 3, [], 1, 1)
    with options.scope(emulate="races,random:1"), pytest.raises(EmulationError, match=said):
        made.target.build(made.tree, text)(*call)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_the_text_compiles_without_spills(arch: str, dtype: str) -> None:
    made = us.loads(GEMM).f.compile(shapes={"m": 1024, "n": 1024, "p": 1022}, target="cuda", dtype=dtype).compiled[0][1]
    assert ("us_mma_" in made.source) == (dtype == "bf16")
    found = made.target.printed(made.tree)
    assert found.shared <= generic().shared_bytes
    assert cubin(found.text, found.name, arch).spills == 0


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("stage i5", "no iteration of i5 begins with a copy, by threads"),
        ("stage i5 7", "copies take turns in 2, 3 or 4 places, not 7"),
        ("tile i5 4; pack A S6 i3 8 i5_o; stage i5_o", "no iteration of i5_o begins with a copy"),
        ("interchange i5 i4; tensor i3 i4 i5", "i3 is in no loop that is dealt to warps by number"),
        ("interchange i5 i4; tile i3 i4 i5 16 8 16; permute i3_o i4_o i5_o i3_i i4_i i5_i; thread i3_o 2; tensor i3_i i4_i i5_i", "half precision"),
        ("tile i0 i1 16 16; thread i0_o 2; tensor i0_i i1_i", "i1_i is no block of 8"),
        ("inline v0", "S6 adds up|2 statements fill v0"),
        ("thread i3 2000", "a block has 1 to 1024 threads, not 2000"),
        ("interchange i5 i4; thread i3; thread i4 8", "i3 beside it is not dealt out by number"),
        ("fuse i0 i3; fuse i0 i7; register v0 i0", "not all that touches v0 is in loops dealt out by number"),
        ("interchange i5 i4; fuse i0 i3; fuse i0 i7; thread i1 8; thread i4 4; thread i8 8; register v0 i0", "not dealt to the same numbers of threads"),
        ("interchange i5 i4; fuse i0 i3; fuse i0 i7; thread i1 4; thread i4 4; thread i8 4; register v0 i0", "in several turns"),
    ],
)
def test_steps_that_do_not_apply_say_why(steps: str, said: str) -> None:
    with pytest.raises(IllegalSchedule, match=said):
        us.loads(GEMM).f.compile(shapes={"m": 20, "n": 20, "p": 20}, target="cuda", schedule=steps)
