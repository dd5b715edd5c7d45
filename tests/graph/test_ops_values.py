"""What the ops compute, against NumPy and SciPy; derivatives at kinks, as PyTorch has them; the words of typing errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special  # type: ignore[import-untyped]
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unspool.compiler.diagnostics import DataError
from unspool.compiler.graph.graph import Builder
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.ops.common import evaluate_attrs, real_twin
from unspool.compiler.graph.ops.table import OpTypeError, infer, lookup
from unspool.compiler.graph.types import At, Pick, Range, Size, Type

inf, nan = float("inf"), float("nan")
SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.5, 1.5, -2.5, 3.7, 30.0, -30.0, inf, -inf, nan])


def run(op: str, *xs: Any, **attrs: Any) -> Any:
    """The op's numerics on arrays."""
    function = lookup(op).numerics
    assert function is not None
    tensors = [x if isinstance(x, torch.Tensor) else torch.from_numpy(np.asarray(x)) for x in xs]
    out = function(torch, evaluate_attrs(attrs, {}), *tensors)
    return tuple(y.numpy() for y in out) if isinstance(out, tuple) else out.numpy()


UNARY: dict[str, Callable[[Any], Any]] = {
    "neg": np.negative, "abs": np.abs, "sign": np.sign, "sqrt": np.sqrt, "exp": np.exp, "log": np.log, "log1p": np.log1p,
    "expm1": np.expm1, "sin": np.sin, "cos": np.cos, "tan": np.tan, "tanh": np.tanh, "sigmoid": scipy.special.expit,
    "softplus": lambda x: np.logaddexp(x, 0), "relu": lambda x: np.maximum(x, 0), "erf": scipy.special.erf, "floor": np.floor,
    "ceil": np.ceil, "round": np.round, "isfinite": np.isfinite, "conj": np.conj, "re": np.real, "im": np.imag,
    "angle": np.angle,
}  # fmt: skip


@pytest.mark.parametrize("op", sorted(UNARY))
def test_unary_ops_agree_with_numpy_at_special_values(op: str) -> None:
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(run(op, SPECIAL), UNARY[op](SPECIAL), rtol=1e-12, atol=1e-300)


def test_gamma_functions_agree_with_scipy() -> None:
    x = np.linspace(0.1, 12, 40)
    np.testing.assert_allclose(run("lgamma", x), scipy.special.gammaln(x), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(run("digamma", x), scipy.special.digamma(x), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(run("polygamma1", x), scipy.special.polygamma(1, x), rtol=1e-10)
    np.testing.assert_allclose(run("polygamma", x, order=3), scipy.special.polygamma(3, x), rtol=1e-10)


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "floordiv": np.floor_divide, "mod": np.mod,
    "maximum": np.maximum, "minimum": np.minimum, "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal,
    "gt": np.greater, "ge": np.greater_equal,
}  # fmt: skip


@pytest.mark.parametrize("op", sorted(BINARY))
def test_binary_ops_agree_with_numpy_at_special_values(op: str) -> None:
    left = SPECIAL if op not in ("floordiv", "mod") else SPECIAL[np.isfinite(SPECIAL)]
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(run(op, left[:, None], left), BINARY[op](left[:, None], left))


@settings(max_examples=40, deadline=None)
@given(st.integers(-20, 20), st.integers(-20, 20).filter(bool), st.sampled_from([np.int64, np.float64]))
def test_floordiv_and_mod_are_pythons(a: int, b: int, dtype: type) -> None:
    assert run("floordiv", dtype(a), dtype(b)) == a // b
    assert run("mod", dtype(a), dtype(b)) == a % b


def test_integer_division_by_zero_is_an_error() -> None:
    with pytest.raises(DataError, match="integer division by zero"):
        run("mod", np.array([3]), np.array([0]))


def test_pow_and_where() -> None:
    np.testing.assert_array_equal(run("pow", [0.0, 2.0, -2.0], [0.0, 3.0, 2.0]), [1.0, 8.0, 4.0])
    np.testing.assert_array_equal(run("where", [True, False], [1.0, nan], [nan, 2.0]), [1.0, 2.0])


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(0, 10**6))
def test_reductions_agree_with_numpy(data: st.DataObject, seed: int) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    axes = tuple(data.draw(st.lists(st.integers(-len(shape), -1), unique=True, min_size=1)))
    x = np.random.default_rng(seed).integers(-2, 3, shape).astype(float)
    for op in ("sum", "prod", "max", "min"):
        np.testing.assert_allclose(run(op, x, axes=axes), getattr(np, op)(x, axis=axes))
    for op in ("any", "all"):
        np.testing.assert_array_equal(run(op, x > 0, axes=axes), getattr(np, op)(x > 0, axis=axes))
    for op in ("argmax", "argmin"):
        np.testing.assert_array_equal(run(op, x, axis=axes[0]), getattr(np, op)(x, axis=axes[0]))
    np.testing.assert_allclose(run("cumsum", x, axis=axes[0]), np.cumsum(x, axis=axes[0]))
    np.testing.assert_array_equal(run("sort", x, axis=axes[0]), np.sort(x, axis=axes[0]))
    np.testing.assert_array_equal(run("argsort", x, axis=axes[0]), np.argsort(x, axis=axes[0], kind="stable"))
    np.testing.assert_array_equal(run("argsort", x, axis=axes[0], descending=True), np.argsort(-x, axis=axes[0], kind="stable"))


