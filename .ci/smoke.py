"""An installed Unspool, tried: `package.py` runs this in an environment that has the wheel, in an empty folder."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import torch

import unspool as us

PROGRAM = """\
use prox: soft

algorithm ista(given A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 16
    param step[K]: positive = 1 / norm2(A)**2
    param lam[K]: nonneg = 0.1
    x = zeros(n)
    for k in 0..K:
        x = soft(x - step[k] * (A.T @ (A @ x - y)), lam[k] * step[k])
    return x
"""


def dsl(*arguments: str) -> str:
    """What the installed command prints."""
    command = Path(sys.executable).with_name("dsl")
    return subprocess.run([command, *arguments], check=True, capture_output=True, text=True).stdout


def main() -> None:
    home = Path(us.__file__).resolve()
    assert Path(sys.prefix).resolve() in home.parents, f"unspool comes from {home}"
    assert version("unspool")
    assert (home.parent / "stdlib" / "prox.us").is_file()
    assert (home.parent / "docs" / "errors" / "US0201.md").is_file()
    assert (home.parent / "py.typed").is_file()

    Path("ista.us").write_text(PROGRAM, encoding="utf-8")
    assert dsl("check", "ista.us") == "ista.us: ok (ista)\n"
    assert dsl("fmt", "--check", "ista.us") == ""
    assert "float32[8]" in dsl("run", "ista.us", "--size", "m=4,n=8", "--target", "c")
    assert "#include" in dsl("compile", "ista.us", "--size", "m=4,n=8", "--target", "c")

    torch.manual_seed(0)
    A, y = torch.randn(20, 50), torch.randn(8, 20)
    ista = us.load("ista.us").ista
    layer = ista.build(A=A, K=10, target="c")
    x = layer(y)
    x.square().sum().backward()
    assert layer.lam.shape == (10,)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())
    exact = ista(A.double(), y.double(), K=10, target="interpreter")
    assert torch.allclose(x.double(), exact, atol=1e-5)
    print(f"unspool {version('unspool')} works from {home.parent}")


main()
