"""The language embedded in Python: both spellings give the same graphs, handles behave alike, names mean what they should."""

# ruff: noqa: B023, F821, F841, RUF059, UP037  (size names need no binding, and are strings; some names are bound for their error)

from __future__ import annotations

import copy
import inspect
import math
import os
import pickle
import pydoc
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unspool as renamed
import unspool as us
from tests.dsl import embedded_programs
from tests.dsl.python_text import execute
from unspool import norm2, real
from unspool import zeros as nothing
from unspool.compiler.diagnostics import UnspoolError
from unspool.compiler.graph.algorithm import Algorithm
from unspool.compiler.graph.text import print_graph
from unspool.dsl import syntax as s
from unspool.dsl import words
from unspool.dsl.api import AlgorithmHandle
from unspool.dsl.builtins.all import BUILTINS
from unspool.dsl.python_block import BlockReader
from unspool.dsl.python_names import Names
from unspool.dsl.python_source import read_function
from unspool.dsl.syntax import TYPE_NAMES

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "tests" / "programs"
NAMES = [(path.stem, algorithm.__name__) for path in sorted(PROGRAMS.glob("*.us")) for algorithm in us.load(path)]


def texts(algorithm: Algorithm) -> dict[str, Any]:
    """Everything that an algorithm is, graphs as text."""
    return {
        "graph": print_graph(algorithm.graph),
        "objective": print_graph(algorithm.objective) if algorithm.objective is not None else None,
        "goal": (algorithm.objective_name, algorithm.objective_arguments),
        "inits": {p.name: print_graph(p.init) if p.init is not None else None for p in algorithm.params},
        "params": [(p.name, p.type, p.constraint) for p in algorithm.params],
        "around": (algorithm.name, algorithm.inputs, algorithm.iterations, algorithm.modules, algorithm.where, algorithm.results),
    }


def same(handle: AlgorithmHandle, text: str) -> None:
    """The algorithm is the last one of a ``.us`` program."""
    assert texts(handle.algorithm) == texts(list(us.loads(text))[-1].algorithm)


@pytest.mark.parametrize(("program", "name"), NAMES)
def test_both_spellings_of_a_program_give_the_same_graphs(program: str, name: str) -> None:
    python = getattr(getattr(embedded_programs, program), name)
    assert texts(python.algorithm) == texts(us.load(PROGRAMS / f"{program}.us")[name].algorithm)


# -- every form, against its `.us` spelling ------------------------------------------------------------------------


def test_declarations() -> None:
    @us.algorithm(where="n >= 3, m <= n and n < 90")
    def f(given_: us.given(us.real["m", "n"]), x: us.real["n"], key_: us.key) -> us.real["m"]:
        K = us.iterations(3)
        L = us.iterations(default=2)
        a = us.param(K, n, constraint="interval(-1, 2.5)", init=us.sum(given_, axis=0))
        b = us.param("K", "d", constraint="simplex")
        c = us.param()
        g = us.module("(real[n], f32) -> (real[n], real)", count=K)
        h = us.module("(real[n]) -> real[n]")

        @us.objective
        def J(r):
            """How far."""
            e = r - c
            return us.sum(e**2)

        for k in range(K):
            x, t = g[k](h(x) * a[k], 1)
        return given_ @ x + us.sum(b[0])

    same(
        f,
        "algorithm f(given given_: real[m, n], x: real[n], key_: key) -> real[m] where n >= 3, m <= n and n < 90:\n"
        "    iterations K = 3\n    iterations L = 2\n    param a[K, n]: interval(-1, 2.5) = sum(given_, axis=0)\n"
        "    param b[K, d]: simplex\n    param c\n    module g[K]: (real[n], f32) -> (real[n], real)\n"
        "    module h: (real[n]) -> real[n]\n    objective J(r):\n        e = r - c\n        return sum(e**2)\n"
        "    for k in 0..K:\n        x, t = g[k](h(x) * a[k], 1)\n    return given_ @ x + sum(b[0])\n",
    )


