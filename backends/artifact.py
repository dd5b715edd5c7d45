"""Kernel files: a compiled kernel, or a built layer with its parameters, as one file that runs without a compiler.

A file (``.usk``) has the sources, the machine code, graphs, loops and schedules as text, a manifest, and tensors as
safetensors; there is no pickle in it (see :mod:`.artifact_file` for the container). It is native code: loading one from a
source that is not trusted is like running a program from there. Digests find damage, not malice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..compiler.diagnostics import CompileError, DataError, UnspoolError
from ..compiler.driver import Compiled, HostProgram
from ..compiler.graph.graph import walk
from ..compiler.graph.ops.common import torch_dtype
from ..compiler.graph.segments import KEEP, Policy
from ..compiler.graph.text import print_graph
from ..compiler.loops.nest import Nest
from ..compiler.loops.text import parse_nest, print_nest
from ..compiler.loops.tree_text import parse_tree, print_tree
from ..compiler.version import VERSION
from . import artifact_machine, artifact_native, constraints
from .artifact_file import pack, read, unpack, write
from .artifact_manifest import algorithm_json, read_algorithm, read_graph, read_type, read_value, type_json, value_json
from .artifact_plan import StoredPlan, StoredRoutine, StoredTarget, interface
from .autograd import gradient_call
from .base_target import operands
from .call import Routine
from .convert import DTYPE_NAMES, argument
from .execute import KernelPlan
from .executor import HostPlan, Plan, Settings
from .registry import GPU_TARGETS

if TYPE_CHECKING:
    from .kernel import Kernel
    from .module import Layer

TENSORS = "tensors.safetensors"


# -- writing ---------------------------------------------------------------------------------------------------------


class _Writer:
    """Collects the entries of a file."""

    def __init__(self, routine: Routine, sizes: Mapping[str, int], *, backward: bool) -> None:
        self.routine = routine
        self.sizes = sizes
        self.backward = backward
        self.entries: dict[str, bytes] = {}
        self.count = 0

    def text(self, name: str, text: str) -> str:
        """Add an entry of text; its name."""
        self.entries[name] = text.encode()
        return name

    def nest(self, name: str, nest: Nest | None) -> str | None:
        """Add an entry of a nest, if there is one; its name."""
        return None if nest is None else self.text(name, print_nest(nest))

    def plan(self, plan: Plan) -> dict[str, Any]:
        """A plan. Raises CompileError where there is nothing native in it."""
        name = self.routine.algorithm.name
        target = self.routine.settings.target
        if target not in artifact_native.SUFFIXES:
            raise CompileError(f"{name} was compiled for target {target}, which makes no native code that could be stored")
        if isinstance(plan, KernelPlan):
            own = {i.name for i in self.routine.algorithm.inputs if i.given}
            return {"kernel": self.kernel(plan, own)}
        if not plan.plans:
            raise CompileError(f"{name} runs in the interpreter as a whole: there is no kernel to store")
        return {
            "host": self.text("graphs/host.graph", print_graph(plan.program.graph)),
            "kernels": [{"number": n, **self.kernel(p, set())} for n, p in sorted(plan.plans.items())],
        }

    def kernel(self, plan: KernelPlan, given: set[str]) -> dict[str, Any]:
        """A kernel, and its gradients if asked: in the parameters, with the inputs of a call, with the ``given`` ones."""
        found = self.single(plan)
        if self.backward and any(plan.differentiable):
            params = {p.name for p in self.routine.algorithm.params}
            names = [v.name for v in plan.graph.inputs]
            whole = [i for i, able in enumerate(plan.can_differ) if able]
            sets = [[i for i in whole if names[i] in params], [i for i in whole if names[i] not in given], whole]
            wanted = dict.fromkeys(tuple(s) for s in sets if s)
            found["gradients"] = [
                {"wrt": list(wrt), **self.single(plan.adjoint(wrt, tuple(plan.differentiable), policy=self.policy(plan, wrt)))}
                for wrt in wanted
            ]
        return found

    def policy(self, plan: KernelPlan, wrt: tuple[int, ...]) -> Policy:
        """The tape policy that keeps the gradient of one problem within the budget of memory, if there is one."""
        call = None if plan.memory is None else gradient_call(plan, self.routine.shared, self.sizes, (), wrt)
        return KEEP if call is None or call.choice is None else call.choice.policy

    def single(self, plan: KernelPlan) -> dict[str, Any]:
        """One kernel. Raises CompileError if the interpreter runs it."""
        name = plan.graph.name
        if plan.forward is None:
            raise CompileError(
                f"{name} cannot be stored: target {self.routine.settings.target} cannot compile it, see the warning"
            )
        compiled = plan.forward.compiled
        number, self.count = self.count, self.count + 1
        base, target = f"kernels/{number}", self.routine.settings.target
        if target not in artifact_native.SUFFIXES:
            raise CompileError(f"{name} cannot be stored: kernels of target {target} are made where they run")
        source_suffix, suffix = artifact_native.SUFFIXES[target]
        codes, more = artifact_native.code(target, compiled)
        objects = {arch: f"{base}{arch and '_'}{arch}.{suffix}" for arch in codes}
        self.entries.update({objects[arch]: data for arch, data in codes.items()})
        return {
            "name": name,
            "integers": list(compiled.integers),
            "checks": list(compiled.kernel.checks),
            "accumulate": plan.forward.accumulate,
            "every": plan.policy.every,
            "inputs": [value_json(v) for v in plan.graph.inputs],
            "results": [type_json(t) for t in plan.graph.result_types],
            **more,
            "object": objects.get("", objects),
            "source": self.text(f"{base}.{source_suffix}", compiled.source),
            "graph": self.text(f"{base}.graph", print_graph(compiled.graph)),
            "loops": self.text(f"{base}.loops", print_nest(compiled.nest)),
            "tile": self.nest(f"{base}_tile.loops", compiled.tile),
            "lowered": self.nest(f"{base}_lowered.loops", compiled.lowered),
            "tile_lowered": self.nest(f"{base}_tile_lowered.loops", compiled.tile_lowered),
            "tree": self.text(f"{base}.tree", print_tree(compiled.tree)),
            "schedule": self.text(f"{base}.schedule", compiled.schedule),
            "chosen_by": [compiled.origin, compiled.tile_origin],
            "gradients": [],
        }

    def finish(self, path: Path, tensors: Mapping[str, Tensor], manifest: Mapping[str, Any]) -> None:
        """Write the file."""
        kept = {}
        for name, x in tensors.items():
            x = x.detach().cpu()
            kept[name] = (torch.view_as_real(x.resolve_conj()) if x.is_complex() else x).contiguous().clone()
        listed = {n: {"dtype": DTYPE_NAMES[x.dtype], "shape": list(x.shape)} for n, x in tensors.items()}
        texts: dict[str, str] = {}
        settings = self.routine.settings
        described = algorithm_json(self.routine.algorithm, texts)
        for name, text in texts.items():
            self.text(name, text)
        self.entries[TENSORS] = safetensors.torch.save(kept)
        whole = {
            "unspool": VERSION,
            "target": settings.target,
            "strict": settings.strict,
            "schedule": settings.schedule,
            **artifact_native.needs(settings.target),
            "machine": artifact_machine.describe(),
            "algorithm": described,
            "tensors": listed,
            **manifest,
        }
        write(path, pack(whole, self.entries))


def save_kernel(
    path: str | PathLike[str],
    routine: Routine,
    plan: Plan,
    *,
    real: str,
    sizes: Mapping[str, int],
    fixed: Mapping[str, int],
    iterations: Mapping[str, int],
    lead: Sequence[int],
    params: Mapping[str, Any],
    backward: bool,
) -> None:
    """Write a compiled kernel (see :meth:`.kernel.Kernel.save`)."""
    writer = _Writer(routine, sizes, backward=backward)
    parts = writer.plan(plan)
    tensors, kinds = {}, {}
    for param in routine.algorithm.params:
        if param.name in params:
            a = argument(param.name, param.type, params[param.name])
            tensors[f"param.{param.name}"] = a.value
            kinds[param.name] = "weak" if a.weak else "numpy" if a.numpy else "torch"
    manifest = {
        "kind": "kernel",
        "real": real,
        "sizes": dict(sizes),
        "fixed": dict(fixed),
        "counts": dict(iterations),
        "lead": list(lead),
        "params": kinds,
        "plan": parts,
    }
    writer.finish(Path(path), tensors, manifest)


def save_layer(
    path: str | PathLike[str],
    routine: Routine,
    plan: Plan,
    *,
    real: str,
    sizes: Mapping[str, int],
    counts: Mapping[str, int],
    given: Mapping[str, Tensor],
    stored: Mapping[str, Tensor],
    frozen: Sequence[str],
    training: bool,
    backward: bool,
) -> None:
    """Write a built layer: ``given`` inputs and the unconstrained tensors ``stored`` behind its parameters, by name."""
    writer = _Writer(routine, sizes, backward=backward)
    parts = writer.plan(plan)
    tensors = {**{f"given.{n}": x for n, x in given.items()}, **{f"param.{n}": x for n, x in stored.items()}}
    manifest = {
        "kind": "layer",
        "real": real,
        "sizes": dict(sizes),
        "counts": dict(counts),
        "frozen": list(frozen),
        "training": training,
        "plan": parts,
    }
    writer.finish(Path(path), tensors, manifest)


# -- reading ---------------------------------------------------------------------------------------------------------


class _File:
    """A file whose digests have been checked."""

    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        self.data = data
        self.manifest, self.entries = unpack(data, name)
        if self.manifest.get("target") not in GPU_TARGETS:
            self.sound(lambda: artifact_machine.check(self.manifest["machine"], name))
        self.routine: StoredRoutine = self.sound(self._routine)

    def sound(self, read: Callable[[], Any]) -> Any:
        """What ``read`` gives; whatever is wrong with what it reads is one DataError."""
        try:
            return read()
        except DataError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, AssertionError, RecursionError, SyntaxError,
                MemoryError, RuntimeError, UnspoolError, safetensors.SafetensorError) as error:  # fmt: skip
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise DataError(f"{self.name} is damaged or was made by hand: {type(error).__name__}: {reason}") from None

    def text(self, name: str) -> str:
        """An entry of text."""
        return self.entries[name].decode()

    def nest(self, name: str | None) -> Nest | None:
        """A nest from an entry, if there is one."""
        return None if name is None else parse_nest(self.text(name))

    def sizes(self, key: str) -> dict[str, int]:
        """Sizes by name. Raises ValueError."""
        found = self.manifest[key]
        for name, value in found.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} = {value!r} is no size")
        return dict(found)

    def _routine(self) -> StoredRoutine:
        m = self.manifest
        texts = {n: self.text(n) for n in self.entries if n.startswith("graphs/")}
        algorithm = read_algorithm(m["algorithm"], texts)
        target = m["target"]
        artifact_native.check(target, self.name)
        settings = Settings(target, bool(m["strict"]), m["schedule"])
        return StoredRoutine(algorithm, settings, m["real"], self.sizes("sizes"), self._plan(m["plan"]), self.data)

    def _plan(self, found: Mapping[str, Any]) -> Plan:
        if "kernel" in found:
            return self._kernel(found["kernel"])
        graph = read_graph(self.text(found["host"]))
        stored = {part["number"]: self._kernel(part) for part in found["kernels"]}
        known = {n.attr("number") for n in walk(graph.nodes) if n.op == "kernel"}
        if not stored.keys() <= known:
            raise ValueError("it has a kernel that the host program does not call")
        plan = HostPlan(HostProgram(graph), strict=bool(self.manifest["strict"]))
        plan.plans.update(stored)
        return plan

    def _kernel(self, found: Mapping[str, Any], *, gradient: bool = False) -> StoredPlan:
        inputs = [read_value(v) for v in found["inputs"]]
        results = [read_type(t) for t in found["results"]]
        checks = [str(c) for c in found["checks"]]
        integers = tuple(str(i) for i in found["integers"])
        tree, target = parse_tree(self.text(found["tree"])), self.manifest["target"]
        if len(tree.integers) != len(integers):
            raise ValueError(f"the kernel {found['name']} and its loop tree differ in integers")
        if operands(tree) != len(inputs) + len(results):
            raise ValueError(f"the kernel {found['name']} and its loop tree differ in operands")
        compiled = Compiled(
            graph=read_graph(self.text(found["graph"])),
            nest=parse_nest(self.text(found["loops"])),
            schedule=self.text(found["schedule"]),
            tree=tree,
            source=self.text(found["source"]),
            target=StoredTarget(target, artifact_native.SUFFIXES[target][0]),
            tile=self.nest(found["tile"]),
            lowered=self.nest(found["lowered"]),
            tile_lowered=self.nest(found["tile_lowered"]),
            origin=str(found["chosen_by"][0]),
            tile_origin=str(found["chosen_by"][1]),
        )
        inside = compiled.graph
        if [v.type for v in inside.inputs] != [v.type for v in inputs] or list(inside.result_types) != results:
            raise ValueError(f"the kernel {found['name']} and its graph differ in types")
        compiled.integers = integers
        try:
            objects = {"": found["object"]} if isinstance(found["object"], str) else found["object"]
            binaries = {arch: self.entries[entry] for arch, entry in objects.items()}
            compiled.kernel = artifact_native.kernel(target, binaries, tree, compiled.source, integers, checks, found)
        except CompileError as error:
            made = f"; it was made by {self.manifest['packages']}" if "packages" in self.manifest else ""
            raise DataError(f"{self.name} cannot be used here: {error}{made}") from None
        gradients = [] if gradient else [(tuple(map(int, g["wrt"])), self._kernel(g, gradient=True)) for g in found["gradients"]]
        for wrt, plan in gradients:
            if len(plan.graph.results) != len(wrt) or not all(0 <= i < len(inputs) for i in wrt):
                raise ValueError(f"a gradient of {found['name']} has {len(plan.graph.results)} results for {len(wrt)} inputs")
        strict = bool(self.manifest["strict"])
        graph = interface(found["name"], inputs, results)
        return StoredPlan(graph, compiled, gradients, strict=strict, accumulate=bool(found["accumulate"]), policy=Policy(int(found["every"])))

    def tensors(self, group: str) -> dict[str, Tensor]:
        """The tensors ``group.NAME``, by name, as the manifest describes them."""
        listed, found = self.manifest["tensors"], {}
        for full, x in safetensors.torch.load(self.entries[TENSORS]).items():
            head, _, name = full.partition(".")
            if full not in listed:
                raise ValueError(f"the tensor {full} is not listed")
            if head != group:
                continue
            dtype = torch_dtype(torch, listed[full]["dtype"])
            x = torch.view_as_complex(x) if dtype.is_complex else x
            if x.dtype != dtype or list(x.shape) != listed[full]["shape"]:
                raise ValueError(f"the tensor {full} has not the dtype and shape that the manifest has")
            found[name] = x
        return found


def load_kernel(source: str | PathLike[str], **modules: Any) -> Kernel | Layer:
    """A kernel or a layer from a file that :meth:`.kernel.Kernel.save` or :meth:`.module.Layer.save` wrote.

    Digests are checked before anything is loaded, let alone run; nothing is compiled. A kernel is called like the algorithm; a
    layer is a ``torch.nn.Module`` with its given inputs and parameters. Learned operators are not in the file: ``modules`` has
    them by name (those of a kernel may come with each call).

    A kernel file is native code: load it only from a source that you would run a program from.

    Raises DataError: no such file, a damaged one, one of another format, one for another system or processor (naming the
    instructions that are missing).
    """
    file = _File(read(source), str(source))
    known = {m.name for m in file.routine.algorithm.modules}
    unknown = sorted(modules.keys() - known)
    if unknown:
        has = ", ".join(sorted(known)) or "none"
        raise DataError(f"{file.routine.algorithm.name} has no learned operator {unknown[0]!r}; it has {has}")
    if file.manifest.get("kind") == "layer":
        return _layer(file, modules)
    return file.sound(lambda: _kernel(file, modules))  # type: ignore[no-any-return]


def stored_kernel(source: str | PathLike[str]) -> Kernel:
    """What is compiled in a file, to be looked at: of a layer, the kernel without parameters and given inputs. Raises DataError."""
    from .kernel import Kernel

    file = _File(read(source), str(source))
    if file.manifest.get("kind") != "layer":
        return file.sound(lambda: _kernel(file, {}))  # type: ignore[no-any-return]

    def whole() -> Kernel:
        counts = file.sizes("counts")
        sizes = {n: s for n, s in file.sizes("sizes").items() if n not in counts}
        return Kernel(file.routine, sizes=sizes, lead=(), iterations=counts, modules={}, params={}, dtype=file.manifest["real"])

    return file.sound(whole)  # type: ignore[no-any-return]


def routine(data: bytes) -> StoredRoutine:
    """The routine of a file, from its bytes: what pickles hold."""
    return _File(data, "the kernel file in this pickle").routine


def _kernel(file: _File, modules: Mapping[str, Any]) -> Kernel:
    from .kernel import Kernel

    m = file.manifest
    params: dict[str, Any] = {}
    for name, x in file.tensors("param").items():
        kind = m["params"][name]
        params[name] = x.tolist() if kind == "weak" else x.numpy() if kind == "numpy" else x
    return Kernel(
        file.routine,
        sizes=file.sizes("fixed"),
        lead=tuple(map(int, m["lead"])),
        iterations=file.sizes("counts"),
        modules=modules,
        params=params,
        dtype=m["real"],
    )


def _layer(file: _File, modules: Mapping[str, Any]) -> Layer:
    from .module import Layer

    def parts() -> tuple[Any, ...]:
        m = file.manifest
        stored = file.tensors("param")
        declared = {p.name: p for p in file.routine.algorithm.params}
        if stored.keys() != declared.keys():
            raise ValueError("it has not the parameters of its algorithm")
        with torch.no_grad():
            values = {n: constraints.constrain(x, declared[n].constraint) for n, x in stored.items()}
        counts = file.sizes("counts")
        sizes = {n: s for n, s in file.sizes("sizes").items() if n not in counts}
        return stored, values, counts, sizes, file.tensors("given"), m["real"], set(m["frozen"]), bool(m["training"])

    stored, values, counts, sizes, given, real, frozen, training = file.sound(parts)
    file.routine.check_modules(modules, file.routine.base(counts, sizes))
    layer: Layer = file.sound(
        lambda: Layer(file.routine, given, iterations=counts, sizes=sizes, modules=modules, params=values, dtype=real)
    )
    with torch.no_grad():
        for name, parameter in layer.parameters_by_name().items():
            parameter.copy_(stored[name])  # to the bit: a value and the tensor behind it differ by rounding
            parameter.requires_grad_(name not in frozen)
    return layer.train(training)
