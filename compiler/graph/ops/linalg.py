"""Dense linear algebra: library calls on the last two axes, any leading axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..types import Size, Type, size_fn
from .common import E, batch_same, constant, emit, need, need_count, need_equal, need_rank, real_twin, reshape_to, same_dtype
from .library import library
from .table import Attrs, Infer, OpTypeError

if TYPE_CHECKING:
    from ..graph import Builder, Node, Value


def _matrix(name: str, types: tuple[Type, ...], square: bool = False) -> tuple[tuple[Size, ...], Size, Size]:
    need_count(name, types, 1)
    need(name, "floating or complex", types[0])
    need_rank(name, types[0], 2)
    *lead, m, n = types[0].shape
    if square:
        need_equal(name, "the last two sizes", m, n, types)
    return tuple(lead), m, n


def _square(name: str) -> Infer:
    def infer(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
        _matrix(name, types, square=True)
        return types

    return infer


def _infer_det(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    lead, _, _ = _matrix("det", types, square=True)
    return (Type(types[0].dtype, lead),)


def _infer_norm2(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    lead, _, _ = _matrix("norm2", types)
    return (Type(real_twin(types[0].dtype), lead),)


def _infer_qr(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    lead, m, n = _matrix("qr", types)
    k = size_fn("min", m, n)
    return (Type(types[0].dtype, (*lead, m, k)), Type(types[0].dtype, (*lead, k, n)))


def _infer_eigh(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    lead, n, _ = _matrix("eigh", types, square=True)
    return (Type(real_twin(types[0].dtype), (*lead, n)), types[0])


def _infer_svd(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    lead, m, n = _matrix("svd", types)
    k, dtype = size_fn("min", m, n), types[0].dtype
    return (Type(dtype, (*lead, m, k)), Type(real_twin(dtype), (*lead, k)), Type(dtype, (*lead, k, n)))


def _infer_solve(name: str) -> Infer:
    def infer(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
        need_count(name, types, 2)
        same_dtype(name, types)
        matrix, right = types
        lead, n, _ = _matrix(name, (matrix,), square=True)
        if right.rank not in (matrix.rank, matrix.rank - 1) or right.shape[: len(lead)] != lead:
            raise OpTypeError(f"{name} of {matrix} needs a right side with {n} rows, not {right}")
        need_equal(name, "the matrix size and the rows of the right side", n, right.shape[len(lead)], types)
        return (right,)

    return infer


def _solve(torch: Any, attrs: Attrs, a: Any, x: Any) -> Any:
    vector = x.dim() == a.dim() - 1
    out = torch.linalg.solve(a, x.unsqueeze(-1) if vector else x)
    return out.squeeze(-1) if vector else out


def _solve_triangular(torch: Any, attrs: Attrs, a: Any, x: Any) -> Any:
    vector = x.dim() == a.dim() - 1
    unit = bool(attrs.get("unit"))
    out = torch.linalg.solve_triangular(a, x.unsqueeze(-1) if vector else x, upper=not attrs.get("lower"), unitriangular=unit)
    return out.squeeze(-1) if vector else out


def _batch_solve(b: Builder, node: Node, operands: Any, batched: Any, size: Size) -> tuple[Value, ...]:
    """A shared matrix is factorised once: the problems become columns of one right side."""
    matrix, right = operands
    if batched[0] or matrix.type.rank != 2:
        return batch_same(b, node, operands, batched, size)
    shape = right.type.shape  # [batch, n] or [batch, n, k]
    if len(shape) == 2:
        (out,) = emit(b, node, [matrix, b.op("permute", right, axes=(-1, -2))])
        return (b.op("permute", out, axes=(-1, -2)),)
    columns = reshape_to(b, b.op("permute", right, axes=(-2, -3, -1)), (shape[1], shape[0] * shape[2]))
    (out,) = emit(b, node, [matrix, columns])
    return (b.op("permute", reshape_to(b, out, (shape[1], shape[0], shape[2])), axes=(-2, -3, -1)),)


def _adjoint_solve(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    """x = A^-1 b: the cotangent of b is w = A^-H g, a solve like the first, and that of A is -w x^H, where A is read.

    Source: Giles, Collected matrix derivative results, 2008.
    """
    (g,) = cotangents
    if g is None:
        return [None, None]
    a, x = operand(0), result(0)
    turned = E(b, b.op("permute", a, axes=(*range(-a.type.rank, -2), -1, -2))).conj().value
    changes = {"lower": not node.attr("lower")} if node.op == "solve_triangular" else {}
    (w,) = emit(b, node, [turned, g], **changes)
    lead = "abcdefgh"[: a.type.rank - 2]
    k = "" if x.type.rank == a.type.rank - 1 else "k"
    outer = E(b, b.op("einsum", w, E(b, x).conj().value, spec=f"{lead}i{k},{lead}j{k}->{lead}ij"))
    slope: Value = (-outer).value
    if node.op == "solve_triangular":
        i, j = (b.op("iota", size=a.type.shape[-1], dtype="i64") for _ in range(2))
        i = b.op("reshape", i, shape=(a.type.shape[-1], Size.of(1)))
        strict = "t" if node.attr("unit") else "e"
        inside = b.op(("g" if node.attr("lower") else "l") + strict, i, j)
        slope = b.op("where", inside, slope, constant(b, 0, slope.type.dtype))
    return [slope, w]


library("norm2", _infer_norm2, lambda torch, attrs, x: torch.linalg.matrix_norm(x, 2), "Largest singular value of a matrix.")
library("det", _infer_det, lambda torch, attrs, x: torch.linalg.det(x), "Determinant.")
library("inv", _square("inv"), lambda torch, attrs, x: torch.linalg.inv(x), "Inverse of a square matrix.")
library("cholesky", _square("cholesky"), lambda torch, attrs, x: torch.linalg.cholesky(x),
        "Lower triangular L with A = L L^H; reads the lower triangle of A.")  # fmt: skip
library("solve", _infer_solve("solve"), _solve, "The x with A x = b, for a vector or the columns of a matrix.", _batch_solve,
        _adjoint_solve, ((1,),))  # fmt: skip
library("solve_triangular", _infer_solve("solve_triangular"), _solve_triangular,
        "The x with A x = b for a triangular A (upper, or with lower, lower).", _batch_solve, _adjoint_solve, ((1,),))  # fmt: skip
library("qr", _infer_qr, lambda torch, attrs, x: tuple(torch.linalg.qr(x)), "Reduced QR factors: A = Q R.")
library("eigh", _infer_eigh, lambda torch, attrs, x: tuple(torch.linalg.eigh(x)),
        "Eigenvalues in rising order and eigenvectors of a Hermitian matrix: A = V diag(w) V^H.")  # fmt: skip
library("svd", _infer_svd, lambda torch, attrs, x: tuple(torch.linalg.svd(x, full_matrices=False)),
        "Reduced singular value decomposition: A = U diag(S) Vh.")  # fmt: skip
