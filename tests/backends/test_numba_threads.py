"""Threads of target numba: torch's own pool, fewer threads than asked for, forked children, callers in several threads, no OpenMP."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
import torch

from unspool.backends import openmp
from unspool.backends.numba.target import NumbaKernel
from unspool.compiler.loops.tree import Barrier, Call, Function, Literal

from .trees import array, build, function, load, loop, store

N = 64
ROOT = Path(__file__).resolve().parents[2]


def meeting_point() -> Function:
    """``o = K`` steps of a sum with the neighbour's value: every step needs what all threads did in the last one."""
    half = Literal(0.5, "f64")
    left = Call("mul", (half, load("u", "i", dtype="f64")), "f64")
    right = Call("mul", (half, load("u", N - 1, dtype="f64")), "f64")
    copy = loop("i", 0, N, store("u", ["i"], load("x", "i", dtype="f64")), kind="parallel vector")
    step = loop("i", 0, N, store("v", ["i"], Call("add", (left, right), "f64")), kind="parallel vector")
    back = loop("i", 0, N, store("u", ["i"], load("v", "i", dtype="f64")), kind="parallel vector")
    out = loop("i", 0, N, store("o", ["i"], load("u", "i", dtype="f64")), kind="parallel vector")
    arrays = [
        array("x", "f64", N),
        array("o", "f64", N, scope="output"),
        array("u", "f64", N, scope="problem"),
        array("v", "f64", N, scope="problem"),
    ]
    return function("meeting", arrays, copy, Barrier(), loop("k", 0, "K", step, Barrier(), back, Barrier()), out, integers=["K"])


def expected(x: torch.Tensor, steps: int) -> torch.Tensor:
    for _ in range(steps):
        x = 0.5 * x + 0.5 * x[:, -1:]
    return x


def check(kernel: NumbaKernel, batch: int, teams: int, team_size: int, steps: int = 5) -> None:
    """Run with these teams."""
    x = torch.randn(batch, N, dtype=torch.float64)
    o = torch.full_like(x, float("nan"))
    kernel([x], [o], batch, [N, N], [0, 0], [steps], teams, team_size)
    assert torch.equal(o, expected(x, steps))


@pytest.fixture(scope="module")
def kernel() -> NumbaKernel:
    """The kernel above."""
    made = build(meeting_point(), target="numba")
    assert isinstance(made, NumbaKernel)
    return made


@pytest.mark.parametrize(
    ("batch", "teams", "team_size"), [(1, 1, 1), (1, 1, 2), (1, 1, 4), (5, 2, 1), (7, 3, 1), (4, 2, 2), (1, 3, 1)]
)
def test_teams(kernel: NumbaKernel, batch: int, teams: int, team_size: int) -> None:
    """All shapes of teams give the same bits."""
    check(kernel, batch, teams, team_size)


POOLS = """
import sys, torch
from pathlib import Path
from unspool.backends import openmp
assert openmp.runtime() is not None
if sys.platform == "linux":
    loaded = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "omp" in line.rpartition("/")[2]}
    assert len([path for path in loaded if "torch" in path or "gomp" in path or "iomp" in path]) == 1, loaded
"""


def test_the_pool_is_that_of_torch() -> None:
    """The runtime is found, and is not a second copy; in a process of its own, where no other library has brought one."""
    subprocess.run([sys.executable, "-c", POOLS], cwd=ROOT, check=True, timeout=120)


def test_callers_in_several_threads(kernel: NumbaKernel) -> None:
    """Concurrent calls do not share their arguments or scratch memory."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                check(kernel, 3, 1, 2)
                check(kernel, 4, 2, 1)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures


def test_without_openmp(kernel: NumbaKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread does the work of all, said once."""
    monkeypatch.setattr(openmp, "_libraries", lambda: iter(()))
    openmp._find.cache_clear()
    try:
        with pytest.warns(UserWarning, match="no OpenMP runtime"):
            check(kernel, 3, 2, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check(kernel, 1, 1, 4)
    finally:
        openmp._find.cache_clear()


FORK = """
import os, sys, torch
from tests.backends.test_numba_threads import build, check, meeting_point
torch.set_num_threads(2)
kernel = build(meeting_point(), target="numba")
torch.randn(400, 400) @ torch.randn(400, 400)
check(kernel, 1, 1, 2)                     # the pool has threads, which a child does not inherit
child = os.fork()
if child == 0:
    check(kernel, 1, 1, 2)
    check(kernel, 6, 2, 1)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
check(kernel, 1, 1, 2)
print("alive")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_children() -> None:
    """A child of a process whose pool runs neither hangs nor dies, as a worker of a DataLoader must not."""
    done = subprocess.run([sys.executable, "-c", FORK], cwd=ROOT, text=True, capture_output=True, timeout=300, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "alive"), done.stderr
