"""Programs inside ``torch.compile``: one opaque operator, ``unspool::call``, with shapes for tracing and its own derivative.

Traced code has the name of a :class:`Site` and the operands as they come, with any leading dimensions; sizes may be symbolic
there. When the compiled model runs, the site binds the sizes and runs the kernel. The backward of a site is a site. Sites are
kept for the life of the process, since compiled models hold nothing but their names.

Torch keeps what it has compiled on disk, the backward pass included, and a later process takes it from there without tracing the backward
again. So a name says what the site is, by a digest of the program and of all that it was specialised to, and the name of a derivative is that
of its site with what it is the derivative of: it can be made from the name alone.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ..compiler.diagnostics import DataError
from ..compiler.graph.activity import differentiable
from ..compiler.graph.algorithm import Algorithm, Condition, Param
from ..compiler.graph.ops.common import torch_dtype
from ..compiler.graph.ops.library import apply_vjp
from ..compiler.graph.text import print_graph
from ..compiler.graph.types import Type
from ..compiler.version import VERSION
from . import devices
from .autograd import Call
from .binding import Binding, bind, check_where, leading
from .call import Path, Routine, concrete
from .executor import Executor


class Bound(Protocol):
    """A function of tensors of known shapes, and its derivative: see :class:`~.autograd.Call`."""

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Results, in memory of their own, not recorded by autograd."""

    def adjoint(self, wrt: tuple[int, ...], given: tuple[bool, ...]) -> Bound:
        """The gradient in operands ``wrt``, from the operands and the cotangents that are given."""


