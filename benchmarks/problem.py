"""A program of ours with its data: our contestants, the float64 reference, and helpers that do the same to peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

import unspool as us
from unspool.backends.registry import availability, canonical

from .contest import Arrays, Contestant, arrays


class Built(Protocol):
    """What modules are built from: an algorithm, or several in a row."""

    def build(self, **given: Any) -> torch.nn.Module: ...


Compare = Callable[[Any], Arrays]
#: The operands of a peer in a row, from what is given by name, the inputs, and the parameters in the order of ``values``.
Order = Callable[[Mapping[str, Any], Sequence[Any], Sequence[Any]], tuple[Any, ...]]

LOSSES = Path(__file__).parent / "programs" / "losses.us"
CPU_TARGETS = ("c", "numba")


@dataclass
class Place:
    """A device, and what has been made for it: problems of contests, layers of contestants."""

    device: str = "cpu"
    problems: list[Problem] = field(default_factory=list)
    layers: list[torch.nn.Module] = field(default_factory=list)


_places: list[Place] = []


@contextmanager
def placed(device: str) -> Iterator[Place]:
    """Contestants made inside run on this device; references stay on the processor."""
    _places.append(Place(device))
    try:
        yield _places[-1]
    finally:
        _places.pop()


def here(value: Any) -> Any:
    """A tensor on the device of the contestants; anything else as it is."""
    return value.to(_places[-1].device) if _places and isinstance(value, Tensor) else value


def targets() -> list[str]:
    """Compiling targets that can be used here, the default one first."""
    from unspool.backends.registry import NAMES

    if _places and _places[-1].device != "cpu":
        return ["cuda"]
    best = canonical(None)
    usable = [name for name in CPU_TARGETS if name in NAMES and availability(name).usable]
    return sorted(usable, key=lambda name: name != best)


@dataclass(frozen=True, eq=False)
class Problem:
    """An algorithm, what it is built with, what it is called with, and the loss of its result.

    Parameters are given by value; gradients of a layer are those of its unconstrained storage, so gradients that
    peers compute by value are pulled back through the constraint before they are compared.
    """

    handle: Built
    inputs: tuple[Any, ...]
    given: Mapping[str, Any] = field(default_factory=dict)  # by name: tensors, or modules that a program calls
    values: Mapping[str, Tensor] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    loss: Callable[..., Tensor] | None = None  # of the result and ``extra``
    extra: tuple[Tensor, ...] = ()
    wanted: tuple[int, ...] = ()  # inputs whose gradient is asked for, besides the parameters
    jax_loss: Callable[..., Any] | None = None  # the same in JAX
    order: Order = lambda given, inputs, params: (*inputs, *params)
    inside: str = ""  # the loss as a fn of programs/losses.us, for the loss inside the kernel
    variant: str = ""

    def layer(self, target: str, dtype: str = "f32") -> torch.nn.Module:
        """The program as a module."""
        cast = torch.float64 if dtype == "f64" else torch.float32
        tensors = {n: lift(v, cast) for n, v in (*self.given.items(), *self.values.items())}
        made = self.handle.build(**tensors, **self.counts, target=target, dtype=dtype)
        if _places and target != "interpreter":
            made = made.to(_places[-1].device)
            _places[-1].layers.append(made)
        return made

    # -- the reference -----------------------------------------------------------------------------------------------

    @cached_property
    def _exact(self) -> torch.nn.Module:
        return self.layer("interpreter", "f64")

    def reference(self) -> Arrays:
        """The result by the interpreter in float64."""
        with torch.no_grad():
            return arrays(self._exact(*(lift(x, torch.float64) for x in self.inputs)))

    def reference_gradient(self) -> Arrays:
        """The gradient by the interpreter in float64: of the parameters' storage, then of wanted inputs."""
        return arrays(self._gradient(self._exact, torch.float64, lambda x: x)())

    def pull_back(self, gradient: Any) -> Arrays:
        """A peer's gradient by value (parameters in the order of ``values``, then wanted inputs) as the reference has it."""
        found = [torch.from_numpy(np.ascontiguousarray(g)) for g in arrays(gradient)]
        mapped = [getattr(self._exact, name) for name in self.values]
        stored = list(self._exact.parameters())
        own = torch.autograd.grad(mapped, stored, [g.reshape(m.shape) for g, m in zip(found, mapped)]) if stored else ()
        return arrays([*own, *found[len(mapped) :]])

    # -- ours --------------------------------------------------------------------------------------------------------

    def forward(self) -> list[Contestant]:
        """Our layers under no_grad, one per target."""
        return self._ours(lambda target: quiet(self.layer(target), *map(here, self.inputs)))

    def gradient(self) -> list[Contestant]:
        """``loss(layer(...)).backward()`` of our layers, one per target; with the loss inside the kernel where it is a ``fn``."""
        found = self._ours(lambda target: self._gradient(self.layer(target), torch.float32))
        if self.inside:
            found.insert(1, Contestant(_named("unspool, loss inside", self.variant), "inside", self._inside, moves=True))
        return found

    def _inside(self) -> Callable[[], Any]:
        layer = self.layer(targets()[0])
        step = layer.value_and_grad(getattr(us.load(LOSSES), self.inside))  # type: ignore[operator]
        names = [name for name, _ in layer.named_parameters()]
        operands = [here(x) for x in (*self.inputs, *self.extra)]

        def run() -> list[Tensor]:
            _, grads = step(*operands)
            return [grads[name] for name in names]

        return run

    def _ours(self, make: Callable[[str], Callable[[], Any]]) -> list[Contestant]:
        if _places:
            _places[-1].problems.append(self)
        found = []
        for number, target in enumerate(targets()):
            name = _named(f"unspool, target {target}" if number else "unspool", self.variant)
            found.append(Contestant(name, "other" if number else "unspool", partial(make, target), moves=True))
        return found

    def _gradient(
        self, layer: torch.nn.Module, dtype: torch.dtype, move: Callable[[Any], Any] = here
    ) -> Callable[[], tuple[Tensor, ...]]:
        assert self.loss is not None
        inputs = [move(lift(x, dtype)) for x in self.inputs]
        for i in self.wanted:
            inputs[i] = inputs[i].clone().requires_grad_()
        leaves = [*layer.parameters(), *(inputs[i] for i in self.wanted)]
        extra = tuple(move(lift(x, dtype)) for x in self.extra)
        return backward(lambda: self.loss(layer(*inputs), *extra), leaves)  # type: ignore[misc]

    # -- peers -------------------------------------------------------------------------------------------------------

    def torch(self, name: str, peer: str, make: Callable[[], Callable[..., Any]], *, compare: Compare = arrays) -> Contestant:
        """A peer in torch under no_grad; ``make`` gives the function of the operands that ``order`` puts in a row."""
        operands = self.order(self.given, self.inputs, list(self.values.values()))
        return Contestant(name, peer, lambda: quiet(make(), *map(here, operands)), compare, moves=True)

    def torch_gradient(self, name: str, peer: str, make: Callable[[], Callable[..., Any]]) -> Contestant:
        """``loss(function(...)).backward()`` of a peer in torch."""
        loss = self.loss
        assert loss is not None

        def prepare() -> Callable[[], Any]:
            function, inputs = make(), [here(x) for x in self.inputs]
            params = [here(v).clone().requires_grad_() for v in self.values.values()]
            for i in self.wanted:
                inputs[i] = inputs[i].clone().requires_grad_()
            operands = self.order({n: here(v) for n, v in self.given.items()}, inputs, params)
            extra = [here(x) for x in self.extra]
            return backward(lambda: loss(function(*operands), *extra), [*params, *(inputs[i] for i in self.wanted)])

        return Contestant(name, peer, prepare, self.pull_back, moves=True)

    def jax(self, name: str, function: str, module: str = "jax_peers") -> Contestant:
        """The function of that name in this module of ``peers``, jitted."""

        def make() -> Callable[[], Any]:
            import jax

            peers = import_module(f".peers.{module}", __package__)
            operands = [_to_jax(x) for x in self.order(self.given, self.inputs, list(self.values.values()))]
            static = [i for i, x in enumerate(operands) if isinstance(x, int)]
            jitted = jax.jit(getattr(peers, function), static_argnums=static)
            return lambda: jax.block_until_ready(jitted(*operands))

        return Contestant(name, "jax", make, moves=True)

    def jax_gradient(self, name: str, function: str, module: str = "jax_peers") -> Contestant:
        """The gradient of ``jax_loss`` of that function, jitted."""

        def make() -> Callable[[], Any]:
            import jax

            peers = import_module(f".peers.{module}", __package__)
            called, loss, wanted = getattr(peers, function), self.jax_loss, self.wanted
            assert loss is not None
            given = {n: _to_jax(v) for n, v in self.given.items()}
            inputs = [_to_jax(x) for x in self.inputs]
            params = [_to_jax(v) for v in self.values.values()]
            extra = [_to_jax(x) for x in self.extra]

            def value(leaves: list[Any], given: Any, inputs: list[Any], extra: list[Any]) -> Any:
                for i, x in zip(wanted, leaves[len(params) :]):
                    inputs[i] = x
                return loss(called(*self.order(given, inputs, leaves[: len(params)])), *extra)

            jitted = jax.jit(jax.grad(value))
            leaves = [*params, *(inputs[i] for i in wanted)]
            return lambda: jax.block_until_ready(jitted(leaves, given, inputs, extra))

        return Contestant(name, "jax", make, self.pull_back, moves=True)


