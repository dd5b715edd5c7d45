"""Mutated programs, and bytes at random: errors are diagnostics, and nothing takes long."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.dsl.fuzzing import fuzz
from unspool.compiler.diagnostics import ProgramError
from unspool.compiler.graph.verify import verify
from unspool.dsl.program import load_file, load_text
from unspool.dsl.syntax import KEYWORDS

CORPUS = [p.read_text(encoding="utf-8") for p in sorted((Path(__file__).parents[1] / "programs").glob("*.us"))]
CORPUS.append(
    "fn f(a, b):\n    c = a @ b\n    return c, -c\n\n"
    "algorithm g(given A: real[m, n], x: real[n], i: i64[p], rng: key) -> (real[m], real) where m >= 4, n == p, n >= 4:\n"
    "    iterations K = 3\n    param W[K, n]: interval(0, 2) = sum(A, axis=0)\n    module h[K]: (real[n]) -> real[n]\n"
    "    objective J(u, v) = sum(u**2) + v\n    assert all(x > 0), 'positive'\n    t: real[n] = 1\n"
    "    for k in 0..K until norm(x) < 1:\n        x = h[k](x) * W[k] + [sum(A[j, l] * x[l] for l in 0..j+1) for j in 0..4][0]\n"
    "        if k < 1 and x[0] > 0:\n            x[1:] -= x[:-1] * 2.5\n        else:\n            x[i] *= normal(fold(rng, k), n)\n"
    "    y, z = f(A, x)\n    return y + [max(A[j, k] for k in 0..n) for j in 0..m], sum(z) + x[-1]\n"
)
TOKEN = re.compile(r"\d+\.\d+|\w+|[^\w\s]|\s+")
PIECES = [
    "(",
    ")",
    "[",
    "]",
    ",",
    ":",
    "..",
    "...",
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "**",
    "@",
    "<",
    "==",
    "=",
    "+=",
    ".",
    "0",
    "1",
    "2.5",
    "1e3",
    "9999999999999999999",
    "'a'",
    '"',
    "#",
    "\t",
    "\n",
    "\x00",
    "λ",
    "if",
    "else",
    "elif",
    "for",
    "in",
    "until",
    "return",
    "where",
    "not",
    "and",
    "or",
    "None",
    "True",
    "real",
    "i32",
    "bool",
    "key",
    "weights",
    "fn",
    "algorithm",
    "use",
    "param",
    "given",
    "module",
    "objective",
    "iterations",
    "K",
    "n",
    "m",
    "x",
    "A",
    "sum",
    "max",
    "grad",
    "norm",
    "zeros",
    "by",
    "min",
    "1j",
    "lambda",
    "while",
    "\\",
    "é",
    "\u2028",
    "\r",
] + ["\n    ", "\n        ", " "]


OPERATORS = "+ - * / // % ** @ < > <= >= == and or".split()


def retype(text: str, rng: random.Random) -> str:
    """A few names, numbers and operators replaced by others: texts that still parse, mostly."""
    parts = re.findall(r"\d+\.\d+|\w+|\*\*|//|[<>=]=|\.\.|[^\w\s]|\s+", text)
    words = [p for p in parts if p.isidentifier() and p not in KEYWORDS]
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(parts))
        while not (parts[at] in words or parts[at][0].isdigit() or parts[at] in OPERATORS):
            at = rng.randrange(len(parts))
        if parts[at] in OPERATORS:
            parts[at] = f" {rng.choice(OPERATORS)} "
        else:
            parts[at] = rng.choice(
                [*words, "0", "1", "2", "-1", "0.5", "(n-1)", "n+1", "sum", "x[0]", "zeros(n)", "True", "[:, 0]"]
            )
    return "".join(parts)


def mutate(text: str, rng: random.Random) -> str:
    """A few edits: tokens or lines deleted, doubled, swapped, replaced, inserted."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        parts = TOKEN.findall(text) if rng.random() < 0.8 else text.splitlines(keepends=True)
        if not parts:
            return text
        at, other = rng.randrange(len(parts)), rng.randrange(len(parts))
        match rng.randrange(6):
            case 0:
                del parts[at]
            case 1:
                parts.insert(at, parts[other])
            case 2:
                parts[at], parts[other] = parts[other], parts[at]
            case 3:
                parts[at] = rng.choice(PIECES)
            case 4:
                parts.insert(at, rng.choice(PIECES))
            case 5:
                parts[at] = parts[other]
        text = "".join(parts)
    return text


