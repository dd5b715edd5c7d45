"""Generated CUDA, all programs of the language page and functions of the library: run on the processor, where a race, a missing barrier or an
access beyond an array is an error, and compared with the interpreter; compiled for GPUs, without spills and within their shared memory."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest
import torch

import unspool as us
from tests.end_to_end.cases import CASES, Case, draw
from tests.end_to_end.test_programs import DIFFERENTIABLE, DTYPES, error, gradients, run
from unspool.backends.cuda_compile import cubin
from unspool.backends.cuda_emulate import EmulatedLauncher, EmulationError, emulate
from unspool.backends.cuda_source import CudaSource
from unspool.compiler import options

#: Shared memory that a block may have, in bytes.
GPUS = {"sm_80": 163 << 10, "sm_90": 227 << 10}
ORDERS = ("races,reverse", "races,random:1")


@dataclass
class Launched:
    """What a case had launched, and the largest error of its results and of its gradients."""

    sources: dict[str, CudaSource] = field(default_factory=dict)
    error: float = 0.0
    gradient: float = 0.0


def recording(into: dict[str, CudaSource], patch: pytest.MonkeyPatch) -> None:
    """Have what is launched noted."""
    launch = EmulatedLauncher.launch

    def noted(self: EmulatedLauncher, source: CudaSource, *rest: Any) -> None:
        into[source.text] = source
        launch(self, source, *rest)

    patch.setattr(EmulatedLauncher, "launch", noted)


@cache
def forward(case: Case, precision: str = "f64", batches: Sequence[tuple[int, ...]] = ((), (3,))) -> Launched:
    """A case run in two orders of the threads, single and batched."""
    made = Launched()
    with pytest.MonkeyPatch.context() as patch:
        recording(made.sources, patch)
        for batch in batches:
            inputs = draw(case, 1, batch)
            want = run(case, inputs, torch.float64, "interpreter")
            for how in ORDERS:
                with options.scope(emulate=how):
                    got = run(case, inputs, DTYPES[precision], "emulated")
                made.error = max(made.error, *(error(g, w) for g, w in zip(got, want, strict=True)))
    return made


@cache
def backward(case: Case) -> Launched:
    """The gradients of a case, in two orders of the threads."""
    made = Launched()
    with pytest.MonkeyPatch.context() as patch:
        recording(made.sources, patch)
        _, _, want = gradients(case, "interpreter")
        scale = max(float(g.abs().max()) for g in want)
        for how in ORDERS:
            with options.scope(emulate=how):
                _, _, got = gradients(case, "emulated")
            made.error = max(made.error, *(float((g - w).abs().max()) / max(scale, 1e-3) for g, w in zip(got, want, strict=True)))
    return made


def fits(sources: dict[str, CudaSource]) -> None:
    """Each compiles for each GPU, spills no register, and takes no more shared memory than there is."""
    assert sources
    for source in sources.values():
        for arch, most in GPUS.items():
            made = cubin(source.text, source.name, arch)
            assert made.spills == 0, (source.name, arch)
            assert made.shared_bytes + source.shared <= most, (source.name, arch)
            assert made.registers * source.threads <= 65536, (source.name, arch)


@pytest.mark.needs("c++")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_program_on_a_gpu_computes_what_the_interpreter_does(case: Case) -> None:
    assert forward(case).error <= 1e-10


@pytest.mark.needs("c++")
@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)
def test_gradients_on_a_gpu(case: Case) -> None:
    assert backward(case).error <= 1e-9


@pytest.mark.needs("c++", "nvcc")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_kernels_fit_gpus(case: Case) -> None:
    fits(forward(case).sources)


@pytest.mark.needs("c++", "nvcc")
@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)
def test_kernels_of_gradients_fit_gpus(case: Case) -> None:
    fits(backward(case).sources)
