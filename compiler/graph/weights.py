"""The weights of a torch module as one vector, its parameters (leaves) one behind the other, and modules applied with such vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def applied(module: Module, vector: Tensor, inputs: Sequence[Tensor]) -> Any:
    """What the module returns with other weights."""
    from torch.func import functional_call

    return functional_call(module, leaves(module, vector), tuple(inputs))


def each(name: str, module: Module, vectors: Tensor, inputs: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> tuple[Tensor, ...]:
    """The module with weights ``vectors[i]`` on ``inputs[...][i]``, for all i at once; the results, of these ``shapes``, one behind the
    other. Raises DataError for a module that torch cannot map over weights."""
    import torch

    if not vectors.shape[0]:
        return tuple(vectors.new_zeros(shape) for shape in shapes)
    try:
        out = torch.vmap(lambda w, *xs: applied(module, w, xs), randomness="different")(vectors, *inputs)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"module {name} cannot be called with weights of its own for each problem: {reason}") from error
    return tuple(y.flatten(0, 1) for y in (out if isinstance(out, (tuple, list)) else (out,)))
