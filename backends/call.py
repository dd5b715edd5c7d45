"""Calling an algorithm: values of any accepted kind to tensors, sizes bound and checked, parameters completed, results back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..compiler.diagnostics import DataError
from ..compiler.graph.algorithm import Algorithm, ModuleInput, Param
from ..compiler.graph.graph import Graph
from ..compiler.graph.ops.common import complex_twin, torch_dtype
from ..compiler.graph.segments import Policy
from ..compiler.graph.specialize import size_names
from ..compiler.graph.types import Type, weights_of, weights_size
from ..compiler.graph.weights import joined, leaves, numel
from ..compiler.nearest import did_you_mean
from . import constraints, devices, registry
from .binding import Binding, bind, check_where, leading
from .convert import Argument, argument, device_of, is_numpy_call, precision, tensor, to_numpy, widened
from .execute import KernelPlan
from .executor import Executor, Modules, Prepared, Settings

F = TypeVar("F", bound=Callable[..., Any])


def constant(function: F) -> F:
    """Mark a method that ``torch.compile`` calls while it traces, taking what comes back for a constant.

    As ``torch.compiler.assume_constant_result``, which would import the tracer here.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


class Path:
    """Traced states by name: ``path.x`` has the leading shape, then the iterations, then the axes of ``x``."""

    def __init__(self, **states: Any) -> None:
        for name, value in states.items():
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{name!r} was not traced; {', '.join(vars(self)) or 'nothing'} was{did_you_mean(name, vars(self))}")

    def __repr__(self) -> str:
        return f"Path({', '.join(f'{n}={v!r}' for n, v in vars(self).items())})"

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


