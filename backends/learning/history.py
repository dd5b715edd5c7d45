"""What a training has seen so far, and its file: numbers and tensors, without code (safetensors)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ...compiler.diagnostics import DataError
from ..scratch import write_whole

FORMAT = "unspool training 1"


@dataclass
class History:
    """Mean losses by epoch: of training, and of validation where there is any; ``best`` is the epoch of the least one (of validation, if
    there is), ``stopped`` says why training ended: ``epochs``, ``patience`` or ``interrupted``."""

    loss: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    stopped: str = ""

    @property
    def watched(self) -> list[float]:
        """The losses that decide."""
        return self.validation or self.loss

    @property
    def best(self) -> int:
        """The epoch of the least loss, from 0 on; -1 before the first."""
        return min(range(len(self.watched)), key=lambda n: self.watched[n], default=-1)

    @property
    def epochs(self) -> int:
        """How many epochs are done."""
        return len(self.loss)


class Checkpoint:
    """The file of a training: module, best parameters, optimizer and history, after each epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, module: nn.Module, best: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, history: History) -> None:
        """Write the file whole, or leave the one that is there. Raises DataError."""
        state = optimizer.state_dict()
        tensors = {f"module.{n}": t for n, t in module.state_dict().items()} | {f"best.{n}": t for n, t in best.items()}
        numbers: dict[str, dict[str, Any]] = {}
        for number, entries in state["state"].items():
            for name, value in entries.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{number}.{name}"] = value
                else:
                    numbers.setdefault(str(number), {})[name] = value
        about = {"history": asdict(history), "groups": state["param_groups"], "numbers": numbers, "random": torch.get_rng_state().tolist()}
        try:
            text = json.dumps(about)
        except TypeError as error:
            raise DataError(f"the state of {type(optimizer).__name__} cannot be stored in a checkpoint: {error}") from None
        data = save({n: t.detach().cpu().contiguous() for n, t in tensors.items()}, {"format": FORMAT, "training": text})
        try:
            write_whole(self.path, data)
        except OSError as error:
            raise DataError(f"cannot write the checkpoint {self.path}: {error.strerror or error}") from None

    def read(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[History, dict[str, Tensor]]:
        """Bring module and optimizer to where the file has them; the history, and the best parameters. Raises DataError for a file
        that is none of ours, damaged, or of another module."""
        try:
            with safe_open(self.path, framework="pt") as file:
                about = (file.metadata() or {}).get("training", "")
                if (file.metadata() or {}).get("format") != FORMAT:
                    raise DataError(f"{self.path} is no checkpoint of a training")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            found = json.loads(about)
            history = History(**found["history"])
            groups, numbers = found["groups"], found["numbers"]
            random = torch.tensor(found["random"], dtype=torch.uint8)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self.path} cannot be read as a checkpoint: {error}") from None
        parts: dict[str, dict[str, Tensor]] = {"module": {}, "best": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts.get(part, {})[rest] = tensor
        state: dict[int, dict[str, Any]] = {int(n): dict(entries) for n, entries in numbers.items()}
        for name, tensor in parts["optimizer"].items():
            number, _, rest = name.partition(".")
            state.setdefault(int(number), {})[rest] = tensor
        try:
            module.load_state_dict(parts["module"])
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        except (RuntimeError, ValueError, KeyError) as error:
            said = " ".join(str(error).split())
            raise DataError(f"{self.path} is a checkpoint of something else: {said[:300]}") from None
        torch.set_rng_state(random)
        return history, parts["best"]


def is_better(history: History) -> bool:
    """Whether the last epoch is the best so far."""
    return history.best == history.epochs - 1 and math.isfinite(history.watched[-1])