def test_statements() -> None:
    @us.algorithm
    def f(A: us.real["n", "n"], x: us.real["n"], i: us.i32, flag: us.bool) -> tuple[us.real["n", "n"], us.real["n"], us.real]:
        y: us.real["n"] = 0
        t = 0.0
        a, (b) = x, -x
        for j in range(n - 1, -1, -1):
            y[j] = x[n - 1 - j]
        for j in range(0, n, 2):
            for l in range(j, us.min(n, j + 3)):
                A[j, l] *= 2
                if l < j + 1 and not flag:
                    t += A[j, l]
                elif x[0] > 0 or flag:
                    t -= 1
                else:
                    if t > 0:
                        t /= 2
        for _ in range(10):
            t = t / 2 + 1
            if abs(t - 2) < 1e-3:
                break
        A[1:, ::2] += 1
        A[..., 0] = x
        A[i, None] = b
        assert all(x > 0), "positive"
        G = [sum(A[k, j] * A[k, l] for k in range(n)) for j in range(n) for l in range(n)]
        z = us.where(0 < x[0] <= 1, 2j * x, x)
        return G, us.re(z) + y, max(abs(A[j, j]) for j in range(n)) + t

    same(
        f,
        "algorithm f(A: real[n, n], x: real[n], i: i32, flag: bool) -> (real[n, n], real[n], real):\n"
        "    y: real[n] = 0\n    t = 0.0\n    a, b = x, -x\n    for j in n - 1..-1 by -1:\n        y[j] = x[n - 1 - j]\n"
        "    for j in 0..n by 2:\n        for l in j..min(n, j + 3):\n            A[j, l] *= 2\n"
        "            if l < j + 1 and not flag:\n                t += A[j, l]\n            elif x[0] > 0 or flag:\n"
        "                t -= 1\n            else:\n                if t > 0:\n                    t /= 2\n"
        "    for _ in 0..10 until abs(t - 2) < 1e-3:\n        t = t / 2 + 1\n    A[1:, ::2] += 1\n    A[..., 0] = x\n"
        "    A[i, None] = b\n    assert all(x > 0), 'positive'\n"
        "    G = [sum(A[k, j] * A[k, l] for k in 0..n) for j in 0..n, l in 0..n]\n    z = where(0 < x[0] <= 1, 2j * x, x)\n"
        "    return G, re(z) + y, max(abs(A[j, j]) for j in 0..n) + t\n",
    )


def test_derivatives() -> None:
    @us.fn
    def loss(w, X):
        return us.sum((X @ w) ** 2)

    @us.algorithm
    def f(X: us.real["n", "d"], w: us.real["d"]) -> us.real["d"]:
        value, slope = us.value_and_grad(loss, w)(w, X)
        a, b = us.jvp(loss, "w")(slope, w, X)
        c = us.vjp(loss, w)(2, w, X) + us.hvp(loss, w)(slope, w, X) * b
        return c + us.stop_gradient(value)

    same(
        f,
        "fn loss(w, X) = sum((X @ w)**2)\nalgorithm f(X: real[n, d], w: real[d]) -> real[d]:\n"
        "    value, slope = value_and_grad(loss, w)(w, X)\n    a, b = jvp(loss, w)(slope, w, X)\n"
        "    c = vjp(loss, w)(2, w, X) + hvp(loss, w)(slope, w, X) * b\n    return c + stop_gradient(value)\n",
    )


def test_systems() -> None:
    @us.fn
    def gram(v, A, ridge):
        return A.T @ (A @ v) + ridge * v

    @us.algorithm
    def f(A: us.real["m", "n"], y: us.real["m"], ridge: us.real) -> us.real["n"]:
        J = us.iterations(60)
        x = us.solve_cg(A.T @ A + us.eye("n"), A.T @ y)
        return us.cg(gram, v, x0=x, maxiter=J, tol=1e-12)(A.T @ y, A, ridge)

    same(
        f,
        "fn gram(v, A, ridge) = A.T @ (A @ v) + ridge * v\n"
        "algorithm f(A: real[m, n], y: real[m], ridge: real) -> real[n]:\n    iterations J = 60\n"
        "    x = solve_cg(A.T @ A + eye(n), A.T @ y)\n    return cg(gram, v, x0=x, maxiter=J, tol=1e-12)(A.T @ y, A, ridge)\n",
    )


