"""Dense linear algebra: library calls on the last two axes."""

from __future__ import annotations

from ...compiler.graph.graph import Value
from ..operand import Array, noun
from . import compose
from .call import NUMBERS, SHAPE, Call
from .table import Result, builtin

FAMILY = "linear algebra"


@builtin(FAMILY, "norm2(A)", example="norm2(A)")
def norm2(call: Call) -> Result:
    """The largest singular value of a matrix."""
    return compose.op(call.b, "norm2", call.matrix("A"))


@builtin(FAMILY, "det(A)", example="det(A)")
def det(call: Call) -> Result:
    """Determinant of a square matrix."""
    return compose.op(call.b, "det", call.matrix("A", square=True))


@builtin(FAMILY, "inv(A)", example="inv(A)")
def inv(call: Call) -> Result:
    """Inverse of a square matrix; solve(A, b) is better than inv(A) @ b."""
    return compose.op(call.b, "inv", call.matrix("A", square=True))


def system(call: Call) -> tuple[Value, Value]:
    """A square matrix and a right side of matching leading sizes and dtype."""
    for name in ("A", "b"):
        call.check_kind(name, NUMBERS)
    call.matrix("A", square=True)
    matrix, right = call.arrays(["A", "b"], real=True)
    n = matrix.type.shape[-2]
    if matrix.type.shape[-1] != n:
        matrix = compose.reshape(call.b, matrix, [*matrix.type.shape[:-1], n])
    vector = right.type.rank == 1
    rows = -1 if vector else -2
    if right.type.rank == 0:
        raise call.error(f"{call.name} takes a vector or a matrix as right side, not {noun(Array(right))}", "b", None, SHAPE)
    fitted = call.fit(right, rows, n)
    if fitted is None:
        raise call.error(
            f"{call.name} of a {n} by {n} matrix needs a right side of {n} rows, not {right.type.shape[rows]}", "b", None, SHAPE
        )
    lead = call.ctx.broadcast_shapes(matrix.type.shape[:-2], fitted.type.shape[:rows])
    matrix = compose.broadcast(call.b, matrix, [*lead, n, n])
    return matrix, compose.broadcast(call.b, fitted, [*lead, *fitted.type.shape[rows:]])


@builtin(FAMILY, "solve(A, b)", example="solve(A, b)")
def solve(call: Call) -> Result:
    """The x with A @ x = b, for a vector b or for each column of a matrix b."""
    return compose.op(call.b, "solve", *system(call))


@builtin(FAMILY, "solve_triangular(A, b, *, lower=False, unit_diagonal=False)", example="solve_triangular(L, b, lower=True)")
def solve_triangular(call: Call) -> Result:
    """The x with A @ x = b for a triangular A; the other triangle is not read."""
    lower, unit = call.flag("lower"), call.flag("unit_diagonal")
    return compose.op(call.b, "solve_triangular", *system(call), lower=lower, unit=unit or None)


@builtin(FAMILY, "cholesky(A)", example="cholesky(A)")
def cholesky(call: Call) -> Result:
    """The lower triangular L with A = L @ L.H, for a positive definite A."""
    return compose.op(call.b, "cholesky", call.matrix("A", square=True))


def _several(call: Call, name: str, x: Value) -> tuple[Value, ...]:
    out: tuple[Value, ...] = call.b.op(name, x)
    return out


@builtin(FAMILY, "qr(A)", example="Q, R = qr(A)")
def qr(call: Call) -> Result:
    """Q with orthonormal columns and upper triangular R with A = Q @ R (reduced: min(m, n) columns)."""
    return _several(call, "qr", call.matrix("A"))


@builtin(FAMILY, "eigh(A)", example="w, V = eigh(A)")
def eigh(call: Call) -> Result:
    """Eigenvalues in rising order, and eigenvectors as columns, of a symmetric (Hermitian) matrix."""
    return _several(call, "eigh", call.matrix("A", square=True))


@builtin(FAMILY, "svd(A)", example="U, S, Vh = svd(A)")
def svd(call: Call) -> Result:
    """U, the singular values S in falling order, and Vh with A = U @ diag(S) @ Vh (reduced)."""
    return _several(call, "svd", call.matrix("A"))
