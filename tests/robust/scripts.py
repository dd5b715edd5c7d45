"""Scripts run in processes of their own, with a deadline: nothing here may hang."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 240

PROGRAM = """
algorithm shrink(given A: real[m], y: real[m]) -> real[m]:
    iterations K = 4
    param step[K]: positive = 0.2
    param lam[K]: nonneg = 0.1
    x = zeros(m)
    for k in 0..K:
        z = x - step[k] * A * (A * x - y)
        x = sign(z) * max(abs(z) - lam[k] * step[k], 0)
    return x
"""
#: A layer that compiles fast and whose kernels use several threads, and a script's usual beginning.
HEAD = f"""
import os, sys, warnings
import torch
import unspool as us
torch.set_num_threads(2)
PROGRAM = us.loads({PROGRAM!r})
def data():
    g = torch.Generator().manual_seed(0)
    return torch.rand(1000, generator=g), torch.randn(24, 1000, generator=g)  # fewer elements than torch starts threads for
def make(**named):
    return PROGRAM.shrink.build(A=data()[0], target="c", **named)
def both(layer, y):
    "The result, and the gradient of a loss."
    layer.zero_grad()
    x = layer(y)
    (x ** 2).sum().backward()
    return [x.detach(), *(p.grad.clone() for p in layer.parameters())]
def same(a, b):
    return len(a) == len(b) and all(torch.allclose(x, y, rtol=1e-4, atol=1e-5) for x, y in zip(a, b))
"""


def environment(**changes: str | None) -> dict[str, str]:
    """This process's environment with changes; None removes a variable."""
    found = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    for name, value in changes.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = value
    return found


def python(script: str, *, cwd: Path = ROOT, **changes: str | None) -> subprocess.CompletedProcess[str]:
    """Run a script behind HEAD; fails the test if it takes longer than the deadline."""
    command = [sys.executable, "-c", HEAD + script]
    return subprocess.run(
        command, cwd=cwd, env=environment(**changes), capture_output=True, text=True, timeout=DEADLINE, check=False
    )


def says(script: str, *, cwd: Path = ROOT, **changes: str | None) -> str:
    """What a script prints last; it must succeed."""
    done = python(script, cwd=cwd, **changes)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1] if done.stdout else ""
