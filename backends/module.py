"""A built algorithm: a ``torch.nn.Module`` around its kernels."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..compiler.diagnostics import DataError
from ..compiler.graph.algorithm import Constraint, Param
from ..compiler.graph.ops.common import torch_dtype
from ..compiler.graph.types import Type, weights_of
from ..compiler.nearest import did_you_mean
from . import constraints
from .autograd import Links, is_plain
from .binding import check_where, leading
from .call import Routine, arguments_of, concrete, constant, home, match, run, trace_names
from .convert import DTYPE_NAMES, Argument, argument, device_of, is_numpy_call, precision, tensor, widened
from .executor import Executor, Prepared
from .values import Values, free_name

if TYPE_CHECKING:
    from .value_and_grad import Loss, ValueAndGrad


Sources = list[tuple[int | str | tuple[str, str, Constraint], torch.dtype]]


@dataclass(frozen=True)
class Checked:
    """What is known of the values of a call that fit.

    ``sources`` says where each input of the graph comes from: an argument by number, a buffer by name, or a parameter
    (path of the module that holds it, attribute, constraint), each with its dtype.
    """

    executor: Executor
    sources: Sources
    shapes: list[tuple[int, ...]]
    lead: tuple[int, ...]
    sizes: dict[str, int]
    real: str
    numpy: bool

    def prepare(self, trace: tuple[str, ...] = ()) -> Prepared:
        """The call, compiled."""
        return self.executor.prepare(self.shapes, self.lead, self.real, self.sizes, trace)


@dataclass(frozen=True)
class _Call:
    """A call whose shapes and dtypes are known."""

    prepared: Prepared
    sources: Sources
    trace: tuple[str, ...]
    numpy: bool
    single: bool  # one tensor comes back
    links: Links  # operands that are values of stored tensors, where autograd need not see how


class Layer(Values):
    """A built algorithm: given inputs are its buffers, ``param`` its parameters, learned modules its submodules.

    ``layer(y)`` runs it; ``layer.step`` is the value of a parameter, which keeps its constraint whatever an optimizer does
    (see :class:`Values`). Iteration counts are fixed; :meth:`with_iterations` makes another layer.
    """

    def __init__(
        self,
        routine: Routine,
        given: Mapping[str, Any],
        *,
        iterations: Mapping[str, int],
        sizes: Mapping[str, int],
        modules: Mapping[str, Any],
        params: Mapping[str, Any],
        dtype: str,
    ) -> None:
        binding = routine.base(iterations, sizes)
        super().__init__({n: binding.sizes[n] for n in routine.iterations})
        algorithm = routine.algorithm
        arguments = routine.collect(binding, given, [(i.name, i.type) for i in algorithm.inputs if i.given], modules)
        check_where(algorithm.name, algorithm.where, binding, known_only=True)
        chosen = [argument(p.name, p.type, params[p.name]) for p in algorithm.params if p.name in params]
        device = device_of(arguments if any(not a.weak for a in arguments) else chosen)
        self._routine, self._binding, self._sizes = routine, binding, dict(sizes)
        self._known: dict[Any, _Call] = {}
        self._losses: dict[Any, ValueAndGrad] = {}
        self._given: dict[str, str] = {}  # input to buffer
        self._functions: dict[str, Any] = {}  # learned operator to submodule, or to what is called
        self.register_buffer("_like", torch.empty(0, dtype=torch_dtype(torch, dtype), device=device), persistent=False)
        with torch.no_grad():
            tensors = {a.name: self._fix(a, dtype, device) for a in arguments}
            for param in algorithm.params:
                self.add(param.name, param, self._initial(param, params, tensors, dtype, device))
        self._begun = {name: value.clone() for name, value in self.values().items()}  # what plots compare with
        for name, found in routine.check_modules(modules, binding).items():
            self._attach(name, found)

    def _fix(self, a: Argument, real: str, device: torch.device) -> Tensor:
        """Register a given input as a buffer, in the precision of the layer."""
        if a.type.dtype in ("real", "complex") and (a.value.is_floating_point() or a.value.is_complex()):
            needed = torch_dtype(torch, concrete(a.type.dtype, real))
            if needed.is_complex or not a.value.is_complex():
                a = Argument(a.name, a.type, a.value.to(needed), a.weak, a.numpy)
        found = tensor(a, real, device).detach().clone(memory_format=torch.contiguous_format)
        self._given[a.name] = free_name(self, a.name)
        self.register_buffer(self._given[a.name], found)
        return found

    def _initial(
        self, param: Param, chosen: Mapping[str, Any], given: Mapping[str, Tensor], real: str, device: torch.device
    ) -> Tensor:
        if param.name in chosen:
            value = self._routine.parameter(param, chosen[param.name], real, self._binding, device)
        else:
            value = self._routine.initial(param, given, real, self._binding, device)
        if tuple(value.shape) != self._binding.shape(param.type):
            raise DataError(
                f"the initial value of {param.name} has leading dimensions: pass {param.name}=... without them to build"
            )
        return value

    def _attach(self, name: str, found: Any) -> None:
        """Register a learned operator; a plain function is kept as it is."""
        if isinstance(found, (list, tuple)) and all(isinstance(f, nn.Module) for f in found):
            found = nn.ModuleList(found)
        if isinstance(found, nn.Module):
            self._functions[name] = free_name(self, name.replace(".", "_"))
            self.add_module(self._functions[name], found)
        else:
            self._functions[name] = found

    # -- running ---------------------------------------------------------------------------------------------------

    def forward(self, *inputs: Any, trace: str | Sequence[str] | None = None, **named: Any) -> Any:
        """Run on the inputs that are not given, by position or name, with any leading dimensions.

        ``trace=["x"]`` also returns the states after every iteration: ``x, path = layer(y, trace=["x"])``, where
        ``path.x`` has the leading shape, then the iterations, then the axes of ``x``. Raises DataError for values that
        do not fit.
        """
        return self._call(False, inputs, named, trace_names(trace))

    def objective(self, *inputs: Any, **named: Any) -> Any:
        """The declared objective: its own arguments first, then the inputs of a call. Differentiable."""
        return self._call(True, inputs, named, ())

    def _call(self, objective: bool, inputs: Sequence[Any], named: Mapping[str, Any], trace: tuple[str, ...]) -> Any:
        if torch._C._is_any_autocast_enabled():
            real = self._like.dtype
            with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
                return self._call(objective, widened(inputs, real), dict(zip(named, widened(named.values(), real))), trace)
        if torch.compiler.is_compiling():
            return self._traced(objective, inputs, named, trace)
        key = None if named else self._key(objective, trace, inputs)
        if key is not None:
            known = self._known.get(key)
            if known is not None:  # the same shapes again: they have been checked
                return self._run(known, inputs)
        checked, tensors = self._check(objective, inputs, named)
        types = checked.executor.graph.result_types
        single = len(types) == 1 and not trace and not checked.numpy and not weights_of(types[0])
        prepared = checked.prepare(trace)
        links = [(i, s[2]) for i, (s, _) in enumerate(checked.sources) if isinstance(s, tuple) and s[2].kind != "free"]
        if prepared.call is None or prepared.call.plan.forward is None:
            links = []  # torch differentiates
        known = _Call(prepared, checked.sources, trace, checked.numpy, single, links)
        if key is not None:
            self._known[key] = known
        return self._run(known, tensors)

    def _key(self, objective: bool, trace: tuple[str, ...], inputs: Sequence[Any]) -> tuple[Any, ...] | None:
        """What the checks of a call depend on; None if it has other inputs than tensors."""
        like = self._buffers["_like"]  # an attribute takes longer
        assert like is not None
        key = [objective, trace, like.dtype, like.device]
        for x in inputs:
            if not isinstance(x, Tensor):
                return None
            key += (x.shape, x.dtype, x.device, x.layout)
        return tuple(key)

    def _check(self, objective: bool, inputs: Sequence[Any], named: Mapping[str, Any]) -> tuple[Checked, list[Tensor]]:
        """Check the values of a call and convert them."""
        routine, algorithm = self._routine, self._routine.algorithm
        graph = (routine.objective if objective else routine.main).graph
        types = [(n, t) for n, t in arguments_of(algorithm, graph) if n not in self._given]
        values = match(algorithm.name, [n for n, _ in types], inputs, named)
        binding = self._binding.copy()
        arguments = routine.collect(binding, values, types, self._learned())
        check_where(algorithm.name, algorithm.where, binding)
        real = DTYPE_NAMES[self._like.dtype]
        precision(arguments, real, "the layer")
        device = home([Argument("the layer", Type("real"), self._like, False, False), *arguments], routine)
        routine = routine.on(device.type)
        executor = routine.objective if objective else routine.main
        tensors = [tensor(a, real, device) for a in arguments]
        numbers = {a.name: n for n, a in enumerate(arguments)}
        params = {p.name: (path, attribute, p.constraint) for p, path, attribute in self.declared()}
        sources, shapes = [], []
        for v in executor.graph.inputs:
            source: Any = numbers[v.name] if v.name in numbers else params.get(v.name) or self._given[v.name]
            sources.append((source, torch_dtype(torch, concrete(v.type.dtype, real))))
            shapes.append(tuple(tensors[source].shape if isinstance(source, int) else self._fetch(source).shape))
        lead = leading([(v.name, v.type, s) for v, s in zip(executor.graph.inputs, shapes, strict=True)])
        numpy = any(a.numpy for a in arguments) and is_numpy_call(arguments)
        return Checked(executor, sources, shapes, lead, binding.sizes, real, numpy), tensors

    def _fetch(self, source: str | tuple[str, str, Constraint], *, settle: bool | None = None) -> Tensor:
        """A buffer, or the value of a parameter, which is brought back between its bounds first if it is to ``settle`` (None: where
        it is recorded in training)."""
        if isinstance(source, str):
            found: Tensor = self._buffers[source]  # type: ignore[assignment]
            return found
        stored, constraint = self._held(source), source[2]
        if settle is None:
            settle = self.training and torch.is_grad_enabled()
        if settle and isinstance(stored, nn.Parameter):
            return constraints.settled(stored, constraint)
        return constraints.constrain(stored, constraint)

    def _held(self, source: tuple[str, str, Constraint]) -> Tensor:
        """The stored tensor of a parameter."""
        path, attribute, _ = source
        holder = self.get_submodule(path) if path else self
        assert isinstance(holder, Values)
        return holder.stored(attribute)

    def _operands(self, sources: Sources, inputs: Sequence[Tensor], *, settle: bool | None = None) -> list[Tensor]:
        """The inputs of the graph for the inputs of a call."""
        operands = []
        for source, dtype in sources:
            x = inputs[source] if isinstance(source, int) else self._fetch(source, settle=settle)
            operands.append(x if x.dtype is dtype else x.to(dtype))
        return operands

    def _stored(self, sources: Sources, inputs: Sequence[Tensor]) -> list[Tensor] | None:
        """What stands behind the inputs of the graph, for the inputs of a call; None if one must be converted."""
        found = []
        for source, dtype in sources:
            x = inputs[source] if isinstance(source, int) else self._buffers[source] if isinstance(source, str) else self._held(source)
            if x is None or x.dtype is not dtype:
                return None
            found.append(x)
        return found

    def _learned(self) -> dict[str, Any]:
        """The learned operators by name."""
        return {n: getattr(self, f) if isinstance(f, str) else f for n, f in self._functions.items()}

    def _run(self, call: _Call, inputs: Sequence[Tensor]) -> Any:
        if call.links and call.single and torch.is_grad_enabled() and is_plain():
            stored = self._stored(call.sources, inputs)
            if stored is not None:
                with torch.no_grad():
                    operands = self._operands(call.sources, inputs, settle=self.training)
                return call.prepared(operands, {}, call.links, stored)[0]
        operands = self._operands(call.sources, inputs)
        modules = self._learned() if self._functions else {}
        if call.single:
            return call.prepared(operands, modules)[0]
        return run(call.prepared, operands, modules, call.trace, numpy=call.numpy)

    def value_and_grad(self, loss: Loss, reduction: str = "mean") -> ValueAndGrad:
        """A function of this layer's inputs, and of what ``loss`` takes behind the layer's results, to the loss and the
        gradients of the parameters: ``value, grads = layer.value_and_grad(program.mse)(y, x_true)``.

        ``loss`` is a ``fn`` of a program that returns one real number. Where the program is one kernel, its forward pass, the
        loss and the backward pass run in one kernel. ``reduction="mean"`` or ``"sum"`` is over the leading dimensions.
        See :class:`ValueAndGrad`. Raises DataError if the loss does not fit.
        """
        from .value_and_grad import ValueAndGrad

        if (loss, reduction) not in self._losses:
            self._losses[loss, reduction] = ValueAndGrad(self, loss, reduction)
        return self._losses[loss, reduction]

    # -- inside torch.compile --------------------------------------------------------------------------------------

    def _traced(self, objective: bool, inputs: Sequence[Any], named: Mapping[str, Any], trace: tuple[str, ...]) -> Any:
        """A call in code that ``torch.compile`` traces: an operator that checks and runs when the compiled code does."""
        from .compiled import call, delivered, is_transformed, transformed, untraced

        if is_transformed():
            return transformed(self._call, objective, inputs, named, trace)
        real = DTYPE_NAMES[self._like.dtype]
        site = self._site(objective, trace, real, self._like.device.type)
        if site is None:
            return untraced(self._call, objective, inputs, named, trace)
        main, name, wanted, sources, results = site
        values = match(name, [n for n, _ in wanted], inputs, named)
        arguments = [argument(n, t, values[n]) for n, t in wanted]
        precision(arguments, real, "the layer")
        given = {a.name: tensor(a, real, self._like.device) for a in arguments}
        operands = [given[n] if source is None else self._fetch(source) for n, source in sources]
        return delivered(call(main, operands), results, trace)

    @constant
    def _site(self, objective: bool, trace: tuple[str, ...], real: str, device: str) -> Any:
        """What traced code needs of a call: its site, the program's name, what the caller passes, where operands come from, the
        number of results; None if it has learned operators."""
        from .compiled import program_site

        routine, algorithm = self._routine.on(device), self._routine.algorithm
        executor = routine.objective if objective else routine.main
        if algorithm.modules:
            return None
        wanted = [(n, t) for n, t in arguments_of(algorithm, executor.graph) if n not in self._given]
        params = {p.name: (path, attribute, p.constraint) for p, path, attribute in self.declared()}
        sources = [(v.name, params.get(v.name) or self._given.get(v.name)) for v in executor.graph.inputs]
        main = program_site(algorithm, executor, self._binding, real, trace)
        return main, algorithm.name, wanted, sources, len(executor.graph.results)

    # -- making others ---------------------------------------------------------------------------------------------

    def values(self) -> dict[str, Tensor]:
        """The values of all parameters by name, detached."""
        return {p.name: self._fetch((path, attribute, p.constraint)).detach() for p, path, attribute in self.declared()}

    def initial_values(self) -> dict[str, Tensor]:
        """The values that the parameters had when the layer was built, by name."""
        return dict(self._begun)

    def per_iteration(self) -> dict[str, int | None]:
        """Which axis of each parameter counts iterations; None where all iterations share it."""
        axes = {}
        for p in self._routine.algorithm.params:
            names = [s.names() & self._counts.keys() for s in p.type.shape]
            axes[p.name] = next((n for n, found in enumerate(names) if found), None)
        return axes

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs of a call."""
        algorithm = self._routine.algorithm
        return tuple(n for n, _ in arguments_of(algorithm, algorithm.graph) if n not in self._given)

    @property
    def has_objective(self) -> bool:
        """Whether the algorithm declares what it minimises."""
        return self._routine.algorithm.objective is not None

    def traced_ranks(self, names: tuple[str, ...]) -> dict[str, int]:
        """How many axes ``trace=`` gives each of these states for one problem, that over iterations included."""
        types = self._routine.main.variant(names)[0].result_types
        return dict(zip(names, (t.rank for t in types[len(types) - len(names) :]), strict=True))

    def assign(self, **values: Any) -> Layer:
        """Set parameters to values, by name: ``layer.assign(step=0.1)``. Raises DataError if one breaks its constraint."""
        known = {p.name: (p, path, attribute) for p, path, attribute in self.declared()}
        for name, value in values.items():
            if name not in known:
                raise DataError(
                    f"{self._routine.algorithm.name} has no parameter {name!r}; there are {', '.join(known) or 'none'}"
                )
            param, path, attribute = known[name]
            stored = self.get_parameter(f"{path}.{attribute}" if path else attribute)
            real = DTYPE_NAMES[self._like.dtype]
            with torch.no_grad():
                found = self._routine.parameter(param, value, real, self._binding, stored.device)
                stored.copy_(constraints.store(found, param.constraint, name))
        return self

    def with_iterations(self, count: int | None = None, /, *, extend: str = "repeat", **counts: int) -> Layer:
        """A layer with other iteration counts and the parameters of this one, cut or extended along the iterations.

        ``extend="repeat"`` repeats the last iteration's values (and copies its learned operators), ``"init"`` takes
        initial values for the new ones.
        """
        name = self._routine.algorithm.name
        if extend not in ("repeat", "init"):
            raise DataError(f'extend is "repeat" or "init", not {extend!r}')
        if count is not None:
            if len(self._counts) != 1:
                raise DataError(f"{name} has {len(self._counts)} iteration counts: set one by name")
            counts = {**counts, next(iter(self._counts)): count}
        unknown = counts.keys() - self._counts.keys()
        if unknown:
            raise DataError(f"{name} has no iteration count {min(unknown)!r}{did_you_mean(min(unknown), self._counts)}")
        values = self.values()
        modules = self._learned()
        new_counts = {**self._counts, **counts}
        for module in self._routine.algorithm.modules:
            if module.count is not None:
                wanted = module.count.evaluate({**self._binding.sizes, **new_counts})
                kept = list(modules[module.name])[:wanted]
                modules[module.name] = kept + [copy.deepcopy(kept[-1]) for _ in range(wanted - len(kept))]
        given = {n: getattr(self, b) for n, b in self._given.items()}
        made = Layer(
            self._routine,
            given,
            iterations=new_counts,
            sizes=self._sizes,
            modules=modules,
            params={},
            dtype=DTYPE_NAMES[self._like.dtype],
        )
        made.assign(**{n: _extended(values[n], v.clone(), extend) for n, v in made.values().items()})
        return made.train(self.training)

    def parameters_by_name(self) -> dict[str, nn.Parameter]:
        """The stored parameters by the names that the program gives them."""
        return {p.name: self.get_parameter(f"{path}.{attribute}" if path else attribute) for p, path, attribute in self.declared()}

    def save(self, path: str | PathLike[str], *, shapes: Mapping[str, int] | None = None, backward: bool = False) -> None:
        """Write a kernel file with this layer: its kernels, given inputs and parameters. ``us.load_kernel`` reads it.

        ``shapes`` has the sizes that no given input binds. With ``backward`` the loaded layer can be trained, too. Learned
        operators are not stored. Raises as :meth:`.kernel.Kernel.save`, and DataError naming a size that is missing.
        """
        from .artifact import save_layer
        from .kernel import complete

        real = DTYPE_NAMES[self._like.dtype]
        known = {n: s for n, s in self._binding.sizes.items() if n not in self._counts}
        binding = complete(self._routine, self._counts, {**known, **(shapes or {})})
        check_where(self._routine.algorithm.name, self._routine.algorithm.where, binding)
        stored = self.parameters_by_name()
        routine = self._routine.on(self._like.device.type)
        save_layer(
            path,
            routine,
            routine.main.plan(real, binding.sizes),
            real=real,
            sizes=binding.sizes,
            counts=self._counts,
            given={n: self._fetch(b) for n, b in self._given.items()},
            stored=dict(stored),
            frozen=[n for n, p in stored.items() if not p.requires_grad],
            training=self.training,
            backward=backward,
        )

    def extra_repr(self) -> str:
        """The algorithm, what is fixed, and how it runs."""
        algorithm = self._routine.algorithm
        parts = [algorithm.name, *[f"{n}={c}" for n, c in self._counts.items()]]
        parts += [f"{i.name}: {i.type}" + (" given" if i.given else "") for i in algorithm.inputs]
        parts += [DTYPE_NAMES[self._like.dtype], f"target={self._routine.settings.target}"]
        return ", ".join(parts)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_known": {}, "_losses": {}}


def _extended(old: Tensor, new: Tensor, extend: str) -> Tensor:
    """``new`` with the values of ``old`` where both have them; beyond, those of ``new`` or the last ones of ``old``."""
    if extend == "repeat":
        for axis, extent in enumerate(new.shape):
            old = old.index_select(axis, torch.arange(extent, device=old.device).clamp_max(old.shape[axis] - 1))
        return old
    new[tuple(slice(min(a, b)) for a, b in zip(old.shape, new.shape))] = old[
        tuple(slice(min(a, b)) for a, b in zip(old.shape, new.shape))
    ]
    return new
