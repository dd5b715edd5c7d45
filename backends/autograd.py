"""Kernels as torch functions: autograd to any order, forward mode, and torch's function transforms.

A :class:`Call` is a kernel on operands of known shapes. Its derivatives are calls of the same form: the gradient of a result
that each problem has for itself comes from a backward kernel, which sums what it gives for shared operands over the problems;
the cotangent of such a sum is, in its turn, shared by all problems. So one class does for every order.

Two autograd functions wrap a call. The classic one costs a few microseconds and is used in plain eager mode; the other one
has what ``torch.func`` and forward mode need. Under ``torch.compile`` neither is seen: see ``compiled.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ..compiler.graph.algorithm import Constraint
from ..compiler.graph.segments import Policy
from ..compiler.graph.types import BYTES
from . import devices, memory
from .bound import Bound
from .constraints import pull_back
from .execute import KernelPlan, available
from .products import ELEMENTS, PROBLEMS, Products, pays

#: Places of operands that are values of stored tensors, with their constraints.
Links = Sequence[tuple[int, Constraint]]

#: What a forward pass hands to its gradient, beside costly products, takes no more than so many bytes.
HANDED = 4 << 20
#: And takes at least so many operations for each element; in tiles of problems, of which it is packed and unpacked, more.
EFFORT = {False: 64, True: 256}

_transforms_active = torch._C._are_functorch_transforms_active


@dataclass(frozen=True)
class View:
    """How an operand becomes flat: expanded to ``wide`` if not None, then reshaped to ``flat`` if not None."""

    batched: bool
    wide: tuple[int, ...] | None = None
    flat: tuple[int, ...] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """The flat operand."""
        if self.wide is not None:
            x = x.expand(self.wide)
        return x if self.flat is None else x.reshape(self.flat)


def view(shape: tuple[int, ...], rank: int, lead: tuple[int, ...]) -> View:
    """The view of an operand: without leading axes where all problems share it, else with one in front."""
    own, core = shape[: len(shape) - rank], shape[len(shape) - rank :]
    if prod(own) == 1 and prod(lead) != 0:
        return View(False, None, core if own else None)
    return View(True, None if own == lead else (*lead, *core), None if len(lead) == 1 else (prod(lead), *core))


class Call:
    """A kernel on operands of these shapes, whose leading dimensions broadcast to ``lead``.

    ``likes`` says for each result whether every problem has its own (None), or which operand it is a gradient of: then it has
    the shape of that operand, summed over what the operand is broadcast along.
    """

    def __init__(
        self,
        plan: KernelPlan,
        sizes: Mapping[str, int],
        shapes: Sequence[tuple[int, ...]],
        lead: tuple[int, ...],
        likes: Sequence[int | None],
    ) -> None:
        self.plan, self.sizes, self.lead = plan, sizes, lead
        self.products: Products | None = None  # of a gradient: what makes results of the factors that its kernel leaves
        self.shapes = [tuple(s) for s in shapes]
        self.likes = tuple(likes)
        ranks = [v.type.rank for v in plan.graph.inputs]
        views = [view(s, r, lead) for s, r in zip(self.shapes, ranks, strict=True)]
        self.flags = [v.batched for v in views]
        self.count = prod(lead) if any(self.flags) else None
        self._views = [(i, v) for i, v in enumerate(views) if v.wide is not None or v.flat is not None]
        self._own = [i is None or self.count is None or self.flags[i] for i in self.likes]
        one_axis = len(lead) == 1 and self.count is not None
        fits = [i is None or self.shapes[i][: -ranks[i] or None] == (lead if self.flags[i] else ()) for i in self.likes]
        self._plain = not lead or (one_axis and all(fits))
        self._bound: Bound | None = None
        self.choice: memory.Choice | None = None  # of a gradient: how it keeps its memory within bounds
        self.handed = 0  # of a gradient: bytes that the forward pass has kept for it
        self._derived: dict[Any, Call] = {}
        self._keeping: dict[tuple[bool, ...], Keeping | None] = {}

    @cached_property
    def result_shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the results."""
        types = self.plan.graph.result_types
        return [
            (*self.lead, *(s.evaluate(self.sizes) for s in t.shape)) if like is None else self.shapes[like]
            for t, like in zip(types, self.likes, strict=True)
        ]

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The results, not recorded by autograd."""
        flat = tensors
        if self._views:
            flat = list(tensors)
            for i, v in self._views:
                flat[i] = v(flat[i])
        if self._bound is None or self._bound.threads != available():
            self._bound = self.plan.bound(self.flags, self.count, self.sizes, self._own)
        found = None if self._bound is None else self._bound(flat, self.sizes)
        if found is None:
            found = self.plan.run(flat, self.flags, self.count, self.sizes, self._own)
        found = found if self._plain else self._shaped(found)
        return found if self.products is None else self.products(found, flat, self.count or 1, self.lead)

    def bound(self, indices: Set[str] = frozenset()) -> Bound | None:
        """:meth:`run` for further operands like those of the first time, and other ``indices`` (see :meth:`.execute.Runner.bound`), if they need not
        change shape and it can be bound."""
        if not self._plain or self._views or self.products is not None:
            return None
        return self.plan.bound(self.flags, self.count, self.sizes, self._own, indices) if indices else self._bound

    def _shaped(self, found: Sequence[Tensor]) -> list[Tensor]:
        out = []
        for y, like, own, shape in zip(found, self.likes, self._own, self.result_shapes, strict=True):
            if like is not None and own and self.count is not None:
                core = y.shape[1:]
                y = y.reshape(*self.lead, *core).sum_to_size((*(1,) * (len(self.lead) + len(core) - len(shape)), *shape))
            out.append(y.reshape(shape))
        return out

    def adjoint(self, wrt: tuple[int, ...], given: tuple[bool, ...], keeping: Keeping | None = None, *, last: bool = False) -> Call:
        """The gradient in operands ``wrt``: a call on these operands, what the forward pass has kept, and the cotangents that are
        given. With ``last`` it is not differentiated again."""
        names = () if keeping is None else keeping.names
        shared = self._shared(wrt) if last else frozenset[int]()
        found = self._derived.get((wrt, given, names, shared))
        if found is None:
            kept = [] if keeping is None else [keeping.call.result_shapes[n] for n in keeping.places]
            shapes = [*self.shapes, *kept, *[s for s, g in zip(self.result_shapes, given, strict=True) if g]]
            budget = memory.Budget.of(self.plan.memory, 0 if keeping is None else keeping.bytes, self.plan.device)

            def made(policy: Policy) -> Call:
                factors = self._in_factors(wrt, given, names, policy, shared, shapes) if shared else None
                return factors or Call(self.plan.adjoint(wrt, given, names, policy), self.sizes, shapes, self.lead, wrt)

            found, choice = memory.choose(
                budget,
                made,
                lambda policy: self.plan.adjoint_graph(wrt, given, names, policy),
                self.sizes,
                self.teams,
                self.plan.graph.name,
                self.plan.device,
            )
            found.handed = 0 if keeping is None else keeping.bytes
            found.choice = replace(choice, policy=found.plan.policy)  # that of a kernel file is as it was stored
            self._derived[wrt, given, names, shared] = found
        return found

    def _shared(self, wrt: tuple[int, ...]) -> frozenset[int]:
        """Which gradients in operands ``wrt`` are large, and sums over many problems."""
        if (self.count or 1) < PROBLEMS or self.plan.device != "cpu":
            return frozenset()
        return frozenset([n for n, i in enumerate(wrt) if not self.flags[i] and prod(self.shapes[i]) >= ELEMENTS])

    def _in_factors(
        self, wrt: tuple[int, ...], given: tuple[bool, ...], names: tuple[str, ...], policy: Policy, shared: frozenset[int],
        shapes: Sequence[tuple[int, ...]],
    ) -> Call | None:  # fmt: skip
        """The gradient by a kernel that leaves ``shared`` results as factors; None where they are no products, or that does not pay."""
        made, own = self.plan.factored(wrt, given, names, policy, shared), [self.shapes[i] for i in wrt]
        most = self.plan.memory and self.plan.memory // 2
        if made is None or not pays(made, own, self.sizes, self.count or 1, most):
            return None
        call = Call(self.plan.adjoint_in_factors(wrt, given, names, policy, shared), self.sizes, shapes, self.lead, made.likes(wrt))
        call.products = Products(made.results, call.flags, own)
        return call

    @property
    def teams(self) -> int:
        """How many problems are at work at once."""
        return devices.at_work(1 if self.count is None else self.count, self.plan.device)

    def scratch(self) -> int:
        """Bytes of scratch memory of the call; 0 where the interpreter runs it."""
        return self.plan.scratch(self.flags, self.count, self.sizes, self._own)

    def keeping(self, needed: tuple[bool, ...]) -> Keeping | None:
        """This call with results that the gradient in the operands that need one had better get than compute; None: there are none."""
        if needed in self._keeping:
            return self._keeping[needed]
        wrt = tuple([i for i, need in enumerate(needed) if need and self.plan.can_differ[i]])
        found = None
        if wrt and all(like is None for like in self.likes):
            own = None if self.count is None else frozenset([i for i, flag in enumerate(self.flags) if flag])
            tapes = self.plan.tapes(wrt)
            each = own is None or all(s & own for s in tapes.sources)  # not once more for every problem what they share
            if each and self.plan.memory is None and tapes.effort >= EFFORT[self.plan.in_tiles(self.count or 1)]:
                found = self._keep(wrt, tapes.names, HANDED)
            found = found or self._keep(wrt, self.plan.kept(wrt, own), self.plan.memory and self.plan.memory // 2)
        self._keeping[needed] = found
        return found

    def _keep(self, wrt: tuple[int, ...], names: tuple[str, ...], most: int | None) -> Keeping | None:
        """This call with more results, if there are ``names`` and what they name takes no more bytes than that."""
        if not names or most == 0:
            return None
        graph = self.plan.keeping_graph(wrt, names)
        places = tuple(graph.results.index(name) for name in names)
        types = [graph.result_types[n] for n in places]
        size = prod(self.lead) * sum(t.numel.evaluate(self.sizes) * BYTES[t.dtype] for t in types)
        if most is not None and size > most:
            return None
        call = self
        if len(graph.results) > len(self.likes):
            call = Call(self.plan.keeping(wrt, names), self.sizes, self.shapes, self.lead, [None] * len(graph.results))
        return Keeping(names, call, size, places)

    def tangent(self, wrt: tuple[int, ...]) -> Call:
        """The derivative along tangents of operands ``wrt``, which stand behind the operands."""
        found = self._derived.get(wrt)
        if found is None:
            shapes = [*self.shapes, *[self.shapes[i] for i in wrt]]
            likes = [i for i, d in zip(self.likes, self.plan.differentiable, strict=True) if d]
            found = Call(self.plan.tangent(wrt), self.sizes, shapes, self.lead, likes)
            self._derived[wrt] = found
        return found

    def mapped(self, count: int, dims: Sequence[int | None], tensors: Sequence[Tensor]) -> tuple[Call, list[Tensor]]:
        """The call for one more leading dimension, of ``count``, and its operands; ``dims`` has where each has it, if it does."""
        shaped = []
        for i, (x, dim, shape) in enumerate(zip(tensors, dims, self.shapes, strict=True)):
            own = len(shape) - self.plan.graph.inputs[i].type.rank
            wide = (count, *(1,) * (len(self.lead) - own), *shape)
            if dim is not None:
                x = x.movedim(dim, 0).reshape(wide)
            elif i in self.likes:
                x = x.expand(wide)
            shaped.append(x)
        key = tuple([tuple(x.shape) for x in shaped])
        found = self._derived.get(key)
        if found is None:
            found = Call(self.plan, self.sizes, key, (count, *self.lead), self.likes)
            self._derived[key] = found
        return found, shaped


@dataclass(frozen=True)
class Keeping:
    """A call whose results at ``places`` are the values of some ``names`` of the graph: results, and others behind them."""

    names: tuple[str, ...]
    call: Call
    bytes: int  # that what is kept takes
    places: tuple[int, ...]


def gradient_call(
    plan: KernelPlan, shared: frozenset[str], sizes: Mapping[str, int], lead: tuple[int, ...], wrt: tuple[int, ...] | None = None
) -> Call | None:
    """The gradient in inputs ``wrt`` (None: in all that can have one) as autograd would call it, for problems of leading shape ``lead``
    that have inputs ``shared`` in common; None where nothing has a gradient."""
    wrt = tuple(i for i, flag in enumerate(plan.can_differ) if flag) if wrt is None else wrt
    if not wrt or not any(plan.differentiable):
        return None
    known = {**dict.fromkeys(plan.names, 1), **sizes}
    shapes = [
        (*(() if v.name in shared else lead), *(s.evaluate(known) for s in v.type.shape)) for v in plan.graph.inputs
    ]
    call = Call(plan, known, shapes, lead, [None] * len(plan.graph.results))
    return call.adjoint(wrt, tuple(plan.differentiable), call.keeping(tuple(i in wrt for i in range(len(plan.can_differ)))), last=True)


def is_plain() -> bool:
    """Whether autograd records calls in the usual way: no transform of ``torch.func``, no forward mode."""
    return not _transforms_active() and forward_ad._current_level < 0


def apply(
    call: Call, tensors: Sequence[Tensor], links: Links = (), stored: Sequence[Tensor] | None = None
) -> Sequence[Tensor]:
    """The results, recorded by autograd and seen by torch's transforms.

    Operands in ``links`` are values of the ``stored`` tensors at these places, not recorded; gradients go to what is stored. Only
    where :func:`is_plain`.
    """
    if not is_plain():
        return _Transformed.apply(call, *tensors)  # type: ignore[no-any-return, no-untyped-call]
    if torch.is_grad_enabled():
        sources = tensors if stored is None else stored
        for x in sources:
            if x.requires_grad:
                return _Recorded.apply(call, links, tensors, *sources)  # type: ignore[no-any-return, no-untyped-call]
    return call.run(tensors)


def run_flat(
    plan: KernelPlan, tensors: Sequence[Tensor], batched: Sequence[bool], batch: int | None, sizes: Mapping[str, int]
) -> Sequence[Tensor]:
    """Results on flat operands: of core axes only, or with one batch axis in front where ``batched``."""
    return apply(flat_call(plan, tensors, batched, batch, sizes), tensors)


def flat_call(
    plan: KernelPlan, tensors: Sequence[Tensor], batched: Sequence[bool], batch: int | None, sizes: Mapping[str, int]
) -> Call:
    """The call of :func:`run_flat`, made on first use."""
    key = (tuple(batched), batch, *[sizes[n] for n in plan.names])
    call = plan.calls.get(key)
    if call is None:
        lead = () if batch is None else (batch,)
        call = Call(plan, dict(sizes), [tuple(x.shape) for x in tensors], lead, [None] * len(plan.graph.results))
        plan.calls[key] = call
    return call


def gradients(
    call: Call, needed: Sequence[bool], saved: Sequence[Tensor], cotangents: Sequence[Tensor | None], keeping: Keeping | None = None
) -> list[Any]:
    """The gradient of each operand that needs one and can have it, else None. What is kept stands behind the operands in ``saved``."""
    plan = call.plan
    wrt = tuple([i for i, need in enumerate(needed) if need and plan.can_differ[i]])
    given = tuple([g is not None and d for g, d in zip(cotangents, plan.differentiable, strict=True)])
    grads: list[Tensor | None] = [None] * len(needed)
    if wrt and any(given):
        chosen = [g for g, use in zip(cotangents, given, strict=True) if g is not None and use]
        last = is_plain() and not torch.is_grad_enabled()
        found = apply(call.adjoint(wrt, given, keeping, last=last), [*saved, *chosen])
        for i, g in zip(wrt, found, strict=True):
            grads[i] = g if g.dtype == saved[i].dtype else g.to(saved[i].dtype)  # of half precision in f32
    return grads


class _Value(torch.autograd.Function):
    """The value of a stored tensor, known already, as a function of it."""

    @staticmethod
    def forward(ctx: Any, stored: Tensor, value: Tensor, constraint: Constraint) -> Tensor:
        ctx.constraint = constraint
        found = value.clone()
        ctx.save_for_backward(found)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (value,) = ctx.saved_tensors
        return pull_back(gradient, value, ctx.constraint), None, None


class _Recorded(torch.autograd.Function):
    """A call as eager autograd sees it: a function of what stands behind its operands (see :func:`apply`)."""

    @staticmethod
    def forward(ctx: Any, call: Call, links: Links, values: Sequence[Tensor], *sources: Tensor) -> tuple[Tensor, ...]:
        ctx.call, ctx.links = call, links
        tensors = list(sources)
        for i, _ in links:
            tensors[i] = values[i]
        ctx.sources = [sources[i] for i, _ in links]
        ctx.set_materialize_grads(False)
        ctx.keeping = keeping = call.keeping(ctx.needs_input_grad[3:])
        outputs: Sequence[Tensor]
        if keeping is None:
            outputs = call.run(tensors)
            ctx.save_for_backward(*tensors)
        else:
            found = keeping.call.run(tensors)
            outputs = found[: len(call.likes)]
            ctx.save_for_backward(*tensors, *[found[n] for n in keeping.places])
        ctx.mark_non_differentiable(*[y for y, d in zip(outputs, call.plan.differentiable) if not d])
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Any, ...]:
        call, saved, keeping = ctx.call, ctx.saved_tensors, ctx.keeping
        if torch.is_grad_enabled():  # to be differentiated again, by what the results follow from
            saved, keeping = list(saved[: len(call.shapes)]), None
            for (i, constraint), source in zip(ctx.links, ctx.sources, strict=True):
                saved[i] = _Value.apply(source, saved[i], constraint)  # type: ignore[no-untyped-call]
        found = gradients(call, ctx.needs_input_grad[3:], saved, cotangents, keeping)
        for i, constraint in ctx.links:
            if found[i] is not None:
                found[i] = pull_back(found[i], saved[i], constraint)
        return None, None, None, *found


class _Transformed(torch.autograd.Function):
    """A call as ``torch.func`` and forward mode see it."""

    @staticmethod
    def forward(call: Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(call.run(tensors))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.call, *tensors = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)
        ctx.mark_non_differentiable(*[y for y, d in zip(output, ctx.call.plan.differentiable) if not d])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Any, ...]:
        return None, *gradients(ctx.call, ctx.needs_input_grad[1:], ctx.saved_tensors, cotangents)

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Tensor | None) -> tuple[Any, ...]:
        plan = ctx.call.plan
        wrt = tuple([i for i, t in enumerate(tangents) if t is not None and plan.can_differ[i]])
        if not wrt:
            return (None,) * len(plan.differentiable)
        given = [t for i, t in enumerate(tangents) if t is not None and i in wrt]
        found = iter(apply(ctx.call.tangent(wrt), [*ctx.saved_tensors, *given]))
        return tuple(next(found).to(t) if d else None for d, t in zip(plan.differentiable, plan.dtypes, strict=True))

    @staticmethod
    def vmap(info: Any, in_dims: Any, call: Call, *tensors: Tensor) -> tuple[Any, Any]:
        mapped, operands = call.mapped(info.batch_size, in_dims[1:], tensors)
        found = tuple(apply(mapped, operands))
        return found, (0,) * len(found)
