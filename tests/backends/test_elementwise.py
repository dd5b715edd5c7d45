"""Every elementwise op and dtype of the op table, on ordinary and on special values, against the interpreter's numerics."""

from __future__ import annotations

import platform
import re
from math import inf, nan

import pytest
import torch

from unspool.compiler.diagnostics import CompileError, DataError
from unspool.compiler.graph.ops.table import OPS, OpTypeError, infer, lookup
from unspool.compiler.graph.types import Type
from unspool.compiler.loops.tree import Call, Literal

from .trees import TORCH, array, build, function, load, loop, random, run, store, target_of

pytestmark = pytest.mark.usefixtures("backend")
#: What another kind of loop, or another power, compiles too; tvm prints both kinds alike.
TVM_LATER = {
    "test_every_op": ["serial", "i8", "i16", "c64"],
    "test_literal_powers": [-2.0, -1.0, 0.5, 1.0, 3.0],
    "test_casts": ["i8", "i16", "i64", "f64", "c64"],
}

lookup("add")
OPS_TESTED = sorted(n for n, o in OPS.items() if o.family == "elementwise" and not o.library and n != "cast")
DTYPES = ["f32", "f64", "c64", "c128", "i8", "i16", "i32", "i64", "bool"]
SPECIAL = {
    "real": [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        1.5,
        2.5,
        -2.5,
        3.0,
        20.5,
        -30.0,
        1e-6,
        -1e-6,
        100.0,
        -100.0,
        inf,
        -inf,
        nan,
        1e10,
        7.25,
        -3.0,
        2.0,
    ],
    "integer": [0, 1, -1, 2, -2, 3, -3, 7, -7, 100, -100, 127, -128, 5, -5, 11],
}
ARITY = {"where": 3, "add": 2, "sub": 2, "mul": 2, "div": 2, "floordiv": 2, "mod": 2, "pow": 2, "maximum": 2, "minimum": 2, "eq": 2, "ne": 2,
         "lt": 2, "le": 2, "gt": 2, "ge": 2, "and": 2, "or": 2}  # fmt: skip


def values(dtype: str, position: int, count: int) -> torch.Tensor:
    """Special values in another order for each operand, then random ones."""
    if dtype == "bool":
        return random("bool", count, seed=position)
    if dtype.startswith("i"):
        base = torch.tensor(SPECIAL["integer"]).to(TORCH[dtype])
        return torch.cat([base.roll(position * 3), random(dtype, count - len(base), seed=position)])
    real = torch.tensor(SPECIAL["real"], dtype=torch.float64).roll(position * 5)
    if dtype.startswith("f"):
        return torch.cat([real.to(TORCH[dtype]), 3 * random(dtype, count - len(real), seed=position)])
    finite = real[real.isfinite() & (real.abs() < 30)]
    base = torch.complex(finite, finite.roll(3)).to(TORCH[dtype])
    return torch.cat([base, random(dtype, count - len(base), seed=position)])


def operand_dtypes(name: str, dtype: str) -> list[str]:
    return ["bool", dtype, dtype] if name == "where" else [dtype] * ARITY.get(name, 1)


def typed(name: str, dtype: str) -> str | None:
    """The result dtype, or None if the op does not take the dtype."""
    try:
        return infer(name, tuple(Type.of(d, "n") for d in operand_dtypes(name, dtype)), {})[0].dtype
    except OpTypeError:
        return None


CASES = [(n, d) for n in OPS_TESTED for d in DTYPES if typed(n, d)]


def assert_same(found: torch.Tensor, expected: torch.Tensor, tolerance: float, name: str) -> None:
    assert found.dtype == expected.dtype
    if found.is_complex():
        assert_same(torch.view_as_real(found), torch.view_as_real(expected.resolve_conj()), tolerance, name)
        return
    if not found.is_floating_point():
        assert torch.equal(found, expected), name
        return
    strange = found.isnan() != expected.isnan()
    assert not strange.any(), f"{name}: {found[strange]}, not {expected[strange]}"
    strange = found.isinf() != expected.isinf()
    assert not strange.any(), f"{name}: {found[strange]}, not {expected[strange]}"
    finite = expected.isfinite()
    error = (found[finite] - expected[finite]).abs() / expected[finite].abs().clamp(min=1)
    worst = int(error.argmax())
    assert error[worst] <= tolerance, f"{name}: {found[finite][worst]!r}, not {expected[finite][worst]!r}"
    infinite = expected.isinf()
    assert torch.equal(found[infinite], expected[infinite])