def test_extrema_of_nan() -> None:
    x = np.array([1.0, nan, 3.0])
    assert np.isnan(run("max", x, axes=(-1,)))
    assert np.isnan(run("min", x, axes=(-1,)))
    assert run("argmax", x, axis=-1) == np.argmax(x)
    assert run("argmin", x, axis=-1) == np.argmin(x)


def test_topk_breaks_ties_to_the_lowest_index() -> None:
    x = np.array([[1.0, 3.0, 3.0, 2.0, 3.0], [5.0, 5.0, 0.0, 5.0, 5.0]])
    values, indices, mask = run("topk", x, count=Size.of(2), axis=-1)
    np.testing.assert_array_equal(values, [[3, 3], [5, 5]])
    np.testing.assert_array_equal(indices, [[1, 2], [0, 1]])
    np.testing.assert_array_equal(mask, [[0, 1, 1, 0, 0], [1, 1, 0, 0, 0]])
    np.testing.assert_array_equal(run("topk_mask", x, np.int64(2), axis=-1), mask)
    with pytest.raises(DataError, match="topk cannot take 6 of 5"):
        run("topk_mask", x, np.int64(6), axis=-1)


def test_convolutions_agree_with_torch() -> None:
    x, w = torch.randn(3, 2, 6, 5), torch.randn(4, 2, 3, 2)
    want = torch.nn.functional.conv2d(x, w, stride=(2, 1), padding=1)
    np.testing.assert_array_equal(run("conv2d", x, w, stride=(2, 1), padding=1), want.numpy())
    types = (Type.of("f32", "b", 2, "h", "w"), Type.of("f32", "o", 2, 3, 2))
    assert str(infer("conv2d", types, {"stride": (2, 1), "padding": 1})[0]) == "f32[b, o, ((h - 1) // 2) + 1, w + 1]"


def test_fft_agrees_with_numpy() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 5)) + 1j
    np.testing.assert_allclose(run("fft", x, axis=-2), np.fft.fft(x, axis=-2), atol=1e-12)
    np.testing.assert_allclose(run("ifft2", x), np.fft.ifft2(x), atol=1e-12)
    np.testing.assert_allclose(run("fftshift", x, axes=(-1,)), np.fft.fftshift(x, axes=-1))
    np.testing.assert_allclose(run("fftshift", x, axes=(-1,), inverse=True), np.fft.ifftshift(x, axes=-1))


# -- indexing against NumPy ------------------------------------------------------------------------------------------


def at(index: int) -> At:
    return At(Size.of(index))


def span(start: int, size: int, step: int = 1) -> Range:
    return Range(Size.of(start), Size.of(size), step)


X = np.arange(60.0).reshape(3, 4, 5)
INDEXINGS: list[tuple[tuple[Any, ...], tuple[Any, ...], Any]] = [
    ((at(2), span(3, 4, -1), span(1, 2, 2)), (), np.s_[2, ::-1, 1:4:2]),
    ((Pick(0), span(0, 4), span(0, 0)), (1,), np.s_[1, :, 0:0]),
    ((span(0, 3), Pick(0), Pick(1)), ([0, 3, 3], [4, 0, 0]), np.s_[:, [0, 3, 3], [4, 0, 0]]),
    ((span(1, 2), Pick(0), span(4, 5, -1)), ([3, 1],), np.s_[1:3, [3, 1], ::-1]),
    ((Pick(1), Pick(0), at(0)), ([[1], [2]], [0, 1]), np.s_[[0, 1], [[1], [2]], 0]),
]


