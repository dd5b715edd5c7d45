"""The rules for dtypes: which dtype an operation on several operands has."""

from __future__ import annotations

from collections.abc import Sequence

from ..compiler.graph.types import INTEGERS, is_complex, is_floating, is_integer

WEAK_DTYPES = {"bool": "bool", "integer": "i64", "real": "real", "complex": "complex"}
_ORDER = ("bool", "integer", "real", "complex")


class DTypeError(Exception):
    """Dtypes that do not go together. The text is a sentence."""


def kind_of(dtype: str) -> str:
    """``bool``, ``integer``, ``real``, ``complex`` or ``key``."""
    if is_integer(dtype):
        return "integer"
    return "real" if is_floating(dtype) else "complex" if is_complex(dtype) else dtype


def join(left: str, right: str) -> str:
    """The dtype of two arrays together. Raises DTypeError for bool or key with anything else."""
    if left == right:
        return left
    kinds = {kind_of(left), kind_of(right)}
    if "key" in kinds:
        raise DTypeError(f"a random key does not go together with {left if right == 'key' else right}")
    if "bool" in kinds:
        raise DTypeError(f"bool does not go together with {left if right == 'bool' else right}; cast first")
    if kinds == {"integer"}:
        return max(left, right, key=INTEGERS.index)
    if "complex" in kinds:
        return _join_complex(left, right)
    if "integer" in kinds:
        return left if is_floating(left) else right
    return _join_real(left, right)


def _join_real(left: str, right: str) -> str:
    pair = {left, right}
    if "f64" in pair:
        return "f64"
    return "real" if "real" in pair else "f32"


def _join_complex(left: str, right: str) -> str:
    twins = {complex_of(d) if is_floating(d) else d for d in (left, right) if not is_integer(d)}
    if "c128" in twins:
        return "c128"
    return "complex" if "complex" in twins else "c64"


def complex_of(dtype: str) -> str:
    """The complex dtype of a floating one."""
    return {"real": "complex", "f64": "c128"}.get(dtype, "c64")


def common(arrays: Sequence[str], weak: Sequence[str], real: bool = False) -> str:
    """The dtype of arrays (by dtype) and weak operands (by kind) together; ``real`` makes integers real.

    Raises DTypeError.
    """
    widest = max(weak, key=_ORDER.index, default="")
    if not arrays:
        if "bool" in weak and widest != "bool":
            raise DTypeError("True and False do not go together with numbers; cast first")
        dtype = WEAK_DTYPES[widest]
    else:
        dtype = arrays[0]
        for other in arrays[1:]:
            dtype = join(dtype, other)
        dtype = _with_weak(dtype, weak, widest)
    return "real" if real and is_integer(dtype) else dtype


def _with_weak(dtype: str, weak: Sequence[str], widest: str) -> str:
    if not weak:
        return dtype
    kind = kind_of(dtype)
    if kind == "key" or (kind == "bool") != (widest == "bool") or (kind == "bool" and set(weak) != {"bool"}):
        if kind == "key":
            raise DTypeError("a random key is no number")
        what = "True and False do" if "bool" in weak else f"{'an' if widest == 'integer' else 'a'} {widest} number does"
        raise DTypeError(f"{what} not go together with {dtype}; cast first")
    if widest == "complex" and kind != "complex":
        return "complex" if kind == "integer" else complex_of(dtype)
    if widest == "real" and kind == "integer":
        return "real"
    return dtype


def can_store(source: str, target: str) -> bool:
    """May an array of ``source`` be stored as ``target`` without ``cast``: not real in integer, not complex in real."""
    if source == target:
        return True
    order = {"integer": 0, "real": 1, "complex": 2}
    from_kind, to_kind = kind_of(source), kind_of(target)
    return from_kind in order and to_kind in order and order[from_kind] <= order[to_kind]