def test_the_parameter_of_a_derivative_is_no_python_name() -> None:
    theta = 3.0

    @us.fn
    def square(theta):
        return theta * theta

    @us.algorithm
    def f(x: us.real) -> us.real:
        return us.grad(square, theta)(x) + theta

    same(f, "fn square(theta) = theta * theta\nalgorithm f(x: real) -> real:\n    return grad(square, theta)(x) + 3.0\n")


# -- annotations ---------------------------------------------------------------------------------------------------

Vector = us.real["n"]
Given = us.given(us.real["m", "n-1"])


def test_annotations_by_other_names_and_as_strings() -> None:
    size = 4

    @us.algorithm
    def f(
        A: Given, x: Vector, b: "us.given(real[m, 3])", c: "real[2*n]", d: real[size, "m"], e: bool, g: complex, h: renamed.f64
    ) -> "(us.real[n], us.real)":
        return x, us.sum(A)

    same(
        f,
        "algorithm f(given A: real[m, n - 1], x: real[n], given b: real[m, 3], c: real[2 * n], d: real[4, m], e: bool, "
        "g: complex, h: f64) -> (real[n], real):\n    return x, sum(A)\n",
    )


def test_the_weights_of_a_module_as_a_type() -> None:
    def head(result: s.TypeExpr) -> tuple[str, str]:
        assert result.of is not None
        return result.name.text, result.of.text

    for written in ('us.weights("g")', "us.weights(g)", "'weights(g)'"):
        text = f"from __future__ import annotations\ndef f(x: us.real) -> {written}:\n    return x\n"
        function = execute(text)["f"]
        reader = BlockReader(read_function(function), Names(function, {}))
        assert [head(t) for t in reader.algorithm("").results] == [("weights", "g")]
        assert reader.found == []
    assert repr(us.weights("g")) == "us.weights('g')"


def test_annotations_are_objects() -> None:
    assert repr(us.real["m", 3]) == "us.real['m', 3]"
    assert repr(us.given(us.key)) == "us.given(us.key)"
    assert us.real["n"] == us.real["n"] != us.f32["n"]
    assert {us.real, us.real} == {us.real}
    assert embedded_programs.lasso.ista.__wrapped__.__annotations__["y"] == us.real["m"]
    assert pickle.loads(pickle.dumps(us.given(us.real["m"]))) == us.given(us.real["m"])
    assert pickle.loads(pickle.dumps(us.real)) is us.real
    assert copy.deepcopy(us.softmax) is us.softmax


def test_key_is_a_maker_and_a_type() -> None:
    @us.algorithm
    def noise(x: us.real["n"], rng: us.key) -> us.real["n"]:
        return x + us.normal(us.fold(rng, 1), n)

    keys = us.key(3, (2,))
    out = noise(np.zeros((2, 4)), keys)
    assert out.shape == (2, 4)
    assert not np.array_equal(out[0], out[1])
    assert "64 bits" in pydoc.render_doc(us.key)


# -- names ---------------------------------------------------------------------------------------------------------

STEP, COUNT, FLAG, BELOW, FAR = 0.5, np.int64(3), True, -2, math.inf


@us.fn
def shrink(v, t):
    """Towards zero."""
    return us.sign(v) * max(abs(v) - t * STEP, 0)


class Operators:
    @us.fn
    def half(v):
        return v / 2

    @staticmethod
    @us.fn
    def third(v):
        return v / 3

    @us.algorithm
    def twice(x: us.real["n"]) -> us.real["n"]:
        return 4 * half(x)


