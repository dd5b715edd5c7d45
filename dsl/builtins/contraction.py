"""Products of arrays: einsum and what is one."""

from __future__ import annotations

import string
from collections.abc import Sequence

from ...compiler.graph.graph import Value
from ...compiler.graph.types import Size
from ..operand import Array, noun
from . import compose
from .call import COUNT, SHAPE, Call
from .table import Result, builtin

FAMILY = "linear algebra"


def split(call: Call, spec: str, count: int) -> tuple[list[str], str]:
    """The letters of each operand and of the result, worked out if the spec leaves it open (sorted letters that
    occur once, as in NumPy). Raises BuiltinError for a spec that is none, or is for another number of operands."""
    left, arrow, right = spec.replace(" ", "").partition("->")
    parts = left.split(",")
    letters = "".join(parts)
    odd = next((c for c in letters + right if c not in string.ascii_letters), None)
    if odd is not None:
        if odd == ".":
            raise call.error(
                "einsum has no `...`: a program describes one problem, leading dimensions come by themselves", "spec"
            )
        raise call.error(f'a spec of einsum has letters, commas and one ->, not "{odd}"', "spec", '"ij,jk->ik"')
    if len(parts) != count:
        raise call.error(f'"{spec}" is for {len(parts)} array{"" if len(parts) == 1 else "s"}, not {count}', "spec", None, COUNT)
    if not arrow:
        right = "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    for c in right:
        if c not in letters:
            raise call.error(f'the result of "{spec}" has the letter {c}, which no array has', "spec")
        if right.count(c) > 1:
            raise call.error(f'the result of "{spec}" has the letter {c} twice', "spec")
    return parts, right


def contract(call: Call, parts: Sequence[str], right: str, values: Sequence[Value], places: Sequence[str | int]) -> Value:
    """The einsum of ``values``: repeated letters become diagonals, sizes of literally 1 broadcast."""
    letters, arrays = list(parts), list(values)
    sizes: dict[str, Size] = {}
    for n, (part, x, place) in enumerate(zip(letters, arrays, places, strict=True)):
        if len(part) != x.type.rank:
            raise call.error(
                f'{call.name} expects {len(part)} ax{"is" if len(part) == 1 else "es"} ("{part}") here, not {noun(Array(x))}',
                place,
                None,
                SHAPE,
            )
        for c in sorted(set(part)):
            while part.count(c) > 1:
                part, x = _diagonal(call, part, x, c, place)
        letters[n], arrays[n] = part, x
        for c, size in zip(part, x.type.shape, strict=True):
            if sizes.get(c, Size.of(1)).constant == 1:
                sizes[c] = size
    for n, place in enumerate(places):
        letters[n], arrays[n] = _fitted(call, letters[n], arrays[n], sizes, place)
    spec = ",".join(letters) + "->" + right
    if spec == f"{right}->{right}":
        return arrays[0]
    return compose.op(call.b, "einsum", *arrays, spec=spec)


def _diagonal(call: Call, part: str, x: Value, letter: str, place: str | int) -> tuple[str, Value]:
    first = part.index(letter)
    second = part.index(letter, first + 1)
    order = [i for i in range(len(part)) if i not in (first, second)] + [first, second]
    x = compose.permute(call.b, x, [i - len(part) for i in order])
    fitted = call.fit(x, -1, x.type.shape[-2])
    if fitted is None:
        raise call.error(f"{letter} stands for two sizes, {x.type.shape[-2]} and {x.type.shape[-1]}", place, None, SHAPE)
    kept = "".join(part[i] for i in order[:-2]) + letter
    return kept, compose.op(call.b, "diagonal", fitted)


def _fitted(call: Call, part: str, x: Value, sizes: dict[str, Size], place: str | int) -> tuple[str, Value]:
    for c in part:
        axis = part.index(c) - len(part)
        own = x.type.shape[axis]
        if own.constant == 1 and sizes[c].constant != 1:
            x, part = compose.at(call.b, x, axis, 0), part.replace(c, "")
            continue
        fitted = call.fit(x, axis, sizes[c])
        if fitted is None:
            raise call.error(f"{call.name}: the sizes {sizes[c]} and {own} of one index differ", place, None, SHAPE)
        x = fitted
    return part, x


@builtin(FAMILY, "einsum(spec, *arrays)", example='einsum("ij,jk->ik", A, B)')
def einsum(call: Call) -> Result:
    """Product of arrays summed over every letter that the result lacks. A letter twice in one array takes its diagonal;
    without -> the result has the letters that occur once, sorted."""
    if not call.rest:
        raise call.error("einsum needs arrays after its spec", None, 'einsum("ij,jk->ik", A, B)', COUNT)
    places: list[str | int] = list(range(len(call.rest)))
    parts, right = split(call, call.text("spec"), len(places))
    return contract(call, parts, right, call.arrays(places), places)


@builtin(FAMILY, "dot(a, b)", example="dot(a, b)")
def dot(call: Call) -> Result:
    """Of vectors the inner product (not conjugated), of matrices the matrix product, with a scalar the product; of larger
    arrays the sum over the last axis of a and the last but one of b."""
    a, b = call.arrays(["a", "b"])
    if a.type.rank == 0 or b.type.rank == 0:
        return compose.op(call.b, "mul", a, b)
    left = string.ascii_lowercase[: a.type.rank]
    right = string.ascii_uppercase[: b.type.rank]
    right = right[:-2] + left[-1] + right[-1] if b.type.rank > 1 else left[-1]
    result = left[:-1] + right.replace(left[-1], "")
    return contract(call, [left, right], result, [a, b], ["a", "b"])


@builtin(FAMILY, "outer(a, b)", example="outer(a, b)")
def outer(call: Call) -> Result:
    """All products a[i] * b[j]; larger arrays are read as one row."""
    rows = [compose.reshape(call.b, v, [v.type.numel]) for v in call.arrays(["a", "b"])]
    return compose.op(call.b, "einsum", *rows, spec="i,j->ij")


@builtin(FAMILY, "trace(A)", example="trace(A)")
def trace(call: Call) -> Result:
    """Sum of the diagonal of a matrix (of a larger array, over its first two axes)."""
    x = call.vector_or_more("A", rank=2)
    order = [*range(2 - x.type.rank, 0), -x.type.rank, 1 - x.type.rank]
    moved = compose.permute(call.b, x, order)
    fitted = call.fit(moved, -1, moved.type.shape[-2])
    diagonal = compose.diagonal(call.b, moved if fitted is None else fitted)
    return compose.reduce(call.b, "sum", diagonal, (-1,))