def trace_names(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """The names that ``trace=`` asks for; a single one may be given alone."""
    return (names,) if isinstance(names, str) else tuple(names or ())


class Routine:
    """An algorithm with the graphs it runs: itself, its objective, the initial values of its parameters."""

    def __init__(self, algorithm: Algorithm, settings: Settings) -> None:
        self.algorithm = algorithm
        self.settings = settings
        self.iterations = dict(algorithm.iterations)
        self.shared = frozenset([i.name for i in algorithm.inputs if i.given] + [p.name for p in algorithm.params])
        self.main = Executor(algorithm.graph, tuple(self.iterations), settings, self.shared)
        graphs = [g for g in (algorithm.graph, algorithm.objective) if g is not None]
        self.weighed = frozenset().union(*map(size_names, graphs)) & {weights_size(m.name) for m in algorithm.modules}
        self._objective: Executor | None = None
        self.fused: dict[Any, dict[Policy, KernelPlan | None]] = {}  # by loss and sizes (value_and_grad.py)
        self._initial: dict[str, Executor] = {}
        self._on_gpu: Routine | None = None

    def on(self, device: str) -> Routine:
        """The routine for tensors on devices of a type: where no target was named and a GPU can be used, its target's."""
        if device != "cuda" or not self.settings.follows or not registry.availability(registry.GPU_TARGET).usable:
            return self
        if self._on_gpu is None:
            self._on_gpu = Routine(self.algorithm, replace(self.settings, target=registry.GPU_TARGET, follows=False))
        return self._on_gpu

    @property
    def objective(self) -> Executor:
        """The executor of the objective. Raises DataError if the algorithm declares none."""
        if self._objective is None:
            if self.algorithm.objective is None:
                raise DataError(f"{self.algorithm.name} declares no objective")
            settings = replace(self.settings, backward="unrolled")  # no iterations
            self._objective = Executor(self.algorithm.objective, tuple(self.iterations), settings, self.shared)
        return self._objective

    def base(self, iterations: Mapping[str, int], sizes: Mapping[str, int]) -> Binding:
        """A binding with every iteration count and the sizes that the caller names."""
        binding = Binding()
        for name, value in sizes.items():
            binding.set(name, value, "given by name")
        for name, count in self.iterations.items():
            binding.set(name, iterations.get(name, count), "the iteration count")
        return binding

    def collect(
        self, binding: Binding, values: Mapping[str, Any], types: Sequence[tuple[str, Type]], modules: Mapping[str, Any]
    ) -> list[Argument]:
        """The arguments, with the sizes they bind. Those of a type ``weights(f)`` come as parameters by name, or as a module like f."""
        found = [argument(name, type, self._joined(name, type, values[name], modules)) for name, type in types]
        bind(binding, [(a.name, a.type, a.shape) for a in found if not weights_of(a.type)])
        return found

    def _joined(self, name: str, type: Type, value: Any, modules: Mapping[str, Any]) -> Any:
        if (module := weights_of(type)) is None:
            return value
        if isinstance(value, torch.nn.Module):
            value = dict(value.named_parameters())
        if not isinstance(value, Mapping):
            raise DataError(f"{name} needs weights({module}): the parameters of a module by name; got a {value.__class__.__name__}")
        return joined(name, weighed(next(m for m in self.algorithm.modules if m.name == module), modules), value)

    def initial(self, param: Param, given: Mapping[str, Tensor], real: str, binding: Binding, device: torch.device) -> Tensor:
        """The value of a parameter before training, with the leading dimensions of the given tensors it depends on."""
        dtype = torch_dtype(torch, concrete(param.type.dtype, real))
        shape = binding.shape(param.type)
        if param.init is None:
            return constraints.default(param.constraint, shape, dtype).to(device)
        graph = param.init
        if param.name not in self._initial:
            self._initial[param.name] = Executor(graph, tuple(self.iterations), Settings("interpreter"))
        tensors = [given[v.name] for v in graph.inputs]
        tensors = [
            t if v.name in graph.used else t.new_zeros(t.shape[t.dim() - v.type.rank :]) for v, t in zip(graph.inputs, tensors, strict=True)
        ]
        if real in ("f16", "bf16"):  # torch has few ops in half precision: computed in f32, then rounded
            real = "f32"
            tensors = [t.float() if v.type.dtype == "real" else t for v, t in zip(graph.inputs, tensors, strict=True)]
        lead = leading([(v.name, v.type, tuple(t.shape)) for v, t in zip(graph.inputs, tensors, strict=True)])
        (value,) = self._initial[param.name](tensors, lead, real, binding.sizes)
        rank = graph.result_types[0].rank
        core = value.shape[value.dim() - rank :]
        return value.reshape((*lead, *[1] * (len(shape) - rank), *core)).expand((*lead, *shape)).to(device, dtype)

    def parameter(self, param: Param, value: Any, real: str, binding: Binding, device: torch.device) -> Tensor:
        """A parameter that the caller sets: it broadcasts to its sizes and must keep its constraint."""
        a = argument(param.name, param.type, value)
        shape = binding.shape(param.type)
        found = tensor(a, real, device)
        if found.dim() < len(shape):
            try:
                found = found.expand(shape)
            except RuntimeError:
                raise DataError(f"{param.name} is {param.type} and needs shape {shape}; got shape {a.shape}") from None
        bind(binding, [(param.name, param.type, tuple(found.shape))])
        constraints.check(found.detach(), param.constraint, param.name)
        return found

    def check_modules(self, modules: Mapping[str, Any], binding: Binding) -> dict[str, Any]:
        """The modules by name; binds the numbers of their weights. Raises DataError for one that is missing, not callable, has no weights
        where they are values, or too short a list."""
        found = {m.name: check_module(m, modules, binding) for m in self.algorithm.modules}
        self.bind_weights(binding, modules)
        return found

    def bind_weights(self, binding: Binding, modules: Mapping[str, Any]) -> None:
        """Bind how many weights the modules have whose weights are values. Raises DataError."""
        for m in self.algorithm.modules:
            if weights_size(m.name) in self.weighed:
                binding.set(weights_size(m.name), numel(weighed(m, modules)), f"the parameters of {m.name}")

    def call(
        self,
        values: Mapping[str, Any],
        *,
        params: Mapping[str, Any],
        iterations: Mapping[str, int],
        sizes: Mapping[str, int],
        modules: Mapping[str, Any],
        trace: Sequence[str] = (),
        dtype: str | None = None,
        objective: bool = False,
    ) -> Any:
        """A plain call: every input (and argument of the objective) in ``values``, parameters where the caller sets them."""
        algorithm = self.algorithm
        if torch._C._is_any_autocast_enabled():
            wide = widened([*values.values(), *params.values()], torch_dtype(torch, dtype) if dtype else None)
            values, params = dict(zip(values, wide)), dict(zip(params, wide[len(values) :]))
            with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
                return self.call(values, params=params, iterations=iterations, sizes=sizes, modules=modules, trace=trace,
                                 dtype=dtype, objective=objective)  # fmt: skip
        if torch.compiler.is_compiling():
            return self._traced(values, params, iterations, sizes, modules, tuple(trace), dtype, objective)
        binding = self.base(iterations, sizes)
        types = arguments_of(algorithm, (self.objective if objective else self.main).graph)
        arguments = self.collect(binding, values, types, modules)
        check_where(algorithm.name, algorithm.where, binding)
        overrides = [argument(p.name, p.type, params[p.name]) for p in algorithm.params if p.name in params]
        real = precision([*arguments, *overrides], dtype, "dtype=")
        device = home([*arguments, *overrides], self)
        routine = self.on(device.type)
        executor = routine.objective if objective else routine.main
        ready = self.check_modules(modules, binding)
        tensors = {a.name: tensor(a, real, device) for a in arguments}
        for param in algorithm.params:
            if param.name in params:
                tensors[param.name] = self.parameter(param, params[param.name], real, binding, device)
            else:
                tensors[param.name] = self.initial(param, tensors, real, binding, device)
        ordered = [tensors[v.name] for v in executor.graph.inputs]
        shapes = [tuple(t.shape) for t in ordered]
        lead = leading([(v.name, v.type, s) for v, s in zip(executor.graph.inputs, shapes, strict=True)])
        prepared = executor.prepare(shapes, lead, real, binding.sizes, tuple(trace))
        return run(prepared, ordered, ready, tuple(trace), numpy=is_numpy_call([*arguments, *overrides]))

    def _traced(
        self,
        values: Mapping[str, Any],
        params: Mapping[str, Any],
        iterations: Mapping[str, int],
        sizes: Mapping[str, int],
        modules: Mapping[str, Any],
        trace: tuple[str, ...],
        dtype: str | None,
        objective: bool,
    ) -> Any:
        """A plain call in code that ``torch.compile`` traces: see ``Layer._traced``."""
        from .compiled import call, delivered, is_transformed, transformed, untraced

        cut = transformed if is_transformed() else untraced if modules else None
        if cut is not None:
            return cut(
                self.call, values, params=params, iterations=iterations, sizes=sizes, modules=modules, trace=trace, dtype=dtype,
                objective=objective,
            )  # fmt: skip
        types, chosen = self._signature(objective, tuple(params))
        arguments = [argument(n, t, values[n]) for n, t in types]
        overrides = [argument(n, t, params[n]) for n, t in chosen]
        real = precision([*arguments, *overrides], dtype, "dtype=")
        device = device_of([*arguments, *overrides])
        given = {a.name: tensor(a, real, device) for a in arguments}
        found = {a.name: tensor(a, real, device) for a in overrides}
        main, initial, order, results = self._site(
            objective, trace, real, tuple(iterations.items()), tuple(sizes.items()), tuple(found), device.type
        )
        for name, site in initial:
            (found[name],) = call(site, list(given.values()))
        return delivered(call(main, [found[n] if n in found else given[n] for n in order]), results, trace)

    @constant
    def _signature(self, objective: bool, chosen: tuple[str, ...]) -> Any:
        """Names and types of what a caller passes, and of the parameters that are set."""
        executor = self.objective if objective else self.main
        return arguments_of(self.algorithm, executor.graph), [(p.name, p.type) for p in self.algorithm.params if p.name in chosen]

    @constant
    def _site(
        self,
        objective: bool,
        trace: tuple[str, ...],
        real: str,
        iterations: tuple[tuple[str, int], ...],
        sizes: tuple[tuple[str, int], ...],
        chosen: tuple[str, ...],
        device: str,
    ) -> Any:
        """The site of a plain call, those of the initial values it needs, the order of operands, the number of results."""
        from .compiled import initial_site, program_site

        routine = self.on(device)
        executor = routine.objective if objective else routine.main
        binding = self.base(dict(iterations), dict(sizes))
        types = arguments_of(self.algorithm, executor.graph)
        initial = [(p.name, initial_site(self, p, types, binding, real)) for p in self.algorithm.params if p.name not in chosen]
        main = program_site(self.algorithm, executor, binding, real, trace)
        return main, initial, [v.name for v in executor.graph.inputs], len(executor.graph.results)

    def __deepcopy__(self, memo: dict[int, Any]) -> Routine:
        return self  # nothing a caller can change is in it; kernels are shared

    def __reduce__(self) -> Any:
        return Routine, (self.algorithm, self.settings)


def run(prepared: Prepared, tensors: Sequence[Tensor], modules: Modules, trace: tuple[str, ...], *, numpy: bool) -> Any:
    """Results as the caller sees them: one value or a tuple, with a :class:`Path` if traced, as NumPy if asked."""
    with torch.set_grad_enabled(torch.is_grad_enabled() and not numpy):
        tensors = prepared(tensors, modules)
    types = prepared.executor.variant(trace)[0].result_types
    found = [_result(t, y, modules, numpy=numpy) for t, y in zip(types, tensors, strict=True)]
    own = len(prepared.executor.graph.results)
    result = found[0] if own == 1 else tuple(found[:own])
    return (result, Path(**dict(zip(trace, found[own:], strict=True)))) if trace else result


def _result(type: Type, value: Tensor, modules: Modules, *, numpy: bool) -> Any:
    """A result or trace as the caller sees it; weights, the last axis, are parameters by name."""
    if (name := weights_of(Type(type.dtype, type.shape[-1:]))) is None:
        return to_numpy(value) if numpy else value
    found: Any = modules[name]
    parts = leaves(found if isinstance(found, torch.nn.Module) and not isinstance(found, torch.nn.ModuleList) else found[0], value)
    return {leaf: to_numpy(part) for leaf, part in parts.items()} if numpy else parts


def match(name: str, inputs: Sequence[str], positional: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """Values by input name, from positions and keywords. Raises DataError for one too many, missing or unknown."""
    signature = f"{name}({', '.join(inputs)})"
    if len(positional) > len(inputs):
        raise DataError(f"{signature} takes {len(inputs)} inputs; got {len(positional)}")
    found = dict(zip(inputs, positional))
    for key, value in named.items():
        if key not in inputs:
            raise DataError(f"{signature} has no input {key!r}{did_you_mean(key, inputs)}")
        if key in found:
            raise DataError(f"{signature}: {key} is given twice")
        found[key] = value
    missing = [n for n in inputs if n not in found]
    if missing:
        raise DataError(f"{signature}: {missing[0]} is missing")
    return found


def home(arguments: Sequence[Argument], routine: Routine) -> torch.device:
    """The one device of a call. Raises DataError where the target does not run there, and nothing is copied between devices silently;
    CompileError where a target cannot be used at all."""
    device, target = device_of(arguments), routine.settings.target
    if target == "interpreter":
        return device
    wanted = registry.device_type(target)
    if wanted == "cuda":
        registry.check_usable(target)
        array = next((a.name for a in arguments if a.numpy), None)
        if array is not None:
            raise DataError(f"{array} is a NumPy array, and target {target} runs on an NVIDIA GPU: pass torch.from_numpy({array}).to('cuda')")
        if all(a.weak for a in arguments):
            return devices.current(wanted)
    if device.type == wanted or routine.on(device.type) is not routine:
        return device
    name = next((a.name for a in arguments if not a.weak and a.name != "the layer"), "the layer")
    if wanted == "cuda":
        raise DataError(f"{name} is on device {device}, and target {target} runs on an NVIDIA GPU: move it with .to('cuda')")
    hint = "move it, or use target='interpreter', which follows the tensors"
    if device.type == "cuda" and routine.settings.follows:
        gpu = registry.availability(registry.GPU_TARGET)
        hint = f"{hint}; target {gpu.name}, which runs there, cannot be used here: {gpu.reason}"
    elif device.type == "cuda":
        hint = f"move it, or use target='{registry.GPU_TARGET}', or target='interpreter', which follows the tensors"
    raise DataError(f"{name} is on device {device}, and target {target} runs on the cpu: {hint}")


def arguments_of(algorithm: Algorithm, graph: Graph) -> list[tuple[str, Type]]:
    """What a caller passes, with the types as written: the inputs of a graph of the algorithm that are not its parameters."""
    own = {p.name for p in algorithm.params}
    declared = {i.name: i.type for i in algorithm.inputs}  # the graph's own types have sizes replaced as `where` lets them be
    return [(v.name, declared.get(v.name, v.type)) for v in graph.inputs if v.name not in own]


def concrete(dtype: str, real: str) -> str:
    """A dtype with ``real`` and ``complex`` replaced. Raises DataError where there is no complex twin."""
    if dtype == "complex":
        twin = complex_twin(real)
        if twin is None:
            raise DataError(f"{real} has no complex twin: use f32 or f64")
        return twin
    return real if dtype == "real" else dtype


def check_module(module: ModuleInput, modules: Mapping[str, Any], binding: Binding) -> Callable[..., Any] | Sequence[Any]:
    """The callable (or the list of them) for a declared module. Raises DataError."""
    signature = f"({', '.join(map(str, module.arguments))}) -> {', '.join(map(str, module.results))}"
    if module.name not in modules:
        raise DataError(f"module {module.name}: {signature} is missing: pass {module.name}=...")
    found: Any = modules[module.name]
    if module.count is None:
        if not callable(found):
            raise DataError(f"module {module.name} must be callable: {signature}; got a {type(found).__name__}")
        return found  # type: ignore[no-any-return]
    count = binding.evaluate(module.count)
    if not isinstance(found, (list, tuple, torch.nn.ModuleList)) or len(found) != count or not all(map(callable, found)):
        got = f"{len(found)} entries" if isinstance(found, (list, tuple, torch.nn.ModuleList)) else f"a {type(found).__name__}"
        raise DataError(f"module {module.name} needs a list of {count} modules, one per iteration; got {got}")
    return found


def weighed(module: ModuleInput, modules: Mapping[str, Any]) -> torch.nn.Module:
    """The module, or the first instance of it, whose weights a program has as values. Raises DataError for one that has none."""
    found: Any = modules.get(module.name)
    if module.count is None:
        instances = [found]
    else:
        instances = list(found) if isinstance(found, (list, tuple, torch.nn.ModuleList)) else []
    for one in instances:
        if not isinstance(one, torch.nn.Module) or not numel(one):
            what = "a torch.nn.Module without parameters" if isinstance(one, torch.nn.Module) else f"a {type(one).__name__}"
            raise DataError(f"weights({module.name}) are the parameters of a torch.nn.Module: pass one as {module.name}=...; got {what}")
    shapes = [{n: tuple(p.shape) for n, p in one.named_parameters()} for one in instances]
    if not shapes or any(s != shapes[0] for s in shapes):
        raise DataError(f"weights({module.name}) are those of any instance of {module.name}: all need parameters of the same names and shapes")
    first: torch.nn.Module = instances[0]
    return first
