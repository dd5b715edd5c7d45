"""Random and mutated programs, printed as Python: both spellings give the same graphs, or errors with the same code."""

# ruff: noqa: PT017, RUF005  (errors are looked at where they are caught; a corpus)

from __future__ import annotations

import ast
import inspect
import random
import re
import traceback
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dsl import embedded_programs
from tests.dsl.fuzzing import fuzz
from tests.dsl.python_text import NotPython, execute, forget, to_python
from tests.dsl.random_text import program_texts
from tests.dsl.test_embedding import texts
from tests.dsl.test_fuzz import CORPUS, retype
from unspool.compiler.diagnostics import ProgramError, UnspoolError
from unspool.compiler.graph.verify import verify
from unspool.dsl.api import AlgorithmHandle
from unspool.dsl.program import load_text

ROOT = Path(__file__).parents[2]
SEEN: Counter[str] = Counter()
PAGES = sorted((ROOT / "docs" / "errors").glob("US*.md"))


def compare(text: str, seed: int) -> str:
    """``ok``, or the code that both spellings fail with, or why there is one spelling only."""
    rng = random.Random(seed)
    try:
        python = to_python(text, rng)
    except NotPython:
        return "one spelling only"
    except ProgramError:
        return "syntax"
    try:
        want = load_text(text).algorithms
    except ProgramError as error:
        codes = {d.code for d in error.diagnostics}
        with pytest.raises((ProgramError, SyntaxError)) as caught:
            execute(python)
        if isinstance(caught.value, SyntaxError):
            return "Python's syntax"
        own = {"US0101"} if "->od" in text else set()  # in Python a string that is no spec of einsum is a size
        assert {d.code for d in caught.value.diagnostics} <= codes | own, f"{error}\n\n{python}\n\n{caught.value}"
        return caught.value.diagnostics[0].code
    namespace = execute(python)
    for name, algorithm in want.items():
        assert texts(namespace[name].algorithm) == texts(algorithm), python
    return "ok"


