"""Random numbers in kernels: the same bits as the interpreter's, in vector and ordinary loops."""

from __future__ import annotations

import pytest
import torch

from unspool.compiler.graph.ops.table import lookup
from unspool.compiler.loops.tree import Call, Expr, FromInt, Literal

from .trees import TORCH, array, function, index, load, loop, run, store

pytestmark = pytest.mark.usefixtures("backend")
TVM_LATER = {"test_draws_are_equal_bit_for_bit": ["serial"]}

COUNT = 5000
KEYS = [0, 1, -1, 123456789012345678, -(2**63)]
DRAWS = [("random_uniform", "f32"), ("random_uniform", "f64"), ("random_normal", "f32"), ("random_normal", "f64"),
         ("random_rademacher", "f32"), ("random_rademacher", "f64"), ("random_rademacher", "i8"), ("random_rademacher", "i64")]  # fmt: skip


def expected(name: str, key: torch.Tensor, *rest: torch.Tensor, **attrs: object) -> torch.Tensor:
    numerics = lookup(name).numerics
    assert numerics is not None
    return numerics(torch, attrs, key, *rest)  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["vector", "serial"])
def test_draws_are_equal_bit_for_bit(kind: str) -> None:
    """All distributions, several keys."""
    arrays, body = [array("key", "key")], []
    counter = FromInt(index("i"), "i64")
    for n, (name, dtype) in enumerate(DRAWS):
        arrays.append(array(f"o{n}", dtype, COUNT, scope="output"))
        body.append(loop("i", 0, COUNT, store(f"o{n}", ["i"], Call(name, (load("key", dtype="key"), counter), dtype)), kind=kind))
    f = function("draws", arrays, *body)
    for key in map(torch.tensor, KEYS):
        found = [torch.empty(COUNT, dtype=TORCH[d]) for _, d in DRAWS]
        run(f, [key], found)
        for (name, dtype), values in zip(DRAWS, found, strict=True):
            assert torch.equal(values, expected(name, key, shape=(COUNT,), dtype=dtype)), f"{name} {dtype}"


@pytest.mark.parametrize("dtype", ["i8", "i32", "i64"])
def test_integers_and_folded_keys(dtype: str) -> None:
    """randint with bounds from data, from a key folded twice."""
    key: Expr = Call("fold", (load("key", dtype="key"), load("step", dtype="i64"), Literal(7, "i32")), "key")
    low, high = (load(n, dtype=dtype) for n in ("low", "high"))
    value = Call("random_randint", (key, FromInt(index("i"), "i64"), low, high), dtype)
    arrays = [array("key", "key"), array("step", "i64"), array("low", dtype), array("high", dtype), array("o", dtype, 300, scope="output"),
              array("folded", "key", scope="output")]  # fmt: skip
    f = function("integers", arrays, store("folded", [], key), loop("i", 0, 300, store("o", ["i"], value), kind="vector"))
    given, step = torch.tensor(42), torch.tensor(-3)
    bounds = [torch.tensor(v, dtype=TORCH[dtype]) for v in (-5, 100)]
    found, folded = torch.empty(300, dtype=TORCH[dtype]), torch.empty((), dtype=torch.int64)
    run(f, [given, step, *bounds], [found, folded])
    wanted = expected("fold", given, step, torch.tensor(7))
    assert folded == wanted
    assert torch.equal(found, expected("random_randint", wanted, *bounds, shape=(300,), dtype=dtype))