def _to_jax(value: Any) -> Any:
    import jax.numpy as jnp

    return jnp.asarray(value.numpy()) if isinstance(value, Tensor) else value


def _named(name: str, variant: str) -> str:
    return f"{name}, {variant}" if variant else name


def lift(value: Any, dtype: torch.dtype) -> Any:
    """A floating or complex tensor, or a copy of a module, in another precision; anything else as it is."""
    if isinstance(value, torch.nn.Module):
        return deepcopy(value).to(dtype)
    if not isinstance(value, Tensor) or not (value.is_floating_point() or value.is_complex()):
        return value
    return value.to(dtype.to_complex() if value.is_complex() else dtype)


def quiet(function: Callable[..., Any], *operands: Any) -> Callable[[], Any]:
    """A call without autograd."""

    def run() -> Any:
        with torch.no_grad():
            return function(*operands)

    return run


def backward(loss: Callable[[], Tensor], leaves: Sequence[Tensor]) -> Callable[[], tuple[Tensor, ...]]:
    """What a step of training does before the optimizer: gradients of ``leaves`` made anew."""

    def run() -> tuple[Tensor, ...]:
        for leaf in leaves:
            leaf.grad = None
        loss().backward()
        return tuple(leaf.grad for leaf in leaves)  # type: ignore[misc]

    return run


def numba_run(function: str, *operands: Any) -> Contestant:
    """The function of that name in ``peers/numba_peers.py`` on these operands."""

    def make() -> Callable[[], Any]:
        from .peers import numba_peers

        called = getattr(numba_peers, function)
        numbers = [x.numpy() if isinstance(x, Tensor) else x for x in operands]
        return lambda: called(*numbers)

    return Contestant("numba", "numba", make)
