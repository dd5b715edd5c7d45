"""Who gets a team of threads, and threads of a team that have one processor: whoever waits sleeps, and is woken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import unspool as us
from unspool.backends.execute import SMALL, Runner
from unspool.compiler.loops.account import instances_of_nest

DESCENT = """algorithm descent(given A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 16
    x = zeros(n)
    for k in 0..K:
        x = x - 0.01 * (A.T @ (A @ x - y))
    return x
"""
ROOT = Path(__file__).resolve().parents[2]
#: Two threads on one processor: one of them is always not there when the other one arrives.
SCRIPT = """
import os, sys, time
everywhere = os.sched_getaffinity(0)
os.sched_setaffinity(0, {min(everywhere)})
import torch, unspool as us
torch.set_num_threads(2)
found = us.loads('''
algorithm power(A: real[n, n], x: real[n]) -> real[n]:
    iterations K = 30
    for k in 0..K:
        x = A.T @ (A @ x)
        x = x / sqrt(sum(x * x))
    return x
''').power
generator = torch.Generator().manual_seed(0)
A, x = torch.randn(300, 300, generator=generator, dtype=torch.float64), torch.randn(300, generator=generator, dtype=torch.float64)
kernel = found.compile({"n": 300}, dtype="f64", target=sys.argv[1])
assert "parallel" in kernel.schedule
want = found(A, x, target="interpreter")
for _ in range(20):
    torch.testing.assert_close(kernel(A, x), want)
threads = [int(t) for t in os.listdir("/proc/self/task")] if sys.platform == "linux" else [0]
for t in threads:  # both still are where they were, and may go apart
    os.sched_setaffinity(t, everywhere)
for _ in range(20):
    torch.testing.assert_close(kernel(A, x), want)
assert all(os.sched_getaffinity(t) == everywhere for t in threads)
print("same")
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to a processor")
@pytest.mark.parametrize("target", ["c", "numba"])
def test_two_threads_on_one_processor(target: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, target], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "2"}, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.stdout == "same\n", done.stderr


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor")
def test_small_problems_run_on_one_thread() -> None:
    program = us.loads(DESCENT).descent
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for (m, n), threads in {(64, 128): (1, 1), (700, 900): (1, 2)}.items():
            compiled = program.compile({"m": m, "n": n}).compiled[0][1]
            runner = Runner(compiled, compiled.graph)
            instances = instances_of_nest(compiled.nest, {"K": 16})
            assert instances > SMALL
            assert runner.threads(instances, 1) == threads
            assert runner.threads(64 * instances, 64) == (2, 1)  # each thread has its own problems
        assert runner.threads(SMALL - 1, 1) == (1, 1)
    finally:
        torch.set_num_threads(before)
