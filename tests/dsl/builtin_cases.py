"""One call per row: a builtin, its arguments, and what NumPy (or SciPy) and PyTorch make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.linalg
import scipy.special
import torch

from unspool.compiler.graph.types import Size

from .builtin_harness import Kind, Text

F = torch.nn.functional
rng = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape)


def positive(*shape: int) -> np.ndarray:
    return rng.uniform(0.2, 2.0, shape)


def complexes(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


@dataclass(frozen=True)
class Case:
    """``expect`` is on NumPy arrays; ``torch``, if the call has a derivative to test, on tensors (array arguments only)."""

    name: str
    args: tuple[Any, ...]
    expect: Callable[..., Any]
    torch: Callable[..., Any] | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""

    @property
    def id(self) -> str:
        shapes = "-".join("x".join(map(str, a.shape)) or "scalar" for a in self.args if isinstance(a, np.ndarray))
        return "-".join(p for p in (self.name, shapes, self.label, "".join(self.kwargs)) if p)


CASES: list[Case] = []


def case(name: str, *args: Any, expect: Callable[..., Any], torch: Any = None, label: str = "", **kwargs: Any) -> None:
    CASES.append(Case(name, args, expect, torch, kwargs, label))


V, W, M, T = normal(5), normal(3), normal(3, 4), normal(2, 3, 4)
S = normal(4, 4)
SPD = S @ S.T + 4 * np.eye(4)
ints, small = rng.integers(-4, 5, (3, 4)), rng.integers(-4, 5, 5).astype(np.int32)
mask = rng.uniform(size=(3, 4)) > 0.5
C, CM = complexes(5), complexes(3, 4)
n3, n4, n5 = Size.of("s3"), Size.of("s4"), Size.of("s5")

# -- elementwise
_smooth = {
    "sqrt": (np.sqrt, torch.sqrt, positive), "exp": (np.exp, torch.exp, normal), "log": (np.log, torch.log, positive),
    "log1p": (np.log1p, torch.log1p, positive), "expm1": (np.expm1, torch.expm1, normal), "sin": (np.sin, torch.sin, normal),
    "cos": (np.cos, torch.cos, normal), "tan": (np.tan, torch.tan, normal), "tanh": (np.tanh, torch.tanh, normal),
    "sigmoid": (scipy.special.expit, torch.sigmoid, normal), "erf": (scipy.special.erf, torch.erf, normal),
    "softplus": (lambda x: np.logaddexp(x, 0), lambda x: F.softplus(x, threshold=1e9), normal),
    "relu": (lambda x: np.maximum(x, 0), torch.relu, normal), "lgamma": (scipy.special.gammaln, torch.lgamma, positive),
    "digamma": (scipy.special.digamma, torch.digamma, positive), "abs": (np.abs, torch.abs, normal),
    "sign": (np.sign, torch.sign, normal), "floor": (np.floor, torch.floor, normal), "ceil": (np.ceil, torch.ceil, normal),
    "round": (np.round, torch.round, normal),
}  # fmt: skip
for _name, (_numpy, _torch, _data) in _smooth.items():
    case(_name, _data(3, 4), expect=_numpy, torch=_torch)
    case(_name, np.asarray(_data()), expect=_numpy, torch=_torch)
    if _name not in ("abs", "sign", "floor", "ceil", "round", "relu", "lgamma", "digamma"):
        case(_name, np.array([1, 2, 3]), expect=lambda x, f=_numpy: f(x.astype(float)), label="int")
for _name in ("sqrt", "exp", "log", "sin", "cos", "tan", "tanh"):
    case(_name, C, expect=getattr(np, _name), torch=getattr(torch, _name), label="complex")
case("abs", C, expect=np.abs, torch=torch.abs, label="complex")
case("abs", ints, expect=np.abs, label="int")
case("sign", ints, expect=np.sign, label="int")
case("round", np.array([0.5, 1.5, 2.5, -0.5, -1.5]), expect=np.round)
case("floor", ints, expect=lambda x: x, label="int")
case("abs", np.array([0.0, -0.0, 1.0]), expect=np.abs, torch=torch.abs, label="kink")
case("relu", np.array([0.0, -1.0, 1.0]), expect=lambda x: np.maximum(x, 0), torch=torch.relu, label="kink")
case("isfinite", np.array([1.0, np.inf, -np.inf, np.nan]), expect=np.isfinite)
case("isfinite", np.array([1.0 + 1j, np.inf * 1j]), expect=np.isfinite, label="complex")
case("conj", C, expect=np.conj, torch=lambda z: torch.conj(z).resolve_conj())
case("conj", V, expect=lambda x: x, torch=lambda x: x)
case("re", C, expect=np.real, torch=torch.real)
case("im", C, expect=np.imag, torch=torch.imag)
case("re", V, expect=np.real, torch=lambda x: x * 1)
case("im", V, expect=np.imag, torch=lambda x: x * 0)
case("angle", C, expect=np.angle, torch=torch.angle)
case("angle", np.array([1.0, -2.0, 0.0, np.nan]), expect=np.angle)
case("max", M, normal(4), expect=np.maximum, torch=torch.maximum)
case("min", M, normal(3, 1), normal(4), expect=lambda a, b, c: np.minimum(np.minimum(a, b), c),
     torch=lambda a, b, c: torch.minimum(torch.minimum(a, b), c))  # fmt: skip
case("max", V, 0, expect=lambda x: np.maximum(x, 0), torch=lambda x: torch.maximum(x, torch.zeros(())), label="weak")
case("max", np.array([1.0, 2.0]), np.array([1.0, 3.0]), expect=np.maximum, torch=torch.maximum, label="tie")
case("max", np.array([1.0, np.nan]), np.array([np.nan, 3.0]), expect=np.maximum, label="nan")
case("where", mask, M, normal(4), expect=np.where, torch=lambda c, a, b: torch.where(c, a, b))
case("where", mask, M, 0, expect=lambda c, a: np.where(c, a, 0), torch=lambda c, a: torch.where(c, a, 0.0), label="weak")
case("where", np.array(True), ints, 7, expect=lambda c, a: np.where(c, a, 7), label="int")
case("clip", M, -0.5, 0.5, expect=lambda x: np.clip(x, -0.5, 0.5), torch=lambda x: torch.clamp(x, -0.5, 0.5))
case("clip", M, normal(4) - 1, normal(4) + 1, expect=np.clip, torch=torch.clamp, label="arrays")
case("clip", np.array([0.0, 1.0, 2.0, -1.0]), 0, 1, expect=lambda x: np.clip(x, 0, 1), torch=lambda x: torch.clamp(x, 0, 1),
     label="kink")  # fmt: skip
case("clip", np.array([3.0, 3.0]), np.array([np.nan, 1.0]), 2.0, expect=lambda x, a: np.clip(x, a, 2.0), label="nan")
case("clip", np.array([np.nan, 3.0]), 0, 1, expect=lambda x: np.clip(x, 0, 1), label="nan")
case("clip", V, min=0, expect=lambda x: np.clip(x, 0, None), torch=lambda x: torch.clamp(x, min=0))
case("clip", V, max=0.0, expect=lambda x: np.clip(x, None, 0), torch=lambda x: torch.clamp(x, max=0))
case("cast", mask, Kind("real"), expect=lambda x: x.astype(float))
case("cast", V * 3, Kind("i32"), expect=lambda x: x.astype(np.int32))
case("cast", ints, Kind("bool"), expect=lambda x: x != 0, label="to-bool")
case("cast", V, Kind("complex"), expect=lambda x: x.astype(complex), torch=lambda x: x.to(torch.complex128))
case("stop_gradient", V, expect=lambda x: x, torch=lambda x: x * 0 + x.detach())

# -- constructors
case("zeros", n3, n4, expect=lambda: np.zeros((3, 4)))
case("zeros", expect=lambda: np.zeros(()))
case("ones", 3, dtype=Kind("i32"), expect=lambda: np.ones(3, np.int32), label="int")
case("full", 2.5, 3, n4, expect=lambda: np.full((3, 4), 2.5))
case("full", 2, 3, expect=lambda: np.full(3, 2))
case("full", W, 2, n3, expect=lambda v: np.full((2, 3), v), torch=lambda v: v.expand(2, 3), label="array")
case("zeros_like", M, expect=np.zeros_like, torch=torch.zeros_like)
case("zeros_like", mask, expect=np.zeros_like)
case("eye", n4, expect=lambda: np.eye(4))
case("eye", n3, n4, 1, expect=lambda: np.eye(3, 4, 1))
case("eye", 4, k=-2, expect=lambda: np.eye(4, k=-2))
case("arange", n5, expect=lambda: np.arange(5))
case("arange", 2, 11, 3, expect=lambda: np.arange(2, 11, 3))
case("arange", 10, 2, -3, expect=lambda: np.arange(10, 2, -3))
case("arange", 0.5, 2.0, 0.25, expect=lambda: np.arange(0.5, 2.0, 0.25))
case("arange", 3.0, expect=lambda: np.arange(3.0))
case("arange", n3, dtype=Kind("real"), expect=lambda: np.arange(3.0))
case("linspace", 0, 1, n5, expect=lambda: np.linspace(0, 1, 5))
case("linspace", -1.5, 2, 7, expect=lambda: np.linspace(-1.5, 2, 7))
case("linspace", 3, 4, 1, expect=lambda: np.linspace(3, 4, 1))
case(
    "linspace",
    np.asarray(0.5),
    2,
    4,
    expect=lambda a: np.linspace(a, 2, 4),
    torch=lambda a: a + (2 - a) * torch.arange(4, dtype=torch.float64) / 3,
)
case("stack", V, normal(5), expect=lambda *x: np.stack(x), torch=lambda *x: torch.stack(x))
case("stack", M, normal(3, 4), normal(3, 4), axis=1, expect=lambda *x: np.stack(x, 1), torch=lambda *x: torch.stack(x, 1))
case("stack", M, normal(3, 4), axis=-1, expect=lambda *x: np.stack(x, -1), torch=lambda *x: torch.stack(x, -1), label="last")
case("stack", np.asarray(1.5), 2, expect=lambda a: np.stack([a, 2.0]), torch=lambda a: torch.stack([a, torch.tensor(2.0)]))
case("concat", M, normal(2, 4), expect=lambda *x: np.concatenate(x), torch=lambda *x: torch.cat(x))
case(
    "concat", (M, normal(3, 2)), axis=-1, expect=lambda *x: np.concatenate(x, 1), torch=lambda *x: torch.cat(x, 1), label="tuple"
)

# -- shape
case("reshape", M, n4, n3, expect=lambda x: x.reshape(4, 3), torch=lambda x: x.reshape(4, 3))
case("reshape", T, n4, -1, expect=lambda x: x.reshape(4, -1), torch=lambda x: x.reshape(4, -1), label="rest")
case("reshape", M, -1, expect=lambda x: x.reshape(-1), torch=lambda x: x.reshape(-1), label="flat")
case("permute", T, 2, 0, 1, expect=lambda x: x.transpose(2, 0, 1), torch=lambda x: x.permute(2, 0, 1))
case("permute", T, (-1, 1, 0), expect=lambda x: x.transpose(2, 1, 0), torch=lambda x: x.permute(2, 1, 0), label="tuple")
case("expand", V, 3, n5, expect=lambda x: np.broadcast_to(x, (3, 5)), torch=lambda x: x.expand(3, 5))
case("expand", normal(3, 1), -1, 4, expect=lambda x: np.broadcast_to(x, (3, 4)), torch=lambda x: x.expand(3, 4))
case("flip", M, expect=np.flip, torch=lambda x: torch.flip(x, (0, 1)))
case("flip", T, axis=(0, -1), expect=lambda x: np.flip(x, (0, -1)), torch=lambda x: torch.flip(x, (0, -1)))
for _shift in (0, 1, -1, 2, -3, 7, 5):
    case("roll", V, _shift, axis=0, expect=lambda x, s=_shift: np.roll(x, s), torch=lambda x, s=_shift: torch.roll(x, s, 0),
         label=str(_shift))  # fmt: skip
case("roll", M, 5, expect=lambda x: np.roll(x, 5), torch=lambda x: torch.roll(x, 5), label="flat")
case("roll", M, (1, 2), axis=(0, 1), expect=lambda x: np.roll(x, (1, 2), (0, 1)), torch=lambda x: torch.roll(x, (1, 2), (0, 1)))
case("roll", V, np.asarray(2), axis=0, expect=lambda x, s: np.roll(x, s), torch=lambda x, s: torch.roll(x, 2, 0), label="value")
case("roll", T, n3, axis=2, expect=lambda x: np.roll(x, 3, 2), torch=lambda x: torch.roll(x, 3, 2), label="size")
case("pad", M, 1, expect=lambda x: np.pad(x, 1), torch=lambda x: F.pad(x, (1, 1, 1, 1)))
case("pad", M, (1, 2), value=3.5, expect=lambda x: np.pad(x, (1, 2), constant_values=3.5),
     torch=lambda x: F.pad(x, (1, 2, 1, 2), value=3.5))  # fmt: skip
case(
    "pad",
    M,
    ((0, 1), (2, 0)),
    expect=lambda x: np.pad(x, ((0, 1), (2, 0))),
    torch=lambda x: F.pad(x, (2, 0, 0, 1)),
    label="pairs",
)
for _mode in ("edge", "reflect", "symmetric", "wrap"):
    case("pad", M, ((1, 1), (0, 2)), Text(_mode), expect=lambda x, m=_mode: np.pad(x, ((1, 1), (0, 2)), mode=m), label=_mode)
case("pad", M, 1, Text("reflect"), expect=lambda x: np.pad(x, 1, mode="reflect"),
     torch=lambda x: F.pad(x[None], (1, 1, 1, 1), mode="reflect")[0], label="reflect")  # fmt: skip
for _k in (0, 1, -2):
    case("diag", V, _k, expect=lambda x, k=_k: np.diag(x, k), torch=lambda x, k=_k: torch.diag(x, k), label=str(_k))
    case("tril", M, _k, expect=lambda x, k=_k: np.tril(x, k), torch=lambda x, k=_k: torch.tril(x, k), label=str(_k))
    case("triu", T, _k, expect=lambda x, k=_k: np.triu(x, k), torch=lambda x, k=_k: torch.triu(x, k), label=str(_k))
for _k in (0, 1, -1):
    case("diag", M, _k, expect=lambda x, k=_k: np.diag(x, k), torch=lambda x, k=_k: torch.diag(x, k), label=str(_k))
case("tril", np.full((3, 3), np.nan), expect=np.tril, label="nan")

# -- reductions
_reductions = {
    "sum": (np.sum, lambda x, **k: torch.sum(x, **k)), "prod": (np.prod, None),
    "mean": (np.mean, lambda x, **k: torch.mean(x, **k)),
    "var": (np.var, lambda x, **k: torch.var(x, correction=0, **k)), "max": (np.max, lambda x, **k: torch.amax(x, **k)),
    "min": (np.min, lambda x, **k: torch.amin(x, **k)),
    "logsumexp": (scipy.special.logsumexp, lambda x, **k: torch.logsumexp(x, **k)),
    "norm": (lambda x, axis=None, keepdims=False: np.sqrt(np.sum(np.abs(x) ** 2, axis=axis, keepdims=keepdims)),
             lambda x, **k: torch.linalg.vector_norm(x, **k)),
}  # fmt: skip
for _name, (_numpy, _torch) in _reductions.items():
    for _axis in (None, 0, -1, (0, 2), (2, 1)):
        for _keep in (False, True):
            _kw = {"axis": _axis, "keepdims": _keep}
            _grad = None
            if _torch is not None:
                _grad = lambda x, f=_torch, a=_axis, k=_keep: f(x, dim=tuple(range(x.dim())) if a is None else a, keepdim=k)  # noqa: E731
            CASES.append(Case(_name, (T,), lambda x, f=_numpy, k=_kw: f(x, **k), _grad, _kw, f"{_axis}-{_keep}"))
case("prod", M, axis=1, expect=lambda x: np.prod(x, 1), torch=lambda x: torch.prod(x, 1))
case("prod", np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]]), axis=1, expect=lambda x: np.prod(x, 1),
     torch=lambda x: torch.prod(x, 1),
     label="zeros")  # fmt: skip
case("sum", np.asarray(2.0), expect=np.sum, torch=torch.sum)
case("sum", small, expect=np.sum, label="int")
case("mean", ints, axis=0, expect=lambda x: np.mean(x, 0), label="int")
case("prod", small, expect=np.prod, label="int")
case("var", C, expect=np.var, torch=lambda z: torch.mean((z - z.mean()).abs() ** 2), label="complex")
case(
    "norm",
    CM,
    axis=1,
    expect=lambda x: np.linalg.norm(x, axis=1),
    torch=lambda x: torch.linalg.vector_norm(x, dim=1),
    label="complex",
)
case("norm", np.zeros(3), expect=np.linalg.norm, torch=lambda x: torch.linalg.vector_norm(x), label="zero")
case("norm", M, expect=np.linalg.norm, torch=torch.linalg.norm)
case("max", np.array([[1.0, 3.0, 3.0], [2.0, np.nan, 1.0]]), axis=1, expect=lambda x: np.max(x, 1), label="nan")
case("max", np.array([[1.0, 3.0, 3.0]]), axis=1, expect=lambda x: np.max(x, 1), torch=lambda x: torch.amax(x, 1), label="tie")
for _name in ("any", "all"):
    _f = getattr(np, _name)
    case(_name, mask, expect=_f)
    case(_name, mask, axis=0, keepdims=True, expect=lambda x, f=_f: f(x, axis=0, keepdims=True))
    case(_name, ints, axis=1, expect=lambda x, f=_f: f(x, axis=1), label="int")
for _name in ("argmax", "argmin"):
    _f = getattr(np, _name)
    case(_name, T, expect=_f)
    case(_name, T, axis=1, keepdims=True, expect=lambda x, f=_f: f(x, axis=1, keepdims=True))
    case(_name, np.array([2, 1, 2, 1]), expect=_f, label="tie")
    case(_name, T, expect=lambda x, f=_f: f(x, keepdims=True), keepdims=True)
for _axis in (0, 1, -1):
    case(
        "softmax",
        M,
        axis=_axis,
        expect=lambda x, a=_axis: scipy.special.softmax(x, a),
        torch=lambda x, a=_axis: torch.softmax(x, a),
    )
    case("log_softmax", M, axis=_axis, expect=lambda x, a=_axis: scipy.special.log_softmax(x, a),
         torch=lambda x, a=_axis: torch.log_softmax(x, a))  # fmt: skip
    case("cumsum", M, axis=_axis, expect=lambda x, a=_axis: np.cumsum(x, a), torch=lambda x, a=_axis: torch.cumsum(x, a))
_hard = np.array([[1000.0, 1001.0, -1000.0], [-np.inf, 0.0, 1.0]])
case(
    "logsumexp",
    _hard,
    axis=1,
    expect=lambda x: scipy.special.logsumexp(x, 1),
    torch=lambda x: torch.logsumexp(x, 1),
    label="large",
)
case("softmax", _hard, axis=1, expect=lambda x: scipy.special.softmax(x, 1), torch=lambda x: torch.softmax(x, 1), label="large")
case("log_softmax", _hard, axis=1, expect=lambda x: scipy.special.log_softmax(x, 1), label="large")
case("logsumexp", np.array([[-np.inf, -np.inf], [np.inf, 0.0], [np.nan, 0.0]]), axis=1,
     expect=lambda x: np.array([-np.inf, np.inf, np.nan]),
     label="inf")  # fmt: skip
case("softmax", np.full((1, 3), -np.inf), axis=1, expect=lambda x: np.full((1, 3), np.nan), label="inf")
case("cumsum", small, axis=0, expect=np.cumsum, label="int")

# -- linear algebra
case("dot", V, normal(5), expect=np.dot, torch=torch.dot)
case("dot", M, normal(4), expect=np.dot, torch=torch.matmul)
case("dot", M, normal(4, 2), expect=np.dot, torch=torch.matmul)
case("dot", T, normal(5, 4, 3), expect=np.dot, torch=lambda a, b: torch.einsum("abc,dce->abde", a, b))
case("dot", 2.5, V, expect=lambda v: np.dot(2.5, v), torch=lambda v: 2.5 * v)
case("dot", C, complexes(5), expect=np.dot, torch=torch.dot, label="complex")
case("outer", V, W, expect=np.outer, torch=torch.outer)
case("outer", M, W, expect=np.outer, torch=lambda a, b: torch.outer(a.reshape(-1), b))
case("trace", S, expect=np.trace, torch=torch.trace)
case("trace", normal(3, 5), expect=np.trace)
case("trace", normal(3, 3, 4), expect=np.trace, torch=lambda x: torch.einsum("iij->j", x))
for _spec, _shapes in (
    ("ij,jk->ik", [(3, 4), (4, 2)]), ("ij,jk", [(3, 4), (4, 2)]), ("ij->j", [(3, 4)]), ("ij->ji", [(3, 4)]), ("ba", [(3, 4)]),
    ("ii", [(4, 4)]), ("ii->i", [(4, 4)]), ("iji->j", [(3, 4, 3)]), ("iii", [(3, 3, 3)]),
    ("p,por,pdr->od", [(2,), (2, 3, 4), (2, 5, 4)]),
    ("i,i,i->i", [(5,), (5,), (5,)]), (",ij->ij", [(), (3, 4)]), ("ij,kl", [(2, 3), (3, 2)]), ("ij,ij->", [(3, 4), (3, 4)]),
    (" i j , j -> i ", [(3, 4), (4,)]), ("ij,jk->ik", [(3, 1), (4, 2)]), ("iijj->ij", [(2, 2, 3, 3)]),
):  # fmt: skip
    _arrays = [normal(*s) if s else np.asarray(1.7) for s in _shapes]
    case("einsum", Text(_spec), *_arrays, expect=lambda *x, s=_spec: np.einsum(s, *x),
         torch=lambda *x, s=_spec: torch.einsum(s, *x),
         label=_spec.replace(" ", "_"))  # fmt: skip
case("einsum", Text("ij,j->i"), ints, V[:4], expect=lambda a, b: np.einsum("ij,j->i", a, b), label="mixed")
case("norm2", M, expect=lambda a: np.linalg.norm(a, 2), torch=lambda a: torch.linalg.matrix_norm(a, 2))
case("det", S, expect=np.linalg.det, torch=torch.linalg.det)
case("inv", S, expect=np.linalg.inv, torch=torch.linalg.inv)
case("solve", S, normal(4), expect=np.linalg.solve, torch=torch.linalg.solve)
case("solve", S, normal(4, 3), expect=np.linalg.solve, torch=torch.linalg.solve)
case("solve", normal(2, 3, 3), normal(3, 2), expect=np.linalg.solve, torch=torch.linalg.solve, label="stack")
case("solve_cg", SPD, normal(4), tol=1e-14, expect=np.linalg.solve, torch=torch.linalg.solve)
case("solve_cg", SPD, normal(4, 3), tol=1e-14, maxiter=9, expect=np.linalg.solve, torch=torch.linalg.solve)
case("solve_triangular", S, normal(4), lower=True, expect=lambda a, b: scipy.linalg.solve_triangular(a, b, lower=True),
     torch=lambda a, b: torch.linalg.solve_triangular(a, b[:, None], upper=False)[:, 0])  # fmt: skip
case("solve_triangular", S, normal(4, 2), expect=scipy.linalg.solve_triangular,
     torch=lambda a, b: torch.linalg.solve_triangular(a, b, upper=True))  # fmt: skip
case("solve_triangular", S, normal(4), lower=True, unit_diagonal=True,
     expect=lambda a, b: scipy.linalg.solve_triangular(a, b, lower=True, unit_diagonal=True), label="unit")  # fmt: skip
case("cholesky", SPD, expect=np.linalg.cholesky, torch=torch.linalg.cholesky)
case("svd", M, expect=lambda a: tuple(torch.linalg.svd(torch.from_numpy(a), full_matrices=False)))
case("qr", M.T.copy(), expect=np.linalg.qr, torch=lambda a: tuple(torch.linalg.qr(a)))
case("eigh", SPD, expect=lambda a: tuple(torch.linalg.eigh(torch.from_numpy(a))))

# -- selection
_ties = np.array([[1.0, 3.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0]])


def _topk(x: np.ndarray, count: int) -> tuple[np.ndarray, ...]:
    order = np.argsort(-x, axis=-1, kind="stable")[..., :count]
    chosen = np.zeros(x.shape, bool)
    np.put_along_axis(chosen, order, True, -1)
    return np.take_along_axis(x, order, -1), order, chosen


case("topk", M, 2, expect=lambda x: _topk(x, 2), torch=lambda x: torch.topk(x, 2)[0])
case("topk", _ties, 2, expect=lambda x: _topk(x, 2), label="ties")
case("topk", M.T.copy(), n3, axis=0, expect=lambda x: tuple(y.T for y in _topk(x.T, 3)), torch=lambda x: torch.topk(x, 3, 0)[0])
case("topk", _ties, np.asarray(2), expect=lambda x, k: _topk(x, 2)[2], label="run-time")
case("sort", M, expect=np.sort, torch=lambda x: torch.sort(x)[0])
case("sort", M, axis=0, descending=True, expect=lambda x: -np.sort(-x, 0), torch=lambda x: torch.sort(x, 0, True)[0])
case("argsort", _ties, expect=lambda x: np.argsort(x, kind="stable"))
case(
    "gather",
    M,
    rng.integers(0, 3, (5, 4)),
    axis=0,
    expect=lambda x, i: np.take_along_axis(x, i, 0),
    torch=lambda x, i: torch.gather(x, 0, i),
)
case("scatter_add", M, np.array([[0, 1, 2, 0], [0, 0, 0, 0]]), normal(2, 4), axis=0,
     expect=lambda x, i, s: torch.scatter_add(torch.from_numpy(x), 0, torch.from_numpy(i), torch.from_numpy(s)).numpy(),
     torch=lambda x, i, s: torch.scatter_add(x, 0, i, s))  # fmt: skip
case(
    "scatter_add",
    V,
    np.array([0, 0, 3]),
    1,
    axis=0,
    expect=lambda x, i: x + np.array([2, 0, 0, 1, 0]),
    torch=lambda x, i: x * 1,
    label="weak",
)
case("one_hot", np.array([0, 2, 1]), n4, expect=lambda i: np.eye(4, dtype=int)[i])
case("one_hot", 2, 4, expect=lambda: np.array([0, 0, 1, 0]))

# -- signals
_x1, _w1, _x2, _w2, _wt = normal(3, 9), normal(2, 3, 4), normal(3, 6, 7), normal(2, 3, 3, 2), normal(3, 2, 3, 3)
for _set in ({}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": 3}):
    case("conv1d", _x1, _w1, **_set, expect=lambda x, w, k=_set: F.conv1d(torch.from_numpy(x), torch.from_numpy(w), **k).numpy(),
         torch=lambda x, w, k=_set: F.conv1d(x, w, **k))  # fmt: skip
for _set in ({}, {"stride": (2, 1), "padding": 1}, {"dilation": (1, 2)}):
    case("conv2d", _x2, _w2, normal(2), **_set, torch=lambda x, w, b, k=_set: F.conv2d(x, w, b, **k),
         expect=lambda x, w, b, k=_set: F.conv2d(*map(torch.from_numpy, (x, w, b)), **k).numpy())  # fmt: skip
case("conv_transpose2d", _x2, _wt, stride=2, padding=1, torch=lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1),
     expect=lambda x, w: F.conv_transpose2d(torch.from_numpy(x), torch.from_numpy(w), stride=2, padding=1).numpy())  # fmt: skip
for _name in ("fft", "ifft"):
    case(_name, CM, expect=getattr(np.fft, _name), torch=getattr(torch.fft, _name), label="complex")
    case(
        _name,
        M,
        axis=0,
        expect=lambda x, n=_name: getattr(np.fft, n)(x, axis=0),
        torch=lambda x, n=_name: getattr(torch.fft, n)(x, dim=0),
    )
    case(_name + "2", T, expect=getattr(np.fft, _name + "2"), torch=getattr(torch.fft, _name + "2"))
case("fft", ints, expect=np.fft.fft, label="int")
case("fftshift", M, expect=np.fft.fftshift, torch=torch.fft.fftshift)
case("fftshift", M, axis=1, expect=lambda x: np.fft.fftshift(x, 1), torch=lambda x: torch.fft.fftshift(x, 1))