def test_python_numbers_are_literals() -> None:
    n_ = 2

    @us.algorithm
    def f(x: us.real["n"]) -> us.real["n"]:
        K = us.iterations(COUNT)
        step = us.param(K, constraint="positive", init=STEP)
        for k in range(K):
            x = x**BELOW + step[k] * math.pi + np.e * n_
        return us.where(FLAG, x, FAR)

    same(
        f,
        "algorithm f(x: real[n]) -> real[n]:\n    iterations K = 3\n    param step[K]: positive = 0.5\n    for k in 0..K:\n"
        f"        x = x**-2 + step[k] * {math.pi} + {math.e} * 2\n    return where(True, x, 1e999)\n",
    )


def test_a_size_wins_over_a_python_name() -> None:
    n, d = 5, 6

    @us.algorithm
    def f(x: us.real["n"]) -> us.real["n"]:
        w = us.param("d")
        v = us.param(d)
        return x + us.sum(w) + us.sum(us.ones(n)) + us.sum(v)

    same(
        f,
        "algorithm f(x: real[n]) -> real[n]:\n    param w[d]\n    param v[d]\n    return x + sum(w) + sum(ones(n)) + sum(v)\n",
    )

    @us.algorithm
    def g(x: us.real["m"]) -> us.real["m"]:
        v = us.param(d)
        return x + us.sum(v) + d

    same(g, "algorithm g(x: real[m]) -> real[m]:\n    param v[6]\n    return x + sum(v) + 6\n")


def test_functions_of_python_and_of_programs() -> None:
    prox = us.load("prox")
    hard = prox.hard
    program = us.loads("algorithm shift(x: real[n]) -> real[n]:\n    param amount: positive = 2\n    return x + amount\n")
    shift = program.shift

    @us.algorithm
    def f(x: us.real["n"]) -> us.real["n"]:
        x = shrink(x, 1) + prox.soft(x, 1) + us.stdlib.prox.box(x, -1, 1) + hard(x, 1) + embedded_programs.lasso.soft(x, 2)
        x = x + Operators.half(x) + Operators.third(x)
        return shift(x) + program.shift(x) + Operators.twice(x)

    same(
        f,
        "use prox\nfn shrink(v, t) = sign(v) * max(abs(v) - t * 0.5, 0)\nfn soft(v, t) = sign(v) * max(abs(v) - t, 0)\n"
        "fn half(v) = v / 2\nfn third(v) = v / 3\nalgorithm twice(x: real[n]) -> real[n]:\n    return 4 * half(x)\n"
        "algorithm shift(x: real[n]) -> real[n]:\n    param amount: positive = 2\n    return x + amount\n"
        "algorithm f(x: real[n]) -> real[n]:\n"
        "    x = shrink(x, 1) + prox.soft(x, 1) + prox.box(x, -1, 1) + prox.hard(x, 1) + soft(x, 2)\n"
        "    x = x + half(x) + third(x)\n    return shift(x) + shift(x) + twice(x)\n",
    )


def test_builtins_by_every_name() -> None:
    @us.algorithm
    def f(A: us.real["n", "n"]) -> us.real["n"]:
        x = nothing("n") + zeros(n) + renamed.ones(n) + norm2(A) + unspool_alias.sum(A) + softmax(A[0], axis=0)
        return us.cast(x, us.f64) + cast(x, real) + us.cast(x, "f32")

    same(
        f,
        "algorithm f(A: real[n, n]) -> real[n]:\n"
        "    x = zeros(n) + zeros(n) + ones(n) + norm2(A) + sum(A) + softmax(A[0], axis=0)\n"
        "    return cast(x, f64) + cast(x, real) + cast(x, f32)\n",
    )


unspool_alias = us


def test_a_local_name_hides_no_qualified_builtin() -> None:
    @us.algorithm
    def f(x: us.real["n"]) -> us.real:
        mean = us.mean(x)
        norm = us.norm(x - mean)
        return us.mean(x * norm) + us.norm(x)

    x = np.array([1.0, 2.0, 4.0])
    assert f(x) == pytest.approx((x * np.linalg.norm(x - x.mean())).mean() + np.linalg.norm(x))

    @us.fn
    def norm(v):
        return 3 * us.norm(v)

    @us.algorithm
    def g(x: us.real["n"]) -> us.real:
        return norm(x) + us.norm(x)

    assert g(x) == pytest.approx(4 * np.linalg.norm(x))


