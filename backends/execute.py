"""Running a compiled kernel, and the kernels of its derivatives, on flat tensors.

A kernel computes one problem; a call runs it on a batch. Operands are flat: core axes only (shared by all problems), or one
batch axis in front of them. The number of threads is torch's: many problems are divided among the threads, few
problems each get all of them; on a GPU blocks take the place of threads.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..compiler import options
from ..compiler.diagnostics import CompileError
from ..compiler.driver import Batching, Compiled, compile_graph
from ..compiler.graph.activity import differentiable
from ..compiler.graph.adjoint import backward
from ..compiler.graph.batch import batch as batch_graph
from ..compiler.graph.counts import counts, with_counts
from ..compiler.graph.factors import Factored, factored
from ..compiler.graph.gram.rewrite import Rewrite
from ..compiler.graph.graph import Graph
from ..compiler.graph.half import wide_results
from ..compiler.graph.interp import interpret
from ..compiler.graph.keep import Tapes, keeping, products, read_results, tapes, wanted
from ..compiler.graph.ops.common import torch_dtype
from ..compiler.graph.ops.select import FEW
from ..compiler.graph.segments import KEEP, Policy
from ..compiler.graph.simplify import simplify
from ..compiler.graph.tangent import tangent
from ..compiler.loops.account import instances_of_nest
from ..compiler.target import Target
from . import devices
from .bound import Bound, is_readable
from .registry import device_type

#: Below this many instances of statements, starting threads costs more than they save.
SMALL = 200_000
#: Kernels for known counts that are made for a graph (see :class:`Runner`).
KNOWN = 8
#: From so many on, a problem gets all threads without asking the cost model whether they save :data:`START` seconds, which starting them takes.
LARGE, START = 50_000_000, 3e-6


class FallbackWarning(UserWarning):
    """A part of a program runs in the interpreter because the target cannot compile it."""


@dataclass(frozen=True)
class _Layout:
    """How operands lie in memory for one kind of call: shapes of outputs, strides of contiguous operands."""

    shapes: list[tuple[int, ...]]
    batch_strides: list[int]  # of inputs if contiguous, then of outputs
    integers: list[int]
    instances: int  # of statements, per problem
    summed: int  # bytes of the results that are summed over problems
    tiles: bool  # whether problems share what those of a tile must

    def outputs(self, batch: int | None, own: Sequence[bool], teams: int) -> tuple[list[tuple[int, ...]], list[int]]:
        """The shapes of outputs with a part for each problem, where it has its ``own``, or else for each team; the team strides of all operands."""
        of_problems, of_teams = () if batch is None else (batch,), () if teams == 1 else (teams,)
        shapes = [(*(of_problems if mine else of_teams), *shape) for mine, shape in zip(own, self.shapes, strict=True)]
        steps = [0 if mine or teams == 1 else prod(shape) for mine, shape in zip(own, self.shapes, strict=True)]
        return shapes, [0] * (len(self.batch_strides) - len(steps)) + steps


_threads_started = False
_forked = False


def _note_threads() -> None:
    global _threads_started
    _threads_started = True


def _after_fork() -> None:
    """In a forked process: threads of the parent's kernels are gone, and GNU OpenMP would wait for them for ever."""
    global _forked
    _forked = _forked or _threads_started


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def available() -> int:
    """Threads that kernels may start."""
    return 1 if _forked else torch.get_num_threads()


