"""What is chosen for a GPU: which loops are dealt to whom, where arrays lie; and that the kernels compute the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import unspool as us
from unspool.backends.cuda.emulate import EmulationError
from unspool.backends.cuda.target import CudaTarget
from unspool.backends.kernel import Kernel
from unspool.compiler import options

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"


def kernel(program: str, name: str, target: str = "cuda", **shapes: object) -> Kernel:
    found: Kernel = getattr(us.load(PROGRAMS / f"{program}.us"), name).compile(shapes=shapes, target=target)
    return found


def steps(made: Kernel) -> list[list[str]]:
    """The words of the steps."""
    return [line.split() for line in made.schedule.splitlines()]


def taken(made: Kernel, step: str) -> list[str]:
    """What a step was taken for."""
    return [words[1] for words in steps(made) if words[0] == step]


def test_state_lies_in_shared_memory_and_long_sums_go_to_lanes() -> None:
    made = kernel("lasso", "ista", n=500, m=250)
    assert {"x", "v3"} <= set(taken(made, "shared"))
    assert "lane" in {words[0] for words in steps(made)}
    tree = made.tree
    assert re.search(r"array x: f32\[500\] shared", tree)
    assert re.search(r"for c1 in 0 \.\. 250 thread:", tree)
    assert re.search(r"for c2 in 0 \.\. 500 lane32:", tree)


def test_a_thread_of_a_tile_computes_several_rows_of_a_product_in_registers() -> None:
    made = kernel("lasso", "ista", n=500, m=250, batch=256)
    tile = made.schedule.partition("batch ")[2]
    assert re.search(r"^unroll_jam \w+ [2-8]$", tile, re.MULTILINE)
    assert len(re.findall(r"^register ", tile, re.MULTILINE)) == 2
    assert "us_near_f32x4(A, " in made.source, "neighbouring elements of A are loaded at once"


def test_a_stencil_beyond_shared_memory_goes_in_overlapping_tiles() -> None:
    small, large = kernel("tv", "tv", h=32, w=32), kernel("tv", "tv", h=256, w=256)
    assert not taken(small, "overlap")
    assert {"u", "u_bar", "p", "q"} <= set(taken(small, "shared"))
    assert taken(large, "overlap")
    assert taken(large, "block")
    assert re.search(r"array u\w+: f32\[\d+, 256\] block", large.tree)
    assert "__syncthreads();" in large.source


def test_members_of_a_population_go_to_blocks_with_temporaries_of_their_own() -> None:
    eggroll = us.load(PROGRAMS / "es.us").eggroll
    made = eggroll.compile(shapes={"o": 32, "d": 24, "b": 16}, population=64, rank=2, target="cuda")
    (loop,) = taken(made, "block")
    own = [words[1] for words in steps(made) if words[0] == "contract" and words[2] == loop]
    assert len(own) > 1
    assert all(re.search(rf"array {name}: \S+\[.*\] block", made.tree) for name in own if f"array {name}:" in made.tree)


def test_the_order_of_a_team_is_what_one_problem_has_work_for() -> None:
    few, many = (kernel("lasso", "ista", n=n, m=m).compiled[0][1] for n, m in ((9, 6), (500, 250)))
    assert isinstance(few.target, CudaTarget)
    assert few.target.printed(few.tree).blocks == (1, 1)
    assert 4 <= few.target.printed(many.tree).blocks[0] <= 64


def test_a_gpu_and_a_processor_do_not_take_each_others_marks() -> None:
    matvec = us.loads("algorithm matvec(A: real[m, n], x: real[n]) -> real[m]:\n    return A @ x\n").matvec
    with pytest.raises(us.CompileError, match="target c has no loops of kind thread, which are for GPUs"):
        matvec.compile(shapes={"m": 4, "n": 5}, target="c", schedule="thread i2")
    assert "thread" in matvec.compile(shapes={"m": 4, "n": 5}, target="cuda", schedule="thread i2; lane i3 4").tree


#: What is done to a correct text, and what the emulated device says of it.
PLANTED = {
    "a missing barrier": (r"(v3\[c1\] = .*?)us_team_barrier\(team\);", r"\1", "race"),
    "a race": (r"(int c1 = )member(; c1 < 9)", r"\1member / 2\2", "race"),
}


@pytest.mark.needs("c++")
@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault: str) -> None:
    made = kernel("lasso", "ista", "emulated", n=9, m=6).compiled[0][1]
    pattern, instead, said = PLANTED[fault]
    text, count = re.subn(pattern, instead, made.source, count=1, flags=re.DOTALL)
    assert count == 1
    g = torch.Generator().manual_seed(1)
    inputs = [torch.randn(s, generator=g) for s in ((6, 9), (6,))] + [torch.full((3,), 0.1), torch.full((3,), 0.01)]
    call = ([*inputs], [torch.empty(9)], 1, [0] * 5, [0] * 5, [3], 1, 1)
    with options.scope(emulate="races"):
        made.target.build(made.tree, made.source)(*call)
        with pytest.raises(EmulationError, match=said):
            made.target.build(made.tree, text)(*call)


@pytest.mark.needs("c++")
@pytest.mark.parametrize("batch", [(), (9,)], ids=["single", "tiles"])
def test_the_same_numbers(batch: tuple[int, ...]) -> None:
    g = torch.Generator().manual_seed(1)
    A, y = torch.randn(60, 90, generator=g) / 8, torch.randn(*batch, 60, generator=g)
    ista = us.load(PROGRAMS / "lasso.us").ista
    with options.scope(target="emulated", emulate="races,random:2"):
        found = ista(A=A, y=y, K=3)
    with options.scope(target="interpreter"):
        wanted = ista(A=A.double(), y=y.double(), K=3)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-6)