def test_a_function_keeps_what_it_was_made_with() -> None:
    @us.fn
    def step(v):
        return v + 1

    @us.fn
    def run(v):
        return step(v) * 2

    @us.fn
    def step(v):  # noqa: F811
        return run(v) + 100

    assert step(np.float64(1)) == 104


def test_nothing_of_the_body_is_executed() -> None:
    ran = []

    class Spy:
        @property
        def value(self) -> float:
            ran.append(1)
            return 1.0

    with pytest.raises(us.ProgramError) as caught:

        @us.algorithm
        def f(x: us.real) -> us.real:
            y = x + ran.append(2)
            z = x + Spy.value
            return x + Spy().value

    assert ran == []
    assert [d.code for d in caught.value.diagnostics] == ["US0701"] * 3


# -- handles -------------------------------------------------------------------------------------------------------


def test_an_embedded_algorithm_is_built_compiled_and_called() -> None:
    A = torch.randn(6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    python, text = embedded_programs.lasso.ista, us.load(PROGRAMS / "lasso.us").ista
    torch.testing.assert_close(python(A, y, K=5), text(A, y, K=5), rtol=0, atol=0)
    layer = python.build(A=A, K=5, dtype="f64")
    torch.testing.assert_close(layer(y), text.build(A=A, K=5, dtype="f64")(y), rtol=0, atol=0)
    kernel = python.compile(shapes={"m": 6, "n": 9, "batch": (4,)}, K=5)
    assert kernel.source == text.compile(shapes={"m": 6, "n": 9, "batch": (4,)}, K=5).source
    with pytest.raises(us.DataError, match="takes no 'L'"):
        python(A, y, L=5)
    with pytest.raises(us.DataError, match="declares no objective"):
        python.objective(A, y)


def test_the_objective_is_called() -> None:
    @us.algorithm
    def f(x: us.real["n"]) -> us.real["n"]:
        @us.objective
        def J(z):
            return us.sum((z - x) ** 2)

        return x + 1

    assert f.objective(np.ones(3), np.zeros(3)) == 3
    assert f.algorithm.objective_name == "J"


def test_a_function_is_called_and_differentiated() -> None:
    x = torch.tensor([1.0, -3.0], requires_grad=True)
    shrink(x, 1.0).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.0]
    np.testing.assert_allclose(shrink(np.array([2.0]), t=1.0), [1.5])


def test_handles_tell_what_they_are() -> None:
    ista = embedded_programs.lasso.ista
    assert (ista.__name__, ista.__qualname__, ista.__module__) == ("ista", "lasso.ista", "tests.dsl.embedded_programs")
    assert "param step: real[K], positive" in str(ista.__doc__)
    assert str(embedded_programs.lasso.lista.__doc__).startswith("Gregor & LeCun 2010")
    assert "iterations K = 16" in pydoc.render_doc(ista)
    assert list(inspect.signature(ista).parameters) == ["A", "y"]
    assert "def ista(" in inspect.getsource(ista)
    assert shrink.__doc__ == "Towards zero.\n\nfn shrink(v, t)"
    assert "Towards zero." in pydoc.render_doc(shrink)
    assert repr(shrink) == "<fn shrink(v, t)>"
    shift = us.loads("algorithm shift(s: real, x: real[n]) -> (real[n], real):\n    return x + s, s\n").shift
    assert repr(shift) == "<algorithm shift(s: real, x: real[n]) -> (real[n], real)>"


