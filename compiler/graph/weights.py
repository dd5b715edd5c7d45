"""The weights of a torch module as one vector, its parameters (leaves) one behind the other, and modules applied with such vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..diagnostics import DataError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


def numel(module: Module) -> int:
    """How many numbers the weights of a module are; a parameter that two places share counts once."""
    return sum(p.numel() for p in module.parameters())


def flattened(module: Module) -> Tensor:
    """The weights of a module, in the order of ``named_parameters()``; autograd sees through it to the parameters."""
    import torch

    return torch.cat([p.reshape(-1) for p in module.parameters()])


def leaves(module: Module, vector: Tensor) -> dict[str, Tensor]:
    """Parameters by name from weights ``vector``, whose leading axes each of them keeps."""
    import torch

    parts = torch.split(vector, [p.numel() for p in module.parameters()], -1)
    return {name: part.reshape(*vector.shape[:-1], *p.shape) for (name, p), part in zip(module.named_parameters(), parts, strict=True)}


@dataclass(frozen=True)
class Parameters:
    """The parameters of a module, in the order of ``named_parameters()``: shapes, sizes, and the places that hold each of them."""

    shapes: list[tuple[int, ...]]
    sizes: list[int]
    places: list[tuple[dict[str, Any], str, int]]  # where a module keeps it, by which name, and which one it is

    def call(self, module: Module, values: Sequence[Tensor], inputs: Sequence[Tensor]) -> Any:
        """What the module returns with values in place of its parameters, as ``torch.func.functional_call`` gives it in a third of the time."""
        before = [held[name] for held, name, _ in self.places]
        try:
            for held, name, n in self.places:
                held[name] = values[n]
            return module(*inputs)
        finally:
            for (held, name, _), parameter in zip(self.places, before, strict=True):
                held[name] = parameter


def parameters(module: Module) -> Parameters:
    """The parameters of a module. Raises DataError for one that torch has compiled to a script, whose parameters cannot be replaced."""
    import torch

    if any(isinstance(m, torch.jit.ScriptModule) for m in module.modules()):
        raise DataError("a scripted module cannot be called with weights other than its own: pass the module that it was made of")
    found = list(module.parameters())
    numbers = {id(p): n for n, p in enumerate(found)}
    places = [(m._parameters, name, numbers[id(p)]) for m in module.modules() for name, p in m._parameters.items() if p is not None]
    return Parameters([tuple(p.shape) for p in found], [p.numel() for p in found], places)


def joined(name: str, module: Module, found: Mapping[str, Any]) -> Tensor:
    """Weights from parameters by name, all with the same leading axes: the opposite of :func:`leaves`. Raises DataError."""
    import torch

    known = dict(module.named_parameters())
    if found.keys() != known.keys():
        odd = next((n for n in known if n not in found), None)
        what = f"{odd!r} is missing" if odd is not None else f"it has no {next(n for n in found if n not in known)!r}"
        raise DataError(f"{name} needs the parameters of its module by name ({', '.join(known)}): {what}")
    parts = []
    for leaf, parameter in known.items():
        value, shape = torch.as_tensor(found[leaf]), tuple(parameter.shape)
        lead = value.dim() - len(shape)
        if lead < 0 or tuple(value.shape[lead:]) != shape:
            raise DataError(f"{name}[{leaf!r}] needs shape {shape}; got shape {tuple(value.shape)}")
        parts.append(value.reshape(*value.shape[:lead], parameter.numel()))
    leads = {tuple(p.shape[:-1]) for p in parts}
    if len(leads) > 1:
        raise DataError(f"the leading dimensions of the parameters in {name} differ: {', '.join(map(str, sorted(leads)))}")
    return torch.cat(parts, -1)


def each(name: str, module: Module, known: Parameters, values: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The module with weights ``values[...][i]`` on ``inputs[...][i]``, for all i at once, and the results likewise. It is
    ``torch.vmap`` without what that does for operands and results of any structure. Raises DataError for a module that torch cannot map
    over weights."""
    import torch
    from torch._functorch import vmap

    count = values[0].shape[0]
    vmap.lazy_load_decompositions()  # type: ignore[attr-defined]
    level = torch._C._functorch._vmap_increment_nesting(count, "different")
    try:
        inner = [[torch._C._functorch._add_batch_dim(x, 0, level) for x in xs] for xs in (values, inputs)]
        out = known.call(module, *inner)
        found = tuple(out) if isinstance(out, (tuple, list)) else (out,)
        return tuple(torch._C._functorch._remove_batch_dim(y, level, count, 0) for y in found)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"module {name} cannot be called with weights of its own for each problem: {reason}") from error
    finally:
        torch._C._functorch._vmap_decrement_nesting()
