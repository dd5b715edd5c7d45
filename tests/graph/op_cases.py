"""Random uses of every op of the table: operand types, attributes and values, chosen by hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import strategies as st

from unspool.compiler.graph.ops.common import torch_dtype
from unspool.compiler.graph.types import At, Pick, Range, Size, Type, is_complex, is_floating, is_integer

Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass
class Case:
    """One use of an op. ``values`` makes operand ``n`` for a shape (that of one problem, or with a batch axis)."""

    op: str
    types: list[Type]
    attrs: dict[str, Any] = field(default_factory=dict)
    values: Callable[[int, tuple[int, ...], torch.Generator], torch.Tensor] | None = None

    def tensor(self, n: int, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        """Values for operand ``n``."""
        if self.values is not None:
            return self.values(n, shape, generator)
        return plain(self.types[n].dtype, shape, generator)


def plain(dtype: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Values of a dtype, none near a kink."""
    made = torch_dtype(torch, dtype)
    if dtype == "key":
        return torch.randint(-(2**62), 2**62, shape, generator=generator)
    if dtype == "bool":
        return torch.rand(shape, generator=generator) < 0.5
    if is_integer(dtype):
        return torch.randint(-5, 6, shape, generator=generator).to(made)
    return torch.randn(shape, generator=generator, dtype=torch.complex128 if is_complex(dtype) else torch.float64).to(made)


def _positive(dtype: str) -> Callable[[int, tuple[int, ...], torch.Generator], torch.Tensor]:
    return lambda n, shape, g: plain(dtype, shape, g).abs().to(torch_dtype(torch, dtype)) + 0.2


def _kinked(n: int, shape: tuple[int, ...], g: torch.Generator) -> torch.Tensor:
    return torch.randint(-1, 2, shape, generator=g).double()


def _type(dtype: str, shape: tuple[int, ...]) -> Type:
    return Type.of(dtype, *shape)


SHAPE = st.lists(st.integers(1, 4), min_size=0, max_size=3).map(tuple)
FULL = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


@st.composite
def broadcasting(draw: st.DrawFn, count: int) -> list[tuple[int, ...]]:
    """Shapes that broadcast together."""
    full = draw(SHAPE)
    out = []
    for _ in range(count):
        shape = tuple(1 if draw(st.booleans()) and draw(st.booleans()) else s for s in full)
        out.append(shape[draw(st.integers(0, len(shape))) if draw(st.booleans()) else 0 :])
    return out


def _some_axes(draw: Draw, rank: int) -> tuple[int, ...]:
    return tuple(draw(st.lists(st.integers(-rank, -1), unique=True, min_size=1))) if rank else ()


Maker = Callable[[Draw], Case]
CASES: dict[str, Maker] = {}


def _unary(names: str, *dtypes: str, positive: bool = False, kinked: bool = False) -> None:
    for name in names.split():

        def make(draw: Draw, name: str = name) -> Case:
            dtype = draw(st.sampled_from(dtypes))
            values = _positive(dtype) if positive else None
            if kinked and dtype == "f64" and draw(st.booleans()):
                values = _kinked
            attrs = {"order": 2} if name == "polygamma" else {}
            return Case(name, [_type(dtype, draw(SHAPE))], attrs, values)

        CASES[name] = make


_unary("neg abs conj re im isfinite", "f64", "c128", "i64", kinked=True)
_unary("sign relu", "f64", "i32", kinked=True)
_unary("exp sin cos tan tanh sigmoid expm1", "f64", "c128")
_unary("sqrt log log1p", "f64", "c128", positive=True)
_unary("root", "f64", positive=True)
_unary("lgamma digamma polygamma1 polygamma", "f64", positive=True)
_unary("softplus erf floor ceil round", "f64", "f32")
_unary("angle", "c128", "f64")
_unary("not", "bool")
_unary("stop_gradient", "f64", "i64", "bool")


def _cast(draw: Draw) -> Case:
    source, target = (draw(st.sampled_from(["f64", "f32", "c128", "c64", "i64", "bool"])) for _ in range(2))
    return Case("cast", [_type(source, draw(SHAPE))], {"dtype": target})


CASES["cast"] = _cast


def _binary(names: str, *dtypes: str, values: Any = None) -> None:
    for name in names.split():

        def make(draw: Draw, name: str = name) -> Case:
            dtype = draw(st.sampled_from(dtypes))
            chosen = values(dtype) if values else None
            if name in ("maximum", "minimum", "eq", "lt", "ge") and dtype == "f64" and draw(st.booleans()):
                chosen = _kinked
            return Case(name, [_type(dtype, s) for s in draw(broadcasting(2))], {}, chosen)

        CASES[name] = make


