"""Generated CUDA, all programs of the language page and functions of the library: run on the processor, where a race, a missing barrier or an
access beyond an array is an error, and compared with the interpreter; compiled for GPUs, without spills and within their shared memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest
import torch

import unspool as us
from tests.end_to_end.cases import CASES, Case, draw
from tests.end_to_end.test_programs import DIFFERENTIABLE, DTYPES, error, gradients, run
from unspool.backends.cuda.compile import cubin
from unspool.backends.cuda.emulate import EmulatedLauncher, EmulationError
from unspool.backends.cuda.source import CudaSource
from unspool.compiler import options

#: Shared memory that a block may have, in bytes.
GPUS = {"sm_80": 163 << 10, "sm_90": 227 << 10}
ORDERS = ("races,reverse", "races,random:1")


#: Programs like others on the list, whose gradients are much to compile, and kernels that take batches in tiles.
LATER = {"lasso.fista", "lasso.lista", "lasso.iht", "em.gmm", "em.unrolled_em", "es.eggroll", "stencils.seidel2d"}
TILED = {"lasso.ista", "tv.tv", "triangular.cholesky_lower"}
GRADIENTS = [pytest.param(c, id=str(c), marks=[pytest.mark.slow] * (str(c) in LATER)) for c in DIFFERENTIABLE]
TILES = [pytest.param(c, id=str(c), marks=[pytest.mark.slow] * (str(c) not in TILED)) for c in CASES]

PROX = """use prox
algorithm maps(v: real[m, n], t: real) -> (real[m, n], real[m, n], real[m, n], real[m, n]):
    a = prox.soft(v, t)
    b = prox.hard(v, t)
    c = prox.box(v, -t, 0.5)
    d = prox.simplex(v)
    return a, b, c, d
"""


@dataclass
class Launched:
    """What a case had launched, and the errors of its results (relative to the largest element)."""

    sources: dict[str, CudaSource] = field(default_factory=dict)
    errors: list[float] = field(default_factory=list)


@contextmanager
def recorded() -> Iterator[Launched]:
    """Note what is launched."""
    made, launch = Launched(), EmulatedLauncher.launch

    def noted(self: EmulatedLauncher, source: CudaSource, *rest: Any) -> None:
        made.sources[source.text] = source
        launch(self, source, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmulatedLauncher, "launch", noted)
        yield made


@cache
def forward(case: Case, precision: str, *batches: tuple[int, ...]) -> Launched:
    """A case run in two orders of the threads."""
    with recorded() as made:
        for batch in batches:
            inputs = draw(case, 1, batch)
            want = run(case, inputs, torch.float64, "interpreter")
            for how in ORDERS:
                with options.scope(emulate=how):
                    got = run(case, inputs, DTYPES[precision], "emulated")
                made.errors += [error(g, w) for g, w in zip(got, want, strict=True)]
    return made


@cache
def backward(case: Case) -> Launched:
    """The gradients of a case, in two orders of the threads."""
    with recorded() as made:
        _, _, want = gradients(case, "interpreter")
        scale = max(1e-3, *(float(g.abs().max()) for g in want))
        for how in ORDERS:
            with options.scope(emulate=how):
                _, _, got = gradients(case, "emulated")
            made.errors += [float((g - w).abs().max()) / scale for g, w in zip(got, want, strict=True)]
    return made


def fits(made: Launched) -> None:
    """Each kernel compiles for each GPU, spills no register, and takes no more registers and shared memory than there are."""
    assert made.sources
    for source in made.sources.values():
        for arch, most in GPUS.items():
            found = cubin(source.text, source.name, arch)
            assert found.spills == 0, (source.name, arch)
            assert found.shared_bytes + source.shared <= most, (source.name, arch)
            assert found.registers * source.threads <= 65536, (source.name, arch)


def right(made: Launched, limit: float) -> None:
    """Results are there, and none is too far off, or no number."""
    assert made.sources
    assert made.errors
    assert [e for e in made.errors if not e <= limit] == []


@pytest.mark.needs("c++")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_program_on_a_gpu_computes_what_the_interpreter_does(case: Case) -> None:
    right(forward(case, "f64", (), (3,)), 1e-10)


@pytest.mark.needs("c++")
@pytest.mark.parametrize("case", TILES)
def test_many_problems_on_a_gpu(case: Case) -> None:
    right(forward(case, "f32", (19,)), case.tolerance32)


@pytest.mark.needs("c++")
@pytest.mark.parametrize("case", GRADIENTS)
def test_gradients_on_a_gpu(case: Case) -> None:
    right(backward(case), 1e-9)


@pytest.mark.needs("c++", "nvcc")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_kernels_fit_gpus(case: Case) -> None:
    fits(forward(case, "f64", (), (3,)))


@pytest.mark.needs("c++", "nvcc")
@pytest.mark.parametrize("case", TILES)
def test_kernels_for_many_problems_fit_gpus(case: Case) -> None:
    fits(forward(case, "f32", (19,)))


@pytest.mark.needs("c++", "nvcc")
@pytest.mark.parametrize("case", GRADIENTS)
def test_kernels_of_gradients_fit_gpus(case: Case) -> None:
    fits(backward(case))


@pytest.mark.needs("c++", "nvcc")
def test_the_library_on_a_gpu() -> None:
    v = torch.randn(6, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    maps = us.loads(PROX).maps
    with recorded() as made:
        for how in ORDERS:
            with options.scope(target="emulated", emulate=how):
                got = maps(v=v, t=0.7)
            with options.scope(target="interpreter"):
                want = maps(v=v, t=0.7)
            made.errors += [error(g, w) for g, w in zip(got, want, strict=True)]
    right(made, 1e-12)
    fits(made)


@pytest.mark.needs("c++")
def test_each_barrier_of_a_program_that_is_taken_away_is_missed() -> None:
    case = next(c for c in CASES if str(c) == "stencils.jacobi2d")
    (source,) = forward(case, "f64", (), (3,)).sources.values()
    barriers = [m.span() for m in re.finditer(r"us_team_barrier\(team\);", source.text)][1:-1]  # the definition aside, and the last one
    found = 0
    for start, end in barriers:
        with pytest.MonkeyPatch.context() as patch:
            faulty = replace(source, text=source.text[:start] + " " * (end - start) + source.text[end:])
            launch = EmulatedLauncher.launch
            patch.setattr(EmulatedLauncher, "launch", lambda self, _, *rest, text=faulty, run=launch: run(self, text, *rest))
            with options.scope(emulate="races"):
                try:
                    run(case, draw(case, 1), torch.float64, "emulated")
                except EmulationError as caught:
                    found += caught.kind == "race"
    assert found == len(barriers) > 1