def outcome(text: str) -> str:
    """``ok``, or the code of the first error; anything but a ProgramError goes through."""
    try:
        for algorithm in load_text(text).algorithms.values():
            verify(algorithm.graph)
    except ProgramError as error:
        assert error.diagnostics
        for diagnostic in error.diagnostics:
            assert diagnostic.span is not None
            assert diagnostic.render().startswith("<string>:")
        return error.diagnostics[0].code
    return "ok"


def fuzz_programs(count: int, seed: int) -> Counter[str]:
    """Outcomes of mutated programs; see :func:`~tests.dsl.fuzzing.fuzz`."""
    return fuzz(
        "mutated programs", count, seed, lambda rng: rng.choice((mutate, retype))(rng.choice(CORPUS), rng), outcome, seconds=5
    )


def test_mutated_programs() -> None:
    assert len(fuzz_programs(900, 2024)) > 30


@pytest.mark.slow
@pytest.mark.parametrize("part", range(50))
def test_50000_mutated_programs(part: int) -> None:
    assert len(fuzz_programs(1000, part)) > 20


def test_random_bytes(tmp_path: Path) -> None:
    rng = random.Random(2024)
    path = tmp_path / "random.us"
    for _ in range(100):
        path.write_bytes(rng.randbytes(rng.randrange(200)))
        with pytest.raises(ProgramError):
            load_file(path)


LOOP = "algorithm f(x: real[n]) -> real:\n"


def nested(unit: str, close: str, depth: int) -> str:
    return f"{LOOP}    return " + unit * depth + "x[0]" + close * depth + "\n"


def blocks(head: str, depth: int) -> str:
    inner = "".join("    " * (n + 1) + head.format(n) + ":\n" for n in range(depth))
    return LOOP + inner + "    " * (depth + 1) + "x[0] += 1\n    return x[0]\n"


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000,
        "x" * 100_000,
        "algorithm f(x: real) -> real:\n    return " + "(" * 3000 + "x" + ")" * 3000,
        "algorithm f(x: real) -> real:\n    return " + "-" * 3000 + "x",
        "algorithm f(x: real) -> real:\n    return " + "x + " * 3000 + "x",
        "algorithm f(x: real) -> real:\n    return " + "sum(" * 500 + "x" + ")" * 500,
        "algorithm f(x: real) -> real:\n"
        + "".join("    " * (n + 1) + f"for i{n} in 0..2:\n" for n in range(300))
        + "    " * 301
        + "x = x\n",
        "".join(f"fn f{n + 1}(x) = f{n}(x) + f{n}(x)\n" for n in range(60))
        + "fn f0(x) = x\nalgorithm g(x: real) -> real:\n    return f60(x)\n",
        "algorithm f(x: real[n]) -> real:\n    return " + "[sum(" * 20 + "x[0]" + " for i in 0..n) for j in 0..n][0]" * 20 + "\n",
        "algorithm f(x: real[n]) -> real:\n    return 9**9**9**9\n",
        "algorithm f(x: real[n, m]) -> real:\n    return " + "(n + m + 1)*" * 40 + "1\n",
        "algorithm f(x: real[" + "n*" * 200 + "n]) -> real:\n    return 1\n",
        LOOP + "    x = x + 1\n" * 3000 + "    return x[0]\n",
        *(
            nested(unit, close, depth)
            for depth in (20, 60, 74, 140)
            for unit, close in [
                ("-", ""),
                ("sqrt(", ")"),
                ("(1 + ", ")"),
                ("[", " for i in 0..n][0]"),
                ("sum(", " for i in 0..n)"),
                ("x[0] + ", ""),
                ("max([x[i] * ", " for i in 0..n])"),
                ("grad(g, v)(", ")"),
                ("sum(x[i] for i in 0..", ")"),
            ]
        ),
        *(
            blocks(head, depth)
            for depth in (20, 60, 140)
            for head in ("for i{} in 0..n", "if x[0] > {}", "for i in 0..n, j in 0..i")
        ),
    ],
    ids=lambda text: f"{len(text)}",
)
def test_extreme_texts_take_no_time(text: str) -> None:
    start = time.process_time()
    outcome(text)
    assert time.process_time() - start < 20