#: Serial loops call what test_numba_math.py, test_numba_complex.py and test_numba_integer.py call by itself.
NUMBA_LATER = {"test_every_op": ("serial", "i8", "i16", "i32", "c64")}


@pytest.mark.parametrize("kind", ["vector", "serial"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_op(dtype: str, kind: str) -> None:
    """All ops of a dtype as one kernel, in vector and in ordinary loops."""
    count = 61
    names = [n for n, d in CASES if d == dtype]
    operands = {(p, d): values(d, p, count) for p in range(3) for d in {dtype, "bool"}}
    if dtype.startswith("i"):  # division by zero is a failed check, powers are not negative
        operands[1, dtype] = torch.where(operands[1, dtype] == 0, 3, operands[1, dtype]).to(TORCH[dtype])
        operands[2, dtype] = operands[1, dtype].abs() % 6
    keys = list(operands)
    arrays = [array(f"in{p}_{d}", d, count) for p, d in keys]
    body, outputs, expected = [], [], []
    for name in names:
        places = list(range(ARITY.get(name, 1)))
        if name == "pow" and dtype.startswith("i"):
            places = [0, 2]
        wanted = operand_dtypes(name, dtype)
        result = typed(name, dtype)
        assert result is not None
        args = tuple(load(f"in{p}_{d}", "i", dtype=d) for p, d in zip(places, wanted, strict=True))
        body.append(loop("i", 0, count, store(f"out_{name}", ["i"], Call(name, args, result)), kind=kind))
        arrays.append(array(f"out_{name}", result, count, scope="output"))
        outputs.append(torch.empty(count, dtype=TORCH[result]))
        numerics = OPS[name].numerics
        assert numerics is not None
        expected.append(numerics(torch, {}, *(operands[p, d] for p, d in zip(places, wanted, strict=True))))
    run(function("every_op", arrays, *body), [operands[k] for k in keys], outputs)
    tolerance = {"f32": 2e-6, "c64": 4e-6, "f64": 1e-13, "c128": 1e-13}.get(dtype, 0)
    for name, found, wanted in zip(names, outputs, expected, strict=True):
        bound = tolerance
        if name == "pow" and dtype in ("f32", "c64"):
            bound = 2e-5
        assert_same(found, wanted, bound, f"{name} {dtype}")


def test_the_table_is_covered() -> None:
    """Every elementwise op is compiled for at least one dtype."""
    assert {n for n, _ in CASES} == set(OPS_TESTED)


@pytest.mark.parametrize("source", DTYPES)
def test_casts(source: str) -> None:
    """From every dtype to every dtype, as PyTorch (values that fit)."""
    x = values(source, 0, 40)
    if not x.is_complex():
        x = x[x.isfinite()] if x.is_floating_point() else x
    x = x[x.abs() < 100] if source != "bool" else x
    arrays, body, outputs = [array("x", source, len(x))], [], []
    for target in DTYPES:
        arrays.append(array(f"to_{target}", target, len(x), scope="output"))
        body.append(
            loop(
                "i", 0, len(x), store(f"to_{target}", ["i"], Call("cast", (load("x", "i", dtype=source),), target)), kind="vector"
            )
        )
        outputs.append(torch.empty(len(x), dtype=TORCH[target]))
    run(function("casts", arrays, *body), [x], outputs)
    cast = OPS["cast"].numerics
    assert cast is not None
    for target, found in zip(DTYPES, outputs, strict=True):
        assert torch.equal(found, cast(torch, {"dtype": target}, x)), f"{source} to {target}"


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("exponent", [-2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 3.0, 2.7])
def test_literal_powers(dtype: str, exponent: float) -> None:
    """Powers that need no ``pow`` agree with it."""
    x = values(dtype, 0, 40)
    found = torch.empty_like(x)
    value = Call("pow", (load("x", "i", dtype=dtype), Literal(exponent, dtype)), dtype)
    arrays = [array("x", dtype, 40), array("y", dtype, 40, scope="output")]
    run(function("powers", arrays, loop("i", 0, 40, store("y", ["i"], value), kind="vector")), [x], [found])
    assert_same(found, torch.pow(x, exponent), 1e-6 if dtype == "f32" else 1e-14, f"power {exponent}")


@pytest.mark.parametrize("name", ["lgamma", "digamma", "polygamma1"])
def test_gamma_family_is_accurate(name: str) -> None:
    """Against mpmath: 1e-12 in double, relative to values of at least 1."""
    mpmath = pytest.importorskip("mpmath")
    exact = {
        "lgamma": lambda v: mpmath.log(abs(mpmath.gamma(v))),
        "digamma": mpmath.digamma,
        "polygamma1": lambda v: mpmath.psi(1, v),
    }[name]
    x = torch.cat([torch.linspace(0.01, 40, 300), torch.linspace(-20.03, -0.02, 200), torch.tensor([1e3, 1e8, 1e-9])]).double()
    x64, x32 = torch.empty_like(x), torch.empty(len(x))
    arrays = [
        array("x", "f64", len(x)),
        array("w", "f32", len(x)),
        array("y", "f64", len(x), scope="output"),
        array("z", "f32", len(x), scope="output"),
    ]
    body = [
        loop("i", 0, len(x), store("y", ["i"], Call(name, (load("x", "i", dtype="f64"),), "f64")), kind="vector"),
        loop("i", 0, len(x), store("z", ["i"], Call(name, (load("w", "i", dtype="f32"),), "f32")), kind="vector"),
    ]
    run(function("gammas", arrays, *body), [x, x.float()], [x64, x32])
    with mpmath.workdps(40):
        for argument, double, single in zip(x, x64, x32, strict=True):
            truth = float(exact(mpmath.mpf(argument.item())))
            assert abs(double.item() - truth) <= 1e-12 * max(1, abs(truth)), f"{name}({argument.item()})"
            truth = float(exact(mpmath.mpf(argument.float().item())))
            assert abs(single.item() - truth) <= 1e-6 * max(1, abs(truth)), f"{name}({argument.item()}) in single"


def test_integer_division_by_zero_is_an_error() -> None:
    """A zero divisor is reported, and does not kill the process."""
    value = Call("floordiv", (load("a", "i", dtype="i32"), load("b", "i", dtype="i32")), "i32")
    arrays = [array("a", "i32", 4), array("b", "i32", 4), array("c", "i32", 4, scope="output")]
    f = function("divide", arrays, loop("i", 0, 4, store("c", ["i"], value)))
    out = torch.empty(4, dtype=torch.int32)
    a = torch.tensor([7, -7, -(2**31), 3], dtype=torch.int32)
    run(f, [a, torch.tensor([2, 2, -1, -2], dtype=torch.int32)], [out])
    assert out.tolist() == [3, -4, -(2**31), -2]
    with pytest.raises(DataError, match="division by zero"):
        run(f, [a, torch.tensor([2, 0, 1, 1], dtype=torch.int32)], [out])


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_half_precision_is_refused_with_a_reason(dtype: str) -> None:
    """A target holds half precision as storage, whose sums and products are f32's, or not at all."""
    arrays = [array("x", dtype, 4), array("y", dtype, 4, scope="output")]
    reason = "f16 and bf16 are storage" if target_of().supports(dtype) else f"holds no {dtype}"
    x = load("x", "i", dtype=dtype)
    for value, reduce in ((Call("add", (x, x), dtype), ""), (x, "add"), (Call("lt", (x, x), "bool"), "")):
        with pytest.raises(CompileError, match=reason):
            target_of().emit(function("half", arrays, loop("i", 0, 4, store("y", ["i"], value, reduce))))


def test_an_unknown_op_is_refused() -> None:
    """The message names op and dtype."""
    body = loop("i", 0, 4, store("y", ["i"], Call("polygamma", (load("x", "i"),), "f32")))
    with pytest.raises(CompileError, match="no polygamma of f32"):
        target_of().emit(function("f", [array("x", "f32", 4), array("y", "f32", 4, scope="output")], body))


@pytest.mark.skipif(platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc", reason="libmvec is glibc's on x86")
def test_vector_loops_call_vector_functions() -> None:
    """exp, and sin with cos of one value, are computed a vector at a time."""
    x = load("x", "i")
    value = Call(
        "add", (Call("exp", (x,), "f32"), Call("mul", (Call("sin", (x,), "f32"), Call("cos", (x,), "f32")), "f32")), "f32"
    )
    f = function(
        "vectors",
        [array("x", "f32", 64), array("o", "f32", 64, scope="output")],
        loop("i", 0, 64, store("o", ["i"], value), kind="vector"),
    )
    binary = build(f, target="c").path.read_bytes()
    for name in (b"expf", b"sinf", b"cosf"):
        assert re.search(rb"_ZGV[a-e]N\d+v_" + name, binary), name
