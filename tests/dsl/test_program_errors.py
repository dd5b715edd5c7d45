"""One wrong statement each: its code and the column it is reported at. More are in ``docs/errors``."""

from __future__ import annotations

import pytest

from unspool.compiler.diagnostics import ProgramError
from unspool.dsl.program import load_text

HEAD = (
    "fn twice(v) = 2 * v\n"
    "algorithm f(given A: real[m, n], S: real[n, n], x: real[n], y: real[m], t: real, i: i32, mask: bool[n], rng: key) -> real:\n"
    "    iterations K = 3\n    param step[K]: positive = 0.1\n    module g[K]: (real[n]) -> real[n]\n"
)


@pytest.mark.parametrize(
    ("statement", "code", "column"),
    [
        # names and indices
        ("z = q", "US0201", 5), ("z = twise(x)", "US0201", 5), ("K = 3", "US0207", 1), ("n = 3", "US0207", 1), ("g = x", "US0207", 1),
        ("for k in 0..K:\n        k = 1", "US0207", 9), ("real = 3", "US0209", 1), ("for bool in 0..n:\n        t = 1", "US0209", 5),
        ("for n in 0..3:\n        t = 1", "US0208", 5), ("z = [x[0] for a in 0..n, a in 0..n]", "US0208", 26), ("z = x.size", "US0210", 7),
        ("z = topk(x, 1).mask.mask", "US0210", 21), ("z = x[n]", "US0203", 7), ("z = x[-2]", "US0203", 7), ("z = x[n-2]", "US0203", 7),
        ("z = step[K]", "US0203", 10), ("for k in 0..K+1:\n        t = step[k]", "US0203", 18), ("z = [x[a+1] for a in 0..n]", "US0203", 8),
        ("for a in 0..n, b in 0..n:\n        t = x[a - b]", "US0203", 15), ("z = x[:, 0]", "US0204", 10), ("z = t[0]", "US0204", 7),
        ("z = x[..., ...]", "US0204", 5), ("z = x[i:]", "US0205", 7), ("z = x[::0]", "US0205", 9), ("z = x[::K]", "US0205", 9),
        ("z = x[0.5]", "US0206", 7), ("z = x[mask]", "US0206", 7), ("z = x[x]", "US0206", 7), ("z = x[(0, 1)]", "US0206", 7),
        ("x[0][0] = 1", "US0207", 1), ("twice(x) = 1", "US0207", 1), ("x[0]: real = 1", "US0207", 1), ("z = 3\n    z[0] = 1", "US0207", 5),
        ("for a in 0..i:\n        t = 1", "US0211", 13), ("for a in 0..n by K:\n        t = 1", "US0211", 18),
        ("for a in 0..n by 0:\n        t = 1", "US0211", 18), ("for a in 0..2, b in 0..2 until t > 0:\n        t = 1", "US0211", 32),
        # types
        ("z = x + y", "US0301", 5), ("z = S + y[:, None]", "US0301", 5), ("x[:] = y", "US0301", 8), ("z: real[m] = x", "US0301", 14),
        ("z = A @ y", "US0302", 5), ("z = x @ 2", "US0302", 5), ("z = mask + 1", "US0303", 5), ("z = -mask", "US0303", 5), ("z = rng + 1", "US0303", 5),
        ("z = mask @ mask", "US0303", 5), ("z = True + 1", "US0303", 5), ("z = 1j < 2", "US0303", 5), ("x[0] = 1j", "US0303", 8),
        ("x[0] = mask[0]", "US0303", 8), ("mask[0] = 1", "US0303", 11), ("x = y", "US0304", 5), ("x = 0", "US0304", 5),
        ("z = 0\n    z = x", "US0304", 9), ("x: f32[n] = 1", "US0304", 4), ("i = 0.5", "US0305", 5), ("i /= 2", "US0305", 1),
        ("z = x and mask", "US0306", 5), ("z = not x", "US0306", 9), ("if t:\n        t = 1", "US0306", 4), ("assert mask", "US0306", 8),
        ("for k in 0..K until x > 0:\n        x = x / 2", "US0306", 21), ("z = 0 < x < 1", "US0307", 5),
        ("if t > 0:\n        z = 1\n    else:\n        z = x", "US0309", 1), ("z = 2**-1 + 1 % 0", "US0310", 13), ("z = (-1)**0.5", "US0310", 5),
        ("z = 10.0**400", "US0310", 5), ("z = n // (n - 2)", "US0310", 5), ("z = 2**63", "US0310", 5), ("a, b = x", "US0311", 1),
        ("a = svd(A)", "US0311", 5), ("z = 'text'", "US0311", 5), ("z = None", "US0311", 5), ("z = real", "US0311", 5),
        # calls
        ("z = twice(x, x)", "US0411", 14), ("z = twice(w=x)", "US0411", 11), ("z = twice(x, v=x)", "US0411", 14), ("z = g(x)", "US0413", 5),
        ("z = g[0](y)", "US0413", 10), ("z = g[0](x, x)", "US0413", 5), ("z = g[0][0](x)", "US0413", 5), ("z = x(0)", "US0417", 5),
        ("z = real(x)", "US0417", 5), ("z = sqrt", "US0417", 5), ("z = f", "US0417", 5), ("z = f(A)", "US0412", 5), ("z = sum(x, 0, 1)", "US0402", 12),
        ("z = sum(x, axis=0, axis=0)", "US0403", 20), ("z = sum(axis=0, x)", "US0403", 17), ("z = norm(x[a] for a in 0..n)", "US0416", 10),
        ("z = twice(x[a] for a in 0..n)", "US0416", 5), ("z = [1, 2]", "US0416", 5), ("z = [x[b] for a in 0..n, b in 0..a]", "US0416", 5),
        ("z = max(x[a] for a in 0..n-1)", "US0416", 9), ("z = [x[0] for a in 0..n-2]", "US0416", 5), ("z = sum(mask[a] for a in 0..n)", "US0303", 9),
        ("z = any(x[a] for a in 0..n)", "US0306", 9),
        # statements
        ("t = 1\n    param w[n]", "US0501", 5), ("for k in 0..K:\n        iterations L = 2", "US0501", 9), ("return t", "US0506", 1),
        ("t + 1", "US0512", 1),
    ],
)  # fmt: skip
def test_a_wrong_statement(statement: str, code: str, column: int) -> None:
    with pytest.raises(ProgramError) as caught:
        load_text(f"{HEAD}    {statement}\n    return t\n")
    found = [(d.code, d.span.column if d.span else 0) for d in caught.value.diagnostics]
    first_line = "\n" not in statement or code in ("US0208", "US0209", "US0211", "US0306", "US0309")
    assert found == [(code, column + 4 if first_line else column)]