@pytest.mark.parametrize(("items", "picks", "index"), INDEXINGS)
def test_slices_and_updates_agree_with_numpy(items: Any, picks: Any, index: Any) -> None:
    want = X[index]
    np.testing.assert_array_equal(run("slice", X, *picks, items=items), want)
    value = np.random.default_rng(0).standard_normal(want.shape)
    added = X.copy()
    np.add.at(added, index, value)
    np.testing.assert_array_equal(run("update", X, value, *picks, items=items, mode="add"), added)
    written = X.copy()
    written[index] = 7.0
    np.testing.assert_array_equal(run("update", X, 7.0, *picks, items=items, mode="set"), written)


def test_picked_axes_stand_where_the_first_pick_stood() -> None:
    items: tuple[Any, ...] = (Pick(0), span(0, 4), Pick(1))
    picked = run("slice", X, [2, 0], [4, 1], items=items)
    np.testing.assert_array_equal(picked, [X[2, :, 4], X[0, :, 1]])
    items = (span(0, 3), Pick(0), at(2))
    np.testing.assert_array_equal(run("slice", X, [3, 3, 0], items=items), X[:, [3, 3, 0], 2])


@pytest.mark.parametrize("item", [at(3), at(-1), span(2, 2), span(1, 3, -1), Pick(0)])
def test_an_index_out_of_range_is_an_error(item: Any) -> None:
    picks = [np.array([0, -1])] if isinstance(item, Pick) else []
    with pytest.raises(DataError, match="out of range for an axis of size 3"):
        run("slice", np.zeros(3), *picks, items=(item,))


def test_take_along_checks_bounds() -> None:
    with pytest.raises(DataError, match="index 4 is out of range"):
        run("take_along", np.zeros(3), np.array([1, 4]), axis=-1)


# -- kinks -----------------------------------------------------------------------------------------------------------


def slope(op: str, *points: float, **attrs: Any) -> list[float]:
    """Derivatives in each operand, from the row's own adjoint."""
    b = Builder("slope")
    xs = [b.input(f"x{n}", Type.of("f64")) for n in range(len(points))]
    y = b.op(op, *xs, **attrs)
    one = b.op("const", value=1.0, dtype="f64")
    adjoint = lookup(op).adjoint
    assert adjoint is not None
    found = adjoint(b, b._nodes[-2], (one,), lambda n: xs[n], lambda n: y)
    graph = b.finish([v for v in found if v is not None])
    return [float(v) for v in interpret(graph, [torch.tensor(p, dtype=torch.float64) for p in points], {})]


def test_derivatives_at_kinks_are_torchs() -> None:
    assert slope("abs", 0.0) == [0.0]
    assert slope("relu", 0.0) == [0.0]
    assert slope("root", 0.0) == [0.0]
    assert slope("sqrt", 0.0) == [inf]
    assert slope("maximum", 1.0, 1.0) == [0.5, 0.5]
    assert slope("minimum", 1.0, 2.0) == [1.0, 0.0]
    assert slope("pow", 0.0, 2.0) == [0.0, 0.0]
    assert lookup("sign").adjoint is None


def test_tied_maxima_share_the_derivative() -> None:
    b = Builder("g")
    x = b.input("x", Type.of("f64", 4))
    y = b.op("max", x, axes=(-1,))
    adjoint = lookup("max").adjoint
    assert adjoint is not None
    (g,) = adjoint(b, b._nodes[-1], (b.op("const", value=1.0, dtype="f64"),), lambda n: x, lambda n: y)
    assert g is not None
    (found,) = interpret(b.finish([g]), [torch.tensor([1.0, 3.0, 3.0, 0.0], dtype=torch.float64)], {})
    assert found.tolist() == [0.0, 0.5, 0.5, 0.0]


# -- typing ----------------------------------------------------------------------------------------------------------

