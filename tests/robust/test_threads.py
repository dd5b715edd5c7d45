"""Python threads that call the same layer and different ones, compile for the first time together, and differentiate."""

from __future__ import annotations

from .scripts import says

SCRIPT = """
import faulthandler
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
faulthandler.dump_traceback_later(200, exit=True)
_, y = data()
COUNT = 6
start = Barrier(COUNT)
"""


def test_first_calls_together() -> None:
    script = """
expected = both(make(), y)
layers = [make(numerics="strict") for _ in range(2)]
def work(i):
    start.wait()
    layer = layers[i % 2]
    return [x.detach() for x in (layer(y), *torch.autograd.grad((layer(y) ** 2).sum(), list(layer.parameters())))]
with ThreadPoolExecutor(COUNT) as pool:
    found = list(pool.map(work, range(COUNT)))
print(all(same(f, expected) for f in found))
"""
    assert says(SCRIPT + script, UNSPOOL_CACHE="off") == "True"


def test_different_programs_compiled_and_run_together() -> None:
    script = """
from tests.robust.scripts import ROOT
folder = ROOT / "tests" / "programs"
A = torch.randn(40, 80, generator=torch.Generator().manual_seed(1))
makers = [
    lambda: make()(y),
    lambda: us.load(folder / "lasso.us").ista.build(A=A, K=3, target="c")(y[:, :40]),
    lambda: us.load(folder / "tv.us").tv.build(K=3, target="c")(A, torch.tensor(0.1)),
    lambda: us.load(folder / "stencils.us").jacobi2d.build(T=2, target="c")(A[:, :40]),
    lambda: us.load(folder / "stencils.us").seidel2d.build(T=2, target="c")(A[:, :40]),
    lambda: us.load(folder / "triangular.us").syrk.build(target="c")(A @ A.T, A, torch.tensor(2.0), torch.tensor(0.5)),
]
def work(make):
    start.wait()
    return make().detach()
with ThreadPoolExecutor(COUNT) as pool:
    together = list(pool.map(work, makers))
print(same(together, [m().detach() for m in makers]))
"""
    assert says(SCRIPT + script, UNSPOOL_CACHE="off") == "True"


def test_one_layer_many_calls_of_several_shapes() -> None:
    script = """
layer = make()
inputs = [y[: 1 + 7 * i] for i in range(COUNT)]
expected = [both(layer, x)[0] for x in inputs]
def work(i):
    start.wait()
    with torch.no_grad():
        return all(torch.allclose(layer(inputs[j % COUNT]), expected[j % COUNT], rtol=1e-4, atol=1e-5) for j in range(i, i + 60))
with ThreadPoolExecutor(COUNT) as pool:
    print(all(pool.map(work, range(COUNT))))
"""
    assert says(SCRIPT + script) == "True"