@pytest.mark.parametrize(
    ("declarations", "code"),
    [
        ("iterations K = 0", "US0502"), ("iterations K = 2.5", "US0502"), ("param a: nonneg = -1", "US0503"), ("param a: unit = 2", "US0503"),
        ("param a: small", "US0503"), ("param a: positive(1)", "US0503"), ("param a: interval(1)", "US0503"), ("param a: interval(2, 1)", "US0503"),
        ("param a: simplex", "US0503"), ("param a: interval(0, n)", "US0503"), ("param a[y[0]]", "US0406"), ("param a[0]", "US0504"),
        ("param a = y", "US0505"), ("param a = b", "US0201"), ("param a[n] = A", "US0505"), ("param a = True", "US0303"),
        ("param a[n]: real[n]", "US0101"),
        ("param x", "US0208"), ("param n", "US0208"), ("module a: (real[n]) -> bool[n]", "US0511"), ("module a: (wrong[n]) -> real[n]", "US0509"),
        ("objective J(x) = y", "US0510"), ("objective J(p, q) = p", "US0510"), ("objective J(p) = p\n    objective I(p) = p", "US0510"),
        ("objective J(y) = y", "US0208"), ("objective J(p) = f(A, y)", "US0417"),
    ],
)  # fmt: skip
def test_a_wrong_declaration(declarations: str, code: str) -> None:
    with pytest.raises(ProgramError) as caught:
        load_text(
            f"algorithm f(given A: real[m, n], y: real[n]) -> real:\n    {declarations}\n    return y[0]\n".replace(
                "param x", "param y"
            )
        )
    assert {d.code for d in caught.value.diagnostics} == {code}


@pytest.mark.parametrize(
    ("head", "code"),
    [
        ("f(x: real[n - 1])", "US0504"), ("f(x: real[n, n])", ""), ("f(x: key[n])", "US0509"), ("f(x: weights(g))", "US0509"), ("f(x: real[0])", "US0504"),
        ("f(x: real[n], n: real)", "US0208"), ("f(x: real[2.5])", "US0406"), ("f(x: bool[n], y: f64)", ""), ("f(a: real[b], b: real[a])", "US0208"),
    ],
)  # fmt: skip
def test_heads(head: str, code: str) -> None:
    text = f"algorithm {head} -> real:\n    return 1\n"
    if not code:
        load_text(text)
        return
    with pytest.raises(ProgramError) as caught:
        load_text(text)
    assert {d.code for d in caught.value.diagnostics} == {code}


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ("n > x", "US0507"),
        ("n", "US0507"),
        ("n + 1.5 > 2", "US0507"),
        ("k > 2", "US0504"),
        ("2 <= n <= m and n % 2 == 0, m != 7", ""),
    ],
)
def test_where(where: str, code: str) -> None:
    text = f"algorithm f(x: real[n], y: real[m]) -> real where {where}:\n    return 1\n"
    if not code:
        (algorithm,) = load_text(text).algorithms.values()
        assert list(map(str, algorithm.where)) == ["2 <= n", "n <= m", "(n % 2) == 0", "m != 7"]
        return
    with pytest.raises(ProgramError) as caught:
        load_text(text)
    assert [d.code for d in caught.value.diagnostics] == [code]


def test_an_error_in_a_function_says_where_it_was_called() -> None:
    with pytest.raises(ProgramError) as caught:
        load_text(
            "fn g(a, b) = a + b\nfn h(a, b) = g(a, b)\nalgorithm f(x: real[n], y: real[m]) -> real:\n    return sum(h(x, y))\n",
            "p.us",
        )
    (found,) = caught.value.diagnostics
    assert str(found.span) == "p.us:1:14"
    assert found.notes == ("in g, called at p.us:2:14", "in h, called at p.us:4:16")


def test_how_an_error_looks() -> None:
    with pytest.raises(ProgramError) as caught:
        load_text("algorithm back(A: real[m, n], y: real[m]) -> real[n]:\n    return 2 * (A @ y)\n", "back.us")
    assert str(caught.value) == (
        "back.us:2:17: error US0302: real[m, n] @ real[m]: the inner sizes are n and m, and must be equal\n"
        " 2 |     return 2 * (A @ y)\n"
        "   |                ^^^^^^^\n"
        "   |                 -   - y: [m]\n"
        "   |                 A: [m, n]\n"
        "  try: `A.T @ y` fits"
    ).replace("2:17", "2:16")