_binary("add sub mul", "f64", "c128", "i64")
_binary("div", "f64", "c128", values=_positive)
_binary("floordiv", "f64", "i64", values=lambda d: _divisor(d))
_binary("mod", "f64", "i64", values=lambda d: _divisor(d))
_binary("pow", "f64", values=_positive)
_binary("maximum minimum", "f64", "i32")
_binary("lt le gt ge", "f64", "i64", "bool")
_binary("eq ne", "f64", "c64", "i64", "bool")
_binary("and or", "bool")


def _divisor(dtype: str) -> Callable[[int, tuple[int, ...], torch.Generator], torch.Tensor]:
    def values(n: int, shape: tuple[int, ...], g: torch.Generator) -> torch.Tensor:
        x = plain(dtype, shape, g)
        return x if n == 0 else torch.where(x == 0, torch.ones_like(x), x)

    return values


def _where(draw: Draw) -> Case:
    c, a, b = draw(broadcasting(3))
    dtype = draw(st.sampled_from(["f64", "c128", "i32"]))
    return Case("where", [_type("bool", c), _type(dtype, a), _type(dtype, b)])


CASES["where"] = _where

# -- constructors, views ---------------------------------------------------------------------------------------------


def _const(draw: Draw) -> Case:
    dtype, value = draw(st.sampled_from([("f64", 0.1), ("i32", 3), ("bool", True), ("c64", 1 + 2j)]))
    return Case("const", [], {"value": value, "dtype": dtype})


def _broadcast(draw: Draw) -> Case:
    full = draw(SHAPE)
    inner = tuple(1 if draw(st.booleans()) else s for s in full)[draw(st.integers(0, len(full))) :]
    return Case("broadcast", [_type("f64", inner)], {"shape": tuple(map(Size.of, full))})


def _reshape(draw: Draw) -> Case:
    shape = draw(FULL)
    new = draw(st.sampled_from([(-1,), (1, -1), shape[::-1], (*shape, 1)]))
    total = 1
    for s in shape:
        total *= s
    return Case("reshape", [_type("f64", shape)], {"shape": tuple(Size.of(total if s == -1 else s) for s in new)})


def _permute(draw: Draw) -> Case:
    shape = draw(FULL)
    return Case("permute", [_type("c128", shape)], {"axes": tuple(draw(st.permutations(range(-len(shape), 0))))})


def _flip(draw: Draw) -> Case:
    shape = draw(FULL)
    return Case("flip", [_type("f64", shape)], {"axes": _some_axes(draw, len(shape))})


def _concat(draw: Draw) -> Case:
    shape = draw(FULL)
    axis = draw(st.integers(-len(shape), -1))
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        part = list(shape)
        part[axis] = draw(st.integers(1, 3))
        parts.append(_type("f64", tuple(part)))
    return Case("concat", parts, {"axis": axis})


def _diagonal(draw: Draw) -> Case:
    n = draw(st.integers(1, 4))
    return Case("diagonal", [_type("c128", (*draw(SHAPE)[:1], n, n))])


CASES["const"] = _const
CASES["size_value"] = lambda draw: Case("size_value", [], {"value": Size.of(draw(st.integers(-3, 9))), "dtype": "f64"})
CASES["iota"] = lambda draw: Case("iota", [], {"size": Size.of(draw(st.integers(1, 5))), "dtype": "i64"})
CASES |= {
    "broadcast": _broadcast,
    "reshape": _reshape,
    "permute": _permute,
    "flip": _flip,
    "concat": _concat,
    "diagonal": _diagonal,
}


