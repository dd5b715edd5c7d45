"""Debug builds: where in the program, and in which iteration, an index left its array or a number stopped being one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import unspool as us
from unspool.backends.debug_target import DebugTarget
from unspool.compiler.diagnostics import CompileError, DataError
from unspool.compiler.driver import compile_graph
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.tree import Block, Int, Loop
from unspool.dsl.cli import app
from unspool.dsl.compile_options import CompileOptions
from unspool.dsl.session import prepare

PROGRAM = us.loads(
    """
algorithm planted(A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 6
    param step[K]: positive = 0.01
    x = zeros(n)
    for k in 0..K:
        r = A @ x - y
        x = x - step[k] * (A.T @ r)
        w = log(3.5 - k)
        x = x + w * x
    return x

algorithm ratio(x: real[n], d: real[n]) -> real[n]:
    z = x / d
    return z + 1

algorithm grows(x: real[n]) -> real:
    z = x
    for k in 0..9 until max(z) > 1e38:
        z = z * exp(z)
    return sum(z)

algorithm roots(x: real[n]) -> real[n]:
    z = x
    for i in 0..3:
        z = sqrt(abs(z))
    return z

algorithm picked(x: real[n], i: i64[p]) -> real[p]:
    s = zeros(p)
    for k in 0..4:
        s += x[i + k]
    return s

algorithm gathered(x: real[n], i: i64[p]) -> real[p]:
    return gather(x, i, axis=0)

algorithm chosen(x: real[n]) -> real[n]:
    return where(x > 0, log(x) / x, x)

algorithm branches(x: real[n], t: real) -> real[n]:
    w = 1.0
    for k in 0..4 until t < 0:
        if t > 0:
            w = 2 / t
        else:
            w = 3.0
        t = t - 1
    return x * w

algorithm learned(x: real[n]) -> real[n]:
    iterations K = 3
    module f: (real[n]) -> real[n]
    for k in 0..K:
        x = f(x) * 2
        x = x + log(x)
    return x

algorithm halves(a: i64[n], b: i64[n]) -> i64[n]:
    for k in 0..4:
        a = a // (b - k) + a % (b - k)
    return a

algorithm masked(x: real[n]) -> real[n]:
    return where(isfinite(x), x, 0)

algorithm nothing(x: real[n]) -> real:
    return 0.0

algorithm totals(x: real[n]) -> real:
    return sum(x)
""",
    "p.us",
)
TARGETS = pytest.mark.parametrize("target", ["c", "interpreter"])
X = torch.tensor([1.0, 4.0, 9.0])


def fault(call: Any) -> str:
    """What a debug build says."""
    with pytest.raises(DataError) as caught:
        call()
    return str(caught.value)


@TARGETS
def test_the_first_nan_in_a_loop(target: str) -> None:
    torch.manual_seed(0)
    A, y = torch.randn(3, 5), torch.randn(3)
    assert fault(lambda: PROGRAM.planted(A, y, debug=True, target=target)) == (
        "p.us:9:13: log(-0.5) is nan (k = 4)\n"
        " 9 |         w = log(3.5 - k)\n"
        "   |             ^^^^^^^^^^^^"
    )  # fmt: skip
    ran = PROGRAM.planted(A, y, debug=True, target=target, K=4)
    torch.testing.assert_close(ran, PROGRAM.planted(A, y, target="interpreter", K=4))


@TARGETS
@pytest.mark.parametrize(("x", "d", "text"), [(0.0, 0.0, "0 / 0 is nan"), (1.0, 0.0, "1 / 0 is inf"), (1e30, 1e-30, "1e+30 / 1e-30 is inf")])
def test_divisions_and_overflow(target: str, x: float, d: float, text: str) -> None:
    numbers = torch.tensor([1.0, x, 2.0]), torch.tensor([1.0, d, 1.0])
    found = fault(lambda: PROGRAM.ratio(*numbers, debug=True, target=target))
    assert found.startswith(f"p.us:14:9: {text} (element [1])\n")


@TARGETS
def test_loops_that_end_by_data_and_problems_of_a_batch(target: str) -> None:
    x = torch.tensor([[0.1, 0.2], [0.1, 0.3], [0.1, 3.0]])
    assert PROGRAM.grows(x[0] * 0, debug=True, target=target) == 0
    found = fault(lambda: PROGRAM.grows(x[1:], debug=True, target=target))
    assert found.splitlines()[0].startswith("p.us:20:17: exp(")
    assert "is inf (k = " in found
    assert "element [1], problem " in found


@TARGETS
def test_overflow_of_a_sum(target: str) -> None:
    found = fault(lambda: PROGRAM.totals(torch.tensor([2e38, 1.0, 2e38]), debug=True, target=target))
    assert found.startswith("p.us:71:12: ")
    assert "is inf" in found


@TARGETS
def test_the_gradient(target: str) -> None:
    x = torch.tensor([1.0, 0.0, 2.0], requires_grad=True)
    out = PROGRAM.roots(x, debug=True, target=target).sum()
    found = fault(out.backward)
    assert found.startswith("p.us:26:13: ")
    assert "i = 2" in found.splitlines()[0]
    assert "in the gradient" in found.splitlines()[0]
    good = X.clone().requires_grad_()
    PROGRAM.roots(good, debug=True, target=target).sum().backward()
    torch.testing.assert_close(good.grad, (X**0.125).div(X).mul(0.125))


@TARGETS
def test_an_index_from_data(target: str) -> None:
    found = fault(lambda: PROGRAM.picked(torch.arange(6.0), torch.tensor([0, 3]), debug=True, target=target))
    assert found.splitlines()[0] == "p.us:32:14: index 6 is out of range for an axis of size 6 (k = 3)"
    found = fault(lambda: PROGRAM.gathered(X, torch.tensor([1, 7]), debug=True, target=target))
    assert found.startswith("p.us:36:12: ")
    assert "7" in found.splitlines()[0]


@TARGETS
def test_a_branch_that_is_not_chosen_does_not_matter(target: str) -> None:
    x = torch.tensor([-1.0, 0.0, 2.0])
    torch.testing.assert_close(PROGRAM.chosen(x, debug=True, target=target), PROGRAM.chosen(x))


@TARGETS
def test_branches_of_an_if_and_problems_that_ended(target: str) -> None:
    t = torch.tensor([2.0, -1.0, 0.5])
    torch.testing.assert_close(PROGRAM.branches(X, t, debug=True, target=target), PROGRAM.branches(X, t))
    found = fault(lambda: PROGRAM.branches(X, torch.tensor([2.0, 1e-39]), debug=True, target=target))
    assert found.startswith("p.us:45:17: 2 / 1e-39 is inf (k = 0, problem 1 of 2)\n")


@TARGETS
def test_around_a_module(target: str) -> None:
    class Shift(torch.nn.Module):
        def __init__(self, by: float, power: float) -> None:
            super().__init__()
            self.by, self.power = by, power

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x - self.by) ** self.power

    found = fault(lambda: PROGRAM.learned(X, f=Shift(4.0, 0.5), debug=True, target=target))
    assert found.startswith("p.us:55:13: the module f is nan (k = 0, element [0])")
    found = fault(lambda: PROGRAM.learned(X, f=Shift(2.0, 1.0), debug=True, target=target))
    assert found.splitlines()[0] == "p.us:56:17: log(-2) is nan (k = 0, element [0])"


@TARGETS
def test_nan_that_came_with_the_data(target: str) -> None:
    nan, inf = float("nan"), float("inf")
    found = fault(lambda: PROGRAM.totals(torch.tensor([1.0, nan]), debug=True, target=target))
    assert found == "a result of totals is not finite, since x came with NaN at [1]"
    assert "x came with an infinity at [0]" in fault(lambda: PROGRAM.totals(torch.tensor([inf, 1.0]), debug=True, target=target))
    masked = PROGRAM.masked(torch.tensor([1.0, nan, inf]), debug=True, target=target)  # the program knows how to treat it
    torch.testing.assert_close(masked, torch.tensor([1.0, 0.0, 0.0]))


@TARGETS
def test_division_of_integers(target: str) -> None:
    a, b = torch.tensor([5, 60, -7]), torch.tensor([8, 9, -4])
    assert torch.equal(PROGRAM.halves(a, b, debug=True, target=target), PROGRAM.halves(a, b))
    found = fault(lambda: PROGRAM.halves(a, b - 6, debug=True, target=target))
    assert found.startswith("p.us:61:13: ")
    assert "division by zero" in found.splitlines()[0]
    assert "(k = 2" in found.splitlines()[0]


def test_a_kernel_in_which_nothing_can_fail() -> None:
    torch.testing.assert_close(PROGRAM.nothing(X, debug=True, target="c"), torch.tensor(0.0))


def test_an_access_beyond_an_array() -> None:
    """The checker refuses these, so a loop of the tree is made one longer."""
    graph = specialize(PROGRAM.ratio.algorithm.graph, "f32", {"n": 3})
    target = DebugTarget(strict=True)
    compiled = compile_graph(graph, target)

    def longer(block: Block) -> Block:
        children = []
        for child in block.children:
            if isinstance(child, Loop):
                child = replace(child, upper=Int("+", (child.upper, Int("const", value=1))))
            elif hasattr(child, "body"):
                child = replace(child, body=longer(child.body))
            children.append(child)
        return Block(tuple(children))

    tree = replace(compiled.tree, body=longer(compiled.tree.body))
    kernel = target.build(tree, target.emit(tree))
    with pytest.raises(DataError, match=r"p\.us:1[45]:\d+: the index 3 of axis 0 of \w+ is out of range: the size is 3 \(element \[3\]\)"):
        kernel([X, X], [torch.empty(3)], 1, [0, 0, 0], [0, 0, 0], [], 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sparse.ista", "sparse.amp", "sparse.admm_lasso", "primal_dual.tv", "em.gmm"])
def test_programs_without_a_fault(name: str) -> None:
    """The library's programs compute what the interpreter does, forward and backward."""
    module, _, algorithm = name.partition(".")
    handle = getattr(us.load(module), algorithm)
    counts = {count: 3 for count, _ in handle.algorithm.iterations}
    sizes = {size: 4 for size in handle.algorithm.size_names if size not in counts}
    found = []
    for options in ({"target": "c", "debug": True}, {"target": "interpreter"}):
        call = prepare(handle, {}, sizes, (2,), counts, CompileOptions(**options))
        tensors = {k: torch.as_tensor(v).clone() for k, v in call.values.items()}
        values = {k: v.requires_grad_() if v.is_floating_point() else v for k, v in tensors.items()}
        outs = handle(**values, **counts, **options)
        outs = outs if isinstance(outs, tuple) else (outs,)
        sum((x.double() ** 2).sum() for x in outs).backward()
        found.append([*outs, *(v.grad for v in values.values() if v.requires_grad and v.grad is not None)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_equal_programs_at_other_places() -> None:
    text = "algorithm g(x: real[n]) -> real[n]:\n    return log(x - 2)\n"
    with us.options.scope(verify=2):
        for lines in (0, 3):
            program = us.loads("\n" * lines + text, "q.us")
            assert fault(lambda p=program: p.g(X, debug=True, target="c")).startswith(f"q.us:{lines + 2}:12: log(-1) is nan")


def test_what_does_not_go_together() -> None:
    shapes = {"n": 3}
    for options, words in [
        ({"target": "numba"}, "debug builds are for targets c and interpreter, not numba"),
        ({"schedule": "vector S0"}, "debug=True runs in program order: it takes no schedule"),
        ({"tune": 1}, "debug=True runs in program order: it takes no tune"),
    ]:
        with pytest.raises(DataError, match=words):
            PROGRAM.ratio.compile(shapes=shapes, debug=True, **options)
    with pytest.raises(DataError, match="debug is True or False, not 3"):
        PROGRAM.ratio.compile(shapes=shapes, debug=3)
    with pytest.raises(CompileError, match="a debug build is not stored"):
        PROGRAM.ratio.compile(shapes=shapes, debug=True, target="c").save("x.usk")


def test_the_command(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    path = tmp_path / "wrong.us"
    path.write_text("algorithm wrong(x: real[n]) -> real[n]:\n    for k in 0..4:\n        x = log(abs(x))\n    return x - x / (x - x)\n")
    ran = CliRunner().invoke(app, ["run", f"{path}:wrong", "--size", "n=4", "--debug", "--target", "c"])
    assert ran.exit_code == 1
    assert "wrong.us:4:16: " in ran.output
    assert "/ 0 is " in ran.output
    shown = CliRunner().invoke(app, ["compile", f"{path}:wrong", "--size", "n=4", "--debug", "--target", "c"])
    assert shown.exit_code == 0
    assert "us_note(failed" in shown.output
