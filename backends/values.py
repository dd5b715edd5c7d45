"""Learnable parameters by name, under their constraints, as a torch module holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..compiler.graph.algorithm import Param
from ..compiler.nearest import did_you_mean
from . import constraints


class Values(nn.Module):
    """A module whose parameters are seen through their constraints.

    ``module.step`` is the value; ``module.stored("step")``, the optimizer and ``state_dict()["step"]`` have the
    unconstrained tensor behind it (see ``constraints.py``). A dotted name is a parameter of a module inside this one. A
    name that torch uses itself (``type``, ``half``, ...) gets a trailing underscore.
    """

    _params: dict[str, Param]  # by attribute name
    _counts: dict[str, int]  # iteration counts by name

    def __init__(self, counts: Mapping[str, int]) -> None:
        super().__init__()
        self._params = {}
        self._counts = dict(counts)

    def add(self, name: str, param: Param, value: Tensor) -> None:
        """Register a parameter with this value, in modules of its own for what stands before a dot."""
        head, _, rest = name.partition(".")
        if rest:
            attribute = head if isinstance(self._modules.get(head), Values) else free_name(self, head)
            if attribute not in self._modules:
                self.add_module(attribute, Values(self._counts))
            group = self._modules[attribute]
            assert isinstance(group, Values)
            group.add(rest, param, value)
            return
        attribute = free_name(self, head)
        stored = constraints.store(value.detach(), param.constraint, param.name)
        self.register_parameter(attribute, nn.Parameter(stored.clone(memory_format=torch.contiguous_format)))
        self._params[attribute] = param

    def __getattr__(self, name: str) -> Any:
        try:
            found: Any = super().__getattr__(name)
        except AttributeError as error:
            known = [*self.__dict__.get("_params", {}), *self.__dict__.get("_modules", {}), *(n for n in dir(type(self)) if n[0] != "_")]
            near = "" if name.startswith("_") else did_you_mean(name, known)
            raise AttributeError(f"{error}{near}", name=name, obj=self) from None
        param = self.__dict__.get("_params", {}).get(name)
        return found if param is None else constraints.constrain(found, param.constraint)

    def stored(self, attribute: str) -> Tensor:
        """The unconstrained tensor behind a parameter."""
        found = self._parameters.get(attribute)
        return found if found is not None else self.__dict__[attribute]  # a replica of DataParallel has plain tensors

    def get_parameter(self, target: str) -> nn.Parameter:
        """The stored :class:`torch.nn.Parameter`, as ``named_parameters`` lists it."""
        found = dict(self.named_parameters()).get(target)
        if found is None:
            raise AttributeError(f"there is no parameter {target!r}")
        return found

    def declared(self, path: str = "") -> Iterator[tuple[Param, str, str]]:
        """Every parameter with the path of the module that holds it (see ``get_submodule``) and the attribute it has there."""
        for attribute, param in self._params.items():
            yield param, path, attribute
        for name, child in self._modules.items():
            if type(child) is Values:
                yield from child.declared(f"{path}.{name}" if path else name)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        errors: list[str] = args[-1]
        skipped = {}
        for attribute, param in self._params.items():
            key = prefix + attribute
            mine, came = self.stored(attribute), state_dict.get(key)
            if not isinstance(came, Tensor) or came.shape == mine.shape or came.dim() != mine.dim():
                continue
            for size, have, got in zip(param.type.shape, mine.shape, came.shape, strict=True):
                if have != got and size.is_name and str(size) in self._counts:
                    errors.append(
                        f"{key} was saved with {size} = {got}, and this layer was built with {size} = {have}: "
                        f"build it with {size}={got}, or load into such a layer and call .with_iterations({have})"
                    )
                    skipped[key] = state_dict.pop(key)
                    break
        super()._load_from_state_dict(state_dict, prefix, *args)
        missing: list[str] = args[2]
        missing[:] = [k for k in missing if k not in skipped]
        state_dict.update(skipped)


def free_name(module: nn.Module, name: str) -> str:
    """``name``, with underscores behind it as long as the module has an attribute of that name."""
    while hasattr(module, name):
        name += "_"
    return name