@pytest.mark.parametrize("text", CORPUS, ids=range(len(CORPUS)))
def test_the_programs_of_the_language(text: str) -> None:
    for seed in range(3):
        assert compare(text, seed) in ("ok", "one spelling only")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_programs_of_the_error_pages(page: Path) -> None:
    for number, text in enumerate(re.findall(r"```us *\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)):
        assert compare(text, number) in ("ok", page.stem, "one spelling only", "syntax")


def test_mutated_programs_in_both_spellings() -> None:
    seen = fuzz(
        "mutated programs in both spellings",
        200,
        7,
        lambda rng: retype(rng.choice(CORPUS), rng),
        lambda text: compare(text, len(text)),
        seconds=10,
    )
    forget()
    assert len(seen) > 10
    assert seen["ok"] > 20


# -- mutated Python ------------------------------------------------------------------------------------------------

PYTHON = [to_python(text, random.Random(n)) for n, text in enumerate(CORPUS)]
PYTHON.append(inspect.getsource(embedded_programs).partition("\n\n\n")[2])
TOKEN = re.compile(r"\d+\.\d+|\w+|\*\*|//|[<>=]=|[^\w\s]|\s+")
PIECES = (
    "( ) [ ] { } , : . ... + - * / // % ** @ < == = += -= := -> ; 0 1 2.5 1e3 9999999999999999999 'a' 'n' 'n-1' f'{x}' b'' # λ \\ if else "
    "elif for in while break continue pass return assert not and or is None True lambda def class with import global del yield await "
    "us us.real us.zeros us.param us.module us.given us.iterations us.objective us.key us.load us.stdlib.prox.soft range len print sum max "
    "grad real i32 bool K n m x A k zeros norm float np self __name__ __import__ 'real[n]' '(real[n])->real[n]' 1j"
).split() + ["\n", "\n    ", "\n        ", " ", "\t"]


EXPRESSIONS = (
    "1;-2;0.5;2j;True;None;'n';'n - 1';f'{x}';b'';...;(1, x);[1, x];{x};{x: 1};lambda v: v;x if k else y;(q := x);[v for v in range(n)];"
    "sum(x[i] for i in range(n));{v for v in x};x and y;not x;x < y < 1;x is None;x & y;~x;x @ A;x ** 2 ** -1;us;us.real;us.real['n'];"
    "us.zeros('n');us.param(K);us.module('(real[n]) -> real');us.iterations(3);us.stdlib.prox.soft(x, 1);us.nothing;print(x);range(3);np;"
    "__import__('os');self.x;x.T;A[0, ::2];A[..., None];A[()];A[:, x];*x;f(*x);f(**x);us.grad(f, x)(x);us.key;n;K;max;float(x);'(' * 3"
).split(";")
STATEMENTS = (
    "x = 1;x: us.real['n'] = 0;x: int;x += 1;x **= 2;x, y = y, x;a = b = x;for k in range(3): x = x;for k in x: pass;while x: pass;"
    "if x[0] > 0: x = -x;break;continue;pass;return x;return;assert x;assert x, 'no';K = us.iterations(2);w = us.param(n, init=1);"
    "f = us.module('(real[n]) -> real[n]');import os;del x;global x;raise x;'text';x"
).split(";")


class _Mutation(ast.NodeTransformer):
    """Replaces the expression with number ``expression`` and the statement with number ``statement``."""

    def __init__(self, rng: random.Random, expression: int, statement: int, others: list[ast.expr]) -> None:
        self.rng, self.left, self.others = rng, [expression, statement], others

    def visit(self, node: ast.AST) -> Any:
        kind = 0 if isinstance(node, ast.expr) else 1 if isinstance(node, ast.stmt) else None
        if kind is not None and not isinstance(node, (ast.FunctionDef, ast.ImportFrom, ast.ClassDef)):
            self.left[kind] -= 1
            if self.left[kind] == -1 and kind == 0:
                return self.rng.choice([*self.others, ast.Name(self.rng.choice(EXPRESSIONS), ast.Load())])
            if self.left[kind] == -1:
                new = ast.Expr(ast.Name(self.rng.choice(STATEMENTS), ast.Load()))
                return self.rng.choice([[node, node], [new, node], [node, new], [new]])
        return self.generic_visit(node)


def changed_python(text: str, rng: random.Random) -> str:
    """An expression and sometimes a statement replaced: texts that are Python, mostly."""
    tree = ast.parse(text)
    expressions = [n for n in ast.walk(tree) if isinstance(n, ast.expr)]
    others = [rng.choice([n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.expr)])]
    place = rng.randrange(len(expressions)) if rng.random() < 0.8 else -1
    statement = rng.randrange(len([n for n in ast.walk(tree) if isinstance(n, ast.stmt)])) if rng.random() < 0.4 else -1
    return ast.unparse(ast.fix_missing_locations(_Mutation(rng, place, statement, others).visit(tree)))


def mutated_python(text: str, rng: random.Random) -> str:
    """A few tokens or lines deleted, doubled, swapped, replaced or inserted, below the decorators' names."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        parts = TOKEN.findall(text) if rng.random() < 0.8 else text.splitlines(keepends=True)
        at, other = rng.randrange(len(parts)), rng.randrange(len(parts))
        match rng.randrange(5):
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
        text = "".join(parts)
    return text


def python_outcome(text: str) -> str:
    """``ok``, the code of the first error, or Python's own error; anything else goes through."""
    name = "<program>"
    try:
        namespace = execute(text, name)
    except ProgramError as error:
        assert error.diagnostics
        for diagnostic in error.diagnostics:
            assert diagnostic.span is not None
            assert diagnostic.render().startswith((f"{name}:", "<string>:"))
        return error.diagnostics[0].code
    except (SyntaxError, MemoryError) as error:
        return type(error).__name__
    except Exception as error:
        if isinstance(error, UnspoolError) or _is_pythons(error.__traceback__, name):  # of a decorator or a default, which run
            return "Python"
        raise
    for value in namespace.values():
        if isinstance(value, AlgorithmHandle):
            verify(value.algorithm.graph)
    return "ok"


def _is_pythons(trace: TracebackType | None, name: str) -> bool:
    """Was the error raised by the text itself, or by its asking a module or program for what it has not?"""
    frames = traceback.extract_tb(trace)
    return frames[-1].filename == name or (frames[-1].name == "__getattr__" and frames[-2].filename == name)


def fuzz_python(count: int, seed: int) -> Counter[str]:
    """Outcomes of mutated Python sources; see :func:`~tests.dsl.fuzzing.fuzz`."""

    def draw(rng: random.Random) -> str:
        return rng.choice((changed_python, changed_python, mutated_python))(rng.choice(PYTHON), rng)

    return fuzz("mutated Python sources", count, seed, draw, python_outcome, seconds=10)


def test_mutated_python() -> None:
    seen = fuzz_python(200, 2024)
    assert len(seen) > 20
    assert seen["ok"] > 5


@pytest.mark.slow
@pytest.mark.parametrize("part", range(50))
def test_50000_mutated_python_sources(part: int) -> None:
    assert len(fuzz_python(1000, part)) > 25


@settings(max_examples=60)
@given(text=program_texts(), seed=st.integers(0, 10**6))
def test_random_programs(text: str, seed: int) -> None:
    SEEN[compare(text, seed)] += 1


def test_what_was_covered() -> None:
    print(f"\n{sum(SEEN.values())} random programs in both spellings: {dict(sorted(SEEN.items()))}")
    forget()
    if not SEEN:
        pytest.skip("the test above ran in another process")
    assert SEEN["ok"] > 0.7 * sum(SEEN.values())