def test_handles_pickle_and_copy() -> None:
    scale = 2.0

    @us.fn
    def scaled(v):
        return shrink(v, 1) * scale

    @us.algorithm
    def f(x: us.real["n"]) -> us.real["n"]:
        """Scales."""
        return scaled(x) + us.stdlib.prox.soft(x, 1)

    x = np.array([3.0, -4.0])
    for other in (pickle.loads(pickle.dumps(f)), copy.deepcopy(f)):
        np.testing.assert_array_equal(other(x), f(x))
        assert (other.__doc__, other.__name__, other.__qualname__) == (f.__doc__, f.__name__, f.__qualname__)

        @us.algorithm
        def g(x: us.real["n"]) -> us.real["n"]:
            return other(x) + 1

        np.testing.assert_array_equal(g(x), f(x) + 1)
    again = pickle.loads(pickle.dumps(scaled))
    np.testing.assert_array_equal(again(x), scaled(x))


def test_a_handle_unpickles_in_another_process(tmp_path: Path) -> None:
    @us.algorithm
    def f(x: us.real["n"]) -> us.real["n"]:
        return shrink(x, 1)

    (tmp_path / "f.pickle").write_bytes(pickle.dumps(f))
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb'))([2.0, 3.0]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "f.pickle")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[1.5 2.5]", done.stderr


def test_methods_and_static_methods() -> None:
    x = np.array([4.0])
    assert Operators.half(x) == Operators().half(x) == 2
    assert Operators().third(x) == pytest.approx(4 / 3)
    assert Operators().twice(x) == 8

    @us.fn
    @staticmethod
    def inner(v):
        return v + 1

    assert inner(x) == 5


def test_a_decorator_may_be_called() -> None:
    def plain(v):
        return v + 1

    assert us.fn(plain)(np.float64(1)) == 2


# -- words outside an algorithm ------------------------------------------------------------------------------------


def test_every_word_of_the_language_is_public() -> None:
    for name in (*BUILTINS, *TYPE_NAMES, "iterations", "param", "module", "objective", "given"):
        assert getattr(us, name) is words.find(name)
        assert name in dir(us)
    assert us.softmax.__doc__.startswith("softmax(x, axis=")
    assert not {"sum", "max", "bool"} & set(us.__all__)
    assert {"algorithm", "fn", "key", "param", "objective"} <= set(us.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'no_such_thing'"):
        us.no_such_thing  # noqa: B018


@pytest.mark.parametrize("name", ["zeros", "sum", "grad", "real", "iterations", "param", "module", "objective"])
def test_words_do_nothing_outside(name: str) -> None:
    with pytest.raises(UnspoolError, match=rf"us\.{name} is a word of the language.*@us\.algorithm"):
        getattr(us, name)(3)


def test_load_takes_str_path_and_the_name_of_a_stdlib_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.us"
    path.write_text("fn double(x) = 2 * x\n")
    x = np.array([3.0, -0.5])
    assert us.load(path).double(x)[0] == us.load(str(path)).double(x)[0] == 6
    monkeypatch.chdir(tmp_path)
    assert us.load("mine.us").double(x)[0] == 6
    np.testing.assert_allclose(us.load("prox").soft(x, 1.0), [2, 0])
    np.testing.assert_allclose(us.stdlib.prox.soft(x, 1.0), [2, 0])
    with pytest.raises(us.DataError, match="no program 'mine'"):
        us.load("mine")
    with pytest.raises(us.DataError, match="there is no file"):
        us.load("other.us")
    with pytest.raises(AttributeError, match="no program 'proxy'"):
        us.stdlib.proxy  # noqa: B018


def test_a_program_sees_no_python_function(tmp_path: Path) -> None:
    with pytest.raises(us.ProgramError, match="US0201: unknown name shrink"):
        us.loads("algorithm f(x: real) -> real:\n    return shrink(x, 1)\n")


def test_importing_stays_cheap(tmp_path: Path) -> None:
    code = (
        "import sys, unspool as us\n"
        "assert not {'torch', 'lark', 'numpy'} & set(sys.modules), 'import'\n"
        "@us.fn\ndef f(v):\n    return us.softmax(v, axis=0)\n"
        "@us.algorithm\ndef g(x: us.given(us.real['n']), rng: us.key) -> us.real['n']:\n    return f(x)\n"
        "assert 'torch' not in sys.modules, 'decorating'\n"
    )
    (tmp_path / "light.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "light.py")], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