def _items(draw: Draw, shape: tuple[int, ...]) -> tuple[tuple[Any, ...], list[tuple[int, ...]], list[int]]:
    """Items for an array, the shapes of picked operands, and the axis size each must stay below."""
    picks: list[tuple[int, ...]] = []
    limits: list[int] = []
    items: list[Any] = []
    length = draw(st.integers(1, 3))
    for n in shape:
        kind = draw(st.sampled_from(["at", "range", "range", "pick"]))
        if kind == "at":
            items.append(At(Size.of(draw(st.integers(0, n - 1)))))
        elif kind == "pick":
            items.append(Pick(len(picks)))
            picks.append(draw(st.sampled_from([(), (length,)])))
            limits.append(n)
        else:
            step = draw(st.sampled_from([1, 1, 2, -1, -2]))
            size = draw(st.integers(0, (n - 1) // abs(step) + 1))
            reach = max(size - 1, 0) * abs(step)
            low = draw(st.integers(0, n - 1 - reach))
            items.append(Range(Size.of(low if step > 0 else low + reach), Size.of(size), step))
    return tuple(items), picks, limits


def _below(limits: list[int], skip: int) -> Callable[[int, tuple[int, ...], torch.Generator], torch.Tensor]:
    def values(n: int, shape: tuple[int, ...], g: torch.Generator) -> torch.Tensor:
        if n < skip:
            return plain("f64", shape, g)
        return torch.randint(0, limits[n - skip], shape, generator=g)

    return values


def _slice(draw: Draw) -> Case:
    shape = draw(FULL)
    items, picks, limits = _items(draw, shape)
    return Case("slice", [_type("f64", shape), *(_type("i64", p) for p in picks)], {"items": items}, _below(limits, 1))


def _update(draw: Draw) -> Case:
    from unspool.compiler.graph.ops.index import sliced_shape

    shape = draw(FULL)
    items, picks, limits = _items(draw, shape)
    mode = "add" if any(picks) else draw(st.sampled_from(["set", "add"]))  # repeated positions: only add is defined
    kinds = [_type("i64", p) for p in picks]
    part = sliced_shape("slice", _type("f64", shape), kinds, items)
    value = tuple(Size.of(1) if draw(st.booleans()) else s for s in part)[draw(st.integers(0, len(part))) :]
    return Case("update", [_type("f64", shape), Type("f64", value), *kinds], {"items": items, "mode": mode}, _below(limits, 2))


CASES |= {"slice": _slice, "update": _update}

# -- reductions, contraction, selection ------------------------------------------------------------------------------


def _reduction(names: str, *dtypes: str) -> None:
    for name in names.split():

        def make(draw: Draw, name: str = name) -> Case:
            shape, dtype = draw(FULL), draw(st.sampled_from(dtypes))
            values = _kinked if dtype == "f64" and name != "sum" and draw(st.booleans()) else None
            return Case(name, [_type(dtype, shape)], {"axes": _some_axes(draw, len(shape))}, values)

        CASES[name] = make


_reduction("sum prod", "f64", "c128", "i32")
_reduction("max min", "f64", "i64")
_reduction("any all", "bool")


def _along(names: str, dtype: str, **attrs: Any) -> None:
    for name in names.split():

        def make(draw: Draw, name: str = name) -> Case:
            shape = draw(FULL)
            extra = {k: draw(v) for k, v in attrs.items()}
            return Case(name, [_type(dtype, shape)], {"axis": draw(st.integers(-len(shape), -1)), **extra})

        CASES[name] = make


_along("argmax argmin cumsum", "f64")
_along("sort argsort", "f64", descending=st.sampled_from([True, None]))


def _topk(draw: Draw) -> Case:
    shape = draw(FULL)
    axis = draw(st.integers(-len(shape), -1))
    count = Size.of(draw(st.integers(0, shape[axis])))
    return Case("topk", [_type("f64", shape)], {"axis": axis, "count": count})


def _topk_mask(draw: Draw) -> Case:
    shape = draw(FULL)
    axis = draw(st.integers(-len(shape), -1))
    values = lambda n, s, g: torch.randint(0, shape[axis] + 1, s, generator=g) if n else _kinked(0, s, g)  # noqa: E731
    return Case("topk_mask", [_type("f64", shape), _type("i64", ())], {"axis": axis}, values)


def _take(draw: Draw) -> Case:
    shape = draw(FULL)
    axis = draw(st.integers(-len(shape), -1))
    index = list(shape)
    index[axis] = draw(st.integers(1, 4))
    values = _below([shape[axis]], 1)
    return Case("take_along", [_type("f64", shape), _type("i64", tuple(index))], {"axis": axis}, values)


def _scatter(draw: Draw) -> Case:
    case = _take(draw)
    x, index = case.types
    limit = x.shape[case.attrs["axis"]].constant or 1
    values = lambda n, s, g: torch.randint(0, limit, s, generator=g) if n == 1 else plain("f64", s, g)  # noqa: E731
    return Case("scatter_add", [x, index, Type("f64", index.shape)], case.attrs, values)


CASES |= {"topk": _topk, "topk_mask": _topk_mask, "take_along": _take, "scatter_add": _scatter}

SPECS = [
    "ij,jk->ik",
    "i,i->",
    "ij,j->i",
    "i,j->ij",
    "ij->ji",
    "ij->i",
    "i,j->",
    "ij,jk,k->i",
    "ijk,ik->kj",
    "a->a",
    ",i->i",
    "p,por,pdr->od",
]


def _einsum(draw: Draw) -> Case:
    spec = draw(st.sampled_from(SPECS))
    sizes = {c: draw(st.integers(1, 3)) for c in sorted(set(spec) - set(",->"))}
    dtype = draw(st.sampled_from(["f64", "c128", "i64"]))
    return Case(
        "einsum", [_type(dtype, tuple(sizes[c] for c in part)) for part in spec.split("->")[0].split(",")], {"spec": spec}
    )


CASES["einsum"] = _einsum

# -- random ----------------------------------------------------------------------------------------------------------


def _random(names: str, *dtypes: str) -> None:
    for name in names.split():

        def make(draw: Draw, name: str = name) -> Case:
            attrs = {"shape": tuple(map(Size.of, draw(SHAPE))), "dtype": draw(st.sampled_from(dtypes))}
            return Case(name, [_type("key", ())], attrs)

        CASES[name] = make


_random("random_normal random_uniform", "f64", "f32", "f16", "bf16")
_random("random_rademacher", "f64", "f32", "i8")


def _randint(draw: Draw) -> Case:
    def values(n: int, shape: tuple[int, ...], g: torch.Generator) -> torch.Tensor:
        return plain("key", shape, g) if n == 0 else torch.full(shape, (-3, 2**31)[n - 1])

    attrs = {"shape": tuple(map(Size.of, draw(SHAPE))), "dtype": "i64"}
    return Case("random_randint", [_type("key", ()), _type("i64", ()), _type("i64", ())], attrs, values)


CASES["random_randint"] = _randint
CASES["random_permutation"] = lambda draw: Case(
    "random_permutation", [_type("key", ())], {"size": Size.of(draw(st.integers(1, 9)))}
)
CASES["fold"] = lambda draw: Case("fold", [_type("key", ()), *[_type("i64", ())] * draw(st.integers(0, 3))])

# -- library ---------------------------------------------------------------------------------------------------------


def _spread_out(kind: str, dtype: str) -> Callable[[int, tuple[int, ...], torch.Generator], torch.Tensor]:
    """Matrices far from singular, definite, or with well separated singular values."""

    def values(n: int, shape: tuple[int, ...], g: torch.Generator) -> torch.Tensor:
        x = plain(dtype, shape, g)
        if n:
            return x
        m, k = shape[-2:]
        x = x * 0.2 + torch.eye(m, k, dtype=x.dtype) * torch.arange(1, k + 1)
        return (x + x.mH) / 2 + 2 * torch.eye(m, dtype=x.dtype) if kind == "definite" else x

    return values


def _linear(names: str, kind: str) -> None:
    for name in names.split():

        def make(draw: Draw, name: str = name) -> Case:
            m, n = draw(st.integers(1, 3)), draw(st.integers(1, 3))
            dtype = draw(st.sampled_from(["f64", "c128"])) if name in ("det", "inv", "solve") else "f64"
            attrs: dict[str, Any] = {}
            types = [_type(dtype, (n, n))]
            if kind == "wide":
                types = [_type(dtype, (max(m, n), min(m, n)))]
            if name.startswith("solve"):
                types.append(_type(dtype, (n, m) if draw(st.booleans()) else (n,)))
            if name == "solve_triangular":
                attrs = {"lower": draw(st.sampled_from([True, None])), "unit": draw(st.sampled_from([True, None]))}
            return Case(name, types, attrs, _spread_out(kind, dtype))

        CASES[name] = make


_linear("det inv solve solve_triangular", "regular")
_linear("cholesky eigh", "definite")
_linear("norm2 qr svd", "wide")


def _conv(name: str, dims: int) -> None:
    def make(draw: Draw) -> Case:
        c, o = draw(st.integers(1, 2)), draw(st.integers(1, 2))
        kernel = tuple(draw(st.integers(1, 2)) for _ in range(dims))
        spatial = tuple(draw(st.integers(3, 5)) for _ in range(dims))
        either = st.sampled_from([None, 1, 2])
        attrs = {"stride": draw(either), "padding": draw(st.sampled_from([None, 1])), "dilation": draw(either)}
        lead = (c, o) if "transpose" in name else (o, c)
        return Case(name, [_type("f64", (c, *spatial)), _type("f64", (*lead, *kernel))], attrs)

    CASES[name] = make


_conv("conv1d", 1)
_conv("conv2d", 2)
_conv("conv_transpose2d", 2)
_along("fft ifft", "c128")


def _fft2(name: str) -> Maker:
    return lambda draw: Case(name, [_type("c128", (*draw(SHAPE)[:1], draw(st.integers(1, 4)), draw(st.integers(1, 4))))])


def _fftshift(draw: Draw) -> Case:
    shape = draw(FULL)
    return Case(
        "fftshift", [_type("f64", shape)], {"axes": _some_axes(draw, len(shape)), "inverse": draw(st.sampled_from([True, None]))}
    )


CASES |= {"fft2": _fft2("fft2"), "ifft2": _fft2("ifft2"), "fftshift": _fftshift}

#: Ops that a graph of one node cannot use; test_interp covers them.
CONTROL = {"for", "if", "solve_cg", "module", "weights", "assert", "kernel", "vjp"}


def floating(type: Type) -> bool:
    """Whether values of a type have derivatives."""
    return is_floating(type.dtype) or is_complex(type.dtype)
