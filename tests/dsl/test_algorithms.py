"""Declarations, sizes, algorithms that call algorithms, and use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.dsl.language_harness import evaluate, only
from unspool.compiler.diagnostics import ProgramError
from unspool.compiler.graph.graph import walk
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.graph.types import Size, Type
from unspool.dsl.program import load_file, load_text

INNER = """
algorithm step(given A: real[m, n], y: real[m], x: real[n]) -> real[n]:
    iterations K = 3
    param eta[K]: positive = 1 / norm2(A)**2
    for k in 0..K:
        x = x - eta[k] * (A.T @ (A @ x - y))
    return x
"""


def codes(text: str) -> list[str]:
    """The codes of what is wrong with a program, in order."""
    with pytest.raises(ProgramError) as caught:
        load_text(text)
    return [d.code for d in caught.value.diagnostics]


def test_the_parts_of_an_algorithm() -> None:
    a = only(
        "algorithm f(given A: real[m, n], y: real[m], b: i32) -> (real[n], real) where n >= 2, m <= n:\n"
        "    iterations K = 4\n    iterations L = 2\n    param step[K]: positive = 1 / norm2(A)**2\n"
        "    param W[K, n, d]\n    param g: interval(-1, 2.5) = 2\n    param p[d]: simplex\n    module f[K]: (real[n]) -> (real[n], real)\n"
        "    module h: (real[d], real[n]) -> real[n]\n    objective J(x) = 0.5 * sum((A @ x - y)**2) + step[0]\n"
        "    x = zeros(n)\n    for k in 0..K:\n        x, s = f[k](x)\n        x = h(W[k].T @ x, x)\n    return x, g\n"
    )
    assert [(i.name, str(i.type), i.given) for i in a.inputs] == [
        ("A", "real[m, n]", True), ("y", "real[m]", False), ("b", "i32[]", False),
    ]  # fmt: skip
    assert a.iterations == (("K", 4), ("L", 2))
    assert [(p.name, str(p.type), p.constraint.kind) for p in a.params] == [
        ("step", "real[K]", "positive"), ("W", "real[K, n, d]", "free"), ("g", "real[]", "interval"), ("p", "real[d]", "simplex"),
    ]  # fmt: skip
    assert (a.params[2].constraint.lower, a.params[2].constraint.upper) == (-1.0, 2.5)
    assert a.params[1].init is None
    init = a.params[0].init
    assert init is not None
    assert [v.name for v in init.inputs] == ["A"]
    assert [(m.name, str(m.count), len(m.results)) for m in a.modules] == [("f", "K", 2), ("h", "None", 1)]
    assert list(map(str, a.where)) == ["n >= 2", "m <= n"]
    assert [str(t) for t in a.results] == ["real[n]", "real[]"]
    assert [v.name for v in a.graph.inputs] == ["A", "y", "b", "step", "W", "g", "p"]
    assert a.objective is not None
    assert [v.name for v in a.objective.inputs] == ["x", "A", "y", "b", "step", "W", "g", "p"]
    assert (a.objective_name, a.objective_arguments) == ("J", ("x",))


def test_equal_sizes_by_where() -> None:
    a = only("algorithm f(A: real[m, n], y: real[m]) -> real[n] where m == n:\n    return A @ y + A.T @ y")
    assert [str(i.type) for i in a.inputs] == ["real[m, n]", "real[m]"]
    (found,) = evaluate(a, {"A": np.eye(3), "y": np.arange(3.0)})
    assert found.tolist() == [0, 2, 4]
    b = only(
        "algorithm f(x: real[2 * n], y: real[3 * m], a: real[n], b: real[m]) -> real[2 * n] where 2 * n == 3 * m:\n    return x + y"
    )
    (found,) = evaluate(b, {"x": np.ones(6), "y": np.ones(6), "a": np.ones(3), "b": np.ones(2)})
    assert found.tolist() == [2] * 6


def test_where_lets_indices_and_slices_be_proved() -> None:
    only(
        "algorithm f(x: real[n], y: real[m]) -> real where m + 2 <= n:\n    s = 0.0\n    for i in 0..m:\n        s += x[i + 2]\n    return s"
    )
    only(
        "algorithm f(x: real[n], y: real[2 * n]) -> real:\n    s = 0.0\n    for i in 0..n:\n        s += y[2 * i + 1]\n    return s"
    )
    a = only("algorithm f(x: real[n], y: real[m]) -> real[m] where m <= n:\n    return x[:m] + x[n-m:]")
    assert a.results == (Type.of("real", "m"),)
    b = only("algorithm f(x: real[n]) -> real[max(n - 2, 0)]:\n    return x[2:]")
    assert evaluate(b, {"x": np.arange(5.0)})[0].tolist() == [2, 3, 4]
    assert evaluate(b, {"x": np.arange(1.0)})[0].tolist() == []


def test_sizes_in_any_order() -> None:
    a = only("algorithm f(u: real[n - 1], K_: real[K, 2 * n], v: real[n]) -> real[n]:\n    iterations K = 3\n    return v")
    assert a.iterations == (("K", 3),)
    assert a.inputs[1].type.shape == (Size.of("K"), Size.of("n") * 2)


def test_an_algorithm_calls_another() -> None:
    a = only(
        INNER + "\nalgorithm outer(given A: real[m, n], y: real[m]) -> real[n]:\n    iterations L = 2\n    param t: unit = 0.5\n"
        "    x = zeros(n)\n    for l in 0..L:\n        x = t * step(A, y, x)\n    return x\n"
    )
    assert [p.name for p in a.params] == ["t", "step.eta"]
    assert a.iterations == (("L", 2), ("step_K", 3))
    assert str(a.params[1].type) == "real[step_K]"
    init = a.params[1].init
    assert init is not None
    matrix = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    (start,) = interpret(specialize(init, "f64"), [matrix], {"m": 2, "n": 2, "step_K": 3})
    assert start.item() == pytest.approx(0.25)
    graph = specialize(a.graph, "f64")
    y, eta = torch.tensor([2.0, 3.0], dtype=torch.float64), torch.full((3,), 0.25, dtype=torch.float64)
    (found,) = interpret(graph, [matrix, y, torch.tensor(0.5, dtype=torch.float64), eta], {"m": 2, "n": 2, "L": 2, "step_K": 3})
    x = torch.zeros(2, dtype=torch.float64)
    for _ in range(2):
        for _ in range(3):
            x = x - 0.25 * matrix.T @ (matrix @ x - y)
        x = 0.5 * x
    assert torch.allclose(found, x)


def test_a_called_algorithm_takes_a_count() -> None:
    a = only(
        INNER
        + "\nalgorithm outer(given A: real[m, n], y: real[m]) -> real[n]:\n    iterations L = 2\n    return step(A, y, zeros(n), K=L)\n"
    )
    assert a.iterations == (("L", 2),)
    assert str(a.params[0].type) == "real[L]"


def test_calls_over_a_batch_are_comprehensions() -> None:
    a = only(
        INNER
        + "\nalgorithm outer(given A: real[m, n], Y: real[b, m]) -> real[b, n]:\n    return [step(A, Y[i], zeros(n)) for i in 0..b]\n"
    )
    loops = [n for n in walk(a.graph.nodes) if n.op == "for"]
    assert [n.attr("index") for n in loops] == ["k"]  # the index of the comprehension became an axis


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("step(A, y)", "US0414"), ("step(A, y, x, 3)", "US0414"), ("step(A, y, x, q=3)", "US0414"), ("step(A, x, y)", "US0414"),
        ("step(A, y, y=y)", "US0414"), ("step(A, y, x, K=n-1)", "US0414"), ("step(2 * x[0] * A, y, x)", "US0505"), ("step", "US0417"),
    ],
)  # fmt: skip
def test_wrong_calls_of_an_algorithm(call: str, code: str) -> None:
    text = INNER + f"\nalgorithm outer(given A: real[m, n], y: real[m], x: real[n]) -> real[n]:\n    return {call}\n"
    assert codes(text) == [code]


def test_modules() -> None:
    a = only(
        "algorithm f(x: real[n]) -> real[n]:\n    iterations K = 2\n    module g[K]: (real[n]) -> real[n]\n    for k in 0..K:\n"
        "        x = apply(g[k], x)\n    return x\nfn apply(m, v) = m(v) + v"
    )
    two: Any = {"g": [lambda v: 2 * v, lambda v: 3 * v]}
    (found,) = evaluate(a, {"x": np.ones(2)}, modules=two)
    assert found.tolist() == [12, 12]


def test_functions() -> None:
    a = only(
        "fn pair(a, b) = a + b, a - b\nfn block(v):\n    s = 0\n    for i in 0..3:\n        s += v[i]\n    return s\n"
        "fn twice(f, v) = f(v) + f(v)\n"
        "algorithm f(x: real[n]) -> (real[n], real[n], real) where n >= 3:\n    p, q = pair(b=x, a=2)\n    return p, q, twice(block, x)"
    )
    p, q, total = evaluate(a, {"x": np.arange(4.0)})
    assert (p.tolist(), q.tolist(), float(total)) == ([2, 3, 4, 5], [2, 1, 0, -1], 6.0)


def test_the_precision_of_literals_follows_the_other_operand() -> None:
    def dtype(expression: str) -> str:
        text = f"algorithm f(a: real[n], d: f64[n], s: f32[n], h: f16[n], i: i32[n], z: complex[n]) -> real:\n    x = {expression}\n    return x"
        with pytest.raises(ProgramError) as caught:
            load_text(text)
        return caught.value.diagnostics[0].message.split("the result is ")[1].split("[")[0]

    expected = {
        "a + 1": "real", "a + i": "real", "i + 1": "i32", "i + 1.0": "real", "i / i": "real", "i // 2": "i32", "s * 2.5": "f32",
        "s * (1 / n)": "f32", "d + a": "f64", "s + a": "real", "h + s": "f32", "h * a": "real", "z * a": "complex", "z + d": "c128",
        "z * 2": "complex", "a * 1j": "complex", "d * 1j": "c128", "s * 1j": "c64", "i < 2": "bool", "d + n": "f64",
    }  # fmt: skip
    assert {e: dtype(e) for e in expected} == expected


def test_use(tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "ops.us").write_text('use "more.us": third\nfn blur(v) = third(v) / 2\nfn other(v) = blur(v)\n')
    (tmp_path / "local" / "more.us").write_text("fn third(v) = v / 3\n")
    main = tmp_path / "main.us"
    main.write_text(
        'use prox\nuse prox: soft\nuse "local/ops.us": blur\nuse "local/more.us"\n'
        "algorithm f(x: real[n]) -> real[n]:\n    return soft(x, 1) + prox.soft(x, 1) + blur(x) + more.third(x)\n"
    )
    (algorithm,) = load_file(main).algorithms.values()
    assert evaluate(algorithm, {"x": np.array([6.0])})[0].tolist() == [5 + 5 + 1 + 2]


def test_use_of_an_algorithm(tmp_path: Path) -> None:
    (tmp_path / "inner.us").write_text("fn half(v) = v / 2\nalgorithm g(x: real[n]) -> real[n]:\n    return half(x)\n")
    main = tmp_path / "main.us"
    main.write_text('use "inner.us"\nfn half(v) = v * 100\nalgorithm f(x: real[n]) -> real[n]:\n    return inner.g(x)\n')
    (algorithm,) = load_file(main).algorithms.values()
    assert evaluate(algorithm, {"x": np.array([6.0])})[0].tolist() == [3]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('use "missing.us"', "US0601"), ("use nothing_here", "US0601"), ('use "other.us": g', "US0602"), ('use "/etc/x.us"', "US0604"),
        ('use "../x.us"', "US0604"), ('use "x.py"', "US0604"), ('use "other.us": h, h', "US0208"), ('use "main.us"', "US0603"),
        ('use "circle.us"', "US0603"), ('use "latin.us"', "US0605"), ('use "broken.us"', "US0101"),
    ],
)  # fmt: skip
def test_wrong_uses(tmp_path: Path, line: str, code: str) -> None:
    (tmp_path / "other.us").write_text("fn h(v) = v\n")
    (tmp_path / "circle.us").write_text('use "back.us"\n')
    (tmp_path / "back.us").write_text('use "circle.us"\n')
    (tmp_path / "latin.us").write_bytes("# é\n# \xe9".encode("latin-1"))
    (tmp_path / "broken.us").write_text("fn h(v) = v +\n")
    main = tmp_path / "main.us"
    main.write_text(line + "\n")
    with pytest.raises(ProgramError) as caught:
        load_file(main)
    assert [d.code for d in caught.value.diagnostics] == [code]


def test_a_missing_file_and_a_folder_are_diagnostics(tmp_path: Path) -> None:
    for path in (tmp_path / "none.us", tmp_path):
        with pytest.raises(ProgramError) as caught:
            load_file(path)
        assert caught.value.diagnostics[0].code == "US0601"


def test_several_errors_come_together_in_order() -> None:
    text = """
fn f(a) = a + b
algorithm g(x: real[n], y: real[m]) -> real[n]:
    z = x + y
    w = z + 1
    x[2] = 1
    for k in 0..n:
        x[k + 1] = q
    return w
"""
    assert codes(text) == ["US0201", "US0301", "US0203", "US0201"]
    assert codes(text.replace("a + b", "a")) == ["US0301", "US0203", "US0201"]
    assert codes(text.replace("z = x + y", "z = f(x)")) == ["US0201"]  # what is wrong with f may be all that is wrong with g
    both = "fn f(a) = a +\nfn g(a) = 1. + a\nalgorithm h() -> real:\n    return 3 $ 4\n"
    assert codes(both) == ["US0101", "US0106", "US0102"]


def test_windows_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "p.us"
    path.write_bytes(b"\xef\xbb\xbffn f(a) = a\r\n\r\nalgorithm g(x: real[n]) -> real[n]:\r\n    return f(x)\r\n")
    assert list(load_file(path).algorithms) == ["g"]
    path.write_bytes(b"fn f(a) = a\r\n\r\nalgorithm g(x: real[n]) -> real[n]:\r\n    return f(y)\r\n")
    with pytest.raises(ProgramError, match=r":4:14: error US0201"):
        load_file(path)
