"""Values from a caller to tensors of the declared types, and results back: NumPy in, NumPy out; torch in, torch out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..compiler.diagnostics import DataError
from ..compiler.graph.ops.common import complex_twin, real_twin, torch_dtype
from ..compiler.graph.types import COMPLEXES, INTEGERS, REALS, Type, is_complex, is_floating, is_integer

DTYPE_NAMES: dict[torch.dtype, str] = {torch_dtype(torch, d): d for d in (*REALS, *COMPLEXES, *INTEGERS, "bool")}
_HALF = (torch.float16, torch.bfloat16)
_UNSIGNED = (torch.uint8, torch.uint16, torch.uint32, torch.uint64)


@dataclass
class Argument:
    """One value of a call. ``value`` is a torch tensor, or a Python number (or nested list of them): ``weak``."""

    name: str
    type: Type
    value: Any
    weak: bool
    numpy: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that came."""
        return tuple(self.value.shape)


def argument(name: str, type: Type, value: Any) -> Argument:
    """Look at a value handed in. Raises DataError for what is neither an array nor a number."""
    if isinstance(value, Tensor):
        if value.layout != torch.strided:
            raise DataError(f"{name} is a tensor of layout {value.layout}; dense ones are needed: call .to_dense()")
        return Argument(name, type, value, False, False)
    if isinstance(value, (bool, int, float, complex, np.generic)):
        return Argument(name, type, _number(name, type, value), True, False)
    if isinstance(value, (list, tuple)):
        try:
            array = np.asarray(value)
        except ValueError:
            raise DataError(f"{name} is a nested list whose rows differ in length") from None
        return Argument(name, type, _from_numpy(name, array), True, False)
    if isinstance(value, np.ndarray):
        return Argument(name, type, _from_numpy(name, value), False, True)
    kind = value.__class__.__name__
    raise DataError(
        f"{name} needs {type} as a torch tensor, a NumPy array or a number; got {'an' if kind[0] in 'AEIOUaeiou' else 'a'} {kind}"
    )


def _number(name: str, type: Type, value: Any) -> Tensor:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        raise DataError(f"{name} is {value}, which no integer of 64 bits holds")
    if type.dtype == "key":
        raise DataError(f"{name} is a key: make one with us.key({value!r})")
    return torch.tensor(
        value, dtype=torch.complex128 if isinstance(value, complex) else torch.float64 if isinstance(value, float) else None
    )


def _from_numpy(name: str, array: np.ndarray[Any, Any]) -> Tensor:
    if array.dtype.kind not in "fciub" or array.dtype.itemsize > 16 or array.dtype in (np.longdouble, np.clongdouble):
        raise DataError(f"{name} has NumPy dtype {array.dtype}, which is not supported")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if any(s < 0 or s % array.itemsize for s in array.strides) or not array.flags.writeable:
        array = array.copy()  # torch has no such strides, and warns of memory that may not be written
    return torch.from_numpy(array)


def widened(values: Iterable[Any], real: torch.dtype | None) -> list[Any]:
    """Values, of which those that autocast has made half precision are in ``real`` again: None is that of the first other
    floating tensor, or f32."""
    found = list(values)
    if real is None:
        wide = (x.dtype.to_real() for x in found if isinstance(x, Tensor) and (x.is_floating_point() or x.is_complex()))
        real = next((d for d in wide if d not in _HALF), torch.float32)
    if real in _HALF:
        return found
    return [x.to(real) if isinstance(x, Tensor) and x.dtype in _HALF else x for x in found]


def device_of(arguments: Sequence[Argument]) -> torch.device:
    """The one device of all tensors. Raises DataError naming two that differ."""
    first: Argument | None = None
    for a in arguments:
        if a.weak:
            continue
        if first is not None and a.value.device != first.value.device:
            raise DataError(f"{first.name} is on device {first.value.device}, {a.name} on {a.value.device}: move one of them")
        first = first or a
    return first.value.device if first is not None else torch.device("cpu")


def precision(arguments: Iterable[Argument], fixed: str | None = None, owner: str = "") -> str:
    """The dtype that ``real`` stands for: that of the floating arrays; f32 if there are none.

    ``fixed`` is the precision of a built ``owner``. Raises DataError naming two that differ.
    """
    found, source = fixed, owner
    for a in arguments:
        if a.weak or a.type.dtype not in ("real", "complex"):
            continue
        dtype = DTYPE_NAMES.get(a.value.dtype, "")
        if not (is_floating(dtype) or is_complex(dtype)):
            continue
        real = real_twin(dtype)
        if found is None:
            found, source = real, a.name
        elif found != real:
            raise DataError(f"mixed precisions: {source} is {found} and {a.name} is {dtype}; convert one of them")
    return found or "f32"


def tensor(a: Argument, real: str, device: torch.device) -> Tensor:
    """The argument as a tensor of its declared dtype, with ``real`` standing for that precision. Raises DataError."""
    needed = real if a.type.dtype == "real" else (complex_twin(real) if a.type.dtype == "complex" else a.type.dtype)
    if needed is None:
        raise DataError(f"{a.name} is complex, and {real} has no complex twin: use f32 or f64")
    value: Tensor = a.value
    wanted = torch_dtype(torch, needed)
    if value.dtype != wanted:
        if not _converts(a, needed):
            got = DTYPE_NAMES.get(value.dtype, str(value.dtype).removeprefix("torch."))
            came = f"the number {value.item()}" if a.weak and not value.dim() else f"dtype {got}"
            raise DataError(f"{a.name} needs dtype {'i64 (us.key(seed) makes keys)' if needed == 'key' else needed}; got {came}")
        value = value.to(wanted)
    return value if value.device == device else value.to(device)  # numbers only: see device_of


def _converts(a: Argument, needed: str) -> bool:
    """Whether a value of another dtype may stand for ``needed``: integers for reals, reals for complex, weak numbers."""
    dtype = DTYPE_NAMES.get(a.value.dtype, "")
    integer = is_integer(dtype) or a.value.dtype in _UNSIGNED
    if needed in ("bool", "key"):
        return False
    if is_integer(needed):
        bounds = torch.iinfo(torch_dtype(torch, needed))
        return (
            a.weak and integer and (not a.value.numel() or bounds.min <= int(a.value.min()) <= int(a.value.max()) <= bounds.max)
        )
    if is_floating(needed):
        return (integer and a.type.dtype == "real") or (a.weak and (integer or is_floating(dtype)))
    if a.weak or integer:
        return dtype != "bool"
    return a.type.dtype == "complex" and is_floating(dtype)


def is_numpy_call(arguments: Iterable[Argument]) -> bool:
    """Whether results go back as NumPy: no torch tensor among the arguments, keys not counted."""
    return all(a.weak or a.numpy or a.type.dtype == "key" for a in arguments)


def to_numpy(value: Tensor) -> Any:
    """A result as a NumPy array (a scalar for rank 0)."""
    if value.dtype == torch.bfloat16:
        raise DataError("NumPy has no bf16: hand in torch tensors")
    return value.detach().resolve_conj().resolve_neg().cpu().numpy()[()]
