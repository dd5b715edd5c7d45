"""Files of weights: safetensors, with what is known of the model in the header. Nothing in such a file is ever run.

Keys of the header: ``format``, ``features`` (version of the layout), ``width``, ``members``; ``programs``, ``points``, ``machines`` of the
dataset; ``spearman_heldout``, ``spearman_ceiling``, ``ndcg5_heldout``, ``mape_heldout``, ``regret_heldout``, ``programs_heldout``; ``seed``, ``without``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ...diagnostics import DataError
from .features import FEATURES, TABLES
from .model import Ensemble, Network

FORMAT = "unspool cost model 1"
#: Bytes, numbers of an embedding and networks that a file has at most.
_BYTES, _WIDTH, _MEMBERS = 64 << 20, 1024, 64


def write(path: Path, model: Ensemble, header: Mapping[str, Any]) -> None:
    """Write a model; ``header`` has what is known of it. Raises DataError."""
    tensors = {
        f"{n}.{name}": tensor.detach().contiguous()
        for n, member in enumerate(model.members)
        for name, tensor in member.state_dict().items()
        if n == 0 or not name.startswith("scale_")
    }
    width = model.members[0].inside.hidden_size
    known = {**header, "format": FORMAT, "features": FEATURES, "width": width, "members": len(model.members)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_name(f".{path.name}.new")
        try:
            made.write_bytes(save(tensors, {key: json.dumps(value) for key, value in known.items()}))
            made.replace(path)
        finally:
            made.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from None


def read(path: Path) -> Ensemble:
    """The model in a file. Raises DataError for what is no such file, is damaged, or is of another version of the features."""
    header, tensors = _content(path)
    if header.get("format") != FORMAT:
        raise DataError(f"{path} has no weights of a cost model")
    if header.get("features") != FEATURES:
        raise DataError(
            f"{path} was trained on features of version {header.get('features')}, and this is version {FEATURES}: train it anew (dsl train-model)"
        )
    width, count = header.get("width"), header.get("members")
    if not (isinstance(width, int) and 0 < width <= _WIDTH and isinstance(count, int) and 0 < count <= _MEMBERS):
        raise DataError(f"{path} is damaged: its header names no sizes of networks")
    scales = {name: tensors.get(f"0.scale_{name}", torch.zeros(0)) for name in TABLES}
    for name, columns in TABLES.items():
        if tuple(scales[name].shape) != (2, len(columns)):
            raise DataError(f"{path} is damaged: the scales of table {name} have another shape")
    members = []
    for n in range(count):
        network = Network(scales, width)
        wanted = network.state_dict()
        state = {}
        for name, tensor in wanted.items():
            found = tensor if name.startswith("scale_") else tensors.get(f"{n}.{name}")
            if (
                found is None
                or found.shape != tensor.shape
                or found.dtype != tensor.dtype
                or not bool(torch.isfinite(found).all())
            ):
                raise DataError(f"{path} is damaged: weight {n}.{name} is missing, has another shape, or is no number")
            state[name] = found
        network.load_state_dict(state)
        members.append(network.eval())
    return Ensemble(members, header)


def read_header(path: Path) -> dict[str, Any]:
    """What is known of the model in a file. Raises DataError."""
    return _content(path, tensors=False)[0]


def _content(path: Path, *, tensors: bool = True) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        if path.stat().st_size > _BYTES:
            raise DataError(f"{path} has more than {_BYTES >> 20} MiB: that is no cost model")
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
            found = {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118
        return {key: json.loads(value) for key, value in said.items()}, found
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except (SafetensorError, ValueError) as error:
        raise DataError(f"{path} is no file of weights, or it is damaged: {error}") from None