V, M = Type.of("real", "m"), Type.of("real", "m", "n")
ERRORS: list[tuple[str, tuple[Type, ...], dict[str, Any], str]] = [
    ("add", (V, Type.of("real", "n")), {}, r"add cannot combine real\[m\] and real\[n\]: m and n are different sizes"),
    ("add", (V, V.with_dtype("i64")), {}, r"different dtypes: real\[m\] and i64\[m\]"),
    ("add", (V.with_dtype("bool"),) * 2, {}, r"add needs numbers, not bool\[m\]; cast first"),
    ("exp", (V.with_dtype("i32"),), {}, r"exp needs floating-point or complex values, not i32\[m\]"),
    ("lt", (V.with_dtype("complex"),) * 2, {}, r"lt needs real, integer or bool values, not complex\[m\]"),
    ("exp", (V, V), {}, r"exp takes 1 operand, not 2"),
    ("where", (V, V, V), {}, r"where needs bool values, not real\[m\]"),
    ("einsum", (M, Type.of("real", "m")), {"spec": "ij,j->i"}, r"index j has the sizes n and m"),
    ("einsum", (M,), {"spec": "ii->i"}, r"repeats an index"),
    ("einsum", (M,), {"spec": "ijk->i"}, r"needs 3 axes"),
    ("sum", (M,), {"axes": (-3,)}, r"sum has no axis -3 in real\[m, n\]"),
    ("sum", (M,), {"axes": (-1, -1)}, r"names an axis of real\[m, n\] twice"),
    ("reshape", (M,), {"shape": (Size.of("m"),)}, r"m \* n elements do not fit m"),
    ("broadcast", (M,), {"shape": (Size.of("m"), Size.of("m"))}, r"n and m are different sizes"),
    ("broadcast", (M,), {"shape": (Size.of("n"),)}, r"has fewer axes"),
    ("permute", (M,), {"axes": (-1,)}, r"needs all its axes"),
    ("concat", (M, M.with_shape("m")), {"axis": -1}, r"equal rank"),
    ("concat", (M, M.with_shape("k", "n")), {"axis": -1}, r"must be equal, but are m and k"),
    ("slice", (M,), {"items": (At(Size.of(0)),)}, r"needs 2 indices, not 1"),
    ("slice", (V, V), {"items": (Pick(0),)}, r"slice needs integers, not real\[m\]"),
    ("update", (V, V.with_dtype("i64")), {"items": (Range(Size.of(0), Size.of("m")),), "mode": "set"}, r"dtypes differ"),
    ("update", (V, Type.of("real", "n")), {"items": (Range(Size.of(0), Size.of("m")),), "mode": "set"}, r"m and n are different"),
    ("inv", (M,), {}, r"the last two sizes must be equal, but are m and n"),
    ("solve", (M.with_shape("n", "n"), V), {}, r"must be equal, but are n and m"),
    ("det", (V,), {}, r"at least 2 axes, not real\[m\]"),
    ("fft", (V,), {"axis": -1}, r"fft needs complex values, not real\[m\]"),
    ("conv1d", (M, Type.of("real", "o", "c", 3)), {}, r"channels of the input and of the weights must be equal, but are m and c"),
    ("topk", (Type.of("real", 3),), {"count": Size.of(4), "axis": -1}, r"cannot take 4 of 3"),
    ("cast", (Type.of("key"),), {"dtype": "i64"}, r"a random key is no number"),
    ("random_normal", (Type.of("i64"),), {"shape": (), "dtype": "real"}, r"needs a random key"),
    ("if", (V.with_dtype("bool"),), {"types": ()}, r"if needs one bool, not bool\[m\]"),
]


@pytest.mark.parametrize(("op", "types", "attrs", "message"), ERRORS)
def test_typing_errors_name_what_does_not_fit(op: str, types: Any, attrs: Any, message: str) -> None:
    with pytest.raises(OpTypeError, match=message):
        infer(op, types, attrs)


def test_symbolic_types() -> None:
    assert str(infer("add", (M, Type.of("real", 1, "n")), {})[0]) == "real[m, n]"
    assert str(infer("einsum", (M, Type.of("real", "n", "k")), {"spec": "ij,jk->ik"})[0]) == "real[m, k]"
    found = [str(t) for t in infer("svd", (M.with_dtype("complex"),), {})]
    assert found == ["complex[m, min(m, n)]", "real[min(m, n)]", "complex[min(m, n), n]"]
    assert str(infer("abs", (M.with_dtype("complex"),), {})[0]) == "real[m, n]"
    assert real_twin("c64") == "f32"