class Runner:
    """A compiled kernel as a function of flat tensors; with ``accumulate`` it adds to its outputs (see ``compile_graph``).

    Where an input says how many elements a selection takes, ``compile`` makes a kernel for each small count that comes, up to ``KNOWN``
    of them.
    """

    def __init__(
        self, compiled: Compiled, source: Graph, *, accumulate: bool = False, compile: Callable[[Graph], Compiled] | None = None
    ) -> None:
        self.compiled = compiled
        self.source, self.compile = source, compile
        self.counts = {} if compile is None else counts(source, FEW)
        self.known: dict[tuple[tuple[int, int], ...], Runner] = {}
        self.inputs = [v.type for v in source.inputs]
        self.results = source.result_types
        self.dtypes = [torch_dtype(torch, t.dtype) for t in self.results]
        self.accumulate = accumulate
        self.device = device_type(compiled.target.name)
        self._shaping = {n for t in (*self.inputs, *self.results) for s in t.shape for n in s.names()}
        self.names = (*compiled.integers, *sorted(self._shaping - set(compiled.integers)))
        self._layouts: dict[Any, _Layout] = {}
        if not self.counts:
            _ = self.kernel

    @property
    def kernel(self) -> Any:
        """The built kernel."""
        return self.compiled.kernel

    def for_counts(self, inputs: Sequence[Tensor], batched: Sequence[bool]) -> Runner:
        """The runner of a call: that of its counts, if there is one."""
        values = {n: int(inputs[n]) for n in self.counts if not batched[n]}
        key = tuple([(n, value) for n, value in values.items() if 1 <= value <= self.counts[n]])
        if not key or self.compile is None or (key not in self.known and len(self.known) == KNOWN):
            return self
        if key not in self.known:
            graph = with_counts(self.source, dict(key))
            self.known[key] = Runner(self.compile(graph), graph, accumulate=self.accumulate)
        return self.known[key]

    def layout(self, batched: Sequence[bool], own: Sequence[bool], sizes: Mapping[str, int]) -> _Layout:
        """The layout for operands with (``batched``) and results with (``own``) a batch axis."""
        key = (tuple(batched), tuple(own), *[sizes[n] for n in self.names])
        found = self._layouts.get(key)
        if found is None:
            inputs, outputs = (
                [tuple(s.evaluate(sizes) for s in t.shape) for t in types] for types in (self.inputs, self.results)
            )
            strides = [prod(shape) if flag else 0 for shape, flag in zip((*inputs, *outputs), (*batched, *own), strict=True)]
            integers = [sizes[n] for n in self.compiled.integers]
            nest = self.compiled.nest
            instances = instances_of_nest(nest, dict(zip(nest.params, integers, strict=True)))
            summed = sum(prod(s) * d.itemsize for s, d, mine in zip(outputs, self.dtypes, own, strict=True) if not mine)
            tile = self.compiled.tree.tile
            tiles = tile is not None and all(own or not s for own, s in zip(tile.strides, strides, strict=True))
            found = _Layout(outputs, strides, integers, instances, summed, tiles)
            self._layouts[key] = found
        return found

    def bound(
        self, batched: Sequence[bool], batch: int | None, sizes: Mapping[str, int], own: Sequence[bool], indices: Set[str] = frozenset()
    ) -> Bound | None:
        """:meth:`run` for contiguous inputs with these arguments; None where it depends on values, or there is nothing to set once. Sizes
        ``indices`` each call has anew, if only what the kernel reads depends on them, not how much it does."""
        if self.counts or batch == 0 or self.compiled.target.capabilities.debug:
            return None
        prepare = getattr(self.kernel, "prepared", None)
        if prepare is None:
            return None
        layout, count = self.layout(batched, own, sizes), 1 if batch is None else batch
        changing = [(n, name) for n, name in enumerate(self.compiled.integers) if name in indices]
        if changing:
            further = {**sizes, **{name: sizes[name] + 1 for _, name in changing}}
            if not indices.isdisjoint(self._shaping) or self.layout(batched, own, further).instances != layout.instances:
                return None
        teams, team_size = self._shares(layout, count, None)
        if teams * team_size > 1:
            _note_threads()
        shapes, steps = layout.outputs(batch, own, teams)
        call = prepare(count, layout.batch_strides, steps, layout.integers, teams, team_size)
        sums = [n for n, mine in enumerate(own) if not mine] if teams > 1 else []
        outputs = list(zip(shapes, self.dtypes, strict=True))
        return Bound(call, outputs, sums, cleared=self.accumulate, threads=available(), indices=changing)

    def run(
        self, inputs: Sequence[Tensor], batched: Sequence[bool], batch: int | None, sizes: Mapping[str, int], own: Sequence[bool]
    ) -> list[Tensor]:
        """Outputs: per problem where ``own`` (a batch axis in front, if ``batch`` is not None), else summed over problems."""
        if self.counts:
            chosen = self.for_counts(inputs, batched)
            if chosen is not self:
                return chosen.run(inputs, batched, batch, sizes, own)
        layout = self.layout(batched, own, sizes)
        count = 1 if batch is None else batch
        strides = layout.batch_strides.copy()
        operands = list(inputs)
        for i, x in enumerate(operands):
            if not is_readable(x):
                operands[i], strides[i] = readable(x, batched=batched[i])
        home = None
        if self.device != "cpu":
            home = operands[0].device if operands else devices.current(self.device)
        teams, team_size = self._shares(layout, count, home)
        if teams * team_size > 1:
            _note_threads()
        shapes, steps = layout.outputs(batch, own, teams)
        outputs: list[Tensor] = []
        for whole, dtype in zip(shapes, self.dtypes, strict=True):
            if home is not None:
                outputs.append(devices.allocate(whole, dtype, home, f"a result of {self.source.name}", zero=self.accumulate))
            else:
                outputs.append((torch.zeros if self.accumulate else torch.empty)(whole, dtype=dtype))
        if count:
            self.kernel(operands, outputs, count, strides, steps, layout.integers, teams, team_size)
        return outputs if teams == 1 else [y if mine else y.sum(0) for y, mine in zip(outputs, own, strict=True)]

    def scratch(
        self, batched: Sequence[bool], batch: int | None, sizes: Mapping[str, int], own: Sequence[bool]
    ) -> int:
        """Bytes of scratch memory of such a call of :meth:`run`."""
        layout, count = self.layout(batched, own, sizes), 1 if batch is None else batch
        return int(self.kernel.scratch(count, *self._shares(layout, count, None), layout.integers))

    @property
    def side(self) -> int:
        """Problems side by side in a tile; 0: there are no tiles."""
        tile = self.compiled.tree.tile
        return 0 if tile is None else tile.size

    def in_tiles(self, count: int) -> bool:
        """Whether so many problems run in tiles."""
        return 0 < self.side < 2 * count

    def _shares(self, layout: _Layout, count: int, home: torch.device | None) -> tuple[int, int]:
        """(teams, threads in each) for so many problems. A kernel of a GPU says itself how its blocks, there the threads, are shared."""
        shares = getattr(self.kernel, "shares", None)
        if shares is None:
            return self.threads(count * layout.instances, count)
        return shares(count, layout.summed, None if home is None else home.index, tiles=layout.tiles)  # type: ignore[no-any-return]

    def threads(self, instances: int, count: int) -> tuple[int, int]:
        """(teams, threads in each) for this many problems with so many instances of statements, on the processor."""
        threads = available()
        if threads == 1 or instances < SMALL:
            return 1, 1
        units = -(-count // self.side) if self.in_tiles(count) else count
        if units >= threads:
            return threads, 1
        return (1, threads) if instances >= LARGE or instances * self.compiled.team_saves > START else (1, 1)


def readable(x: Tensor, *, batched: bool) -> tuple[Tensor, int]:
    """The tensor with its core axes contiguous, and its batch stride."""
    x = x.resolve_conj().resolve_neg()
    if batched:
        extent = 1
        for size, stride in zip(x.shape[:0:-1], x.stride()[:0:-1]):
            if size != 1 and stride != extent:
                x = x.contiguous()
                break
            extent *= size
        return x, x.stride(0)
    return x.contiguous(), 0


class KernelPlan:
    """One graph as a kernel, with its derivatives made on first use, to any order.

    Without a kernel (``compiled`` is None) the interpreter runs the graph. ``accumulate`` says that results may be summed
    over problems (see :meth:`run`), as those of a backward graph are. ``per_problem`` tells which inputs problems of a
    batch usually have for themselves (see :class:`~..compiler.driver.Batching`). ``memory`` is what a user allows the scratch memory
    of its gradients, in bytes; ``policy`` that of its own tape, if it is one. ``compile`` makes kernels for known counts (see
    :class:`Runner`).
    """

    def __init__(
        self,
        graph: Graph,
        compiled: Compiled | None,
        *,
        strict: bool,
        target: Target | None = None,
        accumulate: bool = False,
        per_problem: tuple[bool, ...] | None = None,
        compile: Callable[[Graph], Compiled] | None = None,
        memory: int | None = None,
        policy: Policy = KEEP,
    ) -> None:
        self.graph = graph
        self.memory, self.policy = memory, policy
        self.rewrites: tuple[Rewrite, ...] = ()  # of the program, before it was compiled
        self.per_problem = per_problem
        self.forward = None if compiled is None else Runner(compiled, graph, accumulate=accumulate, compile=compile)
        self.strict = strict
        self.target = compiled.target if compiled is not None else target
        self.device = "cpu" if self.target is None else device_type(self.target.name)
        self.dtypes = [torch_dtype(torch, t.dtype) for t in graph.result_types]
        self.differentiable = [differentiable(t) for t in graph.result_types]
        self.can_differ = [differentiable(v.type) for v in graph.inputs]
        names = {n for t in (*(v.type for v in graph.inputs), *graph.result_types) for s in t.shape for n in s.names()}
        self.names = self.forward.names if self.forward is not None else tuple(sorted(names))
        self.calls: dict[Any, Any] = {}  # by the shapes of flat operands (autograd.py)
        self._derived: dict[Any, KernelPlan] = {}
        self._kept: dict[Any, tuple[str, ...]] = {}
        self._tapes: dict[tuple[int, ...], Tapes] = {}
        self._keeping: dict[tuple[tuple[int, ...], tuple[str, ...]], Graph] = {}
        self._factored: dict[Any, Factored | None] = {}

    @property
    def compiled(self) -> Compiled | None:
        """What runs it, with every stage; None if the interpreter does."""
        return None if self.forward is None else self.forward.compiled

    def run(
        self,
        tensors: Sequence[Tensor],
        batched: Sequence[bool],
        batch: int | None,
        sizes: Mapping[str, int],
        own: Sequence[bool],
    ) -> list[Tensor]:
        """Results of flat tensors, not recorded by autograd: per problem where ``own``, else summed over problems."""
        if self.forward is not None:
            return self.forward.run(tensors, batched, batch, sizes, own)
        found = interpret_batch(self.graph, tensors, batched, batch, sizes)
        return [y if mine or batch is None else y.sum(0) for y, mine in zip(found, own, strict=True)]

    def bound(
        self, batched: Sequence[bool], batch: int | None, sizes: Mapping[str, int], own: Sequence[bool], indices: Set[str] = frozenset()
    ) -> Bound | None:
        """:meth:`run` with these arguments, for many calls; None where there is nothing to set once. For ``indices`` see :meth:`Runner.bound`."""
        return None if self.forward is None else self.forward.bound(batched, batch, sizes, own, indices)

    def scratch(self, batched: Sequence[bool], batch: int | None, sizes: Mapping[str, int], own: Sequence[bool]) -> int:
        """Bytes of scratch memory of such a call of :meth:`run`; 0 where the interpreter runs it."""
        return 0 if self.forward is None else self.forward.scratch(batched, batch, sizes, own)

    def adjoint(
        self, wrt: tuple[int, ...], given: tuple[bool, ...], kept: tuple[str, ...] = (), policy: Policy = KEEP
    ) -> KernelPlan:
        """The plan of the gradient in inputs ``wrt``: its inputs are those of this one, then what is ``kept`` and the cotangents
        that are given. ``policy`` is that of its tape."""
        key = ("backward", wrt, given, kept, policy)
        return self._derive(key, lambda: self.adjoint_graph(wrt, given, kept, policy), own=wrt, policy=policy)

    def adjoint_graph(self, wrt: tuple[int, ...], given: tuple[bool, ...], kept: tuple[str, ...], policy: Policy) -> Graph:
        """The graph of :meth:`adjoint`."""
        return backward(self._simple if kept else self.graph, wrt, given, kept, policy)

    def factored(
        self, wrt: tuple[int, ...], given: tuple[bool, ...], kept: tuple[str, ...], policy: Policy, shared: frozenset[int]
    ) -> Factored | None:
        """The graph of :meth:`adjoint` with ``shared`` results left as factors; None where none is a sum of products."""
        key = (wrt, given, kept, policy, shared)
        if key not in self._factored:
            self._factored[key] = None if self.forward is None else factored(self.adjoint_graph(wrt, given, kept, policy), shared)
        return self._factored[key]

    def adjoint_in_factors(
        self, wrt: tuple[int, ...], given: tuple[bool, ...], kept: tuple[str, ...], policy: Policy, shared: frozenset[int]
    ) -> KernelPlan:
        """The plan of :meth:`factored`, which is there."""
        made = self.factored(wrt, given, kept, policy, shared)
        assert made is not None
        return self._derive(("backward", wrt, given, kept, policy, shared), lambda: made.graph, own=made.likes(wrt), policy=policy)

    def kept(self, wrt: tuple[int, ...], own: frozenset[int] | None) -> tuple[str, ...]:
        """What the gradient in inputs ``wrt`` had better get than compute, however much: products and results that follow from inputs ``own``, if not
        None."""
        key = (wrt, own)
        if key not in self._kept:
            found = {} if self.forward is None else products(self._simple) | read_results(self._simple)
            names = [name for name, sources in found.items() if own is None or sources & own]
            self._kept[key] = wanted(self._simple, wrt, names) if names else ()
        return self._kept[key]

    def tapes(self, wrt: tuple[int, ...]) -> Tapes:
        """What spares the gradient in inputs ``wrt`` the forward pass."""
        if wrt not in self._tapes:
            self._tapes[wrt] = Tapes() if self.forward is None else tapes(self._simple, wrt)
        return self._tapes[wrt]

    def in_tiles(self, count: int) -> bool:
        """Whether so many problems run in tiles (if their operands are shared as is usual)."""
        return self.forward is not None and self.forward.in_tiles(count)

    def keeping(self, wrt: tuple[int, ...], names: tuple[str, ...]) -> KernelPlan:
        """The plan with what is kept for the gradient in inputs ``wrt`` behind its results."""
        return self._derive(("keeping", wrt, names), lambda: self.keeping_graph(wrt, names), accumulate=False)

    def keeping_graph(self, wrt: tuple[int, ...], names: tuple[str, ...]) -> Graph:
        """The graph of :meth:`keeping`, which calls of every shape ask how large it is."""
        found = self._keeping.get((wrt, names))
        if found is None:
            found = self._keeping[wrt, names] = keeping(self._simple, wrt, names)
        return found

    @cached_property
    def _simple(self) -> Graph:
        return simplify(self.graph)

    def tangent(self, wrt: tuple[int, ...]) -> KernelPlan:
        """The plan of the derivative along tangents of inputs ``wrt``, which come behind the inputs (forward mode)."""
        return self._derive(("tangent", wrt), lambda: tangent(self.graph, wrt), extra=wrt)

    def _derive(
        self,
        key: tuple[Any, ...],
        make: Callable[[], Graph],
        *,
        own: tuple[int | None, ...] | None = None,
        extra: tuple[int, ...] | None = None,
        accumulate: bool = True,
        policy: Policy = KEEP,
    ) -> KernelPlan:
        """A plan of a graph with more inputs. Results belong to inputs ``own``, further inputs to inputs ``extra``: problems
        share them where they share those; None, as a whole or of one result: every problem has its own."""
        found = self._derived.get(key)
        if found is None:
            graph = wide_results(make())
            batching = None
            if self.per_problem is not None:
                mine = self.per_problem
                more = [True] * (len(graph.inputs) - len(mine)) if extra is None else [mine[i] for i in extra]
                results = [True] * len(graph.results) if own is None else [i is None or mine[i] for i in own]
                batching = Batching((*mine, *more), tuple(results))
            compiled, target = None, self.target

            def compile(graph: Graph) -> Compiled:
                assert target is not None
                return compile_graph(graph, target, accumulate=accumulate, strict=self.strict, batching=batching)

            try:
                if target is not None and graph.results:  # else all of them are products of its operands
                    compiled = compile(graph)
            except CompileError as error:
                fall_back(f"the {key[0]} of {self.graph.name}", error)
            found = KernelPlan(
                graph,
                compiled,
                strict=self.strict,
                target=self.target,
                accumulate=accumulate,
                per_problem=None if batching is None else batching.per_problem,
                compile=compile,
                memory=self.memory,
                policy=policy,
            )
            self._derived[key] = found
        return found


def interpret_batch(
    graph: Graph, tensors: Sequence[Tensor], batched: Sequence[bool], batch: int | None, sizes: Mapping[str, int], **hooks: Any
) -> tuple[Tensor, ...]:
    """A graph of one problem, run by the interpreter on flat tensors."""
    if batch is None:
        return interpret(graph, tensors, sizes, **hooks)
    return interpret(batch_graph(graph, batched), tensors, {**sizes, "batch": batch}, **hooks)


def fall_back(what: str, error: CompileError) -> None:
    """Say that the interpreter takes over, and why; passes the error on if the user asked to stop there."""
    if options.current.stop:
        raise error
    warnings.warn(f"{what} runs in the interpreter: {error}", FallbackWarning, stacklevel=2)