class HostCall:
    """A function made of torch operations, differentiated by torch."""

    def __init__(self, function: Callable[[Sequence[Tensor]], Sequence[Tensor]], operands: int) -> None:
        self.function, self.operands = function, operands

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """See :class:`Bound`."""
        with torch.no_grad():
            found = self.function(tensors)
        taken = {x.untyped_storage().data_ptr() for x in tensors}
        apart = []
        for y in found:
            y = y.contiguous()
            if y.untyped_storage().data_ptr() in taken:
                y = y.clone()
            taken.add(y.untyped_storage().data_ptr())
            apart.append(y)
        return apart

    def adjoint(self, wrt: tuple[int, ...], given: tuple[bool, ...]) -> HostCall:
        """See :class:`Bound`."""
        count = self.operands

        def derivative(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
            def results(*chosen: Tensor) -> list[Tensor]:
                operands = list(tensors[:count])
                for i, x in zip(wrt, chosen, strict=True):
                    operands[i] = x
                return [y for y, wanted in zip(self.function(operands), given, strict=True) if wanted]

            places = range(len(wrt)), range(sum(given))
            return apply_vjp(torch, results, [tensors[i] for i in wrt], tensors[count:], *places)

        return HostCall(derivative, count + sum(given))


class Site(Protocol):
    """What a call in traced code stands for."""

    differentiable: list[bool]  # which results have derivatives
    operands: int

    def bound(self, shapes: tuple[tuple[int, ...], ...]) -> Bound:
        """The call for operands of these shapes. Raises DataError if they do not fit."""

    def fake(self, operands: Sequence[Tensor]) -> list[Tensor]:
        """Empty results for operands without data, whose sizes may be symbolic."""


class ProgramSite:
    """A program whose iteration counts, and sizes of what is given, are ``binding``."""

    def __init__(
        self, name: str, executor: Executor, binding: Binding, where: Sequence[Condition], real: str, trace: tuple[str, ...]
    ) -> None:
        self.name, self.executor, self.binding, self.where = name, executor, binding, where
        self.real, self.trace = real, trace
        self.inputs = executor.graph.inputs
        self.operands = len(self.inputs)
        self.types = executor.variant(trace)[0].result_types
        self.differentiable = [differentiable(t) for t in self.types]
        self._bound: dict[Any, Bound] = {}

    def _fit(self, shapes: Sequence[tuple[int, ...]]) -> tuple[Binding, tuple[int, ...]]:
        binding = self.binding.copy()
        operands = [(v.name, v.type, s) for v, s in zip(self.inputs, shapes, strict=True)]
        bind(binding, operands)
        check_where(self.name, self.where, binding)
        return binding, leading(operands)

    def bound(self, shapes: tuple[tuple[int, ...], ...]) -> Bound:
        """See :class:`Site`."""
        found = self._bound.get(shapes)
        if found is None:
            binding, lead = self._fit(shapes)
            prepared = self.executor.prepare(shapes, lead, self.real, binding.sizes, self.trace)
            found = prepared.call or HostCall(lambda tensors: prepared(tensors, {}), len(shapes))
            self._bound[shapes] = found
        return found

    def fake(self, operands: Sequence[Tensor]) -> list[Tensor]:
        """See :class:`Site`."""
        binding, lead = self._fit([tuple(x.shape) for x in operands])
        dtypes = [torch_dtype(torch, concrete(t.dtype, self.real)) for t in self.types]
        device = operands[0].device
        return [torch.empty((*lead, *binding.shape(t)), dtype=d, device=device) for t, d in zip(self.types, dtypes, strict=True)]


class InitialSite:
    """The value of a parameter before training, from all arguments of a plain call."""

    differentiable = [True]

    def __init__(
        self, routine: Routine, param: Param, arguments: Sequence[tuple[str, Type]], binding: Binding, real: str
    ) -> None:
        self.routine, self.param, self.arguments, self.binding, self.real = routine, param, arguments, binding, real
        self.needed = [] if param.init is None else [v.name for v in param.init.inputs]
        self.operands = len(arguments)

    def _fit(self, shapes: Sequence[tuple[int, ...]]) -> tuple[Binding, tuple[int, ...]]:
        binding = self.binding.copy()
        operands = [(n, t, s) for (n, t), s in zip(self.arguments, shapes, strict=True)]
        bind(binding, operands)
        return binding, leading([a for a in operands if a[0] in self.needed])

    def bound(self, shapes: tuple[tuple[int, ...], ...]) -> Bound:
        """See :class:`Site`."""
        binding, _ = self._fit(shapes)
        names = [n for n, _ in self.arguments]

        def value(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
            given = dict(zip(names, tensors, strict=True))
            return [self.routine.initial(self.param, given, self.real, binding, tensors[0].device)]

        return HostCall(value, len(names))

    def fake(self, operands: Sequence[Tensor]) -> list[Tensor]:
        """See :class:`Site`."""
        binding, lead = self._fit([tuple(x.shape) for x in operands])
        dtype = torch_dtype(torch, concrete(self.param.type.dtype, self.real))
        return [torch.empty((*lead, *binding.shape(self.param.type)), dtype=dtype, device=operands[0].device)]


class AdjointSite:
    """The derivative of a site: its operands, then the cotangents that are given."""

    def __init__(self, of: Site, wrt: tuple[int, ...], given: tuple[bool, ...]) -> None:
        self.of, self.wrt, self.given = of, wrt, given
        self.operands = of.operands + sum(given)
        self.differentiable = [True] * len(wrt)

    def bound(self, shapes: tuple[tuple[int, ...], ...]) -> Bound:
        """See :class:`Site`."""
        return self.of.bound(shapes[: self.of.operands]).adjoint(self.wrt, self.given)

    def fake(self, operands: Sequence[Tensor]) -> list[Tensor]:
        """See :class:`Site`."""
        return [torch.empty(operands[i].shape, dtype=operands[i].dtype, device=operands[i].device) for i in self.wrt]


_sites: dict[str, Site] = {}
_lock = threading.Lock()


def named(parts: Sequence[object], make: Callable[[], Site]) -> str:
    """The name of the site that ``parts``, as texts, tell from every other; it is made on first sight."""
    name = hashlib.sha256("\0".join(map(str, (VERSION, *parts))).encode()).hexdigest()
    with _lock:
        if name not in _sites:
            _sites[name] = make()
    return name


def derived(name: str, wrt: tuple[int, ...], given: tuple[bool, ...]) -> str:
    """The name of the derivative of a site in operands ``wrt``, for the cotangents that are ``given``."""
    return f"{name}/{','.join(map(str, wrt))}:{''.join('01'[g] for g in given)}"


def site_of(name: str) -> Site:
    """The site of a name. Raises DataError for a program that this process has not traced."""
    found = _sites.get(name)
    if found is None:
        parent, slash, rest = name.rpartition("/")
        if not slash:
            raise DataError("a compiled model calls a program that this process has not traced: call torch.compile in this process")
        wrt, _, given = rest.partition(":")
        found = AdjointSite(site_of(parent), tuple(map(int, wrt.split(","))), tuple(g == "1" for g in given))
        _sites[name] = found
    return found


def program_site(algorithm: Algorithm, executor: Executor, binding: Binding, real: str, trace: tuple[str, ...]) -> str:
    """The name of a program's site."""
    where, sizes = list(map(str, algorithm.where)), sorted(binding.sizes.items())
    parts = (print_graph(executor.graph), algorithm.name, where, executor.settings, sizes, real, trace, executor.origin)
    return named(parts, lambda: ProgramSite(algorithm.name, executor, binding, algorithm.where, real, trace))


def initial_site(routine: Routine, param: Param, arguments: Sequence[tuple[str, Type]], binding: Binding, real: str) -> str:
    """The name of the site of a parameter's initial value."""
    init = "" if param.init is None else print_graph(param.init)
    listed = [(name, str(type)) for name, type in arguments]
    parts = (init, param.name, param.type, param.constraint, listed, sorted(binding.sizes.items()), real)
    return named(parts, lambda: InitialSite(routine, param, arguments, binding, real))


@torch.compiler.disable(  # type: ignore[no-untyped-call, untyped-decorator]
    reason="learned operators inside a program run outside of compiled code"
)
def untraced(function: Callable[..., Any], *values: Any, **named: Any) -> Any:
    """Call what cannot be traced: the compiled model is cut here."""
    return function(*values, **named)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def is_transformed() -> bool:
    """Whether traced code is inside a ``torch.func`` transform: the operator has no batching rule, and torch loses tangents that reach it."""
    return torch._C._functorch.maybe_current_level() is not None


@torch.compiler.disable(  # type: ignore[no-untyped-call, untyped-decorator]
    reason="torch.func transforms an unspool program inside torch.compile, where it is one opaque operator: compile without "
    "fullgraph=True, or transform outside of what is compiled"
)
def transformed(function: Callable[..., Any], *values: Any, **named: Any) -> Any:
    """Call what a transform in compiled code transforms: it runs as without ``torch.compile``."""
    return function(*values, **named)


def delivered(found: Sequence[Tensor], results: int, trace: tuple[str, ...]) -> Any:
    """Results as the caller sees them: one or a tuple, with a :class:`Path` if traced."""
    result = found[0] if results == 1 else tuple(found[:results])
    return (result, Path(**dict(zip(trace, found[results:])))) if trace else result


@torch.library.custom_op("unspool::call", mutates_args=())
def call(site: str, operands: list[Tensor]) -> list[Tensor]:
    """The results of a site."""
    bound = site_of(site).bound(tuple([tuple(x.shape) for x in operands]))
    if isinstance(bound, Call) and (at := devices.misplaced(operands, bound.plan.device)) is not None:
        raise DataError(
            f"a program inside a compiled model got a tensor on device {operands[at].device}, and its kernel runs on "
            + (f"{operands[0].device}" if operands[at].is_cuda and operands[0].is_cuda and at else devices.WHAT[bound.plan.device])
        )
    return bound.run(operands)


@call.register_fake
def _fake(site: str, operands: list[Tensor]) -> list[Tensor]:
    return site_of(site).fake(operands)


def _save(ctx: Any, inputs: tuple[str, list[Tensor]], output: list[Tensor]) -> None:
    ctx.site, operands = inputs
    ctx.save_for_backward(*operands)
    ctx.mark_non_differentiable(*[y for y, d in zip(output, site_of(ctx.site).differentiable, strict=True) if not d])


def _backward(ctx: Any, cotangents: list[Tensor | None]) -> tuple[None, list[Tensor | None]]:
    site, operands = site_of(ctx.site), ctx.saved_tensors
    wrt = tuple([i for i, x in enumerate(operands) if ctx.needs_input_grad[1][i] and (x.is_floating_point() or x.is_complex())])
    given = tuple([g is not None and d for g, d in zip(cotangents, site.differentiable, strict=True)])
    grads: list[Tensor | None] = [None] * len(operands)
    if wrt and any(given):
        chosen = [g for g, use in zip(cotangents, given, strict=True) if g is not None and use]
        for i, g in zip(wrt, call(derived(ctx.site, wrt, given), [*operands, *chosen]), strict=True):
            grads[i] = g
    return None, grads


call.register_autograd(_backward, setup_context=_save)
