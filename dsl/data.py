"""Values for an algorithm's inputs from files, from the command line, or drawn by a seed."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..compiler.diagnostics import DataError
from ..compiler.graph.types import Type, is_complex, is_floating, is_integer
from ..compiler.nearest import did_you_mean


def read_input(spec: str, names: Sequence[str], what: str = "input") -> dict[str, Any]:
    """Values of one ``--input``: ``y=y.npy``, ``y=data.npz`` (its entry ``y``, or the only one), ``t=0.1``, or ``data.npz``
    (every entry that names an input). ``what`` is what is named, as the option is. Raises DataError."""
    name, separator, place = spec.partition("=")
    if not separator:
        archive = _load(Path(spec))
        if not isinstance(archive, dict):
            raise DataError(f"--{what} {spec}: write NAME={spec}; only an .npz file has names of its own")
        found = {n: a for n, a in archive.items() if n in names}
        if not found:
            raise DataError(f"{spec} has {', '.join(archive) or 'nothing'}, and none of the {what}s {', '.join(names)}")
        return found
    if name not in names:
        raise DataError(f"--{what} {spec}: there is no {what} {name!r}; there are {', '.join(names) or 'none'}{did_you_mean(name, names)}")
    number = _number(place)
    if number is not None:
        return {name: number}
    value = _load(Path(place))
    if isinstance(value, dict):
        if name not in value and len(value) != 1:
            raise DataError(f"{place} has no entry {name!r}; it has {', '.join(value)}")
        value = value[name] if name in value else next(iter(value.values()))
    return {name: value}


def read_inputs(specs: Sequence[str], names: Sequence[str], what: str = "input") -> dict[str, Any]:
    """Values of all ``--input`` options, a later one in place of an earlier one. Raises DataError."""
    return {name: value for spec in specs for name, value in read_input(spec, names, what).items()}


def _number(text: str) -> int | float | complex | None:
    kinds: tuple[type[int] | type[float] | type[complex], ...] = (int, float, complex)
    for kind in kinds:
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _load(path: Path) -> Any:
    """An array, or a dict of them. Raises DataError for what is no NumPy file, and for files with Python objects."""
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.lib.npyio.NpzFile):
            with found:
                entries = {n: found[n] for n in found.files}
            if all(isinstance(v, np.ndarray) for v in entries.values()):
                return entries
            raise ValueError("it has entries that are no arrays")
        return found
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "allow_pickle" in reason or "pickle" in reason:
            reason = "it holds Python objects, not numbers, or is no NumPy file"
        raise DataError(f"cannot read {path}: {reason}") from None


def save(path: Path, values: Sequence[Any]) -> None:
    """Write one result as .npy, or several as the entries ``r0, r1, ...`` of an .npz. Raises DataError."""
    try:
        if path.suffix == ".npz":
            np.savez(path, **{f"r{i}": v for i, v in enumerate(values)})
        elif len(values) == 1:
            with path.open("wb") as file:
                np.save(file, values[0])
        else:
            raise DataError(f"there are {len(values)} results: name an .npz file, or as many .npy files")
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from None


def _half(values: Any, dtype: str) -> Any:
    """Numbers in half precision where that is the dtype; NumPy has no bfloat16, which is a tensor."""
    if dtype == "bf16":
        import torch

        return torch.as_tensor(values).bfloat16()
    return values.astype("f2") if dtype == "f16" else values


def draw(name: str, type: Type, sizes: Mapping[str, int], lead: Sequence[int], seed: int, real: str) -> Any:
    """Random data for an input: numbers in 0..1, integers 1, a key made from the seed; the name takes part in the seed."""
    from ..backends.keys import key

    shape = (*lead, *(s.evaluate(sizes) for s in type.shape))
    if type.dtype == "key":
        return key(seed, shape)
    random = np.random.default_rng([seed, *name.encode()])
    dtype = real if type.dtype in ("real", "complex") else type.dtype
    precision = np.dtype({"f64": "f8", "c128": "f8"}.get(dtype, "f4"))
    if is_floating(type.dtype):
        return _half(random.random(shape, dtype=precision), dtype)
    if is_complex(type.dtype):
        return random.random(shape, dtype=precision) + 1j * random.random(shape, dtype=precision)
    if is_integer(type.dtype):
        return np.ones(shape, dtype=f"i{int(type.dtype[1:]) // 8}")
    return random.random(shape) < 0.5
