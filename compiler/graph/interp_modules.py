"""How a run of the interpreter knows its modules: what they take and return, in which shapes, with which weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from ..diagnostics import DataError
from .interp_control import Frame
from .ops.table import Attrs
from .weights import Parameters, each, parameters


class Learned(Exception):
    """A module reads something that requires a gradient, beside its operands."""

    def __init__(self, module: Any) -> None:
        super().__init__("a module reads something that requires a gradient, beside its operands, backward but not forward")
        self.module = module


def _reads_others(results: Sequence[Any], operands: Sequence[Any]) -> bool:
    """Whether torch's graph of results has leaves that are none of the operands."""
    if any(y.is_leaf and y.requires_grad and not any(y is x for x in operands) for y in results):
        return True
    seen, stack = set(), [y.grad_fn for y in results]
    while stack:
        function = stack.pop()
        if function is None or function in seen:
            continue
        seen.add(function)
        before = function.next_functions
        if not before and hasattr(function, "variable") and not any(function.variable is x for x in operands):
            return True
        stack += [f for f, _ in before]
    return False


@dataclass
class Form:
    """How a module knows a value of the program, of ``shape``: as one tensor or, weights, as one for each of several parameters, which have
    ``sizes`` elements."""

    shape: tuple[int, ...]
    parts: list[tuple[int, ...]]
    sizes: list[int] | None = None

    def apart(self, x: Any) -> list[Any]:
        """The tensors that the module knows."""
        if self.sizes is None:
            return [_shaped(x, self.parts[0])]
        return [_shaped(p, shape) for p, shape in zip(x.split_with_sizes(self.sizes, -1), self.parts, strict=True)]

    def together(self, xs: Sequence[Any]) -> Any:
        """The value of the program."""
        if self.sizes is None:
            return _shaped(xs[0], self.shape)
        import torch

        return torch.cat([x.reshape(*self.shape[:-1], -1) for x in xs], -1)


def _shaped(x: Any, shape: tuple[int, ...]) -> Any:
    """A value in this shape."""
    return x if x.shape == shape else x.view(shape) if x.is_contiguous() else x.reshape(shape)


class Called:
    """A module as a node calls it: with one leading axis in place of all, two where problems have weights of their own, which have the first."""

    def __init__(self, frame: Frame, attrs: Attrs, shapes: Sequence[tuple[int, ...]]) -> None:
        self.name, self.module = attrs["name"], instance(frame, attrs)
        self.closed = frame.closed
        lead, self._own = attrs.get("batched", 0), attrs.get("own")
        results = [shape for _, shape in attrs["types"]]
        first = results[0][:lead]
        axes = (prod(first[: self._own]), prod(first[self._own :])) if self._own else (prod(first),)
        self._flat = [(*axes, *shape[lead:]) for shape in results]
        self.results = [Form(shape, [flat]) for shape, flat in zip(results, self._flat, strict=True)]
        self.operands = [Form(shape, [(*axes, *shape[lead:])]) for shape in (shapes if self._own is None else shapes[:-1])]
        self._parameters: Parameters | None = None
        if self._own is not None:
            self._parameters = parameters(self.module)
            parts = [(axes[0], *shape) if self._own else shape for shape in self._parameters.shapes]
            self.operands.append(Form(shapes[-1], parts, self._parameters.sizes if len(parts) > 1 else None))

    @property
    def has_weights(self) -> bool:
        """Whether weights are an operand."""
        return self._parameters is not None

    def __call__(self, operands: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
        """The results, as the module gives them, for operands as it takes them. Raises DataError as :meth:`checked`, and Learned."""
        if not self.closed:
            return self._results(operands)
        import torch

        with torch.enable_grad():
            found = self._results(operands)
        self.check_closed(found, [x for xs in operands for x in xs])
        return found if torch.is_grad_enabled() else tuple(y.detach() for y in found)

    def check_closed(self, results: Sequence[Any], operands: Sequence[Any]) -> None:
        """Raises Learned if results follow from something learned beside the operands."""
        if _reads_others(results, operands):
            raise Learned(self.module)

    def _results(self, operands: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
        if self._parameters is None:
            out = self.module(*(xs[0] for xs in operands))
        else:
            inputs, values = [xs[0] for xs in operands[:-1]], operands[-1]
            if not self._own:
                out = self._parameters.call(self.module, values, inputs)
            elif values[0].shape[0]:
                out = each(self.name, self.module, self._parameters, values, inputs)
            else:
                out = [values[0].new_zeros(shape) for shape in self._flat]
        return self.checked(out)

    def checked(self, out: Any) -> tuple[Any, ...]:
        """What the module has returned, as a tuple. Raises DataError for other shapes than a program says."""
        found: tuple[Any, ...] = tuple(out) if isinstance(out, (tuple, list)) else (out,)
        if [y.shape for y in found] != self._flat:
            skipped = 1 if self._own else 0
            got, needed = (", ".join(str(tuple(s[skipped:])) for s in shapes) for shapes in ([y.shape for y in found], self._flat))
            raise DataError(f"module {self.name} returned shape {got}, but {needed} is needed")
        return found


def called(frame: Frame, attrs: Attrs, shapes: Sequence[tuple[int, ...]]) -> Called:
    """The module of a node for operands of these shapes, made once for a run."""
    key = attrs["name"], attrs.get("index"), attrs["types"], attrs.get("own"), tuple(shapes)
    if key not in frame.found:
        frame.found[key] = Called(frame, attrs, shapes)
    return frame.found[key]  # type: ignore[no-any-return]


def instance(frame: Frame, attrs: Attrs) -> Any:
    found: Any = frame.modules[attrs["name"]]
    return found if attrs.get("index") is None else found[attrs["index"]]
